"""What a sweep of the learning rate suggests: cases whose right answer is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cognate_core.insight.charts import View
from cognate_core.insight.rate_finder import rate_chart, smooth_losses, suggested_rate

RATES = [1e-5 * 1e5 ** (n / 98) for n in range(99)]  # as the search has them
STEP = RATES[1] / RATES[0]


def descent(curvature: float) -> list[float]:
    """Losses of gradient descent on curvature / 2 * w^2, from w = 1: it diverges where rate > 2 / curvature."""
    weight, losses = 1.0, []
    for rate in RATES:
        weight *= 1 - rate * curvature
        losses.append(curvature / 2 * weight**2)
        if losses[-1] > 1.1 * curvature / 2:
            break
    return losses


@pytest.mark.parametrize("curvature", [10.0, 100.0, 1000.0])
def test_gradient_descent_gets_a_rate_at_which_it_converges_and_not_a_tiny_one(curvature: float) -> None:
    losses = descent(curvature)
    found = suggested_rate(RATES[: len(losses)], losses)
    assert found is not None
    assert 0.02 * 2 / curvature < found < 2 / curvature / 5


def test_a_problem_ten_times_as_steep_gets_a_tenth_of_the_rate() -> None:
    once, more = (suggested_rate(RATES[: len(losses)], losses) for losses in (descent(30.0), descent(300.0)))
    assert once is not None and more is not None
    assert once / more == pytest.approx(10, rel=STEP**2 - 1)  # they lie on the same grid of rates


def valley(rates: list[float]) -> npt.NDArray[np.float64]:
    """Flat, falling around 1e-3, lowest at 1e-2, then rising."""
    place = np.log10(rates)
    return 8 - 3 / (1 + np.exp(-(place + 3) / 0.15)) + np.maximum(0.0, place + 2) ** 2 * 20


def test_it_is_a_tenth_of_the_rate_with_the_lowest_loss_with_noise_too() -> None:
    smooth = suggested_rate(RATES, valley(RATES).tolist())
    assert smooth is not None and 0.5e-3 < smooth < 1.5e-3
    rng = np.random.default_rng(0)
    for _ in range(20):
        noisy = suggested_rate(RATES, (valley(RATES) + rng.normal(0, 0.2, len(RATES))).tolist())
        assert noisy is not None and smooth / 4 < noisy < smooth * 4


@pytest.mark.parametrize("losses", [[], [1.0], [2.0] * 50, np.linspace(1, 5, 50).tolist()])
def test_where_the_loss_does_not_fall_nothing_is_suggested(losses: list[float]) -> None:
    assert suggested_rate(RATES[: len(losses)], losses) is None


def test_noise_alone_suggests_nothing() -> None:
    rng = np.random.default_rng(1)
    assert all(suggested_rate(RATES, rng.normal(8, 0.3, len(RATES)).tolist()) is None for _ in range(20))


def test_smoothing_shifts_nothing() -> None:
    """The mean of a window around a point of a straight line is that point."""
    line = np.linspace(9, 1, 99)
    half = 99 // 20
    assert smooth_losses(line.tolist())[half:-half] == pytest.approx(line[half:-half])
    assert len(smooth_losses([3.0])) == 1


def test_the_chart_marks_the_suggestion_and_is_not_pressed_flat_by_the_jump() -> None:
    losses = [*valley(RATES).tolist(), 1e6]
    figure = rate_chart([*RATES, 1.0], losses, 1e-3, View(dark=True))
    layout = figure["layout"]
    assert layout["xaxis"]["type"] == "log"
    assert layout["shapes"][0]["x0"] == 1e-3 and layout["annotations"][0]["x"] == pytest.approx(-3)
    assert "1.0e-03" in layout["annotations"][0]["text"]
    low, high = layout["yaxis"]["range"]
    assert low < min(losses) and losses[0] < high < 12
    assert not rate_chart([1e-5], [2.0], None, View())["layout"]["shapes"]
