"""Detectors: they see what was put into a curve, where it was put, and are silent about merely noisy ones."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.config.schedule import learning_rate_at
from cognate_core.insight.detectors import findings
from cognate_core.insight.drawing import Curve
from cognate_core.insight.finding import Finding
from cognate_core.insight.loss_detectors import MOST_SPIKES, rate_shares
from cognate_core.insight.trend import noise_of, surroundings
from tests.insight.real_runs import is_true, said_of, saved

Floats = npt.NDArray[np.float64]
BASE = TrainingConfig(vocab_size=400, learning_rate=2e-3, act_enabled=False, ltm_enabled=False)
GUESSING = math.log(400)
CHECK_EVERY = 10
FALSE_ALARMS = 0  # measured, in 50 healthy runs
FALSE_ON_THE_WAY = 0  # measured, of these runs
FOUND = {"spike": 2, "divergence": 2, "learning_rate_too_high": 2, "plateau": 4, "overfitting": 4}


def config(steps: int, **changes: Any) -> TrainingConfig:
    return BASE.with_overrides({"max_steps": steps, **changes})


def decay(steps: int, floor: float = 2.0, power: float = 0.4) -> Floats:
    """A power law from the loss of guessing towards `floor`, without noise."""
    return floor + (GUESSING - floor) * (1 + np.arange(steps) / max(3, steps / 100)) ** -power


def noise(steps: int, seed: int = 0, size: float = 0.05) -> Floats:
    return np.random.default_rng(seed).normal(size=steps) * size


def said(values: Floats, settings_of: TrainingConfig, checks: Sequence[tuple[int, float | None]] = ()) -> list[Finding]:
    """The findings of a run that has come as far as `values`; NaN where a loss is no number."""
    steps = np.arange(1.0, len(values) + 1)
    known = np.isfinite(values)
    curve = steps[known], values[known]
    rows: list[dict[str, Any]] = [{"step": step, "dataset": "d", "loss": loss} for step, loss in checks]
    found = findings(curve, curve, np.ones(known.sum()), steps[~known], (steps, np.ones(len(steps))), rows, settings_of)
    for finding in found:
        settings_of.with_overrides(finding.overrides)  # raises where it is not valid
        assert 0 <= finding.first_step <= finding.last_step <= max([len(values), *(row["step"] for row in rows)])
        assert finding.title and finding.cause.endswith(".")
    return found


def only(found: list[Finding], kind: str) -> Finding:
    assert [finding.kind for finding in found] == [kind], found
    return found[0]


def kinds(found: list[Finding]) -> list[str]:
    return [finding.kind for finding in found]


# Silence


@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.sampled_from([1, 2, 5, 19, 60, 150, 400, 3000]),
    size=st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5]),
    power=st.sampled_from([0.2, 0.4, 0.8]),
    share=st.sampled_from([0.1, 0.5, 1.0]),
)
@settings(max_examples=150, derandomize=True)
def test_a_noisy_power_law_has_nothing_to_say(seed: int, steps: int, size: float, power: float, share: float) -> None:
    """At its end, and on its way there: still warming up, half done."""
    values = decay(steps, power=power) + noise(steps, seed, size)
    checks = [
        (step, float(decay(steps, 2.1, power)[step - 1] + noise(1, seed + step)[0] / 5))
        for step in range(CHECK_EVERY, round(steps * share) + 1, CHECK_EVERY)
    ]
    assert said(values[: round(steps * share)], config(steps), checks) == []


@pytest.mark.parametrize("seed", range(40))
def test_batches_of_one_odd_sequence_are_no_findings(seed: int) -> None:
    """Skewed noise of half a nat, as small batches have."""
    steps = 400
    values = decay(steps) + np.random.default_rng(seed).gamma(4, 0.15, size=steps)
    assert said(values, config(steps, batch_size=1)) == []


def test_no_curve_and_a_few_steps_have_nothing_to_say() -> None:
    for steps in range(6):
        assert said(decay(steps), config(1000)) == []
        assert said(np.full(steps, GUESSING), config(max(1, steps))) == []


def test_a_number_missing_here_and_there_is_no_divergence() -> None:
    values = decay(300) + noise(300)
    values[[20, 22, 150, 299]] = math.nan
    assert said(values, config(300)) == []


def test_losses_that_are_all_equal_are_a_plateau_at_most() -> None:
    assert set(kinds(said(np.full(300, 3.0), config(300)))) == {"plateau"}
    assert said(np.full(60, 3.0), config(300)) == []


# Spikes


@pytest.mark.parametrize("at", [12, 150, 280])
@pytest.mark.parametrize("width", [1, 3, 8])
def test_a_spike_is_found_where_it_is(at: int, width: int) -> None:
    values = decay(300) + noise(300)
    values[at : at + width] += 2.0
    spike = only(said(values, config(300)), "spike")
    assert (spike.first_step, spike.last_step) == (at + 1, at + width)
    assert spike.overrides == {"max_grad_norm": 0.5}
    assert ("batch was odd" in spike.cause) == (width == 1)


def test_a_spike_within_the_noise_or_too_small_is_none() -> None:
    for size, height in ((0.3, 1.0), (0.001, 0.2)):
        values = decay(300) + noise(300, size=size)
        values[150] += height
        assert said(values, config(300)) == []


def test_of_many_spikes_the_largest_are_told_in_order() -> None:
    values = decay(1000) + noise(1000)
    heights = {100: 1.0, 200: 3.0, 300: 2.0, 400: 1.2, 500: 5.0, 600: 1.5, 700: 4.0, 800: 1.1}
    for step, height in heights.items():
        values[step - 1] += height
    found = said(values, config(1000, max_grad_norm=0.0))
    assert [finding.first_step for finding in found] == [200, 300, 500, 600, 700] and len(found) == MOST_SPIKES
    assert found[0].overrides == {"max_grad_norm": 1.0}


def test_a_spike_tells_how_large_the_gradient_was() -> None:
    values = decay(300) + noise(300)
    values[150] += 2
    steps = np.arange(1.0, 301)
    norms = np.full(300, 0.5)
    norms[150] = 6.0
    (spike,) = findings((steps, values), (steps, values), np.ones(300), np.array([]), (steps, norms), [], config(300))
    assert "12 times as large as usual" in spike.cause


# Divergence and a rate that is too high


def test_a_loss_that_rises_for_good_has_diverged() -> None:
    values = decay(300) + noise(300)
    values[180:] += 2.5
    finding = only(said(values, config(300, max_grad_norm=0.0)), "divergence")
    assert 165 <= finding.first_step <= 190 and finding.last_step == 300
    assert finding.overrides == {"learning_rate": 6.7e-4, "max_grad_norm": 1.0}


@pytest.mark.parametrize("begin", [100, 297])
def test_no_numbers_in_a_row_are_a_divergence(begin: int) -> None:
    values = decay(300) + noise(300)
    values[begin : begin + 3] = math.nan
    finding = only(said(values, config(300)), "divergence")
    assert (finding.first_step, finding.last_step) == (begin + 1, begin + 3)
    assert finding.overrides == {"learning_rate": 6.7e-4}


def test_a_run_without_any_number_has_diverged() -> None:
    finding = only(said(np.full(3, math.nan), config(300)), "divergence")
    assert (finding.first_step, finding.last_step) == (1, 3)


@pytest.mark.parametrize("rise", [0.15, 0.5])
def test_a_little_rise_at_the_end_is_no_divergence(rise: float) -> None:
    """However quiet the curve is: neither a small rise, nor one that is a small part of what was learned."""
    values = decay(300) + noise(300, size=0.005)
    values[250:] += rise
    assert "divergence" not in kinds(said(values, config(300)))


def test_a_hump_while_the_rate_is_high_is_a_rate_too_high() -> None:
    values = decay(300) + noise(300)
    values[30:75] += 2.0
    finding = only(said(values, config(300)), "learning_rate_too_high")
    assert 25 <= finding.first_step <= 33 and 70 <= finding.last_step <= 85
    assert finding.overrides == {"learning_rate": 6.7e-4}


def test_a_small_hump_of_a_quiet_curve_is_nothing() -> None:
    values = decay(300) + noise(300, size=0.001)
    values[30:75] += 0.3
    assert said(values, config(300)) == []


def test_the_overshoot_of_the_first_steps_is_a_rate_too_high() -> None:
    values = decay(120) + noise(120)
    values[1:12] = GUESSING + np.array([0.4, 2, 3.1, 0.6, 3.1, 4, 2.4, 2.5, 4.1, 2.5, 2.1])
    finding = only(said(values, config(120, warmup_ratio=0.0)), "learning_rate_too_high")
    assert (finding.first_step, finding.last_step) == (2, 12)


def test_one_easy_batch_is_no_rise_of_all_that_follow() -> None:
    values = decay(300) + noise(300)
    values[40] -= 2.0
    assert said(values, config(300)) == []


def test_a_divergence_is_not_told_twice() -> None:
    values = np.r_[decay(150), np.linspace(3, 9, 150)] + noise(300)
    only(said(values, config(300)), "divergence")


# Plateaus


def test_a_rate_that_is_too_low_learns_nothing() -> None:
    finding = only(said(GUESSING + noise(300, size=0.02), config(300, learning_rate=1e-7)), "plateau")
    assert "Nothing is learned" in finding.title and finding.overrides == {"learning_rate": 3e-7}
    assert finding.last_step - finding.first_step >= 100


def test_a_run_that_has_learned_what_it_can_is_on_a_plateau() -> None:
    values = np.maximum(2.5, GUESSING - 0.06 * np.arange(300)) + noise(300, size=0.02)  # flat from step 58 on
    finding = only(said(values, config(300)), "plateau")
    assert 50 <= finding.first_step <= 75
    assert finding.overrides == {"max_steps": finding.first_step}


def test_a_plateau_that_ends_was_overcome() -> None:
    values = np.r_[np.full(160, 4.0), np.linspace(4, 2, 40), np.full(60, 2.0)] + noise(260, size=0.02)
    finding = only(said(values, config(300)), "plateau")
    assert finding.title == "Plateau, overcome" and finding.first_step < 40 and 130 <= finding.last_step <= 170
    assert finding.overrides == {} and finding.advice == ""


def test_a_loss_that_stands_still_because_the_rate_is_tiny_is_no_plateau() -> None:
    steps = 1000
    moved = np.cumsum(rate_shares(np.arange(1.0, steps + 1), config(steps, min_lr_ratio=0.0)) ** 4)
    values = GUESSING - 3 * moved / moved[-1] + noise(steps, size=0.02)
    assert said(values, config(steps, min_lr_ratio=0.0)) == []


def test_a_short_rest_is_no_plateau() -> None:
    values = np.r_[np.linspace(6, 4, 100), np.full(60, 4.0), np.linspace(4, 2, 140)] + noise(300, size=0.02)
    assert said(values, config(300)) == []


def test_the_schedule_is_that_of_the_training() -> None:
    for changes in ({}, {"warmup_ratio": 0.0}, {"warmup_ratio": 1.0}, {"min_lr_ratio": 0.0}, {"decay_ratio": 0.3}):
        changed = config(40, grokfast_enabled=False, **changes)
        shares = rate_shares(np.arange(1.0, 41), changed)
        assert shares == pytest.approx([learning_rate_at(step, changed) / 2e-3 for step in range(1, 41)])


# Held-out checks


def learned_by_heart(steps: int = 400) -> tuple[Floats, list[tuple[int, float]]]:
    values = decay(steps, floor=0.0, power=0.9) + noise(steps, size=0.02)
    checks = [
        (step, 2 + 2 * abs(step - 100) / 100 + float(noise(1, step, 0.02)[0])) for step in range(0, steps + 1, 20)
    ]
    return values, checks


def test_learning_by_heart_is_found_at_its_best_step() -> None:
    values, checks = learned_by_heart()
    finding = only(said(values, config(400), checks), "overfitting")
    assert (finding.first_step, finding.last_step) == (100, 400)
    assert finding.overrides == {"max_steps": 100}


def test_it_is_not_learning_by_heart_when_the_training_loss_rose_too() -> None:
    _, checks = learned_by_heart()
    values = np.r_[decay(100, floor=1), np.linspace(2.2, 2.4, 300)] + noise(400, size=0.02)
    assert "overfitting" not in kinds(said(values, config(400), checks))


@pytest.mark.parametrize("seed", range(20))
def test_noisy_checks_are_not_learning_by_heart(seed: int) -> None:
    values = decay(400) + noise(400, seed)
    checks = [(step, 2.5 + float(noise(1, seed * 1000 + step, 0.05)[0])) for step in range(0, 401, 20)]
    assert said(values, config(400), checks) == []


def test_a_rise_too_small_to_matter_is_not_learning_by_heart() -> None:
    values, _ = learned_by_heart()
    checks = [(step, 2.5 + 0.045 * abs(step - 100) / 300) for step in range(0, 401, 20)]
    assert said(values, config(400), checks) == []


def test_a_rise_has_to_last_and_checks_without_a_number_are_passed_over() -> None:
    values, checks = learned_by_heart()
    assert said(values[:140], config(400), [check for check in checks if check[0] <= 140]) == []
    holes = [(step, None if step in (100, 200) else loss) for step, loss in checks]
    assert only(said(values, config(400), holes), "overfitting").first_step in (80, 120)


def test_of_two_datasets_the_one_that_rises_is_told() -> None:
    values, checks = learned_by_heart()
    steps = np.arange(1.0, 401)
    rows = [{"step": step, "dataset": "<b>", "loss": loss} for step, loss in checks]
    rows += [{"step": step, "dataset": "falls", "loss": 3 - step / 400} for step, _ in checks]
    curve = steps, values
    found = findings(curve, curve, np.ones(400), np.array([]), curve, rows, config(400))
    assert only(found, "overfitting").first_step == 100
    assert "<b>" not in found[0].cause


def test_a_check_that_nothing_is_trained_on_says_nothing_of_learning_by_heart() -> None:
    values, checks = learned_by_heart()
    rows = [{"step": step, "dataset": "New wording", "loss": loss, "weight": 0.0} for step, loss in checks]
    curve = np.arange(1.0, 401), values
    assert findings(curve, curve, np.ones(400), np.array([]), curve, rows, config(400)) == []


def understood_late(steps: int = 2000) -> tuple[Floats, list[tuple[int, float]]]:
    values = np.maximum(0.02, decay(steps, floor=-0.4, power=0.9)) + np.abs(noise(steps, size=0.01))
    checks = [(step, 6 / (1 + math.exp((step - 1200) / 60)) + 0.05) for step in range(0, steps + 1, 50)]
    return values, checks


def test_understanding_that_comes_late_is_good_news() -> None:
    values, checks = understood_late()
    found = [finding for finding in said(values, config(2000), checks) if finding.kind != "plateau"]
    finding = only(found, "grokking")
    assert 900 <= finding.first_step <= 1200 <= finding.last_step <= 1400
    assert finding.overrides == {} and finding.advice == ""


def test_held_out_text_that_is_learned_with_the_rest_is_no_grokking() -> None:
    values, _ = understood_late()
    checks = [(step, float(values[max(0, step - 1)]) + 0.1) for step in range(0, 2001, 50)]
    assert "grokking" not in kinds(said(values, config(2000), checks))
    stays = [(step, 6.0) for step in range(0, 2001, 50)]
    assert "grokking" not in kinds(said(values, config(2000), stays))


# Invariances


def with_everything(steps: int) -> tuple[Floats, list[tuple[int, float]]]:
    values, checks = learned_by_heart(steps)
    values[steps // 3] += 2
    return values, checks


@pytest.mark.parametrize("factor", [2, 10])
def test_the_unit_of_steps_does_not_matter(factor: int) -> None:
    values, checks = with_everything(400)
    plain = said(values, config(400), checks)
    steps = np.arange(1.0, 401) * factor
    rows = [{"step": step * factor, "dataset": "d", "loss": loss} for step, loss in checks]
    curve = steps, values
    long = findings(curve, curve, np.ones(400), np.array([]), curve, rows, config(400 * factor))
    assert kinds(plain) == kinds(long) == ["overfitting", "spike"]
    for one, other in zip(plain, long, strict=True):
        assert (other.first_step, other.last_step) == (one.first_step * factor, one.last_step * factor)


@pytest.mark.parametrize("until", range(330, 400, 7))
def test_a_further_point_does_not_move_what_was_said_earlier(until: int) -> None:
    values, checks = with_everything(400)
    plateau = np.maximum(2.5, GUESSING - 0.06 * np.arange(400)) + noise(400, size=0.02)
    for curve, more in ((values, checks), (plateau, [])):
        now, next_ = (
            said(curve[:end], config(400), [check for check in more if check[0] <= end]) for end in (until, until + 1)
        )
        assert kinds(now) == kinds(next_) != []
        for one, other in zip(now, next_, strict=True):
            assert abs(one.first_step - other.first_step) <= 20


@given(values=st.lists(st.floats(0, 1e6) | st.just(math.nan), max_size=60), steps=st.integers(1, 100))
@settings(max_examples=100, derandomize=True)
def test_whatever_the_losses_it_answers_and_each_change_is_valid(values: list[float], steps: int) -> None:
    """`said` holds the bands and settings to what they must be."""
    losses = np.array(values, dtype=np.float64)
    changed = config(max(steps, len(values)), learning_rate=1.0, max_grad_norm=0.0)
    checks = [(number, None if math.isnan(value) else value) for number, value in enumerate(values)]
    assert said(losses, changed, checks) == said(losses, changed, checks)


def a_million() -> tuple[Curve, Curve, Floats]:
    """As `read_curves` gives it: the extremes of each hundred steps, and the means; a spike at step 500,070."""
    ends = np.arange(100, 1_000_001, 100.0)
    means = decay(len(ends)) + noise(len(ends), size=0.01)
    steps = np.c_[ends - 80, ends - 30].ravel()
    extremes = np.c_[means - 0.25, means + 0.25].ravel() + noise(2 * len(ends), 1, 0.03)
    extremes[10_001] += 1.0
    return (steps, extremes), (ends, means), np.full(len(ends), 100.0)


def test_a_million_steps_take_no_time_and_keep_their_spike() -> None:
    losses, means, counts = a_million()
    changed = config(1_000_000)
    checks = [{"step": step, "dataset": "d", "loss": 3 - step / 1e6} for step in range(0, 1_000_001, 100)]
    start = time.process_time()
    first = findings(losses, means, counts, np.array([]), losses, checks, changed)
    assert time.process_time() - start < 1.0
    assert only(first, "spike").first_step == 500_070
    assert findings(losses, means, counts, np.array([]), losses, checks, changed) == first


# The statistics


def test_the_noise_is_that_which_was_put_in_whatever_the_trend() -> None:
    values = decay(5000) + noise(5000, size=0.1)
    values[::500] += 5
    assert noise_of(values) == pytest.approx(0.1, rel=0.05)
    assert noise_of(values[:1]) == 0.0


def test_surroundings_are_the_higher_of_the_medians_before_and_after() -> None:
    values = np.random.default_rng(3).normal(size=80)
    around = surroundings(values, window=20)
    for place in range(80):
        before, after = values[max(0, place - 20) : place], values[place + 1 : place + 21]
        expected = max(np.median(before), np.median(after)) if min(len(before), len(after)) >= 5 else math.inf
        assert around[place] == expected
    assert np.isinf(surroundings(values[:8])).all()


# Real runs


def test_real_runs_give_few_false_alarms_and_bad_ones_are_found() -> None:
    """The figures that the benchmark `detectors` measured; more false alarms mean detectors that cry wolf."""
    runs = saved()
    healthy = [run for run in runs if run.wrong is None]
    assert len(healthy) == 50
    false = [(run.name, finding) for run in healthy for finding in said_of(run) if not is_true(finding, run)]
    assert len(false) <= FALSE_ALARMS, false
    found = Counter(run.wrong for run in runs if run.wrong and run.wrong in kinds(said_of(run)))
    assert found == FOUND


def test_real_runs_give_few_false_alarms_on_their_way() -> None:
    """Whoever watches sees every prefix of a run."""
    false = {
        run.name
        for run in saved()
        if run.wrong is None
        for until in range(10, len(run.losses), max(10, len(run.losses) // 8))
        for finding in said_of(run, until)
        if not is_true(finding, run)
    }
    assert len(false) <= FALSE_ON_THE_WAY, false
