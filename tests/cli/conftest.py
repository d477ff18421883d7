"""The command line in this process, on the test's own data directory or on a studio that a server stands for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from cognate_core import cli
from cognate_core.api.serving import serving
from cognate_core.cli import output
from cognate_core.runs import RunManager
from tests.api.conftest import mock_service, model_called, trained_home

__all__ = ["trained_home"]  # a fixture, here too

Cognate = Callable[..., Result]


@pytest.fixture
def cognate(monkeypatch: pytest.MonkeyPatch) -> Cognate:
    """`cognate("train", file)`: what came of this command in a wide terminal."""
    monkeypatch.setattr(output, "answers", Console(width=400))
    monkeypatch.setattr(output, "messages", Console(stderr=True, width=400))
    return lambda *words: CliRunner().invoke(cli.app, [str(word) for word in words])


@dataclass(frozen=True)
class Studio:
    """A studio elsewhere: whoever manages it, where it is, and the token that it asks for."""

    manager: RunManager
    address: str
    token: str

    def model(self, name: str) -> str:
        """The id of the model that was trained as "text" or "lab"."""
        return model_called(self.manager, name)

    def run(self, name: str) -> str:
        """The id of the newest run of this name."""
        return next(run.id for run in self.manager.log.runs() if run.name == name)


@pytest.fixture(scope="module")
def elsewhere(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio with two trained models, whose new runs end at once."""
    home = tmp_path_factory.mktemp("elsewhere") / "home"
    shutil.copytree(trained_home, home)
    with (
        closing(RunManager(home, executor="thread", build_service=mock_service)) as manager,
        serving(manager) as (address, token),
    ):
        yield Studio(manager, address, token)


@pytest.fixture
def there(cognate: Cognate, elsewhere: Studio, monkeypatch: pytest.MonkeyPatch) -> Cognate:
    """`there("runs")`: what came of this command at the studio elsewhere."""
    monkeypatch.setenv("COGNATE_TOKEN", elsewhere.token)
    return lambda *words: cognate("--server", elsewhere.address, *words)
