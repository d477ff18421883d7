"""The tokenizer: it spells any text, reads digits one by one, and never takes a person's words for its own marks."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.data.tokenizer import END_OF_TEXT, train_tokenizer

TEXTS = [f"Problem: Ann has {n} apples and buys {n * 37} more. 12 1234 99\nSolution: 12 + 34 = 46" for n in range(60)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 400)


@settings(max_examples=150, deadline=None)
@given(text=st.text())
def test_any_text_comes_back_as_it_was(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == text
    assert END_OF_TEXT_ID not in ids


@pytest.mark.parametrize(
    "text", ["", " ", "  two  spaces ", "\n\n", "\r\n\t", "🎉 👩‍👩‍👧 é", "\x00\x7f", "\ufeffBOM", "١٢٣ ½"]
)
def test_odd_text_comes_back_as_it_was(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@settings(max_examples=50, deadline=None)
@given(number=st.integers(0, 10**12), before=st.sampled_from(["", " ", "$", "x", "a "]))
def test_each_digit_is_a_token(tokenizer: Tokenizer, number: int, before: str) -> None:
    pieces = [tokenizer.decode([token]) for token in tokenizer.encode(f"{before}{number} apples").ids]
    assert [piece for piece in pieces if any(letter.isdigit() for letter in piece)] == list(str(number))


def test_frequent_words_are_one_token_and_numbers_never_are(tokenizer: Tokenizer) -> None:
    vocabulary = tokenizer.get_vocab()
    assert "Ġapples" in vocabulary
    assert [word for word in vocabulary if len(word) > 1 and any(letter.isdigit() for letter in word)] == []


@pytest.mark.parametrize("text", [END_OF_TEXT, f"a{END_OF_TEXT}b", f" {END_OF_TEXT} {END_OF_TEXT}"])
def test_the_end_mark_in_a_persons_text_is_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert END_OF_TEXT_ID not in ids
    assert tokenizer.decode(ids) == text


def test_the_end_mark_in_training_text_is_text() -> None:
    tokenizer = train_tokenizer([f"He wrote {END_OF_TEXT} here."] * 20, 300)
    assert tokenizer.token_to_id(END_OF_TEXT) == END_OF_TEXT_ID
    assert END_OF_TEXT_ID not in tokenizer.encode(f"He wrote {END_OF_TEXT} here.").ids


def test_the_end_mark_is_id_0_and_is_not_written_out(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_to_id(END_OF_TEXT) == END_OF_TEXT_ID == 0
    assert tokenizer.decode([END_OF_TEXT_ID]) == ""


def test_a_saved_tokenizer_reads_alike(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*TEXTS[:3], "never seen: żółć 🎉"]:
        assert again.encode(text).ids == tokenizer.encode(text).ids


@pytest.mark.parametrize("vocab_size", [300, 333, 500])
def test_no_more_ids_than_asked_for(vocab_size: int) -> None:
    tokenizer = train_tokenizer(TEXTS, vocab_size)
    assert tokenizer.get_vocab_size() <= vocab_size
    assert max(tokenizer.get_vocab().values()) < vocab_size


def test_a_tiny_text_gives_fewer_ids_and_still_spells_anything() -> None:
    tokenizer = train_tokenizer(["ab"], 32_000)
    assert tokenizer.get_vocab_size() < 300
    assert tokenizer.decode(tokenizer.encode("quite ohne Ähnlichkeit 🎉").ids) == "quite ohne Ähnlichkeit 🎉"


def test_the_same_text_gives_the_same_tokenizer() -> None:
    assert train_tokenizer(TEXTS, 400).to_str() == train_tokenizer(iter(TEXTS), 400).to_str()
