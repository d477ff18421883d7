"""A disk that is full, read-only or slow, and what lies on it damaged."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cognate_core.errors import RunError, StorageError
from cognate_core.files import is_disk_full
from cognate_core.runs import RunManager, database_path
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.training.checkpoint import PARTS, load_checkpoint, newest_checkpoint, save_checkpoint
from tests.faults.studios import ROOT, fingerprint, log_steps, small_config, wait_for_the_end, wait_for_training
from tests.faults.times import Tally, times
from tests.training.test_checkpoint import checkpoint_of
from tests.waiting import LONG, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
DISK_BYTES = 24_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs the rights of root")
    yield disk
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Take all room but `leave` bytes."""
    ballast = disk / "ballast"
    # What the run writes at this very moment takes its share: then the disk is as full as it can be.
    with suppress(OSError), ballast.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - leave)))
    return ballast


def test_a_full_disk_fails_the_run_which_goes_on_once_there_is_room(
    small_disk: Path, tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up at another moment each time: before a checkpoint, within one, in the log, in the database."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tries = times(4, 25)
    rng = random.Random(11)
    config = small_config(max_steps=40 * (tries + 1), eval_interval=1000, n_layers=1)
    manager = RunManager(small_disk / "home")
    run_id = manager.start(config, "a run", ["model"])
    checkpoints = small_disk / "home" / "runs" / run_id / "model" / "checkpoints"
    survived, step = 0, 0
    for number in range(tries):
        wait_for_training(small_disk / "home", run_id, step)
        leave = 0 if number % 4 == 0 else rng.randrange(0, 900_000)  # of three checkpoints
        ballast = fill(small_disk, leave)
        until(lambda: not manager.log.run(run_id).status.is_active, "the end")
        run = manager.log.run(run_id)
        assert run.status.value == "failed", run
        assert "disk is full" in (run.error or ""), run.error
        step = manager.resume_step(run_id)
        if step:  # else it was full before there was a first one
            load_checkpoint(checkpoints / f"step-{step:08d}")
        ballast.unlink()
        manager.resume(run_id)
        survived += 1
    wait_for_the_end(manager.home, run_id)
    assert manager.log.run(run_id).status.value == "completed"
    found = fingerprint(small_disk / "home", run_id)
    manager.close()
    other = RunManager(tmp_path / "whole")
    reference_id = other.start(config, "a run", ["model"])
    wait_for_the_end(other.home, reference_id)
    reference = fingerprint(tmp_path / "whole", reference_id)
    other.close()
    tally("disk full", tried=tries, survived=survived if found == reference else 0, lost="no checkpoint")
    assert found == reference


def test_a_run_that_the_disk_has_no_room_for_is_not_begun(small_disk: Path) -> None:
    manager = RunManager(small_disk / "home")
    with pytest.raises(StorageError, match=r"The disk is full: .* needs [\d,.]+ MB and [\d.]+ MB are free") as refusal:
        manager.start(small_config(d_model=512, n_heads=8), "large", ["large"])
    assert is_disk_full(refusal.value)
    assert manager.log.runs() == []
    manager.close()


def test_a_read_only_data_folder_is_named(small_disk: Path, tally: Tally) -> None:
    home = small_disk / "home"
    RunManager(home).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match=f"{home}.*Make it writable"):
        RunManager(home)
    command = [sys.executable, "-m", "cognate_core.cli", "run", "--no-browser"]
    studio = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "COGNATE_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    tally("data directory read-only", tried=2, survived=2)
    assert studio.returncode == 2
    assert str(home) in studio.stderr.replace("\n", "")
    assert "Traceback" not in studio.stderr


