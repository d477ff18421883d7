"""What the API says of the studio itself, of settings, and of the API."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import cognate_core
from cognate_core.api import Links, served
from cognate_core.api.description import operations
from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import DataReport, TimeEstimate
from cognate_core.errors import TrainingError
from cognate_core.runs import RunManager
from cognate_core.runs.token import studio_token, worker_environment
from tests.waiting import LONG


def test_the_studio_says_how_it_is(api: TestClient, studio: RunManager) -> None:
    health = api.get("/v1/health").json()
    assert (health["status"], health["read_only"], health["log_delayed_seconds"]) == ("ok", False, 0.0)
    record = api.get("/v1/coordination").json()
    assert record["database"] == str(studio.log.path) and record["open"] is True


def test_presets_are_listed_and_given_whole(api: TestClient) -> None:
    assert [preset["name"] for preset in api.get("/v1/presets").json()] == list(PRESETS)
    one = api.get("/v1/presets/first-run").json()
    assert TrainingConfig(**one["config"]) == PRESETS["first-run"].config
    missing = api.get("/v1/presets/nothing")
    assert missing.status_code == 404 and "first-run" in missing.json()["detail"]


def test_the_settings_are_described(api: TestClient) -> None:
    properties = api.get("/v1/config/schema").json()["properties"]
    assert set(properties) >= {"d_model", "learning_rate"}
    assert properties["d_model"]["maximum"] == 4096


def test_what_a_run_needs_is_told_before_it_runs(api: TestClient, studio: RunManager) -> None:
    needs = api.post("/v1/estimates", json={"preset": "cognate-25m"}).json()
    assert 24e6 < needs["parameters"]["total"] < 26e6
    assert needs["total_memory_bytes"] == sum(needs["memory_bytes"].values())
    doubtful = api.post("/v1/estimates", json={"settings": {"mem_segment": 512, "train_seq_len": 512}}).json()
    assert "The model will not learn to use long-term memory" in doubtful["warnings"][0]
    sound = {"settings": {"attention_window": 256, "train_seq_len": 512}}
    assert api.post("/v1/estimates", json=sound).json()["warnings"] == []
    wrong = api.post("/v1/estimates", json={"settings": {"learning_rate": 5, "d_model": 1}}).json()
    assert set(wrong["problems"]) == {"learning_rate", "d_model"}
    assert studio.log.runs() == []


def test_what_a_run_needs_is_exact_once_its_text_is_known(api: TestClient, studio: RunManager) -> None:
    config = TrainingConfig(dataset_sources=["Synthetic"])
    asked = {"settings": {"dataset_sources": ["Synthetic"]}}
    assert api.post("/v1/estimates", json=asked).json()["vocabulary"] == config.vocab_size
    run_id = studio.start(config, "Earlier", ["Earlier"])
    assert studio.wait(run_id, LONG)
    studio.log.record(run_id, DataReport([], False, "x", 1000, False, fitted=True, rare_tokens=700))
    needs = api.post("/v1/estimates", json=asked).json()
    assert (needs["vocabulary"], needs["parameters"]["head"]) == (1000, 1000 * config.d_model)
    assert "700 of its 1,000 tokens" in needs["warnings"][-1]


def test_a_quote_is_measured_once_at_a_time(
    api: TestClient, studio: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner: list[Any] = []

    def measured(config: TrainingConfig, models: int, *, busy: bool, home: Path) -> TimeEstimate:
        assert home == studio.home
        if not inner:
            inner.append(None)
            inner.append(api.post("/v1/time-estimates", json={}))
        return TimeEstimate(1.0, 2.0 * models, 0.1, 10, config.max_steps, 1, busy=busy)

    monkeypatch.setattr("cognate_core.runs.time_estimate.measured_time_estimate", measured)
    time_estimate = api.post("/v1/time-estimates", json={"settings": {"max_steps": 7}, "models": 3})
    assert time_estimate.json() == {
        "low_seconds": 1.0,
        "high_seconds": 6.0,
        "step_seconds": 0.1,
        "steps_measured": 10,
        "memory_bytes": 7,
        "threads": 1,
        "busy": False,
        "quickest_step_seconds": None,
        "missing_data": [],
    }
    for number in range(60):
        studio.log.create_run(f"r{number}", "a queue", TrainingConfig(), ["m"], studio.home, None)
    assert not api.post("/v1/time-estimates", json={}).json()["busy"]
    studio.log.claim("r0")
    assert api.post("/v1/time-estimates", json={}).json()["busy"], "however many wait behind it"
    assert inner[1].status_code == 429 and "estimate is being measured" in inner[1].json()["detail"]
    assert api.post("/v1/time-estimates", json={}).status_code == 200

    def refused(*_: Any, **__: Any) -> TimeEstimate:
        raise TrainingError("It took too long.")

    monkeypatch.setattr("cognate_core.runs.time_estimate.measured_time_estimate", refused)
    assert api.post("/v1/time-estimates", json={}).json()["detail"] == "It took too long."
    assert api.post("/v1/time-estimates", json={}).status_code == 422


# What breaks on the way


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b'{"name": NaN}', b"\xff\xfe", b'"\\ud800"', b"null"],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_json_of_a_run_is_refused(api: TestClient, content: bytes) -> None:
    answer = api.post("/v1/runs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422) and answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("value", [1e400, 10**400, -1, "x" * 50_000, [[[[]]]], {"a": {}}, None, True, "\ud800", "\0"])
@pytest.mark.parametrize(
    "field", ["max_steps", "learning_rate", "dataset_sources", "mixture_weights", "output_dir", "task"]
)
def test_no_value_of_a_setting_breaks_anything(api: TestClient, field: str, value: Any) -> None:
    import json

    content = json.dumps({"settings": {field: value}})
    answer = api.post("/v1/estimates", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400, 422), answer.text


def test_what_nobody_foresaw_is_told_as_a_problem(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(studio.log, "runs_page", broken)
    api = TestClient(Starlette(routes=served(lambda: studio, Links())), raise_server_exceptions=False)
    answer = api.get("/api/v1/runs")
    assert answer.status_code == 500 and answer.json()["detail"] == "Something unexpected went wrong: ValueError: odd"


# The API's own page


@pytest.fixture
def whole(studio: RunManager) -> TestClient:
    """The API where a server has it."""
    return TestClient(Starlette(routes=served(lambda: studio, Links())), base_url="http://127.0.0.1:8501")


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v1/"])
def test_the_page_is_found_and_fetches_nothing_from_elsewhere(whole: TestClient, path: str) -> None:
    page = whole.get(path)
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert str(page.url) == "http://127.0.0.1:8501/api/v1/"
    addresses = set(re.findall(r"""(?:src|href)=["']([^"']*)""", page.text))
    assert addresses == {"assets/swagger-ui-bundle.js", "assets/swagger-ui.css", "data:,"}
    for address in addresses - {"data:,"}:
        assert whole.get(f"/api/v1/{address}").status_code == 200
    policy = page.headers["content-security-policy"]
    (own,) = re.findall("<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'self' 'sha256-{digest}';" in policy


def test_the_schema_says_which_operations_need_the_token(whole: TestClient) -> None:
    schema = whole.get("/api/v1/openapi.json").json()
    assert schema["security"] == [{"token": []}]
    for _, operation in operations(schema):
        assert ("security" in operation) == (operation is schema["paths"]["/v1/health"]["get"])
        assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
    assert [each["url"] for each in schema["servers"]] == [".."]  # of its own address


def test_the_examples_on_the_page_can_be_sent(api: TestClient, studio: RunManager) -> None:
    schema = api.get("/v1/openapi.json").json()
    bodies = {name: body["example"] for name, body in schema["components"]["schemas"].items() if "example" in body}
    assert set(bodies) == {"NewRun", "NewSweep", "Settings", "TimeEstimateRequest"}
    for path, name in (("estimates", "Settings"), ("runs", "NewRun"), ("sweeps", "NewSweep")):
        assert api.post(f"/v1/{path}", json=bodies[name]).is_success
    for run in studio.log.runs():
        studio.cancel(run.id)


# The token


def test_the_token_is_kept_for_this_user_alone_and_stays(tmp_path: Path) -> None:
    token = studio_token(tmp_path)
    assert len(token) > 30 and studio_token(tmp_path) == token
    assert (tmp_path / "token").stat().st_mode & 0o077 == 0
    (tmp_path / "token").write_text(token[:5])  # a power cut
    assert studio_token(tmp_path) not in (token, token[:5])


def test_no_worker_has_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGNATE_TOKEN", "a-token-of-the-test")
    monkeypatch.setenv("HF_TOKEN", "a-token-of-the-hub")
    assert "COGNATE_TOKEN" not in worker_environment() and "HF_TOKEN" not in worker_environment()
    assert worker_environment(fetches=True)["HF_TOKEN"] == "a-token-of-the-hub"
    assert "COGNATE_TOKEN" not in worker_environment(fetches=True)


def test_a_worker_runs_this_library_whatever_lies_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cognate_core").mkdir()
    (tmp_path / "cognate_core" / "__init__.py").write_text("raise SystemExit('foreign')")
    monkeypatch.delenv("PYTHONPATH", raising=False)  # as in a clone that is not installed
    which = [sys.executable, "-c", "import cognate_core; print(cognate_core.__file__)"]
    ours = subprocess.run(which, cwd=tmp_path, env=worker_environment(), capture_output=True, text=True, check=True)
    assert Path(ours.stdout.strip()) == Path(cognate_core.__file__)
