"""Tables whose columns sort by value and whose "Download as CSV" contains no formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from cognate_core.config import as_text, form_fields
from cognate_core.insight.words import time_unit
from cognate_core.labels import escape_cell

NUMBER = st.column_config.NumberColumn(format="%.15g")  # as it was typed


def table(rows: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    """Show rows with the options of `st.dataframe`, and return what it returns. A person's text appears as typed and
    never becomes a formula."""
    cells = [{_plain(name): _plain(value) for name, value in row.items()} for row in rows]
    return st.dataframe(cells, hide_index=True, **options)


def settings_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows, column config) of a table of settings: columns are named by title, numbers stay numbers."""
    fields = form_fields()
    numbers = {name for name in (rows[0] if rows else {}) if all(_is_number(row[name]) for row in rows)}
    titled = [
        {str(fields[name].title): value if name in numbers else as_text(value) for name, value in row.items()}
        for row in rows
    ]
    return titled, {str(fields[name].title): NUMBER for name in numbers}


def time_column(name: str, seconds: Sequence[float | None]) -> tuple[str, list[float | None]]:
    """(column name, times): the times in a unit that suits the longest."""
    unit, size = time_unit(max((each for each in seconds if each is not None), default=0.0))
    return f"{name} ({unit})", [None if each is None else each / size for each in seconds]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return escape_cell(value) if isinstance(value, str) else value
