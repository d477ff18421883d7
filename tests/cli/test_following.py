"""Following a run on the terminal."""

from __future__ import annotations

from typing import Any, cast

import pytest
from rich.console import Console

from cognate_core.cli import following, output
from cognate_core.client import Client, Row

WAITING: Row = {"status": "preparing", "progress": 0.0, "message": "Getting ready", "step": None}
TRAINING: Row = {"status": "training", "progress": 0.5, "message": "Training", "step": 1, "total_steps": 2}
ENDED: Row = {"status": "completed", "progress": 1.0, "message": "Done", "step": 2}


class FakeClient:
    """A run that goes on whenever somebody looks."""

    def __init__(self) -> None:
        self.states, self.asked = [WAITING, TRAINING, TRAINING, ENDED], 0
        self.events: list[Row] = [{"level": "info", "message": "Quiet."}, {"level": "warning", "message": "First."}]

    def run(self, _: str) -> Row:
        return self.states.pop(0)

    def logged(self, _: str) -> list[Row]:
        self.asked += 1
        found = list(self.events)
        self.events.append({"level": "warning", "message": "Later."})
        return found


def test_warnings_are_told_when_training_begins_and_at_the_end_each_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0)
    monkeypatch.setattr(output, "messages", Console(stderr=True, width=200))
    said: list[tuple[str, int]] = []
    monkeypatch.setattr(output, "say", lambda sentence: said.append((sentence, len(client.states))))
    client: Any = FakeClient()
    assert following.follow_run(cast(Client, client), "r") == ENDED
    assert said == [("Warning: First.", 2), ("Warning: Later.", 0)]
    assert client.asked == 2
