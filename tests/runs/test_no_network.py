"""A run on built-in problems asks nothing of any network: neither the hub nor anybody else."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.runs.manager import RunManager
from cognate_core.runs.token import worker_environment
from tests.waiting import LONG

WATCH = """
    import os, sys

    def watch(event, details):
        if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
            place = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(place, (event + " " + repr(details[-2:]) + chr(10)).encode())
            os.close(place)

    sys.addaudithook(watch)
"""


def test_training_on_built_in_problems_touches_no_network(
    tiny_config: TrainingConfig,
    open_manager: Callable[..., RunManager],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "asked.txt"
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(textwrap.dedent(WATCH.format(log=str(log))))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "watch"))
    monkeypatch.delenv("HF_HUB_OFFLINE")  # whoever wants to ask may
    studio = open_manager(executor="process")
    run_id = studio.start(tiny_config, "Built in", ["m"])
    assert studio.wait(run_id, LONG)
    assert studio.log.run(run_id).status is RunStatus.COMPLETED, studio.log.run(run_id).error
    assert not log.exists(), log.read_text()
    asks = "import socket; socket.getaddrinfo('127.0.0.1', 80)"
    subprocess.run([sys.executable, "-c", asks], env=worker_environment(fetches=True), check=True)
    assert "getaddrinfo" in log.read_text(), "a worker that asks is noticed"
