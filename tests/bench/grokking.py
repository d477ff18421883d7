"""The Grokking lab against a plain loop of the published set-up: the time of a step.

`python -m tests.bench.grokking seeds` counts steps to 95 % over seeds 0 to 4, which takes minutes. Settings may follow
that are to differ from the preset, such as `optimizer=muon weight_decay=0.5`, or one `seed`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import Evaluation, Record
from cognate_core.data.arithmetic_loader import ArithmeticLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.training.arithmetic_loop import ArithmeticLoop
from cognate_core.training.hardware import keep_freed_memory, precision_for
from cognate_core.training.trainer import _tee
from tests.arithmetic.plain import PlainModel
from tests.bench.timing import heading, in_turns, line

EPOCH = 10  # updates: 4,656 problems in batches of 512
ROUNDS = 8
UNDERSTOOD = 0.95  # of the held-out problems


class LabLoop:
    """The loop of a run in the studio, with all that it measures, records and saves."""

    def __init__(self, config: TrainingConfig, folder: Path) -> None:
        data = asyncio.run(ArithmeticLoader(config, folder, lambda _: None).create_mixed_training_data())
        self._checks: list[Evaluation] = []
        log = (folder / "training_log.jsonl").open("w", encoding="utf-8")
        self._loop = ArithmeticLoop(
            "bench",
            config,
            PreparedData(Path(data)),
            folder,
            precision_for(config),
            _tee(self._record, log),
            lambda *_: None,
            log.flush,
        )

    @property
    def step(self) -> int:
        return self._loop.step

    def epoch(self) -> None:
        for _ in range(EPOCH):
            self._loop._one_step(self._loop.step + 1)

    def heldout(self) -> float:
        """Accuracy on the held-out problems; every hundred steps a checkpoint."""
        self._loop._check_when_due()
        if self.step % self._loop._config.save_steps == 0:
            self._loop.save()
        return self._checks[-1].accuracy or 0.0

    def _record(self, record: Record) -> None:
        if isinstance(record, Evaluation):
            self._checks.append(record)


class PlainLoop:
    """The published set-up, plainly: all positions, a loop over the tensors for filter and optimizer."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = PlainModel(97, d_model=128, n_layers=2, n_heads=4)
        self._train, self._heldout = torch.randperm(97 * 96).split(97 * 48)
        self._optimizer = torch.optim.Adam(
            self.model.parameters(), lr=1e-3, weight_decay=0.005, betas=(0.9, 0.98), foreach=False
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda update: min(1.0, update / 10))
        self._average: dict[str, torch.Tensor] = {}

    def epoch(self) -> None:
        self._train = self._train[torch.randperm(len(self._train))]
        for rows in self._train.split(512):
            logits, answer = self._answers(rows)
            loss = F.cross_entropy(logits, answer)
            loss.item()
            self.model.zero_grad()
            loss.backward()
            for name, weight in self.model.named_parameters():
                assert weight.grad is not None
                self._average[name] = self._average.get(name, weight.grad) * 0.98 + weight.grad * 0.02
                weight.grad = weight.grad + self._average[name] * 2.0
            self._optimizer.step()
            self._schedule.step()

    def heldout(self) -> float:
        """Accuracy on the held-out problems."""
        right = 0.0
        with torch.no_grad():
            for rows in self._heldout.split(512):
                logits, answer = self._answers(rows)
                F.cross_entropy(logits, answer).item()
                right += (logits.argmax(-1) == answer).sum().item()
        return right / len(self._heldout)

    def _answers(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = rows // 96, rows % 96 + 1
        return self.model(left, right), left * right % 97


def plain_epoch() -> Callable[[], None]:
    """Ten steps and a check."""
    loop = PlainLoop()

    def epoch() -> None:
        loop.epoch()
        loop.heldout()

    return epoch


def lab_epoch() -> Callable[[], None]:
    """The same, as a run does it."""
    keep_freed_memory()
    folder = tempfile.TemporaryDirectory()
    loop = LabLoop(PRESETS["grokking"].config, Path(folder.name))

    def epoch(folder: object = folder) -> None:  # the folder stays as long as the function
        loop.epoch()
        loop.heldout()

    return epoch


def main() -> None:
    heading("Grokking lab: a step of 512 problems, with the held-out accuracy every 10 steps")
    for threads in (1, 2):
        times = in_turns({"plain": plain_epoch, "lab": lab_epoch}, ROUNDS, threads)
        medians = {name: statistics.median(each) / EPOCH for name, each in times.items()}
        for name, seconds in medians.items():
            line(f"{name}, threads: {threads}", f"{1000 * seconds:.1f} ms")
        line("lab / plain", f"{medians['lab'] / medians['plain']:.2f}", "wanted 0.5 at most")


def steps_to_understand(config: TrainingConfig) -> tuple[int | None, float, float]:
    """Steps until UNDERSTOOD (None: not within max_steps), accuracy then, seconds with a held-out check each epoch."""
    accuracy = 0.0
    with tempfile.TemporaryDirectory() as folder:
        loop, start = LabLoop(config, Path(folder)), time.perf_counter()
        while loop.step < config.max_steps and accuracy < UNDERSTOOD:
            loop.epoch()
            accuracy = loop.heldout()
    return loop.step if accuracy >= UNDERSTOOD else None, accuracy, time.perf_counter() - start


def seeds(changes: dict[str, str]) -> None:
    heading(f"Grokking lab: steps to {UNDERSTOOD:.0%} of the held-out problems")
    found = []
    for seed in [changes["seed"]] if "seed" in changes else range(5):
        config = PRESETS["grokking"].config.with_overrides({**changes, "seed": seed})
        steps, accuracy, seconds = steps_to_understand(config)
        found.append((steps or float("inf"), seconds))
        line(f"seed {seed}", str(steps or "not reached"), f"{accuracy:.1%}, {seconds:.1f} s")
    steps, seconds = (statistics.median(column) for column in zip(*found, strict=True))
    line("median", f"{steps:.0f}", f"{seconds:.1f} s, threads: {torch.get_num_threads()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["seeds"]:
        seeds(dict(each.split("=", 1) for each in sys.argv[2:]))
    else:
        main()
