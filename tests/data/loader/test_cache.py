"""The same data is prepared once; what is broken off leaves nothing half done."""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from cognate_core.data import loader as loader_module
from cognate_core.data.loader import CACHED_PREPARATIONS, remove_overlap
from cognate_core.data.prepared import MANIFEST, PreparedData, write_prepared
from cognate_core.data.sources import synthetic_source
from cognate_core.errors import CancelRequested, DataError
from tests.data.loader.prepared import SMALL, gsm8k_row, no_tokenizer_training, prepare, texts_in, write_rows


def test_the_same_data_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(SMALL, tmp_path)
    monkeypatch.setattr(loader_module, "train_tokenizer", no_tokenizer_training)
    second = prepare(SMALL, tmp_path)
    assert second.folder == first.folder
    assert second.report == dataclasses.replace(first.report, from_cache=True)
    assert "Reusing the same data, prepared earlier" in second.told


@pytest.mark.parametrize(
    "change",
    [
        {"mixture_weights": {"Synthetic": 2.0}},
        {"seed": 7, "max_steps": 9, "learning_rate": 0.5, "grokfast_enabled": False},
        {"d_model": 32, "n_layers": 2, "max_seq_len": 512},
    ],
)
def test_settings_of_model_and_training_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    first = prepare(SMALL, tmp_path)
    monkeypatch.setattr(loader_module, "train_tokenizer", no_tokenizer_training)
    assert prepare(SMALL.with_overrides(change), tmp_path).folder == first.folder


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": 401},
        {"train_seq_len": 255},
        {"loss_on_answer_only": True},
        {"long_rows": "cut"},
        {"max_train_samples": 41},
        {"max_eval_samples": 9},
    ],
)
def test_what_changes_the_data_is_prepared_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    first, second = prepare(SMALL, tmp_path), prepare(SMALL.with_overrides(change), tmp_path)
    assert second.folder != first.folder
    assert not second.report.from_cache
    assert (first.folder / MANIFEST).is_file()


def test_a_newer_setting_at_its_default_leaves_the_names_of_existing_data_alone(tmp_path: Path) -> None:
    source = synthetic_source(SMALL)
    remove_overlap(source)
    before = [4, tokenizers.__version__, SMALL.vocab_size, SMALL.train_seq_len, SMALL.loss_on_answer_only]
    told = [before, ["Synthetic", source.skipped]]
    told += [[[each.prompt, each.answer] for each in documents] for documents in (source.train, source.heldout)]
    name = hashlib.sha256("".join(map(json.dumps, told)).encode()).hexdigest()[:32]
    assert prepare(SMALL, tmp_path).folder.name == name


def test_changed_rows_are_prepared_anew(local: Path, tmp_path: Path) -> None:
    config = SMALL.with_overrides({"dataset_sources": ["GSM8K"]})
    first = prepare(config, tmp_path / "cache")
    write_rows(local / "gsm8k/main/train.jsonl", map(gsm8k_row, range(1, 31)))
    assert prepare(config, tmp_path / "cache").folder != first.folder


def test_from_the_cache_come_the_datasets_missing_this_time(local: Path, tmp_path: Path) -> None:
    prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K"]}), tmp_path / "cache")
    second = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K", "SVAMP"]}), tmp_path / "cache")
    assert second.report.from_cache
    assert [(source.name, source.loaded) for source in second.report.sources] == [("GSM8K", True), ("SVAMP", False)]


def test_from_the_cache_comes_nothing_that_was_missing_only_last_time(local: Path, tmp_path: Path) -> None:
    alone = SMALL.with_overrides({"dataset_sources": ["GSM8K"]})
    with_svamp = SMALL.with_overrides({"dataset_sources": ["GSM8K", "SVAMP"]})
    names = [
        [source.name for source in prepare(config, tmp_path / "cache").report.sources]
        for config in (with_svamp, with_svamp, alone, with_svamp)
    ]
    assert names == [["GSM8K", "SVAMP"], ["GSM8K", "SVAMP"], ["GSM8K"], ["GSM8K", "SVAMP"]]


def test_a_renamed_own_file_is_reported_under_its_new_name(tmp_path: Path) -> None:
    old = write_rows(tmp_path / "old.jsonl", ({"text": f"row {n}"} for n in range(40)))
    prepare(SMALL.with_overrides({"dataset_path": str(old)}), tmp_path / "cache")
    new = old.rename(tmp_path / "new.jsonl")
    config = SMALL.with_overrides({"dataset_path": str(new)})
    cached, fresh = prepare(config, tmp_path / "cache"), prepare(config, tmp_path / "another cache")
    assert cached.report.from_cache
    assert cached.report == dataclasses.replace(fresh.report, from_cache=True)


