"""Colours: one for each run, the same everywhere, colour-blind-safe, readable on light and dark."""

from __future__ import annotations

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colour-blind-safe, always in this order (Okabe and Ito, https://jfly.uni-koeln.de/color/)."""

# The first blue is hard to see there. Lightened, it would resemble the fifth, which is therefore lightened, too.
_ON_DARK = ("#4C9BE8", *OKABE_ITO[1:4], "#A6DCFF", OKABE_ITO[5])
_WORDS_ON_LIGHT = ("#0072B2", "#8F6200", "#007A58", "#A5487E", "#1F78A8", "#B34E00")  # contrast of 4.5 on white
_DASHES = ("solid", "dash", "dot")

GREY = "#808080"
ALARM = OKABE_ITO[5]


def run_colour(number: int, *, dark: bool) -> str:
    """The colour of the lines of the run whose `Run.colour` is `number`."""
    return (_ON_DARK if dark else OKABE_ITO)[number % len(OKABE_ITO)]


def run_word_colour(number: int, *, dark: bool) -> str:
    """The same for text, which needs more contrast."""
    return (_ON_DARK if dark else _WORDS_ON_LIGHT)[number % len(OKABE_ITO)]


def run_dash(number: int) -> str:
    """The dash style of the run's lines: after six runs the colours repeat with another style."""
    return _DASHES[number // len(OKABE_ITO) % len(_DASHES)]


def neutral(number: int, *, dark: bool) -> str:
    """A shade of the text colour, for what belongs to no run."""
    tones = ("#DFE6EC", "#AAB4BD", "#7F8A94") if dark else ("#2B3640", "#515B64", "#6C7680")
    return tones[number % len(tones)]


def faint(colour: str, opacity: float) -> str:
    """A "#RRGGBB" colour, made transparent."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
