"""Packing: every document once and whole, nothing counted that is padding, an answer never cut, a text ended once."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.data import packing
from cognate_core.data.packing import EncodedDocument, Packed, pack, whole_documents_in

IDS = st.integers(1, 65_535)


@st.composite
def problems(draw: st.DrawFn, longest: int) -> EncodedDocument:
    """A document with a prompt; ids never hold end-of-text, as no tokenizer makes one from text."""
    ids = draw(st.lists(IDS, min_size=1, max_size=longest))
    return EncodedDocument(tuple(ids), draw(st.integers(1, len(ids))))


def documents_in(packed: Packed, *, whole: bool = True) -> Counter[tuple[int, ...]]:
    """The texts between the end-of-text tokens; `whole`: each must have its end in its own sequence."""
    found: Counter[tuple[int, ...]] = Counter()
    for row in packed.tokens.tolist():
        text: list[int] = []
        for token in row:
            if token != END_OF_TEXT_ID:
                text.append(token)
            elif text:
                found[tuple(text)] += 1
                text = []
        assert not text or not whole, "a sequence does not end with end-of-text"
    return found


@settings(max_examples=60)
@given(
    length=st.integers(2, 40),
    documents=st.lists(problems(longest=45), max_size=40),
    answers_only=st.booleans(),
    open_sequences=st.integers(1, 5) | st.just(packing.OPEN_SEQUENCES),
)
def test_each_document_that_fits_is_there_once_and_whole(
    length: int, documents: list[EncodedDocument], answers_only: bool, open_sequences: int
) -> None:
    fitting = [document for document in documents if len(document.ids) + 1 <= length]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "OPEN_SEQUENCES", open_sequences)
        packed = pack(documents, length, answers_only=answers_only)
    assert documents_in(packed) == Counter(document.ids for document in fitting)
    assert packed.skipped == len(documents) - len(fitting)
    assert packed.tokens.shape == packed.counted.shape
    assert packed.tokens.shape[1] == length + 1
    assert (packed.tokens[:, 0] == END_OF_TEXT_ID).all()
    assert not packed.counted[:, 0].any()


@settings(max_examples=60)
@given(length=st.integers(2, 40), documents=st.lists(problems(longest=39), max_size=40))
def test_text_counts_and_padding_does_not(length: int, documents: list[EncodedDocument]) -> None:
    packed = pack(documents, length, answers_only=False)
    assert set(np.unique(packed.counted)) <= {0, 1}
    fitting = [document for document in documents if len(document.ids) + 1 <= length]
    assert packed.counted.sum() == sum(len(document.ids) + 1 for document in fitting)
    for tokens, counted in zip(packed.tokens, packed.counted, strict=True):
        filled = np.flatnonzero(tokens)[-1] + 1  # the position of the last document's end
        assert counted[1 : filled + 1].all(), "a token of a document does not count"
        assert not counted[filled + 1 :].any(), "padding counts"


@settings(max_examples=60)
@given(length=st.integers(2, 40), documents=st.lists(problems(longest=39), min_size=1, max_size=40))
def test_answers_only_counts_each_answer_and_its_end(length: int, documents: list[EncodedDocument]) -> None:
    # mark each id: below 1000 in a prompt, above it in an answer
    marked = [
        EncodedDocument(
            [1 + n % 900 if place < document.prompt_length else 1_001 + n for place, n in enumerate(document.ids)],
            document.prompt_length,
        )
        for document in (
            EncodedDocument([n % 60_000 for n in document.ids], document.prompt_length) for document in documents
        )
    ]
    packed = pack(marked, length, answers_only=True)
    tokens, counted = packed.tokens.astype(int), packed.counted.astype(bool)
    is_text = tokens != END_OF_TEXT_ID
    before = np.roll(is_text, 1, axis=1)
    ends_a_document = ~is_text & before
    ends_a_document[:, 0] = False
    assert (counted == ((tokens > 1_000) | ends_a_document)).all()


def test_every_token_counts_in_plain_text_even_with_answers_only() -> None:
    packed = pack([EncodedDocument([5, 6, 7], 0)], 6, answers_only=True)
    assert packed.counted.tolist() == [[0, 1, 1, 1, 1, 0, 0]]


@settings(max_examples=50)
@given(length=st.integers(2, 30), texts=st.lists(st.lists(IDS, min_size=1, max_size=200), max_size=8))
def test_plain_text_is_cut_but_complete(length: int, texts: list[list[int]]) -> None:
    # number the tokens, so that a piece tells where it comes from
    numbered: list[list[int]] = []
    first = 1
    for text in texts:
        numbered.append(list(range(first, first + len(text))))
        first += len(text)
    packed = pack([EncodedDocument(text, 0) for text in numbered], length, answers_only=False)
    assert packed.skipped == 0
    learned = packed.tokens[packed.counted.astype(bool)].tolist()
    assert sorted(token for token in learned if token != END_OF_TEXT_ID) == list(range(1, first))
    last = {text[-1] for text in numbered}
    assert learned.count(END_OF_TEXT_ID) == len(numbered)
    for row in packed.tokens.tolist():
        for token, following in itertools.pairwise(row):
            if token != END_OF_TEXT_ID:
                expected = {END_OF_TEXT_ID} if token in last else {token + 1}
                assert following in expected, "a text is broken off, or goes on behind its end"
    found = documents_in(packed, whole=False)
    for text in numbered:
        if len(text) + 1 <= length:
            assert tuple(text) in found, "a text that fits was cut"


def test_a_long_text_ends_once_and_goes_on_where_it_was_cut() -> None:
    packed = pack([EncodedDocument(range(1, 12), 0), EncodedDocument([20], 0)], 4, answers_only=False)
    assert packed.tokens.tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10, 11, 0], [0, 20, 0, 0, 0]]
    assert packed.counted.tolist() == [[0, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 1, 1, 0, 0]]


def test_a_text_that_fills_its_sequences_has_its_end_in_one_more() -> None:
    packed = pack([EncodedDocument(range(1, 9), 0), EncodedDocument([20], 0)], 4, answers_only=False)
    assert packed.tokens.tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 0, 20, 0, 0]]
    assert packed.counted.tolist() == [[0, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 1, 1, 1, 0]]


def test_behind_the_end_of_a_long_text_others_have_room() -> None:
    packed = pack([EncodedDocument(range(1, 8), 0), EncodedDocument([20], 0)], 6, answers_only=True)
    assert packed.tokens.tolist() == [[0, 1, 2, 3, 4, 5, 6], [6, 7, 0, 20, 0, 0, 0]]
    assert packed.counted.tolist() == [[0, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 0, 0]]


@settings(max_examples=100)
@given(
    length=st.integers(2, 30),
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=8),
    answers_only=st.booleans(),
)
def test_a_row_that_is_cut_counts_as_if_it_were_whole(
    length: int, sizes: list[tuple[int, int]], answers_only: bool
) -> None:
    rows: list[EncodedDocument] = []  # each token has its own number
    first = 1
    for prompt, answer in sizes:
        rows.append(EncodedDocument(range(first, first + prompt + answer), prompt))
        first += prompt + answer
    packed = pack(rows, length, answers_only=answers_only, cut_rows=True)
    counted = packed.tokens[packed.counted.astype(bool)].tolist()
    due = [token for row in rows for token in row.ids[row.prompt_length if answers_only else 0 :]]
    assert sorted(token for token in counted if token != END_OF_TEXT_ID) == due
    assert counted.count(END_OF_TEXT_ID) == len(rows)
    assert packed.counted.any(axis=1).all(), "nothing counts in a sequence"
    fitting = [row for row in rows if len(row.ids) < length]
    assert (packed.skipped, packed.cut) == (0, len(rows) - len(fitting))
    whole = [tuple(text) for sequence in packed.tokens.tolist() for text in whole_documents_in(sequence)]
    assert sorted(whole) == [tuple(row.ids) for row in fitting], "a piece passes for a row"
    follows = {before: after for row in rows for before, after in itertools.pairwise([*row.ids, END_OF_TEXT_ID])}
    for sequence in packed.tokens.tolist():
        for token, following in itertools.pairwise(sequence):
            assert token == END_OF_TEXT_ID or following == follows[token]


def test_the_question_of_a_cut_row_counts_in_none_of_its_pieces() -> None:
    rows = [EncodedDocument(range(1, 12), 6), EncodedDocument([20, 21], 1)]
    packed = pack(rows, 4, answers_only=True, cut_rows=True)  # the first piece, 1 to 4, would teach nothing
    assert packed.tokens.tolist() == [[4, 5, 6, 7, 8], [8, 9, 10, 11, 0], [0, 20, 21, 0, 0]]
    assert packed.counted.tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 1, 1], [0, 0, 1, 1, 0]]
    assert [whole_documents_in(row) for row in packed.tokens.tolist()] == [[], [], [[20, 21]]]


@pytest.mark.parametrize(
    ("tokens", "whole"),
    [
        ([0, 1, 2, 0, 3, 0, 0], [[1, 2], [3]]),
        ([9, 1, 2, 0, 3, 0, 0], [[3]]),
        ([9, 0, 3, 0, 0, 0, 0], [[3]]),  # the cut row's end has a sequence of its own
        ([0, 1, 2, 3, 4, 5, 6], []),
        ([9, 1, 2, 3, 4, 5, 6], []),
        ([0, 0, 0, 0, 0, 0, 0], []),
    ],
)
def test_a_piece_is_not_a_whole_document(tokens: list[int], whole: list[list[int]]) -> None:
    assert whole_documents_in(tokens) == whole


def test_a_document_may_fill_a_sequence_exactly() -> None:
    packed = pack([EncodedDocument(range(1, 8), 3)], 8, answers_only=False)
    assert packed.tokens.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 0]]
    assert packed.counted.tolist() == [[0, 1, 1, 1, 1, 1, 1, 1, 1]]
    assert packed.skipped == 0


def test_one_token_more_is_skipped_and_counted() -> None:
    packed = pack([EncodedDocument(range(1, 9), 3)], 8, answers_only=False)
    assert packed.tokens.shape == (0, 9)
    assert packed.skipped == 1


def test_short_documents_share_sequences() -> None:
    packed = pack([EncodedDocument([9] * 3, 1)] * 100, 16, answers_only=False)
    assert len(packed.tokens) == 25


def test_a_small_gap_is_filled_by_a_later_document() -> None:
    sizes = [9, 6, 2]  # with their ends 10, 7 and 3: the third goes to the second, which is fuller than nothing
    packed = pack([EncodedDocument([size] * size, 1) for size in sizes], 10, answers_only=False)
    assert packed.tokens.tolist() == [[0, *[9] * 9, 0], [0, *[6] * 6, 0, 2, 2, 0]]


def test_the_largest_id_is_kept() -> None:
    assert pack([EncodedDocument([65_535], 1)], 4, answers_only=False).tokens[0, 1] == 65_535


@pytest.mark.parametrize("answers_only", [True, False])
def test_nothing_packs_to_nothing(answers_only: bool) -> None:
    packed = pack([], 16, answers_only=answers_only)
    assert packed.tokens.shape == (0, 17)
    assert packed.skipped == 0
