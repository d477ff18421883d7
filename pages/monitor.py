"""Monitor: a run's progress, what it learns, and how to end it."""

from typing import Any

import streamlit as st

from cognate_core.config import as_text
from cognate_core.contracts import RunStatus
from cognate_core.contracts.answers import question_of, verdict
from cognate_core.errors import RunError
from cognate_core.insight.run_charts import run_findings
from cognate_core.insight.words import ago, duration
from cognate_core.runs import RunManager, current_manager
from cognate_core.storage.curves import read_curves
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.rows import Run
from pages.components.data_sources import source_rows
from pages.components.layout import (
    in_parts,
    keep_in_address,
    name_tab,
    page_called,
    page_header,
    run_link,
    shown,
    status_badge,
    sweep_link,
)
from pages.components.live_charts import live_charts
from pages.components.run_actions import active_buttons, more_actions, origin_line, resume_button
from pages.components.run_figures import headline, measured_seconds_left, run_seconds, time_estimate_line
from pages.components.sharing import tracker_files, verification_result
from pages.components.step_dialog import step_dialog
from pages.components.tables import table
from pages.components.tour import watch_hint

# Redrawing a part of the page takes processor time. The charts have their own pace (components/live_charts.js).
STATUS_SECONDS = {RunStatus.TRAINING: 3.0}
OTHER_STATUS_SECONDS = 1.0  # before and after training
DETAILS_SECONDS = 30.0
MOST_SAMPLE_STEPS = 200  # offered for a run with thousands of checks
OTHER_RUNS = 20  # listed here; Home has more
MOST_WARNINGS = 10  # shown at the top; the log has all
LAST_STEPS = 5  # shown of a failed run


def choose_run(log: ProgressLog) -> Run | None:
    """The run that the address names; else the last one shown here, an active one, or the newest."""
    named = st.query_params.get("run")
    wanted = named or (None if st.session_state["arrives"] else st.session_state.get("monitored"))
    if wanted is None or (named is None and not log.is_here(wanted)):
        active = [run for run in log.unfinished_runs() if run.status.is_active]
        runs = active or log.runs(1)
        if not runs:
            return None
        wanted = runs[0].id
    run = log.run(wanted)
    st.session_state["monitored"] = run.id
    if named is not None:
        keep_in_address("run", run.id)  # a link within the page leaves it as it was
    return run


def header(manager: RunManager, run: Run, model_name: str) -> None:
    """Name, status, progress, and the actions that are possible now."""
    going = run.status.is_going
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(shown(run.name), anchor=False, width="content")
        status_badge(run.status)
        if going:
            active_buttons(manager, run)
        elif run.status.can_resume:
            resume_button(manager, run)
        for model in reversed([] if going else manager.log.models(run.id)):
            st.page_link(
                page_called("models"),
                label=f"Try {shown(model.name)}",
                icon=":material/deployed_code:",
                query_params={"model": model.id},
            )
        more_actions(manager, run, model_name)
    if going:
        left = measured_seconds_left(manager.log, run)
        # The run's own progress has a quarter for its preparation; beside the step of one model it would look wrong.
        one = len(run.model_names) == 1
        share = (run.step or 0) / (run.total_steps or run.config.max_steps) if one else run.progress
        how = "At most" if run.config.early_stopping_patience else "About"
        time = f"{how} {duration(left)} left." if left else "Time left: not known yet."
        words = f"{shown(run.message).rstrip('.')}. {time} {time_estimate_line(manager.log, run)}"
        st.progress(min(1.0, share), text=words.rstrip())
        return
    seconds = run_seconds(run)
    words = "Paused" if run.status is RunStatus.PAUSED else f"Ended {ago(run.finished_at or run.created_at)}"
    words += f", after {duration(seconds)} of work" if seconds is not None else ""
    sentences = [words, time_estimate_line(manager.log, run)]
    if run.error is None and run.message.lower() != run.status.value:  # an error has its own card
        sentences.insert(1, shown(run.message))
    st.caption(" ".join(f"{each.rstrip('.')}." for each in sentences if each))


def figures(log: ProgressLog, run: Run, model_name: str) -> None:
    """The newest figures as large numbers."""
    with st.container(horizontal=True):
        for figure in headline(log, run, model_name):
            st.metric(figure.label, figure.value, help=figure.help, width="content")


