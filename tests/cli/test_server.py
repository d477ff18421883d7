"""Commands at a studio elsewhere: what they print, and what they do there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cognate_core.cli import lists
from cognate_core.client import Client
from cognate_core.config import TrainingConfig
from tests.cli.conftest import Cognate, Studio
from tests.cli.test_commands import assert_refused
from tests.waiting import LONG


@pytest.fixture
def settings(tmp_path: Path, tiny_config: TrainingConfig) -> Path:
    """A file of settings."""
    path = tmp_path / "small.toml"
    path.write_text(tiny_config.to_toml(), encoding="utf-8")
    return path


@pytest.fixture
def ended(there: Cognate, elsewhere: Studio, settings: Path, request: pytest.FixtureRequest) -> str:
    """The id of a run with the test's name, which has ended."""
    result = there("start", settings, "--name", request.node.name[:60])
    assert result.exit_code == 0, result.output
    run_id = result.stdout.strip()
    assert elsewhere.manager.wait(run_id, LONG)
    return run_id


def in_the_trash(there: Cognate, run_id: str) -> list[dict[str, str]]:
    """What of a run lies in the trash."""
    entries = json.loads(there("trash", "list", "--json").stdout)
    return [entry for entry in entries if entry["restored_id"] == run_id]


class TestStarting:
    def test_train_waits_for_the_end(self, there: Cognate, elsewhere: Studio, settings: Path) -> None:
        result = there("train", settings, "--name", "Trained there", "--json")
        assert result.exit_code == 0, result.output
        assert "Completed." in result.stderr
        (model,) = json.loads(result.stdout)
        assert elsewhere.manager.log.model(model["id"]).run_id == elsewhere.run("Trained there")

    def test_start_gives_the_id_and_one_key_starts_one(self, there: Cognate, settings: Path) -> None:
        first, second = (there("start", settings, "--key", "mine", "--set", "seed=7", "--json") for _ in range(2))
        assert json.loads(first.stdout)["id"] == json.loads(second.stdout)["id"]
        assert json.loads(first.stdout)["config"]["seed"] == 7

    def test_a_preset_or_a_file_is_needed_and_not_both(self, there: Cognate, settings: Path) -> None:
        assert_refused(there("start"), "Give either a file with settings or a --preset")
        assert_refused(there("start", settings, "--preset", "first-run"), "Give either")

    def test_a_run_is_started_once_more_with_a_change(
        self, there: Cognate, elsewhere: Studio, settings: Path, ended: str
    ) -> None:
        again = there("start", "--from", ended, "--set", "seed=8").stdout.strip()
        run = elsewhere.manager.log.run(again)
        assert (run.parent_run_id, run.relation, run.config.seed) == (ended, "fix", 8)
        assert run.name.endswith(" (again)")
        assert_refused(there("start", settings, "--from", ended), "Give only one source of settings")

    def test_a_race_has_a_run_for_each_variant(self, there: Cognate, elsewhere: Studio) -> None:
        result = there("race", "grokfast", "control", "--set", "max_steps=3")
        names = [elsewhere.manager.log.run(run_id).name for run_id in result.stdout.split()]
        assert [name.split(",")[0] for name in names] == ["GrokFast", "No filter"]
        assert there("race", "muon", "--set", "max_steps=3").stdout.count("\n") == 1
        assert there("race", "--set", "max_steps=3").stdout.count("\n") == 2  # with the filter and without
        assert_refused(there("race", "snail"), "There is no variant 'snail'. Choose from grokfast, control")

    def test_what_it_needs_is_told_before(self, there: Cognate, settings: Path) -> None:
        needs = json.loads(there("estimate", settings, "--json").stdout)
        assert needs["parameters"]["total"] > 0
        assert "total memory bytes" in there("estimate", "--preset", "first-run").stdout

    def test_what_can_be_set_is_told(self, there: Cognate) -> None:
        assert "max_steps" in json.loads(there("settings").stdout)["properties"]


