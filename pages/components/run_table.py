"""The table of all runs on Home: find, sort, and act on many at once."""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from cognate_core.config import as_text, form_fields
from cognate_core.contracts import RunStatus
from cognate_core.errors import CognateError
from cognate_core.insight.glossary import explained
from cognate_core.insight.run_table import RunFigures, matching, run_figures
from cognate_core.labels import escape_csv
from cognate_core.runs import RunManager
from cognate_core.storage.rows import Run
from pages.components.layout import ask_first, page_called, show_refusal
from pages.components.live_charts import MOST_COMPARED
from pages.components.run_figures import run_seconds
from pages.components.tables import table, time_column

FEW = 5  # so many runs are found without a search
COLUMNS = {
    "status": "Status",
    "curve": "Learning",
    "loss": "Loss",
    "accuracy": "Right",
    "bits": "Bits per byte",
    "steps": "Steps",
    "seconds": "Time",
    "created": "Started",
    "tags": "Tags",
    "datasets": "Datasets",
    "preset": "Preset",
    "sweep": "Sweep",
    "error": "What went wrong",
}
AT_FIRST = ["status", "curve", "loss", "accuracy", "steps", "seconds", "created", "tags"]
OPENED = "opened_run"


def run_table(manager: RunManager, runs: Sequence[Run]) -> None:
    """All runs, the newest first, with what can be done with those that are ticked."""
    figures = run_figures(manager.log, runs)
    if len(figures) > FEW:
        figures = _found(figures)
    found = "" if len(figures) == len(runs) else f"{len(figures):,} of {len(runs):,} runs. "
    st.caption(f"{found}Click a name to open its run. Tick runs to compare, tag, save or delete them.")
    time, seconds = time_column(COLUMNS["seconds"], [run_seconds(each.run) for each in figures])
    number = st.column_config.NumberColumn
    unseen = "On unseen text, at its best check."
    ticked = table(
        [{**_row(each), "seconds": worked} for each, worked in zip(figures, seconds, strict=True)],
        column_order=["run", *st.session_state.get("run_columns", AT_FIRST)],
        column_config={
            **COLUMNS,
            "run": st.column_config.ButtonColumn("Run", type="tertiary", alignment="left", pinned=True, key=OPENED),
            "curve": st.column_config.LineChartColumn(
                COLUMNS["curve"], help="Its loss on unseen text, check by check."
            ),
            "loss": number(COLUMNS["loss"], format="%.3f", help=explained("held-out loss", unseen)),
            "accuracy": number(
                COLUMNS["accuracy"], format="%.0f %%", help=f"Share of unseen problems that it solves. {unseen}"
            ),
            "bits": number(COLUMNS["bits"], format="%.3f", help=explained("bits per byte", unseen)),
            "steps": number(COLUMNS["steps"], format="localized"),
            "seconds": number(time, format="%.1f", help="Working time, without pauses."),
            "created": st.column_config.DatetimeColumn(COLUMNS["created"], format="distance"),
            "tags": st.column_config.ListColumn(COLUMNS["tags"]),
            "datasets": st.column_config.ListColumn(COLUMNS["datasets"]),
            "preset": st.column_config.TextColumn(COLUMNS["preset"], help="The one that its settings are nearest to."),
        },
        on_select="rerun",
        selection_mode="multi-row",
        key=f"runs-{hash(tuple(each.run.id for each in figures))}",  # a tick belongs to a place: other rows have none
        placeholder="",
        alt="All runs with their figures",
    )
    opened = st.session_state.get(OPENED)
    if opened is not None:
        st.switch_page(page_called("monitor"), query_params={"run": figures[opened["row"]].run.id})
    chosen = [figures[row] for row in ticked["selection"]["rows"] if row < len(figures)]
    with st.container(horizontal=True, vertical_alignment="center"):
        if chosen:
            known = sorted({tag for run in runs for tag in run.tags}, key=str.casefold)
            _actions(manager, chosen, known)
        with st.popover("Columns", icon=":material/view_column:"):
            st.multiselect(
                "Columns",
                list(COLUMNS),
                AT_FIRST,
                format_func=COLUMNS.__getitem__,
                key="run_columns",
                persist_state="session",
            )


