"""Hostile names: refused with a sentence, or kept and shown as typed. None leaves the data folder, none runs a script.

The names are those of hostile.py. Where a name is refused by `RunManager.start`, the browser has nothing to show; all
others are looked at in real Chromium, with a marker that no payload may set.
"""

from __future__ import annotations

import http.client
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    ARTIFACT_FILES,
    Evaluation,
    Event,
    ModelArtifacts,
    ModelTrainer,
    Phase,
    ProgressCallback,
    RunStatus,
    Sample,
    StepMetrics,
    utc_now,
)
from cognate_core.errors import CognateError
from cognate_core.labels import WORD_JOINER
from cognate_core.runs.execution import RunContext
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.names import MAX_MODELS, valid_name
from cognate_core.service import TrainingService
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.trash import Trash
from cognate_core.testing import MockDatasetLoader
from cognate_core.training.trainer import model_folder
from tests.browser.studio import Studio, let_in, new_context, running_studio, wait_until_idle
from tests.faults.hostile import KINDS, NAMES
from tests.faults.times import SOAK, Tally, times
from tests.waiting import LONG

pytestmark = pytest.mark.slow
HARMLESS = "Harmless"
HOME_SHOWS = 8  # as many finished runs stand on Home
SOAK_SECONDS = 3600
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$")  # as a folder, Windows takes them for devices
MARKED = "a script ran"
TIME = r", \d{4}-\d\d-\d\d \d\d:\d\d UTC"  # stands behind a model's name where one is chosen


def brief(name: str) -> str:
    """`name` for a report: a surrogate or a control character must not get out of it."""
    return ascii(name) if len(name) <= 60 else f"{name[:60]!a}... ({len(name)} characters)"


def folded(text: str) -> str:
    """As a page shows a name: on one line, with single spaces; what takes no room is not seen."""
    return " ".join(text.replace(WORD_JOINER, "").split())


def refusal(function: Callable[[], object]) -> str | None:
    """Why `function` is refused; None when it is not."""
    try:
        function()
    except CognateError as error:
        return str(error)
    return None


def accepted_names() -> list[str]:
    """Those that are taken, as they are kept."""
    return [name.strip() for name in NAMES if refusal(partial(valid_name, name)) is None]


def is_sentence(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Z][^\x00-\x1f\x7f\ud800-\udfff]{10,300}\.", text))


def report(tally: Tally, what: str, names: Sequence[str], problems: dict[str, str]) -> None:
    """One row of the table, then what was wrong with each name (or with a page as a whole)."""
    tried = len(names)
    tally(f"hostile names: {what}", tried=tried, survived=sum(name not in problems for name in names))
    listed = "\n".join(f"  {brief(name)}: {why}" for name, why in list(problems.items())[:40])
    assert not problems, f"{what}: {len(problems)} of {tried} names\n{listed}"


# Through the RunManager


class FolderTrainer(ModelTrainer):
    """Learns nothing, but makes a model's folder as TorchTrainer does, with a file for each artifact."""

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        progress_callback(1, 1, 1.0, 1e-3)
        folder = model_folder(config, model_name, use_again=True)
        return {
            "parameter_count": 0,
            "training_status": "completed",
            "artifacts": written_artifacts(folder, model_name),
            "training_stats": {"steps": 1, "mock": True},
            "datasets_used": ["mock"],
            "grokfast_enabled": False,
            "act_enabled": False,
            "ltm_enabled": False,
        }


def written_artifacts(folder: Path, text: str) -> dict[str, str]:
    for file in ARTIFACT_FILES.values():
        (folder / file).write_text(text, encoding="utf-8")
    return {kind: str(folder / file) for kind, file in ARTIFACT_FILES.items()}


def folder_services(context: RunContext) -> TrainingService:
    return TrainingService(context.emitter, MockDatasetLoader(), FolderTrainer(), context.config)


