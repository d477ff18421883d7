"""What every answer says."""

from __future__ import annotations

import json

import pytest

from cognate_core.api.security import guard
from tests.api.guard.asking import HERE, asking, known


@pytest.mark.parametrize("path", ["/", "/plotly.min.js", "/api/v1/runs"])
@pytest.mark.parametrize("host", [HERE, "evil.example"])
def test_no_answer_can_be_framed_embedded_or_taken_for_another_kind(path: str, host: str) -> None:
    headers = known().get(path, headers={"Host": host}).headers
    for name, value in guard.ON_EVERY_ANSWER.items():
        assert headers[name] == value or (path == "/" and name == "X-Frame-Options" and host == HERE)
    assert (headers.get("cache-control") == "no-store") == path.startswith("/api")


def test_refusals_are_sentences_that_a_program_can_read() -> None:
    refused = asking().post("/api/v1/runs", headers={"Content-Type": "application/json"}, content=b"{}")
    told = json.loads(refused.content)
    assert set(told) == {"title", "status", "detail", "problems"} and told["status"] == refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
