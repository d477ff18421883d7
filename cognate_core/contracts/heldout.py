"""Means of a model's held-out checks over its datasets. Pure functions of rows.

Every single figure for several datasets, and the choice of the best check, comes from here. A dataset is weighted by
its share of the tokens learned from: the mean is what training minimizes, but measured on unseen text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


def perplexity(loss: float) -> float:
    """A model with this loss (nats per token) is as unsure as in a choice among this many equally likely tokens."""
    return math.exp(loss) if loss < 700 else math.inf  # larger values overflow a float


def bits_per_byte(loss: float | None, tokens: float | None, bytes: float | None) -> float | None:
    """How many bits a model with this mean `loss` (nats per token) needs for a byte of its text; None: not known.

    tokens / bytes x log2(e) x loss (Gao et al., "The Pile", arXiv 2101.00027, 3.1). The end of each text counts as a
    token but not as a byte (as in openai/parameter-golf): a model has to know where a text ends, too.
    """
    return None if loss is None or tokens is None or not bytes else loss * tokens / (math.log(2) * bytes)


@dataclass(frozen=True, slots=True)
class HeldoutMeans:
    """Means over the datasets. None: not measured, or one value was not a number.

    Attributes:
        loss: nats per token.
        bits_per_byte: of the text of all datasets together.
        accuracy: share of right answers, over the datasets that have right and wrong answers.
    """

    loss: float | None
    bits_per_byte: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class HeldoutCheck:
    """One check of a model: the means over its datasets at a step."""

    model_name: str
    step: int
    means: HeldoutMeans


def heldout_means(rows: Iterable[Row]) -> HeldoutMeans:
    """The means over `rows`, one for each dataset, with loss, tokens, bytes, accuracy and weight."""
    rows = list(rows)
    loss = _mean((row["loss"], row["weight"]) for row in rows)
    token_bytes = _mean(
        (row["bytes"] / row["tokens"] if row["bytes"] and row["tokens"] else None, row["weight"]) for row in rows
    )
    accuracy = _mean((row["accuracy"], row["weight"]) for row in rows if row["accuracy"] is not None)
    return HeldoutMeans(loss, bits_per_byte(loss, 1, token_bytes), accuracy)


def heldout_checks(rows: Iterable[Row]) -> list[HeldoutCheck]:
    """The checks of a run in the order written. `rows` also have model_name and step."""
    of_checks: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        of_checks.setdefault((row["model_name"], row["step"]), []).append(row)
    return [HeldoutCheck(model_name, step, heldout_means(each)) for (model_name, step), each in of_checks.items()]


def lowest_loss(checks: Iterable[HeldoutCheck]) -> HeldoutCheck | None:
    """The check with the lowest loss, the earliest one of equals; None if no check has a loss."""
    known = [(check.means.loss, check.step, check) for check in checks if check.means.loss is not None]
    return min(known, key=lambda each: each[:2])[2] if known else None


def _mean(weighted: Iterable[tuple[float | None, float | None]]) -> float | None:
    """The mean of (value, weight) pairs. None: nothing has a weight, or a weighted value is not a number."""
    total = weights = 0.0
    for value, weight in weighted:
        weight = 1.0 if weight is None else weight
        if weight:
            total += weight * (math.nan if value is None else value)
            weights += weight
    return total / weights if weights and math.isfinite(total) else None