@dataclass
class Surroundings:
    """What lies around a data folder, and in it beside the runs, before the hostile names come."""

    root: Path
    home: Path
    outside: set[str] = field(init=False)
    inside: set[str] = field(init=False)
    kept: dict[Path, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.outside, self.inside = self._outside(), self._inside()
        self.kept = {path: path.read_bytes() for path in self._files() if path.stat().st_size < 1_000_000}

    def problems(self, run_ids: set[str]) -> list[str]:
        """What is there now and must not be."""
        found = [f"appeared outside: {path!a}" for path in self._outside() - self.outside]
        found += [f"gone from outside: {path!a}" for path in self.outside - self._outside()]
        found += [f"appeared in the data folder: {path!a}" for path in self._inside() - self.inside]
        found += [
            f"changed: {path}" for path, text in self.kept.items() if not path.exists() or path.read_bytes() != text
        ]
        for folder, folders, files in os.walk(self.home / "runs"):
            for name in (*folders, *files):
                path = Path(folder, name)
                if path.is_symlink() or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
                    found.append(f"not a plain name in runs/: {path!a}")
        found += [f"not a run's: {path.name!a}" for path in (self.home / "runs").iterdir() if path.name not in run_ids]
        return found

    def _outside(self) -> set[str]:
        """Everything below `root` except the data folder, and what lies beside `root` and where the names point to."""
        found = {str(path) for path in self.root.parent.iterdir()}
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if Path(folder, name) != self.home]
            found |= {os.path.join(folder, name) for name in (*folders, *files)}
        pointed_to = (os.path.join(self.home, "runs", "a", name) for name in NAMES if "\0" not in name)
        encodable = (path for path in pointed_to if path.encode(errors="replace").decode() == path)
        beyond = (path for path in map(os.path.normpath, encodable) if not Path(path).is_relative_to(self.home))
        return found | {path for path in beyond if os.path.lexists(path)}

    def _inside(self) -> set[str]:
        """What lies in the data folder beside the runs; SQLite's own files come and go."""
        return {path.name for path in self.home.iterdir() if not path.name.endswith(("-wal", "-shm"))}

    def _files(self) -> Iterator[Path]:
        """Files that nobody may change: those outside, and those of the runs that are there."""
        for folder in (self.root / "beside", self.home / "runs"):
            yield from (path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def deep_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with folders around it that a path could climb to, and a working folder to be littered."""
    home = tmp_path / "one" / "two" / "home"
    for folder in ("one/two", "beside/etc", "working"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("beside/etc/passwd", "beside/outside", "beside/studio.sqlite"):
        (tmp_path / file).write_text("not yours")
    monkeypatch.chdir(tmp_path / "working")
    monkeypatch.setattr(RunManager, "_require_space", lambda *_: None)  # reckoning it takes longer than all the rest
    return home


def start_all(
    manager: RunManager, config: TrainingConfig, names: Sequence[str]
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Start a run of each name with a model of that name: what was refused and why, what was wrong, the runs' ids."""
    refused, problems, ids = dict[str, str](), dict[str, str](), dict[str, str]()
    for name in names:
        try:
            ids[name] = manager.start(config, name, [name], start_key=name)
        except CognateError as error:
            refused[name] = str(error)
            if not is_sentence(str(error)):
                problems[name] = f"refused without a sentence: {brief(str(error))}"
        except Exception as error:  # noqa: BLE001  (the loss of this name, not the end of the test)
            problems[name] = f"not refused but broken: {type(error).__name__}: {error!a}"
    return refused, problems, ids


def check_ended(manager: RunManager, ids: dict[str, str], problems: dict[str, str]) -> None:
    """Each run of `ids` has ended well, with its own name and one model of it."""
    for name, run_id in ids.items():
        assert manager.wait(run_id, LONG), f"{brief(name)} never ended"
        run, models = manager.log.run(run_id), manager.log.models(run_id)
        if run.status is not RunStatus.COMPLETED:
            problems[name] = f"{run.status}: {run.message!a}"
        elif (run.name, run.model_names, [model.name for model in models]) != (
            name.strip(),
            [name.strip()],
            [name.strip()],
        ):
            problems[name] = f"kept as {run.name!a}"
        elif any(
            DEVICES.match(part) for file in manager.log.artifacts(models[0].id) for part in Path(file["path"]).parts
        ):
            problems[name] = "a folder of its model is, on Windows, a device"
        elif any(not manager.store.path(file["path"]).is_file() for file in manager.log.artifacts(models[0].id)):
            problems[name] = "a file of its model is missing"


def double_manager(home: Path) -> RunManager:
    return RunManager(home, max_parallel=2, executor="thread", build_service=folder_services)


def test_names_through_the_manager(deep_home: Path, tmp_path: Path, tiny_config: TrainingConfig, tally: Tally) -> None:
    assert len(set(NAMES)) == len(NAMES) >= 200
    manager = double_manager(deep_home)
    try:
        harmless = manager.start(tiny_config, HARMLESS, [HARMLESS])
        assert manager.wait(harmless, LONG)
        before = (manager.log.run(harmless), manager.log.models(harmless))
        around = Surroundings(tmp_path, deep_home)

        refused, problems, ids = start_all(manager, tiny_config, NAMES)
        check_ended(manager, ids, problems)
        assert len(set(ids.values())) == len(ids) == len(manager.log.runs(10_000)) - 1  # each is a run of its own
        for name in ids:  # a second press with the same key, whatever the key, is the same run
            assert manager.start(tiny_config, "Another", ["Another"], start_key=name) == ids[name]
        assert (manager.log.run(harmless), manager.log.models(harmless)) == before
        found = around.problems({harmless, *ids.values()})
    finally:
        manager.close()

    # As another process reads them, and as they are rebuilt from their folders when the database is lost.
    def check_names(log: ProgressReader, where: str) -> None:
        kept = {run.id: run.name for run in log.runs(10_000)}
        wrong = {name: kept.get(run_id) for name, run_id in ids.items() if kept.get(run_id) != name.strip()}
        problems.update({name: f"{where} as {there!a}" for name, there in wrong.items()})

    check_names(ProgressReader(database_path(deep_home)), "is stored")
    for path in deep_home.glob("studio.sqlite*"):
        path.unlink()
    manager = double_manager(deep_home)
    check_names(manager.log, "is rebuilt")
    manager.close()

    found += around.problems({harmless, *ids.values()})
    tally("hostile names: files where none belongs", tried=len(NAMES), survived=max(0, len(NAMES) - len(set(found))))
    assert len(ids) >= 200, "hardly any name was taken"
    for kind in ("control", "half letters", "blank"):  # cannot be shown as typed
        assert set(KINDS[kind]) <= set(refused), f"not refused: {set(KINDS[kind]) - set(refused)!a}"
    assert not found, "\n".join(found[:20])
    report(tally, "through the RunManager", NAMES, problems)


def test_names_through_the_trash(deep_home: Path, tmp_path: Path, tiny_config: TrainingConfig, tally: Tally) -> None:
    """Runs and models of hostile names are deleted and put back, whole and nothing else with them."""
    names = accepted_names()[: times(60, len(NAMES))]
    manager = double_manager(deep_home)
    try:
        harmless = manager.start(tiny_config, HARMLESS, [HARMLESS])
        _, problems, ids = start_all(manager, tiny_config, names)
        check_ended(manager, ids, problems)
        files = {name: whole(deep_home / "runs" / run_id) for name, run_id in ids.items()}
        (deep_home / "trash").mkdir(exist_ok=True)
        around = Surroundings(tmp_path, deep_home)
        for number, (name, run_id) in enumerate(ids.items()):
            if number % 2:
                manager.delete_run(run_id)
            else:
                manager.delete_model(manager.log.models(run_id)[0].id)
            if manager.log.models(run_id) or whole(deep_home / "runs" / run_id):
                problems[name] = "is not deleted"
        in_trash = manager.trash.entries()
        assert sorted(entry.name for entry in in_trash) == sorted(ids)
        assert {run.id for run in manager.log.runs(10_000)} == {harmless, *list(ids.values())[::2]}
        assert [model.run_id for model in manager.log.models()] == [harmless]
        for entry in in_trash:
            manager.put_back(entry.id)
        check_ended(manager, ids, problems)
        for name, run_id in ids.items():
            if not files[name] or whole(deep_home / "runs" / run_id) != files[name]:
                problems.setdefault(name, "is not put back as it was")
        assert manager.trash.entries() == []
        found = around.problems({harmless, *ids.values()})
    finally:
        manager.close()
    assert not found, "\n".join(found[:20])
    report(tally, "through the trash", names, problems)


def whole(folder: Path) -> dict[str, bytes]:
    """Each file of the models of a run, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*") if path.is_file()}


def test_names_that_nobody_could_see_are_refused(tally: Tally) -> None:
    unseen = re.compile(  # what Unicode calls default ignorable, and the blank Braille cell
        "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
        "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\\s]*"
    )
    invisible = [name for name in NAMES if unseen.fullmatch(name)]
    taken = {name: "taken, and cannot be seen" for name in invisible if refusal(partial(valid_name, name)) is None}
    report(tally, "that nobody could see", invisible, taken)


def test_no_two_models_share_a_folder(tmp_path: Path, tally: Tally) -> None:
    """A run that goes on finds its models' folders by their names: no name may pretend to be another's folder."""
    config = TrainingConfig(output_dir=str(tmp_path))
    owners, problems = dict[Path, str](), dict[str, str]()
    names = accepted_names()
    for label in (*names, *(model_folder(config, name, use_again=True).name for name in names)):
        owner = owners.setdefault(model_folder(config, label, use_again=True), label)
        if owner != label:
            problems[owner] = f"has the folder of {brief(label)}"
    assert all(model_folder(config, owner, use_again=True) == folder for folder, owner in owners.items())
    report(tally, "one folder, one model", names, problems)


def test_keys_through_the_manager(deep_home: Path, tiny_config: TrainingConfig, tally: Tally) -> None:
    """A start_key is made by the page, but it too comes from outside."""
    manager, problems = RunManager(deep_home, max_parallel=0), dict[str, str]()  # none is carried out
    try:
        ids = set()
        for key in NAMES:
            try:
                first = manager.start(tiny_config, HARMLESS, [HARMLESS], start_key=key)
                if manager.start(tiny_config, HARMLESS, [HARMLESS], start_key=key) != first or first in ids:
                    problems[key] = "one key, two runs" if first not in ids else "two keys, one run"
                ids.add(first)
            except CognateError as error:
                if not is_sentence(str(error)):
                    problems[key] = f"refused without a sentence: {brief(str(error))}"
            except Exception as error:  # noqa: BLE001  (the loss of this key, not the end of the test)
                problems[key] = f"{type(error).__name__}: {error!a}"
        assert [run.name for run in manager.log.runs(10_000)] == [HARMLESS] * len(ids)
    finally:
        manager.close()
    report(tally, "as the key of a start", NAMES, problems)


@pytest.mark.timeout(times(600, SOAK_SECONDS))
def test_names_of_models_that_are_really_trained(
    deep_home: Path, tmp_path: Path, tiny_config: TrainingConfig, tally: Tally
) -> None:
    """In a process of their own, as in a studio: several models a run, because it takes seconds to start one."""
    config = tiny_config.with_overrides(
        {"max_steps": 1, "eval_interval": 1, "act_enabled": False, "ltm_enabled": False}
    )
    names = accepted_names()[: times(4, len(NAMES))]
    problems, run_ids = dict[str, str](), set[str]()
    manager = RunManager(deep_home)
    try:
        for expected in ("runs", "cache"):
            (deep_home / expected).mkdir(exist_ok=True)
        around = Surroundings(tmp_path, deep_home)
        for first in range(0, len(names), MAX_MODELS):
            some = names[first : first + MAX_MODELS]
            run_id = manager.start(config, some[0], some)
            run_ids.add(run_id)
            assert manager.wait(run_id, LONG)
            run, models = manager.log.run(run_id), {model.name: model for model in manager.log.models(run_id)}
            for name in some:
                if name not in models:
                    problems[name] = f"was not trained: {run.message!a}"
                    continue
                files = [manager.store.path(file["path"]) for file in manager.log.artifacts(models[name].id)]
                if len({file.parent for file in files}) != 1 or len(files) != len(ARTIFACT_FILES):
                    problems[name] = f"its files are {files!a}"
            folders = {Path(manager.log.artifacts(model.id)[0]["path"]).parent for model in models.values()}
            assert len(folders) == len(models), "two models in one folder"
    finally:
        manager.close()
    found = around.problems(run_ids)
    assert not found, "\n".join(found[:20])
    report(tally, "of models really trained", names, problems)


# In a browser


@dataclass
class Watch:
    """What must not happen while hostile names are looked at."""

    own: str
    seen: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        """Watch all pages of `context`, from before their first script."""
        context.add_init_script(
            f"Object.defineProperty(window, '__pwned', {{set: () => console.error({MARKED!r}), get: () => undefined}})"
        )
        context.on("page", self._page)
        context.on("request", lambda request: self._request(request.url))

    def _dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _page(self, page: Page) -> None:
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.seen.append(f"a page error: {error}"))
        page.on("console", lambda message: self.seen.append(MARKED) if MARKED in message.text else None)
        page.on("popup", lambda popup: self.seen.append(f"another window: {popup.url}"))

    def _request(self, url: str) -> None:
        if not url.startswith((self.own, "data:", "blob:", self.own.replace("http", "ws", 1))):
            self.seen.append(f"a request to {url[:80]}")

    def taken(self) -> list[str]:
        """What was seen since the last time."""
        seen, self.seen = self.seen, []
        return sorted(set(seen))


@pytest.fixture
def watched(chromium: Browser, studio: Studio) -> Iterator[tuple[Page, Watch]]:
    """A page on the studio of these tests, and who watches it."""
    context = new_context(chromium, viewport={"width": 1280, "height": 900})
    let_in(context, studio)
    watch = Watch(studio.url)
    watch.over(context)
    page = context.new_page()
    yield page, watch
    context.close()


STRANGE_ELEMENTS = """() => {
  const root = document.querySelector('[data-testid=stApp]')
  const tags = 'script, iframe, object, embed, img, video, audio, base, link, meta, math, form, marquee, .katex'
  const found = [...root.querySelectorAll(tags)].map(e => `<${e.localName}>`)
  for (const e of root.querySelectorAll('*')) {
    for (const {name} of e.attributes) if (name.startsWith('on')) found.push(`<${e.localName} ${name}>`)
    const href = e.href?.baseVal ?? e.href
    const known = !href || href === 'https://huggingface.co/settings/tokens' || new URL(href).origin === location.origin
    if (!known) found.push(`a link to ${href}`)
  }
  return found
}"""
"""Elements that no page of the studio has by itself."""

NOTHING_NEW = """() => new Promise(done => {
  let before = null
  const look = () => {
    const now = document.querySelectorAll('[data-testid=stMain] :not(.live-charts *)').length
    if (now === before) done()
    else setTimeout(look, 60)
    before = now
  }
  look()
})"""

WIDTH_OF_TEXT = """element => {
  const range = document.createRange()
  range.selectNodeContents(element)
  return range.getBoundingClientRect().width
}"""


@dataclass(frozen=True)
class Kept:
    """A run and its model, both of this name, in a data folder."""

    name: str
    run_id: str
    model_id: str

    @property
    def second(self) -> str:
        """The run's other model: it failed."""
        return f"{self.name} 2"


def fill(home: Path, names: Sequence[str]) -> list[Kept]:
    """Give the new data folder `home` finished runs: a harmless one, then one for each name. No studio has it open."""
    log, store, trash, kept = ProgressLog(database_path(home)), ArtifactStore(home), Trash(home), list[Kept]()
    for name in (HARMLESS, *names):
        each = Kept(name, uuid.uuid4().hex[:12], uuid.uuid4().hex[:12])
        kept.append(each)
        folder = home / "runs" / each.run_id
        config = TrainingConfig(output_dir=str(folder), max_steps=1, act_enabled=False, ltm_enabled=False)  # few charts
        log.create_run(each.run_id, name, config, [name, each.second], folder, None)
        log.claim(each.run_id)
        log.record(each.run_id, StepMetrics(name, 1, 2.5, 1e-3, 1.0, 1.0, 100, 0.5, 0.5))
        log.record(each.run_id, Evaluation(name, 1, "Synthetic", 2.5, 100))
        log.record(each.run_id, Sample(name, 1, "Synthetic", name, name, name))
        log.record(each.run_id, Event("warning", f"{name} was warned.", name, 1))
        stats = {"steps": 1, "planned_steps": 1, "tokens": 100, "seconds": 1.0, "heldout_loss": {"Synthetic": 2.5}}
        artifacts = ModelArtifacts(
            model_id=each.model_id,
            model_name=name,
            phase_name=Phase.TRAINING,
            parameter_count=1000,
            created_at=utc_now(),
            training_status="completed",
            focus="Synthetic",
            training_mode="AdamW",
            datasets_used=["Synthetic"],
            training_stats=stats,
            grokfast_enabled=False,
            act_enabled=False,
            ltm_enabled=False,
            artifacts=written_artifacts(
                model_folder(TrainingConfig(output_dir=str(folder)), name, use_again=False), name
            ),
            capabilities=["text generation"],
        )
        log.add_model(each.run_id, artifacts, store.describe(artifacts.artifacts))
        why = f"{each.second}: It would not learn."
        log.set_status(
            each.run_id,
            RunStatus.COMPLETED_WITH_FAILURES,
            message=f"Some models failed. {why}",
            error=why,
            progress=1.0,
        )
        if name != HARMLESS:
            trash.put("run", name, home / "runs" / "was-deleted", {})  # whose files are gone, as can be
    log.close()
    return kept


def shown_names() -> list[str]:
    return accepted_names()[: times(10, len(NAMES))]


@pytest.fixture(scope="module")
def kept() -> list[Kept]:
    """What `studio` has in its data folder."""
    return []


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, kept: list[Kept]) -> Iterator[Studio]:
    """A studio whose newest runs have the first of the accepted names."""
    home = tmp_path_factory.mktemp("hostile") / "home"
    kept += fill(home, shown_names()[:10][::-1])  # reversed: Home shows the newest, which the first names shall be
    with running_studio(home, OMP_NUM_THREADS="1") as studio:
        yield studio


