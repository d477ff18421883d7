"""What is left when the database is not: the list of runs from their folders, and a studio that only looks."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cognate_core import runs
from cognate_core.config import TrainingConfig
from cognate_core.config.sweep import Sweep
from cognate_core.contracts import RunStatus
from cognate_core.errors import RunError
from cognate_core.mocks import MockDatasetLoader, MockModelTrainer
from cognate_core.records import record_to_json
from cognate_core.runs.execution import RunContext
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.service import TrainingService
from cognate_core.storage.progress_reader import ProgressReader
from tests.runs.manager.patient import (
    OpenManager,
    PatientTrainer,
    begin,
    end_of,
    figures_of,
    measured,
    paused,
    recording_service,
    services_with,
    status_of,
)
from tests.waiting import LONG, until

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of `open_manager`."""
    return tmp_path / "home"


@pytest.fixture
def patient(open_manager: OpenManager) -> Iterator[PatientTrainer]:
    """Let go at the end, before the managers are closed."""
    trainer = PatientTrainer()
    yield trainer
    trainer.let_all_go()


@pytest.fixture
def open_studio(open_manager: OpenManager, patient: PatientTrainer) -> Callable[[], RunManager]:
    """`open_studio()`: models called "slow..." are trained by `patient`, "bad..." fail, all others have figures."""

    def build(context: RunContext) -> TrainingService:
        name = context.model_names[0]
        if name.startswith("slow"):
            return services_with(patient)(context)
        if name.startswith("bad"):
            trainer = MockModelTrainer({name: ValueError("It would not learn.")})
            return TrainingService(context.emitter, MockDatasetLoader(), trainer, context.config)
        return recording_service(context)

    return lambda: open_manager(build_service=build)


@pytest.fixture
def start(tiny_config: TrainingConfig) -> Callable[..., str]:
    """`start(studio, "a", "b")`: start run "a" with these models; its id."""
    return lambda studio, *names: studio.start(tiny_config, names[0], list(names))


@pytest.fixture
def worked_in(
    open_studio: Callable[[], RunManager], start: Callable[..., str], patient: PatientTrainer
) -> list[dict[str, Any]]:
    """The home after a studio was closed in which some runs came to different ends: what there was of each."""
    studio = open_studio()
    for names in (("first", "second"), ("bad",), ("third",)):
        end_of(studio, start(studio, *names))
    for name in ("slow and paused", "slow and stopped", "slow and cancelled"):
        run_id = start(studio, name)
        begin(patient, name)
        if name.endswith("paused"):
            paused(studio, run_id)
        elif name.endswith("stopped"):
            studio.stop(run_id)
        else:
            studio.cancel(run_id)
        assert studio.wait(run_id, LONG)
    studio.close()
    return all_there_is(studio)


def all_there_is(studio: RunManager) -> list[dict[str, Any]]:
    """The rows and figures of each run, the newest first."""
    log = ProgressReader(studio.log.path)
    return [{**log.export_run(run.id), **measured(log, run.id)} for run in log.runs()]


def lose(home: Path) -> None:
    """Delete the database."""
    for path in home.glob("studio.sqlite*"):
        path.unlink()


def make_garbage(home: Path) -> None:
    database_path(home).write_bytes(b"This is no database. " * 10_000)


