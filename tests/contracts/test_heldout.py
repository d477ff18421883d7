"""One mean over the datasets: known whole or not at all, and in bits that of all their text."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognate_core.contracts import bits_per_byte
from cognate_core.contracts.heldout import HeldoutMeans, heldout_checks, heldout_means, lowest_loss


def row(loss: float | None, tokens: int = 10, bytes: int | None = 20, **more: Any) -> dict[str, Any]:
    values = {"model_name": "m", "step": 0, "dataset": "a", "accuracy": None, "weight": None}
    return {**values, "loss": loss, "tokens": tokens, "bytes": bytes, **more}


def test_of_nothing_nothing_is_known() -> None:
    assert heldout_means([]) == HeldoutMeans(None, None, None)


@given(loss=st.floats(0, 20), tokens=st.integers(1, 10_000), bytes=st.integers(1, 100_000))
def test_of_one_dataset_it_is_that_of_the_dataset(loss: float, tokens: int, bytes: int) -> None:
    found = heldout_means([row(loss, tokens, bytes)])
    assert found.loss == loss
    assert found.bits_per_byte == pytest.approx(bits_per_byte(loss, tokens, bytes))


def test_a_loss_that_is_no_number_leaves_the_mean_unknown() -> None:
    for loss in (None, math.nan, math.inf):
        assert heldout_means([row(2.0), row(loss)]) == HeldoutMeans(None, None, None)


def test_without_the_bytes_of_one_the_bits_are_unknown() -> None:
    assert heldout_means([row(2.0), row(4.0, bytes=None)]) == HeldoutMeans(3.0, None, None)


def test_answers_are_those_of_the_datasets_that_have_such() -> None:
    assert heldout_means([row(2.0, accuracy=0.5), row(2.0)]).accuracy == 0.5
    assert heldout_means([row(2.0, accuracy=0.5), row(2.0, accuracy=1.0)]).accuracy == 0.75


def test_each_dataset_counts_by_its_weight() -> None:
    """As if their text were one: two thirds of the tokens are of the first, which has 2 bytes a token, the other 5."""
    rows = [row(3.0, weight=2 / 3, accuracy=0.9), row(6.0, bytes=50, weight=1 / 3, accuracy=0.3)]
    found = heldout_means(rows)
    assert found.loss == pytest.approx(4.0) and found.accuracy == pytest.approx(0.7)
    assert found.bits_per_byte == pytest.approx((2 * 3.0 + 6.0) / math.log(2) / (2 * 2 + 5))


def test_what_is_not_learned_from_does_not_count() -> None:
    assert heldout_means([row(3.0, weight=1.0), row(None, weight=0.0)]).loss == 3.0
    assert heldout_means([row(3.0, weight=0.0)]) == HeldoutMeans(None, None, None)


@given(
    weighted=st.lists(st.tuples(st.floats(1e-6, 20), st.floats(0.01, 1)), min_size=1, max_size=5),
    scale=st.floats(0.1, 9),
)
def test_only_the_ratio_of_the_weights_matters(weighted: list[tuple[float, float]], scale: float) -> None:
    found, other = (heldout_means(row(loss, weight=w * s) for loss, w in weighted) for s in (1.0, scale))
    assert found.loss == pytest.approx(other.loss)
    assert min(weighted)[0] * (1 - 1e-9) <= (found.loss or 0.0) <= max(weighted)[0] * (1 + 1e-9)


def test_checks_are_told_apart_by_model_and_step() -> None:
    rows = [row(4.0), row(2.0), row(1.0, step=5), row(3.0, model_name="n"), row(1.0, step=7)]
    checks = heldout_checks(rows)
    assert [(each.model_name, each.step, each.means.loss) for each in checks] == [
        ("m", 0, 3.0),
        ("m", 5, 1.0),
        ("n", 0, 3.0),
        ("m", 7, 1.0),
    ]
    assert lowest_loss(reversed(checks)) == checks[1], "of two that are alike the earlier"
    assert lowest_loss(heldout_checks([row(None)])) is None