class Looker:
    """Looks at pages and keeps, for each name, what was wrong."""

    def __init__(self, page: Page, watch: Watch, url: str) -> None:
        self.page, self.watch, self.url = page, watch, url
        self.problems: dict[str, str] = {}

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}/{path}")
        self.settle()

    def settle(self) -> None:
        """Until the page is drawn, and the browser has put up what came last."""
        wait_until_idle(self.page)
        self.page.evaluate(NOTHING_NEW)

    def open_run(self, kept: Kept) -> None:
        """Monitor with this run: by the links that there are, which takes half as long as loading the page anew."""
        if urlsplit(self.page.url).path == "/models":
            self.page.get_by_role("link", name="Its run").click()
            self.page.wait_for_url("**/monitor?*")
            self.settle()
        link = self.link(f"run={kept.run_id}").first  # among the other runs
        if not link.count():  # that page is broken, which was told when it was looked at
            self.open(f"monitor?run={kept.run_id}")
            return
        link.evaluate("link => link.click()")  # the list is folded up
        self.page.locator(f".st-key-model-{kept.run_id}").wait_for()
        self.settle()

    @contextmanager
    def not_hanging(self, name: str) -> Iterator[None]:
        """What is waited for in vain is the loss of this name, not the end of the test."""
        try:
            yield
        except PlaywrightTimeout as error:
            self.wrong(name, f"waited in vain: {folded(str(error))[:200]!a}")

    def wrong(self, name: str, why: str) -> None:
        self.problems[name] = f"{self.problems[name]}; {why}" if name in self.problems else why

    def text(self, name: str, where: str, place: Locator, expected: str) -> None:
        """`place` shows `expected`, and nothing else."""
        try:
            expect(place).to_be_visible()
        except AssertionError:
            self.wrong(name, f"{where} is not there")
            return
        text = folded(place.inner_text())
        if text != folded(expected):
            self.wrong(name, f"{where} shows {brief(text)}")
        elif place.evaluate(WIDTH_OF_TEXT) < 2:
            self.wrong(name, f"{where} shows nothing that can be seen")

    def quiet(self, name: str, where: str) -> None:
        """Nothing ran or broke, nothing was asked for outside, no element came out of a name."""
        broken = self.page.get_by_test_id("stAlert").filter(has_text="Something unexpected went wrong")
        for alert in broken.all_inner_texts():
            self.wrong(name, f"{where} is broken: {folded(alert)}")
        for what in (*self.watch.taken(), *self.page.evaluate(STRANGE_ELEMENTS)):
            self.wrong(name, f"{where}: {what}")

    def link(self, query: str) -> Locator:
        """What stands in the link to another page with this query, without the page's icon."""
        link = self.page.locator(f"[data-testid=stPageLink-NavLink][href*='{query}']")
        return link.get_by_test_id("stMarkdownContainer")

    def home(self, kept: Sequence[Kept]) -> None:
        self.open("")
        for each in kept:
            self.text(each.name, "Home", self.link(f"run={each.run_id}"), each.name)
        self.quiet("on the whole", "Home")

    def trash(self, names: Sequence[str]) -> None:
        """The trash on Home, which is open, holds something of each name."""
        box = self.page.get_by_test_id("stExpander").filter(has_text=f"Trash ({len(names)})")
        box.locator("summary").click()
        shown = [folded(text) for text in box.get_by_test_id("stMarkdown").all_inner_texts()]
        for name in names:
            if folded(name) not in shown:
                self.wrong(name, "is not in the trash as typed")
        self.quiet("on the whole", "the trash")

    def monitor(self, kept: Kept) -> None:
        name, page = kept.name, self.page
        self.open_run(kept)
        self.text(name, "Monitor's title", page.locator("h1"), name)
        models = page.get_by_test_id("stButtonGroup").get_by_role("radio")
        for button, model in zip((models.first, models.nth(1)), (name, kept.second), strict=True):
            # Of an emoji alone, Streamlit makes the button's icon, and names it once more for who cannot see it.
            twice = folded(button.inner_text()) == folded(f"{model} {model}") and not model.isascii()
            self.text(name, "Monitor's choice of a model", button, f"{model} {model}" if twice else model)
        self.text(name, "Monitor's link to the model", self.link(f"model={kept.model_id}"), f"Try {name}")
        alerts = folded(" ".join(page.get_by_test_id("stAlert").all_inner_texts()))
        for expected in (f"{kept.second}: It would not learn.", f"{name} was warned."):
            if folded(expected) not in alerts:
                self.wrong(name, f"Monitor's alerts show {brief(alerts)}")
        samples = [folded(text) for text in page.get_by_test_id("stText").all_inner_texts()]
        if samples.count(folded(name)) < 2:
            self.wrong(name, f"Monitor's samples show {samples!a}")
        self.quiet(name, "Monitor")

    def other_runs(self, of: Kept, kept: Sequence[Kept]) -> None:
        """The list of all others below Monitor."""
        self.open(f"monitor?run={of.run_id}")
        self.page.get_by_text("Other runs").click()
        for each in kept:
            self.text(each.name, "Monitor's list of other runs", self.link(f"run={each.run_id}"), each.name)
        self.quiet("on the whole", "Monitor's list of other runs")

    def model(self, kept: Kept) -> None:
        """The model's page, by the link on Monitor."""
        name, page = kept.name, self.page
        self.link(f"model={kept.model_id}").click()
        page.wait_for_url(f"**/models?model={kept.model_id}")
        self.settle()
        self.text(name, "Models' heading", page.locator("h2").first, name)
        chosen = folded(self._chosen())
        if not re.fullmatch(re.escape(folded(name)) + TIME, chosen):
            self.wrong(name, f"Models' choice shows {brief(chosen)}")
        self.quiet(name, "Models")

    def choices(self, of: Kept, kept: Sequence[Kept]) -> None:
        """The open list of models on Models: each name that is in sight stands there as typed."""
        self.open(f"models?model={of.model_id}")
        self.page.get_by_test_id("stSelectbox").get_by_role("combobox").click()
        options = self.page.get_by_role("option")
        expect(options.first).to_be_visible()
        texts = [folded(text) for text in options.all_inner_texts()]
        for each in kept[: len(texts) - 1]:
            if not any(re.fullmatch(re.escape(folded(each.name)) + TIME, text) for text in texts):
                self.wrong(each.name, "is not among the choices of Models")
        self.page.keyboard.press("Escape")
        self.quiet("on the whole", "the choices of Models")

    def delete_and_keep(self, kept: Kept) -> None:
        """The question before a model is deleted, on its page."""
        self.page.get_by_role("button", name="Delete this model").click()
        dialog = self.page.get_by_role("dialog")
        sentence = folded(dialog.get_by_text("move to the trash").inner_text())
        if not sentence.startswith(folded(f"{kept.name} and its files")):
            self.wrong(kept.name, f"the question before it is deleted shows {brief(sentence)}")
        self.quiet(kept.name, "the question before it is deleted")
        dialog.get_by_role("button", name="Keep it").click()
        expect(dialog).to_have_count(0)

    def _chosen(self) -> str:
        box = self.page.get_by_test_id("stSelectbox")
        typed = box.get_by_role("combobox")
        return str(typed.input_value() or box.inner_text().removeprefix("Model").strip())


