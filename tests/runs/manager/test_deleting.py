"""Models and runs go to the trash with all that belongs to them, and nothing else."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cognate_core.contracts import RunStatus
from cognate_core.errors import RunError, StorageError
from cognate_core.files import replace_durably
from cognate_core.runs.home import RESERVE_BYTES
from cognate_core.runs.manager import RunManager
from cognate_core.runs.recovery import write_run_file
from cognate_core.storage import trash as trash_module
from cognate_core.storage.trash import TrashEntry
from cognate_core.testing import MockModelTrainer
from tests.runs.manager.patient import (
    OpenManager,
    PatientTrainer,
    begin,
    end_of,
    measured,
    paused,
    recording_service,
    services_with,
    status_of,
)
from tests.waiting import LONG, MOMENT, until

pytestmark = pytest.mark.usefixtures("one_thread")


class TestDeleteModel:
    def test_moves_its_files_to_the_trash_and_leaves_the_others(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a", "b"))
        models = {model.name: model.id for model in studio.log.models(run.id)}
        studio.delete_model(models["a"])
        assert [model.name for model in studio.log.models()] == ["b"]
        assert studio.log.artifacts(models["a"]) == []
        assert not (Path(run.folder) / "a").exists()
        kept = list((home / "trash").rglob("*.bin"))
        assert [path.read_bytes() for path in kept] == [b"a" * 1000]
        assert studio.store.path(studio.log.artifacts(models["b"])[0]["path"]).read_bytes() == b"b" * 1000
        assert studio.log.run(run.id) == run

    def test_an_unknown_or_deleted_model_is_told_as_a_sentence(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        model_id = studio.log.models(run.id)[0].id
        studio.delete_model(model_id)
        for gone in (model_id, "never"):
            with pytest.raises(RunError, match="There is no such model"):
                studio.delete_model(gone)

    def test_a_model_whose_files_are_gone_can_be_deleted(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        model = studio.log.models(run.id)[0]
        (Path(run.folder) / "a" / "weights.bin").unlink()
        (Path(run.folder) / "a").rmdir()
        studio.delete_model(model.id)
        assert studio.log.models() == []


class TestDeleteRun:
    @pytest.mark.parametrize("state", ["queued", "training", "pausing"])
    def test_one_that_waits_or_is_worked_on_is_refused(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path, state: str
    ) -> None:
        trainer.deaf = True
        run_id, waiting = start(studio, "a"), start(studio, "b")
        begin(trainer, "a")
        until(lambda: status_of(studio, run_id) is RunStatus.TRAINING)
        if state == "pausing":
            studio.pause(run_id)
        run_id = waiting if state == "queued" else run_id
        with pytest.raises(RunError, match=rf"^The run has not ended \({state}\)\. Stop or cancel it first\.$"):
            studio.delete_run(run_id)
        assert status_of(studio, run_id) == state
        assert (home / "runs" / run_id).is_dir()
        assert studio.trash.entries() == []

    def test_one_whose_end_is_just_being_written_is_deleted_after_that(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As a program does that asks until it hears that the run has ended, and then deletes it."""
        write, deleted, refusals = studio.log.set_status, threading.Event(), list[str]()

        def delete(run_id: str) -> None:
            try:
                studio.delete_run(run_id)
            except RunError as error:
                refusals.append(str(error))
            deleted.set()

        def write_then_a_program_deletes(run_id: str, status: RunStatus, **columns: Any) -> bool:
            done = write(run_id, status, **columns)
            if status.is_terminal:
                threading.Thread(target=delete, args=(run_id,)).start()
                assert not deleted.wait(MOMENT), refusals
            return done

        monkeypatch.setattr(studio.log, "set_status", write_then_a_program_deletes)
        trainer.let_all_go()
        run_id = start(studio, "a")
        assert deleted.wait(LONG)
        until(lambda: f"run-{run_id}" not in [thread.name for thread in threading.enumerate()], "the end of its thread")
        assert refusals == []
        assert [entry.origin for entry in studio.trash.entries()] == [f"runs/{run_id}"]
        assert not (home / "runs" / run_id).exists(), "its end was written into a run that is in the trash"

    def test_moves_it_to_the_trash_and_harms_no_other(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        trainer.let_all_go()
        run, other = (end_of(studio, start(studio, name)) for name in "ab")
        kept = studio.log.export_run(other.id)
        studio.delete_run(run.id)
        with pytest.raises(RunError, match="There is no such run"):
            studio.log.run(run.id)
        assert [model.name for model in studio.log.models()] == ["b"]
        assert studio.log.export_run(run.id) == {"runs": [], "models": [], "artifacts": []}
        assert not (home / "runs" / run.id).exists()
        (entry,) = studio.trash.entries()
        assert (entry.kind, entry.name, entry.origin) == ("run", "a", f"runs/{run.id}")
        assert (home / "trash" / entry.id / "content" / "a" / "weights.bin").read_bytes() == b"a" * 1000
        assert studio.log.export_run(other.id) == kept
        with pytest.raises(RunError, match="There is no such run"):
            studio.delete_run(run.id)

    def test_restored_it_is_there_again_with_its_models_files_and_curves(
        self, open_manager: OpenManager, start: Callable[..., str]
    ) -> None:
        studio = open_manager(build_service=recording_service)
        run, other = end_of(studio, start(studio, "a", "b")), end_of(studio, start(studio, "other"))
        rows, figures, others = (
            studio.log.export_run(run.id),
            measured(studio.log, run.id),
            measured(studio.log, other.id),
        )
        assert all(figures.values()), "there is something to lose"
        studio.delete_run(run.id)
        assert [each.id for each in studio.log.runs()] == [other.id]
        (entry,) = studio.trash.entries()
        assert studio.restore(entry.id) == entry
        assert studio.log.export_run(run.id) == rows
        assert measured(studio.log, run.id) == figures
        assert measured(studio.log, other.id) == others
        for model in studio.log.models(run.id):
            for file in studio.log.artifacts(model.id):
                content = studio.store.path(file["path"]).read_bytes()
                assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
        assert studio.trash.entries() == []
        with pytest.raises(RunError, match="no longer in the trash"):
            studio.restore(entry.id)

    def test_removed_for_good_nothing_of_it_is_left(
        self, open_manager: OpenManager, start: Callable[..., str], home: Path
    ) -> None:
        studio = open_manager(build_service=recording_service)
        run, other = end_of(studio, start(studio, "a", "b")), end_of(studio, start(studio, "other"))
        others = measured(studio.log, other.id)
        model = studio.log.models(run.id)[0]
        studio.delete_model(model.id)
        studio.delete_run(run.id)
        for entry in studio.trash.entries():
            studio.remove_for_good(entry.id)
        assert not any(measured(studio.log, run.id).values())
        assert not studio.log.is_taken("runs", run.id) and not studio.log.is_taken("models", model.id)
        assert list((home / "trash").iterdir()) == []
        assert measured(studio.log, other.id) == others

    @pytest.mark.parametrize("times", [1, 2, 3])
    def test_of_which_something_cannot_be_removed_is_told_and_is_tried_again(
        self, open_manager: OpenManager, start: Callable[..., str], home: Path, times: int
    ) -> None:
        """`times`: at the how many-th file."""
        studio = open_manager(build_service=recording_service)
        run = end_of(studio, start(studio, "a"))
        studio.delete_run(run.id)
        (entry,) = studio.trash.entries()
        unlink, asked = os.unlink, list[str]()

        def refuse(path: Any, **of: Any) -> None:
            asked.append(path)
            if len(asked) == times:
                raise PermissionError(13, "Permission denied", path)
            unlink(path, **of)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            with pytest.raises(StorageError, match=r"^Not all files of a could be removed \(.*Permission denied"):
                studio.remove_for_good(entry.id)
        assert studio.trash.entries() == [entry], "what could not be removed is still there, and shown"
        with pytest.raises(RunError, match=r"^a cannot be restored: some of its files are already removed\.$"):
            studio.restore(entry.id)
        assert studio.log.runs() == []
        studio.remove_for_good(entry.id)
        assert list((home / "trash").iterdir()) == []
        assert not studio.log.is_taken("runs", run.id)

    def test_that_was_deleted_leaves_no_folder_when_it_is_told_of_late(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], home: Path
    ) -> None:
        """What is written beside a run's files would stand where they are to be restored."""
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        studio.delete_run(run.id)
        write_run_file(studio.log, run.id, Path(run.folder))
        assert not Path(run.folder).exists()
        (entry,) = studio.trash.entries()
        studio.restore(entry.id)
        assert studio.log.run(run.id) == run

    def test_of_which_the_rows_cannot_be_forgotten_stays_whole(
        self, open_manager: OpenManager, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        studio = open_manager(build_service=recording_service)
        run = end_of(studio, start(studio, "a"))
        files = sorted(Path(run.folder).rglob("*"))
        studio.delete_run(run.id)
        (entry,) = studio.trash.entries()

        def refuse(_: str) -> None:
            raise StorageError("The database is locked by another program.")

        with monkeypatch.context() as locked:
            locked.setattr(studio.log, "forget", refuse)
            with pytest.raises(StorageError, match="locked"):
                studio.remove_for_good(entry.id)
        studio.restore(entry.id)
        assert sorted(Path(run.folder).rglob("*")) == files and files

    def test_is_emptied_though_somebody_else_empties_it_too(
        self, open_manager: OpenManager, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        studio = open_manager(build_service=recording_service)
        for name in ("first", "gone", "last"):
            studio.delete_run(end_of(studio, start(studio, name)).id)
        entries = studio.trash.entries()
        studio.remove_for_good(next(entry.id for entry in entries if entry.name == "gone"))
        monkeypatch.setattr(studio.trash, "entries", lambda: entries)  # as they were a moment ago
        assert studio.empty_trash() == 2

    def test_is_emptied_but_for_what_cannot_be_removed_and_that_is_told(
        self, open_manager: OpenManager, start: Callable[..., str], home: Path
    ) -> None:
        studio = open_manager(build_service=recording_service)
        for name in ("first", "stubborn", "last"):
            studio.delete_run(end_of(studio, start(studio, name)).id)
        stays = end_of(studio, start(studio, "stays"))
        (kept,) = [entry for entry in studio.trash.entries() if entry.name == "stubborn"]
        remove = studio.trash.remove

        def refuse(entry_id: str) -> None:
            if entry_id == kept.id:
                raise StorageError("The disk refuses.")
            remove(entry_id)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(studio.trash, "remove", refuse)
            with pytest.raises(StorageError, match=r"^1 of 3 items in the trash cannot be removed\. The disk"):
                studio.empty_trash()
        assert studio.trash.entries() == [kept]
        assert studio.empty_trash() == 1
        assert studio.empty_trash() == 0
        assert studio.trash.entries() == [] and list((home / "trash").iterdir()) == []
        assert [run.id for run in studio.log.runs()] == [stays.id] and Path(stays.folder).is_dir()

    @pytest.mark.parametrize("kind", ["run", "model"])
    def test_that_the_database_refuses_stays_where_it_is(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str], monkeypatch: Any, kind: str
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        (model,) = studio.log.models(run.id)
        rows, there = studio.log.export_run(run.id), sorted(Path(run.folder).rglob("*"))

        def refuse(*_: Any) -> None:
            raise StorageError("The database is locked by another program.")

        monkeypatch.setattr(studio.log, "move_to_trash", refuse)
        with pytest.raises(StorageError, match="locked"):
            studio.delete_run(run.id) if kind == "run" else studio.delete_model(model.id)
        assert studio.trash.entries() == []
        assert (studio.log.export_run(run.id), sorted(Path(run.folder).rglob("*"))) == (rows, there)

    def test_on_a_full_disk_there_is_room_to_delete(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Else nobody could make room."""
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a"))
        reserve = home / "reserve"

        def where_there_is_room(write: Callable[..., Any]) -> Callable[..., Any]:
            def guarded(*values: Any) -> Any:
                if reserve.exists():
                    raise OSError(28, "No space left on device")
                return write(*values)

            return guarded

        monkeypatch.setattr(trash_module, "replace_durably", where_there_is_room(replace_durably))
        studio.delete_run(run.id)
        (entry,) = studio.trash.entries()
        studio.remove_for_good(entry.id)
        assert reserve.stat().st_size == RESERVE_BYTES
        assert studio.trash.entries() == []

    def test_a_model_that_has_no_files_is_restored_too(
        self, open_manager: OpenManager, start: Callable[..., str]
    ) -> None:
        studio = open_manager(build_service=services_with(MockModelTrainer()))
        run = end_of(studio, start(studio, "a"))
        before = studio.log.export_run(run.id)
        studio.delete_model(studio.log.models(run.id)[0].id)
        assert studio.log.models() == []
        (entry,) = studio.trash.entries()
        studio.restore(entry.id)
        assert studio.log.export_run(run.id) == before

    def test_a_paused_run_that_was_restored_goes_on(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        paused(studio, run_id)
        studio.delete_run(run_id)
        studio.restore(studio.trash.entries()[0].id)
        assert studio.resume_step(run_id) == 5
        studio.resume(run_id)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED

    def test_a_model_whose_run_is_gone_is_not_restored_until_its_run_is(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        trainer.let_all_go()
        run = end_of(studio, start(studio, "a", "b"))
        before = studio.log.export_run(run.id)
        model = next(model for model in studio.log.models() if model.name == "b")
        studio.delete_model(model.id)
        studio.delete_run(run.id)
        entries = {entry.kind: entry for entry in studio.trash.entries()}
        with pytest.raises(RunError, match="There is no such run"):
            studio.restore(entries["model"].id)
        assert {entry.kind for entry in studio.trash.entries()} == {"run", "model"}
        assert studio.log.models() == []
        studio.restore(entries["run"].id)
        assert [model.name for model in studio.log.models()] == ["a"]
        studio.restore(entries["model"].id)
        assert studio.log.export_run(run.id) == before
        assert studio.store.path(studio.log.artifacts(model.id)[0]["path"]).read_bytes() == b"b" * 1000

    def test_a_model_is_not_restored_over_one_that_was_trained_meanwhile(
        self, studio: RunManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        assert studio.stop(run_id)
        end_of(studio, run_id)
        studio.delete_model(studio.log.models(run_id)[0].id)
        studio.resume(run_id)
        trainer.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED
        now = studio.log.export_run(run_id)
        with pytest.raises(RunError, match="something else is in its place"):
            studio.restore(studio.trash.entries()[0].id)
        assert studio.log.export_run(run_id) == now
        assert len(studio.trash.entries()) == 1

    def test_what_was_never_in_the_trash_is_told_as_a_sentence(self, studio: RunManager) -> None:
        for entry_id in ("gone", "../runs", ""):
            with pytest.raises(RunError, match="no longer in the trash"):
                studio.restore(entry_id)

    def test_a_run_that_is_resumed_while_it_is_deleted_does_one_of_both(
        self,
        studio: RunManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run_id = start(studio, "a")
        begin(trainer, "a")
        paused(studio, run_id)
        put = studio.trash.put
        with ThreadPoolExecutor(1) as pool:
            resuming: list[Future[None]] = []

            def a_person_resumes_then_put(*values: Any) -> TrashEntry:
                resuming.append(pool.submit(studio.resume, run_id))
                with suppress(TimeoutError):  # it may have to wait until the deletion is done
                    resuming[0].exception(MOMENT)
                return put(*values)

            monkeypatch.setattr(studio.trash, "put", a_person_resumes_then_put)
            with suppress(RunError):
                studio.delete_run(run_id)
            error = resuming[0].exception(LONG)
        deleted = run_id not in [run.id for run in studio.log.runs()]
        if deleted:
            assert isinstance(error, RunError), "it was told that it goes on, and is in the trash"
            assert trainer.order == ["a"], "what is in the trash is trained"
        else:
            assert error is None
            assert (home / "runs" / run_id / "a" / "checkpoints").is_dir()
