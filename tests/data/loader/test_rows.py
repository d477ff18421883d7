"""What goes into the prepared data."""

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Event
from cognate_core.data import loader as loader_module
from cognate_core.data.documents import word_problem_document
from cognate_core.data.loader import PROMPTS_PER_SOURCE
from cognate_core.data.prepared import PreparedData
from cognate_core.data.sources import NEW_WORDING
from cognate_core.data.tokenizer import train_tokenizer
from cognate_core.data.word_problems import word_problems
from cognate_core.errors import DataError
from tests.data.loader.prepared import SMALL, gsm8k_row, gsm8k_text, prepare, texts_in, write_rows


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
        f"The vocabulary is too large for this text: {rare:,} of its {large.report.vocabulary:,} tokens occur "
        f"fewer than 5 times. About {enough:,} would be enough."
    ]
    assert not any("vocabulary" in warning for warning in small.warnings)
    assert prepare(SMALL.with_overrides({"vocab_size": 4000}), tmp_path).warnings == large.warnings, "cached, too"


def test_rows_that_are_left_out_and_columns_that_are_not_read_are_told(tmp_path: Path) -> None:
    rows = [{"text": f"{n} {'longer ' * 60 * (n % 10 > 0)}", "id": n} for n in range(100)]
    config = SMALL.with_overrides({"dataset_path": str(write_rows(tmp_path / "a.jsonl", rows)), "vocab_size": 300})
    assert prepare(config, tmp_path / "cache").warnings == []  # long plain text is cut, not left out
    asked = [{"question": row["text"], "answer": "1", "id": row["id"]} for row in rows]
    write_rows(tmp_path / "a.jsonl", [*asked, *asked[:40]])
    outcome = prepare(config.with_overrides({"train_seq_len": 64, "max_train_samples": 100}), tmp_path / "cache")
    (report,) = outcome.report.sources
    assert report.train_rows + report.heldout_rows == 10
    assert outcome.warnings == [
        "Rows of Own file that are left out: 130 of 140 (40: the same text appears twice; 90: longer than 64 tokens)."
    ]
    said = [record.message for record in outcome.records if isinstance(record, Event) and record.level == "info"]
    assert said == ["Own file: these columns are not read: id."]


def test_held_out_rows_that_do_not_fit_are_told(tmp_path: Path) -> None:
    rows = [{"question": "Why? " * count, "answer": "So."} for count in (1, 400)]
    config = SMALL.with_overrides({"dataset_path": str(write_rows(tmp_path / "a.jsonl", rows)), "vocab_size": 300})
    for question in range(20):  # which of the two is held out depends on their text
        write_rows(tmp_path / "a.jsonl", [{**rows[0], "question": f"Why {question}?"}, rows[1]])
        try:
            outcome = prepare(config, tmp_path / "cache")
            break
        except DataError:
            continue
    assert "Own file: no held-out row is left, so nothing can be measured on unseen text." in outcome.warnings


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
        assert any(row["text"].startswith(prompt.prompt + prompt.expected) for row in story)