HTML = "<img src=x onerror=__pwned=1><a href=javascript:__pwned=1>x</a><img src=http://evil.example/>"


@pytest.mark.browser
def test_the_watch_sees_a_script_that_runs(watched: tuple[Page, Watch], studio: Studio, kept: list[Kept]) -> None:
    page, watch = watched
    page.goto(f"{studio.url}/models?model={kept[0].model_id}")
    wait_until_idle(page)
    assert (page.evaluate(STRANGE_ELEMENTS), watch.taken()) == ([], [])
    with page.expect_console_message(lambda message: MARKED in message.text):  # once the picture has failed
        page.evaluate(
            "html => document.querySelector('[data-testid=stApp]').insertAdjacentHTML('beforeend', html)", HTML
        )
    assert page.evaluate(STRANGE_ELEMENTS) == ["<img>", "<img>", "<img onerror>", "a link to javascript:__pwned=1"]
    assert watch.taken() == ["a request to http://evil.example/", MARKED]


@pytest.mark.browser
@pytest.mark.timeout(times(600, SOAK_SECONDS))
def test_names_are_shown_as_typed(
    chromium: Browser,
    studio: Studio,
    kept: list[Kept],
    watched: tuple[Page, Watch],
    tmp_path: Path,
    tally: Tally,
) -> None:
    page, watch = watched
    looker = Looker(page, watch, studio.url)

    def look_at(harmless: Kept, *named: Kept) -> None:
        newest_first = named[::-1]
        looker.home(newest_first[:HOME_SHOWS])
        looker.trash([each.name for each in named])
        looker.choices(harmless, newest_first)
        looker.other_runs(harmless, newest_first)
        for each in newest_first:
            with looker.not_hanging(each.name):
                looker.monitor(each)
                looker.model(each)
        with looker.not_hanging(newest_first[-1].name):
            looker.delete_and_keep(newest_first[-1])

    look_at(*kept)
    names = shown_names()
    for number in range(len(kept) - 1, len(names), HOME_SHOWS):
        more = fill(tmp_path / f"home-{number}", names[number : number + HOME_SHOWS])
        with running_studio(tmp_path / f"home-{number}", OMP_NUM_THREADS="1") as another:
            let_in(looker.page.context, another)
            looker.url = watch.own = another.url
            look_at(*more)
    report(tally, "on Home, Monitor and Models", names, looker.problems)


