"""The Dockerfile, followed step by step without an engine, as far as that goes: `make lint` has hadolint read it.

Where the image has /studio and /data stand two temporary folders; the dependencies are those of this interpreter.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.studio import ROOT, free_port
from tests.waiting import until

LINES = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
STEPS = [(word, rest) for line in LINES if line and not line.startswith("#") for word, _, rest in [line.partition(" ")]]
BUILD = STEPS[: next(at for at, (word, _) in enumerate(STEPS) if word == "FROM" and at > 0)]
IMAGE = STEPS[len(BUILD) :]
TOKEN = "sixteen-letters-and-more"


def said(word: str) -> str:
    """What the image's only line with this instruction says."""
    (rest,) = [rest for each, rest in IMAGE if each == word]
    return rest


def command(word: str) -> list[str]:
    """The words of CMD or HEALTHCHECK."""
    words: list[str] = json.loads(said(word)[said(word).index("[") :])
    return words


def test_all_that_is_copied_reaches_the_engine_and_nothing_else_does() -> None:
    copied = {source for word, rest in BUILD if word == "COPY" for source in rest.split()[:-1]}
    first, *rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert first == "*" and {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_runs_as_a_person_without_rights_and_keeps_data_in_a_volume() -> None:
    variables = dict(pair.split("=", 1) for pair in said("ENV").split())
    assert said("USER") == "1000" and variables["COGNATE_HOME"] == said("VOLUME") == "/data"
    assert not {"COGNATE_TOKEN", "COGNATE_HOST_NAME"} & variables.keys()  # each person's own
    assert command("CMD") == ["cognate", "run", "--no-browser", "--address", "0.0.0.0"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that the build's steps make, /studio among them."""
    root = tmp_path_factory.mktemp("image")
    work = root / "source"
    work.mkdir()
    shared = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": shared,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it so: none
    }
    for word, rest in BUILD:
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, work / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, work / target)
        elif word == "RUN":
            line = rest.replace("/studio", str(root / "studio"))
            subprocess.run(line, shell=True, cwd=work, env=environment, check=True)
        else:
            assert word in ("FROM", "WORKDIR")
    return root


def is_healthy(ask: list[str], environment: dict[str, str]) -> bool:
    return subprocess.run(ask, env=environment, capture_output=True).returncode == 0


@pytest.mark.slow
def test_the_container_refuses_without_a_token_and_is_healthy_with_one(image: Path, tmp_path: Path) -> None:
    port = str(free_port())
    dependencies = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COGNATE_")}
    environment |= {"PYTHONPATH": dependencies, "COGNATE_HOME": str(tmp_path / "data")}
    program = str(image / "studio" / "bin" / command("CMD")[0])
    run = [program, *command("CMD")[1:], "--port", port]
    refused = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and "Choose a token" in refused.stderr
    environment["COGNATE_TOKEN"] = TOKEN
    refused = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and "COGNATE_HOST_NAME" in refused.stderr
    environment["COGNATE_HOST_NAME"] = "studio.example"
    ask = [program, *(word.replace("8501", port) for word in command("HEALTHCHECK")[1:])]
    log = tmp_path / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(run, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT) as studio,
    ):
        try:
            until(lambda: studio.poll() is not None or is_healthy(ask, environment), "that the container is healthy")
            assert studio.poll() is None, log.read_text()
        finally:
            studio.send_signal(signal.SIGTERM)
    assert studio.returncode == -signal.SIGTERM, log.read_text()
    assert f"http://127.0.0.1:{port}" in log.read_text() and "external IP" not in log.read_text()  # nobody was asked
    assert (tmp_path / "data" / "studio.sqlite").is_file()
