"""The playground: what a model writes arrives in whole letters, and a folder that will not do is named."""

import json
import math
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID, MEMORY_FILE
from cognate_core.data.tokenizer import END_OF_TEXT, train_tokenizer
from cognate_core.errors import RunError, StorageError
from cognate_core.inference.attention import attention_weights
from cognate_core.inference.playground import (
    INCOMPLETE,
    Piece,
    Playground,
    kept_notes,
    load_memory,
    problem_prompt,
    save_memory,
)
from cognate_core.model import CognateModel, GeneratedToken
from cognate_core.training.checkpoint import Checkpoint, save_checkpoint
from tests.there import there

CONFIG = TrainingConfig(d_model=16, n_layers=1, n_heads=2, vocab_size=300, max_seq_len=32, train_seq_len=16)


pytestmark = pytest.mark.usefixtures("one_thread")


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

    def generate(self, input_ids: torch.Tensor, max_new_tokens: int, **options: Any) -> Iterator[GeneratedToken]:
        self.asked.append((input_ids[0].tolist(), max_new_tokens, options))
        return (GeneratedToken(token, 0.5, None, None) for token in self.tokens[:max_new_tokens])


def texts(pieces: Iterable[Piece]) -> list[str]:
    return [piece.text for piece in pieces]


def playing(tokens: list[int], tokenizer: Tokenizer) -> tuple[Playground, Writes]:
    writes = Writes(tokens)
    return Playground(writes, tokenizer), writes  # type: ignore[arg-type]


@settings(max_examples=100)
@given(text=st.text(min_size=1, max_size=30))
def test_any_text_arrives_whole_and_in_whole_letters(tokenizer: Tokenizer, text: str) -> None:
    playground, _ = playing(tokenizer.encode(text).ids, tokenizer)
    pieces = texts(playground.stream("x", max_new_tokens=10_000))
    assert "".join(pieces) == text
    if INCOMPLETE not in text:
        assert all(INCOMPLETE not in piece for piece in pieces)


def test_letters_of_several_tokens_come_in_one_piece(tokenizer: Tokenizer) -> None:
    playground, _ = playing(tokenizer.encode("é🎉 ok").ids, tokenizer)
    assert texts(playground.stream("x")) == ["é", "🎉", " ", "o", "k"]


@settings(max_examples=100)
@given(tokens=st.lists(st.integers(1, 299), max_size=40))
def test_the_pieces_are_the_whole_even_of_nonsense(tokenizer: Tokenizer, tokens: list[int]) -> None:
    playground, _ = playing(tokens, tokenizer)
    assert "".join(texts(playground.stream("x"))) == tokenizer.decode(tokens)


