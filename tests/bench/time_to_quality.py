"""Two ways to train, in turns: how long each takes to a quality, and how good each is after equal time.

`python -m tests.bench.time_to_quality --reference cognate-25m --candidate cognate-25m optimizer=muon learning_rate=2e-3
--updates 200 --seconds 3600 --seeds 0 1 2`: after a preset's name settings may follow.

Each turn trains one of the two for some seconds, then reads the held-out rows, which takes no part of its time. Turns
grow to their full length: most is learned at the beginning, and between two checks a straight line is drawn. It ends
when the reference has made its updates, the candidate is as good as the reference was then, and both have trained for
`--seconds`, if given. For a learning rate that falls to its end in that time, give the candidate a fitting `max_steps`.
With `--questions`, the candidate then answers held-out questions, and may end before the reference.
Without arguments it is a short trial.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import get_preset
from cognate_core.contracts import END_OF_TEXT_ID, bits_per_byte
from cognate_core.contracts.answers import is_right, wilson_interval
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.data.questions import examination
from cognate_core.training.answering import answers
from cognate_core.training.hardware import keep_freed_memory, precision_for
from cognate_core.training.text_loop import TextLoop
from tests.bench.timing import heading, line
from tests.there import there

WANTED_TIME, WANTED_QUALITY = 4.0, 0.75  # a quarter of the time to the same quality; a quarter less after equal time
_DATA = "dataset_sources=Synthetic"  # which everybody has
SHORT = ["--reference", "first-run", _DATA, "--candidate", "first-run", _DATA, "optimizer=muon", "grokfast_enabled=off"]
SHORT += ["--updates", "20", "--seconds", "20", "--turn", "5", "--rows", "30"]


def quality_of(loop: TextLoop) -> float:
    """Bits per byte of all held-out rows."""
    rows = loop.full_heldout()
    nats, tokens = sum(row.loss * row.tokens for row in rows), sum(row.tokens for row in rows)
    return bits_per_byte(nats / tokens, tokens, sum(there(row.bytes) for row in rows)) or math.nan


class Contestant:
    """One way to train a model.

    Attributes:
        seconds: spent on training steps.
        curve: seconds, updates and held-out bits per byte, at each check.
    """

    def __init__(self, config: TrainingConfig, cache: Path) -> None:
        self.config, self.seconds = config, 0.0
        self.curve: list[tuple[float, int, float]] = []
        loader = MixtureLoader(config, cache, lambda _: None, lambda _: None)

        async def prepared() -> str:
            for name in config.dataset_sources:
                await loader.download_dataset(name, name)
            return await loader.create_mixed_training_data()

        self._data = PreparedData(Path(asyncio.run(prepared())))
        if self._data.report.fallback:
            sys.exit("None of the datasets could be had: COGNATE_DATASETS_DIR names no folder that has them.")
        self._loop = TextLoop(
            "bench", config, self._data, cache, precision_for(config), lambda _: None, lambda *_: None
        )
        self._check()

    @property
    def updates(self) -> int:
        return self._loop.step

    @property
    def quality(self) -> float:
        return self.curve[-1][2]

    @property
    def ended(self) -> bool:
        return self.updates >= self.config.max_steps

    def turn(self, seconds: float, updates: int | None = None) -> None:
        """Train for so long, or to so many updates if that comes first; then check. Nothing once it has ended."""
        if self.ended:
            return
        end = min(self.config.max_steps, math.inf if updates is None else updates)
        until = self.seconds + seconds
        while self.seconds < until and self.updates < end:
            start = time.perf_counter()
            self._loop._one_step(self.updates + 1)
            self.seconds += time.perf_counter() - start
        self._check()

    def ask(self, limit: int) -> None:
        """Print how many held-out questions of each dataset it has right, and how many one fixed answer would."""
        tokenizer = self._data.tokenizer()
        for name in self._data.sources:
            asked = examination(self._data, name, limit, seed=0)
            if asked is None:
                line(f"  {name}", "nothing", "that can be marked")
                continue
            prompts = [[END_OF_TEXT_ID, *tokenizer.encode(each.prompt).ids] for each in asked.questions]
            texts = tokenizer.decode_batch(answers(self._loop.model.eval(), prompts, asked.longest))
            right, fixed = (
                sum(is_right(text, each.answer, name) for text, each in zip(given, asked.questions, strict=True))
                for given in (texts, [f"#### {asked.commonest}"] * len(texts))
            )
            low, high = wilson_interval(right, len(texts))
            line(f"  {name}: {right} of {len(texts)} right", f"{low:.0%} to {high:.0%}")
            line("    always the commonest answer", f"{fixed} of {len(texts)}")
            print(f"    {asked.questions[0].prompt}{texts[0]}\n    ({asked.questions[0].answer} is right)")

    def _check(self) -> None:
        self.curve.append((self.seconds, self.updates, quality_of(self._loop)))


def seconds_to(target: float, curve: Sequence[tuple[float, int, float]]) -> float | None:
    """When a curve came down to a quality, in a straight line between two checks; None if it did not."""
    for (before, _, worse), (after, _, better) in itertools.pairwise(curve):
        if better <= target:
            return before + (after - before) * (worse - target) / (worse - better)
    return None


def compete(reference: Contestant, candidate: Contestant, updates: int, seconds: float, turn: float) -> float:
    """Train both in turns; the quality that the reference had after its updates."""
    target: float | None = None
    while True:
        reference.turn(_growing(turn, reference), updates if target is None else None)
        if target is None and (reference.updates >= updates or reference.ended):
            target = reference.quality
        candidate.turn(_growing(turn, candidate))
        for name, each in (("reference", reference), ("candidate", candidate)):
            line(f"  {name}: {each.updates:,} updates, {each.seconds:,.0f} s", f"{each.quality:.4f}", "bits per byte")
        reached = target is not None and (candidate.quality <= target or candidate.ended)
        if (
            target is not None
            and reached
            and all(each.ended or each.seconds >= seconds for each in (reference, candidate))
        ):
            return target


def _growing(turn: float, contestant: Contestant) -> float:
    """The seconds of the next turn: a tenth of a full one at first, then as long as all before together."""
    return min(turn, max(turn / 10, contestant.seconds))


def main(arguments: Sequence[str] = tuple(SHORT)) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.time_to_quality")
    for name in ("reference", "candidate"):
        parser.add_argument(f"--{name}", nargs="+", required=True, metavar=("PRESET", "SETTING=VALUE"))
    parser.add_argument("--updates", type=int, default=200, help="of the reference, which set the quality to reach")
    parser.add_argument("--seconds", type=float, default=0.0, help="of training that both have at least")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--turn", type=float, default=60.0, help="most seconds between two checks")
    parser.add_argument("--questions", type=int, default=0, help="of each dataset, for the candidate at the end")
    parser.add_argument("--rows", type=int, default=100, help="held-out rows of each dataset")
    asked = parser.parse_args(arguments)
    heading(f"Time to quality: {' '.join(asked.candidate)} against {' '.join(asked.reference)}")
    keep_freed_memory()
    quicker, better = [], []
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as folder:
            reference, candidate = (
                Contestant(_config(asked_for, seed, asked.rows), Path(folder))
                for asked_for in (asked.reference, asked.candidate)
            )
            target = compete(reference, candidate, asked.updates, asked.seconds, asked.turn)
            if asked.questions:
                candidate.ask(asked.questions)
        its, other = (seconds_to(target, each.curve) for each in (reference, candidate))
        line(f"seed {seed}: the reference after {asked.updates:,} updates", f"{target:.4f}", "bits per byte")
        for name, took in (("reference", its), ("candidate", other)):
            line(f"seed {seed}: {name}, seconds to this quality", f"{took:.1f}" if took else "not reached")
        if its and other:
            quicker.append(its / other)
        if asked.seconds:
            better.append(at(asked.seconds, candidate.curve) / at(asked.seconds, reference.curve))
    for ratios, what, wanted in (
        (quicker, "time to the same quality, reference / candidate", f"wanted {WANTED_TIME:g} at least"),
        (better, "bits per byte after equal time, candidate / reference", f"wanted {WANTED_QUALITY:g} at most"),
    ):
        if ratios:
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            line(what, f"{statistics.median(ratios):.2f}", f"{each}; {wanted}; threads: {torch.get_num_threads()}")


def _config(asked_for: Sequence[str], seed: int, rows: int) -> TrainingConfig:
    """A preset with settings laid over it."""
    preset, *settings = asked_for
    changes = dict(each.split("=", 1) for each in settings)
    return get_preset(preset).config.with_overrides({**changes, "seed": seed, "max_eval_samples": rows})


def at(seconds: float, curve: Sequence[tuple[float, int, float]]) -> float:
    """The quality of a curve after so many seconds; of one that ended before, its last."""
    return float(np.interp(seconds, [each[0] for each in curve], [each[2] for each in curve]))


if __name__ == "__main__":
    main(sys.argv[1:] or SHORT)
