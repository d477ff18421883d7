"""The generated pages of docs/ say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reference import pages


@pytest.mark.parametrize(("path", "text"), pages().items(), ids=lambda value: getattr(value, "name", ""))
def test_a_page_is_as_it_would_be_written_now(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run `make docs`"
