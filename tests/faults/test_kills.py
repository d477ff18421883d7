"""The server, the worker or both end without warning: nothing but the last moments is lost, and none of it for good."""

from __future__ import annotations

import os
import random
import signal
from functools import partial
from pathlib import Path

import pytest

from cognate_core.runs import database_path
from cognate_core.runs.process import workers
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from tests.browser.studio import running_studio
from tests.faults.studios import (
    Host,
    fingerprint,
    integrity,
    log_steps,
    small_config,
    wait_for_no_worker,
    wait_for_the_end,
    wait_for_training,
)
from tests.faults.times import Tally, times
from tests.waiting import LONG, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


def has_status(host: Host, status: str) -> bool:
    return host.run().status.value == status


def kill_at(host: Host, moment: str, rng: random.Random) -> None:
    """kill -9 of the server while it trains, or while a checkpoint is being written."""
    if moment == "checkpoint":
        folder = host.home / "runs" / host.run_id
        until(lambda: list(folder.glob("*/checkpoints/*.tmp-*")), "a checkpoint")
    else:
        wait_for_training(host.home, host.run_id, log_steps(host.home, host.run_id)[-1]["step"], rng.randrange(30))
    host.kill()


def test_server_and_worker_killed_again_and_again_end_with_the_same_bits(tmp_path: Path, tally: Tally) -> None:
    """Each life: start, train a while, kill -9 of the server or the worker, look at what is left, resume."""
    kills = times(4, 60)
    rng = random.Random(4)
    config = small_config(max_steps=40 * kills)
    config_file = tmp_path / "config.toml"
    config_file.write_text(config.to_toml())
    home = tmp_path / "home"
    host, last_step = Host(home, "start", str(config_file)), 0
    worst = {"rows": 0, "steps": 0}
    for number in range(kills):
        wait_for_training(home, host.run_id, last_step)
        if host.run().status.is_terminal:
            break  # a slow computer trained to the end between two looks
        kill_at(host, "checkpoint" if number % 3 == 2 else "training", rng)
        wait_for_no_worker(host.run_id)
        steps = log_steps(home, host.run_id)
        rows = host.log.metrics(host.run_id)
        assert integrity(home) == "ok"
        assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
        last_step = steps[-1]["step"]
        host = Host(home, "resume", host.run_id)
        (status, step) = host.found[host.run_id]
        assert status == "interrupted"
        assert last_step - step <= config.save_steps
        worst["rows"] = max(worst["rows"], last_step - len(rows))  # until they were read from the worker's own log
        worst["steps"] = max(worst["steps"], last_step - step)
    wait_for_the_end(home, host.run_id)
    assert host.run().status.value == "completed"
    interrupted = fingerprint(home, host.run_id)
    host.close()
    whole = Host(tmp_path / "whole", "start", str(config_file))
    wait_for_the_end(tmp_path / "whole", whole.run_id)
    reference = fingerprint(tmp_path / "whole", whole.run_id)
    whole.close()
    same = interrupted == reference
    lost = ", ".join(f"{what}: {value}" for what, value in worst.items())
    tally("kill -9 of the server, then resume", tried=kills, survived=kills if same else 0, lost=f"at most {lost}")
    assert [step for step, *_ in interrupted["losses"]] == list(range(1, config.max_steps + 1))
    for what, value in reference.items():
        assert interrupted[what] == value, what


def test_a_killed_worker_is_a_crash_that_can_be_resumed(tmp_path: Path, tally: Tally) -> None:
    """kill -9 and other deadly signals to the worker: it is told, and the studio lives."""
    tries = times(2, 20)
    config_file = tmp_path / "config.toml"
    config_file.write_text(small_config(max_steps=30 * tries).to_toml())
    host, step = Host(tmp_path / "home", "start", str(config_file)), 0
    for number in range(tries):
        wait_for_training(host.home, host.run_id, step)
        deadly = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)[number % 3]
        os.kill(workers()[host.run_id], deadly)
        until(partial(has_status, host, "crashed"), "the news of the crash")
        assert deadly.name in (host.run().error or "")
        assert host.process.poll() is None
        step = log_steps(host.home, host.run_id)[-1]["step"]
        host.close()
        host = Host(tmp_path / "home", "resume", host.run_id)
    wait_for_the_end(host.home, host.run_id)
    ended = host.run().status.value
    rows = host.log.metrics(host.run_id)
    host.close()
    tally("kill -9 of the worker", tried=tries, survived=tries)
    assert ended == "completed"
    assert [row["step"] for row in rows] == list(range(1, 30 * tries + 1))


def test_a_terminated_server_leaves_a_checkpoint_and_no_worker(tmp_path: Path, tally: Tally) -> None:
    """The studio of `cognate run`, ended by SIGTERM as when a computer is shut down."""
    tries, step = times(2, 10), 0
    home, run_id = tmp_path / "home", "0123456789ab"
    home.mkdir()
    reader = ProgressReader(database_path(home))
    for number in range(tries):
        log = ProgressLog(database_path(home))
        if number == 0:
            log.create_run(run_id, "a run", small_config(max_steps=100_000), ["model"], home / "runs" / run_id, None)
        else:
            assert log.requeue(run_id)
        log.close()
        with running_studio(home) as studio:  # it takes up what waits
            wait_for_training(home, run_id, step)
            studio.process.send_signal(signal.SIGTERM)
            studio.process.wait(LONG)
        assert workers().get(run_id) is None
        assert reader.run(run_id).status.value == "interrupted"
        step = log_steps(home, run_id)[-1]["step"]
        assert (home / "runs" / run_id / "model" / "checkpoints" / f"step-{step:08d}").is_dir()  # not one step is lost
    tally("SIGTERM to the server", tried=tries, survived=tries, lost="no step")
