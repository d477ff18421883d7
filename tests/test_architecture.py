"""What loads torch, and what must appear nowhere. Who may import whom: `make lint`, by pyproject.toml."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.waiting import LONG

ROOT = Path(__file__).parent.parent
LIBRARY = sorted((ROOT / "cognate_core").rglob("*.py"))
PAGES = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]


def test_a_mark_stands_in_the_file_whose_tests_it_marks() -> None:
    """A mark of another file would mark nothing."""
    marking = [path for path in (ROOT / "tests").rglob("*.py") if re.search("^pytestmark =", path.read_text(), re.M)]
    assert len(marking) > 10 and [path for path in marking if not path.name.startswith("test_")] == []


# What is loaded

HEAVY = ("torch", "datasets", "transformers", "tensorflow", "tensorboardX", "trackio")


def loaded_by(statements: Iterable[str], tmp_path: Path) -> list[str]:
    """Which of HEAVY a fresh Python has loaded after `statements`."""
    script = "\n".join(
        [*statements, "import sys", f"print('loaded', *[name for name in {HEAVY!r} if name in sys.modules])"]
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "COGNATE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1].split()[1:]


def test_importing_the_library_loads_neither_torch_nor_datasets(tmp_path: Path) -> None:
    modules = (
        "cognate_core",
        "cognate_core.api.serving",
        "cognate_core.cli",
        "cognate_core.client",
        "cognate_core.runs",
        "cognate_core.sharing.archive",
        "cognate_core.sharing.verification",
        "cognate_core.config.presets",
        "cognate_core.sharing.publishing",
        "cognate_core.insight.charts",
        "cognate_core.insight.detectors",
        "cognate_core.insight.estimates",
        "cognate_core.sharing.report",
        "cognate_core.insight.words",
        "cognate_core.storage.progress_log",
        "cognate_core.tracking",
        "cognate_core.tracking.export",
    )
    assert loaded_by((f"import {module}" for module in modules), tmp_path) == []


def test_pages_come_up_without_torch(tmp_path: Path) -> None:
    statements = {
        ast.unparse(node): None
        for path in PAGES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__"
    }
    assert "import streamlit as st" in statements and len(statements) > 10
    assert loaded_by(statements, tmp_path) == []


def test_the_measurement_notices_torch(tmp_path: Path) -> None:
    """A stand-in for the real thing, so that the two tests above cannot pass by not looking."""
    (tmp_path / "torch.py").write_text("")
    assert loaded_by([f"import sys; sys.path.insert(0, {str(tmp_path)!r})", "import torch"], tmp_path) == ["torch"]


# What must appear nowhere

UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_WORDS = {"unsafe_allow_html", "trust_remote_code"}  # with whatever value: there is no good reason to name them


def unsafe_in(source: str) -> list[str]:
    """Each unsafe thing in `source`, as "line: what"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [f"{node.lineno}: import {name}" for name in names if name.split(".")[0] in UNSAFE_MODULES]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            found.append(f"{node.lineno}: {node.func.id}(")
        if isinstance(node, ast.keyword):
            allowed = isinstance(node.value, ast.Constant) and node.value.value is False
            if node.arg in UNSAFE_WORDS or (node.arg in ("shell", "allow_pickle") and not allowed):
                found.append(f"{node.value.lineno}: {node.arg}={ast.unparse(node.value)}")
            if node.arg == "weights_only" and allowed:
                found.append(f"{node.value.lineno}: weights_only=False")
        if isinstance(node, ast.Constant) and node.value in UNSAFE_WORDS | {"shell", "allow_pickle"}:
            found.append(f"{node.lineno}: {node.value!r}")
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.system", "os.popen", "torch.load"):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def test_pages_show_tables_by_the_one_that_holds_no_formula() -> None:
    """The table's own "Download as CSV" writes cells as they are."""
    tables = ROOT / "pages" / "components" / "tables.py"
    drawn = re.compile(r"st\.(dataframe|table|data_editor)\(")
    assert [path.name for path in PAGES if drawn.search(path.read_text(encoding="utf-8"))] == [tables.name]


@pytest.mark.parametrize("path", [*LIBRARY, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unsafe(path: Path) -> None:
    assert unsafe_in(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import pickle as p",
        "eval('1')",
        "exec(text)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=flag)",
        "subprocess.run(command, **{'shell': True})",
        "st.markdown(text, unsafe_allow_html=True)",
        "load_dataset(name, trust_remote_code=False)",
        "np.load(file, allow_pickle=True)",
        "torch.load(file, weights_only=False)",
        "torch.load(file)",
        "os.system('ls')",
    ],
)
def test_the_search_finds_what_is_unsafe(line: str) -> None:
    assert unsafe_in(line) != []


@pytest.mark.parametrize(
    "line", ["model.eval()", "np.load(file, allow_pickle=False)", "subprocess.run(command, shell=False)", "x = 'eval('"]
)
def test_the_search_lets_what_is_safe_pass(line: str) -> None:
    assert unsafe_in(line) == []


# How tests wait

CLOCKS = {"sleep", "wait_for_timeout", "monotonic", "perf_counter"}
TIMED = {
    "tests/waiting.py",
    "tests/browser/studio.py",
    "tests/browser/screenshots.py",
}  # and what measures: tests/bench


def clocks_in(source: str) -> list[str]:
    """Each call by which a test would depend on the clock, as "line: what". To sleep for 0 is to let others run."""
    return [
        f"{node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] in CLOCKS
        and [ast.unparse(argument) for argument in node.args] != ["0"]
    ]


def test_no_test_sleeps_or_measures_time() -> None:
    files = {str(path.relative_to(ROOT)): path for path in (ROOT / "tests").rglob("*.py") if "bench" not in path.parts}
    assert files.keys() >= TIMED
    found = {name: clocks_in(path.read_text(encoding="utf-8")) for name, path in files.items() if name not in TIMED}
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "line", ["time.sleep(1)", "sleep(0.1)", "page.wait_for_timeout(200)", "end = time.monotonic()"]
)
def test_the_search_finds_a_clock(line: str) -> None:
    assert clocks_in(line) != [] and clocks_in("await asyncio.sleep(0)") == []
