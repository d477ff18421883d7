"""The mailbox between a model's workers and the process that waits for them. It knows nothing of Ray or tensors."""

from __future__ import annotations

import asyncio
from typing import Any


class Mailbox:
    """Keeps what rank 0 says, in order, and the person's commands. Made an actor by ray_trainer.py.

    Each life of the workers begins anew; what comes late from an earlier one, which was lost, is dropped.
    """

    def __init__(self) -> None:
        self._items: list[tuple[str, Any]] = []
        self._arrived = asyncio.Event()
        self._life = 0
        self._command: str | None = None
        self._outcome: dict[str, Any] | Exception | None = None

    async def begin(self) -> int:
        """A new life; its number, from 1."""
        self._life += 1
        return self._life

    async def put(self, life: int, items: list[tuple[str, Any]]) -> str | None:
        """What happened, in its order; what is wished."""
        if life == self._life:
            self._items += items
            self._arrived.set()
        return self._command

    async def take(self, seconds: float) -> list[tuple[str, Any]]:
        """What happened since; waits so long for something to happen."""
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
        """What `train_model` shall return or raise. The first word is the one that counts."""
        if self._outcome is None:
            self._outcome = outcome
            self._items.append(("end", None))
            self._arrived.set()

    async def outcome(self) -> dict[str, Any] | Exception | None:
        """What `end` was told, None before."""
        return self._outcome
