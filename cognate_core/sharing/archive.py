"""The run archive: one zip file with which another studio opens a run as if it had been trained there.

<name>.cognate.zip
    run.json             the rows of the run, its models and their files, without any folder of this computer
    <model>/...          each model's artifacts, without checkpoints
    archive.json        when, with what and where it was made, and the sha256 of each other member; written last

This module writes and opens it. archive_checks.py checks the content of a foreign run archive, and verification.py
whether a repeated run gave the same result.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import stat
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from cognate_core.config import TrainingConfig
from cognate_core.config.portable import portable_config, without_folders, without_places
from cognate_core.contracts import ARTIFACT_FILES, Event, RunStatus, utc_now
from cognate_core.errors import DISK_FULL, CognateError, DiskFull, RunError, StorageError, UnusableFile
from cognate_core.files import is_disk_full, require_space, sync_folder, write_durably
from cognate_core.runs.manager import RunManager
from cognate_core.runs.names import MAX_MODELS
from cognate_core.runs.recovery import RUN_FILE, fill_from_logs
from cognate_core.sharing.archive_checks import (
    MODEL_FOLDER,
    TABLES,
    ArchiveModel,
    Manifest,
    Member,
    bounded_json,
    checked_rows,
    largest_weights,
    require_sound_model,
)
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Row, Run

FORMAT = 1
"""A reader refuses a higher format: it could misread it."""

MANIFEST_FILE = "archive.json"
ENDING = ".cognate.zip"
CHUNK = 1 << 20
LEFT_SECONDS = 3600.0  # a written run archive older than this is no longer being sent
LARGEST = {  # bytes of a member; weights are bounded by the settings instead
    MANIFEST_FILE: 4_000_000,
    RUN_FILE: 16_000_000,
    ARTIFACT_FILES["config"]: 100_000,
    ARTIFACT_FILES["tokenizer"]: 64_000_000,
    ARTIFACT_FILES["training_config"]: 1_000_000,
    ARTIFACT_FILES["training_log"]: 8_000_000_000,
    ARTIFACT_FILES["model_card"]: 4_000_000,
}
MOST_SQUEEZED = 100  # a large member that unpacks to more than this many times its size is a bomb; logs reach about 20
SMALL_MEMBER = 1_000_000  # up to this size, any compression is allowed
_MEMBER_NAME = re.compile(rf"{MODEL_FOLDER}/(?:{'|'.join(map(re.escape, ARTIFACT_FILES.values()))})")
_opening = threading.Lock()  # one at a time, so that leftovers of an earlier try can be removed safely

Rows = dict[str, list[Row]]


# Writing


def write_archive(log: ProgressReader, store: ArtifactStore, run_id: str, target: Path) -> None:
    """Write the archive of a run to `target`, completely or not at all. The run is not changed.

    Raises:
        RunError: there is no such run, it is active or waiting, or it has no finished model.
        StorageError: one of its files is missing or damaged, or `target` cannot be written.
    """
    run = log.run(run_id)
    if not (run.status.is_terminal or run.status is RunStatus.PAUSED):
        raise RunError(
            f"The run has not ended ({run.status}). Pause it or wait for its end, then save its run archive."
        )
    if run.config_error:
        raise RunError(f"The settings of this run can no longer be read, so nobody could repeat it. {run.config_error}")
    files = {model.trained_as: log.artifacts(model.id) for model in reversed(log.models(run_id))}
    files = {name: rows for name, rows in files.items() if rows}
    if not files:
        raise RunError("The run has no finished model, so there is nothing to share.")
    if len(run.model_names) > MAX_MODELS:
        raise RunError(f"The run has {len(run.model_names)} models; a run archive holds at most {MAX_MODELS}.")
    for name, rows in files.items():
        if {row["kind"] for row in rows} != set(ARTIFACT_FILES):
            raise StorageError(f"Some files of {name} are missing, so the run archive cannot be written.")
    temporary = target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex}")
    try:
        require_space(target.parent, sum(row["bytes"] for rows in files.values() for row in rows), "this run archive")
        try:
            with temporary.open("xb") as file:
                with zipfile.ZipFile(file, "w") as archive:
                    _write_members(archive, log, store, run, files)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
    except OSError as error:
        raise _refused(error, f"The run archive {target.name} cannot be written") from error


def open_written_archive(manager: RunManager, run_id: str) -> BinaryIO:
    """The run archive as an open file, ready to send. Raises as `write_archive`, or StorageError."""
    folder = manager.home / "cache" / "archives"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for earlier in folder.iterdir():  # from a killed studio, or a system that cannot delete open files
            with suppress(OSError):
                if time.time() - earlier.stat().st_mtime > LEFT_SECONDS:
                    earlier.unlink()
        path = folder / f"{uuid.uuid4().hex}{ENDING}"
        write_archive(manager.log, manager.store, run_id, path)
        file = path.open("rb")
        with suppress(OSError):
            path.unlink()
        return file
    except OSError as error:
        raise _refused(error, "The run archive cannot be written") from error


def _write_members(
    archive: zipfile.ZipFile, log: ProgressReader, store: ArtifactStore, run: Run, files: Mapping[str, list[Row]]
) -> None:
    members: dict[str, Member] = {}
    models = []
    content_hash = run.data_report["content_hash"] if run.data_report else None
    for name, rows in files.items():
        folder = ""
        for row in rows:
            path = store.path(row["path"])
            folder = path.parent.name
            member = f"{folder}/{ARTIFACT_FILES[row['kind']]}"
            if row["kind"] == "training_config":
                config = TrainingConfig.from_toml(path.read_text(encoding="utf-8"))
                members[member] = _write(archive, member, portable_config(config).to_toml().encode())
                continue
            with path.open("rb") as file:
                members[member] = _write(archive, member, file, packed=row["kind"] != "weights")
            if row["kind"] in ("weights", "config", "tokenizer") and members[member].sha256 != row["sha256"]:
                raise StorageError(f"The file {path.name} of {name} is damaged: it has changed since training.")
        models.append(ArchiveModel(name=name, folder=folder, content_hash=content_hash))
    rows_as_json = json.dumps(_portable_rows(log.export_run(run.id), store.home, run.config), indent=1)
    members[RUN_FILE] = _write(archive, RUN_FILE, rows_as_json.encode())
    manifest = Manifest(
        format=FORMAT,
        made_at=utc_now(),
        versions={
            "cognate-studio": importlib.metadata.version("cognate-studio"),
            "torch": importlib.metadata.version("torch"),
            "python": platform.python_version(),
        },
        machine=_machine(),
        data=run.data_report,
        models=models,
        members=members,
    )
    _write(archive, MANIFEST_FILE, manifest.model_dump_json(indent=1).encode())


def _write(archive: zipfile.ZipFile, name: str, content: bytes | BinaryIO, *, packed: bool = True) -> Member:
    """Stream `content` into the archive, with a constant date; returns its size and hash."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    info.file_size = len(content) if isinstance(content, bytes) else os.fstat(content.fileno()).st_size
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    digest, size = hashlib.sha256(), 0
    chunks = iter([content]) if isinstance(content, bytes) else iter(lambda: content.read(CHUNK), b"")
    with archive.open(info, "w", force_zip64=info.file_size > zipfile.ZIP64_LIMIT // 2) as file:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    return Member(bytes=size, sha256=digest.hexdigest())


def _portable_rows(rows: Rows, home: Path, config: TrainingConfig) -> Rows:
    """The rows without folders of this computer, and without tracebacks, which are full of them."""

    def portable(value: Any) -> Any:
        return without_folders(value, home) if isinstance(value, str) else value

    of_run = {"folder": "", "error_details": None, "start_key": None, "queue_position": None}
    (run,) = rows["runs"]
    run |= {**of_run, "config": portable_config(config).model_dump_json()}
    return {table: [{name: portable(value) for name, value in row.items()} for row in rows[table]] for table in rows}


def _machine() -> dict[str, str | int]:
    """What the last bit of a sum depends on, without names of the computer or its users."""
    from cognate_core.training.hardware import compute_environment  # loads torch

    here = compute_environment()
    return {name: str(here[name]) for name in ("processor", "instructions")} | {"cores": os.cpu_count() or 1}


# Opening


def open_archive(manager: RunManager, path: Path) -> str:
    """Add the run from a run archive; returns its id. Nothing in the file is trusted, and a failure leaves nothing.

    Raises:
        RunError: the run is already here, or nothing can be changed here.
        UnusableFile: the file is not a complete run archive.
        StorageError: the disk fails.
    """
    if manager.read_only:
        raise RunError(manager.read_only)
    with _opening:
        for leftover in manager.home.glob("opening.tmp-*"):  # from a killed studio
            shutil.rmtree(leftover, ignore_errors=True)
        unpacked = manager.home / f"opening.tmp-{uuid.uuid4().hex}"
        try:
            manifest, rows = _unpack(path, unpacked, manager)
            return _take_up(manager, manifest, rows, unpacked)
        except CognateError:
            raise
        except OSError as error:
            raise _refused(error, "The run archive cannot be opened") from error
        except Exception as error:  # a foreign file can break any reader
            why = f"{type(error).__name__}: {error}"[:200]
            raise UnusableFile(f"This file is not a complete run archive ({why}). Ask for it again.") from error
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)


