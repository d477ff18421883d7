"""`cognate`, but each piece of a text after its first waits until a test lets it: one that opens and closes the FIFO.

COGNATE_HELD names the folder of the FIFO `next`, and of `ended`, which gets a line with their number when a text's
pieces end or nobody wants them any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cognate_core.cli import app
from cognate_core.inference.playground import Piece, Playground

stream = Playground.stream


def held(player: Playground, *arguments: Any, **more: Any) -> Iterator[Piece]:
    folder, written = Path(os.environ["COGNATE_HELD"]), 0
    try:
        for piece in stream(player, *arguments, **more):
            if written:
                (folder / "next").read_bytes()
            written += 1
            yield piece
    finally:
        with (folder / "ended").open("a") as file:
            file.write(f"{written}\n")


Playground.stream = held  # type: ignore[method-assign, assignment]
app()
