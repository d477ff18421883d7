"""How many cores and threads there are for whom, on computers and in containers that are made up here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from cognate_core.config import TrainingConfig
from cognate_core.runs import cores
from cognate_core.runs.cores import usable_cores, worker_threads


@pytest.fixture(autouse=True)
def _no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def computer(monkeypatch: pytest.MonkeyPatch, usable: int, physical: int | None) -> None:
    """This process may use so many logical cores of a computer with so many physical ones."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(usable)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: usable if logical else physical)


@pytest.mark.parametrize(("usable", "physical", "found"), [(16, 8, 8), (4, 8, 4), (2, 1, 1), (1, 1, 1), (4, None, 4)])
def test_training_may_use_every_core_and_asking_a_model_leaves_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, usable: int, physical: int | None, found: int
) -> None:
    computer(monkeypatch, usable, physical)
    monkeypatch.setattr(cores, "_quotas", lambda _: iter(()))
    assert worker_threads(TrainingConfig()) == found
    assert worker_threads() == max(1, found - 1)


@pytest.mark.parametrize(
    ("said", "found"), [("1", 1), ("3,2", 3), ("64", 8), ("", 8), ("0", 8), ("many", 8), ("-1", 8)]
)
def test_what_openmp_is_told_bounds_it(monkeypatch: pytest.MonkeyPatch, said: str, found: int) -> None:
    computer(monkeypatch, 8, 8)
    monkeypatch.setattr(cores, "_quotas", lambda _: iter(()))
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert worker_threads(TrainingConfig()) == found
    assert worker_threads(TrainingConfig(threads=5)) == 5


V1 = "9:memory:/other\n4:cpu,cpuacct:/docker/a\n"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "?"}, 8),
        (
            {
                "proc/self/cgroup": "0::/pod/me\n",
                "sys/fs/cgroup/pod/me/cpu.max": "600000 100000",
                "sys/fs/cgroup/pod/cpu.max": "300000 100000",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us": "100000",
            },
            8,
        ),
    ],
)
def test_a_containers_quota_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: Mapping[str, str], found: int
) -> None:
    computer(monkeypatch, 8, 8)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == found
