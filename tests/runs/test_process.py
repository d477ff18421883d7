"""A run in a process of its own does what it does in a thread, bit for bit, and cannot take the studio with it.

Here is real training, of a few tiny steps. A worker takes seconds to start (it loads torch), so each test does much.
Where only the parent's side is looked at, a stand-in of a few lines plays the worker.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from filelock import FileLock

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Record, RunStatus, StepMetrics
from cognate_core.errors import RunError
from cognate_core.runs import process as process_module
from cognate_core.runs import worker as worker_module
from cognate_core.runs.execution import RunContext
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.process import WORKER_MODULE, workers
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.runs.timing import Timing
from cognate_core.runs.worker import NICENESS
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from cognate_core.training.checkpoint import load_checkpoint
from tests.waiting import LONG, MOMENT, until

OpenManager = Callable[..., RunManager]
STEPS = 24
ENDLESS = {"max_steps": 1_000_000, "eval_interval": 1_000_000}


def small_config(**changes: Any) -> TrainingConfig:
    """A few steps of a model that ponders and remembers; nothing but a pause or the end writes a checkpoint."""
    config = TrainingConfig(
        dataset_sources=["Synthetic"],
        max_train_samples=60,
        max_eval_samples=10,
        train_seq_len=128,
        max_seq_len=128,
        d_model=16,
        n_layers=2,
        n_heads=2,
        max_act_steps=3,
        act_inference_steps=3,
        d_mem=16,
        mem_segment=64,
        mem_writes=4,
        vocab_size=400,
        max_steps=STEPS,
        batch_size=2,
        gradient_accumulation_steps=1,
        learning_rate=1e-2,
        eval_interval=STEPS // 2,
        sample_tokens=4,
        save_steps=100,
        precision="fp32",
        threads=1,
    )
    return config.with_overrides(changes)


@pytest.fixture(scope="module", autouse=True)
def _as_many_threads_as_small_config_has(one_thread: None) -> None:
    """Sums of floating-point numbers depend on how many threads share them."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of `open_manager`."""
    return tmp_path / "home"


