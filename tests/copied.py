"""A copy of the library that a test changes, and a script that looks at it in a fresh Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.waiting import LONG

ROOT = Path(__file__).parent.parent


def copy_library(place: Path, *folders: str) -> None:
    """Copy these folders of the project into `place`."""
    for folder in folders:
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))


def assert_passes(script: Path, place: Path) -> None:
    """Run the script with the library of `place`, which is its argument. It must end without an error."""
    done = subprocess.run(
        [sys.executable, script, place],
        env={**os.environ, "PYTHONPATH": str(place), "COGNATE_HOME": str(place / "of-the-page")},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stderr
