"""Compare: overlaid curves of several runs, how their settings differ, their results, and their family tree."""

from typing import Any

import streamlit as st

from cognate_core.config import as_text, form_fields
from cognate_core.errors import RunError
from cognate_core.insight.comparison import FamilyMember, config_difference, family
from cognate_core.insight.glossary import explained
from cognate_core.insight.grokking import grokked_at
from cognate_core.insight.run_charts import are_twins
from cognate_core.runs import RunManager, current_manager
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import Run
from pages.components.layout import keep_in_address, page_called, page_header, run_link, shown, status_badge, told_apart
from pages.components.live_charts import MOST_COMPARED, live_comparison
from pages.components.run_actions import RELATION_WORDS
from pages.components.step_dialog import step_dialog
from pages.components.sweep_results import UPDATE_SECONDS, results_of, sweep_section
from pages.components.tables import table, time_column

AT_FIRST = 3  # of the newest runs, if the address names none


def choose_sweep(manager: RunManager) -> str | None:
    """The chosen sweep, kept in the address. Choosing another sweep selects its best runs below."""
    groups = {group.id: group for group in manager.log.groups()}
    named = st.query_params.get("group")
    if named is not None and st.session_state.get("shown_group") != named:  # arrived by a link
        if named not in groups:
            st.warning("The sweep in this address does not exist. It may have been deleted.", icon=":material/warning:")
            del st.query_params["group"]
        st.session_state["sweep_shown"] = named if named in groups else None
    if not groups:
        return None
    if st.session_state.get("sweep_shown") not in groups:
        st.session_state["sweep_shown"] = None
    chosen = st.selectbox(
        "Sweep",
        list(groups),
        index=None,
        format_func=told_apart(
            {group.id: f"{group.name} ({len(group.run_ids)} runs)" for group in groups.values()}
        ).__getitem__,
        key="sweep_shown",
        placeholder="Choose a sweep to see all its runs",
    )
    if chosen != st.session_state.get("shown_group"):
        st.session_state["shown_group"] = chosen
        if chosen is not None:
            st.session_state.pop("compared", None)  # its best runs are compared, unless the address names others
            if "runs" in st.query_params and named != chosen:
                del st.query_params["runs"]
    if chosen is not None:
        keep_in_address("group", chosen, named)
    else:
        st.query_params.pop("group", None)
    return chosen


def choose_runs(log: ProgressLog, runs: dict[str, Run], first: list[str]) -> list[Run]:
    """The runs that the address names, else the `first` ones. A change is kept in the address."""
    named = st.query_params.get("runs")
    if "compared" not in st.session_state or st.session_state.get("addressed_runs") != named:  # by a link, or Back
        ids = first if named is None else list(dict.fromkeys(each for each in named.split(",") if each))
        missing = [each for each in ids if each not in runs]
        if missing:
            st.warning("A run in this address does not exist. It may have been deleted.", icon=":material/warning:")
        if len(ids) > MOST_COMPARED:
            st.caption(f"Only the first {MOST_COMPARED} runs are shown: no more can be overlaid.")
        st.session_state["compared"] = [each for each in ids if each in runs][:MOST_COMPARED]
    st.session_state["compared"] = [each for each in st.session_state["compared"] if each in runs]
    chosen = st.multiselect(
        "Runs",
        list(runs),
        format_func=told_apart({run.id: f"{run.name} ({run.id[:4]})" for run in runs.values()}).__getitem__,
        key="compared",
        max_selections=MOST_COMPARED,
        placeholder="Choose runs to compare",
    )
    keep_in_address("runs", ",".join(chosen), ",".join(first) if named is None else named)
    st.session_state["addressed_runs"] = st.query_params.get("runs")
    return [log.run(run_id) for run_id in chosen]


def best_values(log: ProgressLog, chosen: list[Run]) -> None:
    """Each run's best result so far, with its step."""
    st.subheader("Results", anchor=False)
    runs = as_they_are(log, chosen)
    rows = []
    time, times = time_column("training time", [log.training_seconds(run) for run in runs])
    for run, worked in zip(runs, times, strict=True):
        best = log.best_check(run.id)
        last = log.last_metrics(run.id, 1)
        checks = log.evaluations(run.id, model_name=run.model_names[0])
        rows.append(
            {
                "run": run.name,
                "status": run.status.value,
                "lowest held-out loss": best.means.loss if best else None,
                "at step": best.step if best else None,
                "bits per byte": best.means.bits_per_byte if best else None,
                "last training loss": last[0]["loss"] if last else None,
                "steps": run.step,
                time: worked,
                "grokked at step": grokked_at(checks) if run.config.task == "arithmetic" else None,
                "parameters": next((model.parameter_count for model in log.models(run.id)), None),
            }
        )
    measured = [row for row in rows if row["lowest held-out loss"] is not None]
    # On the same data both rank alike; between vocabularies only bits per byte can be compared.
    by = "lowest held-out loss" if any(row["bits per byte"] is None for row in measured) else "bits per byte"
    values = [value for row in measured if isinstance(value := row[by], float)]
    for row in rows:
        row["best"] = row[by] == min(values) if values else None
    number = st.column_config.NumberColumn
    lab = any(run.config.task == "arithmetic" for run in runs)
    table(
        rows,
        column_config={
            "lowest held-out loss": number(
                format="%.3f",
                help=explained("held-out loss", "From the checks during training."),
            ),
            "at step": number(format="localized"),
            "bits per byte": number(
                format="%.3f", help=explained("bits per byte", "Measured on unseen text, at that step.")
            ),
            "last training loss": number(format="%.3f"),
            "steps": number(format="localized"),
            time: number(format="%.1f"),
            "parameters": number(format="compact"),
            # Only lab runs can grok: without one the column would be empty.
            "grokked at step": number(format="localized", help=explained("grokking")) if lab else None,
            "best": st.column_config.CheckboxColumn(
                help="Has the lowest bits per byte, or the lowest held-out loss if a run lacks bits per byte. "
                "Different data make both hard to compare; a different tokenizer makes losses hard to compare."
            ),
        },
    )
    hashes = {run.data_report["content_hash"] for run in runs if run.data_report}
    if len(hashes) > 1:
        st.info(
            "These runs read different data or use different tokens: do not compare their losses. Compare bits per "
            "byte if the held-out text is the same.",
            icon=":material/info:",
        )


