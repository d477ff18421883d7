"""The built-in word problems: repeatable, all different, varied, and right in every step they show.

Arithmetic is recomputed here from the printed lines alone. What is plausible or pleasant to read is not
tested; for that a person has to read a page of them.
"""

import operator
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.data import vocabulary
from cognate_core.data.word_problems import WordProblem, word_problems

SEEDS = st.integers(min_value=0, max_value=2**40)
CALCULATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (-?\d+)")
WORK_OUT = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": divmod}
NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
SPELLED = {word: number for number, word in enumerate(NUMBER_WORDS.split())} | {"twice": 2}
# what a reader knows without being told: legs, a dozen, minutes in an hour, the parts of a fraction
COMMON_KNOWLEDGE = {1, 2, 3, 4, 5, 6, 10, 12, 60}


def every_thing() -> dict[str, str]:
    """Each singular in the vocabulary with its plural."""
    found: dict[str, str] = {}
    waiting = [value for name, value in vars(vocabulary).items() if not name.startswith("_")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, vocabulary.Thing):
            found[value.one] = value.many
        elif isinstance(value, vocabulary.Ware):
            waiting.append(value.thing)
        elif isinstance(value, tuple):
            waiting.extend(value)
    return found


def any_of(words: Iterable[str]) -> str:
    """A pattern for these words, small or with a capital; so written it is twice as fast as re.IGNORECASE."""
    spellings = {spelling for word in words for spelling in (word, word[0].upper() + word[1:])}
    return "|".join(sorted(map(re.escape, spellings), key=len, reverse=True))


THINGS = every_thing()
PEOPLE = {person.name: person for person in vocabulary.PEOPLE}
A_NAME = re.compile(rf"\b(?:{any_of(PEOPLE)})\b")
A_NUMBER = re.compile(rf"\b(?:\d+|{any_of(SPELLED)})\b")
A_THING = re.compile(rf"\b(?:{any_of({*THINGS, *THINGS.values()})})\b")
A_COUNT = re.compile(rf"\b(\d+|{any_of(SPELLED)}) ({any_of({*THINGS, *THINGS.values()})})\b")
A_PRONOUN = re.compile(r"\b(?:[Hh]e|[Ss]he|[Hh]im|[Hh]er|[Hh]is)\b")
A_WEEKDAY = re.compile(r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b")


def number(text: str) -> int:
    return int(text) if text.isdigit() else SPELLED[text.lower()]


def shape(text: str) -> str:
    """The text without names, weekdays, things, numbers and pronouns: what is left is the template's own."""
    for pattern, placeholder in (
        (A_NAME, "@"),
        (A_WEEKDAY, "%"),
        (A_THING, "*"),
        (A_NUMBER, "#"),
        (A_PRONOUN, "~"),
    ):
        text = pattern.sub(placeholder, text)
    return text


def calculations(problem: WordProblem) -> list[tuple[int, str, int, int]]:
    """The one calculation of each line, as (first, sign, second, result)."""
    found = []
    for line in problem.solution.split("\n"):
        matches = CALCULATION.findall(line)
        assert len(matches) == 1, line
        first, sign, second, result = matches[0]
        found.append((int(first), sign, int(second), int(result)))
    return found


@pytest.fixture(scope="module")
def problems() -> list[WordProblem]:
    return word_problems(5_000, seed=11)


@pytest.fixture(scope="module")
def shapes(problems: list[WordProblem]) -> list[str]:
    return [shape(problem.question) for problem in problems]


@settings(max_examples=20)
@given(seed=SEEDS, short=st.integers(0, 60), more=st.integers(0, 60))
def test_a_longer_list_begins_with_the_shorter_one(seed: int, short: int, more: int) -> None:
    longer = word_problems(short + more, seed)
    assert len(longer) == short + more
    assert longer[:short] == word_problems(short, seed)


def test_another_process_tells_the_same_problems() -> None:
    code = "from cognate_core.data.word_problems import word_problems; print(word_problems(300, 5))"
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert outcome.stdout.strip() == str(word_problems(300, 5))


def test_another_seed_tells_other_problems() -> None:
    first, second = ({problem.question for problem in word_problems(500, seed)} for seed in (1, 2))
    assert len(first & second) < 10


@settings(max_examples=15)
@given(seed=SEEDS)
def test_no_question_comes_twice(seed: int) -> None:
    assert len({problem.question for problem in word_problems(400, seed)}) == 400


def test_no_question_comes_twice_in_a_long_list() -> None:
    assert len({problem.question for problem in word_problems(10_000, seed=3)}) == 10_000


def test_no_problems_are_an_empty_list() -> None:
    assert word_problems(0, seed=0) == []


@pytest.mark.parametrize("count", [-1, -5_000])
def test_a_negative_count_is_refused_in_plain_words(count: int) -> None:
    with pytest.raises(ValueError, match=rf"^The number of word problems must be 0 or more, not {count}\.$"):
        word_problems(count, seed=0)


@settings(max_examples=25)
@given(seed=SEEDS)
def test_every_line_is_right_and_the_last_one_is_the_answer(seed: int) -> None:
    for problem in word_problems(100, seed):
        steps = calculations(problem)
        for first, sign, second, result in steps:
            expected = WORK_OUT[sign](first, second)
            assert (result, 0) == expected if sign == "/" else result == expected, problem
            assert result >= 0, problem
        assert problem.answer == str(steps[-1][3]), problem
        assert problem.steps == len(steps), problem


def test_every_number_worked_with_was_given_or_worked_out_before(problems: list[WordProblem]) -> None:
    for problem in problems:
        known = COMMON_KNOWLEDGE | {number(text) for text in A_NUMBER.findall(problem.question)}
        for first, _, second, result in calculations(problem):
            assert {first, second} <= known, problem
            known.add(result)


def test_one_to_four_steps_and_all_four_signs_are_common(problems: list[WordProblem]) -> None:
    steps = Counter(problem.steps for problem in problems)
    signs = Counter(sign for problem in problems for _, sign, _, _ in calculations(problem))
    assert set(steps) == {1, 2, 3, 4}
    assert set(signs) == set(WORK_OUT)
    assert min(steps.values()) > 0.1 * len(problems), steps
    assert min(signs.values()) > 0.1 * signs.total(), signs


def test_there_are_many_ways_to_ask_and_none_is_heard_too_often(shapes: list[str]) -> None:
    often = Counter(shapes)
    assert len(often) >= 500
    assert often.most_common(1)[0][1] < 0.02 * len(shapes), often.most_common(3)


def test_there_are_many_ways_to_work_it_out(problems: list[WordProblem]) -> None:
    assert len({shape(problem.solution) for problem in problems[:1_500]}) >= 100


def test_many_people_and_many_things_take_part(problems: list[WordProblem]) -> None:
    text = " ".join(problem.question for problem in problems)
    names = {name for name in PEOPLE if re.search(rf"\b{name}\b", text)}
    things = {one for one, many in THINGS.items() if re.search(rf"\b(?:{one}|{many})\b", text)}
    assert len(names) >= 60
    assert len(things) >= 80
    assert len({problem.answer for problem in problems}) >= 500


def test_two_people_in_one_problem_never_share_a_name(problems: list[WordProblem], shapes: list[str]) -> None:
    # the same wording has the same number of people, unless two of them got the same name
    people: dict[str, set[int]] = {}
    for problem, asked in zip(problems, shapes, strict=True):
        people.setdefault(asked, set()).add(len(set(A_NAME.findall(problem.question))))
    assert len(PEOPLE) == len(vocabulary.PEOPLE)
    assert [asked for asked, numbers in people.items() if len(numbers) > 1] == []
    assert {number for numbers in people.values() for number in numbers} == {0, 1, 2, 3}


def test_pronouns_fit_somebody_who_was_named(problems: list[WordProblem]) -> None:
    checked = 0
    for problem in problems:
        named = [PEOPLE[name] for name in A_NAME.findall(problem.question)]
        fitting = {word for person in named for word in (person.he, person.him, person.his)}
        pronouns = {word.lower() for word in A_PRONOUN.findall(problem.question)}
        assert pronouns <= fitting, problem
        checked += bool(pronouns)
    assert checked > 0.2 * len(problems)


@pytest.mark.parametrize(
    ("name", "he"),
    [("Fatima", "she"), ("Yuki", "she"), ("Ngozi", "she"), ("Omar", "he"), ("Kofi", "he"), ("Wei", "he")],
)
def test_well_known_names_have_their_pronoun(name: str, he: str) -> None:
    assert PEOPLE[name].he == he


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("potato", "potatoes"),
        ("strawberry", "strawberries"),
        ("scarf", "scarves"),
        ("sheep", "sheep"),
        ("toothbrush", "toothbrushes"),
        ("loaf of bread", "loaves of bread"),
        ("photo", "photos"),
        ("day", "days"),
    ],
)
def test_plurals_are_good_english(one: str, many: str) -> None:
    assert THINGS[one] == many


