"""The Grokking lab against a plain loop of the published set-up: the time of a step.

`python -m tests.bench.grokking seeds` counts steps to 95 % over seeds 0 to 4, which takes minutes. Settings may follow
that are to differ from the preset, such as `optimizer=muon weight_decay=0.5`, or one `seed`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from cognate_core.arithmetic import answer_loss, beginning, evaluate, optimizers_for, orthogonalise_
from cognate_core.config import TrainingConfig
from cognate_core.presets import PRESETS
from cognate_core.schedule import learning_rate_at
from cognate_core.training.grokfast import GrokFastEMA, GrokFastMA
from tests.arithmetic.plain import PlainModel
from tests.bench.timing import heading, line

EPOCH = 10  # updates: 4,656 problems in batches of 512
ROUNDS = 8
UNDERSTOOD = 0.95  # of the held-out problems


class LabLoop:
    """What a run in the studio does for each step, without its records and files."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config, self.step = config, 0
        start = beginning(config)
        self.model, self.problems, self._batches = start.model, start.problems, start.batches
        self._parameters = list(self.model.parameters())
        self._optimizers = optimizers_for(self.model, config)
        self._filter: GrokFastEMA | GrokFastMA | None = None
        if config.grokfast_enabled and config.grokfast_method == "ema":
            self._filter = GrokFastEMA(self._parameters, config.grokfast_alpha, config.grokfast_lamb)
        elif config.grokfast_enabled:
            self._filter = GrokFastMA(self._parameters, config.grokfast_window, config.grokfast_lamb)

    def epoch(self) -> None:
        for _ in range(EPOCH):
            self.step += 1
            for optimizer in self._optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate_at(self.step, self.config)
                optimizer.zero_grad()
            left, right, answer = self._batches.next()
            loss = answer_loss(self.model(left, right), answer, self.config.stable_max)
            loss.backward()
            loss.item()
            if self.config.orthogonal_gradient:
                orthogonalise_(self._parameters)
            if self._filter is not None:
                self._filter.step()
            for optimizer in self._optimizers:
                optimizer.step()

    def heldout(self) -> float:
        """Accuracy on the held-out problems."""
        return evaluate(self.model, self.problems, self.problems.heldout)[1]

    def train(self) -> float:
        """Accuracy on the training problems."""
        return evaluate(self.model, self.problems, self.problems.train)[1]


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


def main() -> None:
    heading("Grokking lab: a step of 512 problems, held-out and training accuracy every 10 (plain: held-out alone)")
    threads_before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        lab, plain = LabLoop(PRESETS["grokking"].config), PlainLoop()
        loops = {"plain": (plain.epoch, plain.heldout), "lab": (lab.epoch, lab.heldout, lab.train)}
        times: dict[str, list[list[float]]] = {name: [] for name in loops}
        for _ in range(ROUNDS):
            for name, parts in loops.items():
                times[name].append([_seconds(part) / EPOCH for part in parts])
        medians = {
            name: [statistics.median(column) for column in zip(*rounds, strict=True)] for name, rounds in times.items()
        }
        for name, parts in medians.items():
            beside = ", ".join(f"{1000 * part:.1f}" for part in parts)
            line(f"{name}, threads: {threads}", f"{1000 * sum(parts):.1f} ms", f"training, evaluations: {beside}")
        plain_time = sum(medians["plain"])
        alike = sum(medians["lab"][:2]) / plain_time
        line("lab / plain", f"{sum(medians['lab']) / plain_time:.2f}", f"{alike:.2f} without the training accuracy")
    torch.set_num_threads(threads_before)


def _seconds(part: Callable[[], object]) -> float:
    start = time.perf_counter()
    part()
    return time.perf_counter() - start


def steps_to_understand(config: TrainingConfig) -> tuple[int | None, float, float]:
    """Steps until UNDERSTOOD (None: not within max_steps), accuracy then, seconds with a held-out check each epoch."""
    loop, start = LabLoop(config), time.perf_counter()
    accuracy = 0.0
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
