"""A run archive: the same run in another studio, once, and nothing of this computer in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from cognate_core.contracts import ARTIFACT_FILES
from cognate_core.errors import RunError, StorageError
from cognate_core.inference.playground import Playground
from cognate_core.runs.manager import RunManager
from cognate_core.runs.recovery import RUN_FILE
from cognate_core.sharing.archive import open_archive, write_archive
from tests.sharing.archive.archives import (
    NAMES,
    Trained,
    assert_refused,
    copied,
    members_of,
    packed,
    without_ids,
)
from tests.surgery import change_database

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_is_the_same_in_another_studio(trained: Trained, here: RunManager) -> None:
    run_id = open_archive(here, trained.archive)
    assert run_id == trained.run_id
    there, run = trained.log.run(run_id), here.log.run(run_id)
    own = {"folder", "stored_config", "data_report"}
    for name in {field.name for field in dataclasses.fields(run)} - own:
        assert getattr(run, name) == getattr(there, name), name
    assert run.data_report == there.data_report
    assert run.config.model_copy(update={"output_dir": ""}) == there.config.model_copy(update={"output_dir": ""})
    assert Path(run.folder) == Path(run.config.output_dir) == here.home / "runs" / run_id
    for model in NAMES:
        for read in ("metrics", "evaluations", "samples", "ponder_histograms", "layer_figures"):
            rows = without_ids(getattr(here.log, read)(run_id), model)
            assert rows == without_ids(getattr(trained.log, read)(run_id), model), read
            assert rows
    (came, *_) = here.log.events(run_id)
    assert "This run comes from a run archive, made 2" in came["message"]
    assert "A run archive contains no checkpoints." in came["message"]


def test_its_models_open_and_write_the_same(trained: Trained, here: RunManager) -> None:
    run_id = open_archive(here, trained.archive)
    for original, model in zip(trained.log.models(run_id), here.log.models(run_id), strict=True):
        assert (model.id, model.name, model.parameter_count) == (original.id, original.name, original.parameter_count)
        folders = [Path(each.details["artifacts"]["weights"]).parent for each in (original, model)]
        assert folders[1].is_relative_to(here.home)
        written = [
            [piece.text for piece in Playground.from_folder(folder).stream("A bag", max_new_tokens=5)]
            for folder in folders
        ]
        assert written[0] == written[1]
        described = here.store.describe(model.details["artifacts"])
        assert [row | {"model_id": model.id} for row in described] == here.log.artifacts(model.id)


def test_it_can_be_deleted_restored_and_shared(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    run_id = open_archive(here, trained.archive)
    here.delete_model(here.log.models(run_id)[0].id)
    here.delete_run(run_id)
    assert here.log.runs() == []
    entry = next(entry for entry in here.trash.entries() if entry.kind == "run")
    here.restore(entry.id)
    assert len(here.log.models(run_id)) == 1
    write_archive(here.log, here.store, run_id, tmp_path / "again.zip")
    here.delete_run(run_id)
    again = open_archive(here, tmp_path / "again.zip")
    assert again != run_id, "that one lies in the trash, and can still be restored"
    here.restore(next(entry for entry in here.trash.entries() if entry.kind == "run").id)
    assert {run.id for run in here.log.runs()} == {run_id, again}
    assert len(here.log.models(run_id)) == 1


def test_a_crash_just_after_the_move_leaves_a_whole_run(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its rows were written: the next start takes the run up from its folder."""
    studio = RunManager(tmp_path / "here", executor="thread")

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr(studio.log, "import_rows", killed)
    monkeypatch.setattr(studio.log, "remove_run", lambda _: None)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(SystemExit):
        open_archive(studio, trained.archive)
    monkeypatch.undo()
    studio.close()
    studio = RunManager(tmp_path / "here", executor="thread")
    run_id = trained.run_id
    assert [run.id for run in studio.log.runs()] == [run_id]
    assert without_ids(studio.log.metrics(run_id), "b") == without_ids(trained.log.metrics(run_id), "b")
    studio.close()


def test_a_archive_tells_no_folder_of_the_computer(trained: Trained) -> None:
    for name, content in members_of(trained.archive).items():
        assert str(trained.home).encode() not in content, name
        assert str(Path.home()).encode() + b"/" not in content, name


