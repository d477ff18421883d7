"""Sweeps on the pages: asked for on New run, compared on Compare, kept together on Home."""

from __future__ import annotations

import math
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.config.sweep import Sweep
from cognate_core.contracts import DataReport, Evaluation, RunStatus, TimeEstimate
from cognate_core.runs import RunManager
from pages.components.live_charts import MOST_COMPARED
from pages.components.sweep_form import sweep_time
from tests.pages.conftest import open_page, sent, texts
from tests.pages.test_compare import links, plain


@pytest.fixture
def idle_studio(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> RunManager:
    """Runs stay in the queue."""
    monkeypatch.setattr(studio, "_start_waiting", lambda: None)
    return studio


def end(studio: RunManager, run_id: str, loss: float | None, status: RunStatus = RunStatus.COMPLETED) -> None:
    """Let a queued run have ended with this held-out loss."""
    log = studio.log
    (model,) = log.run(run_id).model_names
    if loss is not None:
        log.record(run_id, Evaluation(model, 10, "Synthetic", loss, 9))
    log.record(run_id, DataReport([], fallback=False, content_hash="same", vocabulary=400, from_cache=False))
    log.raise_refused(run_id)
    log.claim(run_id)
    log.set_status(run_id, status, step=10)


def start_button(page: AppTest) -> Any:
    return next(button for button in page.button if button.label.startswith("Start"))


def switch_on(page: AppTest, *settings: str) -> AppTest:
    next(toggle for toggle in page.toggle if toggle.label == "Try several settings").set_value(True).run()
    page.multiselect[0].set_value(list(settings)).run()
    assert not page.exception
    return page


def type_values(page: AppTest, name: str, text: str) -> AppTest:
    page.text_input(f"sweep.{name}").set_value(text).run()
    assert not page.exception
    return page


class TestNewRun:
    def test_is_as_calm_as_before_for_one_run(self, idle_studio: RunManager) -> None:
        page = open_page("new_run")
        assert not page.multiselect and not page.dataframe
        assert start_button(page).label == "Start training"

    def test_lists_the_runs_and_starts_all_of_them_once(self, idle_studio: RunManager) -> None:
        page = switch_on(open_page("new_run"), "Learning rate", "Layers")
        assert start_button(page).disabled
        type_values(page, "learning_rate", "1e-3, 2e-3")
        type_values(page, "n_layers", "2, 3")
        (table,) = page.dataframe
        assert table.value.to_dict("records") == [
            {"Learning rate": rate, "Layers": layers} for rate in (0.001, 0.002) for layers in (2, 3)
        ]
        assert start_button(page).label == "Start 4 runs"
        assert "All 4 runs: not measured yet." in texts(page)
        start_button(page).click().run()
        (group,) = idle_studio.log.groups()
        runs = idle_studio.log.runs_of_group(group.id)
        assert [(run.config.learning_rate, run.config.n_layers) for run in runs] == [
            (1e-3, 2), (1e-3, 3), (2e-3, 2), (2e-3, 3),
        ]  # fmt: skip
        assert {run.config.d_model for run in runs} == {PRESETS["first-run"].config.d_model}
        assert page.query_params.get("group") in (group.id, None)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("0.1, fast", "Learning rate must be a number"),
            ("0.1", "only one run"),
            ("0.1, 0.1", "0.1 twice"),
        ],
    )
    def test_bad_input_has_its_sentence_and_loses_nothing(self, idle_studio: RunManager, text: str, words: str) -> None:
        page = type_values(switch_on(open_page("new_run"), "Learning rate"), "learning_rate", text)
        assert words in plain(page)
        assert start_button(page).disabled
        assert page.text_input("sweep.learning_rate").value == text

    def test_contradictions_are_listed_and_may_be_left_out(self, idle_studio: RunManager) -> None:
        page = type_values(switch_on(open_page("new_run"), "Width"), "d_model", "64, 128, 129")
        assert "1 of 3 combinations cannot be trained" in texts(page)
        assert start_button(page).disabled
        assert "cannot be shared evenly" in page.dataframe[0].value.to_dict("records")[0]["why"]
        next(toggle for toggle in page.toggle if toggle.label == "Skip these").set_value(True).run()
        assert start_button(page).label == "Start 2 runs" and not start_button(page).disabled

    def test_draws_from_ranges(self, idle_studio: RunManager) -> None:
        page = switch_on(open_page("new_run"), "Learning rate")
        next(group for group in page.button_group if group.label == "Which runs").set_value("Random draws").run()
        type_values(page, "learning_rate", "1e-4 to 1e-2")
        page.number_input("sweep_runs").set_value(5).run()
        rates = [float(row["Learning rate"]) for row in page.dataframe[0].value.to_dict("records")]
        assert len(set(rates)) == 5 and min(rates) >= 1e-4 and max(rates) <= 1e-2
        assert start_button(page).label == "Start 5 runs"

    def test_time_is_told_only_as_far_as_it_is_known(self, tiny_config: TrainingConfig) -> None:
        time_estimate = TimeEstimate(100, 120, 1.0, 5, 1, 1, busy=False)
        rates = Sweep(tiny_config, {"learning_rate": [1e-3, 1e-2]})
        assert sweep_time(rates, None) == "All 2 runs: not measured yet."
        assert "3 min to 4 min" in sweep_time(rates, time_estimate)
        steps = Sweep(tiny_config, {"max_steps": [tiny_config.max_steps, 3 * tiny_config.max_steps]})
        assert "7 min to 8 min" in sweep_time(steps, time_estimate)
        assert "unknown" in sweep_time(Sweep(tiny_config, {"n_layers": [2, 4]}), time_estimate)


