"""The sources of training data and what was skipped, as the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def source_rows(sources: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each SourceReport, given as plain values."""
    return [
        {
            "dataset": source["name"],
            "from": source["origin"] if source["loaded"] else "not loaded",
            "training rows": source["train_rows"],
            "held-out rows": source["heldout_rows"],
            "tokens": source["train_tokens"],
            "skipped": "; ".join(f"{count} {why}" for why, count in source["skipped"].items()),
            "why": source["reason"],
        }
        for source in sources
    ]
