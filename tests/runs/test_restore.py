"""Deleting and restoring is the identity: on every table, file, order and colour, after whatever was done before."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cognate_core.config import TrainingConfig
from cognate_core.config.sweep import Sweep
from cognate_core.contracts import Event, Rewind
from cognate_core.contracts.json_lines import record_to_json
from cognate_core.errors import Diverged, RunError
from cognate_core.insight import estimates
from cognate_core.labels import folder_name
from cognate_core.runs.execution import RunContext
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.service import TrainingService
from cognate_core.testing import MockDatasetLoader, MockModelTrainer
from tests.runs.manager.patient import figures_of, leave_checkpoint
from tests.tiny import TINY
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("one_thread")

ENDS = ["completed", "failed", "diverged", "cancelled", "paused", "stopped"]
RESTS = st.sampled_from(ENDS)
WHICH = st.integers(0, 99)
CHECKPOINT = 1

Rows = list[dict[str, Any]]


class ActingTrainer(MockModelTrainer):
    """Leaves figures in the database and files in the folder, then does `act`, which may end it."""

    def __init__(self, context: RunContext, act: Callable[[], object]) -> None:
        super().__init__()
        self._context, self._act = context, act

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: Callable[[int, int, float, float], None]
    ) -> dict[str, Any]:
        folder = Path(config.output_dir) / folder_name(model_name)
        folder.mkdir(parents=True, exist_ok=True)
        files = {"weights": folder / "weights.bin", "training_log": folder / "training_log.jsonl"}
        self._context.record(Rewind(model_name, -1, -1))
        records = list(figures_of(model_name, config.max_steps))
        files["training_log"].write_text("".join(f"{json.dumps(record_to_json(each))}\n" for each in records))
        for record in records:
            self._context.record(record)
        leave_checkpoint(folder, CHECKPOINT)
        self._act()
        result = await super().train_model(model_name, config, progress_callback)
        files["weights"].write_bytes(model_name.encode() * 10)
        return {**result, "artifacts": {kind: str(path) for kind, path in files.items()}}


class Histories(RuleBasedStateMachine):
    """A studio in which runs are started, ended, deleted and restored in any order.

    What there was of a run is noted when it was last worked on; from then on nothing may differ while it is there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.home = Path(self.folder.name) / "home"
        self.end, self.count = "completed", 0
        self.noted: dict[str, dict[str, Any]] = {}  # run -> its rows of all tables and its files
        self.runs: list[str] = []  # in the order of their starts
        self.models: dict[str, str] = {}  # model -> its run, in the order of their completion
        self.entries: dict[str, str] = {}  # what lies in the trash: run or model -> its entry
        self.trained_over: set[str] = set()  # runs that were resumed while a model lay in the trash: two have one place

        self.room = patch.object(estimates, "disk_bytes", lambda configs: 0)  # it builds each model to count it
        self.room.start()

    @initialize()
    def open(self) -> None:
        self.studio = RunManager(self.home, executor="thread", build_service=self.build)

    def build(self, context: RunContext) -> TrainingService:
        end, studio = self.end, self.studio

        def act() -> None:
            match end:
                case "failed":
                    raise ValueError("It would not learn.")
                case "diverged":
                    raise Diverged("The loss stopped being a number.")
                case "cancelled":
                    studio.cancel(context.run_id)
                case "paused":
                    studio.pause(context.run_id)
                case "stopped":
                    studio.stop(context.run_id)
                case "cancels another":
                    studio.cancel(studio.start(TINY, "waiting", ["waiting"]))

        context.record(Event("warning", "Built-in problems stand in."))  # of the run, not of a model
        return TrainingService(context.emitter, MockDatasetLoader(), ActingTrainer(context, act), context.config)

    # What is done

    @rule(end=RESTS, models=st.integers(1, 2))
    def start(self, end: str, models: int) -> None:
        self.end, self.count = end, self.count + 1
        names = [f"model{self.count}", f"model{self.count}b"][:models]
        self.studio.start(TINY, f"run {self.count}", names, start_key=f"key {self.count}")
        self.note()

    @precondition(lambda self: self.here())
    @rule(which=WHICH, end=RESTS)
    def start_twin(self, which: int, end: str) -> None:
        self.end = end
        self.studio.start_twin(pick(self.here(), which))
        self.note()

    @rule(end=RESTS)
    def start_sweep(self, end: str) -> None:
        self.end, self.count = end, self.count + 1
        self.studio.start_sweep(Sweep(TINY, {"learning_rate": "1e-3, 1e-2"}), f"sweep {self.count}")
        self.note()

    @precondition(lambda self: self.with_checkpoint())
    @rule(which=WHICH, end=RESTS)
    def start_branch(self, which: int, end: str) -> None:
        self.end, self.count = end, self.count + 1
        run = self.studio.log.run(pick(self.with_checkpoint(), which))
        self.studio.start_branch(run.id, run.model_names[0], CHECKPOINT, {}, f"branch{self.count}")
        self.note()

    @precondition(lambda self: self.resumable())
    @rule(which=WHICH, end=RESTS)
    def resume(self, which: int, end: str) -> None:
        self.end = end
        run_id = pick(self.resumable(), which)
        self.trained_over |= {self.models[gone] for gone in self.entries if self.models.get(gone) == run_id}
        self.studio.resume(run_id)
        self.note(run_id)

    @rule()
    def cancel_one_that_waits(self) -> None:
        """It is queued while another one trains."""
        self.end, self.count = "cancels another", self.count + 1
        self.studio.start(TINY, f"run {self.count}", [f"model{self.count}"])
        self.note()

    @precondition(lambda self: self.here())
    @rule(which=WHICH)
    def delete_run(self, which: int) -> None:
        run_id = pick(self.here(), which)
        self.studio.delete_run(run_id)
        self.entries[run_id] = self.studio.trash.entries()[0].id

    @precondition(lambda self: self.models_here())
    @rule(which=WHICH)
    def delete_model(self, which: int) -> None:
        model_id = pick(self.models_here(), which)
        self.studio.delete_model(model_id)
        self.entries[model_id] = self.studio.trash.entries()[0].id

    @precondition(lambda self: self.entries)
    @rule(which=WHICH)
    def restore(self, which: int) -> None:
        self.have_again(pick(list(self.entries), which))

    @precondition(lambda self: self.entries)
    @rule(which=WHICH)
    def remove_for_good(self, which: int) -> None:
        gone = pick(list(self.entries), which)
        self.studio.remove_for_good(self.entries.pop(gone))
        if gone in self.runs:
            self.runs.remove(gone)
            return
        run_id = self.models.pop(gone)
        rows, files = self.noted[run_id]["rows"], self.noted[run_id]["files"]
        (model,) = (row for row in rows["models"] if row["id"] == gone)
        rows["models"].remove(model)
        rows["artifacts"] = [row for row in rows["artifacts"] if row["model_id"] != gone]
        for path in [path for path in files if path.startswith(f"{folder_name(model['name'])}/")]:
            del files[path]

    @rule()
    def open_again(self) -> None:
        self.studio.close()
        self.open()

    # What must hold

    @invariant()
    def all_that_is_here_is_in_its_place(self) -> None:
        log, here = self.studio.log, self.here()
        assert [run.id for run in log.runs()] == here[::-1]
        assert [model.id for model in log.models()] == self.models_here()[::-1]
        assert {path.name for path in self.home.glob("runs/*")} == set(here)
        assert {entry.id for entry in self.studio.trash.entries()} == set(self.entries.values())
        groups = {run_id: self.noted[run_id]["rows"]["runs"][0]["group_id"] for run_id in here}
        assert {group.id: group.run_ids for group in log.groups()} == {
            group: [run_id for run_id in here if groups[run_id] == group] for group in groups.values() if group
        }
        colours = [log.run(run_id).colour for run_id in here]
        assert len(set(colours)) == len(colours)

    def nothing_of_it_is_lost(self, run_id: str) -> None:
        if run_id not in self.trained_over and not any(self.models.get(gone) == run_id for gone in self.entries):
            assert self.everything(run_id) == self.noted[run_id]
        in_its_folder = self.home / "runs" / run_id / "run.json"
        assert json.loads(in_its_folder.read_text()) == self.studio.log.export_run(run_id)

    def teardown(self) -> None:
        for gone in sorted(self.entries, key=lambda each: each in self.models):  # runs first, then their models
            if gone in self.models and self.models[gone] not in self.here():
                continue  # its run was removed for good
            self.have_again(gone)
        self.all_that_is_here_is_in_its_place()
        for run_id in self.here():
            self.nothing_of_it_is_lost(run_id)
        self.studio.close()
        self.room.stop()
        self.folder.cleanup()

    # Inside

    def here(self) -> list[str]:
        return [run_id for run_id in self.runs if run_id not in self.entries]

    def models_here(self) -> list[str]:
        here = set(self.here())
        return [model for model, run_id in self.models.items() if model not in self.entries and run_id in here]

    def resumable(self) -> list[str]:
        return [run_id for run_id in self.here() if self.studio.log.run(run_id).status.can_resume]

    def with_checkpoint(self) -> list[str]:
        log = self.studio.log
        return [
            run_id
            for run_id in self.here()
            if CHECKPOINT in self.studio.checkpoint_steps(run_id, log.run(run_id).model_names[0])
        ]

    def have_again(self, gone: str) -> None:
        """Restore it, where that can be."""
        run_id = self.models.get(gone, gone)
        try:
            self.studio.restore(self.entries[gone])
        except RunError as error:
            taken = "something else is in its place" in str(error)  # the model was trained again since
            assert gone in self.models and (taken or run_id not in self.here()), error
            return
        assert gone not in self.models or run_id in self.here()
        del self.entries[gone]
        (row,) = self.noted[run_id]["rows"]["runs"]
        if gone == run_id and row["start_key"] in {
            self.noted[other]["rows"]["runs"][0]["start_key"] for other in self.here() if other != run_id
        }:
            row["start_key"] = None  # the twin was started anew: the key is its
        if run_id in self.here():
            self.nothing_of_it_is_lost(run_id)

    def note(self, worked_on: str | None = None) -> None:
        """Wait until all has ended, then note what is new or was `worked_on`."""
        log = self.studio.log
        until(lambda: not working() and not log.queued_run_ids(), "the end of all runs")
        new = [run.id for run in log.runs() if run.id not in self.runs][::-1]
        self.runs += new
        for model in log.models()[::-1]:
            self.models.setdefault(model.id, model.run_id)
        for run_id in [*new, *([worked_on] if worked_on else [])]:
            self.noted[run_id] = self.everything(run_id)

    def everything(self, run_id: str) -> dict[str, Any]:
        """All rows that any table has of a run, with their numbers, and all files of its folder."""
        with closing(sqlite3.connect(database_path(self.home))) as connection:
            connection.row_factory = sqlite3.Row
            rows = {
                table: [
                    {column: value for column, value in dict(row).items() if column != "trash_id"}
                    for row in connection.execute(query, {"run": run_id})
                ]
                for table, query in queries(connection).items()
            }
        folder = self.home / "runs" / run_id
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "run.json"
        }
        return {"rows": rows, "files": files}


def queries(connection: sqlite3.Connection) -> Mapping[str, str]:
    """For each table that knows of runs, what selects those rows of it that are of one."""
    found = {"runs": "SELECT rowid AS place, * FROM runs WHERE id = :run"}
    for table, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        place = "" if "WITHOUT ROWID" in sql else "rowid AS place, "
        if "run_id" in columns:
            found[table] = f"SELECT {place}* FROM {table} WHERE run_id = :run"
        elif "model_id" in columns:
            found[table] = f"SELECT {place}* FROM {table} WHERE model_id IN (SELECT id FROM models WHERE run_id = :run)"
    return found


def working() -> bool:
    """Whether a run's thread is at work; its last deed is to write how the run ended beside it."""
    return any(thread.name.startswith("run-") for thread in threading.enumerate())


def pick(choices: list[str], which: int) -> str:
    return choices[which % len(choices)]


Histories.TestCase.settings = settings(max_examples=15, stateful_step_count=12, suppress_health_check=list(HealthCheck))
TestHistories = cast(Any, Histories.TestCase)
