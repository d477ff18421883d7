"""Detectors on real runs: how often they speak of a healthy one, and which of the bad ones they find.

Fifty small models are trained as a person would, more than a dozen each wrong in a way that its name tells, in one
process on text made here. The rules that tell a true finding from a false alarm stand in `tests/insight/real_runs.py`.
`python -m tests.bench.detectors` also writes what was measured as the fixture beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import random
import string
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cognate_core.contracts import Evaluation, Record, StepMetrics
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import Diverged
from cognate_core.training.hardware import Precision
from cognate_core.training.text_loop import TextLoop
from tests.bench.timing import heading
from tests.insight.real_runs import RULES, Checks, RealRun, is_true, said_of, save

HEALTHY = 50
MAY_BE_HIGH = 4e-3  # a learning rate from which a run gets its twin
FULL_EVERY = 3  # checks: all held-out text is read at each of so many, and at the last


def planned() -> list[RealRun]:
    """All runs, with nothing measured yet; always the same."""
    return [RealRun(*each, [], [], [], []) for each in (*_healthy(), *_wrong())]


def _healthy() -> Iterator[tuple[str, None, str, dict[str, Any]]]:
    rng = random.Random(7)
    for number in range(HEALTHY):
        grokfast = rng.random() < 0.5
        yield (
            f"healthy {number}",
            None,
            rng.choice(["problems", "problems", "sums", "stories"]),
            {
                "d_model": rng.choice([16, 32, 48]),
                "n_layers": rng.choice([1, 2, 3]),
                "max_steps": rng.choice([60, 90, 120, 200, 300]),
                "learning_rate": float(f"{10 ** rng.uniform(-3.5, -1.7):.1e}"),  # 3e-4 to 2e-2
                "batch_size": rng.choice([1, 2, 4, 8, 8]),
                "warmup_ratio": rng.choice([0.0, 0.05, 0.1]),
                "grokfast_enabled": grokfast,
                "grokfast_keep_step_size": grokfast and rng.random() < 0.5,
                "act_enabled": rng.random() < 0.3,
                "ltm_enabled": rng.random() < 0.3,
                "weight_decay": rng.choice([0.0, 0.1]),
                "eval_interval": rng.choice([10, 15, 25]),
                "seed": rng.randrange(1000),
            },
        )


def _wrong() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for seed, rate in enumerate((0.1, 0.3, 1.0)):
        yield f"rate {rate}", "learning_rate_too_high", "problems", {"learning_rate": rate, "seed": seed}
    yield "rate 0.2 without clipping", "learning_rate_too_high", "sums", {"learning_rate": 0.2, "max_grad_norm": 0.0}
    for seed, (corpus, rows) in enumerate((("problems", 20), ("problems", 60), ("stories", 40), ("sums", 60))):
        few = {"max_train_samples": rows, "d_model": 48, "n_layers": 3, "max_steps": 300, "learning_rate": 6e-3}
        yield f"{rows} {corpus}, often", "overfitting", corpus, {**few, "weight_decay": 0.0, "seed": seed}
    for rate, corpus in ((1e-7, "problems"), (1e-6, "sums"), (1e-8, "stories")):
        yield f"rate {rate}", "plateau", corpus, {"learning_rate": rate, "max_steps": 200}
    yield "nothing to learn", "plateau", "noise", {"max_steps": 300, "learning_rate": 6e-3}
    wild = {"max_grad_norm": 0.0, "warmup_ratio": 0.0, "n_layers": 3}
    yield "rate 1.0 at once", "learning_rate_too_high", "sums", {**wild, "learning_rate": 1.0}
    growing = {"learning_rate": 0.7, "warmup_ratio": 0.9, "weight_decay": 0.0, "grokfast_lamb": 10.0}
    yield "growing rate, strong filter", "divergence", "problems", {**growing, "grokfast_enabled": True}
    yield "growing rate", "divergence", "stories", {**wild, "learning_rate": 0.5, "warmup_ratio": 1.0}
    for seed in (1, 2):
        odd = {"batch_size": 1, "max_steps": 250, "learning_rate": 4e-3, "seed": seed}
        yield f"odd rows, seed {seed}", "spike", "odd", odd


def write_corpora(folder: Path) -> dict[str, dict[str, Any]]:
    """Write the texts that are not built in; what a config needs for each."""
    rng = random.Random(11)

    def sums(count: int) -> list[str]:
        pairs = [(rng.randrange(100), rng.randrange(100)) for _ in range(count)]
        return [f"What is {a} plus {b}? It is {a + b}." for a, b in pairs]

    def letters(count: int) -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=count))

    who, did, what = (
        ("The cat", "A dog", "My aunt", "The king"),
        ("sees", "likes", "hears"),
        ("rain", "bread", "a song"),
    )
    where, when = ("here", "at home", "by the river", "in town"), ("today", "at night", "in May", "again", "often")
    texts = {
        "sums": sums(3000),
        "stories": [
            " ".join(f"{' '.join(map(rng.choice, (who, did, what, where, when)))}." for _ in range(rng.randrange(2, 6)))
            for _ in range(3000)
        ],
        "noise": [letters(40) for _ in range(3000)],
        "odd": [*sums(3900), *(letters(60).upper() for _ in range(30))],
    }
    for name, rows in texts.items():
        lines = "".join(json.dumps({"text": row}) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return {"problems": {}, **{name: {"dataset_path": str(folder / f"{name}.jsonl")} for name in texts}}


def train(planned_run: RealRun, corpora: dict[str, dict[str, Any]], cache: Path) -> RealRun:
    """The run with what it measured, numbers to four digits."""
    config = planned_run.config.with_overrides(corpora[planned_run.corpus])

    async def prepare() -> str:
        loader = MixtureLoader(config, cache, lambda record: None, lambda message: None)
        await loader.download_dataset("Synthetic", "built in")
        return await loader.create_mixed_training_data()

    steps: list[StepMetrics] = []
    checks: Checks = []
    full_checks: Checks = []

    def record(item: Record) -> None:
        if isinstance(item, StepMetrics):
            steps.append(item)
        elif isinstance(item, Evaluation):
            checks.append((item.step, _rounded(item.loss)))
            if len(checks) % FULL_EVERY == 1 or item.step == config.max_steps:
                full_checks.append((item.step, _rounded(loop.full_heldout()[0].loss)))

    with tempfile.TemporaryDirectory() as folder:
        data = PreparedData(Path(asyncio.run(prepare())))
        fp32 = Precision("fp32", "fp32, as set")
        loop = TextLoop("m", config, data, Path(folder), fp32, record, lambda *progress: None)
        loop.save = lambda: None  # type: ignore[method-assign]  # each best check would write a checkpoint
        with contextlib.suppress(Diverged):  # some are made to
            loop.run()
    return RealRun(
        planned_run.name,
        planned_run.wrong,
        planned_run.corpus,
        planned_run.overrides,
        [_rounded(each.loss) for each in steps],
        [_rounded(each.grad_norm) for each in steps],
        checks,
        full_checks,
    )


def with_twin(run: RealRun, corpora: dict[str, dict[str, Any]], cache: Path) -> RealRun:
    """The run, trained; and how its twin at a third of the learning rate ends, where the rate may be too high."""
    measured = train(run, corpora, cache)
    rate = run.config.learning_rate
    if rate < MAY_BE_HIGH:
        return measured
    changes = {"learning_rate": rate / 3, "eval_interval": run.config.max_steps}
    twin = train(dataclasses.replace(run, overrides={**run.overrides, **changes}), corpora, cache)
    return dataclasses.replace(measured, third=twin.full_checks[-1][1])


def trained() -> Iterator[RealRun]:
    """Every planned run, trained."""
    torch.set_num_threads(1)  # the models are tiny
    with tempfile.TemporaryDirectory() as folder:
        corpora = write_corpora(Path(folder))
        for run in planned():
            yield with_twin(run, corpora, Path(folder) / "cache")


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def report(runs: list[RealRun]) -> None:
    """Print, for each kind of finding: how often it was said of healthy runs, how often falsely, and what was found."""
    said, false = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    made, found = Counter[str](), Counter[str]()
    for number, run in enumerate(runs):
        kinds = said_of(run)
        if run.wrong is None:
            said.update((finding.kind, number % 2) for finding in kinds)
            false.update((finding.kind, number % 2) for finding in kinds if not is_true(finding, run))
        else:
            too_high = {"divergence", "learning_rate_too_high"}
            counts_as = too_high if run.wrong in too_high else {run.wrong}
            made[run.wrong] += 1
            found[run.wrong] += any(finding.kind in counts_as for finding in kinds)
    print(f"{'':<24} {'tuned on these':>22} {'never looked at':>22} {'of the bad runs':>17}")
    print(f"{'':<24} {'said':>10} {'false':>11} {'said':>10} {'false':>11} {'found':>17}")
    for kind in RULES:
        halves = [f"{counts[kind, half]}" for half in (0, 1) for counts in (said, false)]
        of_bad = f"{found[kind]} of {made[kind]}" if made[kind] else "-"
        print(f"{kind:<24} {halves[0]:>10} {halves[1]:>11} {halves[2]:>10} {halves[3]:>11} {of_bad:>17}", flush=True)


def main() -> None:
    heading(f"Detectors: what they say of {HEALTHY} healthy runs, half of them never used to tune, and of bad ones")
    report(list(trained()))


if __name__ == "__main__":
    measured = list(trained())
    save(measured)
    report(measured)
