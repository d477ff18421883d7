"""Compare: several runs over one another, what differs in their settings, what each came to, and their family."""

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
from pages.components.sweep_results import results_of, sweep_section
from pages.components.tables import table, time_column

AT_FIRST = 3  # of the newest runs, when the address names none


def choose_sweep(manager: RunManager) -> str | None:
    """The sweep whose runs are shown, kept in the address; with another one, its best runs are chosen below."""
    groups = {group.id: group for group in manager.log.groups()}
    named = st.query_params.get("group")
    if named is not None and st.session_state.get("shown_group") != named:  # came by a link
        if named not in groups:
            st.warning(
                "The sweep of this address is no longer here. It may have been deleted.", icon=":material/warning:"
            )
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
            st.session_state.pop("compared", None)  # its best runs are, unless the address says otherwise
            if "runs" in st.query_params and named != chosen:
                del st.query_params["runs"]
    if chosen is not None:
        keep_in_address("group", chosen, named)
    else:
        st.query_params.pop("group", None)
    return chosen


def choose_runs(log: ProgressLog, runs: dict[str, Run], first: list[str]) -> list[Run]:
    """Those that the address names, or else the `first` ones; a change is kept in the address."""
    named = st.query_params.get("runs")
    if "compared" not in st.session_state or st.session_state.get("addressed_runs") != named:  # came by a link, or back
        ids = first if named is None else list(dict.fromkeys(each for each in named.split(",") if each))
        missing = [each for each in ids if each not in runs]
        if missing:
            st.warning("A run of this address is no longer here. It may have been deleted.", icon=":material/warning:")
        if len(ids) > MOST_COMPARED:
            st.caption(f"Curves of {MOST_COMPARED} runs at most are laid over one another: these are the first.")
        st.session_state["compared"] = [each for each in ids if each in runs][:MOST_COMPARED]
    st.session_state["compared"] = [each for each in st.session_state["compared"] if each in runs]
    chosen = st.multiselect(
        "Runs",
        list(runs),
        format_func=told_apart({run.id: f"{run.name} ({run.id[:4]})" for run in runs.values()}).__getitem__,
        key="compared",
        max_selections=MOST_COMPARED,
        placeholder="Choose runs to lay over one another",
    )
    keep_in_address("runs", ",".join(chosen), ",".join(first) if named is None else named)
    st.session_state["addressed_runs"] = st.query_params.get("runs")
    return [log.run(run_id) for run_id in chosen]


def best_values(log: ProgressLog, runs: list[Run]) -> None:
    """The best that each run came to, with its step."""
    st.subheader("What each came to", anchor=False)
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
    # On the same data both tell the same; between vocabularies only bits per byte tell anything.
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
                help=explained("held-out loss", "This is at the checks while it trained."),
            ),
            "at step": number(format="localized"),
            "bits per byte": number(format="%.3f", help=explained("bits per byte", "On unseen text, at that step.")),
            "last training loss": number(format="%.3f"),
            "steps": number(format="localized"),
            time: number(format="%.1f"),
            "parameters": number(format="compact"),
            # Only runs of the lab can, and a column of nothing tells nobody anything.
            "grokked at step": number(format="localized", help=explained("grokking")) if lab else None,
            "best": st.column_config.CheckboxColumn(
                help="The lowest bits per byte of these, or the lowest held-out loss where bits are not known of all. "
                "Other data make both hard to compare, another tokenizer losses alone."
            ),
        },
    )
    hashes = {run.data_report["content_hash"] for run in runs if run.data_report}
    if len(hashes) > 1:
        st.info(
            "These runs read different data, or cut it into other tokens. Their losses cannot simply be compared. "
            "Bits per byte can, where the held-out text is the same.",
            icon=":material/info:",
        )


def differences(runs: list[Run]) -> None:
    """The settings that are not the same in all."""
    st.subheader("What differs in their settings", anchor=False)
    if len(runs) < 2:
        st.caption("Choose a second run to see what differs.")
        return
    different = config_difference([run.config for run in runs])
    if not different:
        st.caption("Nothing: they have the same settings.")
        return
    fields = form_fields()
    table(
        [
            {
                "setting": f"{fields[name].title} ({name})",
                # Two runs may have one name.
                **{f"{run.name} ({run.id[:4]})": as_text(value) for run, value in zip(runs, values, strict=True)},
            }
            for name, values in different.items()
        ],
    )


def family_tree(log: ProgressLog, runs: dict[str, Run], chosen: list[Run]) -> None:
    """Which of the runs was made of which, as far as they hang together with those that are shown."""
    members = family([run.id for run in chosen], {run.id: run.parent_run_id for run in runs.values()})
    if len(members) < 2:
        return
    st.subheader("Family", anchor=False)
    for member in members:
        family_line(runs, member)


def family_line(runs: dict[str, Run], member: FamilyMember) -> None:
    """One run, further in than what it was made of."""
    run = runs[member.id]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if member.depth:
            st.caption("\u2003" * (member.depth - 1) + "└")
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
page_header("Compare", "Lay runs over one another, and see what made the difference.")
all_runs = {run.id: run for run in manager.log.runs()}
if not all_runs:
    st.info("There is no run yet. Start two, and compare them here.", icon=":material/info:")
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
            st.caption(
                f"Curves of {MOST_COMPARED} runs at most are laid over one another. The table has all of the sweep."
            )
    except RunError as error:
        chosen = []
        st.warning(shown(str(error)), icon=":material/warning:")
    if chosen:
        with st.container(horizontal=True):
            for run in chosen:
                run_link(run)
        if are_twins(chosen):
            st.caption(
                "The same start and the same data; only the gradient filter (GrokFast) differs. The gap is shaded."
            )
        clicked_step(chosen, live_comparison(manager, chosen).step)
        best_values(manager.log, chosen)
        differences(chosen)
        family_tree(manager.log, all_runs, chosen)
    else:
        st.caption("Choose at least one run above.")
