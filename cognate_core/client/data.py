"""Datasets and uploaded files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cognate_core.client.connection import FETCH_SECONDS, WORK_SECONDS, Connection, Row, given
from cognate_core.config import as_text
from cognate_core.files import plain_name


class DataRoutes(Connection):
    """Requests about data."""

    def datasets(self) -> list[Row]:
        """All datasets, on the studio's computer or not."""
        return self._list("/datasets")

    def fetch_dataset(self, name: str) -> Row:
        """Fetch a dataset from the hub to the studio's computer. Returns when it is there."""
        return self._ask("POST", "/datasets/{}/fetch", name, seconds=FETCH_SECONDS)

    def rows(self, name: str, split: str = "training") -> Iterator[Row]:
        """The rows of a dataset or an uploaded file. `split`: "training" or "heldout"."""
        return self._pages("/datasets/{}/rows", name, split=split)

    def lengths(
        self,
        name: str,
        *,
        train_seq_len: int | None = None,
        vocab_size: int | None = None,
        long_rows: str | None = None,
        prepared: str | None = None,
    ) -> Row:
        """How long rows are in tokens, and how they fit a training length. `prepared`: the content hash of a run's
        data, to use its tokenizer."""
        asked = {
            "train_seq_len": train_seq_len,
            "vocab_size": vocab_size,
            "long_rows": long_rows,
            "prepared": prepared,
        }
        return self._ask("GET", "/datasets/{}/lengths", name, params=given(asked), seconds=WORK_SECONDS)

    def overlap(self, name: str, train: str | None = None, limit: int = 50) -> Row:
        """Held-out rows that also occur in training rows (of `train`; default: their own dataset)."""
        asked = given({"train": train, "limit": limit})
        return self._ask("GET", "/datasets/{}/overlap", name, params=asked, seconds=WORK_SECONDS)

    def near_duplicates(self, name: str, limit: int = 50) -> Row:
        """Training rows that nearly repeat an earlier one or a held-out one."""
        return self._ask("GET", "/datasets/{}/near-duplicates", name, params={"limit": limit}, seconds=WORK_SECONDS)

    def mixture(self, settings: Mapping[str, Any]) -> Row:
        """What a run with these settings would draw from its datasets, and its first batch."""
        return self._ask("POST", "/mixture", body={"settings": settings}, seconds=WORK_SECONDS)

    def files(self) -> Iterator[Row]:
        """The uploaded files, the newest first."""
        return self._pages("/files")

    def add_file(self, file: Path, read_by: Mapping[str, object] | None = None, licence: str = "") -> Row:
        """Upload a local file for inspection and training. `name` in the answer is its name at the studio.

        Args:
            read_by: the settings dataset_columns, text_rows and text_encoding, if it is not to be read by itself.
            licence: its origin and licence, if you wish to note them.
        """
        settings = [f"{name}={as_text(value)}" for name, value in (read_by or {}).items()]
        query = {"name": plain_name(file.name), "read_by": settings, "licence": licence}
        return self._send_file("/files", file, query)

    def remove_file(self, name: str) -> None:
        """Remove an uploaded file for good."""
        self._ask("DELETE", "/files/{}", name)
