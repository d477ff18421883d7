"""Searching for a learning rate in a process of its own: one at a time, on the run's data, cancelled at once."""

from __future__ import annotations

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.errors import RunError
from cognate_core.insight.rate_finder import suggested_rate
from cognate_core.runs import RunManager
from cognate_core.runs.rate_finder import RateSearch
from tests.there import there
from tests.waiting import until


def test_a_search_prepares_the_data_and_comes_to_its_end(manager: RunManager, tiny_config: TrainingConfig) -> None:
    config = tiny_config.with_overrides({"dataset_sources": ["GSM8K"]})  # which cannot be had in tests
    manager.rate_finder.start(config)
    with pytest.raises(RunError, match="Another learning-rate search is running"):
        manager.rate_finder.start(config)
    until(lambda: there(manager.rate_finder.state).ended, "the end of the search")
    found = there(manager.rate_finder.state)
    assert found.problem is None
    assert len(found.rates) == len(found.losses) > 10
    assert found.planned >= len(found.rates) and found.seconds > 0
    assert found.rates == sorted(found.rates)
    assert found.complete and found.suggestion == suggested_rate(found.rates, found.losses)
    assert any("GSM8K" in note for note in found.notes) and any("built-in" in note for note in found.notes)
    assert list((manager.home / "cache" / "prepared").iterdir()), "a run finds the data again"


def test_a_cancelled_search_is_over_at_once_and_another_may_begin(
    manager: RunManager, tiny_config: TrainingConfig
) -> None:
    manager.rate_finder.start(tiny_config)
    manager.rate_finder.cancel()
    assert there(manager.rate_finder.state).ended
    manager.rate_finder.start(tiny_config)
    manager.rate_finder.cancel()


def test_half_a_curve_suggests_nothing(tiny_config: TrainingConfig) -> None:
    rates = [1e-5 * 10 ** (n / 20) for n in range(60)]
    half = RateSearch(tiny_config, rates, [5 - 100 * rate for rate in rates], ended=True)
    assert suggested_rate(half.rates, half.losses) is not None
    assert half.suggestion is None


def test_the_lab_says_why_not(manager: RunManager) -> None:
    with pytest.raises(RunError, match="In the Grokking lab they show"):
        manager.rate_finder.start(PRESETS["grokking"].config)
    assert manager.rate_finder.state is None, "nothing was begun"


def test_what_was_found_holds_for_any_learning_rate_of_the_same_settings(tiny_config: TrainingConfig) -> None:
    search = RateSearch(tiny_config)
    assert search.is_of(tiny_config.with_overrides({"learning_rate": 0.5}))
    assert not search.is_of(tiny_config.with_overrides({"batch_size": 7}))
