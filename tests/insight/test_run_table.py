"""What the table of all runs shows, and which runs are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cognate_core.config.presets import PRESETS
from cognate_core.contracts import Evaluation, RunStatus
from cognate_core.contracts.heldout import HeldoutMeans
from cognate_core.insight.run_table import CURVE_POINTS, RunFigures, matching, run_figures
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import NewRun
from tests.there import there


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ProgressLog]:
    log = ProgressLog(tmp_path / "studio.sqlite")
    yield log
    log.close()


def add(log: ProgressLog, run_id: str, preset: str = "first-run", name: str = "mine") -> None:
    log.create_runs([NewRun(run_id, name, PRESETS[preset].config, ["m"], Path("runs"))])
    log.claim(run_id)


def check(log: ProgressLog, run_id: str, losses: list[float]) -> None:
    for step, loss in enumerate(losses):
        log.record(run_id, Evaluation("m", step, "GSM8K", loss, 10, bytes=40))
    log.tag_runs({})  # once all is written


def figures(log: ProgressLog) -> list[RunFigures]:
    return run_figures(log, log.runs())


def test_the_best_check_and_the_way_there(log: ProgressLog) -> None:
    add(log, "r1")
    check(log, "r1", [3.0, 1.0, 2.0])
    (found,) = figures(log)
    assert there(found.best).loss == 1.0 and found.curve == [3.0, 1.0, 2.0]
    assert found.preset is PRESETS["first-run"] and found.datasets == ["GSM8K", "SVAMP"]


def test_a_long_curve_is_thinned_and_keeps_its_ends(log: ProgressLog) -> None:
    add(log, "r1")
    check(log, "r1", [1000.0 - step for step in range(500)])
    curve = figures(log)[0].curve
    assert len(curve) == CURVE_POINTS and (curve[0], curve[-1]) == (1000.0, 501.0)


def test_of_a_run_that_was_never_checked_nothing_is_claimed(log: ProgressLog) -> None:
    add(log, "r1", "grokking")
    (found,) = figures(log)
    assert (found.best, found.curve, found.datasets) == (None, [], ["Arithmetic"])


def test_a_run_that_goes_on_is_read_again(log: ProgressLog) -> None:
    """What is kept of an ended run is forgotten once it goes on."""
    add(log, "r1")
    check(log, "r1", [3.0])
    log.set_status("r1", RunStatus.STOPPED)
    assert figures(log)[0].curve == figures(log)[0].curve == [3.0]
    assert log.requeue("r1") and log.claim("r1")
    log.record("r1", Evaluation("m", 7, "GSM8K", 2.0, 10))
    log.set_status("r1", RunStatus.COMPLETED)
    assert figures(log)[0].curve == [3.0, 2.0]


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ({}, {"r1", "r2", "r3"}),
        ({"text": "  GROK table"}, {"r2"}),
        ({"text": "full disk"}, {"r3"}),
        ({"text": "demo"}, {"r1"}),
        ({"text": "nothing"}, set()),
        ({"statuses": [RunStatus.FAILED, RunStatus.PREPARING]}, {"r1", "r2", "r3"}),
        ({"statuses": [RunStatus.FAILED]}, {"r3"}),
        ({"datasets": ["Arithmetic", "HotpotQA"]}, {"r2", "r3"}),
        ({"presets": [PRESETS["first-run"].title]}, {"r1"}),
        ({"tags": ["demo"]}, {"r1"}),
        ({"tags": ["demo", "other"]}, set()),
    ],
)
def test_runs_are_found_by_words_and_kinds(log: ProgressLog, sought: dict[str, object], found: set[str]) -> None:
    add(log, "r1", "first-run", "mine")
    add(log, "r2", "grokking", "Table that may grok")
    add(log, "r3", "cognate-25m")
    log.set_status("r3", RunStatus.FAILED, error="The disk is full.")
    log.tag_runs({"r1": ["demo", "thesis"]})
    assert {each.run.id for each in matching(figures(log), **sought)} == found  # type: ignore[arg-type]


def test_means_are_kept_as_they_were_measured(log: ProgressLog) -> None:
    add(log, "r1")
    log.record("r1", Evaluation("m", 0, "GSM8K", 2.0, 10, accuracy=0.5))
    log.tag_runs({})
    assert figures(log)[0].best == HeldoutMeans(2.0, None, 0.5)
