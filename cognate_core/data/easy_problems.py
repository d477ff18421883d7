"""Word problems of one or two steps in many wordings: a model should understand what a person types.

The kinds (`easy_kinds.py`) follow the literature on how children read such problems (Riley, Greeno and Heller, 1983):
something changes, parts make a whole, or two are compared. The question asks for the result, the change or the start.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from cognate_core.data.easy_kinds import KINDS, two_changes
from cognate_core.data.teller import Operation, Sum, Teller

_SPELLED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
SPELLED = tuple(_SPELLED.split())


@dataclass(frozen=True, slots=True)
class Level:
    """How hard problems are: operations, numbers up to `top`, and possible numbers of steps, one of which is drawn."""

    operations: Sequence[Operation]
    top: int
    steps: Sequence[int] = (1,)


def easy_problem(rng: Random, level: Level, *, heldout: bool) -> tuple[str, list[Sum]]:
    """A question, and the calculations that answer it.

    `heldout`: use only names, pairs of numbers and wordings that are held out.
    """
    teller = Teller(rng, level.top, heldout=heldout)
    operation = teller.pick(level.operations)
    if teller.pick(level.steps) == 2:
        text, sums = two_changes(teller, level.operations)
    else:
        kinds, weights = zip(*KINDS[operation], strict=True)
        sums = [teller.numbers(operation)]
        text = rng.choices(kinds, weights)[0](teller, sums[0])
    return _typed(_resolved(text, teller), teller), sums


def _resolved(text: str, t: Teller) -> str:
    """The text with one option of each "[this|that]", innermost first, and single spaces."""
    while "]" in text:
        head, _, tail = text.partition("]")
        before, _, options = head.rpartition("[")
        text = before + t.pick(options.split("|")) + tail
    text = re.sub(r"(?<!=) ([.,?;])", r"\1", " ".join(text.split()))
    text = re.sub(r"([,;] )([HWFC])(?=ow|hat|ind|ount)", lambda found: found[1] + found[2].lower(), text)
    return re.sub(r"((?:Find|Count) [^.?]*)\?", r"\1.", text)


def _typed(text: str, t: Teller) -> str:
    """The text as people type it: sometimes small numbers in words, lower case, or no sign at the end."""
    if t.perhaps(0.2):
        text = re.sub(
            r"(?<!\$)\b\d+\b(?! ?[-+*/=])", lambda n: SPELLED[int(n[0])] if int(n[0]) < len(SPELLED) else n[0], text
        )
    if t.perhaps(0.82):
        text = re.sub(r"(^|[.?] )([a-z])", lambda match: match[1] + match[2].upper(), text)
    elif t.perhaps(0.5):
        text = text.lower()
    return text.rstrip("?. ") if t.perhaps(0.1) else text
