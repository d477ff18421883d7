"""The command line: what each command prints, how it exits, and the sentence for whatever goes wrong.

Two commands here really train. Elsewhere a stand-in of a few lines plays the training process.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import Result

from cognate_core.cli import following, output
from cognate_core.client import Client, Row
from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import RunStatus, StepMetrics
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.service import TrainingService
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.testing import MockDatasetLoader, MockModelTrainer
from tests.cli.conftest import Cognate
from tests.runs.process.workers import play, when_step
from tests.waiting import LONG, until

OpenManager = Callable[..., RunManager]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """COGNATE_HOME, and the home of `open_manager`."""
    return tmp_path / "home"


@pytest.fixture
def settings(tmp_path: Path, tiny_config: TrainingConfig) -> Path:
    """A file of settings that train in a moment."""
    path = tmp_path / "small.toml"
    path.write_text(tiny_config.to_toml(), encoding="utf-8")
    return path


@pytest.fixture
def ended_run(open_manager: OpenManager, tiny_config: TrainingConfig) -> Callable[..., str]:
    """`ended_run("name")`: the id of a completed run whose model has no files."""

    def train(name: str, model: str = "model") -> str:
        studio = open_manager(
            build_service=lambda context: TrainingService(
                context.emitter, MockDatasetLoader(), MockModelTrainer(), context.config
            )
        )
        run_id = studio.start(tiny_config, name, [model])
        assert studio.wait(run_id, LONG)
        studio.close()
        return run_id

    return train


def assert_refused(result: Result, *words: str) -> None:
    """The command ended with one sentence that has these words, and no traceback."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_findings_begin_with_the_warnings_of_the_run(
    cognate: Cognate, ended_run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, quiet = ended_run("name"), {"level": "info", "message": "Quiet."}
    loud = {"level": "warning", "message": "90 of 100 rows are left out."}
    monkeypatch.setattr(Client, "logged", lambda *_: [quiet, loud, loud])
    result = cognate("findings", run_id)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "Warning: 90 of 100 rows are left out."
    assert result.output.count("Warning") == 1 and "Quiet" not in result.output