@pytest.fixture(params=["thread", "process"])
def studio(request: pytest.FixtureRequest, open_manager: OpenManager) -> RunManager:
    """Really trains: in a thread, and again in a process."""
    return open_manager(executor=request.param)


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of small_config() in one go, in this process."""
    studio = RunManager(tmp_path_factory.mktemp("left alone"), executor="thread")
    try:
        run_id = studio.start(small_config(), "Real", ["Real model"])
        assert at_rest(studio, run_id).status is RunStatus.COMPLETED
        return what_was_learned(studio, run_id)
    finally:
        studio.close()


def what_was_learned(studio: RunManager, run_id: str) -> dict[str, Any]:
    """All that training decides, and no clock; each must be equal to the last bit."""
    log = studio.log
    (model,) = log.models(run_id)
    clocks = {"id", "run_id", "seconds", "elapsed_seconds"}
    tables = {
        "metrics": log.metrics(run_id),
        "evaluations": log.evaluations(run_id),
        "samples": log.samples(run_id),
    }
    return {
        **{
            table: [{column: value for column, value in row.items() if column not in clocks} for row in rows]
            for table, rows in tables.items()
        },
        "weights": next(file["sha256"] for file in log.artifacts(model.id) if file["kind"] == "weights"),
        "held out": model.details["training_stats"]["heldout_loss"],
        "status": model.status,
    }


def when_step(studio: RunManager, step: int, do: Callable[[str], object]) -> threading.Event:
    """Call `do(run_id)` as soon as the studio hears of this step or a later one; the event is set when it was done."""
    record, done = studio.log.record, threading.Event()

    def watch(run_id: str, each: Record) -> None:
        record(run_id, each)
        if isinstance(each, StepMetrics) and each.step >= step and not done.is_set():
            do(run_id)
            done.set()

    studio.log.record = watch  # type: ignore[method-assign, assignment]
    return done


def at_rest(studio: RunManager, run_id: str) -> Run:
    """The run once nobody works on it any more."""
    assert studio.wait(run_id, LONG), f"still {studio.log.run(run_id).status}"
    return studio.log.run(run_id)


def steps_of(log: ProgressReader, run_id: str) -> list[int]:
    return [row["step"] for row in log.metrics(run_id)]


def folders_of_models(home: Path, run_id: str) -> list[Path]:
    return [path for path in (home / "runs" / run_id).iterdir() if path.is_dir()]


class TestInBoth:
    def test_a_run_that_rested_in_between_completes_with_the_bits_of_one_left_alone(
        self, studio: RunManager, left_alone: dict[str, Any], home: Path
    ) -> None:
        asked = when_step(studio, 3, studio.pause)
        run_id = studio.start(small_config(), "Real", ["Real model"])
        assert asked.wait(LONG)
        run = at_rest(studio, run_id)
        assert (run.status, run.error, run.finished_at) == (RunStatus.PAUSED, None, None)
        rested_at = studio.resume_step(run_id)
        assert 3 <= rested_at < STEPS
        assert steps_of(studio.log, run_id) == list(range(1, rested_at + 1))
        assert studio.log.models(run_id) == []
        assert (run.step, run.total_steps) == (rested_at, STEPS)
        first_life = run.worked_seconds or 0.0

        studio.resume(run_id)
        run = at_rest(studio, run_id)
        assert (run.status, run.error, run.message) == (RunStatus.COMPLETED, None, "Training is complete")
        assert steps_of(studio.log, run_id) == list(range(1, STEPS + 1))
        assert what_was_learned(studio, run_id) == left_alone
        assert (run.step, run.progress) == (STEPS, 1.0)
        assert run.data_report is not None
        assert (run.worked_seconds or 0.0) > first_life > 0
        assert any(event["message"] == f"Resumed after step {rested_at}" for event in studio.log.events(run_id))
        (model,) = studio.log.models(run_id)
        for file in studio.log.artifacts(model.id):
            assert (home / file["path"]).stat().st_size == file["bytes"]

    def test_a_stopped_run_has_a_model_that_goes_on_as_the_same_model(
        self, studio: RunManager, left_alone: dict[str, Any]
    ) -> None:
        asked = when_step(studio, 3, studio.stop)
        run_id = studio.start(small_config(), "Real", ["Real model"])
        assert asked.wait(LONG)
        run = at_rest(studio, run_id)
        assert (run.status, run.message, run.error) == (RunStatus.STOPPED, "Stopped and saved", None)
        (stopped,) = studio.log.models(run_id)
        assert stopped.status == "stopped"
        steps = stopped.details["training_stats"]["steps"]
        assert 3 <= steps < STEPS
        assert steps_of(studio.log, run_id) == list(range(1, steps + 1))
        assert {file["kind"] for file in studio.log.artifacts(stopped.id)} >= {"weights", "config", "tokenizer"}

        studio.resume(run_id)
        assert at_rest(studio, run_id).status is RunStatus.COMPLETED
        (model,) = studio.log.models(run_id)
        assert (model.id, model.details["model_id"], model.status) == (stopped.id, stopped.id, "completed")
        assert steps_of(studio.log, run_id) == list(range(1, STEPS + 1))
        assert what_was_learned(studio, run_id) == left_alone

    def test_of_a_cancelled_run_nothing_is_kept(self, studio: RunManager, home: Path) -> None:
        asked = when_step(studio, 3, studio.cancel)
        run_id = studio.start(small_config(**ENDLESS, save_steps=1), "Real", ["Real model"])
        assert asked.wait(LONG)
        run = at_rest(studio, run_id)
        assert (run.status, run.message, run.error) == (RunStatus.CANCELLED, "Cancelled", None)
        assert studio.log.models(run_id) == []
        assert folders_of_models(home, run_id) == []
        assert studio.resume_step(run_id) == 0
        with pytest.raises(RunError, match="cancelled cannot be resumed"):
            studio.resume(run_id)


def test_a_run_that_fails_says_the_same_in_both(open_manager: OpenManager, home: Path, tmp_path: Path) -> None:
    wrong = {
        "gone": small_config(dataset_path=str(tmp_path / "gone.jsonl")),
        # Each step multiplies the weights by -9.
        "diverging": small_config(
            max_steps=60, learning_rate=1.0, weight_decay=10.0, warmup_ratio=0.0, act_enabled=False, ltm_enabled=False
        ),
    }
    ends: dict[str, dict[str, Any]] = {}
    for executor in ("thread", "process"):
        studio = open_manager(executor=executor, max_parallel=2)
        ids = {name: studio.start(config, name, ["Real model"]) for name, config in wrong.items()}
        ends[executor] = {}
        for name, run_id in ids.items():
            run = at_rest(studio, run_id)
            assert run.error_details is not None
            assert run.error_details.rstrip().endswith(run.error or "-"), "the details say where"
            ends[executor][name] = (run.status, run.error, run.message, len(studio.log.metrics(run_id)))
            assert studio.log.models(run_id) == []
        studio.close()
    assert ends["process"] == ends["thread"]
    status, error, _, _ = ends["process"]["gone"]
    assert (status, error) == (
        RunStatus.FAILED,
        f"There is no file {tmp_path / 'gone.jsonl'}. Check its name, or choose another.",
    )
    status, error, _, _ = ends["process"]["diverging"]
    assert status is RunStatus.DIVERGED
    assert error.startswith("The loss stopped being a number at step")


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
        assert run.error == "The training process was ended from outside or by a fault (SIGKILL)."
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
                if not asked and said[-1].get("record", {}).get("step", 0) >= 3:
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
        assert "An earlier training process of this run is still there" in outcome.message


def started_by_hand(context: RunContext, errors: Any) -> subprocess.Popen[bytes]:
    """A real worker, given its job as the studio gives it."""
    execution = process_module.ProcessExecution(context)
    Path(context.config.output_dir).mkdir(parents=True)
    return execution.started(errors)


HEAD = """
import json, os, select, signal, sys