class TestOneRun:
    def test_is_shown_with_its_settings(self, there: Cognate, ended: str) -> None:
        assert json.loads(there("show", ended, "--json").stdout)["id"] == ended
        assert "completed" in there("show", ended).stdout
        assert TrainingConfig.from_toml(there("show", ended, "--settings").stdout).d_model == 16

    def test_is_watched_to_its_end(self, there: Cognate, ended: str) -> None:
        result = there("watch", ended)
        assert (result.exit_code, "Completed." in result.stderr) == (0, True)
        events = [json.loads(line) for line in there("watch", ended, "--after", 1, "--json").stdout.splitlines()]
        assert events[-1]["type"] == "training_complete"

    def test_ctrl_c_ends_the_watching_and_not_the_run(self, there: Cognate, monkeypatch: pytest.MonkeyPatch) -> None:
        def press(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(lists, "_print_events", press)
        assert there("watch").exit_code == 0

    def test_is_renamed_deleted_and_restored(self, there: Cognate, elsewhere: Studio, ended: str) -> None:
        assert there("rename", ended, "Called otherwise").exit_code == 0
        assert elsewhere.manager.log.run(ended).name == "Called otherwise"
        assert "Its tags: demo, slow." in there("tag", ended, "demo", "slow").stderr
        assert ended in there("runs", "--tag", "slow").stdout
        assert "Its tags: none." in there("tag", ended).stderr
        assert there("delete", ended).exit_code == 0
        assert_refused(there("show", ended), "There is no such run.")
        assert "Called otherwise is restored." in there("trash", "restore", ended).stderr
        assert there("delete", ended).exit_code == 0
        assert "Called otherwise" in there("trash", "list").stdout
        (entry,) = (
            each for each in json.loads(there("trash", "list", "--json").stdout) if each["restored_id"] == ended
        )
        assert there("trash", "remove", entry["id"]).exit_code == 1, "it asks first"
        assert there("trash", "remove", entry["id"], "--yes").exit_code == 0
        assert ended not in there("trash", "list", "--json").stdout
        assert there("trash", "empty").exit_code == 1, "it asks first"
        count = len(json.loads(there("trash", "list", "--json").stdout))
        assert json.loads(there("trash", "empty", "--yes", "--json").stdout) == {"removed": count}
        assert "The trash is empty" in there("trash", "list").stdout
        assert "The trash is empty" in there("trash", "empty", "--yes").stderr

    def test_that_has_ended_can_no_longer_be_steered(self, there: Cognate, ended: str) -> None:
        for command in ("pause", "stop", "cancel"):
            assert_refused(there(command, ended), "completed")
        assert_refused(there("resume", ended), "A run that is completed cannot be resumed.")
        assert_refused(there("move", ended, "-1"), "completed")

    def test_has_a_twin(self, there: Cognate, elsewhere: Studio, ended: str) -> None:
        twin = there("twin", ended).stdout.strip()
        assert elsewhere.manager.log.run(twin).parent_run_id == ended

    def test_what_was_noted_of_it(self, there: Cognate, elsewhere: Studio, tmp_path: Path) -> None:
        run_id = elsewhere.run("The text run")
        assert [row["step"] for row in json.loads(there("metrics", run_id, "--json").stdout)] == [1, 2, 3, 4]
        assert there("metrics", run_id).stdout.splitlines()[0].split()[:3] == ["step", "loss", "learning_rate"]
        assert there("metrics", run_id, "--csv", tmp_path / "figures.csv").exit_code == 0
        assert (tmp_path / "figures.csv").read_text(encoding="utf-8-sig").splitlines()[0].startswith("step,loss,")
        for command in ("evaluations", "samples", "events", "checkpoints", "findings"):
            found, shown = there(command, run_id, "--json"), there(command, run_id)
            assert (found.exit_code, shown.exit_code) == (0, 0), found.output + shown.output
            assert isinstance(json.loads(found.stdout), list)
        assert "Synthetic" in there("data-report", run_id).stdout
        assert there("report", run_id, tmp_path / "report.html").exit_code == 0
        assert "The text run" in (tmp_path / "report.html").read_text()

    def test_another_way_from_a_checkpoint(self, there: Cognate, elsewhere: Studio) -> None:
        run_id = elsewhere.run("The text run")
        (model,) = json.loads(there("checkpoints", run_id, "--json").stdout)
        step = model["steps"][0]
        branch = there("branch", run_id, step, "--set", "learning_rate=0.0005").stdout.strip()
        assert elsewhere.manager.log.run(branch).branch_step == step
        assert elsewhere.manager.wait(branch, LONG)
        compared = there("compare", run_id, branch).stdout
        assert "learning_rate" in compared
        assert f"The text run from step {step}" in compared

    def test_is_shared(self, there: Cognate, elsewhere: Studio, tmp_path: Path) -> None:
        run_id = elsewhere.run("The lab run")
        assert there("archive", "save", run_id, tmp_path / "lab.cognate.zip").exit_code == 0
        assert_refused(there("archive", "open", tmp_path / "lab.cognate.zip"), "This run is already here")


class TestOneModel:
    def test_is_shown_described_and_listed_by_its_tag(self, there: Cognate, elsewhere: Studio) -> None:
        model_id = elsewhere.model("text")
        assert there("model", "describe", model_id, "--note", "Mine", "--tag", "good", "--tag", "small").exit_code == 0
        found = json.loads(there("model", "show", model_id, "--json").stdout)
        assert (found["note"], found["tags"]) == ("Mine", ["good", "small"])
        assert [row["id"] for row in json.loads(there("models", "--tag", "good", "--json").stdout)] == [model_id]
        assert there("model", "describe", model_id, "--no-tags", "--name", "Called otherwise").exit_code == 0
        assert "Called otherwise" in there("model", "show", model_id).stdout
        assert json.loads(there("models", "--tag", "good", "--json").stdout) == []

    def test_its_files_are_saved_and_checked(self, there: Cognate, elsewhere: Studio, tmp_path: Path) -> None:
        model_id = elsewhere.model("text")
        files = json.loads(there("model", "files", model_id, "--json").stdout)
        result = there("model", "download", model_id, "--to", tmp_path)
        assert result.stdout.splitlines() == [str(tmp_path / row["name"]) for row in files]
        for row in files:
            assert hashlib.sha256((tmp_path / row["name"]).read_bytes()).hexdigest() == row["sha256"]
        assert there("model", "archive", model_id, tmp_path / "all.zip").exit_code == 0
        assert_refused(
            there("model", "download", model_id, "mystery", "--to", tmp_path), "This model has no such file."
        )
        assert_refused(there("model", "download", model_id, "--to", tmp_path / "gone"), "There is no folder")

    def test_writes(self, there: Cognate, elsewhere: Studio) -> None:
        words = ("model", "write", elsewhere.model("text"), "2 and 2 is", "--tokens", 5, "--seed", 1)
        written = there(*words)
        assert written.exit_code == 0, written.output
        lines = [json.loads(line) for line in there(*words, "--json").stdout.splitlines()]
        assert written.stdout.strip() == "".join(line.get("text", "") for line in lines).strip()
        explained = there(*words, "--explain", "--continue")
        assert "probability" in explained.stdout
        assert_refused(there("model", "write", elsewhere.model("text"), " "), "The prompt is empty.")

    def test_of_the_lab_calculates(self, there: Cognate, elsewhere: Studio) -> None:
        model_id = elsewhere.model("lab")
        table = there("model", "table", model_id)
        assert set(table.stdout.replace("\n", "")) <= {"#", "."}
        assert "Of the problems that it never saw" in table.stderr
        assert "truth" in there("model", "calculate", model_id, 1, 2).stdout
        assert_refused(there("model", "write", model_id, "Hello"), "A Grokking lab model writes no text.")

    def test_whose_accuracy_was_not_measured(self, there: Cognate, elsewhere: Studio) -> None:
        assert "has not been measured yet." in there("model", "accuracy", elsewhere.model("text")).stderr
        assert_refused(there("model", "accuracy", elsewhere.model("lab"), "--measure"), "answers no questions in words")

    def test_is_deleted(self, there: Cognate, elsewhere: Studio, ended: str) -> None:
        (model,) = json.loads(there("models", "--run", ended, "--json").stdout)
        assert there("model", "delete", model["id"]).exit_code == 0
        assert_refused(there("model", "show", model["id"]), "There is no such model")


class TestData:
    @pytest.fixture
    def rows(self, tmp_path: Path) -> Path:
        """A file of one's own."""
        file = tmp_path / "mine.jsonl"
        lines = [{"question": f"What is {n} and {n}?", "answer": f"It is {2 * n}. #### {2 * n}"} for n in range(60)]
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return file

    def test_datasets_are_listed_and_looked_at(self, there: Cognate) -> None:
        listed = json.loads(there("data", "list", "--json").stdout)
        assert {row["name"] for row in listed if row["here"]} >= {"Synthetic"}
        assert "GSM8K" in there("data", "list").stdout
        assert len(json.loads(there("data", "rows", "Synthetic", "--count", 3, "--json").stdout)) == 3
        assert "it learns" in there("data", "rows", "Synthetic", "--heldout").stdout
        assert_refused(there("data", "rows", "Nowhere"), "There is no such dataset.")
        assert_refused(there("data", "fetch", "GSM8K"), "GSM8K")  # no test reaches the network

    def test_a_file_is_added_looked_at_and_removed(self, there: Cognate, rows: Path, tmp_path: Path) -> None:
        name = there("files", "add", rows).stdout.strip()
        assert "mine.jsonl" in there("files", "list").stdout
        assert "What is" in there("data", "rows", name).stdout
        assert "percentile_95" in there("data", "lengths", name, "--training-length", 64, "--vocabulary", 400).stdout
        found = there("data", "overlap", name)
        assert "held-out rows" in found.stderr, found.output
        assert "0 nearly repeat another row" in there("data", "near-duplicates", name).stderr
        words = ("data", "mixture", "--set", f"dataset_path={name}", "--set", "vocab_size=400", "--batch")
        mixed = there(*words)
        assert "sequences are drawn in the whole run." in mixed.stderr, mixed.output
        assert there("files", "remove", name).exit_code == 1, "it asks first"
        assert there("files", "remove", name, "--yes").exit_code == 0
        assert "mine.jsonl" not in there("files", "list").stdout
        assert_refused(there("files", "add", tmp_path / "gone.jsonl"), "The file gone.jsonl cannot be opened")

    def test_how_a_file_is_read_is_said_with_it(self, there: Cognate, settings: Path, tmp_path: Path) -> None:
        path = tmp_path / "meine.csv"
        path.write_text("Frage;Antwort\n" + "".join(f"Was ist {n}+1?;{n + 1}\n" for n in range(40)))
        assert_refused(there("files", "add", path), "none of the columns")
        columns = "dataset_columns=question=Frage, answer=Antwort"
        name = there("files", "add", path, "--set", columns, "--licence", "CC0").stdout.strip()
        assert "CC0" in there("files", "list").stdout
        assert "Was ist" in there("data", "rows", name).stdout
        started = there("start", settings, "--set", f"dataset_path={path}")
        assert started.exit_code == 0, "what was said when it was kept is still known: " + started.output

    def test_a_file_of_this_computer_is_sent_along(
        self, there: Cognate, elsewhere: Studio, settings: Path, rows: Path, tmp_path: Path
    ) -> None:
        run_id = there("start", settings, "--set", f"dataset_path={rows}").stdout.strip()
        path = Path(elsewhere.manager.log.run(run_id).config.dataset_path or "")
        assert path.read_bytes() == rows.read_bytes()
        assert path.is_relative_to(elsewhere.manager.home)
        assert_refused(there("start", settings, "--set", f"dataset_path={tmp_path}"), "is a folder.")
        assert_refused(there("start", settings, "--set", "dataset_path=gone.jsonl"), "You have no such file")


class TestTheStudio:
    def test_says_how_it_is(self, there: Cognate, elsewhere: Studio) -> None:
        assert json.loads(there("health", "--json").stdout)["read_only"] is False
        assert str(elsewhere.manager.home) in there("coordination").stdout

    def test_gives_its_token_and_starts_only_on_its_own_computer(self, there: Cognate) -> None:
        assert_refused(there("token"), "only on the studio's own computer")
        assert_refused(there("run"), "Leave out --server.")

    def test_without_its_token_is_not_asked_for_long(
        self, cognate: Cognate, elsewhere: Studio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COGNATE_TOKEN", "another-one-than-that")
        assert_refused(cognate("--server", elsewhere.address, "runs"), "does not accept this token")

    def test_is_named_by_the_environment_too(
        self, cognate: Cognate, elsewhere: Studio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COGNATE_SERVER", elsewhere.address)
        monkeypatch.setenv("COGNATE_TOKEN", elsewhere.token)
        assert "The text run" in cognate("runs").stdout

    def test_is_not_there(self, cognate: Cognate) -> None:
        assert_refused(cognate("--server", "http://127.0.0.1:9", "runs"), "Nothing answers there.")


def test_a_wait_in_the_queue_is_shortened(there: Cognate, elsewhere: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[str, int]]()

    def move(_: Client, run_id: str, places: int) -> dict[str, str]:
        asked.append((run_id, places))
        return {"name": "Mine", "status": "queued", "message": "Waiting"}

    monkeypatch.setattr(Client, "move", move)
    assert "Mine is queued." in there("move", "abc", -2).stderr
    assert asked == [("abc", -2)]
