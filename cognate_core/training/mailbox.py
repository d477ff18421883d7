"""The mailbox between a model's workers and the process that waits for them. It knows neither Ray nor tensors."""

from __future__ import annotations

import asyncio
from typing import Any


class Mailbox:
    """Keeps rank 0's messages, in order, and the person's commands. ray_trainer.py makes it an actor.

    Each start of the workers begins a new life; late messages from an earlier, lost one are dropped.
    """

    def __init__(self) -> None:
        self._items: list[tuple[str, Any]] = []
        self._arrived = asyncio.Event()
        self._life = 0
        self._command: str | None = None
        self._outcome: dict[str, Any] | Exception | None = None

    async def begin(self) -> int:
        """Begin a new life; returns its number, from 1."""
        self._life += 1
        return self._life

    async def put(self, life: int, items: list[tuple[str, Any]]) -> str | None:
        """Add what happened, in order; returns the person's command."""
        if life == self._life:
            self._items += items
            self._arrived.set()
        return self._command

    async def take(self, seconds: float) -> list[tuple[str, Any]]:
        """What happened since the last call; waits up to `seconds` for something."""
        try:
            await asyncio.wait_for(self._arrived.wait(), seconds)
        except TimeoutError:
            return []
        self._arrived.clear()
        items, self._items = self._items, []
        return items

    async def command(self, kind: str) -> None:
        """The name of an Interruption; a later command replaces it."""
        self._command = kind

    async def end(self, outcome: dict[str, Any] | Exception) -> None:
        """Set what `train_model` returns or raises. Only the first call counts."""
        if self._outcome is None:
            self._outcome = outcome
            self._items.append(("end", None))
            self._arrived.set()

    async def outcome(self) -> dict[str, Any] | Exception | None:
        """What `end` set; None before."""
        return self._outcome