def cut_off(home: Path) -> None:
    path = database_path(home)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite_some_pages(home: Path) -> None:
    content = bytearray(database_path(home).read_bytes())
    content[4096 * 2 : 4096 * 6] = b"\xa5" * (4096 * 4)
    database_path(home).write_bytes(content)


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

    def test_what_was_deleted_does_not_come_back_and_can_still_be_put_back(
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
            again.put_back(entry.id)
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


def edited(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    """The run's own row with these values; None of a value that is `...`."""

    def edit(rows: dict[str, Any]) -> Any:
        row = {**rows["runs"][0], **changes}
        return {**rows, "runs": [{column: value for column, value in row.items() if value is not ...}]}

    return edit


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "null": lambda _: None,
    "a list": lambda rows: [rows],
    "no tables": lambda _: {},
    "no run": lambda rows: {**rows, "runs": []},
    "two runs": lambda rows: {**rows, "runs": rows["runs"] * 2},
    "a word for a run": lambda rows: {**rows, "runs": ["run"]},
    "another's id": edited(id="another"),
    "no id": edited(id=...),
    "an unknown status": edited(status="levitating"),
    "no status": edited(status=...),
    "no name": edited(name=...),
    "no date": edited(created_at=...),
    "a date of another kind": edited(created_at=None),
    "a number for a date": edited(created_at=17),
    "no models' names": edited(model_names=...),
    "models' names that are none": edited(model_names="first, second"),
    "a number for models' names": edited(model_names=3),
    "no settings": edited(config=...),
    "settings that are a list": edited(config="[]"),
    "settings that are a number": edited(config=5),
    "a data report that is none": edited(data_report="{"),
    "a word for progress": edited(progress="half"),
    "a word for seconds": edited(worked_seconds="long"),
    "a word for models": lambda rows: {**rows, "models": "first"},
    "words for models": lambda rows: {**rows, "models": ["first"]},
    "a model without id": lambda rows: {**rows, "models": [{**rows["models"][0], "id": None}]},
    "a model of another run": lambda rows: {**rows, "models": [{**rows["models"][0], "run_id": "another"}]},
    "details of a model that are none": lambda rows: {**rows, "models": [{**rows["models"][0], "details": "{"}]},
    "a file of no model": lambda rows: {**rows, "artifacts": [{**rows["artifacts"][0], "model_id": "another"}]},
}


class TestBrokenRunFiles:
    @pytest.fixture
    def lost(
        self, open_studio: Callable[[], RunManager], start: Callable[..., str], home: Path
    ) -> tuple[dict[str, Any], Path]:
        """Two runs whose database is gone: the rows of the good one, and the run.json of the other."""
        studio = open_studio()
        ids = [start(studio, name) for name in ("good", "other")]
        for run_id in ids:
            end_of(studio, run_id)
        studio.close()
        rows = {**studio.log.export_run(ids[0]), **measured(studio.log, ids[0])}
        lose(home)
        return rows, home / "runs" / ids[1] / "run.json"

    def is_named_and_harms_no_other(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager]
    ) -> None:
        good, path = lost
        broken = path.read_bytes()
        for _ in range(2):  # the next start must go as well
            studio = open_studio()
            found = {run.id: run for run in studio.log.runs()}
            good_id = good["runs"][0]["id"]
            assert {**studio.log.export_run(good_id), **measured(studio.log, good_id)} == good
            assert [model.name for model in studio.log.models()][-1] == "good"
            if path.parent.name in found:  # what is broken in it does no harm: it is a run like others
                run = found[path.parent.name]
                assert run.name == "other"
                assert isinstance(run.progress, float | None)
                assert isinstance(run.worked_seconds, float | None)
                assert all(isinstance(name, str) for name in run.model_names)
            else:
                assert f"The run in {path.parent.name} cannot be" in (studio.recovery_note() or "")
            assert path.read_bytes() == broken, "nothing of it is lost"
            studio.close()

    @pytest.mark.parametrize("what", BROKEN)
    def test_one_whose_rows_are_not_what_they_should_be_is_named_and_harms_no_other(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager], what: str
    ) -> None:
        _, path = lost
        path.write_text(json.dumps(BROKEN[what](json.loads(path.read_text()))))
        self.is_named_and_harms_no_other(lost, open_studio)

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"\xff\xfe\x00", b"\0" * 5000, b"[" * 100_000],
        ids=["empty", "cut off", "no text", "zeros", "deep"],
    )
    def test_one_that_is_no_json_is_named_and_harms_no_other(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager], content: bytes
    ) -> None:
        lost[1].write_bytes(content)
        self.is_named_and_harms_no_other(lost, open_studio)

    def test_one_that_is_a_folder_is_named_and_harms_no_other(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager]
    ) -> None:
        good, path = lost
        path.unlink()
        path.mkdir()
        studio = open_studio()
        assert [run.id for run in studio.log.runs()] == [good["runs"][0]["id"]]
        assert f"The run in {path.parent.name} cannot be read" in (studio.recovery_note() or "")

    def test_columns_and_settings_of_another_version_do_no_harm(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager]
    ) -> None:
        _, path = lost
        rows = json.loads(path.read_text())
        before = json.loads(path.read_text())
        for table in ("runs", "models", "artifacts"):
            rows[table][0]["colour"] = "green"
        rows["thoughts"] = [{"id": 1}]
        path.write_text(json.dumps(rows))
        studio = open_studio()
        assert studio.log.export_run(path.parent.name) == before
        assert studio.recovery_note() == "2 runs were rebuilt from their folder."

    def test_folders_that_are_links_are_not_followed(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager], tmp_path: Path
    ) -> None:
        good, path = lost
        path.parent.rename(tmp_path / path.parent.name)
        path.parent.symlink_to(tmp_path / path.parent.name, target_is_directory=True)
        studio = open_studio()
        assert [run.id for run in studio.log.runs()] == [good["runs"][0]["id"]]

    def test_what_else_lies_among_the_runs_is_let_be(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager], home: Path
    ) -> None:
        (home / "runs" / "notes.txt").write_text("mine")
        (home / "runs" / "empty").mkdir()
        studio = open_studio()
        assert len(studio.log.runs()) == 2
        assert studio.recovery_note() == "2 runs were rebuilt from their folder."
        assert (home / "runs" / "notes.txt").read_text() == "mine"

    def test_figures_count_up_to_the_first_line_that_is_not_whole(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager]
    ) -> None:
        good, path = lost
        log = path.parent / "other" / "training_log.jsonl"
        figures = [json.dumps(record_to_json(record)) for record in figures_of("other", 5)]
        third_step = next(place for place, line in enumerate(figures) if '"step": 3' in line)
        log.write_text("\n".join([*figures[:third_step], '{"type": "Step', *figures[third_step:]]) + "\n")
        studio = open_studio()
        assert [row["step"] for row in studio.log.metrics(path.parent.name)] == [1, 2]
        assert measured(studio.log, good["runs"][0]["id"])["metrics"] == good["metrics"]


