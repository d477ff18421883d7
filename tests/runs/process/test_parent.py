"""The studio's side of a worker, which a stand-in plays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cognate_core.contracts import RunStatus, StepMetrics
from cognate_core.runs import process as process_module
from cognate_core.runs.process import lines_of
from cognate_core.storage.rows import Run
from tests.runs.process.workers import OpenManager, at_rest, play, small_config
from tests.waiting import LONG, MOMENT, until


class TestParent:
    """The studio's side of a worker, which a stand-in plays."""

    @pytest.fixture
    def end_of(
        self, open_manager: OpenManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[str], Run]:
        """`end_of(script)`: the run whose worker was this script."""

        def carry_out(script: str) -> Run:
            play(monkeypatch, tmp_path, script)
            studio = open_manager(executor="process")
            return at_rest(studio, studio.start(small_config(), "Played", ["played"]))

        return carry_out

    def test_an_outcome_is_taken_over(self, end_of: Callable[[str], Run]) -> None:
        run = end_of("end()")
        assert (run.status, run.message, run.error) == (RunStatus.COMPLETED, "The stand-in has ended", None)

    def test_one_that_ends_without_a_word_has_crashed_and_its_last_words_are_kept(
        self, end_of: Callable[[str], Run]
    ) -> None:
        run = end_of("""
            for number in range(100):
                print(f"line {number}", file=sys.stderr)
            sys.exit(3)
        """)
        assert (run.status, run.error) == (
            RunStatus.CRASHED,
            "The training process ended without an explanation (exit code 3).",
        )
        lines = (run.error_details or "").splitlines()
        assert lines[-1] == "line 99"
        assert len(lines) == process_module.LOG_LINES_SHOWN

    def test_a_line_that_was_cut_off_by_its_end_is_none(self, end_of: Callable[[str], Run]) -> None:
        run = end_of("""
            say({"message": "whole"})
            sys.stdout.write('{"message": "cut o')
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        """)
        assert (run.status, run.error) == (
            RunStatus.CRASHED,
            "The training process was killed or crashed (SIGSEGV).",
        )

    @pytest.mark.parametrize(
        "garbage",
        [b"Welcome to this library!\n", b"\xff\xfe\x00\n", b"\n", b"42\n", b"null\n", b'["a", "b"]\n', b'{"odd": 1}\n'],
        ids=["words", "no text", "empty", "number", "null", "list", "unknown word"],
    )
    def test_what_is_none_of_its_lines_is_passed_over(self, end_of: Callable[[str], Run], garbage: bytes) -> None:
        # Such as a module prints that every Python process of this computer loads, before the worker's first line.
        run = end_of(f"os.write(1, {garbage!r}); end()")
        assert (run.status, run.error) == (RunStatus.COMPLETED, None)

    def test_a_figure_that_cannot_be_kept_pauses_the_worker_and_fails_the_run(
        self, end_of: Callable[[str], Run], tmp_path: Path
    ) -> None:
        step = StepMetrics("played", 1, 1.0, 1e-3, 1.0, 1.0, 10, 0.1, 0.1)
        record = {"type": "StepMetrics", **{name: getattr(step, name) for name in StepMetrics.__slots__}}
        run = end_of(f"""
            for _ in range(2):  # there is one row for each step
                say({{"record": {record!r}}})
            for step in range(2, 1_000_000):  # one of the next figures hears of the refusal
                say({{"record": {{**{record!r}, "step": step}}}})
                if select.select([0], [], [], 0.01)[0]:
                    break
            with open({str(tmp_path / "asked")!r}, "w") as file:
                file.write(sys.stdin.readline())
            end("paused", "Paused")
        """)
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error.startswith("The database failed")
        assert (tmp_path / "asked").read_text() == "pause\n"

    def test_the_job_is_the_first_it_hears_even_if_a_command_comes_at_that_moment(
        self,
        open_manager: OpenManager,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        play(monkeypatch, tmp_path, 'json.loads(first_line); end("paused", sys.stdin.readline().strip())')
        studio = open_manager(executor="process")
        commands = []
        with ThreadPoolExecutor(1) as pool:

            def dumps(value: Any) -> str:
                if isinstance(value, dict) and "model_names" in value:  # the job
                    commands.append(pool.submit(studio.pause, value["run_id"]))
                    wait(commands, MOMENT)  # it may have to wait until the job is written
                return json.dumps(value)

            monkeypatch.setattr(process_module, "json", SimpleNamespace(dumps=dumps, loads=json.loads))
            run_id = studio.start(small_config(), "Played", ["played"])
            run = at_rest(studio, run_id)
            assert [command.result(LONG) for command in commands] == [True]
        assert (run.status, run.message) == (RunStatus.PAUSED, "pause")

    def test_a_command_to_a_worker_that_has_just_ended_is_no_error(
        self, open_manager: OpenManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        play(monkeypatch, tmp_path, 'json.loads(first_line); end("completed", "Done")')
        studio = open_manager(executor="process")

        def lines_until_paused(process: subprocess.Popen[bytes]) -> Iterator[tuple[str, Any]]:
            yield from lines_of(process)
            process.wait()
            assert studio.pause(studio.log.runs()[0].id), "nobody knows yet that it has ended"

        monkeypatch.setattr(process_module, "lines_of", lines_until_paused)
        run = at_rest(studio, studio.start(small_config(), "Played", ["played"]))
        assert (run.status, run.message, run.error) == (RunStatus.COMPLETED, "Done", None)

    def test_a_command_that_comes_before_the_process_is_passed_on(
        self, open_manager: OpenManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        play(monkeypatch, tmp_path, 'end("stopped", sys.stdin.readline().strip())')
        studio = open_manager(executor="process")
        popen = subprocess.Popen

        def stop_before(words: list[str], **settings: Any) -> Any:
            if words[-2:-1] == ["stand_in"]:
                assert studio.stop(words[-1])
            return popen(words, **settings)

        monkeypatch.setattr(subprocess, "Popen", stop_before)
        run = at_rest(studio, studio.start(small_config(), "Played", ["played"]))
        assert (run.status, run.message) == (RunStatus.STOPPED, "stop")

    def test_wishes_are_passed_on_with_the_strongest_last(
        self, open_manager: OpenManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        play(
            monkeypatch,
            tmp_path,
            """
            say({"message": "Here I am"})
            end("cancelled", " ".join(sys.stdin.readline().strip() for _ in range(3)))
            """,
        )
        studio = open_manager(executor="process")
        run_id = studio.start(small_config(), "Played", ["played"])
        until(lambda: studio.log.run(run_id).message == "Here I am", "its first words")
        for ask in (studio.pause, studio.stop, studio.pause):
            assert ask(run_id)
        assert studio.cancel(run_id)
        run = at_rest(studio, run_id)
        assert (run.status, run.message) == (RunStatus.CANCELLED, "pause stop cancel")

    def test_a_model_that_was_finished_in_an_earlier_life_is_named_to_the_next(
        self, open_manager: OpenManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        play(
            monkeypatch,
            tmp_path,
            """
            job = json.loads(first_line)
            if job["completed"]:
                end("completed", " ".join(model["model_id"] for model in job["completed"]))
            weights = os.path.join(job["config"]["output_dir"], "first", "weights.bin")
            os.makedirs(os.path.dirname(weights))
            open(weights, "wb").close()
            texts = dict.fromkeys(["phase_name", "created_at", "focus", "training_mode"], "")
            flags = dict.fromkeys(["grokfast_enabled", "act_enabled", "ltm_enabled"], False)
            lists = {"datasets_used": [], "capabilities": []}
            model = {"parameter_count": 0, "training_stats": {}, "artifacts": {"weights": weights}}
            for number, status in enumerate(["completed", "stopped"]):
                names = {"model_id": f"id {number}", "model_name": f"model {number}", "training_status": status}
                say({"model": {**texts, **flags, **lists, **model, **names}})
            end("paused", "Paused")
            """,
        )
        studio = open_manager(executor="process")
        run_id = studio.start(small_config(), "Played", ["model 0", "model 1", "model 2"])
        assert at_rest(studio, run_id).status is RunStatus.PAUSED
        assert [(model.id, model.status) for model in studio.log.models(run_id)] == [
            ("id 1", "stopped"),
            ("id 0", "completed"),
        ]
        studio.resume(run_id)
        assert at_rest(studio, run_id).message == "id 0", "one that was stopped goes on"

    def test_one_that_cannot_be_started_fails_its_run_and_not_the_queue(
        self, open_manager: OpenManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        play(monkeypatch, tmp_path, "end()")
        monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
        studio = open_manager(executor="process")
        run = at_rest(studio, studio.start(small_config(), "Played", ["played"]))
        assert run.status is RunStatus.FAILED
        assert "no python" in (run.error or "")
        monkeypatch.undo()
        play(monkeypatch, tmp_path, "end()")
        assert at_rest(studio, studio.start(small_config(), "Again", ["played"])).status is RunStatus.COMPLETED
