"""The search for a learning rate through the API."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from cognate_core.config.presets import PRESETS
from cognate_core.runs import RunManager
from cognate_core.runs.rate_finder import RateSearch


def test_a_search_is_begun_looked_at_and_cancelled(
    api: TestClient, studio: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.get("/v1/learning-rates").json() == {"search": None}
    begun: list[Any] = []

    def begin(state: RateSearch, job: dict[str, Any]) -> None:
        begun.append(job)
        studio.rate_finder._state = state

    monkeypatch.setattr(studio.rate_finder, "_begin", begin)
    answer = api.post("/v1/learning-rates", json={"preset": "first-run", "settings": {"batch_size": 3}})
    assert answer.status_code == 202
    assert answer.json()["search"]["ended"] is False and answer.json()["search"]["suggestion"] is None
    assert begun[0]["config"]["batch_size"] == 3 and begun[0]["home"] == str(studio.home)
    rates = [1e-5 * 10 ** (n / 20) for n in range(80)]
    losses = [5 - 4 * min(1.0, rate / 1e-2) if rate < 2e-2 else 9.0 for rate in rates]
    whole = RateSearch(PRESETS["first-run"].config, rates, losses, planned=100, ended=True, complete=True)
    studio.rate_finder._state = whole
    found = api.get("/v1/learning-rates").json()["search"]
    assert found["losses"] == losses and 1e-4 < found["suggestion"] < 2e-3
    assert api.delete("/v1/learning-rates").json()["search"] == found, "what has ended stays as it is"


def test_what_cannot_be_searched_is_told(api: TestClient) -> None:
    assert "Grokking lab" in api.post("/v1/learning-rates", json={"preset": "grokking"}).json()["detail"]
    assert api.post("/v1/learning-rates", json={"settings": {"n_layers": -1}}).status_code == 422
