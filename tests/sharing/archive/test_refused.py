"""What is no run archive, or not what it says, is refused, and nothing of it stays."""

from __future__ import annotations

import dataclasses
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cognate_core.contracts import Evaluation, Event, LayerFigures, PonderHistogram, Record, Sample
from cognate_core.contracts.json_lines import record_to_json
from cognate_core.errors import CognateError, RunError, StorageError
from cognate_core.runs.manager import RunManager
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.sharing.archive import MANIFEST_FILE, open_archive
from tests.sharing.archive.archives import (
    Trained,
    assert_refused,
    change_rows,
    change_text,
    files_in,
    members_of,
    packed,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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
    assert_refused(here, packed(tmp_path / "x.zip", members, honest=False), "has the wrong size")
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
    assert_refused(here, path, "is not a plain file")
    path = packed(tmp_path / "x.zip", members)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("b/README.md", b"another")
    assert_refused(here, path, "have the same name")
    assert_refused(here, packed(tmp_path / "x.zip", {**members, "b/README.md": bytes(3_900_000)}), "than any run has")
    assert_refused(here, packed(tmp_path / "x.zip", {**members, "b/config.json": bytes(200_000)}), "too large")


def test_a_member_that_says_less_than_it_holds_is_cut_off(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {**members_of(trained.archive), "b/README.md": b"x" * 500_000})
    content = path.read_bytes()
    assert content.count((500_000).to_bytes(4, "little")) == 2
    (tmp_path / "y.zip").write_bytes(content.replace((500_000).to_bytes(4, "little"), (7).to_bytes(4, "little")))
    assert_refused(here, tmp_path / "y.zip")


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
    assert_refused(here, packed(tmp_path / "x.zip", members), match="vocabulary does not fit its settings")


def layers(**change: Any) -> LayerFigures:
    whole = LayerFigures("b", 1, ["layer 1"], [0.1], [0.5], [0.01], [[1] * 24])
    return dataclasses.replace(whole, **change)


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
        ("b/training_log.jsonl", log_line(layers(updates=[]))),
        ("b/training_log.jsonl", log_line(layers(gradients=[-1.0]))),
        ("b/training_log.jsonl", log_line(layers(weights=[1e300]))),
        ("b/training_log.jsonl", log_line(layers(magnitudes=[[1] * 25]))),
        ("b/training_log.jsonl", log_line(layers(magnitudes=[[-1] * 24]))),
        ("b/training_log.jsonl", log_line(layers(layers=[1]))),
        ("b/training_log.jsonl", log_line(layers()).replace(b"0.5", b"NaN")),
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


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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
