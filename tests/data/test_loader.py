"""MixtureLoader: fetch, fall back visibly, prepare once for each content, and leave nothing half done."""

import asyncio
import dataclasses
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from cognate_core.config import DATASETS, TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID, DataReport, Event, Record
from cognate_core.data import loader as loader_module
from cognate_core.data.documents import word_problem_document
from cognate_core.data.loader import CACHED_PREPARATIONS, PROMPTS_PER_SOURCE, MixtureLoader
from cognate_core.data.prepared import MANIFEST, PreparedData, write_prepared
from cognate_core.data.sources import NEW_WORDING
from cognate_core.data.tokenizer import train_tokenizer
from cognate_core.data.word_problems import word_problems
from cognate_core.errors import CancelRequested, DataError

SMALL = TrainingConfig(
    dataset_sources=["Synthetic"],
    max_train_samples=40,
    max_eval_samples=8,
    train_seq_len=256,
    max_seq_len=256,
    d_model=16,
    n_layers=1,
    n_heads=2,
    vocab_size=400,
)


@dataclasses.dataclass
class Outcome:
    folder: Path
    records: list[Record]
    told: list[str]
    results: dict[str, bool]

    @property
    def report(self) -> DataReport:
        (report,) = [record for record in self.records if isinstance(record, DataReport)]
        return report

    @property
    def warnings(self) -> list[str]:
        return [record.message for record in self.records if isinstance(record, Event) and record.level == "warning"]


def prepare(config: TrainingConfig, cache: Path, stop_at: int | None = None) -> Outcome:
    """What a service does with a loader. `stop_at`: the message at which the person cancels."""
    records: list[Record] = []
    told: list[str] = []

    def tell(message: str) -> None:
        told.append(message)
        if stop_at is not None and len(told) == stop_at:
            raise CancelRequested

    async def run() -> Outcome:
        loader = MixtureLoader(config, cache, records.append, tell)
        wanted = {"Own file": config.dataset_path or ""} if config.dataset_path else DATASETS
        for name in wanted if config.dataset_path else config.dataset_sources:
            await loader.download_dataset(name, wanted[name])
        folder = await loader.create_mixed_training_data()
        return Outcome(Path(folder), records, told, loader.get_dataset_results())

    return asyncio.run(run())


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def gsm8k_row(number: int) -> dict[str, Any]:
    return {"question": f"What is {number} plus one?", "answer": f"It is {number + 1}.\n#### {number + 1}"}


def texts_in(data: PreparedData, name: str, split: str) -> Counter[str]:
    """The documents of a split, read back from its tokens."""
    tokenizer = data.tokenizer()
    found: Counter[str] = Counter()
    for row in data.packed(name, split).tokens.tolist():
        ids: list[int] = []
        for token in row:
            if token != END_OF_TEXT_ID:
                ids.append(token)
            elif ids:
                found[tokenizer.decode(ids)] += 1
                ids = []
    return found


