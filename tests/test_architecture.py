"""Who may import whom, what loads torch, and what must appear nowhere. Read from the source itself."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import LONG

ROOT = Path(__file__).parent.parent
LIBRARY = sorted((ROOT / "cognate_core").rglob("*.py"))
PAGES = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]


@dataclass(frozen=True)
class Import:
    """One imported module; `deferred` when it stands inside a function, or is for types only."""

    module: str
    deferred: bool
    line: int


def dotted(path: Path) -> str:
    """The module's name, packages with `.__init__`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def for_types(node: ast.AST) -> bool:
    """Whether it is `if TYPE_CHECKING:`, which no running program enters."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports_in(source: str, module: str) -> Iterator[Import]:
    """Every import of `source`, which is `module`, wherever it stands."""

    def walk(node: ast.AST, deferred: bool) -> Iterator[Import]:
        inside = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or for_types(node)
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, deferred, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: -node.level]
                base = ".".join([*package, base] if base else package)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", deferred, node.lineno)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(source), deferred=False)


@functools.cache
def imports_of(path: Path) -> list[Import]:
    return list(imports_in(path.read_text(encoding="utf-8"), dotted(path)))


PARTS = {path.stem if path.is_file() else path.name for path in (ROOT / "cognate_core").iterdir()} - {
    "__init__",
    "__pycache__",
}


def part_of(module: str) -> str | None:
    """The part of cognate_core that an import reaches: "config", "data", ...; "" for the package itself."""
    top, _, rest = module.partition(".")
    if top != "cognate_core":
        return None
    first = rest.split(".")[0]
    return first if first in PARTS else ""


# The table

LEAVES = {
    "answers",
    "config",
    "contracts",
    "errors",
    "extras",
    "files",
    "heldout",
    "labels",
    "lifecycle",
    "records",
}
TABLE: dict[str, tuple[set[str], set[str]]] = {  # part -> may import anywhere; may import inside functions only
    "answers": (set(), set()),
    "errors": (set(), set()),
    "labels": (set(), set()),
    "config": ({"config", "errors"}, set()),
    "extras": ({"config", "errors"}, set()),
    "files": ({"errors"}, set()),
    "heldout": ({"contracts"}, set()),
    "lifecycle": (set(), set()),
    "contracts": ({"config", "lifecycle"}, set()),
    "records": ({"contracts"}, set()),
    "mocks": ({"config", "contracts", "errors"}, set()),
    "service": ({"config", "contracts", "errors"}, set()),
    "model": (LEAVES | {"model"}, set()),
    "arithmetic": ({"config", "arithmetic"}, set()),
    "data": (LEAVES | {"arithmetic", "data"}, set()),
    "storage": (LEAVES | {"storage"}, set()),
    "publishing": (LEAVES | {"storage"}, set()),
    "tracking": (LEAVES | {"storage", "tracking"}, set()),
    "training": (LEAVES | {"arithmetic", "model", "data", "training"}, set()),
    "runs": (
        LEAVES | {"service", "storage", "tracking", "runs"},
        {"arithmetic", "data", "model", "training", "insight", "examiner"},
    ),
    "api": (
        LEAVES | {"publishing", "service", "storage", "tracking", "runs", "api"},
        {"insight", "charts_of_runs", "report_of_run", "data", "playground", "calculator"},
    ),
    "client": ({"client", "errors", "files", "lifecycle"}, {"runs"}),
    "cli": (LEAVES | {"service", "storage", "runs", "client", "cli"}, {"api"}),
    "insight": (LEAVES | {"insight"}, {"arithmetic", "model"}),
    "charts_of_runs": (LEAVES | {"insight", "storage"}, set()),
    "report_of_run": (LEAVES | {"charts_of_runs", "insight", "storage"}, set()),
    "examiner": (LEAVES | {"data", "playground"}, set()),
    "calculator": ({"config", "contracts", "errors", "arithmetic", "playground"}, set()),
    "playground": ({"answers", "config", "contracts", "errors", "data", "model"}, set()),
}
PAGES_MAY = LEAVES | {
    "api",
    "charts_of_runs",
    "publishing",
    "report_of_run",
    "runs",
    "insight",
    "storage",
    "tracking",
}
# What a page may know of `data`: how a person's own file is kept and read, so that New run can refuse it at once.
OWN_FILE = ("cognate_core.data.files", "cognate_core.data.own_files")
# What looks at a dataset; a page may know it inside functions only, as it does `playground`.
LOOKS_AT_DATA = (
    "cognate_core.data.inspection",
    "cognate_core.data.inspection_cache",
    "cognate_core.data.mixture",
    "cognate_core.data.overlap",
    "cognate_core.data.sources",  # for types
)


def outside(path: Path, anywhere: set[str], in_functions: set[str]) -> list[str]:
    """The imports of a file that its row does not allow, each as "file:line imports part"."""
    return [
        f"{path.relative_to(ROOT)}:{each.line} imports {each.module}"
        for each in imports_of(path)
        if (part := part_of(each.module)) is not None
        and part not in anywhere
        and not (each.deferred and part in in_functions)
    ]


@pytest.mark.parametrize("part", TABLE)
def test_parts_import_only_what_their_row_allows(part: str) -> None:
    files = [path for path in LIBRARY if part_of(dotted(path)) == part]
    assert files, f"there is no {part} any more: take its row out"
    assert [line for path in files for line in outside(path, *TABLE[part])] == []


def test_pages_import_only_what_their_row_allows() -> None:
    looks = {
        f"{path.relative_to(ROOT)}:{each.line} imports {each.module}"
        for path in PAGES
        for each in imports_of(path)
        if each.deferred and each.module.rpartition(".")[0] in LOOKS_AT_DATA
    }
    assert looks, "no page looks at data any more: take the rule out"
    wrong = [
        line for path in PAGES for line in outside(path, PAGES_MAY, {"calculator", "playground"}) if line not in looks
    ]
    assert [line for line in wrong if not any(f"imports {name}." in line for name in OWN_FILE)] == []


def test_model_data_and_storage_do_not_know_each_other() -> None:
    apart = {"model", "data", "storage"}
    wrong = []
    for path in LIBRARY:
        own = part_of(dotted(path))
        if own in apart:
            wrong += outside(path, PARTS - apart | {own, ""}, set())
    assert wrong == []


def test_library_never_imports_what_shows_it() -> None:
    shown_by = {"streamlit", "pages", "app"}
    wrong = [
        f"{path.relative_to(ROOT)}:{each.line}"
        for path in LIBRARY
        for each in imports_of(path)
        if each.module.split(".")[0] in shown_by
    ]
    assert wrong == []


def test_mocks_are_for_tests_and_the_package_itself() -> None:
    importers = {
        str(path.relative_to(ROOT))
        for path in [*LIBRARY, *PAGES]
        for each in imports_of(path)
        if part_of(each.module) == "mocks" or each.module.startswith("cognate_core.Mock")
    }
    assert importers <= {"cognate_core/__init__.py"}


def test_library_never_imports_through_the_package_itself() -> None:
    """`from cognate_core import X` would hide which part is meant from the table."""
    wrong = [
        f"{path.relative_to(ROOT)}:{each.line}"
        for path in [*LIBRARY, *PAGES]
        for each in imports_of(path)
        if part_of(each.module) == ""
    ]
    assert wrong == []


SAMPLE = """
import cognate_core.mocks as doubles
from cognate_core import service
from ..storage import database
from . import manager
if TYPE_CHECKING:
    from cognate_core.model import CognateModel
