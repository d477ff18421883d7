"""The run archive: what is written opens elsewhere as the very same run, and nothing else opens at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.contracts import ARTIFACT_FILES, Evaluation, Event, PonderHistogram, Record, RunStatus, Sample
from cognate_core.contracts.json_lines import record_to_json
from cognate_core.errors import CognateError, ConfigError, RunError, StorageError
from cognate_core.inference.playground import Playground
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.runs.recovery import RUN_FILE
from cognate_core.sharing.archive import MANIFEST_FILE, open_archive, write_archive
from cognate_core.sharing.verification import Verification, compare_runs
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Row
from tests.surgery import change_database
from tests.waiting import LONG

pytestmark = pytest.mark.usefixtures("one_thread")

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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Trained:
    home = tmp_path_factory.mktemp("there") / "home"
    config = TrainingConfig(
        dataset_sources=["Synthetic"],
        max_train_samples=60,
        max_eval_samples=10,
        train_seq_len=128,
        max_seq_len=128,
        d_model=16,
        n_layers=2,
        d_mem=16,
        mem_segment=32,
        mem_writes=4,
        max_act_steps=4,
        n_heads=2,
        vocab_size=3000,  # more than its text makes
        max_steps=3,
        batch_size=2,
        gradient_accumulation_steps=1,
        eval_interval=2,
        sample_tokens=4,
        precision="fp32",
    )
    studio = RunManager(home, executor="thread")
    variants = {
        "first": ({}, NAMES),
        "again": ({}, NAMES),
        "other seed": ({"seed": 7}, NAMES),
        "other data": ({"max_train_samples": 50}, NAMES[:1]),
    }
    runs = {name: studio.start(config.with_overrides(more), name, models) for name, (more, models) in variants.items()}
    for run_id in runs.values():
        assert studio.wait(run_id, LONG)
        assert studio.log.run(run_id).status is RunStatus.COMPLETED, studio.log.run(run_id).error
    target = home.parent / "first.cognate.zip"
    write_archive(studio.log, studio.store, runs["first"], target)
    studio.close()
    return Trained(home, runs["first"], runs, target)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[RunManager]:
    """Another studio, with nothing in it."""
    studio = RunManager(tmp_path / "here", executor="thread")
    yield studio
    studio.close()


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


# There and here


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
        for read in ("metrics", "evaluations", "samples", "ponder_histograms"):
            rows = without_ids(getattr(here.log, read)(run_id), model)
            assert rows == without_ids(getattr(trained.log, read)(run_id), model), read
            assert rows
    (came, *_) = here.log.events(run_id)
    assert "This run came in a run archive, made 2" in came["message"]
    assert "Its checkpoints are not in a run archive." in came["message"]


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


def test_it_can_be_deleted_put_back_and_handed_on(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    run_id = open_archive(here, trained.archive)
    here.delete_model(here.log.models(run_id)[0].id)
    here.delete_run(run_id)
    assert here.log.runs() == []
    entry = next(entry for entry in here.trash.entries() if entry.kind == "run")
    here.put_back(entry.id)
    assert len(here.log.models(run_id)) == 1
    write_archive(here.log, here.store, run_id, tmp_path / "again.zip")
    here.delete_run(run_id)
    again = open_archive(here, tmp_path / "again.zip")
    assert again != run_id, "that one lies in the trash, and can still be put back"
    here.put_back(next(entry for entry in here.trash.entries() if entry.kind == "run").id)
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
    assert "passwd, which is not in the run archive" in here.log.events(run_id)[0]["message"]


# Twice


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


# What is refused to be written


def test_what_has_no_archive_is_told_why(trained: Trained, tmp_path: Path, here: RunManager) -> None:
    target = tmp_path / "x.zip"
    with pytest.raises(RunError, match="There is no run"):
        write_archive(trained.log, here.store, "gone", target)
    run_id = open_archive(here, trained.archive)
    for model in here.log.models(run_id):
        here.delete_model(model.id)
    with pytest.raises(RunError, match="no finished model"):
        write_archive(here.log, here.store, run_id, target)
    here.log.create_run("a" * 12, "waits", here.log.run(run_id).config, ["m"], tmp_path, None)
    with pytest.raises(RunError, match=r"going on \(queued\)"):
        write_archive(here.log, here.store, "a" * 12, target)
    assert not target.exists()


def test_a_damaged_model_is_not_handed_on(trained: Trained, tmp_path: Path, here: RunManager) -> None:
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


# What is refused to be opened


def test_a_studio_that_only_looks_takes_nothing_up(trained: Trained) -> None:
    with pytest.raises(RunError, match="already running"):
        open_archive(ReadOnlyManager(trained.home), trained.archive)


@pytest.mark.parametrize(
    "content", [b"", b"no zip at all", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "no member"]
)
def test_what_is_no_archive_is_refused(here: RunManager, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    assert_refused(here, tmp_path / "x.zip", "is not a complete run archive", StorageError)


def test_a_folder_or_nothing_is_refused(here: RunManager, tmp_path: Path) -> None:
    assert_refused(here, tmp_path, "cannot be opened", StorageError)
    assert_refused(here, tmp_path / "gone.zip", "No such file", StorageError)


def test_a_file_that_was_cut_off_is_refused(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    content = trained.archive.read_bytes()
    for share in (0.2, 0.9, 0.999):
        (tmp_path / "x.zip").write_bytes(content[: int(len(content) * share)])
        assert_refused(here, tmp_path / "x.zip", "is not a complete run archive")


def test_a_flipped_bit_in_any_member_is_noticed(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    content = trained.archive.read_bytes()
    with zipfile.ZipFile(trained.archive) as archive:
        infos = archive.infolist()
    for info in infos:
        place = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        (tmp_path / "x.zip").write_bytes(flipped)
        assert_refused(here, tmp_path / "x.zip")


@pytest.mark.parametrize("name", ["run.json", "b/model.safetensors", "b/tokenizer.json", "b/training_log.jsonl"])
def test_a_member_that_is_not_what_the_list_says_is_refused(
    trained: Trained, here: RunManager, tmp_path: Path, name: str
) -> None:
    members = members_of(trained.archive)
    members[name] = members[name][:-1] + b" "
    assert_refused(here, packed(tmp_path / "x.zip", members, honest=False), "was changed")
    members[name] += b" "
    assert_refused(here, packed(tmp_path / "x.zip", members, honest=False), "not the size")
    del members[name]
    assert_refused(here, packed(tmp_path / "x.zip", members))


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "/etc/evil.txt",
        "b/../../evil.txt",
        "b\\..\\evil.txt",
        "C:/evil.txt",
        "b/evil.py",
        "B/model.safetensors",
        "b/",
        "c/b/config.json",
        ".hidden/config.json",
        "b/config.json\0.txt",
    ],
)
def test_a_member_of_another_name_is_refused(trained: Trained, here: RunManager, tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "x.zip", members_of(trained.archive))
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"evil")
    assert_refused(here, path)
    assert not (tmp_path / "evil.txt").exists()


def test_a_link_a_second_file_of_one_name_and_a_bomb_are_refused(
    trained: Trained, here: RunManager, tmp_path: Path
) -> None:
    members = members_of(trained.archive)
    path = packed(tmp_path / "x.zip", {name: c for name, c in members.items() if name != "b/README.md"})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("b/README.md")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, b"/etc/passwd")
    assert_refused(here, path, "no plain file")
    path = packed(tmp_path / "x.zip", members)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("b/README.md", b"another")
    assert_refused(here, path, "two files of one name")
    assert_refused(here, packed(tmp_path / "x.zip", {**members, "b/README.md": bytes(3_900_000)}), "which no run gives")
    assert_refused(here, packed(tmp_path / "x.zip", {**members, "b/config.json": bytes(200_000)}), "too large")


def test_a_member_that_says_less_than_it_holds_is_cut_off(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {**members_of(trained.archive), "b/README.md": b"x" * 500_000})
    content = path.read_bytes()
    assert content.count((500_000).to_bytes(4, "little")) == 2
    (tmp_path / "y.zip").write_bytes(content.replace((500_000).to_bytes(4, "little"), (7).to_bytes(4, "little")))
    assert_refused(here, tmp_path / "y.zip")


def change_rows(members: Members, change: Callable[[dict[str, Any]], object]) -> Members:
    rows = json.loads(members[RUN_FILE])
    change(rows)
    return {**members, RUN_FILE: json.dumps(rows).encode()}


def change_text(rows: dict[str, Any], table: str, column: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON that a column holds."""
    values = json.loads(rows[table][0][column])
    change(values)
    rows[table][0][column] = json.dumps(values)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows["runs"][0].update(id="../../evil"),
        lambda rows: rows["runs"][0].update(id="x" * 12),
        lambda rows: rows["runs"][0].update(status="queued"),
        lambda rows: rows["runs"][0].update(status="training"),
        lambda rows: rows["runs"][0].update(status="new"),
        lambda rows: rows["runs"][0].update(progress=1e300),
        lambda rows: rows["runs"][0].update(progress="much"),
        lambda rows: rows["runs"][0].update(step=-1),
        lambda rows: rows["runs"][0].update(step=10**30),
        lambda rows: rows["runs"][0].update(name="\u202eevil"),
        lambda rows: rows["runs"][0].update(name=["x"]),
        lambda rows: rows["runs"][0].update(created_at="yesterday"),
        lambda rows: rows["runs"][0].update(finished_at="2026-01-01T00:00:00"),
        lambda rows: rows["runs"][0].update(message=None),
        lambda rows: rows["runs"][0].update(message="\ud800"),
        lambda rows: rows["runs"][0].update(config="[]"),
        lambda rows: rows["runs"][0].update(model_names='["b", "b"]'),
        lambda rows: rows["runs"][0].update(model_names='["other"]'),
        lambda rows: rows["runs"].append(rows["runs"][0]),
        lambda rows: rows["runs"].clear(),
        lambda rows: rows["models"].pop(),
        lambda rows: rows["models"].append(rows["models"][0]),
        lambda rows: rows["models"][0].update(run_id="b" * 12),
        lambda rows: rows["models"][0].update(details="[[" * 100_000),
        lambda rows: rows["artifacts"][0].update(sha256="0" * 64),
        lambda rows: rows["artifacts"][0].update(kind="other"),
        lambda rows: rows.clear(),
        lambda rows: change_text(rows, "runs", "config", lambda config: config.update(max_stops=3)),
        lambda rows: change_text(rows, "runs", "config", lambda config: config.update(d_model=32)),
        lambda rows: change_text(rows, "runs", "config", lambda config: config.update(vocab_size=300)),
        lambda rows: change_text(rows, "runs", "data_report", lambda report: report.update(vocabulary="many")),
        lambda rows: change_text(rows, "models", "details", lambda details: details.pop("training_stats")),
        lambda rows: change_text(
            rows, "models", "details", lambda details: details["training_stats"].update(heldout_loss={"a": "b"})
        ),
    ],
)
def test_rows_that_no_run_has_are_refused(
    trained: Trained, here: RunManager, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    members = change_rows(members_of(trained.archive), change)
    assert_refused(here, packed(tmp_path / "x.zip", members))


def test_a_vocabulary_larger_than_was_asked_for_is_refused(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    """Else weights of any size could be those of the model."""
    members = members_of(trained.archive)
    manifest = json.loads(members[MANIFEST_FILE])
    manifest["data"]["vocabulary"] = 10**9
    members[MANIFEST_FILE] = json.dumps(manifest).encode()
    members = change_rows(
        members,
        lambda rows: change_text(rows, "runs", "data_report", lambda report: report.update(vocabulary=10**9)),
    )
    assert_refused(here, packed(tmp_path / "x.zip", members), match="vocabulary is none that was asked for")


def log_line(record: Record) -> bytes:
    return json.dumps(record_to_json(record)).encode() + b"\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b/config.json", b"{}"),
        ("b/config.json", b"[" * 90_000),
        ("b/tokenizer.json", b"{}"),
        ("b/tokenizer.json", b'{"model": {"type": "Unigram"}}'),
        ("b/training_config.toml", b"max_steps = -1"),
        ("b/README.md", b"\xff\xfe"),
        ("b/model.safetensors", b""),
        ("b/model.safetensors", (2**62).to_bytes(8, "little") + b"{}"),
        ("b/model.safetensors", (2).to_bytes(8, "little") + b"{}"),
        ("b/model.safetensors", b"\x80\x04cos\nsystem\n"),
        ("b/training_log.jsonl", log_line(Sample("other", 1, "", "", "", ""))),
        ("b/training_log.jsonl", log_line(Sample("b", -1, "", "", "", ""))),
        ("b/training_log.jsonl", log_line(Sample("b", 1, {}, "", "", ""))),  # type: ignore[arg-type]
        ("b/training_log.jsonl", log_line(PonderHistogram("b", 1, [1] * 100_000))),
        ("b/training_log.jsonl", log_line(PonderHistogram("b", 1, [10**30]))),
        ("b/training_log.jsonl", log_line(Evaluation("b", 1, "GSM8K", 3.0, 9, weight=-0.5))),
        ("b/training_log.jsonl", log_line(Evaluation("b", 1, "GSM8K", 3.0, 9, bytes=-1))),
        ("b/training_log.jsonl", log_line(Event("info", "", "b", created_at="soon"))),
        ("b/training_log.jsonl", b"[" * 100_000),
        (MANIFEST_FILE, b"[]"),
        (MANIFEST_FILE, b"{}"),
    ],
)
def test_a_member_that_no_run_has_is_refused(
    trained: Trained, here: RunManager, tmp_path: Path, name: str, content: bytes
) -> None:
    members = {**members_of(trained.archive), name: content}
    if name == MANIFEST_FILE:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for member, value in members.items():
                archive.writestr(member, value)
        assert_refused(here, tmp_path / "x.zip")
    else:
        assert_refused(here, packed(tmp_path / "x.zip", members))


