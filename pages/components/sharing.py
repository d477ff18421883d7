"""Sharing a run: its report and run archive, opening an archive, and the result of a repetition."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import streamlit as st

from cognate_core.contracts import RunStatus
from cognate_core.errors import CognateError
from cognate_core.files import replace_durably
from cognate_core.labels import file_name
from cognate_core.runs import RunManager
from cognate_core.sharing.report import report_of_run
from cognate_core.sharing.verification import compare_runs
from cognate_core.storage.rows import Run
from cognate_core.tracking import tracker_places
from cognate_core.tracking.export import metrics_csv, metrics_parquet
from pages.components.layout import page_called, show_refusal, shown

VERDICT_LOOK = {
    "identical": st.success,
    "same within rounding": st.success,
    "different": st.warning,
    "cannot be compared": st.info,
}


def share_buttons(manager: RunManager, run: Run, model_name: str) -> None:
    """Save the report, figures or run archive, or repeat the run."""
    from cognate_core.sharing.archive import open_written_archive

    st.download_button(
        "Save its report (HTML)",
        lambda: report_of_run(manager.log, run, model_name).encode(),
        file_name=f"{file_name(run.name)}.html",
        mime="text/html",
        icon=":material/description:",
        on_click="ignore",
        type="tertiary",
        help="One page with the curves, settings and data that anybody can open without the studio.",
    )
    for kind, made in (("CSV", metrics_csv), ("Parquet", metrics_parquet)):
        st.download_button(
            f"Save its figures ({kind})",
            partial(made, manager.log, run.id),
            file_name=f"{file_name(run.name)}.{kind.lower()}",
            mime="text/csv" if kind == "CSV" else "application/vnd.apache.parquet",
            icon=":material/table_view:",
            on_click="ignore",
            type="tertiary",
            help="Every step of every model as one table, for a spreadsheet or a notebook.",
        )
    ended = run.status.is_terminal and manager.log.models(run.id)
    if not ended:
        return
    st.download_button(
        "Save as run archive",
        lambda: open_written_archive(manager, run.id),
        file_name=f"{file_name(run.name)}.cognate.zip",
        mime="application/zip",
        icon=":material/badge:",
        on_click="ignore",
        type="tertiary",
        help="Everything that another studio needs to open this run and repeat it: weights, settings, curves and the "
        "data's hashes.",
    )
    if st.button(
        "Repeat it to verify",
        icon=":material/verified:",
        disabled=bool(manager.read_only),
        type="tertiary",
        help="Trains it again and compares the results step by step.",
    ):
        try:
            repeated = manager.start_verification(run.id)
        except CognateError as error:
            show_refusal(error)
        else:
            st.switch_page(page_called("monitor"), query_params={"run": repeated})


def tracker_files(manager: RunManager, run: Run) -> None:
    """The run's files for experiment trackers: where they are, and the command that opens them."""
    places = tracker_places(run, manager.home)
    if not places:
        return
    with st.expander(f"Also written to {', '.join(place.title for place in places)}"):
        for place in places:
            st.caption(place.title)
            st.code(place.command or place.files, language=None, wrap_lines=True)
            if place.command:
                st.caption(f"Its files: {shown(place.files)}")
            elif not run.status.is_terminal:
                st.caption("Written when the run ends or is paused.")


def open_archive_field(manager: RunManager) -> None:
    """A field that opens a run archive from another studio."""
    from cognate_core.sharing.archive import open_archive

    with st.expander("Open a run from another studio (run archive)"):
        file = st.file_uploader("Run archive", type=["zip"], disabled=bool(manager.read_only))
        if file is None:
            return
        with tempfile.TemporaryDirectory() as folder, st.spinner("Checking the archive"):
            path = Path(folder) / "run.zip"
            replace_durably(path, file.getbuffer().tobytes())
            try:
                run_id = open_archive(manager, path)
            except CognateError as error:
                show_refusal(error)
                return
        st.switch_page(page_called("monitor"), query_params={"run": run_id})


def verification_result(manager: RunManager, run: Run) -> None:
    """Whether a completed repetition gave the same result."""
    if run.relation != "verification" or run.parent_run_id is None or run.status is not RunStatus.COMPLETED:
        return
    try:
        verification = compare_runs(manager.log, manager.store, run.parent_run_id, run.id)
    except CognateError as error:
        st.info(shown(str(error)), icon=":material/verified:")
        return
    VERDICT_LOOK[verification.verdict](
        f"**{verification.verdict.capitalize()}.** {shown(verification.reason)}", icon=":material/verified:"
    )
