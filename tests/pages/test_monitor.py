from __future__ import annotations

from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    DataReport,
    Event,
    ModelArtifacts,
    Origin,
    RunStatus,
    Sample,
    SourceReport,
    StepMetrics,
    TimeEstimate,
)
from cognate_core.contracts.answers import question_of
from cognate_core.contracts.metrics import MACHINE
from cognate_core.labels import WORD_JOINER
from cognate_core.runs import RunManager
from tests.pages.conftest import add_runs, button, chart_titles, charts, open_page, sent, texts
from tests.waiting import LONG


def test_without_a_run_it_says_what_to_do(studio: RunManager) -> None:
    assert "There are no runs yet" in texts(open_page("monitor"))


def test_an_address_without_a_run_is_told(studio: RunManager) -> None:
    assert "There is no such run" in texts(open_page("monitor", run="nonsense"))


def test_a_completed_run_shows_curves_figures_samples_and_data(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    page = open_page("monitor", run=run.id)
    loss, bits, rate, gradient, *_ = charts(page)
    speed = charts(page)[chart_titles(page).index("Speed")]
    names = [trace["name"] for trace in loss["data"]]
    assert names == ["training, each step", "training", "unseen Synthetic"]
    assert loss["data"][0]["x"] == [1, 2, 3, 4]
    assert loss["data"][2]["x"] == [0, 2, 4]
    checks = trained_studio.log.evaluations(run.id)
    assert [trace["name"] for trace in bits["data"]] == ["unseen Synthetic"]
    assert bits["data"][0]["y"] == [row["bits_per_byte"] for row in checks]
    assert rate["data"][0]["y"] == [row["learning_rate"] for row in trained_studio.log.metrics(run.id)]
    assert [trace["name"] for trace in gradient["data"] if "each step" not in trace["name"]] == ["before", "after"]
    before, *rows = trained_studio.log.metrics(run.id)
    for row, found in zip(rows, speed["data"][0]["y"], strict=True):
        took = row["elapsed_seconds"] - before["elapsed_seconds"]  # checks and saves between two steps included
        assert found == pytest.approx(row["tokens"] / took)
        before = row
    values = {metric.label: metric.value for metric in page.metric}
    assert values["Step"] == "4 of 4"
    assert values["How wrong it is (loss)"] == f"{trained_studio.log.metrics(run.id)[-1]['loss']:.3f}"
    assert values["On unseen text (held-out loss)"] == f"{checks[-1]['loss']:.3f}"
    assert values["Bits per byte"] == f"{checks[-1]['bits_per_byte']:.3f}"
    sample = trained_studio.log.samples(run.id)[-1]
    assert question_of(sample["prompt"]) in texts(page)
    assert "made on this computer" in page.dataframe[0].value.to_string()


def test_pondering_and_memory_have_their_charts_and_figures(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    page = open_page("monitor", run=run.id)
    (shown,) = sent(page, "charts")
    groups = [[each["figure"] for each in shown if each["group"] == group] for group in ("Thinking", "Memory")]
    (steps, tokens, price), (notes, use) = groups
    rows = trained_studio.log.metrics(run.id)
    assert steps["data"][0]["y"] == [row["ponder_steps"] for row in rows]
    assert price["data"][0]["y"] == [row["ponder_loss"] for row in rows]
    assert notes["data"][0]["y"] == [row["memory_notes"] for row in rows]
    columns = ("memory_written", "memory_gate", "memory_null_share")
    behind = [trace["y"] for trace in use["data"] if "each step" in trace["name"]]
    assert behind == [[row[column] for row in rows] for column in columns]
    first = trained_studio.log.ponder_histograms(run.id)[0]["counts"]
    assert [row[0] for row in tokens["data"][0]["z"]] == [count / sum(first) for count in first[1:]]


def test_its_inside_is_shown_layer_by_layer(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    (shown,) = sent(open_page("monitor", run=run.id), "charts")
    updates, gradients, _ = [each["figure"]["data"][0] for each in shown if each["group"] == "Inside"]
    rows = trained_studio.log.layer_figures(run.id)
    assert [row["step"] for row in rows] == [1, 2, 4]
    assert updates["x"] == gradients["x"] == [0, 1, 2, 4]
    assert updates["y"][0] == "Word table (embedding)" and {"Memory", "When to stop (halting)"} < set(updates["y"])
    first = [values[0] for values in gradients["customdata"]]
    assert first == pytest.approx(rows[0]["gradients"], rel=0.01)


def test_what_it_writes_is_beside_the_curve_and_marked(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    trained_studio.log.record(
        run.id, Sample(run.model_names[0], 7, "GSM8K", "Problem: 1 + 1?\nSolution:", "#### 2", "#### 2")
    )
    trained_studio.log.record(
        run.id, Sample(run.model_names[0], 7, "GSM8K", "Problem: 1 + 2?\nSolution:", "#### 2", "#### 3")
    )
    trained_studio.log.record(run.id, Sample(run.model_names[0], 7, "SVAMP", "Problem: 3?\nSolution:", "", "#### 3"))
    trained_studio.log.tag_runs({})  # once all is written
    (samples,) = sent(open_page("monitor", run=run.id), "samples")
    assert samples == [
        {"step": 7, "question": "1 + 1?", "text": "#### 2", "right": True},
        {"step": 7, "question": "1 + 2?", "text": "#### 2", "right": False},
    ]


def test_a_plain_model_shows_neither(studio: RunManager, tiny_config: TrainingConfig) -> None:
    plain = tiny_config.with_overrides({"act_enabled": False, "ltm_enabled": False})
    run_id = studio.log.create_run("r1", "mine", plain, ["m"], studio.home, None)
    studio.log.record(run_id, StepMetrics("m", 1, 5.0, 0.1, 1.0, 3.0, 10, 0.1, 0.1))
    studio.log.claim(run_id)
    studio.log.set_status(run_id, RunStatus.FAILED)
    page = open_page("monitor", run=run_id)
    assert [chart["group"] for chart in sent(page, "charts")[0]] == ["", "Learning", "Learning", MACHINE]


def test_what_training_asks_of_the_machine_is_shown_where_it_was_measured(
    studio: RunManager, tiny_config: TrainingConfig
) -> None:
    plain = tiny_config.with_overrides({"act_enabled": False, "ltm_enabled": False})
    run_id = studio.log.create_run("r1", "mine", plain, ["m"], studio.home, None)
    for step in (1, 2):
        measured = {"cores": 1.9, "memory_gb": 0.7}  # no sensor
        studio.log.record(run_id, StepMetrics("m", step, 5.0, 0.1, 1.0, 3.0, 10, 0.1, 0.1 * step, **measured))
    studio.log.claim(run_id)
    studio.log.set_status(run_id, RunStatus.FAILED)
    charts = sent(open_page("monitor", run=run_id), "charts")[0]
    shown = [chart["title"] for chart in charts if chart["group"] == MACHINE]
    assert shown == ["Speed", "Processor cores at work", "Memory of the training process"]


def test_a_name_is_shown_as_typed_and_never_as_markup(trained_studio: RunManager) -> None:
    page = open_page("monitor", run=trained_studio.log.runs()[0].id)
    assert page.title[0].value.replace(WORD_JOINER, "") == r"My \<b\>first\</b\> run"


def test_unknown_figures_are_called_unknown(studio: RunManager, tiny_config: TrainingConfig) -> None:
    run_id = studio.log.create_run("r1", "mine", tiny_config, ["m"], studio.home, None)
    page = open_page("monitor", run=run_id)
    values = {metric.label: metric.value for metric in page.metric}
    assert values["How wrong it is (loss)"] == "unknown"
    assert values["Speed"] == "unknown"


def test_a_failed_run_shows_the_reason_and_the_steps_before(studio: RunManager, tiny_config: TrainingConfig) -> None:
    run_id = studio.log.create_run("r1", "mine", tiny_config, ["m"], studio.home, None)
    studio.log.record(run_id, StepMetrics("m", 1, 5.0, 0.1, 1.0, 3.0, 10, 0.1, 0.1))
    studio.log.record(run_id, StepMetrics("m", 2, float("nan"), 0.1, 1.0, 3.0, 10, 0.1, 0.2))
    studio.log.claim(run_id)
    studio.log.set_status(run_id, RunStatus.FAILED, error="The disk is full.", error_details="Traceback ...")
    page = open_page("monitor", run=run_id)
    assert "The disk is full" in texts(page)
    assert "Traceback ..." in texts(page)
    marks = [trace for trace in charts(page)[0]["data"] if "NaN" in trace["name"]]
    assert marks[0]["x"] == [2.0]


def test_a_fallback_is_never_silent(studio: RunManager, tiny_config: TrainingConfig) -> None:
    run_id = studio.log.create_run("r1", "mine", tiny_config, ["m"], studio.home, None)
    lost = SourceReport("GSM8K", "openai/gsm8k", "nowhere", loaded=False, reason="No network.")
    studio.log.record(run_id, DataReport([lost], fallback=True, content_hash="x", vocabulary=400, from_cache=False))
    studio.log.record(run_id, Event("warning", "No dataset could be had: synthetic problems stand in."))
    studio.log.claim(run_id)
    studio.log.set_status(run_id, RunStatus.COMPLETED)
    page = open_page("monitor", run=run_id)
    assert "synthetic problems stand in" in texts(page)
    assert "No network." in page.dataframe[0].value.to_string()


def test_stop_and_cancel_reach_the_run(studio: RunManager, tiny_config: TrainingConfig) -> None:
    run_id = studio.log.create_run("r1", "mine", tiny_config, ["m"], studio.home, None)
    studio.log.claim(run_id)
    page = open_page("monitor", run=run_id)
    next(button for button in page.button if button.label == "Stop and save").click().run()
    assert studio.log.run(run_id).status is RunStatus.STOPPING
    next(button for button in page.button if button.label == "Cancel this run").click().run()
    assert studio.log.run(run_id).status is RunStatus.CANCELLING


@pytest.mark.parametrize(("names", "shown"), [(["m"], 1), (["m", "n"], 26)])
def test_the_bar_agrees_with_the_step_of_one_model(
    studio: RunManager, tiny_config: TrainingConfig, names: list[str], shown: int
) -> None:
    run_id = studio.log.create_run("r1", "mine", tiny_config, names, studio.home, None)
    studio.log.claim(run_id)
    known: dict[str, Any] = {"progress": 0.26, "message": "Training m", "step": 4, "total_steps": 400}
    studio.log.set_status(run_id, RunStatus.TRAINING, **known)
    (bar,) = open_page("monitor", run=run_id).get("progress")
    assert (bar.proto.value, bar.proto.text) == (shown, "Training m. Time left: not known yet.")


# What a run was made of, and what was promised of it


def test_a_run_says_what_it_was_made_of(studio: RunManager, tiny_config: TrainingConfig) -> None:
    studio.log.create_run("parent", "Parent", tiny_config, ["m"], studio.home, None)
    studio.log.create_run("child", "Child", tiny_config, ["m"], studio.home, None, Origin("parent", "branch", 1200))
    studio.log.create_run("orphan", "Orphan", tiny_config, ["m"], studio.home, None, Origin("gone", "twin"))
    assert "Branched from" in texts(open_page("monitor", run="child"))
    assert "after step 1,200" in texts(open_page("monitor", run="child"))
    assert "GrokFast twin of a deleted run" in texts(open_page("monitor", run="orphan"))


@pytest.mark.parametrize(
    ("seconds", "words"), [(75, "as estimated"), (30, "less than estimated"), (100, "more than estimated"), (None, "")]
)
def test_a_quote_is_set_beside_what_it_took(
    studio: RunManager, tiny_config: TrainingConfig, seconds: float | None, words: str
) -> None:
    time_estimate = TimeEstimate(60.0, 90.0, 0.5, 10, 500_000_000, 1, busy=False)
    studio.log.create_run("r1", "mine", tiny_config, ["m"], studio.home, None, time_estimate=time_estimate)
    studio.log.claim("r1")
    if seconds is not None:
        stats = {"seconds": seconds}
        model = ModelArtifacts(
            "i", "m", "p", 1, "2026-01-01T00:00:00", "completed", "", "", [], stats, False, False, False, {}, []
        )
        studio.log.add_model("r1", model, [])
    studio.log.set_status("r1", RunStatus.COMPLETED)
    shown = texts(open_page("monitor", run="r1"))
    assert "Estimated for training: 60 s to 90 s" in shown
    assert words in shown
    assert ("it took" in shown) == (seconds is not None)


def test_a_step_tells_what_was_read_and_where_a_branch_would_begin(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    page = open_page("monitor", run=run.id)
    page.session_state["asked_step"] = 3
    page.run()
    row = trained_studio.log.metrics(run.id)[2]
    values = [metric.value for metric in page.metric]
    assert f"{row['loss']:.3f}" in values
    assert f"{run.config.batch_size} sequences" in texts(page)
    assert "Problem:" in texts(page)
    assert "The nearest checkpoint is step" in texts(page)


def test_a_repetition_says_whether_the_same_came_of_it(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    again = trained_studio.start_verification(run.id)
    assert trained_studio.wait(again, LONG)
    assert "Identical." in texts(open_page("monitor", run=again))


# A long life


def test_of_many_events_some_are_drawn_and_each_can_be_reached(studio: RunManager) -> None:
    add_runs(studio, 1, RunStatus.COMPLETED)
    for step in range(1, 1001):
        studio.log.record("other-0", Event("info", f"Checkpoint {step}", "m", step))
    studio.log.raise_refused("other-0")
    page = open_page("monitor", run="other-0")
    assert "Log (1000)" in [each.label for each in page.expander]
    assert "step 1,000: Checkpoint 1000" in texts(page) and texts(page).count("Checkpoint") == 20
    while "step 1: Checkpoint 1" not in texts(page):
        before = texts(page).count("Checkpoint")
        button(page, "Show more").click().run()
        assert texts(page).count("Checkpoint") > before
    assert texts(page).count("Checkpoint") == 1000


def test_of_many_warnings_the_first_are_shown_once_each(studio: RunManager) -> None:
    add_runs(studio, 1, RunStatus.COMPLETED)
    for number in range(100):
        studio.log.record("other-0", Event("warning", "GSM8K could not be had."))
        studio.log.record("other-0", Event("warning", f"Row {number} was skipped."))
    studio.log.raise_refused("other-0")
    (warning,) = open_page("monitor", run="other-0").warning
    sentences = warning.value.replace(WORD_JOINER, "").split("  \n")
    assert [each.replace("\\", "") for each in sentences[:2]] == ["GSM8K could not be had.", "Row 0 was skipped."]
    assert len(sentences) == 11 and sentences[-1].startswith("And 91 more")


def test_each_model_of_a_run_has_its_own_figures(studio: RunManager, tiny_config: TrainingConfig) -> None:
    studio.log.create_run("r1", "mine", tiny_config, ["one", "two"], studio.home, None)
    for model, loss in (("one", 1.0), ("two", 2.0)):
        for step in range(1, 101):
            studio.log.record("r1", StepMetrics(model, step, loss, 0.1, 1.0, 3.0, 10, 0.1, 0.1 * step))
    studio.log.raise_refused("r1")
    page = open_page("monitor", run="r1")
    assert {metric.label: metric.value for metric in page.metric}["How wrong it is (loss)"] == "1.000"


def test_a_branch_has_the_training_steps_that_were_typed(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    page = open_page("monitor", run=run.id)
    page.session_state["asked_step"] = 3
    page.run()
    (setting,) = (each for each in page.selectbox if each.label == "Setting to change")
    assert not any("max_steps" in option for option in setting.options), "it has a field of its own"
    next(each for each in page.text_input if each.label == "Total training steps").set_value("9")
    page.session_state["asked_step"] = 3  # AppTest closes the dialog otherwise
    button(page, "Start the branch").click().run()
    branch = trained_studio.log.runs()[0]
    assert (branch.relation, branch.config.max_steps) == ("branch", 9)
    assert trained_studio.wait(branch.id, LONG)
