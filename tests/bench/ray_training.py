"""A training step by the local engine, and by one and two workers of a Ray cluster, on the same processors; and how far
the losses of two workers are from those of one."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import ModelTrainer, Record, StepMetrics
from cognate_core.data.loader import MixtureLoader
from cognate_core.training.ray_trainer import RayTrainer, cluster
from cognate_core.training.trainer import TorchTrainer
from tests.bench.timing import heading, line

STEPS, WARM, ROUNDS = 16, 4, 3
SHAPE = {
    "dataset_sources": ["Synthetic"],
    "n_layers": 4,
    "d_model": 128,
    "train_seq_len": 128,
    "batch_size": 8,
    "gradient_accumulation_steps": 2,
    "max_steps": STEPS,
    "save_steps": STEPS,
    "eval_interval": STEPS,
    "precision": "fp32",
}
CONFIG = PRESETS["as-specified"].config.with_overrides(SHAPE)


@dataclass(frozen=True)
class Trained:
    """Losses by step, the median seconds of a step once warm, and the seconds until the first one."""

    losses: list[float]
    step: float
    start: float


def trained(config: TrainingConfig) -> Trained:
    """Train a model."""
    steps: list[StepMetrics] = []
    first: list[float] = []
    began = time.perf_counter()

    def record(record: Record) -> None:
        if isinstance(record, StepMetrics):
            first.append(time.perf_counter() - began)
            steps.append(record)

    trainer: ModelTrainer = RayTrainer(record) if config.engine == "ray" else TorchTrainer(record)
    asyncio.run(trainer.train_model("model", config, lambda *progress: None))
    seconds = [step.seconds for step in steps[WARM:]]
    return Trained([step.loss for step in steps], statistics.median(seconds), first[0])


def main() -> None:
    heading("Several workers: a step of a 4-layer model of width 128, 2 x 8 x 128 tokens, in fp32")
    if importlib.util.find_spec("ray") is None:
        line("the extra cognate-studio[ray] is not installed", "not measured")
        return
    warnings.simplefilter("ignore")  # Ray leaves sockets and logs to the collector
    with tempfile.TemporaryDirectory() as folder:
        loader = MixtureLoader(CONFIG, Path(folder) / "cache", lambda record: None, lambda message: None)
        data = asyncio.run(_prepared(loader))
        ways: dict[str, dict[str, Any]] = {
            f"local, {torch.get_num_threads()} thread(s)": {"engine": "local"},
            "Ray, 1 worker": {"engine": "ray", "ray_workers": 1},
            "Ray, 2 workers": {"engine": "ray", "ray_workers": 2},
        }
        found: dict[str, list[Trained]] = {name: [] for name in ways}
        with cluster.used(CONFIG.with_overrides({"engine": "ray", "ray_workers": 2})):
            for number in range(ROUNDS):
                for name, way in ways.items():
                    place = {"prepared_data": data, "output_dir": str(Path(folder) / f"{number}-{name}")}
                    found[name].append(trained(CONFIG.with_overrides(way).model_copy(update=place)))
    base = statistics.median(each.step for each in next(iter(found.values())))
    for name, several in found.items():
        step = statistics.median(each.step for each in several)
        start = statistics.median(each.start for each in several)
        line(name, f"{1000 * step:.0f} ms", f"{step / base:.2f} of the local one; the first step after {start:.1f} s")
    one, two = found["Ray, 1 worker"][0].losses, found["Ray, 2 workers"][0].losses
    furthest = max(abs(mine - other) / other for mine, other in zip(two, one, strict=True))
    line(
        f"largest difference of the loss, 2 workers to 1, {STEPS} steps",
        f"{furthest:.1e}",
        f"of the loss; an fp32 rounding is {2**-24:.1e}, the losses go from {one[0]:.2f} to {one[-1]:.2f}"
        if all(map(math.isfinite, one + two))
        else "a loss is no number",
    )


async def _prepared(loader: MixtureLoader) -> str:
    await loader.download_dataset("Synthetic", "built in")
    return await loader.create_mixed_training_data()


if __name__ == "__main__":
    main()
