"""The number format: as set, or the one that was measured faster here. What training asks of the machine."""

import ctypes
import json
import platform
import time
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import psutil
import pytest
import torch

from cognate_core.training import hardware
from cognate_core.training.hardware import (
    MachineMeter,
    choose_precision,
    compute_environment,
    keep_freed_memory,
    return_freed_memory,
)
from tests.there import there


class Sensor(NamedTuple):
    """As psutil gives it."""

    current: float


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_what_is_set_is_taken_without_measuring(
    monkeypatch: pytest.MonkeyPatch, wanted: Literal["fp32", "bf16"]
) -> None:
    def refuse() -> float:
        raise AssertionError("measured although the format is set")

    monkeypatch.setattr(hardware, "_bf16_speedup", refuse)
    chosen = choose_precision(wanted)
    assert (chosen.name, chosen.reason) == (wanted, f"{wanted}, as set")


def test_auto_takes_fp32_where_bf16_is_not_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(hardware, "_bf16_speedup", lambda: 9.0)
    chosen = choose_precision("auto")
    assert (chosen.name, chosen.reason) == ("fp32", "fp32: this processor has no bf16 built in")


@pytest.mark.parametrize(
    ("speedup", "name"), [(0.6, "fp32"), (1.1, "fp32"), (1.19, "fp32"), (1.2, "bf16"), (4.25, "bf16")]
)
def test_auto_takes_bf16_only_when_it_clearly_wins(monkeypatch: pytest.MonkeyPatch, speedup: float, name: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(hardware, "_bf16_speedup", lambda: speedup)
    chosen = choose_precision("auto")
    assert chosen.name == name
    assert chosen.reason.startswith(f"{name}: ")
    assert f"{speedup:.1f} times" in chosen.reason


@pytest.mark.parametrize(
    ("bf16_seconds", "name", "products"), [(0.25, "bf16", 40), (1.0, "fp32", 40), (4.5, "fp32", 2)]
)
def test_auto_measures_once_and_not_for_long_when_bf16_is_far_behind(
    monkeypatch: pytest.MonkeyPatch, bf16_seconds: float, name: str, products: int
) -> None:
    """Without the instructions of bf16 (oneDNN may be told to leave them) forty products took three minutes."""
    multiplied: list[torch.dtype] = []
    now = 0.0

    def multiply(a: torch.Tensor, b: torch.Tensor) -> None:
        nonlocal now
        multiplied.append(a.dtype)
        now += bf16_seconds if a.dtype == torch.bfloat16 else 1.0

    hardware._bf16_speedup.cache_clear()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch, "mm", multiply)
    monkeypatch.setattr("cognate_core.training.hardware.time.perf_counter", lambda: now)
    first = choose_precision("auto")
    assert first.name == name
    assert choose_precision("auto") == first
    assert len(multiplied) == products
    hardware._bf16_speedup.cache_clear()


class FakeLibrary:
    def __init__(self) -> None:
        self.options: list[tuple[int, int]] = []
        self.trims: list[int] = []

    def mallopt(self, option: int, value: int) -> int:
        self.options.append((option, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.trims.append(pad)
        return 1


def test_with_glibc_freed_memory_is_kept_and_then_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    keep_freed_memory()
    assert dict(library.options) == {-4: 0, -1: -1}  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h
    assert library.trims == []
    return_freed_memory()
    assert library.trims == [0]


@pytest.mark.parametrize("libc", ["", "musl"])
def test_without_glibc_nothing_is_touched(monkeypatch: pytest.MonkeyPatch, libc: str) -> None:
    def refuse(name: object) -> None:
        raise AssertionError("the C library is called")

    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    keep_freed_memory()
    return_freed_memory()


def test_what_calculates_is_named_as_plain_words_and_always_the_same() -> None:
    found = compute_environment()
    assert json.loads(json.dumps(found)) == found == compute_environment()
    assert (found["torch"], found["threads"]) == (torch.__version__, torch.get_num_threads())
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert found["processor"]


def test_where_the_system_does_not_name_the_processor_something_stands_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: Path, *arguments: object, **options: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert isinstance(compute_environment()["processor"], str)
    monkeypatch.setattr(Path, "read_text", lambda path, **options: "flags: none\n")
    assert compute_environment()["processor"] == platform.machine()


class Clocks:
    """Clocks of the wall and of the process that stand still unless they are moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = self.worked = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(time, "process_time", lambda: self.worked)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_the_cores_at_work_are_counted_from_step_to_step(clocks: Clocks) -> None:
    meter, found = MachineMeter(), []
    for wall, worked in ((2.0, 3.0), (3.0, 5.0), (3.0, 5.0)):
        clocks.wall, clocks.worked = wall, worked
        found.append(meter.figures()["cores"])
    assert found == [1.5, 2.0, None], "the last two at the same time"


def test_the_memory_is_that_of_this_process(clocks: Clocks) -> None:
    kept = np.ones(25_000_000)  # 0.2 GB
    assert there(MachineMeter().figures()["memory_gb"]) > kept.nbytes / 1e9


def test_the_hottest_sensor_of_the_processor_is_read_now_and_then(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensors = {"k10temp": [Sensor(51.5), Sensor(63.0)], "nvme": [Sensor(80.0)]}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors, raising=False)
    meter, found = MachineMeter(), []
    for clocks.wall in (1.0, 6.0, 11.0):
        found.append(meter.figures()["temperature"])
    assert found == [63.0, None, 63.0]


@pytest.mark.parametrize("sensors", [{}, {"nvme": [80.0]}, None], ids=["none", "not of the processor", "cannot read"])
def test_without_a_sensor_the_temperature_is_unknown(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch, sensors: dict[str, list[float]] | None
) -> None:
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)  # as on macOS
    if sensors is not None:
        there_are = {name: [Sensor(each) for each in values] for name, values in sensors.items()}
        monkeypatch.setattr(psutil, "sensors_temperatures", lambda: there_are, raising=False)
    clocks.wall = 1.0
    assert MachineMeter().figures()["temperature"] is None
