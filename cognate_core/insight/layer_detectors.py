"""Findings from what was measured inside a model: layers that stand still, and a layer whose gradient explodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from statistics import median

from cognate_core.config import TrainingConfig
from cognate_core.insight.drawing import Row
from cognate_core.insight.finding import Finding, clipping_on, scaled_rate
from cognate_core.insight.words import layer_words

STILL_CHECKS = 3  # the newest checks, all of which must show it
STILL_SHARE = 1e-4  # of what the others move; least of a healthy layer: 0.002, the halting unit before pondering begins

EXPLODES = 10.0  # times its earlier gradient; of five healthy runs, the most was 2.4
OTHERS_GROW = 3.0  # times: if the others grow more, it is not the layer
EARLIER_CHECKS = 3  # that show what is usual
EXPLODED_CHECKS = 2  # in a row: one may have an odd batch

_WITHOUT_IT = {"memory": ("ltm_enabled", "memory"), "halting": ("act_enabled", "pondering")}


def same_layers(rows: Sequence[Row]) -> list[Row]:
    """The rows with the layers of the newest one."""
    return [row for row in rows if row["layers"] == rows[-1]["layers"]]


def still_layers(rows: Sequence[Row], config: TrainingConfig) -> list[Finding]:
    """Layers that do not move although the others do: dead ones, and an embedding that keeps its first values.

    Args:
        rows: as `ProgressReader.layer_figures`, of one model.
    """
    moving = [row for row in same_layers(rows) if any(row["updates"])]  # at a learning rate of 0, nothing moves
    still: dict[str, int] = {}
    for number, layer in enumerate(moving[-1]["layers"] if moving else ()):
        checks = list(takewhile(partial(_is_still, number), reversed(moving)))
        rarely = layer == "memory" and len(checks) < len(moving)  # no text of a batch may be long enough to read it
        if len(checks) >= STILL_CHECKS and not rarely:
            still[layer] = checks[-1]["step"]
    return [_standing(layer, first, moving, config) for layer, first in still.items()]


def _is_still(number: int, row: Row) -> bool:
    """Whether a layer has no gradient or hardly moves, while at least half of the others do."""
    update = row["updates"][number]
    others = [each for n, each in enumerate(row["updates"]) if n != number and each is not None]
    if update is None or not others or not median(others):
        return False
    return bool(row["gradients"][number] == 0 or update <= STILL_SHARE * median(others))


def _standing(layer: str, first: int, moving: Sequence[Row], config: TrainingConfig) -> Finding:
    name, last = layer_words(layer), moving[-1]
    pulled = last["gradients"][last["layers"].index(layer)]
    why = "its steps are too small to matter" if pulled else "nothing pulls at its weights (its gradient is zero)"
    always = first == moving[0]["step"]
    since = "in any check so far" if always else f"since step {first:,}"
    cause = f"{name} has not learned {since}: {why}. The other layers move."
    if not always:
        advice = "Start a new run with a third of the learning rate: too large a step can switch a layer off."
        overrides = scaled_rate(config, 1 / 3)
    elif layer in _WITHOUT_IT:
        setting, word = _WITHOUT_IT[layer]
        advice, overrides = f"Start a new run without {word}: it costs time and does nothing here.", {setting: False}
    else:
        advice, overrides = "", {}
    if layer == "embedding":
        title = "The word table does not move"
        return Finding("still_embedding", first, last["step"], title, cause, advice, overrides)
    return Finding("dead_layer", first, last["step"], f"{name} does not learn (dead layer)", cause, advice, overrides)


def exploding_layers(rows: Sequence[Row], config: TrainingConfig) -> list[Finding]:
    """The first stretch of checks in which one layer's gradient was far larger than before, and larger than all others
    together, which did not grow.

    Args:
        rows: as `ProgressReader.layer_figures`, of one model.
    """
    known = [row for row in same_layers(rows) if row["step"] > 1 and None not in row["gradients"]]
    stretch: list[tuple[int, str, float]] = []  # step, layer, times its earlier gradient
    for place in range(EARLIER_CHECKS, len(known) + 1):
        here = _exploding(known, place) if place < len(known) else None
        if stretch and (here is None or here[0] != stretch[-1][1]):
            if len(stretch) >= EXPLODED_CHECKS:
                break
            stretch = []
        if here:
            stretch.append((known[place]["step"], *here))
    if len(stretch) < EXPLODED_CHECKS:
        return []
    first, last, name = stretch[0][0], stretch[-1][0], layer_words(stretch[0][1])
    clip = "" if config.max_grad_norm else ", and clip the gradient"
    return [
        Finding(
            "exploding_layer",
            first,
            last,
            f"{name} is pulled too hard (exploding gradient)",
            f"The gradient of this layer was up to {max(times for *_, times in stretch):,.0f} times as large as before "
            "and larger than those of all other layers together.",
            f"Start a new run with a third of the learning rate{clip}.",
            {**scaled_rate(config, 1 / 3), **clipping_on(config)},
        )
    ]


def _exploding(rows: Sequence[Row], place: int) -> tuple[str, float] | None:
    """The layer that explodes at this check, and how many times its earlier gradient it has; None if none does."""
    usual = [median(values) for values in zip(*(row["gradients"] for row in rows[:place]), strict=True)]
    now = rows[place]["gradients"]
    largest = max(range(len(now)), key=now.__getitem__)
    others = [n for n in range(len(now)) if n != largest]
    grown = [now[n] / usual[n] for n in others if usual[n]]
    if not usual[largest] or not grown or now[largest] <= math.hypot(*(now[n] for n in others)):
        return None
    times = now[largest] / usual[largest]
    return (rows[place]["layers"][largest], times) if times > EXPLODES and median(grown) < OTHERS_GROW else None
