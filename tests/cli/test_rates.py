"""`cognate find-rate`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cognate_core.api.serving import serving
from cognate_core.runs import RunManager
from cognate_core.runs.rate_finder import RateSearch
from tests.cli.conftest import Cognate

RATES = [1e-5 * 10 ** (n / 20) for n in range(80)]
LOSSES = [5 - 4 * min(1.0, rate / 1e-2) if rate < 2e-2 else 9.0 for rate in RATES]


@pytest.fixture
def comes_to(manager: RunManager, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What each search comes to at once, at a studio elsewhere."""
    found: dict[str, Any] = {"rates": RATES, "losses": LOSSES, "planned": 100, "seconds": 31.0}
    finder = manager.rate_finder

    def begin(state: RateSearch, job: dict[str, Any]) -> None:
        monkeypatch.setattr(finder, "_state", replace(state, ended=True, complete=True, **found))

    monkeypatch.setattr(finder, "_begin", begin)
    with serving(manager) as (address, token):
        monkeypatch.setenv("COGNATE_TOKEN", token)
        monkeypatch.setenv("COGNATE_SERVER", address)
        yield found


def test_the_curve_and_a_setting_to_copy_are_printed(cognate: Cognate, comes_to: dict[str, Any]) -> None:
    answer = cognate("find-rate", "--preset", "first-run")
    assert answer.exit_code == 0, answer.output
    (line,) = (line for line in answer.stdout.splitlines() if line.startswith("learning_rate="))
    assert 1e-4 < float(line.removeprefix("learning_rate=")) < 2e-3
    assert "80 steps in 31 s" in answer.output and "only a hint" in answer.output
    found = json.loads(cognate("find-rate", "--preset", "first-run", "--json").stdout)
    assert found["rates"] == RATES and f"{found['suggestion']:.1e}" in line


def test_why_there_is_none_is_said(cognate: Cognate, comes_to: dict[str, Any]) -> None:
    comes_to["losses"] = [5.0] * 80
    answer = cognate("find-rate", "--preset", "first-run")
    assert answer.exit_code == 2 and "did not clearly fall" in answer.output
    comes_to["problem"] = "Too large."
    answer = cognate("find-rate", "--preset", "first-run")
    assert answer.exit_code == 2 and "Too large." in answer.output
    assert "Grokking lab" in cognate("find-rate", "--preset", "grokking").output