def test_a_newer_format_is_named_and_a_newer_column_left_out(
    trained: Trained, here: RunManager, tmp_path: Path
) -> None:
    members = members_of(trained.archive)
    newer = json.dumps({**json.loads(members[MANIFEST_FILE]), "format": 2}).encode()
    assert_refused(here, packed(tmp_path / "x.zip", {**members, MANIFEST_FILE: newer}), "newer Cognate Studio")
    members = change_rows(members, lambda rows: rows["runs"][0].update(mood="good", parent_run_id="not here"))
    assert here.log.run(open_archive(here, packed(tmp_path / "x.zip", members))).name == "first"


def test_when_the_rows_cannot_be_written_nothing_remains(
    trained: Trained, here: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("The database refused.")

    for step in ("import_rows", "fill_gaps"):
        with monkeypatch.context() as patch:
            patch.setattr(here.log, step, full)
            assert_refused(here, trained.archive, "The database refused.")
    assert open_archive(here, trained.archive) == trained.run_id


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255), st.booleans()), min_size=1, max_size=8))
def test_no_change_of_its_bytes_leaves_anything_half(
    trained: Trained, here: RunManager, tmp_path: Path, changes: list[tuple[float, int, bool]]
) -> None:
    content = bytearray(trained.archive.read_bytes())
    for place, value, near_the_end in changes:  # at the end stands what is where
        start = max(0, len(content) - 2000) if near_the_end else 0
        content[min(len(content) - 1, start + int(place * (len(content) - start)))] = value
    (tmp_path / "x.zip").write_bytes(content)
    files = files_in(here.home)
    try:
        run_id = open_archive(here, tmp_path / "x.zip")
    except CognateError:
        assert here.log.runs() == []
    else:
        assert len(here.log.metrics(run_id)) == 6
        here.delete_run(run_id)
        for entry in here.trash.entries():
            here.remove_for_good(entry.id)
    assert files_in(here.home) - files <= {"runs", "trash"}


