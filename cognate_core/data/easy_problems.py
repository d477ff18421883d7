"""Word problems of one or two steps in very many wordings, so that what a person types is likely to be understood.

The kinds (`easy_kinds.py`) are those of the literature on how children read such problems (Riley, Greeno and Heller,
1983): something changes, parts make a whole, two are compared; the result, the change or the start is asked for.
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
    """How hard problems are: which operations, numbers up to `top`, and so many steps, one of which is drawn."""

    operations: Sequence[Operation]
    top: int
    steps: Sequence[int] = (1,)


def easy_problem(rng: Random, level: Level, *, heldout: bool) -> tuple[str, list[Sum]]:
    """A question, and the calculations that answer it.

    `heldout`: made of names, pairs of numbers and wordings that no other problem has.
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
    """With one of each "[this|that]", the innermost first, and single spaces."""
    while "]" in text:
        head, _, tail = text.partition("]")
        before, _, options = head.rpartition("[")
        text = before + t.pick(options.split("|")) + tail
    text = re.sub(r"(?<!=) ([.,?;])", r"\1", " ".join(text.split()))
    text = re.sub(r"([,;] )([HWFC])(?=ow|hat|ind|ount)", lambda found: found[1] + found[2].lower(), text)
    return re.sub(r"((?:Find|Count) [^.?]*)\?", r"\1.", text)


def _typed(text: str, t: Teller) -> str:
    """As people type: small numbers in letters now and then, small initials, the last sign left out."""
    if t.perhaps(0.2):
        text = re.sub(
            r"(?<!\$)\b\d+\b(?! ?[-+*/=])", lambda n: SPELLED[int(n[0])] if int(n[0]) < len(SPELLED) else n[0], text
        )
    if t.perhaps(0.82):
        text = re.sub(r"(^|[.?] )([a-z])", lambda match: match[1] + match[2].upper(), text)
    elif t.perhaps(0.5):
        text = text.lower()
    return text.rstrip("?. ") if t.perhaps(0.1) else text