def _unpack(path: Path, folder: Path, manager: RunManager) -> tuple[Manifest, Rows]:
    """Unpack into `folder` and check sizes, hashes and rows; returns manifest and rows."""
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        infos = _checked_members(archive, os.fstat(file.fileno()).st_size)
        values = bounded_json(_read(archive, infos[MANIFEST_FILE]))
        if isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > FORMAT:
            raise UnusableFile("A newer Cognate Studio wrote this run archive. Update this one to open it.")
        manifest = Manifest.model_validate(values)
        wanted = {
            RUN_FILE,
            *(f"{model.folder}/{file}" for model in manifest.models for file in ARTIFACT_FILES.values()),
        }
        if not set(manifest.members) == wanted == set(infos) - {MANIFEST_FILE}:
            raise ValueError("its list and its files do not agree")
        for name, member in manifest.members.items():
            if infos[name].file_size != member.bytes:
                raise ValueError(f"{name} has the wrong size")
        folder.mkdir()
        rows = bounded_json(_extract(archive, infos[RUN_FILE], manifest.members[RUN_FILE], folder).read_bytes())
        rows, config = checked_rows(rows, manifest, {table: manager.log.columns(table) for table in TABLES})
        config = config.fitted(manifest.data)  # as its models are
        weights = largest_weights(config)
        for name, info in infos.items():
            if name.endswith(ARTIFACT_FILES["weights"]) and info.file_size > weights:
                raise ValueError(f"{name} is larger than a model with these settings")
        require_space(manager.home, sum(info.file_size for info in infos.values()), "this run archive")
        for model in manifest.models:
            (folder / model.folder).mkdir()
            for kind in ARTIFACT_FILES.values():
                name = f"{model.folder}/{kind}"
                _extract(archive, infos[name], manifest.members[name], folder)
            require_sound_model(folder / model.folder, model.name, config)
    return manifest, rows