def samples(log: ProgressLog, run: Run, model_name: str) -> None:
    """What the model wrote for unseen problems, folded: the newest of it stands beside the main curve."""
    known = log.sample_steps(run.id, model_name)
    if not known:
        return
    with st.expander("What it wrote, at each check"):
        chosen_samples(log, run, model_name, known)


def chosen_samples(log: ProgressLog, run: Run, model_name: str, known: list[int]) -> None:
    """The samples of all datasets at the step that the person chooses."""
    steps = known[:: -(-len(known) // MOST_SAMPLE_STEPS)]
    if steps[-1] != known[-1]:
        steps.append(known[-1])
    if len(steps) > 1:
        step = st.select_slider("At step", steps, value=steps[-1], key=f"sample-{run.id}-{model_name}-{len(known)}")
    else:
        step = steps[0]
    datasets: dict[str, list[dict[str, Any]]] = {}
    for row in log.samples_at(run.id, model_name, step):
        datasets.setdefault(row["dataset"], []).append(row)
    for rows in datasets.values():
        for column, row in zip(st.columns(len(rows)), rows, strict=True):
            with column.container(border=True, height="stretch"):
                sample(row, asked=bool(run.config.check_questions))
                with st.expander("The dataset's own answer"):
                    st.text(row["expected"].strip())


def sample(row: dict[str, Any], *, asked: bool) -> None:
    """One problem, what the model wrote, and whether it is right. A sample not `asked` for an answer may have been cut
    before it reached one; then nothing is judged."""
    st.caption(f"{row['dataset']}, a problem it never saw")
    st.text(question_of(row["prompt"]))
    st.text(row["text"].strip() or "(nothing)")
    right = verdict(row["text"], row["expected"], row["dataset"], asked=asked)
    if right is not None:
        icon = ":material/check:" if right else ":material/close:"
        st.badge("right" if right else "wrong", color="green" if right else "red", icon=icon)


def data_report(run: Run) -> None:
    """What each source contributed."""
    report = run.data_report
    if report is None:
        return
    lab = run.config.task == "arithmetic"
    with st.expander("Training data", expanded=any(not source["loaded"] for source in report["sources"])):
        table(source_rows(report["sources"]))
        st.caption(
            f"The tokenizer knows {report['vocabulary']:,} {'tokens' if lab else 'word pieces'}"
            + ("" if lab or not report.get("fitted") else f" (at most {run.config.vocab_size:,} were asked for)")
            + ". "
            + ("Reused from an earlier run." if report["from_cache"] else "Prepared for this run.")
        )


def messages(log: ProgressLog, run: Run) -> None:
    """What the person must know: the error, a delayed log, warnings."""
    if run.error:
        crash_card(log, run)
    if log.delayed_seconds:
        st.warning(
            f"The log is delayed: figures have waited {duration(log.delayed_seconds)} to be written. Training "
            "continues. Another program may be using the database, or the disk is busy.",
            icon=":material/hourglass:",
        )
    warnings = log.warnings(run.id)
    if warnings:
        sentences = [shown(warning) for warning in warnings[:MOST_WARNINGS]]
        more = len(warnings) - len(sentences)
        sentences += [f"And {more:,} more: see the log at the end of this page."] * (more > 0)
        st.warning("  \n".join(sentences), icon=":material/warning:")


def crash_card(log: ProgressLog, run: Run) -> None:
    """The cause in plain words, with the last steps and the details one click away."""
    st.error(shown(run.error or ""), icon=":material/error:", title="What went wrong")
    last = log.last_metrics(run.id, LAST_STEPS)
    if not last and not run.error_details:
        return
    with st.expander("The last steps and details"):
        if last:
            table(
                [
                    {
                        "step": row["step"],
                        "loss": row["loss"],
                        "learning rate": row["learning_rate"],
                        "gradient": row["grad_norm"],
                        "seconds": row["seconds"],
                    }
                    for row in last
                ],
                column_config={"learning rate": st.column_config.NumberColumn(format="%.3g")},
                width="content",
            )
            st.caption("An empty loss or gradient was not a number (NaN or infinite).")
        if run.error_details:
            st.code(run.error_details, language=None)


def event_log(run: Run, events: list[dict[str, Any]]) -> None:
    """All events, the newest first."""
    with st.expander(f"Log ({len(events)})"):
        for event in in_parts(events[::-1], f"events-{run.id}"):
            where = f"step {event['step']:,}: " if event["step"] else ""
            st.caption(f"{ago(event['created_at'])}. {where}{shown(event['message'])}")


def status(manager: RunManager, run_id: str, model_name: str) -> None:
    """What changes often: progress, messages, figures."""
    log = manager.log
    run = log.run(run_id)
    header(manager, run, model_name)  # first: a rerun below must not lose a click in it
    if (run.status, bool(run.step)) != st.session_state["drawn_state"]:
        st.rerun()  # the whole page: the new status has other timers, and the first step adds a button
    origin_line(manager, run)
    if run.group_id:
        sweep_link(run.group_id, f"Compare it with the rest of the sweep {run.group_name}")
    verification_result(manager, run)
    messages(log, run)
    figures(log, run, model_name)


def apply_finding(log: ProgressLog, run: Run, model_name: str, number: int) -> None:
    """Open New run with this run's settings and the changes that a finding suggests."""
    curves = read_curves(log.path, run.id, model_name)
    evaluations = log.evaluations(run.id, model_name=model_name)
    found = run_findings(run, curves, evaluations, log.layer_figures(run.id, model_name=model_name))
    if number < len(found):
        changes = ";".join(f"{name}={as_text(value)}" for name, value in found[number].overrides.items())
        st.switch_page(page_called("new_run"), query_params={"from": run.id, "change": changes})


@st.dialog("Which step?")
def ask_for_step(manager: RunManager, run: Run, model_name: str) -> None:
    """Ask for the step's number, for people who cannot click on a curve."""
    step = st.number_input("Step", 1, max(1, run.step or 1), run.step or 1)
    if st.button("Open", type="primary"):
        st.session_state["asked_step"] = int(step)
        st.rerun()


def details(manager: RunManager, run_id: str, model_name: str) -> None:
    """What changes rarely: samples, data, the log."""
    run = manager.log.run(run_id)
    samples(manager.log, run, model_name)
    data_report(run)
    tracker_files(manager, run)
    event_log(run, manager.log.events(run.id))


def current_model(run: Run) -> str:
    """The model to show: the only one, or the one that the person chooses."""
    if len(run.model_names) == 1:
        return run.model_names[0]
    picked = st.segmented_control(
        "Model",
        run.model_names,
        default=run.model_names[0],
        required=True,
        format_func=shown,
        key=f"model-{run.id}",
    )
    return picked or run.model_names[0]


manager = current_manager()
chosen = problem = None
try:
    chosen = choose_run(manager.log)
except RunError as error:
    problem = str(error)
if chosen is None:
    page_header("Monitor", "Watch a run while it learns.")
    if problem:
        st.warning(problem, icon=":material/warning:")
        st.page_link(page_called("home"), label="See all runs", icon=":material/home:")
    else:
        st.info("There are no runs yet. Start one, and its curves appear here.", icon=":material/info:")
        st.page_link(page_called("new_run"), label="New run", icon=":material/add_circle:")
else:
    name_tab(chosen.name)
    others = [run for run in manager.log.runs(OTHER_RUNS + 1) if run.id != chosen.id]
    st.session_state["drawn_state"] = (chosen.status, bool(chosen.step))
    going = chosen.status.is_going
    model_name = current_model(chosen)
    seconds = STATUS_SECONDS.get(chosen.status, OTHER_STATUS_SECONDS) if going else None
    st.fragment(status, run_every=seconds)(manager, chosen.id, model_name)
    watch_hint(manager, chosen)
    clicked = live_charts(manager, chosen, model_name)
    asked_step = clicked.step["step"] if clicked.step else st.session_state.pop("asked_step", None)
    if asked_step is not None:
        step_dialog(manager, chosen, model_name, int(asked_step))
    if clicked.finding is not None:
        apply_finding(manager.log, chosen, model_name, int(clicked.finding))
    if clicked.onward is not None:
        runs = [run.id for run in manager.log.runs()]
        st.query_params["run"] = runs[(runs.index(chosen.id) + int(clicked.onward)) % len(runs)]
        st.rerun()
    if chosen.step and st.button(
        "Look at one step",
        icon=":material/search:",
        help="What was measured and read at a step, and how to branch from it. You can also click the loss curve.",
    ):
        ask_for_step(manager, chosen, model_name)
    st.fragment(details, run_every=DETAILS_SECONDS if going else None)(manager, chosen.id, model_name)
    if others:
        with st.expander("Other runs"):
            for other in others:
                with st.container(horizontal=True, vertical_alignment="center"):
                    run_link(other)
                    status_badge(other.status)
