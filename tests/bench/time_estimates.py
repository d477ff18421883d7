"""The time estimate beside whole small runs: each rehearsed, then trained to its end, in one process.

In processor seconds of one thread, so that what else the computer does counts as little as possible.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import torch

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.data.arithmetic_loader import ArithmeticLoader
from cognate_core.data.loader import MixtureLoader
from cognate_core.training.rehearsal import rehearse
from cognate_core.training.trainer import TorchTrainer
from tests.bench.timing import heading, line

SMALL = PRESETS["first-run"].config.with_overrides(
    {
        "dataset_sources": ["Synthetic"],
        "max_train_samples": 400,
        "max_eval_samples": 200,
        "vocab_size": 1024,
        "train_seq_len": 128,
        "max_seq_len": 128,
        "d_model": 48,
        "n_layers": 4,
        "mem_segment": 64,
        "batch_size": 4,
        "max_steps": 100,
        "eval_interval": 25,
        "save_steps": 50,
        "sample_tokens": 16,
    }
)
RUNS = {
    "plain": SMALL.with_overrides({"act_enabled": False, "ltm_enabled": False}),
    "pondering": SMALL.with_overrides({"ltm_enabled": False}),
    "pondering and memory": SMALL,
    "Grokking lab": PRESETS["grokking"].config.with_overrides({"d_model": 32, "max_steps": 150}),
}


def main() -> None:
    heading("Time estimate and whole runs (processor seconds of one thread)")
    torch.set_num_threads(1)
    clock, time.perf_counter = time.perf_counter, time.process_time
    try:
        for name, config in RUNS.items():
            with tempfile.TemporaryDirectory() as folder:
                found = rehearse(config, Path(folder) / "rehearsal")
                low, high = found.seconds(config)
                took = whole(config, Path(folder) / "run")
            line(
                name,
                f"{low:.1f} to {high:.1f} s, took {took:.1f} s",
                f"{took / low:.2f} x low, {took / high:.2f} x high",
            )
    finally:
        time.perf_counter = clock


def whole(config: TrainingConfig, folder: Path) -> float:
    """Seconds of a run from its first step to its last held-out check."""
    loader: ArithmeticLoader | MixtureLoader = MixtureLoader(config, folder, lambda _: None, lambda _: None)
    if config.task == "arithmetic":
        loader = ArithmeticLoader(config, folder, lambda _: None)
    asyncio.run(loader.download_dataset("Synthetic", "built in"))
    data = asyncio.run(loader.create_mixed_training_data())
    ready = config.model_copy(update={"prepared_data": data, "output_dir": str(folder / "out")})
    trained = asyncio.run(TorchTrainer(lambda _: None).train_model("m", ready, lambda *_: None))
    return float(trained["training_stats"]["seconds"])
