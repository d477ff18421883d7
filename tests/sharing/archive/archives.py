"""A trained run, its archive, and archives that were tampered with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cognate_core.errors import CognateError
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.recovery import RUN_FILE
from cognate_core.sharing.archive import MANIFEST_FILE, open_archive
from cognate_core.storage.progress_reader import ProgressReader

NAMES = ["small *one*", "b"]


Members = dict[str, bytes]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A studio in which runs were really trained, closed again, and the run archive of one of them."""

    home: Path
    run_id: str
    runs: dict[str, str]  # name -> id, of runs with another seed, other data, and the same once more
    archive: Path

    @property
    def log(self) -> ProgressReader:
        return ProgressReader(database_path(self.home))


def without_ids(rows: list[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    """The rows of a model, without the number that the database gave each."""
    return [{key: value for key, value in row.items() if key != "id"} for row in rows if row["model_name"] == model]


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(path: Path, members: Members, *, honest: bool = True) -> Path:
    """A run archive of these members, with their true sizes and hashes in its list if it is `honest`."""
    manifest = json.loads(members[MANIFEST_FILE])
    if honest:
        manifest["members"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in members.items()
            if name != MANIFEST_FILE
        }
    members = {**members, MANIFEST_FILE: json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def files_in(home: Path) -> set[str]:
    """All that lies there but what the studio itself keeps open."""
    own = ("studio.sqlite", "owner.lock", "reserve")
    return {str(path.relative_to(home)) for path in home.rglob("*") if not path.name.startswith(own)}


def assert_refused(studio: RunManager, path: Path, match: str = ".", kind: type[CognateError] = CognateError) -> None:
    """It cannot be opened, that is said in a sentence, and nothing of it remains."""
    files, runs = files_in(studio.home), studio.log.runs()
    with pytest.raises(kind, match=match) as refusal:
        open_archive(studio, path)
    assert "Traceback" not in str(refusal.value)
    assert files_in(studio.home) - files <= {"runs"}
    assert studio.log.runs() == runs


def change_rows(members: Members, change: Callable[[dict[str, Any]], object]) -> Members:
    rows = json.loads(members[RUN_FILE])
    change(rows)
    return {**members, RUN_FILE: json.dumps(rows).encode()}


def change_text(rows: dict[str, Any], table: str, column: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON that a column holds."""
    values = json.loads(rows[table][0][column])
    change(values)
    rows[table][0][column] = json.dumps(values)


def copied(trained: Trained, tmp_path: Path) -> RunManager:
    shutil.copytree(trained.home, tmp_path / "copy")
    return RunManager(tmp_path / "copy", executor="thread")
