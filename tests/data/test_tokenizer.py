"""The tokenizer: it spells any text, reads digits one by one, and never takes a person's words for its own marks."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from cognate_core.contracts import END_OF_TEXT_ID, bits_per_byte
from cognate_core.data.tokenizer import END_OF_TEXT, texts_of_tokens, token_bytes, train_tokenizer

TEXTS = [f"Problem: Ann has {n} apples and buys {n * 37} more. 12 1234 99\nSolution: 12 + 34 = 46" for n in range(60)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 400)


@settings(max_examples=150)
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


@settings(max_examples=150)
@given(text=st.text())
def test_the_texts_of_the_tokens_are_the_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    texts = texts_of_tokens(ids, tokenizer)
    assert len(texts) == len(ids)
    assert "".join(texts) == text


def test_a_letter_of_several_tokens_is_added_by_its_last_one(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a 日é").ids
    assert texts_of_tokens(ids, tokenizer) == ["a", " ", "", "", "日", "", "é"]


@settings(max_examples=50)
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


@settings(max_examples=150)
@given(text=st.text() | st.lists(st.sampled_from([*TEXTS[:2], END_OF_TEXT, "🎉", "é", " "])).map("".join))
def test_the_bytes_of_the_tokens_are_those_of_the_text(tokenizer: Tokenizer, text: str) -> None:
    spelled = token_bytes(tokenizer)
    assert spelled[tokenizer.encode(text).ids].sum() == len(text.encode())
    assert spelled[END_OF_TEXT_ID] == 0 and spelled.shape == (tokenizer.get_vocab_size(),)


@settings(max_examples=50)
@given(text=st.text(min_size=1), nats=st.floats(0.01, 10))
def test_bits_per_byte_see_the_likelihood_of_a_text_and_not_its_tokens(
    tokenizer: Tokenizer, text: str, nats: float
) -> None:
    """Of a model that finds each byte equally likely, whatever tokens it is asked in."""
    sentence = TEXTS[0] + text
    found, losses = [], set()
    for cut in (tokenizer, train_tokenizer(["ab"], 300)):  # words, and single bytes
        ids = cut.encode(sentence).ids
        of_tokens = token_bytes(cut)[ids] * nats
        losses.add(float(of_tokens.mean()))
        found.append(bits_per_byte(float(of_tokens.mean()), len(ids), int(token_bytes(cut)[ids].sum())))
    assert len(losses) == 2, "a token means more where it is longer"
    assert found == [pytest.approx(nats / math.log(2), rel=1e-12)] * 2


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
