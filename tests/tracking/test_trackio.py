"""Trackio has the figures here and sends none. One process has one folder of it, so each life has a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig
from tests.waiting import LONG

ROOT = Path(__file__).parents[2]
TRACKIO = """
import json, socket, sys, threading
from pathlib import Path

def refuse(*arguments, **_):
    raise SystemExit(f"it asked the network: {arguments}")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from cognate_core import extras
from cognate_core.config import TrainingConfig
from cognate_core.contracts import Evaluation, Rewind
from cognate_core.storage.progress_log import ProgressLog
from tests.tracking.test_trackers import NEVER, open_tracking, step

home = Path(sys.argv[1])
log = ProgressLog(home / "studio.sqlite")
config = TrainingConfig(trackers=["trackio"])

def life(run_id, loss, steps, rewind):
    tracking = open_tracking(log, home, config, run_id)
    tracking.record(rewind)
    for number in steps:
        tracking.record(step(number, loss=loss + number))
        if number % 2 == 0:
            tracking.record(Evaluation("m", number, "GSM8K", loss - number, 5))
    tracking.close(NEVER)

threads = [threading.Thread(target=life, args=(f"r{n}", 1000.0 * n, range(1, 51), Rewind("m", -1, -1))) for n in (1, 2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
life("r1", 5000.0, range(31, 41), Rewind("m", 30, 28))
log.raise_refused("r1")
import psutil
print(json.dumps({
    "events": log.events("r1") + log.events("r2"),
    "children": len(psutil.Process().children()),
    "threads": [each.name for each in threading.enumerate() if each is not threading.main_thread()],
    "torch": "torch" in sys.modules,
}))
log.close()
"""

READING = """
import json, trackio
runs = trackio.Api().runs("cognate-studio")
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps({run.id: {
    "name": run.name, "steps": run.config["max_steps"],
    "logs": SQLiteStorage.get_logs("cognate-studio", run.name, run_id=run.id),
} for run in runs}, default=str))
"""


def python(script: str, *arguments: str, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_trackio_has_the_figures_here_and_sends_none(tmp_path: Path) -> None:
    """Two runs side by side, one of which goes on after a checkpoint, as Trackio itself reads them."""
    elsewhere = {"TRACKIO_SPACE_ID": "somebody/space", "TRACKIO_SERVER_URL": "http://127.0.0.1:9", "HF_TOKEN": "hf_x"}
    said = python(TRACKIO, str(tmp_path), **elsewhere)
    assert [event["message"] for event in said["events"]] == []
    assert (said["children"], said["torch"]) == (0, False)
    assert [name for name in said["threads"] if name != "database-writer"] == []
    runs = python(READING, TRACKIO_DIR=str(tmp_path / "trackio"))
    assert set(runs) == {"r1/m", "r2/m"}
    assert runs["r1/m"]["name"] == "Run, m"
    assert runs["r1/m"]["steps"] == TrainingConfig().max_steps

    def curve(run: str, name: str) -> list[tuple[int, float]]:
        return [(row["step"], row[name]) for row in runs[run]["logs"] if name in row]

    assert curve("r2/m", "train/loss") == [(n, 2000.0 + n) for n in range(1, 51)]
    resumed = [(n, 1000.0 + n) for n in range(1, 31)] + [(n, 5000.0 + n) for n in range(31, 41)]
    assert curve("r1/m", "train/loss") == resumed
    checked = [(n, 1000.0 - n) for n in range(2, 29, 2)] + [(n, 5000.0 - n) for n in range(32, 41, 2)]
    assert curve("r1/m", "heldout/GSM8K") == checked
