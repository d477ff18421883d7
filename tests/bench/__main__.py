"""Run all benchmarks, or those named."""

from __future__ import annotations

import importlib
import os
import platform
import sys

import torch

BENCHMARKS = (
    "model",
    "training_step",
    "step",
    "time_to_quality",
    "solves",
    "scaling",
    "ray_training",
    "generation",
    "pondering",
    "recall",
    "memory",
    "grokfast",
    "grokking",
    "logging",
    "data",
    "reading",
    "growth",
    "scale",
    "years",
    "pages",
    "rest",
    "sockets",
    "viewers",
    "feel",
    "start",
    "cores",
    "detectors",
    "time_estimates",
)


def main() -> None:
    wanted = sys.argv[1:] or BENCHMARKS
    unknown = set(wanted) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}. Choose from {', '.join(BENCHMARKS)}.")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores ({torch.cpu.get_capabilities()['cpu_name']}), "
        f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    for name in wanted:
        importlib.import_module(f"tests.bench.{name}").main()


main()
