"""Training that goes wrong by itself (no number, no memory, a wrong clock), and people who change their plans."""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import psutil
import pytest

from cognate_core import contracts
from cognate_core.contracts import RunStatus, lifecycle
from cognate_core.errors import CognateError, RunError
from cognate_core.insight.words import ago
from cognate_core.model import CognateModel
from cognate_core.runs import RunManager
from cognate_core.runs.process import workers
from cognate_core.storage import progress_log
from pages.components.run_figures import run_seconds
from tests.faults.studios import digest, log_steps, small_config, wait_for_no_worker
from tests.faults.times import Tally, times
from tests.there import there
from tests.waiting import LONG, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000), pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_and_spares_the_best_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally, bad: float
) -> None:
    forward = CognateModel.forward
    steps, last_good = 0, 27  # each step has two batches

    def spoiled(self: CognateModel, *arguments: object, **settings: object) -> object:
        nonlocal steps
        output = forward(self, *arguments, **settings)  # type: ignore[arg-type]
        if "ponder_depth" in settings:  # a training batch
            steps += 1
            if steps > 2 * last_good:
                spoilt = [there(loss) * bad for loss in (output.loss, output.language_model_loss)]
                return dataclasses.replace(output, loss=spoilt[0], language_model_loss=spoilt[1])
        return output

    monkeypatch.setattr(CognateModel, "forward", spoiled)
    manager = RunManager(tmp_path / "home", executor="thread")
    seen: dict[str, str] = {}
    run_id = manager.start(small_config(max_steps=100, eval_interval=10, save_steps=10), "a run", ["model"])
    checkpoints = tmp_path / "home" / "runs" / run_id / "model" / "checkpoints"
    until(lambda: (checkpoints / "step-00000020" / "manifest.json").exists())
    seen = {path.name: digest(path) for path in (checkpoints / "step-00000020").iterdir()}
    assert manager.wait(run_id, LONG)
    run = manager.log.run(run_id)
    after = {path.name: digest(path) for path in (checkpoints / "step-00000020").iterdir()}
    tally(f"loss {bad}", tried=1, survived=int(run.status is RunStatus.DIVERGED), lost=run.message)
    assert run.status is RunStatus.DIVERGED
    assert f"step {last_good + 3}" in run.message
    assert after == seen
    lines = (checkpoints.parent / "training_log.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]  # NaN is no JSON
    bad_steps = [r["step"] for r in records if r["type"] == "StepMetrics" and r["loss"] is None]
    assert bad_steps == [last_good + 1, last_good + 2, last_good + 3]
    assert [row["step"] for row in manager.log.metrics(run_id) if row["loss"] is None] == bad_steps
    with pytest.raises(RunError, match="diverged cannot be resumed"):
        manager.resume(run_id)
    manager.close()


def test_out_of_memory_names_a_batch_size_and_the_studio_lives(tmp_path: Path, tally: Tally) -> None:
    """A real worker whose address space is really too small for its first step."""
    if not hasattr(psutil.Process, "rlimit"):
        pytest.skip("this system cannot bound the memory of another process")
    manager = RunManager(tmp_path / "home")
    large = small_config(
        d_model=256, n_heads=8, batch_size=64, train_seq_len=512, max_seq_len=512, max_train_samples=600
    )
    run_id = manager.start(large, "a run", ["model"])
    until(lambda: run_id in workers(), "the worker")
    worker = psutil.Process(workers()[run_id])
    log = manager.home / "runs" / run_id / "model" / "training_log.jsonl"
    until(lambda: log.exists() and log.stat().st_size, "training")
    room = worker.memory_info().vms + 100_000_000
    worker.rlimit(psutil.RLIMIT_AS, (room, room))
    assert manager.wait(run_id, LONG)
    run = manager.log.run(run_id)
    following = manager.start(small_config(max_steps=3), "the next", ["model"])
    assert manager.wait(following, LONG)
    tally("out of memory", tried=1, survived=int("Out of memory" in run.message), lost=run.message)
    assert run.status in (RunStatus.FAILED, RunStatus.CRASHED)
    assert run.message.startswith("Out of memory: try batch size "), run.error_details
    assert int(run.message.removesuffix(".").rsplit(" ", 1)[1]) < 64
    assert manager.log.run(following).status is RunStatus.COMPLETED
    manager.close()


def test_a_clock_that_runs_backwards_disturbs_no_order_and_no_duration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    hours = itertools.count()

    def backwards() -> str:
        return (datetime.now(UTC) - timedelta(hours=next(hours))).isoformat(timespec="milliseconds")

    for module in (contracts, progress_log):
        monkeypatch.setattr(module, "utc_now", backwards)
    manager = RunManager(tmp_path / "home", executor="thread")
    ids = []
    for number in range(3):
        ids.append(manager.start(small_config(max_steps=12), f"run {number}", ["model"]))
        assert manager.wait(ids[-1], LONG)
    runs = manager.log.runs()
    seconds = [run_seconds(run) for run in runs]
    rows = manager.log.metrics(ids[0])
    manager.close()
    tally("clock set back", tried=3, survived=3)
    assert [run.id for run in runs] == ids[::-1]
    assert all(each is not None and 0 < each < 3600 for each in seconds), "an hour is what the clock is set back by"
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    assert all(one["elapsed_seconds"] < two["elapsed_seconds"] for one, two in itertools.pairwise(rows))
    assert "ago" in ago(runs[-1].created_at) or ago(runs[-1].created_at) == "just now"
    assert ago((datetime.now(UTC) + timedelta(days=3)).isoformat()) == "just now"


def queued(manager: RunManager, run_id: str) -> bool:
    return manager.log.run(run_id).status is RunStatus.QUEUED


def preparing(manager: RunManager, run_id: str) -> bool:
    return manager.log.run(run_id).status is RunStatus.PREPARING


def training(manager: RunManager, run_id: str) -> bool:
    return len(log_steps(manager.home, run_id)) > 2


def saving(manager: RunManager, run_id: str) -> bool:
    return bool(list(manager.home.glob(f"runs/{run_id}/*/checkpoints/*.tmp-*")))


def pausing(manager: RunManager, run_id: str) -> bool:
    return training(manager, run_id) and manager.pause(run_id)


def stopping(manager: RunManager, run_id: str) -> bool:
    return training(manager, run_id) and manager.stop(run_id)


def cancelling(manager: RunManager, run_id: str) -> bool:
    return training(manager, run_id) and manager.cancel(run_id)


PHASES: list[Callable[[RunManager, str], bool]] = [queued, preparing, training, saving, pausing, stopping, cancelling]


def test_cancel_ends_a_run_in_every_phase(tmp_path: Path, tally: Tally) -> None:
    rounds, tried = times(1, 10), 0
    manager = RunManager(tmp_path / "home")
    endless = small_config(max_steps=1_000_000)
    for phase in PHASES * rounds:
        blocking = manager.start(endless, "in the way", ["model"]) if phase is queued else None
        run_id = manager.start(endless, phase.__name__, ["model"])
        until(lambda: phase(manager, run_id), phase.__name__)  # noqa: B023
        manager.cancel(run_id)
        assert manager.wait(run_id, LONG)
        tried += 1
        run = manager.log.run(run_id)
        assert run.status is RunStatus.CANCELLED or phase in (pausing, stopping), run
        assert run.status.is_terminal or run.status is RunStatus.PAUSED
        if run.status is RunStatus.CANCELLED:
            kept = [manager.home / row["path"] for row in manager.log.export_run(run_id)["artifacts"]]
            left = list(manager.home.glob(f"runs/{run_id}/*/model.safetensors"))
            assert left == [path for path in kept if path.name == "model.safetensors"]
            assert not left or phase is stopping, "only what had been stopped may have its model already"
        assert manager.cancel(run_id) is False
        assert manager.log.run(run_id) == run
        wait_for_no_worker(run_id)
        if blocking:
            manager.cancel(blocking)
            assert manager.wait(blocking, LONG)
    manager.close()
    manager = RunManager(tmp_path / "home", executor="thread")
    done = manager.start(small_config(max_steps=3), "done", ["model"])
    assert manager.wait(done, LONG)
    before = manager.log.run(done)
    assert before.status is RunStatus.COMPLETED
    assert [manager.cancel(done), manager.stop(done), manager.pause(done)] == [False] * 3
    manager.close()
    tally("cancel in every phase", tried=tried, survived=tried)


def test_a_run_that_goes_on_cannot_be_deleted_and_a_download_is_whole_or_not_at_all(
    tmp_path: Path, tally: Tally
) -> None:
    tries = times(5, 50)
    manager = RunManager(tmp_path / "home", executor="thread")
    endless = manager.start(small_config(max_steps=1_000_000), "goes on", ["model"])
    until(lambda: training(manager, endless))
    with pytest.raises(RunError, match="has not ended"):
        manager.delete_run(endless)
    manager.cancel(endless)
    assert manager.wait(endless, LONG)
    whole = nothing = 0
    for number in range(tries):
        run_id = manager.start(small_config(max_steps=3, sample_tokens=0), f"run {number}", ["model"])
        assert manager.wait(run_id, LONG)
        (model,) = manager.log.models(run_id)
        files = manager.log.artifacts(model.id)
        reference = {
            path.rsplit("/", 1)[-1]: manager.store.path(path).read_bytes() for path in (f["path"] for f in files)
        }
        begin, deleted = threading.Barrier(2), threading.Event()
        got: list[bytes | CognateError] = []

        def download() -> None:
            begin.wait()  # noqa: B023
            if number % 2:  # noqa: B023
                deleted.wait(LONG)  # noqa: B023
            try:
                got.append(manager.store.zip(files))  # noqa: B023
            except CognateError as error:
                got.append(error)  # noqa: B023

        thread = threading.Thread(target=download)
        thread.start()
        begin.wait()
        manager.delete_run(run_id)
        deleted.set()
        thread.join()
        (result,) = got
        if isinstance(result, bytes):
            whole += 1
            with zipfile.ZipFile(BytesIO(result)) as archive:
                assert {name: archive.read(name) for name in archive.namelist()} == reference
        else:
            nothing += 1
            assert "no longer there" in str(result)
        entry = manager.trash.entries()[0]
        assert entry.name == f"run {number}"
    manager.close()
    assert nothing >= tries // 2
    tally(
        "delete while running, download while deleting",
        tried=tries + 1,
        survived=tries + 1,
        lost=f"{whole} whole, {nothing} refused",
    )


def test_presses_at_once_are_one_run(tmp_path: Path, tally: Tally) -> None:
    """Start pressed twenty times at once with one key, in both kinds of places where it could go wrong."""
    manager = RunManager(tmp_path / "home", executor="thread")
    rounds = times(3, 20)
    for number in range(rounds):
        begin, ids = threading.Barrier(20), []

        def press() -> None:
            begin.wait()  # noqa: B023
            ids.append(manager.start(small_config(max_steps=2, sample_tokens=0), "a run", ["m"], f"key {number}"))  # noqa: B023

        threads = [threading.Thread(target=press) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(ids)) == 1 and len(ids) == 20
        assert manager.wait(ids[0], LONG)
    runs = manager.log.runs()
    manager.close()
    tally("20 parallel starts with one key", tried=rounds, survived=rounds, lost="one run each")
    assert len(runs) == rounds
    assert {run.status for run in runs} == {RunStatus.COMPLETED}


def test_every_status_of_a_run_has_a_place_in_the_table() -> None:
    assert set(lifecycle.TRANSITIONS) == set(RunStatus)
