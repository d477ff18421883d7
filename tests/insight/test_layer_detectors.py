"""Layers that stand still or explode are found, and healthy ones are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cognate_core.config import TrainingConfig
from cognate_core.insight.detectors import findings
from cognate_core.insight.drawing import Row
from cognate_core.insight.finding import Finding
from cognate_core.insight.layer_detectors import exploding_layers, still_layers

LAYERS = ["embedding", "layer 1", "layer 2", "memory", "output"]
CONFIG = TrainingConfig()
EMPTY = np.empty(0)
Change = Callable[[int, dict[str, float | None]], None]


def rows_of(
    checks: int = 12, updates: Change = lambda n, of: None, gradients: Change = lambda n, of: None, seed: int = 0
) -> list[Row]:
    """Checks at the steps 1, 10, 20 ... of a noisy, healthy model; both functions change one check's figures."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(checks):
        moved: dict[str, float | None] = dict(zip(LAYERS, (0.01 * rng.lognormal(0, 0.7, 5)).tolist(), strict=True))
        pulled: dict[str, float | None] = dict(zip(LAYERS, rng.lognormal(0, 0.7, 5).tolist(), strict=True))
        updates(number, moved)
        gradients(number, pulled)
        figures = {"updates": list(moved.values()), "gradients": list(pulled.values()), "weights": [0.05] * 5}
        rows.append({"step": max(1, 10 * number), "layers": LAYERS, "magnitudes": [[1] * 24] * 5, **figures})
    return rows


def said(rows: list[Row], config: TrainingConfig = CONFIG) -> list[Finding]:
    """What all detectors say of a run of which nothing but its inside is known."""
    found = findings((EMPTY, EMPTY), (EMPTY, EMPTY), EMPTY, EMPTY, (EMPTY, EMPTY), [], config, layers=rows)
    assert found == [*still_layers(rows, config), *exploding_layers(rows, config)]
    for finding in found:
        config.with_overrides(finding.overrides)  # raises where it is not valid
        assert finding.title and finding.cause.endswith(".")
    return found


def setting(layer: str, value: float | None, since: int = 0, until: int = 99) -> Change:
    def change(number: int, of: dict[str, float | None]) -> None:
        if since <= number < until:
            of[layer] = value

    return change


@pytest.mark.parametrize("seed", range(30))
def test_a_healthy_model_has_nothing_to_say(seed: int) -> None:
    for checks in range(13):
        assert said(rows_of(checks, seed=seed)) == []


def test_a_layer_that_died_is_found_with_a_remedy() -> None:
    (found,) = said(rows_of(updates=setting("layer 2", 1e-9, since=5)))
    assert (found.kind, found.first_step, found.last_step) == ("dead_layer", 50, 110)
    assert found.title == "Layer 2 does not learn (dead layer)"
    assert "since step 50" in found.cause and "too small" in found.cause
    assert found.overrides == {"learning_rate": pytest.approx(CONFIG.learning_rate / 3, rel=0.05)}


def test_without_a_gradient_a_layer_is_dead_although_momentum_and_decay_move_it() -> None:
    (found,) = said(rows_of(gradients=setting("layer 2", 0.0)))
    assert "in any check so far: nothing pulls" in found.cause
    assert (found.first_step, found.advice, found.overrides) == (1, "", {})
    assert said(rows_of(updates=setting("layer 2", 1e-4))) == [], "slow, but it is pulled"


def test_an_embedding_that_does_not_move_and_a_memory_that_is_of_no_use_are_told_as_such() -> None:
    (embedding,) = said(rows_of(updates=setting("embedding", 0.0)))
    assert (embedding.kind, embedding.title) == ("still_embedding", "The word table does not move")
    (memory,) = said(rows_of(updates=setting("memory", 0.0)))
    assert memory.overrides == {"ltm_enabled": False}


@pytest.mark.parametrize(
    "updates",
    [
        setting("layer 2", 0.0, since=10),  # two checks only
        setting("layer 2", 0.0, until=9),  # it woke up
        setting("layer 2", None),  # not a number
        setting("memory", 0.0, since=5),  # the texts of these batches are too short to read it
        lambda n, of: of.update(dict.fromkeys(LAYERS, 0.0)),  # a learning rate of 0
        lambda n, of: of.update(dict.fromkeys(LAYERS[1:], 0.0)),  # most of it
    ],
)
def test_no_layer_is_called_dead_too_soon(updates: Change) -> None:
    assert said(rows_of(updates=updates)) == []


def test_checks_at_which_nothing_moves_do_not_count() -> None:
    def updates(number: int, of: dict[str, float | None]) -> None:
        of["layer 1"] = 0.0 if number > 3 else 0.01
        if number == 11:
            of.update(dict.fromkeys(LAYERS, 0.0))

    (found,) = said(rows_of(updates=updates))
    assert (found.first_step, found.last_step) == (40, 100)


def test_an_exploding_layer_is_found_where_it_explodes() -> None:
    config = CONFIG.with_overrides({"max_grad_norm": 0.0})
    (found,) = said(rows_of(gradients=setting("layer 1", 300.0, since=6, until=9)), config)
    assert (found.kind, found.first_step, found.last_step) == ("exploding_layer", 60, 80)
    assert found.title == "Layer 1 is pulled too hard (exploding gradient)"
    assert set(found.overrides) == {"learning_rate", "max_grad_norm"}


@pytest.mark.parametrize(
    "gradients",
    [
        setting("layer 1", 300.0, since=6, until=7),  # one odd batch
        setting("layer 1", 300.0, since=1),  # it was always so
        setting("memory", 0.001, until=8),  # it began to be used
        lambda n, of: of.update({each: 300.0 for each in LAYERS if n > 6}),  # all of them
        setting("layer 1", None, since=6),  # not a number
        setting("layer 1", 0.0, until=6),  # pulled from then on
    ],
)
def test_no_layer_is_called_exploding_too_soon(gradients: Change) -> None:
    assert said(rows_of(gradients=gradients)) == []


def test_the_lab_has_these_findings_too_and_other_layers_than_the_newest_do_not_count() -> None:
    lab: dict[str, Any] = {"task": "arithmetic", "act_enabled": False, "ltm_enabled": False}
    rows = rows_of(updates=setting("layer 2", 0.0))
    assert [each.kind for each in said(rows, CONFIG.with_overrides(lab))] == ["dead_layer"]
    other = {"step": 120, "layers": ["x"], "weights": [1.0], "gradients": [1.0], "updates": [1.0], "magnitudes": []}
    assert said([*rows, other]) == []
