"""A figure of a step is entered in one place, and arrives in database, curves, charts, API, trackers and tables."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.waiting import LONG

ROOT = Path(__file__).parents[2]
MADE_UP = """    made_up_warmth: float | None = _perhaps(
        "How warm the weights are.", "made_up/warmth", chart=StepChart("How warm it is", "K", "Warmth."), label="warmth"
    )
"""


def test_a_new_metric_is_one_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "cognate_core", tmp_path / "cognate_core", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "cognate_core" / "contracts" / "metrics.py"
    source, end = table.read_text(encoding="utf-8"), "\n\n\nMETRICS"
    table.write_text(source.replace(end, f"\n{MADE_UP}\n\nMETRICS", 1), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("with_made_up_metric.py"), tmp_path],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COGNATE_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stderr