class TestCompare:
    def test_shows_all_runs_of_a_sweep_and_says_which_is_best(
        self, idle_studio: RunManager, tiny_config: TrainingConfig
    ) -> None:
        sweep = Sweep(tiny_config, {"learning_rate": "1e-3, 1e-2, 1e-1"})
        group_id, run_ids = idle_studio.start_sweep(sweep, "My **rates**")
        end(idle_studio, run_ids[0], 3.9)
        end(idle_studio, run_ids[1], 3.62)
        end(idle_studio, run_ids[2], None, RunStatus.DIVERGED)
        page = open_page("compare", group=group_id)
        assert "Lowest held-out loss: Learning rate 0.01 with 3.620, against 3.900" in plain(page)
        rows = page.dataframe[0].value.to_dict("records")
        assert [(row["Learning rate"], row["status"], row["lowest held-out loss"]) for row in rows] == [
            (0.01, "completed", 3.62),
            (0.001, "completed", 3.9),
            (0.1, "diverged", pytest.approx(math.nan, nan_ok=True)),
        ], "numbers, which sort as such"
        assert "time (s)" in page.dataframe[0].value.columns
        assert page.multiselect[0].value == [run_ids[1], run_ids[0], run_ids[2]]
        assert "1 of 3 runs are not drawn" in plain(page)
        chart, curves = sent(page, "charts")
        assert [each["title"] for each in chart] == ["Lowest held-out loss by Learning rate"] and len(curves) > 1

    def test_goes_to_another_sweep_and_back_to_none(self, idle_studio: RunManager, tiny_config: TrainingConfig) -> None:
        one, of_one = idle_studio.start_sweep(Sweep(tiny_config, {"seed": [1, 2]}), "one")
        other, of_other = idle_studio.start_sweep(Sweep(tiny_config, {"seed": [3, 4]}), "other")
        page = open_page("compare", group=one)
        assert set(page.multiselect[0].value) == set(of_one)
        page.selectbox[0].set_value(other).run()
        assert not page.exception
        assert set(page.multiselect[0].value) == set(of_other)
        assert page.query_params["group"] in (other, [other])
        page.multiselect[0].set_value(of_other[:1]).run()
        assert page.multiselect[0].value == of_other[:1], "a person may look at fewer"
        page.selectbox[0].set_value(None).run()
        assert "group" not in page.query_params and not page.exception

    def test_of_a_large_sweep_lays_some_over_one_another(
        self, idle_studio: RunManager, tiny_config: TrainingConfig
    ) -> None:
        group_id, run_ids = idle_studio.start_sweep(Sweep(tiny_config, {"seed": range(20)}), "many")
        page = open_page("compare", group=group_id)
        assert len(page.multiselect[0].value) == MOST_COMPARED < len(page.dataframe[0].value) == len(run_ids)

    def test_what_is_left_can_be_cancelled(self, idle_studio: RunManager, tiny_config: TrainingConfig) -> None:
        group_id, run_ids = idle_studio.start_sweep(Sweep(tiny_config, {"seed": [1, 2]}), "seeds")
        page = open_page("compare", group=group_id)
        next(button for button in page.button if button.label == "Cancel the remaining runs").click().run()
        assert {idle_studio.log.run(run_id).status for run_id in run_ids} == {RunStatus.CANCELLED}

    def test_a_sweep_that_is_gone_is_named(self, idle_studio: RunManager, tiny_config: TrainingConfig) -> None:
        idle_studio.start(tiny_config, "alone", ["alone"])
        page = open_page("compare", group="nowhere")
        assert "does not exist" in texts(page) and not page.exception


class TestHome:
    def test_knows_the_runs_of_a_sweep(self, idle_studio: RunManager, tiny_config: TrainingConfig) -> None:
        group_id, run_ids = idle_studio.start_sweep(Sweep(tiny_config, {"seed": range(1, 9)}), "Seeds")
        for run_id in run_ids[:6]:
            end(idle_studio, run_id, 3.0)
        page = open_page("home")
        shown = links(page)
        assert shown.count("Sweep Seeds") == 1, "those that wait"
        assert page.dataframe[0].value["sweep"].to_list() == ["Seeds"] * 8
        next(button for button in page.button if button.label == "Remove all").click().run()
        assert {run.status for run in idle_studio.log.runs_of_group(group_id)[6:]} == {RunStatus.CANCELLED}

    def test_monitor_leads_to_the_sweep(self, idle_studio: RunManager, tiny_config: TrainingConfig) -> None:
        _, run_ids = idle_studio.start_sweep(Sweep(tiny_config, {"seed": [1, 2]}), "Seeds")
        assert "Compare it with the rest of the sweep Seeds" in links(open_page("monitor", run=run_ids[0]))