def damage(path: Path, rng: random.Random) -> str:
    """Harm a file in one of the ways in which disks do; which one."""
    content = bytearray(path.read_bytes())
    kind = rng.choice(("truncated", "flipped", "zeroed", "emptied", "header"))
    if kind == "truncated":
        content = content[: rng.randrange(len(content))]
    elif kind == "flipped":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "zeroed":
        start = rng.randrange(len(content))
        content[start : start + 4096] = bytes(len(content[start : start + 4096]))
    elif kind == "emptied":
        content = bytearray()
    else:
        content[: min(100, len(content))] = rng.randbytes(min(100, len(content)))
    path.write_bytes(content)
    return kind


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a few finished runs."""
    home = tmp_path_factory.mktemp("trained") / "home"
    manager = RunManager(home, executor="thread")
    for number in range(2):
        run_id = manager.start(small_config(max_steps=30, save_steps=10), f"run {number}", ["model"])
        assert manager.wait(run_id, LONG)
    manager.close()
    return home


def seen(log: ProgressReader) -> dict[str, object]:
    """What people see of the runs."""
    return {
        run.id: (
            run.name,
            run.status,
            run.config,
            [(model.id, model.name, model.details) for model in log.models(run.id)],
            [(row["step"], row["loss"]) for row in log.metrics(run.id)],
            [(row["step"], row["dataset"], row["loss"]) for row in log.evaluations(run.id)],
        )
        for run in log.runs()
    }


def test_a_damaged_database_is_set_aside_and_the_runs_are_rebuilt(trained: Path, tmp_path: Path, tally: Tally) -> None:
    tries = times(12, 200)
    rng = random.Random(7)
    before = seen(ProgressReader(database_path(trained)))
    assert len(before) == 2
    rebuilt = lost = 0
    for number in range(tries):
        home = tmp_path / f"home-{number}"
        shutil.copytree(trained, home)
        path = database_path(home)
        kind = damage(path, rng)
        harmed = path.read_bytes()
        manager = RunManager(home, executor="thread")
        aside = [each for each in home.glob("studio.sqlite.damaged-*") if not each.name.endswith(("-wal", "-shm"))]
        if aside:
            rebuilt += 1
            assert aside[0].read_bytes() == harmed
            assert aside[0].name in (manager.recovery_note() or "")
        if seen(manager.log) != before:
            lost += 1
            assert not aside, (number, kind, manager.recovery_note())  # rebuilt means whole
        manager.close()
        shutil.rmtree(home)
    tally("corrupt database", tried=tries, survived=tries - lost, lost=f"{rebuilt} rebuilt, {lost} unnoticed")
    assert rebuilt > tries / 4
    assert lost <= tries * 0.05  # a bit inside a figure is still a figure: SQLite keeps no checksums


def test_a_second_studio_on_the_same_folder_only_looks(tmp_path: Path, tally: Tally) -> None:
    first = RunManager(tmp_path / "home", executor="thread")
    script = (
        "from cognate_core.runs import current_manager\n"
        "manager = current_manager()\n"
        "print(manager.read_only)\n"
        "try:\n    manager.cancel('x')\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
    )
    second = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "COGNATE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    says, refusal = second.stdout.splitlines()
    tally("two servers on one directory", tried=1, survived=1, lost="the second is read-only")
    assert str(os.getpid()) in says and str(tmp_path / "home") in says
    assert refusal == f"RunError {says}"
    with pytest.raises(RunError, match=str(os.getpid())):
        RunManager(tmp_path / "home")
    first.close()


def test_no_damaged_checkpoint_is_ever_loaded(tmp_path: Path, tally: Tally) -> None:
    """Truncated, flipped or missing parts: each is noticed, and the one before is taken and the loss told."""
    tries = times(150, 2000)
    rng = random.Random(3)
    pristine = tmp_path / "pristine"
    for step in (10, 20):
        save_checkpoint(pristine, checkpoint_of(step))
    noticed = 0
    for number in range(tries):
        folder = tmp_path / "checkpoints"
        shutil.copytree(pristine, folder)
        part = folder / "step-00000020" / rng.choice((*PARTS, "manifest.json"))
        whole = part.read_bytes()
        if number % 10 == 0:
            part.unlink()
        else:
            damage(part, rng)
        told: list[str] = []
        found = newest_checkpoint(folder, told.append)
        assert found is not None
        if found.state["step"] == 20:
            assert not part.exists() or part.read_bytes() == whole or part.name == "manifest.json"
        else:
            assert found.state["step"] == 10 and "step-00000020" in told[0]
            noticed += 1
        shutil.rmtree(folder)
    tally("damaged checkpoint parts", tried=tries, survived=tries, lost=f"{noticed} fell back to the one before")
    assert noticed > tries * 0.95


def test_a_locked_database_delays_the_log_and_not_the_training(tmp_path: Path, tally: Tally) -> None:
    more = times(50, 1000)  # steps
    manager = RunManager(tmp_path / "home")
    run_id = manager.start(small_config(max_steps=100_000, eval_interval=100_000, save_steps=100_000), "a run", ["m"])
    until(lambda: len(log_steps(manager.home, run_id)) > 20, "training")
    locking = sqlite3.connect(database_path(manager.home), isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    until(lambda: manager.log.delayed_seconds > 0, "the news of the delay")
    written = manager.log.metrics(run_id)
    wait_for_training(manager.home, run_id, log_steps(manager.home, run_id)[-1]["step"], more)
    assert manager.log.metrics(run_id) == written, "it is locked still"
    locking.execute("ROLLBACK")
    locking.close()
    until(lambda: manager.log.delayed_seconds == 0, "the end of the delay")
    manager.pause(run_id)
    assert manager.wait(run_id, LONG)
    steps = log_steps(manager.home, run_id)
    rows = manager.log.metrics(run_id)
    manager.close()
    tally("database locked", tried=1, survived=1, lost=f"nothing; {more} steps meanwhile")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) == steps[-1]["step"]
