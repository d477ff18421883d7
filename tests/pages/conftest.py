"""Pages run by Streamlit's AppTest, on a studio of their own."""

from __future__ import annotations

import json
import shutil
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cognate_core import runs
from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.runs import RunManager, current_manager
from cognate_core.storage.rows import NewRun
from tests.tiny import TINY
from tests.waiting import LONG

NAVIGATION = Path(__file__).parents[2] / "pages" / "navigation.py"


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which one tiny run was really trained."""
    home = tmp_path_factory.mktemp("trained")
    manager = RunManager(home, executor="thread")
    run_id = manager.start(TINY, "My <b>first</b> run", ["small *one*"])
    assert manager.wait(run_id, LONG)
    manager.close()
    return home


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunManager:
    """The studio of the pages, with nothing in it. No worker loads torch in advance."""
    monkeypatch.setattr(RunManager, "prepare_worker", lambda _: None)
    return current_manager()


@pytest.fixture
def trained_studio(tmp_path: Path, trained_home: Path, monkeypatch: pytest.MonkeyPatch) -> RunManager:
    """The studio of the pages, with one completed run and its model. No page sees that its runs train in a thread."""
    monkeypatch.setattr(runs, "RunManager", partial(RunManager, executor="thread"))
    shutil.copytree(trained_home, tmp_path / "home")
    return current_manager()


def open_page(name: str, **query: str) -> AppTest:
    """The page as a browser would first see it."""
    page = AppTest.from_file(NAVIGATION, default_timeout=LONG).run()
    page.switch_page(f"{name}.py")
    for key, value in query.items():
        page.query_params[key] = value
    page.run()
    assert not page.exception, page.exception
    return page


def texts(page: AppTest) -> str:
    """All text of a page that a person reads, in one string."""
    groups = (page.title, page.header, page.subheader, page.caption, page.markdown, page.text, page.code)
    boxes = (page.info, page.warning, page.error, page.success)
    return "\n".join(str(element.value) for group in (*groups, *boxes) for element in group)


def sent(page: AppTest, what: str) -> list[Any]:
    """What each component that is sent such data has of it, such as "charts"."""
    data = [json.loads(component.proto.json or "null") or {} for component in page.get("bidi_component")]
    return [each[what] for each in data if what in each]


def charts(page: AppTest) -> list[dict[str, Any]]:
    """The figures as they are sent to the browser."""
    (shown,) = sent(page, "charts")
    return [chart["figure"] for chart in shown]


def chart_titles(page: AppTest) -> list[str]:
    return [chart["title"] for shown in sent(page, "charts") for chart in shown]


def add_runs(
    studio: RunManager, count: int, status: RunStatus, name: str = "other", config: TrainingConfig = TINY
) -> None:
    """So many runs of this status, named `name` and a number, newer than all that are there."""
    new = [NewRun(f"{name}-{number}", f"{name} {number}", config, ["m"], studio.home) for number in range(count)]
    studio.log.create_runs(new)
    connection = sqlite3.connect(studio.log.path)  # at once: through the log, each would be waited for
    with connection:
        ids = [[status.value, run.id] for run in new]
        connection.executemany("UPDATE runs SET status = ?, finished_at = created_at WHERE id = ?", ids)
    connection.close()


def button(page: AppTest, label: str) -> Any:
    """The first button whose label begins so."""
    return next(each for each in page.button if each.label.startswith(label))