QUICK_RUN = "/new-run?preset=First+language+model&" + "&".join(
    f"first-run.{setting}"
    for setting in (
        "max_steps=2",
        "dataset_sources=Synthetic",
        "n_layers=1",
        "d_model=32",
        "vocab_size=400",
        "batch_size=2",
        "max_train_samples=60",
        "max_eval_samples=10",
        "act_enabled=false",
        "ltm_enabled=false",
    )
)


TOO_LONG = "x" * 10_000


def typed_names() -> list[str]:
    """Some that are taken and some that are refused."""
    taken = accepted_names()
    refused = [name for name in NAMES if name.strip() not in {*taken, TOO_LONG}]
    return [*taken[:3], refused[0], TOO_LONG, *taken[3:20], *refused[1:9]][: times(5, 30)]


def type_and_start(page: Page, studio: Studio, name: str) -> str:
    """Start a run from New run under this name; what stood in the field when Start was pressed."""
    if urlsplit(page.url).path == "/monitor":
        page.get_by_role("link", name="New run").click()  # what was typed there is kept
        page.wait_for_url("**/new-run*")
    else:
        page.goto(f"{studio.url}{QUICK_RUN}")
    field = page.get_by_role("textbox", name="Name")
    field.fill(name)
    typed = field.input_value()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_function("location.pathname === '/monitor' || document.querySelector('[data-testid=stAlert]')")
    wait_until_idle(page)
    return typed