@pytest.mark.parametrize("damage", ["manifest cut", "manifest gone", "bit flipped", "tokens cut", "old layout"])
def test_starting_again_mends_a_damaged_preparation(tmp_path: Path, damage: str) -> None:
    # PreparedData says of such a folder "Start the run again": that must help
    first = prepare(SMALL, tmp_path)
    manifest = first.folder / MANIFEST
    if damage == "manifest cut":
        manifest.write_bytes(manifest.read_bytes()[:50])
    elif damage == "manifest gone":
        manifest.unlink()
    elif damage == "old layout":
        values = json.loads(manifest.read_text("utf-8"))
        del values["sha256"], values["own_sha256"]
        manifest.write_text(json.dumps({**values, "sizes": {}}), "utf-8")
    else:
        tokens = first.folder / "0-train-tokens.npy"
        content = bytearray(tokens.read_bytes())
        content[len(content) // 2] ^= 1
        tokens.write_bytes(content if damage == "bit flipped" else content[:-1])
    with pytest.raises(DataError, match="is incomplete or damaged"):
        PreparedData(first.folder)
    again = prepare(SMALL, tmp_path)
    assert again.folder == first.folder
    assert texts_in(PreparedData(again.folder), "Synthetic", "train").total() == 40
    assert again.warnings == ["The data prepared earlier is damaged and is prepared again."]
    assert PreparedData(again.folder).report == again.report
    assert not again.report.from_cache


def test_only_the_newest_preparations_stay(tmp_path: Path) -> None:
    folders = [
        prepare(SMALL.with_overrides({"max_train_samples": 5 + n, "max_eval_samples": 2}), tmp_path).folder
        for n in range(CACHED_PREPARATIONS + 2)
    ]
    assert {path.name for path in (tmp_path / "prepared").iterdir()} == {
        folder.name for folder in folders[-CACHED_PREPARATIONS:]
    }


def test_the_folder_has_its_name_only_when_all_of_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []  # what was done, to which inode
    fsync, rename = os.fsync, Path.rename

    def spy_fsync(descriptor: int) -> None:
        done.append(("sync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def spy_rename(path: Path, target: Path) -> Path:
        done.append(("rename", path.stat().st_ino))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "rename", spy_rename)
    folder = prepare(SMALL, tmp_path).folder
    at = done.index(("rename", folder.stat().st_ino))
    parts = [path for path in folder.iterdir() if path.name != MANIFEST]  # the manifest has another report since
    assert len(parts) == 5
    assert {path.stat().st_ino for path in [folder, *parts]} <= {inode for _, inode in done[:at]}
    assert done[at + 1] == ("sync", folder.parent.stat().st_ino)


def test_a_preparation_that_is_used_again_counts_as_new(tmp_path: Path) -> None:
    def one(n: int) -> Path:
        return prepare(SMALL.with_overrides({"max_train_samples": 5 + n, "max_eval_samples": 2}), tmp_path).folder

    first, second, *_ = [one(n) for n in range(CACHED_PREPARATIONS)]
    assert one(0) == first
    one(100)
    assert first.exists()
    assert not second.exists()


def test_a_cancel_at_any_message_leaves_nothing_half_done(local: Path, tmp_path: Path) -> None:
    config = SMALL.with_overrides({"dataset_sources": ["GSM8K", "Synthetic", "SVAMP"]})
    messages = len(prepare(config, tmp_path / "whole").told)
    assert messages >= 4
    for stop_at in range(1, messages + 1):
        cache = tmp_path / f"cache{stop_at}"
        with pytest.raises(CancelRequested):
            prepare(config, cache, stop_at)
        assert list(cache.glob("prepared/*")) == []


def test_a_cancel_leaves_an_earlier_preparation_whole(tmp_path: Path) -> None:
    folder = prepare(SMALL, tmp_path).folder
    with pytest.raises(CancelRequested):
        prepare(SMALL, tmp_path, stop_at=1)
    assert PreparedData(folder).sources == ["Synthetic"]


def test_a_full_disk_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = write_prepared

    def disk_full(folder: Path, *rest: Any) -> None:
        write(folder, *rest)
        (folder / MANIFEST).unlink()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loader_module, "write_prepared", disk_full)
    with pytest.raises(OSError, match="No space left on device"):
        prepare(SMALL, tmp_path)
    assert list(tmp_path.glob("prepared/*")) == []
    monkeypatch.undo()
    assert not prepare(SMALL, tmp_path).report.from_cache


def test_two_runs_may_prepare_the_same_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepare(SMALL, tmp_path / "other").folder
    write = write_prepared

    def while_another_run_ends_first(folder: Path, *rest: Any) -> None:
        write(folder, *rest)
        shutil.copytree(whole, folder.parent / whole.name)

    monkeypatch.setattr(loader_module, "write_prepared", while_another_run_ends_first)
    outcome = prepare(SMALL, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache/prepared").iterdir()] == [whole.name]
    assert PreparedData(outcome.folder).sources == ["Synthetic"]