def _checked_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name, checked before unpacking."""
    infos = archive.infolist()
    if len(infos) > MAX_MODELS * len(ARTIFACT_FILES) + 2:
        raise ValueError(f"it holds {len(infos)} files")
    if sum(info.compress_size for info in infos) > size:
        raise ValueError("its files overlap")
    for info in infos:
        name = info.filename
        if name not in (MANIFEST_FILE, RUN_FILE) and not _MEMBER_NAME.fullmatch(name):
            raise ValueError(f"it holds a file {name[:80]!r}")
        if info.orig_filename != name or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"{name} is not a plain file")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} has an unknown compression")
        if info.file_size > LARGEST.get(name.rpartition("/")[2], info.file_size):
            raise ValueError(f"{name} is too large")
        if info.file_size > max(SMALL_MEMBER, MOST_SQUEEZED * info.compress_size):
            raise ValueError(f"{name} unpacks to {info.file_size:,} bytes, more than any run has")
    by_name = {info.filename: info for info in infos}
    if len(by_name) != len(infos):
        raise ValueError("two of its files have the same name")
    if not {MANIFEST_FILE, RUN_FILE} <= set(by_name):
        raise ValueError(f"it has no {MANIFEST_FILE} and {RUN_FILE}")
    return by_name


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a member. Raises ValueError if its length is not the declared one."""
    size = 0
    with archive.open(info) as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            if size > info.file_size:
                raise ValueError(f"{info.filename} is longer than declared")
            yield chunk
    if size != info.file_size:
        raise ValueError(f"{info.filename} is shorter than declared")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    return b"".join(_chunks(archive, info))


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, member: Member, folder: Path) -> Path:
    """Write a member below `folder`. Its name was checked before."""
    target = folder / info.filename
    digest = hashlib.sha256()
    with target.open("xb") as file:
        for chunk in _chunks(archive, info):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != member.sha256:
        raise ValueError(f"{info.filename} was changed")
    return target


