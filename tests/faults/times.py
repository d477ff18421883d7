"""How often the faults are tried: few times in CI, as often as the reliability page asks with `make soak`."""

from __future__ import annotations

import os
from collections.abc import Callable

SOAK = os.environ.get("COGNATE_SOAK") == "1"

Tally = Callable[..., None]
"""`tally(fault, tried=, survived=, lost="")`: one row of the table that is printed at the end."""


def times(short: int, full: int) -> int:
    """`short` in CI, `full` in a soak."""
    return full if SOAK else short