def say(words):
    sys.stdout.write(json.dumps(words) + "\\n")
    sys.stdout.flush()

def end(status="completed", message="The stand-in has ended"):
    say({"outcome": {"status": status, "message": message}})
    sys.exit()

first_line = sys.stdin.readline()
"""


def play(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """From now on, the worker of a run is this script."""
    (folder / "stand_in.py").write_text(HEAD + textwrap.dedent(script))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(process_module, "WORKER_MODULE", "stand_in")


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
            "The training process ended without a word (exit code 3).",
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
            "The training process was ended from outside or by a fault (SIGSEGV).",
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
        assert run.error.startswith("The database refused")
        assert (tmp_path / "asked").read_text() == "pause\n"

    def test_the_job_is_the_first_it_hears_even_if_a_wish_comes_at_that_moment(
        self,
        open_manager: OpenManager,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        play(monkeypatch, tmp_path, 'json.loads(first_line); end("paused", sys.stdin.readline().strip())')
        studio = open_manager(executor="process")
        wishes = []
        with ThreadPoolExecutor(1) as pool:

            def dumps(value: Any) -> str:
                if isinstance(value, dict) and "model_names" in value:  # the job
                    wishes.append(pool.submit(studio.pause, value["run_id"]))
                    wait(wishes, MOMENT)  # it may have to wait until the job is written
                return json.dumps(value)

            monkeypatch.setattr(process_module, "json", SimpleNamespace(dumps=dumps, loads=json.loads))
            run_id = studio.start(small_config(), "Played", ["played"])
            run = at_rest(studio, run_id)
            assert [wish.result(LONG) for wish in wishes] == [True]
        assert (run.status, run.message) == (RunStatus.PAUSED, "pause")

    def test_a_wish_that_comes_before_the_process_is_passed_on(
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
            end("cancelled", " ".join(sys.stdin.readline().strip() for _ in range(4)))
            """,
        )
        studio = open_manager(executor="process")
        run_id = studio.start(small_config(), "Played", ["played"])
        until(lambda: studio.log.run(run_id).message == "Here I am", "its first words")
        for ask in (studio.pause, studio.stop, studio.pause):
            assert ask(run_id)
        studio.cancel(run_id)  # the run may have ended by it before it can say so
        run = at_rest(studio, run_id)
        assert (run.status, run.message) == (RunStatus.CANCELLED, "pause stop stop cancel")

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