def _take_up(manager: RunManager, manifest: Manifest, rows: Rows, unpacked: Path) -> str:
    """Move the unpacked files into place and add the rows, or change nothing."""
    log = manager.log
    (run,) = rows["runs"]
    run_id: str = run["id"]
    here = log.export_run(run_id)
    if here["runs"] and _weights(here) == _weights(rows):
        raise RunError(f"This run is already here: {here['runs'][0]['name']}.")
    if log.is_taken("runs", run_id) or _folder(manager, run_id).exists():
        run_id = uuid.uuid4().hex[:12]  # another run has this id
    folder = _folder(manager, run_id)
    rows = _at_home(rows, manifest, run_id, folder, manager)
    config = TrainingConfig.from_values(json.loads(rows["runs"][0]["config"]))
    (unpacked / RUN_FILE).unlink()
    write_durably(unpacked / RUN_FILE, json.dumps(rows, indent=1).encode())  # from here on a crash leaves a whole run
    sync_folder(unpacked)
    folder.parent.mkdir(exist_ok=True)
    unpacked.rename(folder)
    try:
        sync_folder(folder.parent)
        log.import_rows(rows)
        log.record(run_id, Event("info", _origin(manifest, config)))
        fill_from_logs(log, folder)
        log.raise_refused(run_id)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        log.remove_run(run_id)
        raise
    return run_id


def _at_home(rows: Rows, manifest: Manifest, run_id: str, folder: Path, manager: RunManager) -> Rows:
    """The rows as if the run had been trained in this data folder with this id."""
    (run,) = rows["runs"]
    config = TrainingConfig.from_values(json.loads(run["config"]))
    config = without_places(config, str(folder))
    new_run = {**run, "id": run_id, "folder": str(folder), "config": config.model_dump_json()}
    new_run |= {"start_key": None, "queue_position": None}
    folders = {model.name: model.folder for model in manifest.models}
    models, artifacts = [], []
    for model in rows["models"]:
        taken = run_id != run["id"] or manager.log.is_taken("models", model["id"])
        model_id = uuid.uuid4().hex[:12] if taken else model["id"]
        place = folders[model["name"]]
        paths = {kind: str(folder / place / file) for kind, file in ARTIFACT_FILES.items()}
        details = {**json.loads(model["details"]), "model_id": model_id, "artifacts": paths}
        models.append({**model, "id": model_id, "run_id": run_id, "details": json.dumps(details)})
        for kind, file in ARTIFACT_FILES.items():
            member = manifest.members[f"{place}/{file}"]
            path = (folder / place / file).relative_to(manager.home).as_posix()
            artifacts.append({"model_id": model_id, "kind": kind, "path": path, **member.model_dump()})
    return {"runs": [new_run], "models": models, "artifacts": artifacts}


def _folder(manager: RunManager, run_id: str) -> Path:
    return manager.home / "runs" / run_id


def _weights(rows: Rows) -> dict[str, str]:
    """The hash of each model's weights."""
    names = {model["id"]: model["name"] for model in rows["models"]}
    return {names[row["model_id"]]: row["sha256"] for row in rows["artifacts"] if row["kind"] == "weights"}


def _origin(manifest: Manifest, config: TrainingConfig) -> str:
    versions, machine = manifest.versions, manifest.machine
    sentences = [
        f"This run comes from a run archive, made {manifest.made_at[:16].replace('T', ' ')} UTC with Cognate Studio "
        f"{versions['cognate-studio']}, torch {versions['torch']} and Python {versions['python']} on "
        f"{machine['processor']}, {machine['cores']} cores.",
        "A run archive contains no checkpoints.",
    ]
    if config.dataset_path:
        sentences.append(
            f"It was trained on its owner's file {config.dataset_path}, which the run archive does not contain either: "
            "to repeat the run, choose that file."
        )
    return " ".join(sentences)


def _refused(error: OSError, what: str) -> StorageError:
    return DiskFull(DISK_FULL) if is_disk_full(error) else StorageError(f"{what} ({error.strerror or error}).")
