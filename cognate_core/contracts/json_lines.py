"""Records as JSON and back: for a model's log, the pipe of the worker process, and rebuilding the database."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cognate_core.contracts import (
    DataReport,
    Evaluation,
    Event,
    LayerFigures,
    PonderHistogram,
    Record,
    Rewind,
    Sample,
    SourceReport,
    StepMetrics,
)

_TYPES: dict[str, type[Any]] = {
    each.__name__: each
    for each in (StepMetrics, PonderHistogram, LayerFigures, Evaluation, Sample, Event, DataReport, Rewind)
}
# Figures that every row has: null means not a number.
_NEVER_NONE = {
    name: {field.name for field in dataclasses.fields(each) if field.type == "float"} for name, each in _TYPES.items()
}


def record_to_json(record: Record) -> dict[str, Any]:
    """A record as a JSON object; a figure that is not a finite number becomes null."""
    values = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in dataclasses.asdict(record).items()
    }
    return {"type": type(record).__name__, **values}


def record_from_json(values: Mapping[str, Any]) -> Record:
    """The record that `record_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: `values` is not a record.
    """
    kind = values["type"]
    fields = {key: value for key, value in values.items() if key != "type"}
    for name in _NEVER_NONE[kind]:
        if fields[name] is None:
            fields[name] = math.nan
    if kind == "DataReport":
        return report_from_json(fields)
    record: Record = _TYPES[kind](**fields)
    return record


def report_from_json(values: Mapping[str, Any]) -> DataReport:
    """The DataReport from the `values` of its `asdict`."""
    sources = [SourceReport(**source) for source in values["sources"]]
    return DataReport(**{**values, "sources": sources})


def is_before(record: Record, rewind: Rewind) -> bool:
    """Whether a record still counts after its model resumes from `rewind`."""
    if isinstance(record, Event):
        return True  # an event has happened, whatever follows
    if isinstance(record, Evaluation | Sample):
        return record.step <= rewind.checked_step
    return isinstance(record, StepMetrics | PonderHistogram | LayerFigures) and record.step <= rewind.step


def read_records(path: Path) -> Iterator[Record]:
    """The records of a model's log, up to the first incomplete line: nothing after it is trusted."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield record_from_json(json.loads(line))
            except (ValueError, KeyError, TypeError):
                return