@pytest.mark.browser
@pytest.mark.timeout(times(600, SOAK_SECONDS))
def test_names_typed_by_a_person(watched: tuple[Page, Watch], studio: Studio, tally: Tally) -> None:
    page, watch = watched
    looker = Looker(page, watch, studio.url)
    started = 0
    for name in typed_names():
        typed = type_and_start(page, studio, name.encode(errors="replace").decode())
        if urlsplit(page.url).path == "/monitor":
            started += 1
            looker.text(name, "Monitor's title", page.locator("h1"), typed)
        else:
            sentence = page.get_by_test_id("stAlert").first.inner_text().split("\n")[-1]
            if not is_sentence(sentence):
                looker.wrong(name, f"refused without a sentence: {brief(sentence)}")
        looker.settle()
        looker.quiet(name, "after Start")
    assert started >= 3, "hardly any name was taken"
    report(tally, "typed in New run", typed_names(), looker.problems)


# In addresses


PAGES = (
    "/monitor?run={name}",
    "/compare?runs={name}",
    "/models?model={name}",
    "/new-run?preset={name}&solve.d_model={name}",
)
ROUTES = (
    "/live?run={name}&model={name}&dark={name}&after={name}",
    "/live?runs={name}&smoothing={name}&scale={name}&along={name}",
    "/{name}",
)
LONGEST_ADDRESS = 60_000  # the server hangs up on longer ones
CHARTS = "/live?run={run}&model={name}&along={name}&after={name}"  # takes longer: the charts are drawn