def test_half_a_letter_at_the_end_is_not_kept_back(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("a🎉").ids[:-1]
    playground, _ = playing(tokens, tokenizer)
    pieces = texts(playground.stream("x"))
    assert pieces[0] == "a"
    assert "".join(pieces) == tokenizer.decode(tokens)
    assert pieces[-1].endswith(INCOMPLETE)


@pytest.mark.parametrize("prompt", ["", "How many?", "x" * 5_000, "🎉\x00\n"])
@pytest.mark.parametrize("seed", range(3))
def test_the_pieces_are_what_the_model_wrote(model: CognateModel, tokenizer: Tokenizer, prompt: str, seed: int) -> None:
    options: dict[str, Any] = {"temperature": 1.2, "top_p": 0.95, "seed": seed}
    pieces = list(Playground(model, tokenizer).stream(prompt, max_new_tokens=40, **options))
    ids = torch.tensor([[END_OF_TEXT_ID, *tokenizer.encode(prompt).ids]])
    tokens = [token.id for token in model.generate(ids, 40, stop_id=END_OF_TEXT_ID, **options)]
    assert "".join(texts(pieces)) == tokenizer.decode(tokens)
    assert [token for piece in pieces for token in piece.ids] == tokens
    assert len(pieces) > 1


def test_the_prompt_follows_the_end_of_the_text_before_as_in_training(tokenizer: Tokenizer) -> None:
    playground, writes = playing([], tokenizer)
    assert texts(playground.stream("How many?", max_new_tokens=7, temperature=0.3, top_p=0.5, seed=9)) == []
    ((ids, count, options),) = writes.asked
    assert ids == [END_OF_TEXT_ID, *tokenizer.encode("How many?").ids]
    assert count == 7
    assert options == {"temperature": 0.3, "top_p": 0.5, "seed": 9, "stop_id": END_OF_TEXT_ID, "bank": None}


def test_an_opened_model_writes_as_the_one_that_was_saved(
    folder: Path, model: CognateModel, tokenizer: Tokenizer
) -> None:
    opened = Playground.from_folder(folder)
    assert not opened.model.training
    asked: dict[str, Any] = {"max_new_tokens": 30, "temperature": 1.0, "seed": 4}
    saved = Playground(model, tokenizer)
    assert texts(opened.stream("How many?", **asked)) == texts(saved.stream("How many?", **asked))


def test_the_end_mark_in_a_persons_prompt_is_text(folder: Path) -> None:
    # as in training, where a row that spells it is text too
    opened = Playground.from_folder(folder)
    playground, writes = playing([], opened.tokenizer)
    texts(playground.stream(f"What does {END_OF_TEXT} mean?"))
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


# How it came to each word

THINKING = TrainingConfig(
    d_model=16,
    n_layers=3,
    n_heads=2,
    vocab_size=300,
    max_seq_len=128,
    train_seq_len=16,
    d_mem=12,
    mem_segment=8,
    mem_writes=3,
    mem_topk=2,
)


@pytest.fixture(scope="module")
def thinking(tokenizer: Tokenizer) -> Playground:
    """A model that ponders and remembers, with weights large enough for its tokens to differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = CognateModel(THINKING)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.normal_(std=0.3)
    return Playground(model.eval(), tokenizer)


def spelt(playground: Playground, text: str) -> list[int]:
    return playground.tokenizer.encode(text).ids


def test_the_words_of_an_explanation_are_the_text(thinking: Playground) -> None:
    words = thinking.explain("How many é apples?", spelt(thinking, " 1 + 2 = 🎉")).words
    assert "".join(word.text for word in words) == "How many é apples? 1 + 2 = 🎉"
    assert "".join(word.text for word in words if word.written) == " 1 + 2 = 🎉"
    assert any(word.text == "🎉" for word in words), "a letter of several tokens is one word"


def test_an_explanation_has_the_figures_of_the_forward_pass(thinking: Playground) -> None:
    prompt, written = "How many apples did", " Maria eat? 1 + 2 = 3 apples."
    ids = [END_OF_TEXT_ID, *thinking.tokenizer.encode(prompt).ids, *thinking.tokenizer.encode(written).ids]
    with torch.no_grad():
        output = thinking.model(torch.tensor([ids]))
    chances = output.logits[0].softmax(-1)
    words = thinking.explain(prompt, spelt(thinking, written)).words
    assert len(words) == len(ids) - 1
    assert len({word.ponder_steps for word in words}) > 1
    for position, word in enumerate(words):  # the word after `position`
        assert word.ponder_steps == output.ponder_steps[0, position]
        assert word.expected == thinking.tokenizer.decode([int(chances[position].argmax())])
        assert word.expected_probability == pytest.approx(float(chances[position].max()), rel=1e-4)
        assert word.probability == pytest.approx(float(chances[position, ids[position + 1]]), rel=1e-4)
        read = output.memory_reads
        taken = (read.gate[0, position] * (1 - read.null[0, position])).mean()
        assert word.recall == pytest.approx(float(taken), abs=1e-6)
        shares: dict[int, float] = {}
        for place, weight in zip(
            read.positions[0, position].flatten(), read.weights[0, position].flatten(), strict=True
        ):
            if place >= 0:
                shares[int(place)] = shares.get(int(place), 0.0) + float(weight) / THINKING.n_layers
        for note in word.notes:
            place = there(note.place)
            assert note.share == pytest.approx(shares[place + 1], abs=1e-6)
            assert note.word == words[place].text
        assert len(word.notes) == min(4, len(shares))
    assert any(word.notes for word in words)


def test_it_explains_the_very_tokens_that_were_written(thinking: Playground) -> None:
    """Not those that spell the same text anew: a model may write a word in other pieces than the tokenizer would."""
    pieces = list(thinking.stream("How many?", max_new_tokens=60, temperature=1.5, seed=2))
    ids = [token for piece in pieces for token in piece.ids]
    assert ids != spelt(thinking, "".join(texts(pieces))), "the seed shows nothing"
    words = [word for word in thinking.explain("How many?", ids).words if word.written]
    assert [word.text for word in words] == texts(pieces)


def test_a_plain_model_explains_with_probabilities_alone(tokenizer: Tokenizer) -> None:
    plain = Playground(
        CognateModel(CONFIG.with_overrides({"act_enabled": False, "ltm_enabled": False})).eval(), tokenizer
    )
    explanation = plain.explain("How many?", spelt(plain, " 3"))
    assert explanation.bank is None
    assert {(word.ponder_steps, word.recall) for word in explanation.words} == {(None, None)}
    assert all(0 < word.probability < 1 and word.notes == [] for word in explanation.words)


@pytest.mark.parametrize("prompt", ["", "x" * 2_000])
def test_any_length_of_text_is_explained(thinking: Playground, prompt: str) -> None:
    explanation = thinking.explain(prompt, [])
    assert len(explanation.words) == min(len(prompt), THINKING.max_seq_len - 1)
    assert explanation.shortened is (len(prompt) > THINKING.max_seq_len - 1)


# What it reads


TEXT = "How many é apples? 🎉 3"


def test_a_text_has_the_mean_cross_entropy_of_its_tokens(thinking: Playground) -> None:
    ids = [END_OF_TEXT_ID, *spelt(thinking, TEXT)]
    with torch.no_grad():
        chances = thinking.model(torch.tensor([ids])).logits[0].double().softmax(-1)
    nats = [-math.log(float(chances[place - 1, ids[place]])) for place in range(1, len(ids))]
    reading = thinking.read(TEXT)
    assert reading.tokens == len(nats) > len(reading.words)
    assert reading.loss == pytest.approx(sum(nats) / len(nats), rel=1e-4)
    assert reading.bits_per_byte == pytest.approx(sum(nats) / math.log(2) / len(TEXT.encode()), rel=1e-4)
    assert "".join(word.text for word in reading.words) == TEXT and all(word.written for word in reading.words)
    losses = iter(nats)
    for word in reading.words:
        own = [next(losses) for _ in spelt(thinking, word.text)]
        assert -math.log(word.probability) == pytest.approx(sum(own), rel=1e-4)


def test_each_word_is_predicted_by_looks_at_those_before_it(thinking: Playground) -> None:
    words, ids = thinking.read(TEXT).words, spelt(thinking, TEXT)
    looks = thinking.attention(TEXT)
    assert looks.shape == (THINKING.n_layers, len(words), 1 + len(words))
    assert looks.sum(-1) == pytest.approx(1, abs=0.01)
    positions = attention_weights(thinking.model, [END_OF_TEXT_ID, *ids]).numpy()
    place = 0  # of the token before the word, which predicts it
    for number, word in enumerate(words):
        assert (looks[:, number, number + 1 :] == 0).all(), "no word is known before it is predicted"
        assert looks[:, number, 0] == pytest.approx(positions[:, place, 0], abs=1e-3)
        before = 1
        for other, earlier in enumerate(words[:number]):
            after = before + len(spelt(thinking, earlier.text))
            assert looks[:, number, 1 + other] == pytest.approx(positions[:, place, before:after].sum(-1), abs=2e-3)
            before = after
        place += len(spelt(thinking, word.text))


def test_a_text_that_cannot_be_read_as_a_whole_is_told(thinking: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    for read in (thinking.read, thinking.attention):
        with pytest.raises(RunError, match=r"^The text is empty, so there is nothing to read\. Type or paste one\.$"):
            read("")
        read("x" * (THINKING.max_seq_len - 1))
        sentence = r"^The text has 128 tokens; this model reads at most 127 at once\. Shorten it\.$"
        with pytest.raises(RunError, match=sentence):
            read("x" * THINKING.max_seq_len)
    monkeypatch.setattr("cognate_core.inference.playground.MOST_ATTENDED", 20)
    with pytest.raises(RunError, match=r"^The text has 21 tokens; where a model looks is shown for at most 20\. Sho"):
        thinking.attention("x" * 21)


# Memory from one text to the next


def test_a_later_text_reads_what_an_earlier_one_left(thinking: Playground) -> None:
    bank = thinking.explain("Maria has seven apples and a pear.", spelt(thinking, " She eats one.")).bank
    later = thinking.explain("How many?", spelt(thinking, " 7"), bank)
    alone = thinking.explain("How many?", spelt(thinking, " 7"))
    assert any(word.notes for word in later.words) and not any(word.notes for word in alone.words)
    assert {note.place for word in later.words for note in word.notes} == {None}
    assert [word.probability for word in later.words] != [word.probability for word in alone.words]
    with_memory = texts(thinking.stream("How many?", max_new_tokens=30, temperature=0, bank=bank))
    assert with_memory == texts(thinking.stream("How many?", max_new_tokens=30, temperature=0, bank=bank))
    assert with_memory != texts(thinking.stream("How many?", max_new_tokens=30, temperature=0))


def test_a_kept_memory_opens_as_it_was(thinking: Playground, tmp_path: Path) -> None:
    thinking.model.save_pretrained(tmp_path)
    assert (load_memory(tmp_path), kept_notes(tmp_path)) == (None, 0)
    bank = there(thinking.explain("Maria has seven apples and a pear.", spelt(thinking, " She eats one.")).bank)
    save_memory(tmp_path, bank)
    opened = there(load_memory(tmp_path))
    assert opened.slots == bank.slots > 0
    assert kept_notes(tmp_path) == int(bank.filled.sum())
    for name in ("keys", "values", "log_weights", "usage", "age", "positions", "tokens"):
        assert torch.equal(getattr(opened, name), getattr(bank, name))
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "config.json", MEMORY_FILE}


def test_a_memory_of_other_weights_is_refused(thinking: Playground, tmp_path: Path) -> None:
    thinking.model.save_pretrained(tmp_path)
    save_memory(tmp_path, there(thinking.explain("Maria has seven apples.", []).bank))
    CognateModel(THINKING).save_pretrained(tmp_path)
    with pytest.raises(StorageError, match=r"^The kept memory belongs to other weights and is not used\. Forget it"):
        load_memory(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 64])
def test_a_damaged_memory_is_told_as_a_sentence(thinking: Playground, tmp_path: Path, content: bytes) -> None:
    thinking.model.save_pretrained(tmp_path)
    (tmp_path / MEMORY_FILE).write_bytes(content)
    with pytest.raises(StorageError, match=r"^The kept memory cannot be opened \("):
        load_memory(tmp_path)


def test_many_can_keep_their_memory_at_once(thinking: Playground, tmp_path: Path) -> None:
    """The last one stays; nobody sees half a file."""
    thinking.model.save_pretrained(tmp_path)
    banks = [there(thinking.explain(text, []).bank) for text in ("Maria has seven apples.", "He sold a lot of pears.")]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(save_memory, tmp_path, banks[n % 2]) for n in range(40)]:
            done.result()
    opened = there(load_memory(tmp_path))
    assert any(torch.equal(opened.tokens, bank.tokens) for bank in banks)
    assert len(list(tmp_path.iterdir())) == 3, "no temporary file is left"


def test_a_memory_that_cannot_be_written_is_told_as_a_sentence(thinking: Playground, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^The memory cannot be kept \("):
        save_memory(tmp_path / "gone", there(thinking.explain("Maria has seven apples.", []).bank))


def test_a_question_is_put_in_the_layout_of_the_training_text() -> None:
    assert problem_prompt("  How many apples?\n") == "Problem: How many apples?\nSolution:"


# As it was after a step


@pytest.fixture
def earlier(folder: Path, model: CognateModel) -> CognateModel:
    """Other weights of the same shape, kept as the checkpoint of step 7."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        earlier = CognateModel(CONFIG).eval()
    checkpoint = Checkpoint(earlier.state_dict(), {}, {"step": 7})
    save_checkpoint(folder / "checkpoints", checkpoint)
    return earlier


def test_a_checkpoint_writes_as_the_model_did_then(folder: Path, earlier: CognateModel, tokenizer: Tokenizer) -> None:
    opened = Playground.from_checkpoint(folder, 7)
    assert not opened.model.training
    for name, weight in earlier.state_dict().items():
        assert torch.equal(opened.model.state_dict()[name], weight), name
    asked: dict[str, Any] = {"max_new_tokens": 30, "temperature": 1.0, "seed": 4}
    text = texts(opened.stream("How many?", **asked))
    assert text == texts(Playground(earlier, tokenizer).stream("How many?", **asked))
    assert text != texts(Playground.from_folder(folder).stream("How many?", **asked))


@pytest.mark.parametrize("gone", ["model.safetensors", "manifest.json", ""])
def test_a_checkpoint_that_is_gone_is_told_as_a_sentence(folder: Path, earlier: CognateModel, gone: str) -> None:
    checkpoint = folder / "checkpoints" / "step-00000007"
    if gone:
        (checkpoint / gone).unlink()
    else:
        shutil.rmtree(checkpoint)
    with pytest.raises(StorageError, match=r"^The checkpoint of step 7 is no longer there\. Choose another step\.$"):
        Playground.from_checkpoint(folder, 7)


def test_a_flipped_bit_of_a_checkpoint_is_noticed(folder: Path, earlier: CognateModel) -> None:
    weights = folder / "checkpoints" / "step-00000007" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(StorageError, match=r"^The checkpoint of step 7 is damaged"):
        Playground.from_checkpoint(folder, 7)


@pytest.mark.parametrize("manifest", ["", "[]", "null", "{}", '{"model.safetensors": 3}'])
def test_a_damaged_manifest_is_told_as_a_sentence(folder: Path, earlier: CognateModel, manifest: str) -> None:
    (folder / "checkpoints" / "step-00000007" / "manifest.json").write_text(manifest)
    with pytest.raises(StorageError, match=r"^The checkpoint of step 7 (is damaged|cannot be read)"):
        Playground.from_checkpoint(folder, 7)


def test_weights_of_another_shape_are_told_as_a_sentence(folder: Path, tokenizer: Tokenizer) -> None:
    other = CognateModel(CONFIG.with_overrides({"d_model": 32}))
    save_checkpoint(folder / "checkpoints", Checkpoint(other.state_dict(), {}, {"step": 7}))
    with pytest.raises(StorageError, match=r"^The model in my-model cannot be opened \("):
        Playground.from_checkpoint(folder, 7)
