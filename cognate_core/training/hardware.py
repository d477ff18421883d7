"""Fit training to this computer, and measure what it asks of it: number format, freed memory, cores, temperature."""

from __future__ import annotations

import ctypes
import functools
import math
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import psutil
import torch

from cognate_core.config import TrainingConfig

PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")  # Linux's names
TEMPERATURE_SECONDS = 10.0  # between two readings, which take milliseconds
BF16_MUST_WIN_BY = 1.2  # a smaller lead may be noise, and each start of a run should choose the same


@dataclass(frozen=True, slots=True)
class Precision:
    """The chosen number format and why."""

    name: str  # "fp32" or "bf16"
    reason: str


def precision_for(config: TrainingConfig) -> Precision:
    """The number format that a model of `config` is trained in."""
    if config.task == "arithmetic":
        return Precision("fp32", "fp32, as for every model of the Grokking lab")
    return choose_precision(config.precision)


def choose_precision(wanted: Literal["auto", "fp32", "bf16"]) -> Precision:
    """The wanted format; auto takes bf16 if the processor has it and it is measured to be faster."""
    match wanted:
        case "fp32" | "bf16":
            return Precision(wanted, f"{wanted}, as set")
        case "auto":
            return _fastest_precision()
        case unknown:
            assert_never(unknown)


def _fastest_precision() -> Precision:
    if not torch.cpu._is_avx512_bf16_supported():
        return Precision("fp32", "fp32: this processor has no bf16 built in")
    speedup = _bf16_speedup()
    chosen = "bf16" if speedup >= BF16_MUST_WIN_BY else "fp32"
    return Precision(chosen, f"{chosen}: matrix products in bf16 were measured {speedup:.1f} times as fast here")


@functools.cache  # one answer for all models of this process
def _bf16_speedup() -> float:
    """Time in fp32 / time in bf16 for a product of 512 x 512 and 512 x 2048; the best of many, in turns."""
    numbers = torch.Generator().manual_seed(0)  # the global one belongs to the runs' first weights
    matrices = {
        dtype: tuple(torch.randn(shape, generator=numbers).to(dtype) for shape in ((512, 512), (512, 2048)))
        for dtype in (torch.float32, torch.bfloat16)
    }
    best = dict.fromkeys(matrices, float("inf"))
    for _ in range(20):
        for dtype, (a, b) in matrices.items():
            start = time.perf_counter()
            torch.mm(a, b)
            best[dtype] = min(best[dtype], time.perf_counter() - start)
        if best[torch.bfloat16] > 4 * best[torch.float32]:
            break  # it cannot win any more; without hardware bf16, going through all rounds would take minutes
    return best[torch.float32] / best[torch.bfloat16]


def compute_environment() -> dict[str, Any]:
    """What affects the last bit of a sum besides the numbers: two runs are bit-identical only if it is the same."""
    return {
        "processor": _processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def keep_freed_memory() -> None:
    """Let the C library keep large freed blocks for the next step instead of returning them to the system.

    Each step frees and allocates the same large tensors; new memory costs a page fault every 4 KB (measured: with
    this, a step of the first-run preset takes 0.17 s instead of 0.25 s, docs/experiments.md). glibc only; elsewhere
    this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, -1)


def return_freed_memory() -> None:
    """Return the memory that `keep_freed_memory` kept to the system, after training."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


class MachineMeter:
    """What this process asks of the computer. Call `figures` at each step."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._last = time.perf_counter(), time.process_time()
        self._read_at = -math.inf

    def figures(self) -> dict[str, float | None]:
        """Since the call before: fields of StepMetrics. None: not measured at this step, or not on this computer."""
        wall, worked = time.perf_counter(), time.process_time()
        (wall_before, worked_before), self._last = self._last, (wall, worked)
        temperature = None
        if wall - self._read_at >= TEMPERATURE_SECONDS:
            self._read_at, temperature = wall, processor_temperature()
        return {
            "cores": (worked - worked_before) / (wall - wall_before) if wall > wall_before else None,
            "memory_gb": self._process.memory_info().rss / 1e9,
            "temperature": temperature,
        }


def processor_temperature() -> float | None:
    """The processor's hottest sensor in degrees Celsius; None where it cannot be read."""
    read = getattr(psutil, "sensors_temperatures", None)  # not on Windows and macOS
    sensors = read() if read else {}
    return max((each.current for name in PROCESSOR_SENSORS for each in sensors.get(name, ())), default=None)
