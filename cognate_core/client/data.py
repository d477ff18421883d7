"""Datasets and files of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cognate_core.client.connection import FETCH_SECONDS, WORK_SECONDS, Connection, Row, given


class DataRoutes(Connection):
    """What is asked of data."""

    def datasets(self) -> list[Row]:
        """The datasets that there are, on the studio's computer or not."""
        return self._list("/datasets")

    def fetch_dataset(self, name: str) -> Row:
        """Have a dataset fetched from the hub; it comes back once it is there."""
        return self._ask("POST", "/datasets/{}/fetch", name, seconds=FETCH_SECONDS)

    def rows(self, name: str, split: str = "training") -> Iterator[Row]:
        """The rows of a dataset or of a file of one's own. `split`: "training" or "heldout"."""
        return self._pages("/datasets/{}/rows", name, split=split)

    def lengths(
        self,
        name: str,
        *,
        train_seq_len: int | None = None,
        vocab_size: int | None = None,
        prepared: str | None = None,
    ) -> Row:
        """How long rows are in tokens, and what becomes of them at a training length. `prepared`: content hash of a
        run's data, to take its tokenizer."""
        asked = {"train_seq_len": train_seq_len, "vocab_size": vocab_size, "prepared": prepared}
        return self._ask("GET", "/datasets/{}/lengths", name, params=given(asked), seconds=WORK_SECONDS)

    def overlap(self, name: str, train: str | None = None, limit: int = 50) -> Row:
        """Whether held-out rows stand in training rows (of `train`, or their own dataset), too."""
        asked = given({"train": train, "limit": limit})
        return self._ask("GET", "/datasets/{}/overlap", name, params=asked, seconds=WORK_SECONDS)

    def mixture(self, settings: Mapping[str, Any]) -> Row:
        """What a run with these settings would draw from its datasets, and its first batch."""
        return self._ask("POST", "/mixture", body={"settings": settings}, seconds=WORK_SECONDS)

    def files(self) -> Iterator[Row]:
        """The kept files of one's own, the newest first."""
        return self._pages("/files")

    def add_file(self, file: Path) -> Row:
        """Send a file of this computer, to be looked at and trained on; `name` of the answer is what it goes by."""
        return self._send_file("/files", file, {"name": file.name})

    def remove_file(self, name: str) -> None:
        """Remove a kept file for good."""
        self._ask("DELETE", "/files/{}", name)
