"""A setting is entered in one place, and arrives in form, commands, API, TOML, sweep, branch, report and data hash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.waiting import LONG

ROOT = Path(__file__).parents[2]
MADE_UP = {
    "training": 'made_up_pull: int = _setting(2, title="Made-up pull", help="How hard it pulls.", ge=1, le=9)',
    "data": 'made_up_cut: int = _setting(1, title="Made-up cut", help="Where it is cut.", prepares_data="tokens")',
}


def test_a_new_setting_is_one_line(tmp_path: Path) -> None:
    for folder in ("cognate_core", "pages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for section, line in MADE_UP.items():  # each is the last class of its file
        with (tmp_path / "cognate_core" / "config" / "fields" / f"{section}.py").open("a") as file:
            file.write(f"\n    {line}\n")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("with_made_up_settings.py"), tmp_path],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COGNATE_HOME": str(tmp_path / "of-the-page")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stderr