CHANGES: dict[str, tuple[Any, ...]] = {
    "start": (TrainingConfig(), "late", ["late"]),
    "start_twin": ("run",),
    "start_branch": ("run", "done", 1, {}, "late"),
    "start_verification": ("run",),
    "start_sweep": (Sweep(TrainingConfig(), {"seed": [1, 2]}), "late"),
    "cancel_group": ("group",),
    "rename_run": ("run", "late"),
    "describe_model": ("model",),
    "measure_accuracy": ("model", 1),
    "cancel_measurement": (),
    "pause": ("run",),
    "stop": ("run",),
    "cancel": ("run",),
    "resume": ("run",),
    "move_in_queue": ("run", 1),
    "delete_model": ("model",),
    "delete_run": ("run",),
    "put_back": ("entry",),
    "forget_recovery_note": (),
    "remove_for_good": ("x",),
    "empty_trash": (),
    "remove_own_file": ("x",),
}
LOOKS = {"close", "recovery_note", "resume_step", "wait", "silent_seconds", "memory_bytes", "checkpoint_steps"}
LOOKS |= {"batch_at", "kept_steps", "measurement", "introduce", "say_address", "weights", "prepare_worker"}


class TestReadOnlyManager:
    @pytest.fixture
    def studio(
        self, open_studio: Callable[[], RunManager], start: Callable[..., str], patient: PatientTrainer
    ) -> RunManager:
        """One that has the home: a run is completed, one is training, one waits."""
        studio = open_studio()
        end_of(studio, start(studio, "done"))
        for name in ("slow", "slow and waiting"):
            start(studio, name)
        begin(patient, "slow")
        until(lambda: studio.log.runs()[1].step == 1)
        return studio

    @pytest.fixture
    def looking(self, studio: RunManager, home: Path) -> ReadOnlyManager:
        return ReadOnlyManager(home)

    def test_sees_what_the_other_one_sees(self, studio: RunManager, looking: ReadOnlyManager, home: Path) -> None:
        assert looking.home == home
        assert looking.log.runs() == studio.log.runs()
        assert looking.log.models() == studio.log.models()
        assert all_there_is(looking) == all_there_is(studio)
        assert looking.trash.entries() == []
        assert looking.recovery_note() is None
        done = looking.log.runs()[-1].id
        assert looking.resume_step(done) == 0

    def test_says_who_has_the_folder(self, looking: ReadOnlyManager, home: Path) -> None:
        assert re.fullmatch(
            rf"Cognate Studio is already running with the data folder {re.escape(str(home))} \(process {os.getpid()}, "
            r"since \d{4}-\d\d-\d\d \d\d:\d\d UTC\)\. Use that one, close it, or choose another folder with "
            r"COGNATE_HOME\.",
            str(looking.read_only),
        )

    def test_every_change_is_known_here(self) -> None:
        public = {name for name in vars(RunManager) if not name.startswith("_") and callable(getattr(RunManager, name))}
        assert public == set(CHANGES) | LOOKS

    def test_refuses_each_change_with_that_sentence(self, studio: RunManager, looking: ReadOnlyManager) -> None:
        def statuses() -> list[str]:
            return [run["runs"][0]["status"] for run in all_there_is(studio)]

        before, sentences = statuses(), dict[str, str]()
        for change, arguments in CHANGES.items():
            with pytest.raises(RunError) as refusal:
                getattr(looking, change)(*arguments)
            sentences[change] = str(refusal.value)
            assert statuses() == before, change
        assert sentences == dict.fromkeys(CHANGES, looking.read_only)

    def test_can_tell_whether_a_run_rests(self, looking: ReadOnlyManager) -> None:
        training, done = looking.log.runs()[1].id, looking.log.runs()[-1].id
        assert looking.wait(done, 0)
        assert not looking.wait(training, 0)

    def test_closing_it_closes_nothing_of_the_other(
        self, studio: RunManager, looking: ReadOnlyManager, patient: PatientTrainer
    ) -> None:
        run_id = studio.log.runs()[1].id
        looking.close()
        assert status_of(studio, run_id) is RunStatus.TRAINING
        patient.let_all_go()
        assert end_of(studio, run_id).status is RunStatus.COMPLETED

    def test_this_processs_manager_only_looks_while_another_has_the_folder(
        self, studio: RunManager, patient: PatientTrainer
    ) -> None:
        try:
            looking = runs.current_manager()
            assert isinstance(looking, ReadOnlyManager)
            assert runs.current_manager() is looking
            assert looking.read_only is not None
            with pytest.raises(RunError, match="already running with the data folder"):
                looking.cancel(studio.log.runs()[1].id)
            runs.close_manager()
            patient.let_all_go()
            for run in studio.log.runs():
                end_of(studio, run.id)  # the next one has nothing to take up
            studio.close()
            manager = runs.current_manager()
            assert type(manager) is RunManager
            assert manager.read_only is None
        finally:
            runs.close_manager()

    def test_a_folder_without_a_database_yet_is_told_and_no_traceback(self, home: Path) -> None:
        home.mkdir()
        looking = ReadOnlyManager(home)
        assert str(looking.read_only).startswith(
            f"Cognate Studio is already running with the data folder {home}. Use that one"
        )
