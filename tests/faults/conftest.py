"""Faults made on purpose, and a table of what came of them at the end of the tests."""

from __future__ import annotations

import pytest

from tests.faults.times import SOAK, Tally

_rows: list[tuple[str, int, int, str]] = []


@pytest.fixture
def tally() -> Tally:
    """See `times.Tally`. A test calls it before its last assertion, so that a loss is in the table, too."""

    def add(fault: str, *, tried: int, survived: int, lost: str = "") -> None:
        _rows.append((fault, tried, survived, lost))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _rows:
        return
    terminalreporter.section(f"faults, {'full counts (soak)' if SOAK else 'the short pass'}")
    width = max(len(fault) for fault, *_ in _rows)
    for fault, tried, survived, lost in _rows:
        terminalreporter.write_line(f"{fault:{width}}  tried {tried:4}  survived {survived:4}  {lost}")
