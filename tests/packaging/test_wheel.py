"""The wheel: what lies in it, and that it gives the studio wherever a person stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from cognate_core.config import TrainingConfig
from tests.browser.studio import ROOT, Studio, page_on, running_studio, wait_until_idle

if TYPE_CHECKING:
    from playwright.sync_api import Browser

INSTALLED = "cognate_core/studio"
HOME = "home"  # beside where the person stands
AROUND = {"PYTHONPATH": "", "PYTHONWARNINGS": "default", "COGNATE_HOME": HOME}
OUR_BLUE = "rgb(0, 101, 159)"  # theme.light.primaryColor
MINE = 'raise SystemExit("This file is not of the studio.")\n'
FOREIGN = {  # what may lie in the folder of a person who has a Streamlit app, or a clone, of their own
    "app.py": MINE,
    "pages/__init__.py": MINE,
    "cognate_core/__init__.py": MINE,
    "torch.py": MINE,
    ".streamlit/config.toml": '[server]\nbaseUrlPath = "elsewhere"\n[theme]\nlinkColor = "#ff0000"\n',
}


def assert_torch_is_silent(output: str) -> None:
    """Its warnings name its files, or begin with [W where they come from C++."""
    assert "torch" not in output.lower() and "[W" not in output, output


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (built,) = folder.glob("*.whl")
    return built


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and a folder full of files that are none of the studio's."""

    programs: Path
    foreign: Path

    def __call__(self, program: str, *words: str | Path) -> str:
        """What a program of the environment prints, when it is called in the foreign folder."""
        environment = {**os.environ, **AROUND}
        done = subprocess.run(
            [self.programs / program, *words], cwd=self.foreign, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert_torch_is_silent(done.stderr)
        return done.stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Nothing is downloaded: the dependencies are those of this interpreter, but its editable checkout is not seen."""
    environment, foreign = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("foreign")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    into = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet", "--no-index"]
    subprocess.run([*into, "--no-deps", str(wheel)], check=True)
    (site_packages,) = environment.rglob("site-packages")
    shared = [path for path in sys.path if path.endswith("site-packages")]
    # What .pth files lie in those folders is not read: so the checkout stays unseen.
    (site_packages / "dependencies.pth").write_text("\n".join(shared), encoding="utf-8")
    for name, text in FOREIGN.items():
        (foreign / name).parent.mkdir(exist_ok=True)
        (foreign / name).write_text(text, encoding="utf-8")
    ours = Installed(programs, foreign)
    found = ours("python", "-P", "-c", "import cognate_core; print(cognate_core.__file__)")
    assert Path(found.strip()).is_relative_to(environment)
    return ours


@pytest.fixture(scope="module")
def studio(installed: Installed) -> Iterator[Studio]:
    command = [str(installed.programs / "cognate"), "run", "--no-browser"]
    with running_studio(installed.foreign / HOME, command, installed.foreign, **AROUND) as one:
        yield one


def test_the_wheel_has_all_of_the_studio_inside_the_library_and_nothing_else(wheel: Path) -> None:
    folders = {"cognate_core": "cognate_core", "pages": f"{INSTALLED}/pages"}
    expected = {f"{INSTALLED}/app.py", f"{INSTALLED}/.streamlit/config.toml"} | {
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in folders.items()
        for path in (ROOT / folder).rglob("*.*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == expected


@pytest.mark.slow
def test_a_foreign_folder_changes_nothing_and_workers_train(
    installed: Installed, studio: Studio, tmp_path: Path, tiny_config: TrainingConfig
) -> None:
    with urllib.request.urlopen(urllib.request.Request(studio.url, headers=studio.shown)) as answer:
        assert "<title>" in answer.read().decode()
    settings = tmp_path / "small.toml"
    settings.write_text(tiny_config.to_toml(), encoding="utf-8")
    run_id = installed("cognate", "--server", studio.url, "start", settings).strip()
    installed("cognate", "--server", studio.url, "watch", run_id)
    (model,) = json.loads(installed("cognate", "--server", studio.url, "models", "--json"))
    assert model["status"] == "completed"
    assert_torch_is_silent((studio.home / "runs" / run_id / "worker.log").read_text(encoding="utf-8"))
    assert_torch_is_silent((installed.foreign / f"{HOME}.log").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.browser
def test_pages_are_drawn_with_the_studios_own_settings(studio: Studio, chromium: Browser) -> None:
    with page_on(chromium.new_context(color_scheme="light"), studio) as page:
        for path in ("", "lab", "new-run"):
            page.goto(f"{studio.url}/{path}")
            page.get_by_role("heading", level=1).wait_for()
            wait_until_idle(page)
            assert page.get_by_test_id("stAlertContentError").count() == 0, path
        start = page.get_by_test_id("stBaseButton-primary").first
        assert start.evaluate("button => getComputedStyle(button).backgroundColor") == OUR_BLUE
