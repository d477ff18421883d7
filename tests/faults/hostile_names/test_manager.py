"""Hostile names through the RunManager, the trash and real training."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    ARTIFACT_FILES,
    ModelTrainer,
    ProgressCallback,
    RunStatus,
)
from cognate_core.errors import CognateError
from cognate_core.runs.execution import RunContext
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.names import MAX_MODELS, valid_name
from cognate_core.service import TrainingService
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.testing import MockDatasetLoader
from cognate_core.training.trainer import model_folder
from tests.faults.hostile import KINDS, NAMES
from tests.faults.hostile_names.naming import (
    DEVICES,
    HARMLESS,
    SOAK_SECONDS,
    accepted_names,
    brief,
    is_sentence,
    refusal,
    report,
    written_artifacts,
)
from tests.faults.times import Tally, times
from tests.waiting import LONG

pytestmark = pytest.mark.slow


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
    """Runs and models of hostile names are deleted and restored, whole and nothing else with them."""
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
            manager.restore(entry.id)
        check_ended(manager, ids, problems)
        for name, run_id in ids.items():
            if not files[name] or whole(deep_home / "runs" / run_id) != files[name]:
                problems.setdefault(name, "is not restored as it was")
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
