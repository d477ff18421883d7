"""Runs are rebuilt from their folders when the database is lost or damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cognate_core.contracts import RunStatus
from cognate_core.errors import RunError
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from tests.runs.manager.patient import PatientTrainer, begin, end_of, measured, status_of
from tests.runs.recovery.damage import all_there_is, cut_off, lose, make_garbage, overwrite_some_pages
from tests.waiting import LONG

pytestmark = pytest.mark.usefixtures("one_thread")


class TestLostDatabase:
    def test_when_it_is_deleted_everything_is_rebuilt(
        self, worked_in: list[dict[str, Any]], open_studio: Callable[[], RunManager], home: Path
    ) -> None:
        names = [run["runs"][0]["name"] for run in worked_in]
        assert names == ["slow and cancelled", "slow and stopped", "slow and paused", "third", "bad", "first"]
        lose(home)
        studio = open_studio()
        assert all_there_is(studio) == worked_in
        assert [model.name for model in studio.log.models("")] == []
        assert [model.name for model in studio.log.models()] == ["slow and stopped", "third", "second", "first"]
        for model in studio.log.models():
            for file in studio.log.artifacts(model.id):
                assert studio.store.path(file["path"]).stat().st_size == file["bytes"]
        assert studio.recovery_note() == "6 runs were rebuilt from their folder."

    @pytest.mark.parametrize("damage", [make_garbage, cut_off, overwrite_some_pages])
    def test_when_it_is_damaged_it_is_kept_aside_and_everything_rebuilt(
        self,
        worked_in: list[dict[str, Any]],
        open_studio: Callable[[], RunManager],
        home: Path,
        damage: Callable[[Path], None],
    ) -> None:
        damage(home)
        damaged = database_path(home).read_bytes()
        studio = open_studio()
        assert all_there_is(studio) == worked_in
        (aside,) = (path for path in home.glob("studio.sqlite.damaged-*") if path.name[-4:] not in ("-wal", "-shm"))
        assert aside.read_bytes() == damaged
        assert studio.recovery_note() == (
            f"The database was damaged and is kept as {aside.name}. 6 runs were rebuilt from their folder."
        )

    def test_what_was_rebuilt_goes_on(
        self,
        worked_in: list[dict[str, Any]],
        open_studio: Callable[[], RunManager],
        start: Callable[..., str],
        patient: PatientTrainer,
        home: Path,
    ) -> None:
        lose(home)
        studio = open_studio()
        patient.let_all_go()
        ids = {run.name: run.id for run in studio.log.runs()}
        (stopped,) = studio.log.models(ids["slow and stopped"])
        for name in ("slow and paused", "slow and stopped"):
            studio.resume(ids[name])
            assert end_of(studio, ids[name]).status is RunStatus.COMPLETED
        (model,) = studio.log.models(ids["slow and stopped"])
        assert (model.id, model.status) == (stopped.id, "completed")
        with pytest.raises(RunError, match="cancelled cannot be resumed"):
            studio.resume(ids["slow and cancelled"])
        assert end_of(studio, start(studio, "new")).status is RunStatus.COMPLETED
        assert studio.log.runs()[0].name == "new"

    def test_the_note_is_there_until_it_was_read(
        self, worked_in: list[dict[str, Any]], open_studio: Callable[[], RunManager], home: Path
    ) -> None:
        lose(home)
        studio = open_studio()
        studio.close()
        studio = open_studio()
        assert studio.recovery_note() == "6 runs were rebuilt from their folder."
        studio.forget_recovery_note()
        assert studio.recovery_note() is None
        studio.close()
        assert open_studio().recovery_note() is None

    def test_a_sound_database_is_left_as_it_is(
        self, worked_in: list[dict[str, Any]], open_studio: Callable[[], RunManager], home: Path
    ) -> None:
        studio = open_studio()
        assert all_there_is(studio) == worked_in
        assert studio.recovery_note() is None
        assert list(home.glob("*damaged*")) == []

    def test_a_run_that_an_older_copy_of_the_database_does_not_know_is_added(
        self,
        worked_in: list[dict[str, Any]],
        open_studio: Callable[[], RunManager],
        start: Callable[..., str],
        home: Path,
    ) -> None:
        copy = database_path(home).read_bytes()
        studio = open_studio()
        end_of(studio, start(studio, "later"))
        studio.close()
        lose(home)
        database_path(home).write_bytes(copy)
        again = open_studio()
        assert all_there_is(again)[1:] == worked_in
        assert again.log.runs()[0].name == "later"
        assert all(measured(again.log, again.log.runs()[0].id).values())
        assert again.recovery_note() == "1 run was rebuilt from its folder."

    def test_what_was_deleted_does_not_come_back_and_can_still_be_restored(
        self, worked_in: list[dict[str, Any]], open_studio: Callable[[], RunManager], home: Path
    ) -> None:
        studio = open_studio()
        ids = {model.name: model for model in studio.log.models()}
        studio.delete_run(ids["third"].run_id)
        studio.delete_model(ids["second"].id)
        studio.close()
        lose(home)
        again = open_studio()
        assert "third" not in [run.name for run in again.log.runs()]
        assert [model.name for model in again.log.models()] == ["slow and stopped", "first"]
        for entry in again.trash.entries():
            again.restore(entry.id)
        assert {model.name: model for model in again.log.models()} == ids
        assert all(
            again.store.path(file["path"]) for model in again.log.models() for file in again.log.artifacts(model.id)
        )

    def test_who_waited_waits_on_in_the_same_order(
        self,
        open_studio: Callable[[], RunManager],
        start: Callable[..., str],
        patient: PatientTrainer,
        home: Path,
    ) -> None:
        studio = open_studio()
        start(studio, "slow")
        begin(patient, "slow")
        for name in ("slow b", "slow c"):
            start(studio, name)
        waiting = studio.log.queued_run_ids()
        studio.close()
        lose(home)
        again = open_studio()
        begin(patient, "slow b")
        assert again.log.queued_run_ids() == waiting[1:]
        patient.let_all_go()
        for run_id in waiting:
            assert end_of(again, run_id).status is RunStatus.COMPLETED
        assert patient.order == ["slow", "slow b", "slow c"]

    def test_a_run_that_was_cancelled_while_it_waited_does_not_begin_after_all(
        self,
        open_studio: Callable[[], RunManager],
        start: Callable[..., str],
        patient: PatientTrainer,
        home: Path,
    ) -> None:
        studio = open_studio()
        start(studio, "slow")
        begin(patient, "slow")
        run_id = start(studio, "slow b")
        assert studio.cancel(run_id)
        studio.close()
        lose(home)
        patient.let_all_go()
        again = open_studio()
        again.wait(run_id, LONG)
        assert status_of(again, run_id) is RunStatus.CANCELLED
        assert patient.order == ["slow"]

    def test_a_run_that_was_going_when_all_was_lost_is_interrupted(
        self,
        open_studio: Callable[[], RunManager],
        start: Callable[..., str],
        patient: PatientTrainer,
        home: Path,
        tmp_path: Path,
    ) -> None:
        studio = open_studio()
        run_id = start(studio, "slow")
        begin(patient, "slow")
        shutil.copytree(home, tmp_path / "as it was")  # at this moment the power goes, and the database with it
        studio.close()
        shutil.rmtree(home)
        (tmp_path / "as it was").rename(home)
        lose(home)
        again = open_studio()
        assert status_of(again, run_id) is RunStatus.INTERRUPTED, "as it is when the database survives"
        assert patient.order == ["slow"], "nothing is trained that nobody asked for"
        again.resume(run_id)
        patient.let_all_go()
        assert end_of(again, run_id).status is RunStatus.COMPLETED

    def test_a_home_that_was_moved_and_lost_its_database_is_whole(
        self, worked_in: list[dict[str, Any]], open_studio: Callable[[], RunManager], home: Path, tmp_path: Path
    ) -> None:
        lose(home)
        home.rename(tmp_path / "elsewhere")
        moved = RunManager(tmp_path / "elsewhere", executor="thread")
        try:
            assert all_there_is(moved) == worked_in
            for model in moved.log.models():
                for file in moved.log.artifacts(model.id):
                    assert moved.store.path(file["path"]).is_relative_to(tmp_path / "elsewhere")
        finally:
            moved.close()
