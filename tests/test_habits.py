"""What people and workflows are told to type, and where they are sent, is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
COMMAND = re.compile(r"(?:^|`|run: |&& )make ([a-z][a-z-]*)", re.MULTILINE)
TELL = ["README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml"]


def read(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", TELL)
def test_each_command_is_a_target_of_the_makefile(file: str) -> None:
    named = COMMAND.findall(read(file))
    assert {"lint", "test"} <= set(named)
    assert sorted(set(named) - TARGETS) == []


def test_every_target_is_told_to_people() -> None:
    told = {name for file in ("README.md", "CONTRIBUTING.md") for name in COMMAND.findall(read(file))}
    assert sorted(TARGETS - told - {"clean"}) == []


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md"])
def test_each_path_that_is_named_exists(file: str) -> None:
    named = re.findall(r"`((?:cognate_core|docs|pages|tests)/[\w./-]*)`|\]\(([\w./-]+)", read(file))
    paths = {path for pair in named for path in pair if path}
    assert paths
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


def test_the_tree_of_the_readme_has_only_what_is_there() -> None:
    (tree,) = re.findall(r"^```\n(app\.py .*?)^```", read("README.md"), re.MULTILINE | re.DOTALL)
    paths: list[Path] = []
    parents: list[Path] = [ROOT]
    for line in tree.splitlines():
        name = re.match(r"((?:  )?)([\w./]+)", line)
        if name is None:
            continue  # the rest of a description
        parents = parents[: 1 + len(name[1]) // 2]
        paths.append(parents[-1] / name[2])
        parents.append(paths[-1])
    assert len(paths) > 20
    assert [str(path.relative_to(ROOT)) for path in paths if not path.exists()] == []


def test_the_hooks_before_a_commit_are_those_of_make_lint() -> None:
    hooks = [hook for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]]
    recipe = MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0]
    linted = re.findall(r"\$\(VENV\)/(mypy|ruff check|ruff format)", recipe)
    entries = [re.sub(r" --.*", "", hook["entry"].removeprefix(".venv/bin/")) for hook in hooks]
    assert entries == linted == ["ruff check", "ruff format", "mypy"]
    assert {hook["language"] for hook in hooks} == {"system"}
