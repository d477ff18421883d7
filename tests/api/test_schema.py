"""Every operation of the project's own schema, asked with sound and with unsound data: nothing breaks, and each answer
is of the shape that the schema promises. Whatever is in the schema is asked, so that a new route needs no line here.

More examples: COGNATE_SOAK=1.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cognate_core.api import create_api
from cognate_core.contracts import TimeEstimate
from cognate_core.runs import RunManager
from tests.api.conftest import mock_service
from tests.faults.times import SOAK

EXAMPLES = 200 if SOAK else 6
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OWN_FILE = "0" * 32 + ".txt"
_studio: list[RunManager] = []
_turns = itertools.count()
_api = create_api(lambda: _studio[-1])
_schema = schemathesis.openapi.from_asgi("/v1/openapi.json", _api)
_found = list(_schema.get_all_operations())
OPERATIONS = {found.ok().label: found.ok() for found in _found if isinstance(found, Ok)}
assert len(OPERATIONS) == len(_found), "an operation that cannot be read"


@pytest.fixture(scope="module", autouse=True)
def studio(tmp_path_factory: pytest.TempPathFactory, trained_home: Path) -> Iterator[RunManager]:
    """A studio with models that were really trained; what is started here trains nothing."""
    home = tmp_path_factory.mktemp("schema") / "home"
    shutil.copytree(trained_home, home)
    _studio.append(RunManager(home, executor="thread", build_service=mock_service))
    (home / "uploads").mkdir()
    (home / "uploads" / OWN_FILE).write_text("A text of my own.\n" * 50)
    yield _studio[-1]
    _studio.pop().close()


@pytest.fixture(autouse=True)
def _no_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take twenty seconds each time."""
    time_estimate = TimeEstimate(1.0, 2.0, 0.1, 10, 1000, 1, busy=False)
    monkeypatch.setattr("cognate_core.runs.time_estimate.measured_time_estimate", lambda *_, **__: time_estimate)
    begin = "cognate_core.runs.rate_finder.RateFinder._begin"
    monkeypatch.setattr(begin, lambda finder, state, _: setattr(finder, "_state", state))  # a minute each time


def known(path: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """`parameters` of a path, in which each is, turn by turn, one of those that there is something for.

    Of datasets, those that need no network: without it, 502 is the right answer.
    """
    log = _studio[-1].log
    real = [run.id for run in log.runs() if run.name.startswith("The ")]
    names = {"presets": ["first-run"], "files": [OWN_FILE], "datasets": ["Synthetic", OWN_FILE]}
    there = {
        "run_id": [*real, log.runs()[0].id],
        "model_id": [model.id for model in log.models() if model.run_id in real] + [log.models()[0].id],
        "name": next((known for part, known in names.items() if f"/{part}/" in path), []),
        "kind": ["config", "weights"],
        "entry_id": [entry.id for entry in _studio[-1].trash.entries()],
    }
    turn = next(_turns)
    return {
        name: found[turn % len(found)] if (found := there.get(name)) else value for name, value in parameters.items()
    }


@pytest.mark.parametrize("label", OPERATIONS)
def test_nothing_breaks_and_all_is_as_promised(label: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=not SOAK,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[label].as_strategy())
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS)
        if case.path_parameters and case.method != "DELETE":
            case.path_parameters = known(case.path, case.path_parameters)
            case.call_and_validate(checks=CHECKS)

    ask()


def test_every_operation_is_asked() -> None:
    """Schemathesis' own tests have one name, and of those of one name pytest's workers run the first alone."""
    told = {f"{method.upper()} {path}" for path, methods in _api.openapi()["paths"].items() for method in methods}
    assert told == set(OPERATIONS) and len(told) > 60