class TestTrain:
    def test_trains_tells_where_the_models_are_and_lists_them(
        self, cognate: Cognate, settings: Path, home: Path
    ) -> None:
        result = cognate("train", settings, "--set", "max_steps=3", "--set", "seed = 7", "--models", 2, "--json")
        assert result.exit_code == 0, result.stderr
        assert "Completed. Training is complete" in result.stderr
        models = json.loads(result.stdout)
        assert [model["trained_as"] for model in models] == ["small 1", "small 2"]
        for model, seed in zip(models, (7, 42), strict=True):
            assert model["training_stats"]["steps"] == 3
            assert model["training_stats"]["seed"] == seed
            assert (Path(model["folder"]) / "model.safetensors").is_file()
            assert Path(model["folder"]).is_relative_to(home)

        (run,) = json.loads(cognate("runs", "--json").stdout)
        assert (run["name"], run["status"], run["step"], run["total_steps"]) == ("small", "completed", 3, 3)
        listed = json.loads(cognate("models", "--json").stdout)
        assert [(model["name"], model["run_name"], model["status"]) for model in listed] == [
            ("small 2", "small", "completed"),
            ("small 1", "small", "completed"),
        ]
        assert [model["folder"] for model in listed] == [model["folder"] for model in reversed(models)]
        table = cognate("models").stdout
        assert all(model["id"] in table and model["folder"] in table for model in listed)
        assert run["id"] in cognate("runs").stdout
        assert_refused(cognate("resume", run["id"]), "A run that is completed cannot be resumed.")

    def test_a_run_that_fails_says_why_and_exits_with_1(
        self, cognate: Cognate, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        play(
            monkeypatch,
            tmp_path,
            """
            why = "The [red] file is empty."
            say({"outcome": {"status": "failed", "message": why, "error": why}})
            """,
        )
        result = cognate("train", settings, "--name", "Mine")
        assert result.exit_code == 1
        assert "Failed. The [red] file is empty." in result.stderr
        assert result.stdout == ""
        assert json.loads(cognate("runs", "--json").stdout)[0]["name"] == "Mine"

    @pytest.mark.parametrize(("presses", "command", "code"), [(1, "stop", 0), (2, "cancel", 1)])
    def test_ctrl_c_stops_and_a_second_one_cancels(
        self,
        cognate: Cognate,
        settings: Path,
        home: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        presses: int,
        command: str,
        code: int,
    ) -> None:
        play(
            monkeypatch,
            tmp_path,
            f"""
            while (command := sys.stdin.readline().strip()) != {command!r}:
                pass
            end({{"stop": "stopped", "cancel": "cancelled"}}[command])
            """,
        )
        ask, pressed = Client.run, list[str]()

        def press(client: Client, run_id: str) -> Row:
            run = ask(client, run_id)
            if len(pressed) < presses and RunStatus(run["status"]).is_active:
                pressed.append(run_id)
                raise KeyboardInterrupt
            return run

        monkeypatch.setattr(Client, "run", press)
        result = cognate("train", settings)
        assert result.exit_code == code, result.output
        (run,) = ProgressReader(database_path(home)).runs()
        assert run.status is (RunStatus.STOPPED if presses == 1 else RunStatus.CANCELLED)
        assert len(pressed) == presses

    def test_a_file_that_is_not_there_is_named_with_what_makes_one(self, cognate: Cognate, home: Path) -> None:
        assert_refused(
            cognate("train", "gone.toml"), "There is no file gone.toml.", "`cognate presets first-run > gone.toml`"
        )
        assert not home.exists()

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"max_steps = ", "This is not a readable TOML file"),
            (b"\xff\xfe", "is not UTF-8 text. Save it as UTF-8"),
            (b"max_stops = 3", "There is no setting called 'max_stops'"),
            (b"max_steps = -3", "must be 1 to"),
        ],
        ids=["half a line", "no text", "unknown", "too low"],
    )
    def test_a_file_that_cannot_be_used_is_told_why(
        self, cognate: Cognate, settings: Path, content: bytes, why: str
    ) -> None:
        settings.write_bytes(content)
        result = cognate("train", settings)
        assert result.exit_code == 2
        assert why in result.stderr
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize(
        ("pair", "why"),
        [
            ("max_steps", "--set needs KEY=VALUE, such as --set max_steps=100; got 'max_steps'."),
            ("max_stops=3", "There is no setting called 'max_stops'."),
            ("max_steps=many", "must be a whole number"),
            ("max_steps=0", "must be 1 to"),
        ],
    )
    def test_a_change_that_cannot_be_made_is_told_why(
        self, cognate: Cognate, settings: Path, home: Path, pair: str, why: str
    ) -> None:
        assert_refused(cognate("train", settings, "--set", pair), why)
        assert not home.exists()

    @pytest.mark.parametrize("command", ["train", "start"])
    @pytest.mark.parametrize("name", ["gone.csv", "~nobody-of-this-name/a.csv", "a" * 300])
    def test_a_dataset_that_is_not_there_is_refused_at_once(
        self, cognate: Cognate, settings: Path, command: str, name: str
    ) -> None:
        settings.write_text(f"dataset_path = '{name}'\n{settings.read_text()}", encoding="utf-8")
        assert_refused(cognate(command, settings), f"There is no file {name}. Check its name, or choose another.")
        assert json.loads(cognate("runs", "--json").stdout) == []

    def test_a_dataset_is_named_from_the_folder_of_the_settings(
        self, cognate: Cognate, settings: Path, home: Path
    ) -> None:
        own = settings.parent / "mine" / "rows.txt"
        own.parent.mkdir()
        own.write_text("one\n\ntwo", encoding="utf-8")
        settings.write_text(f"dataset_path = 'mine/rows.txt'\n{settings.read_text()}", encoding="utf-8")
        assert cognate("start", settings).exit_code == 0
        (run,) = ProgressReader(database_path(home)).runs()
        assert run.config.dataset_path == str(own)

    def test_a_name_that_cannot_be_used_is_told_why(self, cognate: Cognate, settings: Path) -> None:
        assert_refused(cognate("train", settings, "--name", " "), "Give the run a name")
        assert json.loads(cognate("runs", "--json").stdout) == []


