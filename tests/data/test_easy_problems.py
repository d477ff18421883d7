"""The easy built-in problems: right, readable, and with names, numbers and wordings that are held out truly apart."""

import json
import operator
import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.data import easy_words as words
from cognate_core.data.easy_problems import SPELLED
from cognate_core.data.teller import Teller, is_held_out
from cognate_core.data.word_problems import LEVELS, WordProblem, word_problems

SEEDS = st.integers(min_value=0, max_value=2**40)
SUM = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
WORK_OUT = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}
IN_LETTERS = {word: number for number, word in enumerate(SPELLED)}
A_NUMBER = re.compile(rf"\d+|\b(?:{'|'.join(SPELLED)})\b", re.IGNORECASE)


def sums(problem: WordProblem) -> list[tuple[int, str, int, int]]:
    found = [SUM.fullmatch(line) for line in problem.solution.split("\n")]
    return [(int(each[1]), each[2], int(each[3]), int(each[4])) for each in found if each]


def numbers(question: str) -> set[int]:
    return {IN_LETTERS.get(text.lower(), -1) if text.isalpha() else int(text) for text in A_NUMBER.findall(question)}


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=10)
@given(seed=SEEDS, heldout=st.booleans())
def test_every_line_is_right_and_uses_what_was_told(level: str, seed: int, heldout: bool) -> None:
    top = LEVELS[level].top
    for problem in word_problems(60, seed, level, heldout=heldout):
        known = numbers(problem.question)
        steps = sums(problem)
        assert len(steps) == problem.steps == len(problem.solution.split("\n")), problem
        for first, sign, second, result in steps:
            assert WORK_OUT[sign](first, second) == result >= 0, problem
            assert sign != "/" or first % second == 0, problem
            assert first in known, problem
            assert second in known, problem
            assert second <= top, problem
            assert result <= max(40, top), problem
            known.add(result)
        assert problem.answer == str(steps[-1][3]), problem


@pytest.mark.parametrize(
    ("level", "signs", "steps"),
    [("sums-to-20", "+-", {1}), ("one-step-to-100", "+-*/", {1}), ("two-steps", "+-", {1, 2})],
)
def test_a_level_has_its_signs_and_steps(level: str, signs: str, steps: set[int]) -> None:
    problems = word_problems(600, 4, level)
    assert {problem.steps for problem in problems} == steps
    assert {sign for problem in problems for _, sign, _, _ in sums(problem)} == set(signs)


@pytest.mark.parametrize(("asking", "sign"), [("in all|altogether|total", "+"), ("left|remain|still|fewer", "-")])
def test_the_question_fits_the_sum(asking: str, sign: str) -> None:
    problems = word_problems(2000, 3, "sums-to-20")
    questions = [re.split("(?i)(?=how many|what|count all|find the)", problem.question)[-1] for problem in problems]
    signs = [
        sums(problem)[0][1]
        for problem, question in zip(problems, questions, strict=True)
        if re.search(rf"\b({asking})\b", question, re.IGNORECASE)
    ]
    assert len(signs) > 200 and set(signs) == {sign}


@settings(max_examples=10)
@given(seed=SEEDS, short=st.integers(0, 40), more=st.integers(0, 40))
def test_a_longer_list_begins_with_the_shorter_one(seed: int, short: int, more: int) -> None:
    longer = word_problems(short + more, seed, "two-steps")
    assert len({problem.question for problem in longer}) == short + more
    assert longer[:short] == word_problems(short, seed, "two-steps")


def named(problems: list[WordProblem]) -> set[str]:
    text = " ".join(problem.question for problem in problems)
    return {who.name for who in words.PEOPLE if re.search(rf"\b{who.name}\b", text)}


def test_what_is_held_out_is_in_no_other_problem() -> None:
    learned, apart = (
        word_problems(count, 1, "sums-to-20", heldout=held) for count, held in ((4000, False), (400, True))
    )
    assert not named(learned) & {who.name for who in words.HELD_OUT_PEOPLE}
    assert named(apart) & {who.name for who in words.HELD_OUT_PEOPLE}
    for problems, held in ((learned, False), (apart, True)):
        assert {is_held_out(first, second) for each in problems for first, _, second, _ in sums(each)} == {held}