def test_a_folder_that_a_message_names_is_taken_out(trained: Trained, tmp_path: Path) -> None:
    studio = copied(trained, tmp_path)
    said = f"{studio.home}/cache/x.jsonl is gone from {studio.home}. Half of 3/4{Path.home()}s stays."
    change_database(studio.log.path, "UPDATE runs SET message = ?, error_details = ?", [said, said])
    write_archive(studio.log, studio.store, trained.run_id, tmp_path / "x.zip")
    studio.close()
    (run,) = json.loads(members_of(tmp_path / "x.zip")[RUN_FILE])["runs"]
    assert run["message"] == f"cache/x.jsonl is gone from .... Half of 3/4{Path.home()}s stays."
    assert (run["error_details"], run["folder"], run["start_key"]) == (None, "", None)


def test_an_own_file_keeps_its_name_only_and_the_event_says_that_it_is_missing(
    trained: Trained, here: RunManager, tmp_path: Path
) -> None:
    members = members_of(trained.archive)
    rows = json.loads(members[RUN_FILE])
    (run,) = rows["runs"]
    run["config"] = json.dumps({**json.loads(run["config"]), "dataset_path": "/etc/secret/../passwd"})
    members[RUN_FILE] = json.dumps(rows).encode()
    run_id = open_archive(here, packed(tmp_path / "own.zip", members))
    assert here.log.run(run_id).config.dataset_path == "passwd"
    assert "passwd, which the run archive does not contain" in here.log.events(run_id)[0]["message"]


def test_the_same_run_is_not_taken_up_twice(trained: Trained, here: RunManager) -> None:
    open_archive(here, trained.archive)
    assert_refused(here, trained.archive, "This run is already here: first.", RunError)


def test_an_id_of_another_run_is_left_to_it(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    open_archive(here, trained.archive)
    members = members_of(trained.archive)
    other = json.loads(json.dumps(json.loads(members[RUN_FILE])))
    other["runs"][0]["name"] = "stranger"
    weights = next(name for name in members if name.endswith(ARTIFACT_FILES["weights"]))
    changed = bytearray(members[weights])
    changed[-1] ^= 1
    members[weights] = bytes(changed)
    digest = hashlib.sha256(changed).hexdigest()
    folder = weights.split("/")[0]
    for row in other["artifacts"]:
        if row["kind"] == "weights" and f"/{folder}/" in row["path"]:
            row["sha256"] = digest
    members[RUN_FILE] = json.dumps(other).encode()
    new_id = open_archive(here, packed(tmp_path / "other.zip", members))
    assert new_id != trained.run_id
    assert {run.id: run.name for run in here.log.runs()} == {trained.run_id: "first", new_id: "stranger"}
    ids = [model.id for model in here.log.models()]
    assert len(set(ids)) == 4
    for model in here.log.models(new_id):
        assert model.details["model_id"] == model.id
        assert f"/{new_id}/" in model.details["artifacts"]["weights"]
        assert Playground.from_folder(Path(model.details["artifacts"]["weights"]).parent)
    assert json.loads((here.home / "runs" / new_id / RUN_FILE).read_text())["runs"][0]["id"] == new_id
    here.delete_run(new_id)
    assert len(here.log.models(trained.run_id)) == 2


def test_what_has_no_archive_is_told_why(trained: Trained, tmp_path: Path, here: RunManager) -> None:
    target = tmp_path / "x.zip"
    with pytest.raises(RunError, match="There is no such run"):
        write_archive(trained.log, here.store, "gone", target)
    run_id = open_archive(here, trained.archive)
    for model in here.log.models(run_id):
        here.delete_model(model.id)
    with pytest.raises(RunError, match="no finished model"):
        write_archive(here.log, here.store, run_id, target)
    here.log.create_run("a" * 12, "waits", here.log.run(run_id).config, ["m"], tmp_path, None)
    with pytest.raises(RunError, match=r"has not ended \(queued\)"):
        write_archive(here.log, here.store, "a" * 12, target)
    assert not target.exists()


def test_a_damaged_model_is_not_shared(trained: Trained, tmp_path: Path, here: RunManager) -> None:
    run_id = open_archive(here, trained.archive)
    weights = Path(here.log.models(run_id)[0].details["artifacts"]["weights"])
    content = bytearray(weights.read_bytes())
    content[-5] ^= 4
    weights.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        write_archive(here.log, here.store, run_id, tmp_path / "x.zip")
    with pytest.raises(StorageError, match="cannot be written"):
        write_archive(here.log, here.store, run_id, tmp_path / "no folder" / "x.zip")
    assert list(tmp_path.glob("x.zip*")) == []
