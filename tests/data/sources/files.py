"""Write a person's own file and read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.data.documents import Document, UnusableRow, own_file_document
from cognate_core.data.own_file import own_file_source
from cognate_core.data.row_files import read_rows
from cognate_core.data.sources import SourceDocuments

CONFIG = TrainingConfig()


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def documents(path: Path) -> list[Document]:
    """What the rows of a file become; none of them may be bad."""
    found = []
    for _, row in read_rows(path):
        if isinstance(row, UnusableRow):
            raise row
        found.append(own_file_document(row, CONFIG))
    return found


def source(path: Path, **changes: Any) -> SourceDocuments:
    return own_file_source(CONFIG.with_overrides({"dataset_path": str(path), **changes}), lambda _: None)
