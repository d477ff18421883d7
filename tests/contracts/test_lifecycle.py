"""The life of a run: the table of statuses, and that the database obeys it to the letter."""

import sqlite3
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from cognate_core import contracts
from cognate_core.config import TrainingConfig
from cognate_core.contracts.lifecycle import TRANSITIONS, RunStatus, sources
from cognate_core.storage.progress_log import ProgressLog

S = RunStatus
ACTIVE = {S.PREPARING, S.TRAINING, S.PAUSING, S.STOPPING, S.CANCELLING}
ENDED = {S.STOPPED, S.CANCELLED, S.COMPLETED, S.COMPLETED_WITH_FAILURES, S.FAILED, S.CRASHED, S.INTERRUPTED, S.DIVERGED}
RESUMABLE = {S.PAUSED, S.STOPPED, S.FAILED, S.CRASHED, S.INTERRUPTED}


def test_the_words_that_people_read() -> None:
    assert [status.value for status in S] == [
        "queued",
        "preparing",
        "training",
        "pausing",
        "paused",
        "stopping",
        "stopped",
        "cancelling",
        "cancelled",
        "completed",
        "completed with failures",
        "failed",
        "crashed",
        "interrupted",
        "diverged",
    ]
    assert contracts.RunStatus is S


def test_somebody_works_on_exactly_these() -> None:
    assert {status for status in S if status.is_active} == ACTIVE


def test_exactly_these_have_ended() -> None:
    assert {status for status in S if status.is_terminal} == ENDED


def test_exactly_these_can_be_resumed() -> None:
    assert {status for status in S if status.can_resume} == RESUMABLE


def test_a_run_is_at_work_or_ended_or_waits_for_its_turn_or_for_a_person() -> None:
    assert ACTIVE | ENDED | {S.QUEUED, S.PAUSED} == set(S)
    assert not ACTIVE & (ENDED | {S.QUEUED, S.PAUSED})


def test_the_table_has_a_line_for_each_status_and_no_other() -> None:
    assert set(TRANSITIONS) == set(S)
    assert all(isinstance(targets, frozenset) and targets <= set(S) for targets in TRANSITIONS.values())


def test_no_status_follows_itself() -> None:
    assert [status for status in S if status in TRANSITIONS[status]] == []


@pytest.mark.parametrize("status", [status for status in S if status.is_terminal or status is S.PAUSED])
def test_the_only_way_out_of_an_end_is_to_be_queued_again_and_only_where_a_run_can_resume(status: RunStatus) -> None:
    assert TRANSITIONS[status] == ({S.QUEUED} if status.can_resume else set())


@pytest.mark.parametrize("status", [status for status in S if status.is_active])
def test_an_execution_may_come_to_any_end_whatever_was_asked_for(status: RunStatus) -> None:
    assert TRANSITIONS[status] >= ENDED | {S.PAUSED}
    assert S.QUEUED not in TRANSITIONS[status]


def test_work_goes_forward_and_a_wish_is_only_outdone_by_a_stronger_one() -> None:
    forward = {
        S.PREPARING: {S.TRAINING, S.PAUSING, S.STOPPING, S.CANCELLING},
        S.TRAINING: {S.PAUSING, S.STOPPING, S.CANCELLING},
        S.PAUSING: {S.STOPPING, S.CANCELLING},
        S.STOPPING: {S.CANCELLING},
        S.CANCELLING: set(),
    }
    assert {status: set(TRANSITIONS[status] & ACTIVE) for status in ACTIVE} == forward


def test_a_run_that_waits_is_taken_up_or_taken_out() -> None:
    assert TRANSITIONS[S.QUEUED] == {S.PREPARING, S.CANCELLED, S.PAUSED}


def test_every_status_can_be_reached_from_the_queue() -> None:
    reached = {S.QUEUED}
    while more := {target for status in reached for target in TRANSITIONS[status]} - reached:
        reached |= more
    assert reached == set(S)