def _found(figures: Sequence[RunFigures]) -> list[RunFigures]:
    """The runs that match what is typed and chosen."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Find a run", key="find_run", placeholder="words of its name, tags, sweep or error", persist_state="session"
        )
        filters = st.popover("Filter", icon=":material/filter_alt:")

    def choice(label: str, values: Sequence[str]) -> list[str]:
        options = list(dict.fromkeys(values))
        return filters.multiselect(label, options, key=f"find_{label}", placeholder="all", persist_state="session")

    statuses = choice("Status", [each.run.status.value for each in figures])
    datasets = choice("Dataset", [name for each in figures for name in each.datasets])
    presets = choice("Preset", [each.preset.title for each in figures])
    tags = choice("Tag", sorted({tag for each in figures for tag in each.run.tags}, key=str.casefold))
    kept = [RunStatus(each) for each in statuses]
    return matching(figures, text, statuses=kept, datasets=datasets, presets=presets, tags=tags)


def _row(figures: RunFigures) -> dict[str, Any]:
    """The cells of one run, but for its time, whose unit depends on the others."""
    run, best = figures.run, figures.best
    return {
        "run": run.name,
        "status": run.status.value,
        "curve": figures.curve,
        "loss": best and best.loss,
        "accuracy": 100 * best.accuracy if best and best.accuracy is not None else None,
        "bits": best and best.bits_per_byte,
        "steps": run.step,
        "created": datetime.fromisoformat(run.created_at),
        "tags": run.tags,
        "datasets": figures.datasets,
        "preset": figures.preset.title,
        "sweep": run.group_name,
        "error": run.error,
    }


def _actions(manager: RunManager, chosen: Sequence[RunFigures], known_tags: Sequence[str]) -> None:
    """What can be done with the runs that are ticked."""
    runs, fixed = [each.run for each in chosen], bool(manager.read_only)
    many = len(runs) > MOST_COMPARED
    if len(runs) == 1:  # for the keyboard, too, which cannot press a name in the table
        page = page_called("monitor")
        st.page_link(page, label="Open", icon=":material/monitoring:", query_params={"run": runs[0].id})
    elif st.button(
        f"Compare {len(runs):,}",
        icon=":material/stacked_line_chart:",
        disabled=many,
        help=f"Compare shows {MOST_COMPARED} runs at most." if many else None,
    ):
        st.switch_page(page_called("compare"), query_params={"runs": ",".join(run.id for run in runs)})
    with st.popover("Tag", icon=":material/label:", disabled=fixed):
        _tag(manager, runs, known_tags)
    st.download_button(
        "Save as CSV",
        lambda: as_csv(chosen),
        file_name="runs.csv",
        mime="text/csv",
        icon=":material/table_view:",
        on_click="ignore",
        help="Their figures and all their settings.",
    )
    ended = [run for run in runs if not run.status.is_going]
    if st.button("Delete", icon=":material/delete:", disabled=fixed or not ended):
        _ask_to_delete(manager, ended, len(runs) - len(ended))


def _tag(manager: RunManager, runs: Sequence[Run], known: Sequence[str]) -> None:
    """Give all of the ticked runs a tag, or take it from them."""
    tags = st.multiselect("Tags", known, accept_new_options=True, key="new_tags", placeholder="Choose or type")
    with st.container(horizontal=True):
        for label, argument in (("Add", "add"), ("Remove", "remove")):
            if st.button(label, key=f"{argument}_tags", disabled=not tags):
                try:
                    manager.tag_runs([run.id for run in runs], **{argument: tags})
                except CognateError as error:
                    show_refusal(error)
                else:
                    st.rerun()


def _ask_to_delete(manager: RunManager, runs: Sequence[Run], going: int) -> None:
    what = "this run" if len(runs) == 1 else f"these {len(runs):,} runs"
    told = "Their models and files move with them to the trash on Home."
    if going:
        told += f" {going:,} that are queued or going stay."

    def delete() -> None:
        for run in runs:
            manager.delete_run(run.id)

    ask_first(f"Delete {what}?", told, "Delete", delete)


def as_csv(chosen: Sequence[RunFigures]) -> bytes:
    """The figures and settings of runs, a line for each."""
    settings = list(form_fields())
    text = io.StringIO()
    writer = csv.writer(text)
    figures = ["id", "name", *(name for name in COLUMNS if name != "curve")]
    writer.writerow([*figures, *settings])
    for each in chosen:
        run, row = each.run, _row(each)
        row |= {"id": run.id, "name": run.name, "created": run.created_at, "seconds": run_seconds(run)}
        cells = [row[name] for name in figures] + [getattr(run.config, name) for name in settings]
        writer.writerow([cell if isinstance(cell, int | float) else escape_csv(as_text(cell)) for cell in cells])
    return BOM_UTF8 + text.getvalue().encode()  # as metrics_csv
