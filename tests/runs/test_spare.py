"""A spare worker: whose it is, and that it ends. A stand-in plays it; a real one is in test_process.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from cognate_core.contracts import RunStatus
from cognate_core.runs.manager import RunManager
from cognate_core.runs.process import WORKER_MODULE
from cognate_core.runs.spare import LEAST_FREE_BYTES, SpareWorker
from cognate_core.runs.timing import Timing
from tests.runs.process.workers import at_rest, play, small_config
from tests.waiting import LONG, MOMENT, until

OpenManager = Callable[..., RunManager]

SAYS_WHO_IT_IS = """
job = json.loads(sys.stdin.readline() if first_line == "load\\n" else first_line)
end("completed", f"{os.getpid()} of {sys.argv[-1]}")
"""


@pytest.fixture
def studio(open_manager: OpenManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunManager:
    """Its workers say who they are, and end."""
    play(monkeypatch, tmp_path, SAYS_WHO_IT_IS)
    return open_manager(executor="process")


def children() -> list[psutil.Process]:
    return psutil.Process().children()


def test_the_next_new_run_has_it_and_the_one_after_that_has_its_own(studio: RunManager) -> None:
    studio.prepare_worker()
    studio.prepare_worker()
    (spare,) = children()
    first = studio.start(small_config(), "Played", ["played"])
    second = studio.start(small_config(), "Played again", ["played"])
    assert at_rest(studio, first).message == f"{spare.pid} of {first}"
    run = at_rest(studio, second)
    assert run.message.endswith(f" of {second}")
    assert run.message != f"{spare.pid} of {second}"
    assert children() == []


def test_a_start_that_makes_no_run_leaves_it_to_the_next(studio: RunManager) -> None:
    first = studio.start(small_config(), "Played", ["played"], start_key="k" * 12)
    at_rest(studio, first)
    studio.prepare_worker()
    (spare,) = children()
    assert studio.start(small_config(), "Played", ["played"], start_key="k" * 12) == first
    second = studio.start(small_config(), "Played", ["played"])
    assert at_rest(studio, second).message == f"{spare.pid} of {second}"


def test_there_is_none_after_the_end() -> None:
    spare = SpareWorker(LONG)
    spare.end()
    spare.prepare()
    assert children() == []


def test_one_that_died_is_missed_by_nobody(studio: RunManager) -> None:
    studio.prepare_worker()
    (spare,) = children()
    spare.kill()
    until(lambda: spare.status() == psutil.STATUS_ZOMBIE, "its end")
    run = at_rest(studio, studio.start(small_config(), "Played", ["played"]))
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert run.message != f"{spare.pid} of {run.id}"


def test_it_ends_with_the_studio(studio: RunManager) -> None:
    studio.prepare_worker()
    assert len(children()) == 1
    studio.close()
    assert children() == []
    studio.prepare_worker()
    assert children() == []


def test_it_does_not_wait_for_ever(open_manager: OpenManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, tmp_path, SAYS_WHO_IT_IS)
    studio = open_manager(executor="process", timing=Timing(spare=MOMENT))
    studio.prepare_worker()
    until(lambda: children() == [], "its end")
    run = at_rest(studio, studio.start(small_config(), "Played", ["played"]))
    assert run.status is RunStatus.COMPLETED


def test_there_is_none_where_memory_is_short(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=LEAST_FREE_BYTES - 1))
    studio.prepare_worker()
    assert children() == []


def test_there_is_none_while_a_run_is_going(
    open_manager: OpenManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, tmp_path, 'say({"message": "Here I am"}); end("paused", sys.stdin.readline())')
    studio = open_manager(executor="process")
    run_id = studio.start(small_config(), "Played", ["played"])
    until(lambda: studio.log.run(run_id).message == "Here I am", "its first words")
    studio.prepare_worker()
    assert len(children()) == 1
    assert studio.pause(run_id)
    at_rest(studio, run_id)


def test_a_worker_without_a_job_ends_without_a_word() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", WORKER_MODULE, "nobody"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LONG,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