@settings(max_examples=40)
@given(seed=SEEDS, count=st.integers(4, 40))
def test_wordings_are_held_out_too(seed: int, count: int) -> None:
    options = [str(number) for number in range(count)]
    learned, apart = (
        {Teller(Random(seed + n), 20, heldout=held).wording(*options) for n in range(60)} for held in (False, True)
    )
    assert apart <= set(options[-max(1, count // 8) :])
    assert not learned & apart


def test_there_is_nothing_to_hold_out_of_all_problems() -> None:
    with pytest.raises(ValueError, match=r"holds out no wordings; choose an easy level\.$"):
        word_problems(3, 0, "all", heldout=True)


def test_wordings_people_and_things_are_many() -> None:
    problems = word_problems(5000, 2, "sums-to-20")
    names = "|".join(who.name for who in words.PEOPLE)
    shapes = {re.sub(rf"\b(?:{names})\b|\d+", "#", problem.question) for problem in problems}
    assert len(shapes) > 4000  # nearly each problem is worded anew
    assert len(named(problems)) > 150


@pytest.mark.parametrize(
    ("fault", "pattern"),
    [
        ("an open choice or placeholder", r"[{}\[\]|<>_]|None"),
        ("two spaces, or a space before a sign or at an end", r"  |(?<!=) [.,?;]|^\s|\s$"),
        ("a doubled sign", r"[.,?;]{2}"),
        ("two numbers side by side", r"\d \d"),
        ("a question that goes on after a comma with a capital", r"[,;] (?:How|What|Find|Count)\b"),
        ("a doubled word", r"\b(?!had\b)(\w+) \1\b"),
    ],
)
@pytest.mark.parametrize("level", LEVELS)
def test_no_question_has(level: str, fault: str, pattern: str) -> None:
    bad = re.compile(pattern)
    found = [each.question for held in (False, True) for each in word_problems(1500, 3, level, heldout=held)]
    assert [question for question in found if bad.search(question)][:3] == [], fault


@pytest.mark.parametrize(
    ("verb", "third", "past"),
    [("buy", "buys", "bought"), ("carry", "carries", "carried"), ("fetch", "fetches", "fetched"), ("be", "bes", "was"),
     ("bake", "bakes", "baked"), ("have", "has", "had"), ("begin", "begins", "began"), ("go", "goes", "went")],
)  # fmt: skip
def test_verbs_are_inflected(verb: str, third: str, past: str) -> None:
    assert (words.third_of(verb), words.past_of(verb)) == (third, past)


@pytest.mark.parametrize(
    ("who", "past", "expected"),
    [(words.I, False, "am given"), (words.WE, True, "were given"), (words.ROLES[0], False, "is given")],
)
def test_the_passive_fits_its_person(who: words.Who, past: bool, expected: str) -> None:
    assert who.does("be given", past=past) == expected


def test_no_verb_that_is_used_lacks_its_past() -> None:
    """A regular past of these would be wrong English: each ends in one short vowel and a consonant, or is irregular."""
    verbs = {verb.split()[0] for goods in words.GOODS for verb in (*goods.gains, *goods.losses)}
    verbs |= {verb.split()[0] for place in words.PLACES for verb in (*place.come, *place.go)} - {"are"}
    doubled = re.compile(r"[^aeiou][aeiou][bdgmnpt]$")
    regular = {verb for verb in verbs if words.past_of(verb) in (verb + "ed", verb + "d")}
    # Two syllables with the stress on the first keep a single consonant.
    assert {verb for verb in regular if doubled.search(verb)} <= {"inherit"}


def test_the_questions_in_peoples_own_words_are_sound() -> None:
    """Written for the benchmark by somebody who did not read the wordings; each names both of its numbers."""
    asked = json.loads((Path(__file__).parents[1] / "bench" / "own_words.json").read_text(encoding="utf-8"))
    assert len(asked) >= 30
    for each in asked:
        told = sorted(numbers(each["question"]))
        assert any(each["answer"] in (first + second, abs(first - second)) for first in told for second in told), each[
            "question"
        ]
