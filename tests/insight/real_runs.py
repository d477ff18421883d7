"""Real runs as they were measured, and the rules by which what a detector says of them is true or a false alarm.

The rules share nothing with the detectors: plain means, all held-out text, and a twin run at a lower learning rate. The
benchmark `detectors` trains the runs; this file loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cognate_core.config import TrainingConfig
from cognate_core.insight.detectors import findings
from cognate_core.insight.drawing import Curve
from cognate_core.insight.finding import Finding

FIXTURE = Path(__file__).parent / "curves_of_real_runs.json"
BASE = TrainingConfig(
    dataset_sources=["Synthetic"],
    max_train_samples=1500,
    max_eval_samples=300,
    train_seq_len=96,
    max_seq_len=96,
    mem_segment=32,
    mem_writes=4,
    mem_capacity=64,
    d_mem=16,
    d_model=32,
    n_layers=2,
    n_heads=2,
    vocab_size=400,
    max_act_steps=3,
    act_inference_steps=3,
    act_enabled=False,
    ltm_enabled=False,
    grokfast_enabled=False,
    max_steps=120,
    batch_size=8,
    gradient_accumulation_steps=1,
    learning_rate=3e-3,
    eval_interval=15,
    sample_tokens=0,
    save_steps=10_000_000,
    precision="fp32",
)

Checks = list[tuple[int, float | None]]
"""Step and held-out loss; None where it is no number."""


@dataclass(frozen=True, slots=True)
class RealRun:
    """What one run measured. wrong: the kind of finding that it was made to show; None for a run as it should be."""

    name: str
    wrong: str | None
    corpus: str
    overrides: dict[str, Any]  # over BASE
    losses: list[float | None]  # of steps 1, 2, ...; None where it is no number
    grad_norms: list[float | None]
    checks: Checks  # as the studio measures them
    full_checks: Checks  # the same over all held-out text
    third: float | None = None  # last of full_checks of a twin at a third of the learning rate, where that may be high

    @property
    def config(self) -> TrainingConfig:
        return BASE.with_overrides(self.overrides)


def save(runs: Iterable[RealRun], path: Path = FIXTURE) -> None:
    rows = [json.dumps(asdict(run), separators=(",", ":")) for run in runs]
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def saved(path: Path = FIXTURE) -> list[RealRun]:
    """The runs as `save` wrote them."""
    return [RealRun(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def said_of(run: RealRun, until: int | None = None) -> list[Finding]:
    """What the detectors say of a run; `until` a step, as if it had come no further."""
    losses = run.losses[:until]
    steps = np.arange(1.0, len(losses) + 1)
    values = np.array(losses, dtype=np.float64)
    known = np.isfinite(values)
    curve = steps[known], values[known]
    rows = [{"step": step, "dataset": "d", "loss": loss} for step, loss in run.checks if step <= len(losses)]
    norms = np.array(run.grad_norms[:until], dtype=np.float64)
    gradient: Curve = (steps[np.isfinite(norms)], norms[np.isfinite(norms)])
    return findings(curve, curve, np.ones(known.sum()), steps[~known], gradient, rows, run.config)


# The rules

SPIKE_NATS = 0.25  # above the mean of its 20 neighbours
RISE_NATS = 0.05
DIVERGED_NATS = 0.3
TWIN_NATS = 0.02
FLAT_NATS = 0.06  # about a hundredth of the loss of guessing
NEIGHBOURS = 10  # on each side


def is_true(finding: Finding, run: RealRun) -> bool:
    """Whether the rule for its kind bears a finding out."""
    return RULES[finding.kind](finding, run)


def _losses(run: RealRun) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(run.losses, dtype=np.float64)


def _full(run: RealRun) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(run.full_checks, dtype=np.float64).reshape(-1, 2).T


def _spiked(finding: Finding, run: RealRun) -> bool:
    """The highest loss of the band is far above the mean of its neighbours outside of it."""
    losses = _losses(run)
    first, last = finding.first_step - 1, finding.last_step - 1
    beside = np.r_[losses[max(0, first - NEIGHBOURS) : first], losses[last + 1 : last + 1 + NEIGHBOURS]]
    return bool(np.nanmax(losses[first : last + 1]) > np.nanmean(beside) + SPIKE_NATS)


def _diverged(finding: Finding, run: RealRun) -> bool:
    """Several losses are no number, or the last tenth is far above the best tenth."""
    losses = _losses(run)
    tenths = [float(np.nanmean(tenth)) for tenth in np.array_split(losses, 10)]
    return bool(np.isnan(losses[-3:]).all() or tenths[-1] > min(tenths) + DIVERGED_NATS)


def _rate_was_too_high(finding: Finding, run: RealRun) -> bool:
    """The same run at a third of the rate ends better. Not known to be so counts as false."""
    return run.third is not None and run.third < (run.full_checks[-1][1] or np.inf) - TWIN_NATS


def _stood_still(finding: Finding, run: RealRun) -> bool:
    """Over the band, the loss on all held-out text hardly fell."""
    steps, losses = _full(run)
    before = losses[np.abs(steps - finding.first_step).argmin()]
    after = losses[np.abs(steps - finding.last_step).argmin()]
    return bool(before - after < FLAT_NATS)


def _learned_by_heart(finding: Finding, run: RealRun) -> bool:
    """The loss on all held-out text ends above its lowest, the training loss below what it was then."""
    steps, losses = _full(run)
    training, best = _losses(run), int(steps[losses.argmin()])
    then = np.nanmean(training[max(0, best - NEIGHBOURS) : best + NEIGHBOURS])
    return bool(losses[-1] > losses.min() + RISE_NATS and np.nanmean(training[-NEIGHBOURS:]) < then)


def _understood_late(finding: Finding, run: RealRun) -> bool:
    """At the band's end, the loss on all held-out text is less than half of what it was at its beginning."""
    steps, losses = _full(run)
    before = losses[np.abs(steps - finding.first_step).argmin()]
    return bool(losses[np.abs(steps - finding.last_step).argmin()] < before / 2)


RULES: dict[str, Callable[[Finding, RealRun], bool]] = {
    "spike": _spiked,
    "divergence": _diverged,
    "learning_rate_too_high": _rate_was_too_high,
    "plateau": _stood_still,
    "overfitting": _learned_by_heart,
    "grokking": _understood_late,
}