def percent(name: str) -> str:
    return quote(name, safe="", errors="surrogatepass")


def without_root(page: bytes) -> bytes:
    """A page without its way to the root, of which nothing but the depth of its address is in it."""
    return re.sub(rb'new URL\("(\.|(\.\./)+)", location\)', b"", page)


@pytest.mark.browser
def test_names_in_addresses_asked_by_a_program(studio: Studio, kept: list[Kept], tally: Tally) -> None:
    """Never an error of the server, never the name given back as a page."""
    problems = dict[str, str]()
    page = without_root(asked(studio, "/").body)
    for number, name in enumerate(NAMES):
        pages = PAGES if SOAK else PAGES[number % len(PAGES) :][:1]
        charts = (CHARTS,) if number < times(40, len(NAMES)) else ()
        for address in (*pages, *ROUTES, *charts):
            path = address.format(name=percent(name), run=kept[0].run_id)
            try:
                answer = asked(studio, path)
            except ConnectionError as error:
                if len(path) < LONGEST_ADDRESS:
                    problems.setdefault(name, f"{address} gives {error}")
                continue
            if answer.status >= 500:
                problems.setdefault(name, f"{address} gives {answer.status}: {answer.body[:200]!a}")
            elif answer.kind.startswith("text/html") and without_root(answer.body) != page:
                problems.setdefault(name, f"{address} gives a page of its own: {answer.body[:200]!a}")
            elif urlsplit(answer.location).netloc not in ("", urlsplit(studio.url).netloc):
                problems.setdefault(name, f"{address} leads to {answer.location!a}")
            elif address == CHARTS and len(path) < LONGEST_ADDRESS and answer.status != 200:
                problems.setdefault(name, f"{address} gives {answer.status}")
    assert asked(studio, "/_stcore/health").status == 200
    report(tally, "in addresses", NAMES, problems)


