"""The playground: what a model writes arrives in whole letters, and a folder that will not do is named."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from cognate_core.config import TrainingConfig
from cognate_core.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, train_tokenizer
from cognate_core.errors import StorageError
from cognate_core.model import CognateModel
from cognate_core.playground import INCOMPLETE, Playground, problem_prompt

CONFIG = TrainingConfig(d_model=16, n_layers=1, n_heads=2, vocab_size=300, max_seq_len=32, train_seq_len=16)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are faster so, above all when the computer has other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["Problem: How many apples?\nSolution: 1 + 2 = 3 apples."] * 5, 300)


@pytest.fixture(scope="module")
def model() -> CognateModel:
    """An untrained model: with some heat it writes any token, halves of letters above all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return CognateModel(CONFIG).eval()


@pytest.fixture
def folder(model: CognateModel, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    path = tmp_path / "my-model"
    path.mkdir()
    model.save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


class Writes:
    """A model that always writes the same tokens."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.asked: list[tuple[list[int], int, dict[str, Any]]] = []

    def generate(self, input_ids: torch.Tensor, max_new_tokens: int, **options: Any) -> Iterator[int]:
        self.asked.append((input_ids[0].tolist(), max_new_tokens, options))
        return iter(self.tokens[:max_new_tokens])


def playing(tokens: list[int], tokenizer: Tokenizer) -> tuple[Playground, Writes]:
    writes = Writes(tokens)
    return Playground(writes, tokenizer), writes  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(text=st.text(min_size=1, max_size=30))
def test_any_text_arrives_whole_and_in_whole_letters(tokenizer: Tokenizer, text: str) -> None:
    playground, _ = playing(tokenizer.encode(text).ids, tokenizer)
    pieces = list(playground.stream("x", max_new_tokens=10_000))
    assert "".join(pieces) == text
    if INCOMPLETE not in text:
        assert all(INCOMPLETE not in piece for piece in pieces)


def test_letters_of_several_tokens_come_in_one_piece(tokenizer: Tokenizer) -> None:
    playground, _ = playing(tokenizer.encode("é🎉 ok").ids, tokenizer)
    assert list(playground.stream("x")) == ["é", "🎉", " ", "o", "k"]


@settings(max_examples=100, deadline=None)
@given(tokens=st.lists(st.integers(1, 299), max_size=40))
def test_the_pieces_are_the_whole_even_of_nonsense(tokenizer: Tokenizer, tokens: list[int]) -> None:
    playground, _ = playing(tokens, tokenizer)
    assert "".join(playground.stream("x")) == tokenizer.decode(tokens)


def test_half_a_letter_at_the_end_is_not_kept_back(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("a🎉").ids[:-1]
    playground, _ = playing(tokens, tokenizer)
    pieces = list(playground.stream("x"))
    assert pieces[0] == "a"
    assert "".join(pieces) == tokenizer.decode(tokens)
    assert pieces[-1].endswith(INCOMPLETE)


@pytest.mark.parametrize("prompt", ["", "How many?", "x" * 5_000, "🎉\x00\n"])
@pytest.mark.parametrize("seed", range(3))
def test_the_pieces_are_what_the_model_wrote(model: CognateModel, tokenizer: Tokenizer, prompt: str, seed: int) -> None:
    options = {"temperature": 1.2, "top_p": 0.95, "seed": seed}
    pieces = list(Playground(model, tokenizer).stream(prompt, max_new_tokens=40, **options))
    ids = torch.tensor([[END_OF_TEXT_ID, *tokenizer.encode(prompt).ids]])
    tokens = list(model.generate(ids, 40, stop_id=END_OF_TEXT_ID, **options))
    assert "".join(pieces) == tokenizer.decode(tokens)
    assert len(pieces) > 1


def test_the_prompt_follows_the_end_of_the_text_before_as_in_training(tokenizer: Tokenizer) -> None:
    playground, writes = playing([], tokenizer)
    assert list(playground.stream("How many?", max_new_tokens=7, temperature=0.3, top_p=0.5, seed=9)) == []
    ((ids, count, options),) = writes.asked
    assert ids == [END_OF_TEXT_ID, *tokenizer.encode("How many?").ids]
    assert count == 7
    assert options == {"temperature": 0.3, "top_p": 0.5, "seed": 9, "stop_id": END_OF_TEXT_ID}


def test_an_opened_model_writes_as_the_one_that_was_saved(
    folder: Path, model: CognateModel, tokenizer: Tokenizer
) -> None:
    opened = Playground.from_folder(folder)
    assert not opened.model.training
    written = "".join(opened.stream("How many?", max_new_tokens=30, temperature=1.0, seed=4))
    assert written == "".join(
        Playground(model, tokenizer).stream("How many?", max_new_tokens=30, temperature=1.0, seed=4)
    )


def test_the_end_mark_in_a_persons_prompt_is_text(folder: Path) -> None:
    # as in training, where a row that spells it is text too
    opened = Playground.from_folder(folder)
    playground, writes = playing([], opened.tokenizer)
    list(playground.stream(f"What does {END_OF_TEXT} mean?"))
    ((ids, _, _),) = writes.asked
    assert ids.count(END_OF_TEXT_ID) == 1, "only the one that stands before each text"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_told_as_a_sentence(folder: Path, name: str) -> None:
    (folder / name).unlink()
    owner = "tokenizer" if name == "tokenizer.json" else "model"
    with pytest.raises(StorageError, match=rf"^The {owner} in my-model cannot be opened \("):
        Playground.from_folder(folder)


def test_a_missing_folder_is_told_as_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^The model in gone cannot be opened"):
        Playground.from_folder(tmp_path / "gone")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b"\x00" * 100])
def test_a_damaged_file_is_told_as_a_sentence(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    owner = "tokenizer" if name == "tokenizer.json" else "model"
    with pytest.raises(StorageError, match=rf"^The {owner} in my-model cannot be opened \("):
        Playground.from_folder(folder)


@pytest.mark.parametrize(
    "change", [{"d_model": 32}, {"n_layers": 2}, {"d_model": 15}, {"n_heads": 0}, {"vocab_size": "x"}]
)
def test_a_config_that_does_not_fit_the_weights_is_told_as_a_sentence(folder: Path, change: dict[str, Any]) -> None:
    shape = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**shape, **change}))
    with pytest.raises(StorageError, match=r"^The model in my-model cannot be opened \("):
        Playground.from_folder(folder)


@pytest.mark.parametrize("gone", ["d_model", "vocab_size"])
def test_a_config_without_a_setting_is_told_as_a_sentence(folder: Path, gone: str) -> None:
    shape = json.loads((folder / "config.json").read_text())
    del shape[gone]
    (folder / "config.json").write_text(json.dumps(shape))
    with pytest.raises(StorageError, match=rf"^The model in my-model cannot be opened \('{gone}'\)\.$"):
        Playground.from_folder(folder)


def test_a_question_is_put_in_the_layout_of_the_training_text() -> None:
    assert problem_prompt("  How many apples?\n") == "Problem: How many apples?\nSolution:"