class A:
    def method(self):
        from cognate_core.data.loader import MixtureLoader
        import torch.nn
"""


def test_the_reader_of_imports_sees_every_kind() -> None:
    found = [(each.module, each.deferred) for each in imports_in(SAMPLE, "cognate_core.runs.queue")]
    assert found == [
        ("cognate_core.mocks", False),
        ("cognate_core.service", False),
        ("cognate_core.storage.database", False),
        ("cognate_core.runs.manager", False),
        ("cognate_core.model.CognateModel", True),
        ("cognate_core.data.loader.MixtureLoader", True),
        ("torch.nn", True),
    ]
    assert [each.module for each in imports_in("from .mocks import X", "cognate_core.__init__")] == [
        "cognate_core.mocks.X"
    ]
    parts = [part_of(module) for module, _ in found]
    assert parts == ["mocks", "service", "storage", "runs", "model", "data", None]
    assert part_of("cognate_core.TrainingConfig") == ""


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
        "cognate_core.runs.passport",
        "cognate_core.runs.verification",
        "cognate_core.config.presets",
        "cognate_core.publishing",
        "cognate_core.insight.charts",
        "cognate_core.insight.detectors",
        "cognate_core.insight.estimates",
        "cognate_core.insight.report",
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


def unsafe_in(source: str, module: str = "sample") -> list[str]:
    """Each unsafe thing in `source`, as "line: what"."""
    found = [
        f"{each.line}: import {each.module}"
        for each in imports_in(source, module)
        if each.module.split(".")[0] in UNSAFE_MODULES
    ]
    for node in ast.walk(ast.parse(source)):
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
    assert unsafe_in(path.read_text(encoding="utf-8"), dotted(path)) == []


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
