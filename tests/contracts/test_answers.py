"""Reading answers out of text, comparing them, and how sure a share of right ones is."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognate_core.contracts.answers import answer_of, commonest, is_answered, same_form, wilson_interval


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" 2 + 3 = 5\n#### 5", "5"),
        ("#### 1\nNo.\n####   2  \nthat is it", "2"),
        ("####\n7", "7"),
        ("so it is 5", None),
        ("5 ####", None),
        ("", None),
        ("#### \n \n", None),
    ],
)
def test_the_answer_stands_behind_the_last_mark(text: str, answer: str | None) -> None:
    assert answer_of(text) == answer


def test_nothing_is_waited_for_once_the_line_of_the_answer_is_whole() -> None:
    assert not is_answered(" 2 + 3 = 5\n")
    assert not is_answered(" 2 + 3\n####")
    assert not is_answered(" 2 + 3\n#### \n")
    assert not is_answered(" 2 + 3\n#### 1")
    assert is_answered(" 2 + 3\n#### 12\n")


@pytest.mark.parametrize(
    ("given_answer", "right"),
    [
        ("1,234", "1234"),
        ("$5", "5"),
        ("-$5.00", "-5"),
        ("18.", "18"),
        ("2.50", "2.5"),
        (".5", "0.5"),
        ("007", "7"),
        ("-0", "0"),
        ("+3", "3"),
        ("100", "100.0"),
        ("1,000,000", "1000000.000"),
        ("Yes.", "yes"),
    ],
)
def test_one_number_can_be_written_in_several_ways(given_answer: str, right: str) -> None:
    assert same_form(given_answer, "GSM8K") == same_form(right, "GSM8K")


@pytest.mark.parametrize(
    ("given_answer", "right"), [("10", "1"), ("5 apples", "5"), ("1.5", "15"), ("-5", "5"), ("0.10", "0.01"), ("5", "")]
)
def test_another_number_is_another_answer(given_answer: str, right: str) -> None:
    assert same_form(given_answer, "SVAMP") != same_form(right, "SVAMP")


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=3), st.booleans(), st.booleans())
def test_any_number_is_itself_however_it_is_written(value: object, commas: bool, dollar: bool) -> None:
    written = f"{value:,.3f}" if commas else f"{value:.3f}"
    if dollar:
        written = written.replace("-", "-$") if written.startswith("-") else f"${written}"
    form = same_form(written, "GSM8K")
    assert float(form) == float(value)  # type: ignore[arg-type]
    assert "," not in form and not re.search(r"\.\d*0$|\.$", form)
    assert same_form(form, "GSM8K") == form


def squad_normalize(answer: str) -> str:
    """`normalize_answer` of the SQuAD evaluation script, version 1.1, step by step."""

    def remove_articles(text: str) -> str:
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(answer.lower())))


@given(st.text(max_size=60) | st.sampled_from(["The U.S. Army", "a  Theatre, an Anthem", "1,969", "yes"]))
def test_words_are_compared_as_the_squad_script_does(answer: str) -> None:
    assert same_form(answer, "HotpotQA") == squad_normalize(answer)


def test_the_commonest_answer_counts_what_is_the_same() -> None:
    answers = ["1,000", "2", "1000", "$1000.00", "2"]
    assert commonest(answers, "GSM8K") == "1,000"
    assert commonest(["b", "a", "a", "b"], "GSM8K") == "b", "of several, the first"
    assert commonest([], "GSM8K") is None


@given(st.integers(1, 5000), st.data())
def test_wilsons_interval_solves_its_equation(asked: int, data: st.DataObject) -> None:
    """Its ends are the shares p that lie z of their own standard errors from what was seen (the score test)."""
    right = data.draw(st.integers(0, asked))
    low, high = wilson_interval(right, asked)
    seen, z = right / asked, 1.959963984540054
    assert 0 <= low <= seen <= high <= 1
    for end in (low, high):
        assert (seen - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / asked, abs=1e-9)


def test_wilsons_interval_has_the_published_figures() -> None:
    """Newcombe 1998, table I, method 3."""
    for right, asked, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(right, asked) == pytest.approx((low, high), abs=5e-5)