def test_every_status_leads_to_an_end() -> None:
    ending = set(ENDED)
    while more := {status for status in S if TRANSITIONS[status] & ending} - ending:
        ending |= more
    assert ending == set(S)


@pytest.mark.parametrize("status", S)
def test_the_sources_are_the_table_read_backwards(status: RunStatus) -> None:
    assert sources(status) == {source for source in S if status in TRANSITIONS[source]}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProgressLog]:
    """With two runs that wait."""
    log = ProgressLog(tmp_path_factory.mktemp("home") / "studio.sqlite")
    log.create_run("r", "a run", TrainingConfig(), ["m"], Path("runs/r"), None)
    log.create_run("bystander", "another", TrainingConfig(), ["m"], Path("runs/b"), None)
    yield log
    log.close()


def put(log: ProgressLog, status: RunStatus) -> None:
    """Give the run a status, past all rules."""
    connection = sqlite3.connect(log.path, isolation_level=None)
    connection.execute(
        "UPDATE runs SET status = ?, message = 'before', finished_at = NULL WHERE id = 'r'", [status.value]
    )
    connection.close()


class TestDatabase:
    """What ProgressLog really lets happen, for every pair of statuses."""

    @pytest.mark.parametrize(("source", "target"), list(product(S, S)))
    def test_a_run_becomes_what_the_table_says_and_nothing_else(
        self, log: ProgressLog, source: RunStatus, target: RunStatus
    ) -> None:
        put(log, source)
        before = log.run("r")
        allowed = target in TRANSITIONS[source]
        assert log.set_status("r", target, message="after") is allowed
        run = log.run("r")
        if allowed:
            assert (run.status, run.message) == (target, "after")
        else:
            assert run == before
        assert log.run("bystander").status is S.QUEUED

    @pytest.mark.parametrize("source", S)
    def test_of_a_run_that_must_be_somewhere_first_the_table_holds_too(
        self, log: ProgressLog, source: RunStatus
    ) -> None:
        for elsewhere in (S.QUEUED, S.TRAINING, S.COMPLETED):
            put(log, source)
            for target in TRANSITIONS[source] if elsewhere is not source else ():
                assert not log.set_status("r", target, only_from=elsewhere)
        allowed = set()
        for target in S:
            put(log, source)
            if log.set_status("r", target, only_from=source):
                allowed.add(target)
        assert allowed == TRANSITIONS[source]

    @pytest.mark.parametrize("source", S)
    def test_a_run_is_claimed_out_of_the_queue_alone(self, log: ProgressLog, source: RunStatus) -> None:
        put(log, source)
        before = log.run("r")
        assert log.claim("r") is (source is S.QUEUED)
        if source is S.QUEUED:
            assert log.run("r").status is S.PREPARING
            assert S.PREPARING in TRANSITIONS[source]
        else:
            assert log.run("r") == before

    @pytest.mark.parametrize("source", S)
    def test_a_run_is_queued_again_where_it_can_resume(self, log: ProgressLog, source: RunStatus) -> None:
        put(log, source)
        before = log.run("r")
        assert log.requeue("r") is source.can_resume
        if source.can_resume:
            assert log.run("r").status is S.QUEUED
        else:
            assert log.run("r") == before

    @pytest.mark.parametrize("source", S)
    def test_a_run_that_nobody_works_on_any_more_is_interrupted(self, log: ProgressLog, source: RunStatus) -> None:
        put(log, source)
        assert log.interrupt_unfinished() == (["r"] if source.is_active else [])
        assert log.run("r").status is (S.INTERRUPTED if source.is_active else source)
        assert not source.is_active or S.INTERRUPTED in TRANSITIONS[source]

    @pytest.mark.parametrize("target", S)
    def test_the_end_is_dated_when_it_is_one(self, log: ProgressLog, target: RunStatus) -> None:
        for source in sources(target):
            put(log, source)
            assert log.set_status("r", target)
            assert (log.run("r").finished_at is not None) is target.is_terminal
