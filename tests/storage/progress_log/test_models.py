"""Finished models, and what leaves the database."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import DataReport, RunStatus
from cognate_core.errors import RunError, StorageError
from cognate_core.storage.progress_log import ProgressLog
from tests.storage.progress_log.rows import a_file, a_life, a_model, add_run, measured


class TestModels:
    def test_come_back_with_their_files(self, log: ProgressLog, run_id: str) -> None:
        model = a_model("m1", model_name="My model")
        files = [a_file("weights"), a_file("config", "runs/x/m/config.json")]
        log.add_model(run_id, model, files)
        found = log.model("m1")
        assert (found.id, found.run_id, found.run_name, found.name) == ("m1", run_id, "First", "My model")
        assert (found.status, found.parameter_count) == ("completed", 1234)
        assert found.details == json.loads(json.dumps(model.to_dict()))
        assert log.artifacts("m1") == [{"model_id": "m1", **file} for file in files]

    def test_of_one_run_or_of_all_newest_first(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        add_run(log, tiny_config, "other", name="Other")
        for number, owner in enumerate([run_id, "other", run_id]):
            log.add_model(owner, a_model(f"m{number}", model_name=f"model {number}"), [])
        assert [model.id for model in log.models()] == ["m2", "m1", "m0"]
        assert [model.id for model in log.models(run_id)] == ["m2", "m0"]
        assert [model.run_name for model in log.models("other")] == ["Other"]
        assert log.models("gone") == []

    def test_are_added_with_all_files_or_not_at_all(self, log: ProgressLog, run_id: str) -> None:
        with pytest.raises(StorageError, match="UNIQUE"):
            log.add_model(run_id, a_model("m1"), [a_file("weights"), a_file("weights")])
        assert log.models() == []
        assert log.artifacts("m1") == []

    def test_of_an_unknown_run_are_refused(self, log: ProgressLog) -> None:
        with pytest.raises(StorageError, match="FOREIGN KEY"):
            log.add_model("gone", a_model("m1"), [])

    def test_are_removed_with_their_files_and_others_stay(self, log: ProgressLog, run_id: str) -> None:
        for model_id in ("m1", "m2"):
            log.add_model(run_id, a_model(model_id, model_name=f"name of {model_id}"), [a_file("weights")])
        log.remove_model("m1")
        log.remove_model("m1")  # once more changes nothing
        assert [model.id for model in log.models()] == ["m2"]
        assert log.artifacts("m1") == []
        assert len(log.artifacts("m2")) == 1
        with pytest.raises(RunError, match=r"There is no such model\. It may have been deleted"):
            log.model("m1")


class TestAResumedModel:
    def test_keeps_its_id_and_has_the_new_files_alone(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        log.add_model(run_id, a_model("m1", training_status="stopped"), [a_file("weights"), a_file("old")])
        log.add_model(run_id, a_model("m2", parameter_count=99), [a_file("weights", "new.bin")])
        (model,) = log.models()
        assert (model.id, model.status, model.parameter_count) == ("m1", "completed", 99)
        assert model.details["model_id"] == "m1"
        assert log.artifacts("m1") == [{"model_id": "m1", **a_file("weights", "new.bin")}]
        assert log.artifacts("m2") == []

    def test_is_another_one_in_another_run_or_by_another_name(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        add_run(log, tiny_config, "other")
        log.add_model(run_id, a_model("m1"), [])
        log.add_model("other", a_model("m2"), [])
        log.add_model(run_id, a_model("m3", model_name="n"), [])
        assert {model.id for model in log.models()} == {"m1", "m2", "m3"}

    def test_stays_as_it_was_when_the_new_files_are_refused(self, log: ProgressLog, run_id: str) -> None:
        log.add_model(run_id, a_model("m1", training_status="stopped"), [a_file("weights")])
        with pytest.raises(StorageError, match="UNIQUE"):
            log.add_model(run_id, a_model("m2"), [a_file("weights"), a_file("weights")])
        (model,) = log.models()
        assert (model.id, model.status) == ("m1", "stopped")
        assert log.artifacts("m1") == [{"model_id": "m1", **a_file("weights")}]


def files_of(log: ProgressLog, model_id: str) -> list[dict[str, Any]]:
    return sorted(log.artifacts(model_id), key=lambda file: file["kind"])


class TestExport:
    @pytest.fixture
    def whole(self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig) -> str:
        """A run that has something of everything, beside another one."""
        assert log.claim(run_id)
        for owner in (run_id, add_run(log, tiny_config, "other", start_key="other key")):
            for record in a_life():
                log.record(owner, record)
            log.record(owner, DataReport([], False, "abc", 400, True))
            for name in ("m", "n"):
                log.add_model(owner, a_model(f"{owner} {name}", model_name=name), [a_file("weights"), a_file("log")])
        assert log.set_status(run_id, RunStatus.FAILED, error="why", worked_seconds=3.5)
        return run_id

    def everything(self, log: ProgressLog, run_id: str) -> Any:
        models = log.models(run_id)
        return log.run(run_id), models, [files_of(log, model.id) for model in models]

    def test_of_a_run_goes_through_json_and_back(self, log: ProgressLog, whole: str) -> None:
        before, of_other = self.everything(log, whole), self.everything(log, "other")
        rows = json.loads(json.dumps(log.export_run(whole)))
        log.remove_run(whole)
        log.import_rows(rows)
        assert self.everything(log, whole) == before
        assert json.loads(json.dumps(log.export_run(whole))) == rows
        assert self.everything(log, "other") == of_other

    def test_of_a_model_goes_through_json_and_back(self, log: ProgressLog, whole: str) -> None:
        model_id = f"{whole} m"
        before = (log.model(model_id), files_of(log, model_id))
        rows = json.loads(json.dumps(log.export_model(model_id)))
        assert {table: len(found) for table, found in rows.items()} == {"models": 1, "artifacts": 2}
        log.remove_model(model_id)
        assert [model.id for model in log.models(whole)] == [f"{whole} n"]
        log.import_rows(rows)
        assert (log.model(model_id), files_of(log, model_id)) == before

    def test_keeps_the_order_of_models_and_files(self, log: ProgressLog, whole: str) -> None:
        models = [model.id for model in log.models(whole)]
        files = log.artifacts(models[0])
        rows = log.export_run(whole)
        log.remove_run(whole)
        log.import_rows(rows)
        assert [model.id for model in log.models(whole)] == models
        assert log.artifacts(models[0]) == files

    def test_a_removed_run_leaves_nothing_and_takes_nothing_of_another(
        self, log: ProgressLog, path: Path, whole: str
    ) -> None:
        before = measured(log, "other"), self.everything(log, "other")
        log.remove_run(whole)
        log.remove_run(whole)  # once more changes nothing
        with pytest.raises(RunError, match="There is no such run"):
            log.run(whole)
        connection = sqlite3.connect(path)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [column for _, column, *_ in connection.execute(f"PRAGMA table_info({table})")]
            for column in {"run_id", "model_id"} & set(columns):
                left = connection.execute(f"SELECT count(*) FROM {table} WHERE {column} LIKE ?", [f"{whole}%"])
                assert left.fetchone() == (0,), table
        connection.close()
        assert (measured(log, "other"), self.everything(log, "other")) == before

    def test_of_another_version_leaves_unknown_columns_and_tables_out(self, log: ProgressLog, whole: str) -> None:
        rows = log.export_run(whole)
        before = log.run(whole)
        log.remove_run(whole)
        newer = {table: [{**row, "mood": "good"} for row in found] for table, found in rows.items()}
        log.import_rows({**newer, "metrics": [{"run_id": "other", "step": 99}], "sqlite_master": [{"name": "x"}]})
        assert log.run(whole) == before
        assert len(log.models(whole)) == 2
        older = [{key: value for key, value in row.items() if key != "worked_seconds"} for row in rows["runs"]]
        log.remove_run(whole)
        log.import_rows({"runs": older})
        assert log.run(whole).worked_seconds is None
        assert [row["step"] for row in log.metrics("other")] == list(range(1, 13))

    def test_is_taken_in_whole_or_not_at_all(self, log: ProgressLog, whole: str) -> None:
        rows = log.export_run(whole)
        with pytest.raises(StorageError, match="UNIQUE"):
            log.import_rows(rows)
        log.remove_run(whole)
        with pytest.raises(StorageError, match="UNIQUE"):
            log.import_rows({**rows, "artifacts": rows["artifacts"] * 2})
        assert [run.id for run in log.runs()] == ["other"]
        assert log.models(whole) == []

    def test_of_what_is_not_there_is_empty(self, log: ProgressLog) -> None:
        assert log.export_run("gone") == {"runs": [], "models": [], "artifacts": []}
        assert log.export_model("gone") == {"models": [], "artifacts": []}
