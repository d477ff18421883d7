"""Every operation of the project's own schema, asked with sound and with unsound data: nothing breaks, and each answer
is of the shape that the schema promises. Whatever is in the schema is asked, so that a new route needs no line here.

More examples: COGNATE_SOAK=1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cognate_core.api import create_api
from cognate_core.config import TrainingConfig
from cognate_core.contracts import Quote
from cognate_core.runs import RunManager
from tests.api.conftest import mock_service
from tests.faults.times import SOAK

EXAMPLES = 400 if SOAK else 6
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_studio: list[RunManager] = []
_api = create_api(lambda: _studio[-1])
schema = schemathesis.openapi.from_asgi("/v1/openapi.json", _api)


@pytest.fixture(scope="module", autouse=True)
def studio(tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig) -> Iterator[RunManager]:
    """A studio with a model that was really trained; what is started here trains nothing."""
    home = tmp_path_factory.mktemp("schema") / "home"
    manager = RunManager(home, executor="thread")
    assert manager.wait(manager.start(tiny_config, "A real run", ["model"]), 120)
    manager.close()
    _studio.append(RunManager(home, executor="thread", build_service=mock_service))
    yield _studio[-1]
    _studio.pop().close()


@pytest.fixture(autouse=True)
def _no_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take twenty seconds each time."""
    quote = Quote(1.0, 2.0, 0.1, 10, 1000, 1, busy=False)
    monkeypatch.setattr("cognate_core.runs.quote.measured_quote", lambda *_, **__: quote)


def known(parameters: dict[str, Any]) -> dict[str, Any]:
    """`parameters` of a path, in which each id that there is something for is one that exists."""
    log = _studio[-1].log
    there = {
        "run_id": [run.id for run in log.runs() if run.name == "A real run"],
        "model_id": [model.id for model in log.models() if model.status == "completed"][-1:],
        "name": ["first-run"],
        "kind": ["config"],
        "entry_id": [entry.id for entry in _studio[-1].trash.entries()],
    }
    return {name: (there.get(name) or [value])[0] for name, value in parameters.items()}


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not SOAK,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_nothing_breaks_and_all_is_as_promised(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS)
    if case.path_parameters and case.method != "DELETE":
        case.path_parameters = known(case.path_parameters)
        case.call_and_validate(checks=CHECKS)