def gsm8k_text(number: int) -> str:
    return f"Problem: What is {number} plus one?\nSolution: It is {number + 1}.\n#### {number + 1}"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionError("no network here")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    monkeypatch.setattr("cognate_core.data.sources.sleep", lambda seconds: None)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A local folder with 30 training and 5 held-out rows of GSM8K."""
    folder = tmp_path / "datasets"
    write_rows(folder / "gsm8k/main/train.jsonl", map(gsm8k_row, range(30)))
    write_rows(folder / "gsm8k/main/test.jsonl", map(gsm8k_row, range(100, 105)))
    monkeypatch.setenv("COGNATE_DATASETS_DIR", str(folder))
    return folder


def no_tokenizer_training(*arguments: object) -> Tokenizer:
    raise AssertionError("the tokenizer is trained a second time")


# What goes in


def test_easy_built_in_problems_come_with_new_wordings_that_nothing_is_learned_from(tmp_path: Path) -> None:
    config = TrainingConfig(
        dataset_sources=["Synthetic"], word_problems="sums-to-20", max_train_samples=50, max_eval_samples=20,
        train_seq_len=128, vocab_size=400,
    )  # fmt: skip
    outcome = prepare(config, tmp_path)
    data = PreparedData(outcome.folder)
    assert data.sources == ["Synthetic", NEW_WORDING]
    assert [(each.train_rows, each.heldout_rows) for each in data.report.sources] == [(50, 20), (0, 20)]
    assert not len(data.packed(NEW_WORDING, "train").tokens)
    new = word_problems(20, 0, "sums-to-20", heldout=True)
    assert texts_in(data, NEW_WORDING, "heldout") == Counter(word_problem_document(each).text for each in new)
    assert outcome.results == {"Synthetic": True}
    every_kind = prepare(config.with_overrides({"word_problems": "all"}), tmp_path)
    assert PreparedData(every_kind.folder).sources == ["Synthetic"]


def test_every_row_is_in_the_prepared_data_to_the_letter(local: Path, tmp_path: Path) -> None:
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K"]}), tmp_path / "cache")
    data = PreparedData(outcome.folder)
    assert data.sources == ["GSM8K"]
    assert texts_in(data, "GSM8K", "train") == Counter(gsm8k_text(n) for n in range(30))
    assert texts_in(data, "GSM8K", "heldout") == Counter(gsm8k_text(n) for n in range(100, 105))


def test_the_report_counts_what_went_in(local: Path, tmp_path: Path) -> None:
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K", "Synthetic"]}), tmp_path / "cache")
    gsm8k, synthetic = outcome.report.sources
    data = PreparedData(outcome.folder)
    assert (gsm8k.name, gsm8k.asked_for, gsm8k.origin, gsm8k.loaded, gsm8k.reason) == (
        "GSM8K",
        "openai/gsm8k",
        "local folder, gsm8k/main",
        True,
        "",
    )
    assert (gsm8k.train_rows, gsm8k.heldout_rows, gsm8k.skipped) == (30, 5, {})
    assert (synthetic.name, synthetic.train_rows, synthetic.heldout_rows) == ("Synthetic", 40, 8)
    for source in outcome.report.sources:
        packed = data.packed(source.name, "train")
        assert source.train_tokens == packed.counted.sum() > 0
        assert source.train_sequences == len(packed.tokens)
    assert outcome.report.vocabulary == data.tokenizer().get_vocab_size()
    assert (outcome.report.fallback, outcome.report.from_cache) == (False, False)
    assert outcome.report == data.report
    assert outcome.report.content_hash == outcome.folder.name
    assert outcome.warnings == []
    assert outcome.results == {"GSM8K": True, "Synthetic": True}


def test_only_answers_count_when_asked_for(local: Path, tmp_path: Path) -> None:
    config = SMALL.with_overrides({"dataset_sources": ["GSM8K"], "loss_on_answer_only": True})
    data = PreparedData(prepare(config, tmp_path / "cache").folder)
    tokenizer, packed = data.tokenizer(), data.packed("GSM8K", "train")
    graded = tokenizer.decode([int(n) for n in packed.tokens[packed.counted == 1]])
    assert "What is" not in graded
    assert graded.count("####") == 30


def test_rows_that_are_held_out_are_not_learned(local: Path, tmp_path: Path) -> None:
    write_rows(local / "gsm8k/main/test.jsonl", map(gsm8k_row, (3, 7, 200)))
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K"]}), tmp_path / "cache")
    data = PreparedData(outcome.folder)
    assert texts_in(data, "GSM8K", "train") == Counter(gsm8k_text(n) for n in range(30) if n not in (3, 7))
    assert texts_in(data, "GSM8K", "heldout") == Counter(map(gsm8k_text, (3, 7, 200)))
    (source,) = outcome.report.sources
    assert source.skipped == {"also in the held-out text": 2}
    assert (source.train_rows, source.heldout_rows) == (28, 3)


def test_when_all_rows_are_held_out_the_reason_is_not_their_length(local: Path, tmp_path: Path) -> None:
    write_rows(local / "gsm8k/main/train.jsonl", map(gsm8k_row, range(100, 105)))
    with pytest.raises(DataError) as caught:
        prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K"]}), tmp_path / "cache")
    assert "longer than" not in str(caught.value)


def test_the_tokenizer_is_trained_on_training_text_alone(
    local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(local / "gsm8k/main/test.jsonl", [{"question": "Xylophone?", "answer": "Xylophone.\n#### 1"}] * 5)
    read: list[str] = []
    train = train_tokenizer

    def spy(texts: Iterable[str], vocab_size: int) -> Tokenizer:
        read.extend(texts)
        assert vocab_size == SMALL.vocab_size
        return train(read, vocab_size)

    monkeypatch.setattr(loader_module, "train_tokenizer", spy)
    prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K"]}), tmp_path / "cache")
    assert Counter(read) == Counter(gsm8k_text(n) for n in range(30))


def test_a_vocabulary_that_the_text_cannot_teach_is_told_with_one_that_it_can(tmp_path: Path) -> None:
    large, small = (prepare(SMALL.with_overrides({"vocab_size": size}), tmp_path) for size in (4000, 300))
    data = PreparedData(large.folder)
    counts = Counter(data.packed("Synthetic", "train").tokens.ravel().tolist())
    rare = sum(counts[token] < 5 for token in range(257, large.report.vocabulary))
    assert large.report.fitted and large.report.vocabulary == data.tokenizer().get_vocab_size() < 4000
    assert large.report.rare_tokens == rare > large.report.vocabulary / 2
    enough = math.ceil((large.report.vocabulary - rare) / 100) * 100
    assert large.warnings == [
        f"The vocabulary is larger than this text can teach: {rare:,} of its {large.report.vocabulary:,} tokens occur "
        f"fewer than 5 times in it. About {enough:,} would do."
    ]
    assert small.warnings == []
    assert prepare(SMALL.with_overrides({"vocab_size": 4000}), tmp_path).warnings == large.warnings, "cached, too"


@pytest.mark.parametrize("vocab_size", [300, 700])
def test_the_tokenizer_has_no_more_ids_than_the_model(tmp_path: Path, vocab_size: int) -> None:
    outcome = prepare(SMALL.with_overrides({"vocab_size": vocab_size}), tmp_path)
    data = PreparedData(outcome.folder)
    assert outcome.report.vocabulary <= vocab_size
    assert data.packed("Synthetic", "train").tokens.max() < vocab_size
    assert data.packed("Synthetic", "heldout").tokens.max() < vocab_size


def test_prompts_to_try_come_from_the_held_out_rows(local: Path, tmp_path: Path) -> None:
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K", "Synthetic"]}), tmp_path / "cache")
    prompts = PreparedData(outcome.folder).prompts
    assert Counter(prompt.dataset for prompt in prompts) == {
        "GSM8K": PROMPTS_PER_SOURCE,
        "Synthetic": PROMPTS_PER_SOURCE,
    }
    held_out = texts_in(PreparedData(outcome.folder), "Synthetic", "heldout") | Counter(
        gsm8k_text(n) for n in range(100, 105)
    )
    for prompt in prompts:
        assert prompt.prompt.endswith("\nSolution:")
        assert prompt.prompt + prompt.expected in held_out


def test_an_own_file_of_plain_text_is_prepared_and_tried(tmp_path: Path) -> None:
    story = [{"text": f"Chapter {n}. " + "Once upon a time there was a cat. " * 5} for n in range(30)]
    path = write_rows(tmp_path / "mine.jsonl", story)
    outcome = prepare(SMALL.with_overrides({"dataset_path": str(path)}), tmp_path / "cache")
    data = PreparedData(outcome.folder)
    assert data.sources == ["Own file"]
    assert outcome.results == {"Own file": True}
    for prompt in data.prompts:
        assert len(prompt.prompt) == 80
        assert any(row["text"].strip().startswith(prompt.prompt + prompt.expected) for row in story)


# What cannot be had

SWITCHED_OFF = "the hub is switched off on this computer (HF_HUB_OFFLINE is set)"  # in every test


def test_whether_the_hub_can_be_reached_is_asked_once_and_only_if_something_must_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def hub_problem() -> str:
        asked.append("")
        return "the line is cut"

    monkeypatch.setattr("cognate_core.data.hub.hub_problem", hub_problem)
    prepare(SMALL, tmp_path)
    assert asked == []
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K", "Synthetic", "SVAMP", "HotpotQA"]}), tmp_path)
    assert asked == [""]
    assert outcome.warnings == [
        "GSM8K, SVAMP and HotpotQA could not be fetched from the hub: the line is cut. The run goes on without them."
    ]


def test_when_nothing_can_be_had_made_problems_stand_in_visibly(tmp_path: Path) -> None:
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K", "SVAMP"]}), tmp_path)
    assert outcome.results == {"GSM8K": False, "SVAMP": False}
    assert outcome.report.fallback
    synthetic, gsm8k, svamp = outcome.report.sources
    assert (synthetic.name, synthetic.loaded, synthetic.train_rows) == ("Synthetic", True, 40)
    for source, name in ((gsm8k, "GSM8K"), (svamp, "SVAMP")):
        assert (source.name, source.asked_for, source.loaded) == (name, DATASETS[name], False)
        assert source.reason == f"{name} could not be fetched from the hub: {SWITCHED_OFF}."
        assert (source.train_rows, source.train_tokens) == (0, 0)
    assert outcome.warnings == [
        f"GSM8K and SVAMP could not be fetched from the hub: {SWITCHED_OFF}. The run goes on without them.",
        "No dataset could be had: built-in synthetic word problems stand in for them.",
    ]
    assert PreparedData(outcome.folder).sources == ["Synthetic"]


def test_what_can_be_had_is_used_and_the_rest_is_reported(local: Path, tmp_path: Path) -> None:
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["SVAMP", "GSM8K"]}), tmp_path / "cache")
    assert outcome.results == {"GSM8K": True, "SVAMP": False}
    assert not outcome.report.fallback
    assert [(source.name, source.loaded) for source in outcome.report.sources] == [("GSM8K", True), ("SVAMP", False)]
    assert PreparedData(outcome.folder).sources == ["GSM8K"]
    assert len(outcome.warnings) == 1
    assert outcome.warnings[0].endswith("The run goes on without it.")
    assert "The local folder has no svamp. SVAMP could not be fetched" in outcome.report.sources[1].reason


def test_a_dataset_that_is_there_but_broken_is_no_reason_to_go_on(local: Path, tmp_path: Path) -> None:
    (local / "gsm8k/main/train.jsonl").write_text("broken\n" * 10)
    with pytest.raises(DataError, match=r"^10 of 10 rows cannot be used"):
        prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K", "Synthetic"]}), tmp_path / "cache")


def test_rows_that_are_all_too_long_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"^Every row is longer than the training length of 16 tokens\. Raise the training length\.$",
    ):
        prepare(SMALL.with_overrides({"train_seq_len": 16}), tmp_path)
    assert list(tmp_path.glob("prepared/*")) == []


def test_rows_that_are_too_long_are_counted(local: Path, tmp_path: Path) -> None:
    long, other = ({"question": word * 400, "answer": "So.\n#### 1"} for word in ("Why? ", "How? "))
    write_rows(local / "gsm8k/main/train.jsonl", [long, *map(gsm8k_row, range(30))])
    write_rows(local / "gsm8k/main/test.jsonl", [other])
    outcome = prepare(SMALL.with_overrides({"dataset_sources": ["GSM8K"]}), tmp_path / "cache")
    (source,) = outcome.report.sources
    assert source.skipped == {"longer than 256 tokens": 2}
    assert (source.train_rows, source.heldout_rows) == (30, 0)
    assert texts_in(PreparedData(outcome.folder), "GSM8K", "heldout") == Counter()


# The cache


def test_the_same_data_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(SMALL, tmp_path)
    monkeypatch.setattr(loader_module, "train_tokenizer", no_tokenizer_training)
    second = prepare(SMALL, tmp_path)
    assert second.folder == first.folder
    assert second.report == dataclasses.replace(first.report, from_cache=True)
    assert "The same data was prepared before and is used again" in second.told


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
        {"max_train_samples": 41},
        {"max_eval_samples": 9},
    ],
)
def test_what_changes_the_data_is_prepared_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    first, second = prepare(SMALL, tmp_path), prepare(SMALL.with_overrides(change), tmp_path)
    assert second.folder != first.folder
    assert not second.report.from_cache
    assert (first.folder / MANIFEST).is_file()


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
    with pytest.raises(DataError, match="is not complete or damaged"):
        PreparedData(first.folder)
    again = prepare(SMALL, tmp_path)
    assert again.folder == first.folder
    assert texts_in(PreparedData(again.folder), "Synthetic", "train").total() == 40
    assert again.warnings == ["The data that was prepared before is damaged. It is prepared anew."]
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


# Interruptions


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
