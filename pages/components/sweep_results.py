"""A sweep's results on Compare: a sentence, the table of its runs, a chart, and a button to cancel the rest."""

from __future__ import annotations

import streamlit as st

from cognate_core.config import form_fields
from cognate_core.errors import RunError
from cognate_core.insight.charts import View
from cognate_core.insight.glossary import explained
from cognate_core.insight.sweep_results import SweepResult, SweepResults, sweep_chart, sweep_results
from cognate_core.runs import RunManager
from pages.components.layout import show_refusal, shown
from pages.components.live_charts import Still, still_charts
from pages.components.run_actions import act
from pages.components.tables import settings_columns, table, time_column

UPDATE_SECONDS = 5.0  # while one of its runs is not finished


def results_of(manager: RunManager, group_id: str) -> SweepResults:
    """The runs of a sweep by their results. Raises RunError if none exist any more."""
    runs = manager.log.runs_of_group(group_id)
    return sweep_results(runs, manager.log.heldout_checks(run.id for run in runs))


def sweep_section(manager: RunManager, group_id: str) -> None:
    """The sweep's results, refreshed while its runs train."""
    going = any(not run.status.is_terminal for run in manager.log.runs_of_group(group_id))
    st.fragment(_section, run_every=UPDATE_SECONDS if going else None)(manager, group_id)


def _section(manager: RunManager, group_id: str) -> None:
    try:
        results = results_of(manager, group_id)
    except RunError as error:  # it has been deleted meanwhile
        show_refusal(error)
        return
    st.write(shown(results.sentence))
    settings, numbers = settings_columns([row.values for row in results.rows])
    time, times = time_column("time", [row.seconds for row in results.rows])
    number = st.column_config.NumberColumn
    table(
        [
            {**varied, **_row(row), time: worked}
            for varied, row, worked in zip(settings, results.rows, times, strict=True)
        ],
        column_config={
            **numbers,
            "lowest held-out loss": number(
                format="%.3f",
                help=explained("held-out loss", "From the checks during training."),
            ),
            "at step": number(format="localized"),
            "bits per byte": number(format="%.3f", help=explained("bits per byte", "Measured at that step.")),
            "last held-out loss": number(format="%.3f"),
            time: number(format="%.1f", help="Working time, without pauses."),
        },
    )
    if any(row.best_loss is not None for row in results.rows) and results.fields:
        _chart(results)
    if any(not row.status.is_terminal for row in results.rows) and st.button(
        "Cancel the remaining runs",
        icon=":material/cancel:",
        disabled=bool(manager.read_only),
        help="Removes queued runs from the queue, and ends training runs without saving them.",
    ):
        act(manager.cancel_group, group_id)


def _chart(results: SweepResults) -> None:
    figure = sweep_chart(results, View(dark=st.context.theme.type == "dark"))
    titles = [str(form_fields()[name].title) for name in results.fields]
    what = titles[0] if len(titles) == 1 else "each setting that was varied"
    chart = Still(
        f"Lowest held-out loss by {what}",
        "Each run has its own colour; lower is better. Point at one to see its settings.",
        f"Lowest held-out loss by {', '.join(titles)}; the table above has the same figures",
        figure,
    )
    still_charts([chart], key="sweep")
    unknown = sum(row.best_loss is None for row in results.rows)
    if unknown:
        st.caption(f"{unknown} of {len(results.rows)} runs are not drawn: they have no measurements yet.")


def _row(row: SweepResult) -> dict[str, str | float | None]:
    return {
        "status": row.status.value,
        "lowest held-out loss": row.best_loss,
        "at step": row.best_step,
        "bits per byte": row.bits_per_byte,
        "last held-out loss": row.last_loss,
    }