class TestResume:
    def test_a_paused_run_goes_on_to_its_end(
        self, cognate: Cognate, open_manager: OpenManager, tiny_config: TrainingConfig, home: Path
    ) -> None:
        studio = open_manager()
        asked = when_step(studio, 2, studio.pause)
        run_id = studio.start(tiny_config.with_overrides({"max_steps": 12}), "Rested", ["model"])
        assert asked.wait(LONG)
        assert studio.wait(run_id, LONG)
        assert studio.log.run(run_id).status is RunStatus.PAUSED
        studio.close()
        result = cognate("resume", run_id)
        assert result.exit_code == 0, result.stderr
        assert "Completed. Training is complete" in result.stderr
        reader = ProgressReader(database_path(home))
        (model,) = reader.models(run_id)
        assert result.stdout == f"model: {Path(model.details['artifacts']['weights']).parent}\n"
        assert [row["step"] for row in reader.metrics(run_id)] == list(range(1, 13))

    def test_an_interrupted_run_goes_on_too(
        self,
        cognate: Cognate,
        open_manager: OpenManager,
        tiny_config: TrainingConfig,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        play(monkeypatch, tmp_path, 'say({"message": "Here I am"}); sys.stdin.readline(); end("paused", "Paused")')
        studio = open_manager(executor="process")
        run_id = studio.start(tiny_config, "Broken off", ["model"])
        until(lambda: studio.log.run(run_id).message == "Here I am", "its first words")
        studio.close()
        play(monkeypatch, tmp_path, "end()")
        (listed,) = json.loads(cognate("runs", "--json").stdout)
        assert (listed["id"], listed["status"]) == (run_id, "interrupted")
        result = cognate("resume", run_id, "--json")
        assert (result.exit_code, result.stdout) == (0, "[]\n")

    def test_a_run_whose_studio_was_killed_is_interrupted_and_one_of_an_open_studio_is_not(
        self, cognate: Cognate, open_manager: OpenManager, tiny_config: TrainingConfig, home: Path
    ) -> None:
        studio = open_manager(max_parallel=0)
        run_id = studio.start(tiny_config, "Killed", ["model"])
        assert studio.log.claim(run_id)
        assert json.loads(cognate("runs", "--json").stdout)[0]["status"] == "preparing"
        studio.close()
        assert json.loads(cognate("runs", "--json").stdout)[0]["status"] == "interrupted"

    def test_a_run_that_is_not_there_is_told_as_a_sentence(self, cognate: Cognate) -> None:
        assert_refused(cognate("resume", "gone"), "There is no such run")

    def test_a_run_that_has_come_to_its_end_is_told_as_a_sentence(
        self, cognate: Cognate, ended_run: Callable[..., str]
    ) -> None:
        assert_refused(cognate("resume", ended_run("done")), "A run that is completed cannot be resumed.")


class TestArchive:
    def test_a_run_is_shared_and_repeated_to_the_last_bit(
        self, cognate: Cognate, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert cognate("train", settings, "--set", "max_steps=2").exit_code == 0
        (run,) = json.loads(cognate("runs", "--json").stdout)
        file = tmp_path / "small.cognate.zip"
        saved = cognate("archive", "save", run["id"], file)
        assert (saved.exit_code, saved.stdout) == (0, f"{file}\n")
        assert_refused(cognate("archive", "open", file), "This run is already here: small.")

        monkeypatch.setenv("COGNATE_HOME", str(tmp_path / "elsewhere"))
        opened = cognate("archive", "open", file)
        assert (opened.exit_code, opened.stdout) == (0, f"{run['id']}\n")
        assert json.loads(cognate("runs", "--json").stdout) == [run]
        verified = cognate("archive", "verify", run["id"])
        assert verified.exit_code == 0, verified.output
        assert "Identical. Every loss is the same bit for bit, and so are the weights." in verified.stdout
        assert [each["name"] for each in json.loads(cognate("runs", "--json").stdout)] == ["small, verified", "small"]

    def test_a_repetition_that_gives_something_else_exits_with_1(
        self,
        cognate: Cognate,
        ended_run: Callable[..., str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        run_id = ended_run("done " * 15 + "again")
        play(monkeypatch, tmp_path, "end('cancelled')")
        result = cognate("archive", "verify", run_id)
        assert result.exit_code == 1
        assert "Cannot be compared. " in result.stdout
        assert ", verified was not completed: it is cancelled." in result.stdout

    def test_what_cannot_be_done_is_told_as_a_sentence(
        self, cognate: Cognate, ended_run: Callable[..., str], home: Path, tmp_path: Path
    ) -> None:
        assert_refused(cognate("archive", "save", "gone", tmp_path / "x.zip"), "There is no such run.")
        run_id = ended_run("done")
        assert_refused(cognate("archive", "save", run_id, tmp_path / "x.zip"), "The run has no finished model")
        assert_refused(cognate("archive", "open", tmp_path / "x.zip"), "The file x.zip cannot be opened")
        assert_refused(cognate("archive", "verify", "gone"), "There is no such run.")
        with contextlib.closing(sqlite3.connect(database_path(home))) as database, database:
            database.execute("UPDATE runs SET status = 'paused'")
        assert_refused(cognate("archive", "verify", run_id), "nothing to compare a repetition", "It is paused.")
        assert not (tmp_path / "x.zip").exists()


def test_while_the_studio_is_running_nothing_is_trained_and_everything_listed(
    cognate: Cognate, open_manager: OpenManager, ended_run: Callable[..., str], settings: Path, home: Path
) -> None:
    run_id = ended_run("done")
    studio, refusal = open_manager(), f"Cognate Studio is already running with the data folder {home} (process "
    for words in (("train", settings), ("resume", run_id)):
        assert_refused(cognate(*words), refusal)
    studio.say_address("http://127.0.0.1:8502")
    assert_refused(cognate("rename", run_id, "Otherwise"), refusal, "Or add --server http://127.0.0.1:8502.")
    assert [run["id"] for run in json.loads(cognate("runs", "--json").stdout)] == [run_id]


class TestLists:
    @pytest.mark.parametrize("command", ["runs", "models"])
    def test_of_nothing_say_how_to_begin(self, cognate: Cognate, command: str, home: Path) -> None:
        result = cognate(command)
        assert (result.exit_code, result.stdout) == (0, "There is nothing yet. `cognate run` opens the studio.\n")
        assert cognate(command, "--json").stdout == "[]\n"
        assert not home.exists(), "looking makes nothing"

    def test_show_names_as_they_were_typed_the_newest_first(
        self, cognate: Cognate, ended_run: Callable[..., str]
    ) -> None:
        names = ["[bold red]first[/]", "second [link=https://example.org]"]
        ids = [ended_run(name, f"{name} model") for name in names]
        lines = cognate("runs").stdout.splitlines()
        assert lines[0].split() == ["id", "name", "status", "step", "total_steps", "created_at"]
        for line, run_id, name in zip(lines[1:], reversed(ids), reversed(names), strict=True):
            assert line.split()[0] == run_id
            assert name in line
        shown = cognate("models").stdout
        assert all(f"{name} model" in shown for name in names)

    def test_a_database_that_cannot_be_read_is_told_as_a_sentence(self, cognate: Cognate, home: Path) -> None:
        home.mkdir()
        database_path(home).write_bytes(b"This is no database. " * 1000)
        for command in ("runs", "models"):
            assert_refused(cognate(command), str(database_path(home)))


class TestPresets:
    def test_all_are_listed_with_what_to_expect(self, cognate: Cognate) -> None:
        shown = cognate("presets").stdout
        for preset in PRESETS.values():
            assert preset.name in shown
            assert preset.title in shown
            assert preset.expectation.split(".")[0] in shown

    @pytest.mark.parametrize("name", PRESETS)
    def test_one_is_printed_as_a_file_that_train_reads(self, cognate: Cognate, name: str) -> None:
        result = cognate("presets", name)
        assert result.exit_code == 0
        assert TrainingConfig.from_toml(result.stdout) == PRESETS[name].config

    def test_an_unknown_one_is_told_with_those_there_are(self, cognate: Cognate) -> None:
        assert_refused(cognate("presets", "huge"), "There is no preset 'huge'. Choose one of ", *PRESETS)


def test_the_command_starts_quickly_without_torch() -> None:
    # `cognate runs` is asked often, and torch takes seconds to load.
    code = "import sys, cognate_core.cli; print([name for name in ('torch', 'streamlit') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_figures_of_a_run_that_goes_are_shown(
    cognate: Cognate, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: dict[str, Any] = dict.fromkeys(StepMetrics.__slots__, 1.0)
    record = {**figures, "type": "StepMetrics", "model_name": "small", "step": 1234, "tokens": 5, "loss": 2.34567}
    progress = {"progress": 0.5, "message": "Training small", "phase_name": "Model Training", "step": 1234}
    play(
        monkeypatch,
        tmp_path,
        f"""
        say({{"record": {record!r}}})
        say({{"progress": {{**{progress!r}, "total_steps": 5000}}}})
        while not os.path.exists({str(tmp_path / "shown")!r}):
            select.select([], [], [], 0.01)
        end()
        """,
    )
    describe = following.describe

    def describe_and_say_so(run: Row) -> str:
        words = describe(run)
        if "loss" in words:
            (tmp_path / "shown").touch()
        return words

    monkeypatch.setattr(following, "describe", describe_and_say_so)
    monkeypatch.setattr(output, "messages", Console(stderr=True, width=400, force_terminal=True))
    result = cognate("train", settings)
    assert result.exit_code == 0
    assert "step 1,234 of 5,000, loss 2.346" in result.stderr


class TestWithoutAStudio:
    def test_what_is_queued_waits_for_one(self, cognate: Cognate, settings: Path, home: Path) -> None:
        result = cognate("start", settings)
        assert "No studio is open. Training starts when `cognate run` starts one." in result.stderr
        assert cognate("rename", result.stdout.strip(), "Waits").exit_code == 0
        (run,) = json.loads(cognate("runs", "--json").stdout)
        assert (run["name"], run["status"]) == ("Waits", "queued")
        assert "Waits is cancelled." in cognate("cancel", run["id"]).stderr

    def test_the_token_is_printed_and_stays_the_same(self, cognate: Cognate, home: Path) -> None:
        first, second = cognate("token").stdout, cognate("token").stdout
        assert first == second
        assert len(first.strip()) >= 32

    def test_a_file_or_folder_of_this_computer_is_read_where_it_lies(
        self, cognate: Cognate, settings: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "rows").mkdir()
        run_id = cognate("start", settings, "--set", f"dataset_path={tmp_path / 'rows'}").stdout.strip()
        config = json.loads(cognate("show", run_id, "--json").stdout)["config"]
        assert config["dataset_path"] == str(tmp_path / "rows")

    def test_nothing_is_said_of_one_that_never_was(self, cognate: Cognate, home: Path) -> None:
        assert "No studio has managed the data directory yet." in cognate("coordination").stderr
        assert not home.exists()

    def test_to_watch_shows_how_a_run_ended(self, cognate: Cognate, ended_run: Callable[..., str]) -> None:
        assert "Completed." in cognate("watch", ended_run("done")).stderr

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("--address", "0.0.0.0"), "other computers would reach the studio. Choose a token"),
            (("--address", "192.168.1.5"), "other computers would reach the studio. Choose a token"),
        ],
    )
    def test_none_is_opened_to_others_without_a_token(
        self, cognate: Cognate, home: Path, words: tuple[str, ...], why: str
    ) -> None:
        assert_refused(cognate("run", *words), why)
        assert not home.exists()

    @pytest.mark.parametrize("words", [("--address", "0.0.0.0"), ("--host-name", "studio.example")], ids=str)
    def test_none_is_open_to_all_but_on_this_computer(
        self, cognate: Cognate, home: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
    ) -> None:
        monkeypatch.setenv("COGNATE_TOKEN", "sixteen-letters-and-more")
        assert_refused(cognate("run", "--open", *words), "are only for use on this computer")
        monkeypatch.setenv("COGNATE_OPEN", "1")
        assert_refused(cognate("run", *words), "are only for use on this computer")
        assert not home.exists()

    def test_none_is_opened_to_others_without_a_name(
        self, cognate: Cognate, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COGNATE_TOKEN", "sixteen-letters-and-more")
        assert_refused(cognate("run", "--address", "0.0.0.0"), "Give the host name they use with --host-name")
        monkeypatch.setenv("COGNATE_HOST_NAME", "localhost")  # which is another computer for each of them
        assert_refused(cognate("run", "--address", "0.0.0.0"), "or COGNATE_HOST_NAME")
        assert not home.exists()
