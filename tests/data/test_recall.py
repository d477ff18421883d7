"""The recall task: facts, filler, and questions that only a memory can answer."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recall_task import FACT, FIRST_FILLER, QUESTION, RecallTask


@st.composite
def tasks(draw: st.DrawFn) -> RecallTask:
    keys = draw(st.integers(1, 12))
    return RecallTask(
        keys=keys,
        values=draw(st.integers(1, 12)),
        facts=draw(st.integers(1, keys)),
        distance=draw(st.integers(0, 40)),
        fillers=draw(st.integers(1, 9)),
    )


def first_batch(task: RecallTask, size: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return next(task.batches(size, seed))


@settings(max_examples=60)
@given(task=tasks(), seed=st.integers(0, 1000))
def test_facts_are_told_then_asked_in_another_order(task: RecallTask, seed: int) -> None:
    tokens, answers = first_batch(task, 3, seed)
    assert tokens.shape == answers.shape == (3, task.length)
    assert tokens.dtype == np.int64 and answers.dtype == np.bool_
    told_to = 1 + 3 * task.facts
    for sequence, is_answer in zip(tokens, answers, strict=True):
        assert sequence[0] == 0
        told = sequence[1:told_to].reshape(-1, 3)
        asked = sequence[told_to + task.distance :].reshape(-1, 3)
        assert len(told) == len(asked) == task.facts
        assert (told[:, 0] == FACT).all()
        assert (asked[:, 0] == QUESTION).all()
        facts = dict(told[:, 1:].tolist())
        assert len(facts) == task.facts, "a key was told twice"
        assert dict(asked[:, 1:].tolist()) == facts
        assert is_answer.sum() == task.facts
        assert sequence[is_answer].tolist() == asked[:, 2].tolist()


@settings(max_examples=40)
@given(task=tasks(), seed=st.integers(0, 1000))
def test_every_kind_of_token_has_ids_of_its_own(task: RecallTask, seed: int) -> None:
    first_key = FIRST_FILLER + task.fillers
    first_value = first_key + task.keys
    assert first_value + task.values == task.vocab_size
    tokens, _ = first_batch(task, 3, seed)
    told = tokens[:, 1 : 1 + 3 * task.facts].reshape(-1, 3)
    filler = tokens[:, 1 + 3 * task.facts : 1 + 3 * task.facts + task.distance]
    assert ((told[:, 1] >= first_key) & (told[:, 1] < first_value)).all()
    assert ((told[:, 2] >= first_value) & (told[:, 2] < task.vocab_size)).all()
    assert ((filler >= FIRST_FILLER) & (filler < first_key)).all()


@settings(max_examples=40)
@given(task=tasks(), seed=st.integers(0, 1000))
def test_at_least_the_distance_stands_between_telling_and_asking(task: RecallTask, seed: int) -> None:
    tokens, answers = first_batch(task, 3, seed)
    for sequence, is_answer in zip(tokens, answers, strict=True):
        for place in np.flatnonzero(is_answer):
            key = sequence[place - 1]
            told = np.flatnonzero(sequence[: place - 1] == key)[0] + 1  # where its value stands
            question = place - 2
            assert question - told - 1 >= task.distance


def test_the_filler_counts_on_and_on() -> None:
    task = RecallTask(distance=40, fillers=8)
    tokens, _ = first_batch(task, 16)
    filler = tokens[:, 1 + 3 * task.facts : 1 + 3 * task.facts + 40] - FIRST_FILLER
    assert ((filler[:, 1:] - filler[:, :-1]) % 8 == 1).all()
    assert len(set(filler[:, 0].tolist())) > 3, "it always begins at the same place"


def test_every_order_key_and_value_comes_up() -> None:
    task = RecallTask(keys=4, values=3, facts=2, distance=0, fillers=1)
    tokens, answers = first_batch(task, 400)
    shares = np.unique(tokens[answers], return_counts=True)[1] / answers.sum()
    assert shares.tolist() == pytest.approx([task.chance] * 3, abs=0.06), "one guess is better than another"
    assert len(np.unique(tokens[:, 2])) == 4
    same_order = (tokens[:, 2] == tokens[:, -5]).mean()
    assert same_order == pytest.approx(0.5, abs=0.1), "the place of a question tells which fact it asks for"


def test_a_seed_always_gives_the_same_batches_and_another_others() -> None:
    task = RecallTask()
    one, again, other = (list(islice(task.batches(2, seed), 3)) for seed in (5, 5, 6))
    for (tokens, answers), (same_tokens, same_answers) in zip(one, again, strict=True):
        assert np.array_equal(tokens, same_tokens)
        assert np.array_equal(answers, same_answers)
    assert not np.array_equal(one[0][0], one[1][0]), "the same batch over and over"
    assert not np.array_equal(one[0][0], other[0][0])
    assert not np.array_equal(one[0][0][0], one[0][0][1]), "the rows of a batch are alike"


def test_a_task_says_its_length_its_words_and_its_chance() -> None:
    task = RecallTask(keys=20, values=16, facts=6, distance=128, fillers=8)
    assert task.length == 1 + 18 + 128 + 18
    assert task.vocab_size == 3 + 8 + 20 + 16
    assert task.chance == 1 / 16


def test_the_smallest_task() -> None:
    task = RecallTask(keys=1, values=1, facts=1, distance=0, fillers=1)
    tokens, answers = first_batch(task, 1)
    assert tokens.tolist() == [[0, FACT, 4, 5, QUESTION, 4, 5]]
    assert answers.tolist() == [[False] * 6 + [True]]


def test_more_facts_than_keys_cannot_be_told() -> None:
    with pytest.raises(ValueError, match=r"^There must be 1 to 2 facts"):
        first_batch(RecallTask(keys=2, facts=3))
