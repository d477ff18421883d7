"""Colours: one for each run, told apart also after six, and words that can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognate_core.insight.palette import ALARM, GREY, OKABE_ITO, faint, neutral, run_colour, run_dash, run_word_colour

GROUNDS = {False: ("#FFFFFF",), True: ("#10151a",)}  # by dark
LEAST_OF_WORDS, LEAST_OF_LINES = 4.5, 2.0  # WCAG 2.2 wants 4.5 of text (1.4.3); lines carry their name beside them
NUMBERS = st.integers(0, 10_000)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_of_contrast() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)  # as WebAIM's checker has it


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read(dark: bool) -> None:
    for ground in GROUNDS[dark]:
        words = [run_word_colour(number, dark=dark) for number in range(6)]
        words += [neutral(number, dark=dark) for number in range(3)]
        assert {word: contrast(word, ground) for word in words if contrast(word, ground) < LEAST_OF_WORDS} == {}


@pytest.mark.parametrize("dark", [False, True])
def test_lines_can_be_seen(dark: bool) -> None:
    for ground in GROUNDS[dark]:
        colours = [*(run_colour(number, dark=dark) for number in range(6)), GREY, ALARM]
        assert {each: contrast(each, ground) for each in colours if contrast(each, ground) < LEAST_OF_LINES} == {}


@given(number=NUMBERS, dark=st.booleans())
def test_a_run_has_one_colour_wherever_it_is_shown(number: int, dark: bool) -> None:
    assert run_colour(number, dark=dark) == run_colour(number + 6, dark=dark)
    assert run_word_colour(number, dark=dark) == run_word_colour(number + 6, dark=dark)
    assert re.fullmatch("#[0-9A-Fa-f]{6}", run_colour(number, dark=dark))


def test_light_has_the_palette_in_its_order_and_dark_differs_where_it_must() -> None:
    assert [run_colour(number, dark=False) for number in range(6)] == list(OKABE_ITO)
    same = [number for number in range(6) if run_colour(number, dark=True) == OKABE_ITO[number]]
    assert same == [1, 2, 3, 5], "of the two blues, one is too dark there, and lightened it comes near the other"


@pytest.mark.parametrize("dark", [False, True])
def test_eighteen_runs_look_different(dark: bool) -> None:
    looks = {(run_colour(number, dark=dark), run_dash(number)) for number in range(18)}
    assert len(looks) == 18
    assert [run_dash(number) for number in (0, 5, 6, 11, 12, 17, 18)] == [
        "solid", "solid", "dash", "dash", "dot", "dot", "solid",
    ]  # fmt: skip


def test_what_belongs_to_no_run_has_no_runs_colour() -> None:
    for dark in (False, True):
        of_runs = {run_colour(number, dark=dark) for number in range(6)}
        neutrals = [neutral(number, dark=dark) for number in range(3)]
        assert len(set(neutrals)) == 3 and not of_runs & {*neutrals, GREY}


@given(channels=st.tuples(*[st.integers(0, 255)] * 3), opacity=st.floats(0, 1))
def test_a_faint_colour_is_the_same_colour(channels: tuple[int, int, int], opacity: float) -> None:
    colour = "#{:02X}{:02x}{:02X}".format(*channels)
    found = re.fullmatch(r"rgba\((\d+),(\d+),(\d+),([\d.e-]+)\)", faint(colour, opacity))
    assert found is not None
    assert tuple(int(part) for part in found.groups()[:3]) == channels
    assert float(found[4]) == pytest.approx(opacity, rel=1e-5)


def test_the_pages_have_the_same_colours() -> None:
    css = (Path(__file__).parents[2] / "pages" / "look.css").read_text(encoding="utf-8")
    found = dict(re.findall(r"--(\w+): (#\w{6});", css))
    assert found == {"good": OKABE_ITO[2], "attention": OKABE_ITO[1], "bad": ALARM, "quiet": GREY}