class Answer(NamedTuple):
    status: int
    kind: str
    location: str
    body: bytes


def asked(studio: Studio, path: str) -> Answer:
    """What the studio answers. Each on a connection of its own: on an open one, TCP waits 40 ms before an answer."""
    connection = http.client.HTTPConnection(urlsplit(studio.url).netloc, timeout=LONG)
    try:
        connection.request("GET", path, headers=studio.shown)
        with connection.getresponse() as answer:
            kind, location = (answer.headers.get(header, "") for header in ("Content-Type", "Location"))
            return Answer(answer.status, kind, location, answer.read())
    finally:
        connection.close()


@pytest.mark.browser
@pytest.mark.timeout(times(600, SOAK_SECONDS))
def test_names_in_addresses_opened_by_a_browser(
    watched: tuple[Page, Watch], studio: Studio, kept: list[Kept], tally: Tally
) -> None:
    page, watch = watched
    looker = Looker(page, watch, studio.url)
    names = [name for name in NAMES if 0 < len(percent(name)) < 2000][: times(2, len(NAMES))]
    for name in names:
        for path, sentence in (
            ("monitor?run", "There is no run with this address. It may have been deleted."),
            ("compare?runs", "A run of this address is no longer here. It may have been deleted."),
            ("models?model", "The model of this address does not exist any more."),
        ):
            looker.open(f"{path}={percent(name)}")
            alert = page.get_by_test_id("stAlert").first.get_by_test_id("stMarkdownContainer")
            looker.text(name, path, alert, sentence)
            looker.quiet(name, path)
        if name != names[0] and not SOAK:
            continue  # the form takes seconds
        looker.open(f"new-run?preset={percent(name)}&solve.d_model={percent(name)}")
        expect(page.get_by_role("button", name="Start training")).to_be_visible()
        if not re.fullmatch(r"\s*0*\d+\s*", name):  # not a width either
            alerts = folded(" ".join(page.get_by_test_id("stAlert").all_inner_texts()))
            if "Width" not in alerts:
                looker.wrong(name, f"New run shows {brief(alerts)}")
        looker.quiet(name, "New run")
    report(tally, "in addresses in a browser", names, looker.problems)