# Repeated runs


def verdict(trained: Trained, name: str) -> Verification:
    return compare_runs(trained.log, ArtifactStore(trained.home), trained.run_id, trained.runs[name])


def test_the_same_seed_on_the_same_computer_gives_the_same_bits(trained: Trained) -> None:
    found = verdict(trained, "again")
    assert (found.verdict, found.same_data, found.other_settings) == ("identical", True, ())
    for model in found.models:
        assert (model.steps, model.largest_difference, model.first_differing_step) == (3, 0.0, None)
        assert (model.identical_losses, model.same_weights, model.largest_heldout_difference) == (True, True, 0.0)


def test_another_seed_is_different(trained: Trained) -> None:
    found = verdict(trained, "other seed")
    assert (found.verdict, found.same_data, found.other_settings) == ("different", True, ("seed",))
    assert "Seed" in found.reason
    losses = [
        [row["loss"] for row in trained.log.metrics(run_id) if row["model_name"] == NAMES[0]]
        for run_id in (trained.run_id, trained.runs["other seed"])
    ]
    (first, _) = found.models
    assert first.largest_difference == max(abs(one - other) for one, other in zip(*losses, strict=True)) > 1e-3
    assert (first.first_differing_step, first.same_weights) == (1, False)


def test_other_data_cannot_be_compared(trained: Trained) -> None:
    found = verdict(trained, "other data")
    assert (found.verdict, found.same_data) == ("cannot be compared", False)
    assert "other text" in found.reason


