"""A real worker: killed, hanging, left alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from filelock import FileLock

from cognate_core.contracts import RunStatus
from cognate_core.runs import process as process_module
from cognate_core.runs import worker as worker_module
from cognate_core.runs.execution import RunContext
from cognate_core.runs.home import database_path
from cognate_core.runs.process import WORKER_MODULE, workers
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.runs.timing import Timing
from cognate_core.runs.worker import NICENESS
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.training.checkpoint import load_checkpoint
from tests.runs.process.workers import (
    ENDLESS,
    OpenManager,
    at_rest,
    folders_of_models,
    play,
    small_config,
    started_by_hand,
    steps_of,
    when_step,
)
from tests.waiting import LONG, MOMENT, until


class TestWorker:
    def test_killed_it_is_a_crash_that_can_be_resumed_and_closing_pauses_it(
        self, open_manager: OpenManager, home: Path
    ) -> None:
        studio = open_manager(executor="process", timing=Timing(close=LONG))
        studio.prepare_worker()  # the first life has a spare worker, the second one of its own
        (spare,) = psutil.Process().children()
        saved = when_step(studio, 7, lambda _: None)
        run_id = studio.start(small_config(**ENDLESS, save_steps=3), "Real", ["Real model"])
        assert saved.wait(LONG)

        pid = workers()[run_id]
        assert pid == spare.pid
        process = psutil.Process(pid)
        assert process.cmdline() == [sys.executable, "-m", WORKER_MODULE, run_id]
        assert process.ppid() == os.getpid()
        assert process.nice() == min(19, psutil.Process().nice() + NICENESS)
        assert os.getsid(pid) == os.getpgid(pid) == pid, "what is pressed in the studio's terminal is not for it"

        os.kill(pid, signal.SIGKILL)
        run = at_rest(studio, run_id)
        assert run.status is RunStatus.CRASHED
        assert run.error == "The training process was killed or crashed (SIGKILL)."
        assert run.status.can_resume
        assert not psutil.pid_exists(pid)
        assert studio.log.models(run_id) == []
        heard = len(steps_of(studio.log, run_id))
        kept = studio.resume_step(run_id)
        assert 3 <= kept <= heard + 1, "it may have written a checkpoint and died before it could say so"

        going = when_step(studio, kept + 2, lambda _: None)
        studio.resume(run_id)
        assert going.wait(LONG)
        pid = workers()[run_id]
        studio.close()
        assert not psutil.pid_exists(pid)
        assert run_id not in workers()
        assert (home / "runs" / run_id / "worker.log").is_file()
        log = ProgressReader(database_path(home))
        run = log.run(run_id)
        assert run.status is RunStatus.INTERRUPTED
        assert run.error is None
        steps = steps_of(log, run_id)
        assert steps == list(range(1, len(steps) + 1)), "each step once, though some were done twice"
        assert ReadOnlyManager(home).resume_step(run_id) == steps[-1] == run.step
        assert any(event["message"] == f"Resumed after step {kept}" for event in log.events(run_id))

    def test_one_that_hangs_is_ended_by_force_when_it_is_cancelled(
        self, open_manager: OpenManager, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert Timing().cancel < 10, "as long as a person may have to wait"
        play(
            monkeypatch,
            home.parent,
            """
            os.makedirs(os.path.join(json.loads(first_line)["config"]["output_dir"], "played", "checkpoints"))
            say({"message": "I hang"})
            os.kill(os.getpid(), signal.SIGSTOP)
            """,
        )
        studio = open_manager(executor="process", timing=Timing(cancel=MOMENT))
        run_id = studio.start(small_config(), "Played", ["played"])
        until(lambda: studio.log.run(run_id).message == "I hang", "its last words")
        pid = workers()[run_id]
        assert studio.pause(run_id)
        assert studio.log.run(run_id).status is RunStatus.PAUSING, "it hears nothing"
        assert folders_of_models(home, run_id) != []
        assert studio.cancel(run_id)
        run = at_rest(studio, run_id)
        assert (run.status, run.message, run.error) == (RunStatus.CANCELLED, "Cancelled", None)
        assert not psutil.pid_exists(pid)
        assert folders_of_models(home, run_id) == []

    def test_one_that_hangs_does_not_keep_the_studio_from_closing(
        self, open_manager: OpenManager, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        play(monkeypatch, home.parent, 'say({"message": "I hang"}); os.kill(os.getpid(), signal.SIGSTOP)')
        studio = open_manager(executor="process", timing=Timing(close=MOMENT, killed=LONG))
        run_id = studio.start(small_config(), "Played", ["played"])
        until(lambda: studio.log.run(run_id).message == "I hang", "its last words")
        pid = workers()[run_id]
        studio.close()
        assert not psutil.pid_exists(pid)
        assert ProgressReader(database_path(home)).run(run_id).status is RunStatus.INTERRUPTED

    def test_what_libraries_print_disturbs_nothing(
        self, open_manager: OpenManager, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "sitecustomize.py").write_text(
            textwrap.dedent("""
            import os, sys, threading

            pause = threading.Event().wait

            def print_garbage():
                while os.fstat(1).st_ino != os.fstat(2).st_ino:  # the worker has not sorted its outputs yet
                    pause(0.01)
                while True:
                    print("Loading checkpoint shards: 100%", end="\\r")
                    os.write(1, b'{"outcome": {"status": "comple\\xff\\x00\\n{}\\n')
                    os.write(2, b"Warning: \\xff\\n")
                    sys.stdout.flush()
                    pause(0.005)

            if sys.orig_argv[1:3] == ["-m", "cognate_core.runs.worker"]:
                threading.Thread(target=print_garbage, daemon=True).start()
            """)
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        studio = open_manager(executor="process")
        run_id = studio.start(small_config(max_steps=4), "Real", ["Real model"])
        run = at_rest(studio, run_id)
        assert (run.status, run.error) == (RunStatus.COMPLETED, None)
        assert steps_of(studio.log, run_id) == [1, 2, 3, 4]
        printed = (home / "runs" / run_id / "worker.log").read_bytes()
        assert b"Loading checkpoint shards" in printed
        assert b"Warning: \xff" in printed

    @pytest.mark.parametrize("how", ["the studio is gone", "the computer is shut down"])
    def test_left_alone_it_writes_a_checkpoint_and_ends(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        (tmp_path / "unhurried.py").write_text(
            f"from cognate_core.runs import worker\nworker.LAST_SECONDS = {LONG}\nworker.main()\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(process_module, "WORKER_MODULE", "unhurried")
        folder = tmp_path / "home" / "runs" / "by-hand"
        config = small_config(**ENDLESS, output_dir=str(folder))
        context = RunContext(
            run_id="by-hand",
            config=config,
            model_names=["Real model"],
            completed=[],
            data_hash=None,
            home=tmp_path / "home",
            record=lambda _: None,
            show=lambda _: None,
            emitter=None,  # type: ignore[arg-type]
        )
        with (tmp_path / "errors").open("wb") as errors:
            process = started_by_hand(context, errors)
        said: list[dict[str, Any]] = []
        asked = False
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                said.append(json.loads(line))
                if not asked and (said[-1].get("record", {}).get("step") or 0) >= 3:
                    asked = True
                    process.stdin.close() if how == "the studio is gone" else process.terminate()
            assert process.wait(LONG) == 0, (tmp_path / "errors").read_text()  # it was not ended by force
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        (outcome,) = [line["outcome"] for line in said if "outcome" in line]  # it may say that it is alive after that
        assert outcome["status"] == "paused"
        steps = [line["record"]["step"] for line in said if line.get("record", {}).get("type") == "StepMetrics"]
        assert steps == list(range(1, len(steps) + 1))
        (checkpoint,) = folder.glob("*/checkpoints/step-*")
        assert load_checkpoint(checkpoint).state["step"] == steps[-1] >= 3
        assert list(folder.glob("*/model.safetensors")) == []

    def test_a_second_one_of_a_run_waits_for_the_first_and_then_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_module, "PREDECESSOR_SECONDS", 0.0)
        monkeypatch.setattr(worker_module, "run_pipeline", lambda *_: pytest.fail("two train one run"))
        context: Any = SimpleNamespace(config=small_config(output_dir=str(tmp_path / "run")))
        (tmp_path / "run").mkdir()
        with FileLock(tmp_path / "run" / "worker.lock"):
            outcome = worker_module.only_worker(context)
        assert outcome.status is RunStatus.FAILED
        assert outcome.status.can_resume
        assert "An earlier training process of this run is still running" in outcome.message