def test_one_is_followed_by_a_singular_and_more_by_a_plural(problems: list[WordProblem]) -> None:
    plurals = set(THINGS.values())
    forms: Counter[bool] = Counter()
    for problem in problems[:2_500]:
        for amount, thing in A_COUNT.findall(f"{problem.question}\n{problem.solution}"):
            single = number(amount) == 1
            assert thing in (THINGS if single else plurals), (amount, thing, problem)
            forms[single] += 1
    assert forms[True] >= 20
    assert forms[False] >= 2_500


@pytest.mark.parametrize(
    ("fault", "pattern"),
    [
        ("a placeholder or an open choice", r"[{}\[\]|<>_]|None"),
        ("two spaces, a space before a sign or at an end", r"  | [.,?]|^\s|\s$"),
        ("a sentence that begins small", r"(?:^|[.?] )[a-z]"),
        ("a doubled sign", r"[.,?]{2}"),
        ("a wrong article", r"\b[Aa] [aeiou8]|\b[Aa]n (?!hour)[^aeiou8]"),
        ("a doubled word", r"\b(\w+) \1\b"),
        ("a broken amount of money", r"\$(?!\d)|\$0|\d\.\d"),
    ],
)
def test_no_text_has(fault: str, pattern: str, problems: list[WordProblem]) -> None:
    bad = re.compile(pattern, re.MULTILINE)
    texts = [text for problem in problems for text in (problem.question, problem.solution)]
    assert [text for text in texts if bad.search(text)][:3] == [], fault


def test_questions_ask_and_lines_end_with_a_full_stop(problems: list[WordProblem]) -> None:
    for problem in problems:
        assert problem.question.count("?") == 1, problem
        assert "\n" not in problem.question
        assert "####" not in problem.solution
        assert all(line.endswith(".") for line in problem.solution.split("\n")), problem
