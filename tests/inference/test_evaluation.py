"""The evaluation: held-out rows alone are asked, and right answers are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts.answers import answer_of
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.data.questions import examination
from cognate_core.data.sources import NEW_WORDING, synthetic_source
from cognate_core.errors import DataError, StorageError
from cognate_core.inference import evaluation
from cognate_core.inference.playground import Piece, Playground
from tests.there import there

CONFIG = TrainingConfig(
    dataset_sources=["Synthetic"], max_train_samples=60, max_eval_samples=10, train_seq_len=256, vocab_size=400
)


class Doctored:
    """In place of a Playground: writes what `answers` has for a prompt."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []

    def stream(self, prompt: str, *, max_new_tokens: int, temperature: float) -> Iterator[Piece]:
        assert temperature == 0
        self.asked.append((prompt, max_new_tokens))
        for letter in self.answers[prompt]:
            yield Piece(letter, ())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def ask(home: Path, player: Any, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    monkeypatch.setattr(Playground, "from_folder", classmethod(lambda _, folder: player))
    data_hash = more.pop("data_hash", None) or prepared(home).report.content_hash
    said: list[dict[str, Any]] = []
    values = {"folder": str(home / "model"), "model_step": 5, "steps": [], "limit": 50, **more}
    config = CONFIG.model_dump(mode="json", exclude_none=True)
    accuracy = evaluation.measure(
        home=str(home), config=config, data_hash=data_hash, say=lambda **news: said.append(news), **values
    )
    return accuracy, said


def prepared(home: Path) -> PreparedData:
    import asyncio

    from cognate_core.data.loader import MixtureLoader

    async def prepare() -> str:
        loader = MixtureLoader(CONFIG, home / "cache", lambda _: None, lambda _: None)
        await loader.download_dataset("Synthetic", "")
        return await loader.create_mixed_training_data()

    return PreparedData(Path(asyncio.run(prepare())))


ROWS = synthetic_source(CONFIG)
RIGHT = {document.prompt: document.answer for document in ROWS.heldout}


def test_whoever_knows_every_answer_gets_all_and_only_held_out_rows_are_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Doctored({prompt: f"{answer}\nand more" for prompt, answer in RIGHT.items()})
    accuracy, said = ask(home, player, monkeypatch)
    (score,) = accuracy.steps[-1].scores
    assert (score.dataset, score.right, score.asked, score.share) == ("Synthetic", 10, 10, 1.0)
    assert {prompt for prompt, _ in player.asked} == set(RIGHT)
    assert not {prompt for prompt, _ in player.asked} & {document.prompt for document in ROWS.train}
    assert [news["done"] for news in said] == list(range(10))
    assert {news["total"] for news in said} == {10}


def test_the_baseline_is_the_commonest_training_answer_counted_among_the_held_out_ones(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Counter(answer_of(document.answer) for document in ROWS.train)
    expected = [answer_of(answer) for answer in RIGHT.values()]
    accuracy, _ = ask(home, Doctored(dict.fromkeys(RIGHT, "no idea")), monkeypatch)
    (score,) = accuracy.steps[-1].scores
    assert trained[score.commonest] == max(trained.values())
    assert score.commonest_right == expected.count(score.commonest)
    assert (score.right, score.interval[0]) == (0, 0.0)
    always, _ = ask(home, Doctored(dict.fromkeys(RIGHT, f" so\n#### {score.commonest}")), monkeypatch)
    assert always.steps[-1].scores[0].right == score.commonest_right


def test_questions_of_a_source_that_is_all_held_out_have_the_commonest_answer_of_the_others(tmp_path: Path) -> None:
    import asyncio

    config = CONFIG.with_overrides({"word_problems": "sums-to-20"})

    async def prepare() -> PreparedData:
        loader = MixtureLoader(config, tmp_path, lambda _: None, lambda _: None)
        await loader.download_dataset("Synthetic", "built in")
        return PreparedData(Path(await loader.create_mixed_training_data()))

    data = asyncio.run(prepare())
    usual, new = (there(examination(data, name, 50, seed=0)) for name in ("Synthetic", NEW_WORDING))
    assert len(new.questions) == len(usual.questions) == 10
    assert new.commonest == usual.commonest
    assert new.longest == usual.longest


def test_it_may_write_as_much_as_the_longest_training_solution(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    player = Doctored(dict.fromkeys(RIGHT, ""))
    ask(home, player, monkeypatch)
    tokenizer = prepared(home).tokenizer()
    longest = max(len(tokenizer.encode(document.answer).ids) for document in ROWS.train)
    assert {length for _, length in player.asked} == {longest}


def test_fewer_questions_are_the_same_ones_each_time(home: Path) -> None:
    data = prepared(home)
    some = examination(data, "Synthetic", 4, seed=0)
    assert some is not None and some == examination(data, "Synthetic", 4, seed=0)
    assert len({question.prompt for question in some.questions}) == 4
    assert {question.prompt: question.answer for question in some.questions}.items() <= {
        prompt: answer_of(answer) for prompt, answer in RIGHT.items()
    }.items()
    assert examination(data, "Synthetic", 4, seed=1) != some


def test_data_that_was_removed_is_prepared_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared(home)
    (data.folder / "tokenizer.json").unlink()
    accuracy, _ = ask(home, Doctored(RIGHT), monkeypatch, data_hash=data.report.content_hash)
    assert accuracy.steps[-1].scores[0].right == 10


def test_other_text_is_not_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no longer available"):
        ask(home, Doctored(RIGHT), monkeypatch, data_hash="0" * 32)


def test_a_checkpoint_that_is_gone_is_left_out_with_the_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = Doctored(dict.fromkeys(RIGHT, "#### nothing"))

    def from_checkpoint(_: type, folder: Path, step: int) -> Any:
        if step == 2:
            raise StorageError("It is gone.")
        return earlier

    monkeypatch.setattr(Playground, "from_checkpoint", classmethod(from_checkpoint))
    accuracy, _ = ask(home, Doctored(RIGHT), monkeypatch, steps=[2, 3])
    assert [(row.step, row.scores[0].right) for row in accuracy.steps] == [(3, 0), (5, 10)]
    assert accuracy.left_out == {"step 2": "It is gone."}


def test_rows_without_answers_ask_nothing(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("\n\n".join(f"A line of plain text, number {number}, long enough." for number in range(40)))
    own = CONFIG.with_overrides({"dataset_path": str(rows)})
    monkeypatch.setattr("tests.inference.test_evaluation.CONFIG", own)
    with pytest.raises(DataError, match="nothing to ask"):
        ask(home, Doctored({}), monkeypatch)
