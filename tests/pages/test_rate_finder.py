"""The learning-rate search beside its field on New run."""

from __future__ import annotations

import pytest

from cognate_core.config.presets import PRESETS
from cognate_core.runs import RunManager
from cognate_core.runs.rate_finder import NOT_IN_THE_LAB, RateSearch
from tests.pages.conftest import button, open_page, texts
from tests.pages.test_new_run import field
from tests.there import there

FIRST_RUN = PRESETS["first-run"].title  # as the address has it
CONFIG = PRESETS["first-run"].config
RATES = [1e-5 * 10 ** (n / 20) for n in range(80)]
LOSSES = [5 - 4 * min(1.0, rate / 1e-2) if rate < 2e-2 else 9.0 for rate in RATES]


@pytest.fixture(autouse=True)
def _nothing_starts(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the page."""
    monkeypatch.setattr(studio.rate_finder, "_begin", lambda state, job: setattr(studio.rate_finder, "_state", state))


def test_one_press_searches_and_another_fills_the_field(studio: RunManager) -> None:
    page = open_page("new_run", preset=FIRST_RUN)
    button(page, "Find a learning rate").click().run()
    assert not page.exception
    assert button(page, "Find a learning rate").disabled
    assert studio.rate_finder.state is not None and studio.rate_finder.state.is_of(CONFIG)
    assert button(page, "Cancel the search")
    studio.rate_finder._state = RateSearch(CONFIG, RATES, LOSSES, planned=100, seconds=31.0, ended=True, complete=True)
    page.run()
    assert not page.exception
    assert "80 steps in 31 s" in texts(page) and "It is only a guide" in texts(page)
    use = button(page, "Use ")
    use.click().run()
    assert not page.exception
    rate = there(field(page, "Learning rate").value)
    assert use.label == f"Use {rate}" and 1e-4 < float(rate) < 2e-3
    assert button(page, "Use "), "the curve is still that of these settings"
    field(page, "Layers").set_value("1").run()
    assert "The last search used other settings" in texts(page)


def test_what_went_wrong_or_otherwise_is_told(studio: RunManager) -> None:
    studio.rate_finder._state = RateSearch(CONFIG, notes=["GSM8K is away."], ended=True, problem="Too large.")
    page = open_page("new_run", preset=FIRST_RUN)
    assert "Too large" in texts(page) and "GSM8K is away" in texts(page)
    studio.rate_finder._state = RateSearch(CONFIG, RATES, [5.0] * 80, planned=100, ended=True, complete=True)
    page.run()
    assert "did not clearly fall" in texts(page)
    assert not any(each.label.startswith("Use ") for each in page.button)
    studio.rate_finder._state = RateSearch(CONFIG, RATES, LOSSES, planned=100, ended=True)
    page.run()
    assert "did not finish" in texts(page)
    assert not any(each.label.startswith("Use ") for each in page.button)


def test_the_lab_says_why_it_has_none(studio: RunManager) -> None:
    page = open_page("lab")
    next(group for group in page.button_group if group.label == "Variants").set_value(["grokfast", "own"]).run()
    assert not page.exception
    assert NOT_IN_THE_LAB in texts(page)