def differences(runs: list[Run]) -> None:
    """The settings that differ between the runs."""
    st.subheader("Settings that differ", anchor=False)
    if len(runs) < 2:
        st.caption("Choose a second run to see what differs.")
        return
    different = config_difference([run.config for run in runs])
    if not different:
        st.caption("None: all settings are the same.")
        return
    fields = form_fields()
    table(
        [
            {
                "setting": f"{fields[name].title} ({name})",
                # Two runs may have the same name.
                **{f"{run.name} ({run.id[:4]})": as_text(value) for run, value in zip(runs, values, strict=True)},
            }
            for name, values in different.items()
        ],
    )


def family_tree(log: ProgressLog, runs: dict[str, Run], chosen: list[Run]) -> None:
    """The chosen runs with their ancestors and derived runs."""
    members = family([run.id for run in chosen], {run.id: run.parent_run_id for run in runs.values()})
    if len(members) < 2:
        return
    st.subheader("Family", anchor=False)
    now = {run.id: run for run in as_they_are(log, [runs[member.id] for member in members])}
    for member in members:
        family_line(now, member)


def as_they_are(log: ProgressLog, runs: list[Run]) -> list[Run]:
    """These runs as the log has them now; one that was deleted meanwhile stays as it was."""

    def now(run: Run) -> Run:
        try:
            return log.run(run.id)
        except RunError:
            return run

    return [now(run) for run in runs]


def family_line(runs: dict[str, Run], member: FamilyMember) -> None:
    """One run, indented below its parent."""
    run = runs[member.id]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if member.depth:
            st.caption("\u2003" * (member.depth - 1) + "└", width="content")
        run_link(run)
        status_badge(run.status)
        words = RELATION_WORDS.get(run.relation or "", "").lower()
        if words and member.depth:
            step = f", after step {run.branch_step:,}" if run.branch_step is not None else ""
            st.caption(
                f"{words} the one above{step}"
                if member.after_parent
                else f"{words} {shown(runs[run.parent_run_id or ''].name)}{step}"
            )


def clicked_step(runs: list[Run], clicked: dict[str, Any] | None) -> None:
    """Open the step of the line that was clicked."""
    if clicked is not None and 0 <= clicked["line"] < len(runs):
        run = runs[clicked["line"]]
        step_dialog(manager, run, run.model_names[0], clicked["step"])


manager = current_manager()
page_header("Compare", "Several runs in one picture, and what made the difference.")
all_runs = {run.id: run for run in manager.log.runs()}
if not all_runs:
    st.info("There are no runs yet. Start two, and compare them here.", icon=":material/info:")
    st.page_link(page_called("new_run"), label="New run", icon=":material/add_circle:")
else:
    try:
        sweep = choose_sweep(manager)
        if sweep is not None:
            sweep_section(manager, sweep)
            first = [row.run_id for row in results_of(manager, sweep).rows][:MOST_COMPARED]
        else:
            first = [run.id for run in all_runs.values() if run.step][:AT_FIRST]
        chosen = choose_runs(manager.log, all_runs, first)
        if sweep is not None and len(manager.log.runs_of_group(sweep)) > MOST_COMPARED:
            st.caption(f"The curves show at most {MOST_COMPARED} runs. The table has every run of the sweep.")
    except RunError as error:
        chosen = []
        st.warning(shown(str(error)), icon=":material/warning:")
    if chosen:
        with st.container(horizontal=True):
            for run in chosen:
                run_link(run)
        if are_twins(chosen):
            st.caption("Same start, same data: only the gradient filter (GrokFast) differs. The gap is shaded.")
        clicked_step(chosen, live_comparison(manager, chosen, "Comparison").step)
        going = any(not run.status.is_terminal for run in all_runs.values())
        every = UPDATE_SECONDS if going else None
        st.fragment(best_values, run_every=every)(manager.log, chosen)
        differences(chosen)
        st.fragment(family_tree, run_every=every)(manager.log, all_runs, chosen)
    else:
        st.caption("Choose at least one run above.")
