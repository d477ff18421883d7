"""The Memory lab's task: facts, a day that goes by, and questions that only a memory can answer."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.labs.recall import (
    ANSWER,
    ASKED,
    COLOURS,
    DAY,
    FACT,
    NAMES,
    QUESTION,
    SENTENCE,
    THINGS,
    WORDS,
    Recall,
    Texts,
    UnknownWordError,
    decode,
    encode,
)

TOLD = re.compile(r"(\w+)'s (\w+) is in the (\w+) box\.")
ASKED_FOR = re.compile(r"Where is (\w+)'s (\w+)\? In the (\w+) box\.")

tasks = st.builds(Recall, facts=st.integers(1, 20), distance=st.integers(0, 60))


def texts_of(task: Recall, size: int = 3, seed: int = 0) -> Texts:
    return task.batch(size, np.random.default_rng(seed))


@settings(max_examples=50, deadline=None)
@given(task=tasks, seed=st.integers(0, 1000))
def test_what_was_told_is_asked_in_another_order(task: Recall, seed: int) -> None:
    texts = texts_of(task, seed=seed)
    assert texts.tokens.shape == texts.answers.shape == texts.knowable.shape == (3, task.length)
    assert texts.tokens.dtype == np.int64
    for tokens, answers in zip(texts.tokens, texts.answers, strict=True):
        assert tokens[0] == END_OF_TEXT_ID
        text = decode(tokens[1:].tolist())
        asked = ASKED_FOR.findall(text)
        assert sorted(TOLD.findall(text)) == sorted(asked)
        assert len({(name, thing) for name, thing, _ in asked}) == task.facts, "the same thing was told twice"
        assert [WORDS[token] for token in tokens[answers]] == [colour for _, _, colour in asked]


@settings(max_examples=50, deadline=None)
@given(task=tasks, seed=st.integers(0, 1000))
def test_at_least_the_distance_lies_between_a_colour_told_and_asked_for(task: Recall, seed: int) -> None:
    texts = texts_of(task, seed=seed)
    is_colour = np.isin(texts.tokens, encode(" ".join(COLOURS)))
    told_last = np.flatnonzero((is_colour & ~texts.answers).any(0))[-1]
    asked_first = np.flatnonzero(texts.answers.any(0))[0]
    assert asked_first - told_last - 1 >= task.distance


@settings(max_examples=30, deadline=None)
@given(task=tasks, seed=st.integers(0, 1000))
def test_only_what_is_told_and_asked_about_cannot_be_known(task: Recall, seed: int) -> None:
    texts = texts_of(task, seed=seed)
    blanks = np.isin(texts.tokens, encode(" ".join((*NAMES, *THINGS, *COLOURS))))
    assert np.array_equal(texts.knowable, ~blanks | texts.answers)


def test_some_texts_are_about_one_person_and_some_about_one_thing() -> None:
    pairs = [TOLD.findall(decode(tokens[1:].tolist())) for tokens in texts_of(Recall(facts=4), 1000).tokens]
    people, things = (np.array([len({fact[which] for fact in facts}) for facts in pairs]) for which in (0, 1))
    assert ((people == 1) & (things == 4)).mean() == pytest.approx(Recall().alike / 2, abs=0.05)
    assert ((things == 1) & (people == 4)).mean() == pytest.approx(Recall().alike / 2, abs=0.05)
    assert (people > 1).mean() > 0.7


def test_a_day_goes_by_in_order_from_any_of_its_sentences() -> None:
    task = Recall(facts=1, distance=3 * SENTENCE)
    firsts = set()
    for tokens in texts_of(task, 64).tokens:
        text = decode(tokens[1:].tolist())
        sentences = [f"{each.strip()}." for each in text.split(".")[1:4]]
        first = DAY.index(sentences[0])
        assert sentences == [DAY[(first + n) % len(DAY)] for n in range(3)]
        firsts.add(first)
    assert firsts == set(range(len(DAY)))


def test_all_sentences_of_the_day_are_equally_long() -> None:
    assert {len(encode(sentence)) for sentence in DAY} == {SENTENCE}
    assert Recall(distance=SENTENCE).sentences == 1
    assert Recall(distance=SENTENCE + 1).sentences == 2
    assert Recall(distance=0).sentences == 0


def test_every_colour_and_order_comes_up() -> None:
    task = Recall(facts=2, distance=0)
    texts = texts_of(task, 2000)
    answers = texts.tokens[texts.answers]
    counts = np.unique(answers, return_counts=True)[1]
    assert len(counts) == len(COLOURS)
    assert counts / len(answers) == pytest.approx(task.chance, abs=0.02), "one guess is better than another"
    orders = [ASKED_FOR.findall(text) == TOLD.findall(text) for text in map(decode, texts.tokens[:, 1:].tolist())]
    assert np.mean(orders) == pytest.approx(0.5, abs=0.06), "the place of a question tells which fact it asks for"


def test_a_seed_always_gives_the_same_texts_and_another_others() -> None:
    one, again, other = (texts_of(Recall(), seed=seed).tokens for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    random = np.random.default_rng(5)
    assert not np.array_equal(Recall().batch(3, random).tokens, Recall().batch(3, random).tokens)


@pytest.mark.parametrize("facts", [0, 101])
def test_there_are_only_so_many_facts(facts: int) -> None:
    with pytest.raises(ValueError, match=r"^There must be 1 to 100 facts"):
        Recall(facts=facts)


def test_every_word_has_one_id() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert WORDS[END_OF_TEXT_ID] == "<end of text>"
    assert not set(NAMES) & set(THINGS) & set(COLOURS)


@settings(max_examples=50, deadline=None)
@given(task=tasks, seed=st.integers(0, 1000))
def test_a_text_reads_back_as_its_tokens(task: Recall, seed: int) -> None:
    tokens = texts_of(task, 1, seed).tokens[0, 1:].tolist()
    assert encode(decode(tokens)) == tokens


def test_people_write_capitals_spaces_and_apostrophes_as_they_like() -> None:
    fact = encode(FACT.format(name="Mia", thing="key", colour="blue"))
    assert encode("mia's  KEY is in the Blue box .") == fact
    assert encode("Mia\N{RIGHT SINGLE QUOTATION MARK}s key is in the blue box.") == fact
    assert decode(fact) == "Mia's key is in the blue box."
    assert encode("") == []


def test_a_question_ends_where_its_answer_belongs() -> None:
    question, answer = (each.format(name="Mia", thing="key", colour="blue") for each in (QUESTION, ANSWER))
    asked = encode(f"{question} {ASKED}")
    assert encode(f"{question} {answer}")[: len(asked)] == asked
    assert WORDS[encode(answer)[len(encode(ASKED))]] == "blue"


def test_unknown_words_are_named_with_what_can_be_written_instead() -> None:
    with pytest.raises(UnknownWordError) as raised:
        encode("Mia's kay is in the magenta box, magenta!")
    message = str(raised.value)
    assert message.startswith('This model knows only a few words, and "kay", "magenta", ",", "!" are not among them.')
    assert 'Did you mean "key"?' in message
    assert '"Mia\'s key is in the blue box."' in message
    for word in (*NAMES, *THINGS, *COLOURS):
        assert word in message
    with pytest.raises(UnknownWordError, match=r'and "xylophone" is not among them\. Write'):
        encode("xylophone")
