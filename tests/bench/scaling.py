"""Time and peak memory of forward and backward of the full-size model by length, batch and ponder steps.

Each point is measured in a fresh process, whose peak memory is then that of the point.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from multiprocessing.connection import Connection

import torch

from cognate_core.config.presets import PRESETS
from cognate_core.model import CognateModel
from cognate_core.training.hardware import keep_freed_memory
from tests.bench.timing import heading, line

LENGTHS, BATCHES, PONDER_STEPS = (128, 256, 512, 1024, 2048), (1, 2, 4, 8), (1, 2, 4, 8, 16)


def _measure(end: Connection, batch: int, length: int, steps: int, threads: int) -> None:
    """Best of two passes after one to warm up; every token takes `steps` ponder steps."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    model = CognateModel(PRESETS["as-specified"].config.with_overrides({"max_seq_len": 4096, "train_seq_len": length}))
    assert model.pondering is not None
    model.pondering.threshold = float("inf")  # nobody halts before the limit
    tokens = torch.randint(1, model.config.vocab_size, (batch, length + 1))
    best = float("inf")
    for number in range(3):
        start = time.perf_counter()
        output = model(tokens[:, :-1], tokens[:, 1:], max_ponder_steps=steps, keep_logits=False)
        output.loss.backward()
        model.zero_grad()
        if number:
            best = min(best, time.perf_counter() - start)
    end.send((best, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def point(batch: int, length: int, steps: int) -> tuple[float, int]:
    """Seconds and peak bytes."""
    spawn = multiprocessing.get_context("spawn")
    end, other = spawn.Pipe()
    process = spawn.Process(target=_measure, args=(other, batch, length, steps, torch.get_num_threads()))
    process.start()
    other.close()
    measured: tuple[float, int] = end.recv()
    process.join()
    return measured


def main() -> None:
    heading("Scaling: forward and backward of the 25M model with pondering and memory, and the process's peak memory")
    for name, points in (
        ("length", [(2, length, 2) for length in LENGTHS]),
        ("batch", [(batch, 512, 2) for batch in BATCHES]),
        ("ponder steps", [(2, 512, steps) for steps in PONDER_STEPS]),
    ):
        for batch, length, steps in points:
            took, peak = point(batch, length, steps)
            what = f"by {name}: {batch} x {length} tokens, {steps} ponder steps"
            line(what, f"{took:.2f} s", f"{batch * length / took:,.0f} tokens/s, {peak / 2**30:.2f} GiB")