def test_of_each_model_its_own_losses_alone_are_read(trained: Trained) -> None:
    read: list[int] = []

    class Reader(ProgressReader):
        def metrics(self, run_id: str, after_id: int = 0) -> list[Row]:
            raise AssertionError("the rows of all models are read")

        def evaluations(self, run_id: str, after_id: int = 0, *, model_name: str | None = None) -> list[Row]:
            rows = super().evaluations(run_id, after_id, model_name=model_name)
            read.append(len({row["model_name"] for row in rows}))
            return rows

    store, ids = ArtifactStore(trained.home), (trained.run_id, trained.runs["again"])
    assert compare_runs(Reader(trained.log.path), store, *ids) == verdict(trained, "again")
    assert read == [1] * 2 * len(NAMES)


def copied(trained: Trained, tmp_path: Path) -> RunManager:
    shutil.copytree(trained.home, tmp_path / "copy")
    return RunManager(tmp_path / "copy", executor="thread")


def test_rounding_an_end_that_is_missing_and_weights_that_are_gone(trained: Trained, tmp_path: Path) -> None:
    studio = copied(trained, tmp_path)
    try:
        ids = trained.run_id, trained.runs["again"]

        def shifted(by: float) -> str:
            write = "UPDATE metrics SET loss = loss + ? WHERE run_id = ? AND step = 2"
            change_database(studio.log.path, write, [by, ids[1]])
            return compare_runs(studio.log, studio.store, *ids).verdict

        assert shifted(1e-6) == "same within rounding"
        assert compare_runs(studio.log, studio.store, *ids).models[0].first_differing_step == 2
        assert shifted(0.01) == "different"
        assert shifted(-0.01) == "same within rounding"
        change_database(studio.log.path, "DELETE FROM metrics WHERE run_id = ? AND step = 3", [ids[1]])
        found = compare_runs(studio.log, studio.store, *ids)
        assert (found.verdict, found.models[0].steps) == ("cannot be compared", 2)
        assert "went on for longer" in found.reason
        studio.delete_model(studio.log.models(ids[0])[0].id)
        assert [model.same_weights for model in compare_runs(studio.log, studio.store, *ids).models].count(None) == 1
        write = "UPDATE runs SET status = 'crashed' WHERE id = ?"
        change_database(studio.log.path, write, [ids[1]])
        found = compare_runs(studio.log, studio.store, *ids)
        assert (found.verdict, found.reason) == (
            "cannot be compared",
            "again did not come to its end: it is crashed.",
        )
    finally:
        studio.close()
    with pytest.raises(RunError, match="There is no run"):
        compare_runs(trained.log, studio.store, trained.run_id, "gone")


def test_settings_that_cannot_be_read_are_told_by_name(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    members = change_rows(
        members_of(trained.archive),
        lambda rows: change_text(rows, "runs", "config", lambda config: config.update(max_stops=3)),
    )
    assert_refused(here, packed(tmp_path / "x.zip", members), "no setting called 'max_stops'", ConfigError)
