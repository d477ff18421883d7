"""The Grokking lab's page, and what other pages show of its runs."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS, VARIANTS
from cognate_core.contracts import ARITHMETIC, DataReport, Evaluation, RunStatus, StepMetrics
from cognate_core.labels import WORD_JOINER
from cognate_core.runs import RunManager, current_manager, known_report
from cognate_core.sharing.report import report_of_run
from tests.arithmetic.tiny import config_of
from tests.pages.conftest import add_runs, chart_titles, charts, open_page, texts
from tests.waiting import LONG

PRESET = PRESETS["grokking"].config
TINY = config_of(max_steps=12, eval_interval=4, save_steps=4)
Checks = list[tuple[int, float]]


@pytest.fixture
def idle_studio(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> RunManager:
    """Runs stay in the queue: starting is tested here, not training."""
    monkeypatch.setattr(studio, "_start_waiting", lambda: None)
    return studio


@pytest.fixture(scope="module")
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which a tiny run of the lab, of two models, was really trained."""
    home = tmp_path_factory.mktemp("lab")
    manager = RunManager(home, executor="thread")
    run_id = manager.start(TINY, "My *lab* run", ["One", "Two"])
    assert manager.wait(run_id, LONG)
    assert manager.log.run(run_id).status is RunStatus.COMPLETED, manager.log.run(run_id).error
    manager.close()
    return home


@pytest.fixture
def lab_studio(tmp_path: Path, lab_home: Path) -> RunManager:
    shutil.copytree(lab_home, tmp_path / "home")
    return current_manager()


def field(page: AppTest, label: str) -> Any:
    return next(element for element in page.text_input if element.label == label)


def press(page: AppTest, label: str) -> AppTest:
    return next(button for button in page.button if button.label == label).click().run()


def variants(page: AppTest) -> Any:
    return next(group for group in page.button_group if group.label == "Variants")


def plain(page: AppTest) -> str:
    """All text without what escapes it."""
    return texts(page).replace("\\", "").replace(WORD_JOINER, "")


def add_run(studio: RunManager, run_id: str, checks: Checks, learning: float = 0.5, **settings: Any) -> str:
    """A run of the lab that has these checks, (step, share of unseen problems right)."""
    log, config = studio.log, PRESET.with_overrides({"max_steps": 100, **settings})
    log.create_run(run_id, f"variant {run_id}", config, ["m"], studio.home, None)
    for step in range(1, 101):
        log.record(run_id, StepMetrics("m", step, 0.1, 1e-3, 1.0, 1.0, 512, 0.01, 0.01 * step, accuracy=learning))
    for step, share in checks:
        log.record(run_id, Evaluation("m", step, ARITHMETIC, 1.0, 9, share))
    log.record(run_id, DataReport([], fallback=False, content_hash="x", vocabulary=99, from_cache=False))
    log.raise_refused(run_id)
    log.claim(run_id)
    log.set_status(run_id, RunStatus.COMPLETED, step=100, total_steps=100)
    return run_id


# Starting


def test_a_race_starts_just_the_variants_that_were_chosen(idle_studio: RunManager) -> None:
    page = open_page("lab")
    press(page, "Start the race")
    runs = {run.name.rsplit(", ", 2)[0]: run for run in idle_studio.log.runs()}
    assert set(runs) == {"GrokFast", "No filter"}
    for name in ("grokfast", "control"):
        expected = PRESET.with_overrides(VARIANTS[name].overrides)
        config = runs[VARIANTS[name].title].config
        assert {key for key, value in config if value != getattr(expected, key)} <= {"output_dir"}
    assert {run.config.seed for run in runs.values()} == {0}
    assert set(page.query_params["runs"].split(",")) == {run.id for run in runs.values()}


def test_every_variant_calculates_what_was_typed_and_differs_in_its_own_settings_alone(idle_studio: RunManager) -> None:
    page = open_page("lab")
    variants(page).set_value(list(VARIANTS)).run()
    field(page, "Prime").set_value("59").run()
    field(page, "Seed").set_value("7").run()
    field(page, "Training steps").set_value("30").run()
    press(page, "Start the race")
    runs = {run.name.rsplit(", ", 2)[0]: run.config for run in idle_studio.log.runs()}
    typed = PRESET.with_overrides({"arithmetic_modulus": 59, "seed": 7, "max_steps": 30})
    for variant in VARIANTS.values():
        expected = typed.with_overrides(variant.overrides)
        found = runs.pop(variant.title)
        assert {key for key, value in found if value != getattr(expected, key)} <= {"output_dir"}, variant.title
    assert not runs


def test_an_own_variant_has_the_settings_that_were_typed(idle_studio: RunManager) -> None:
    page = open_page("lab")
    variants(page).set_value(["own"]).run()
    field(page, "Weight decay").set_value("0.3").run()
    field(page, "Width").set_value("64").run()
    press(page, "Start the race")
    (run,) = idle_studio.log.runs()
    assert (run.config.weight_decay, run.config.d_model, run.config.task) == (0.3, 64, "arithmetic")


def test_pressed_twice_is_one_race(idle_studio: RunManager) -> None:
    for _ in range(2):  # the second press of a double click reaches the server with the same key
        page = open_page("lab")
        page.session_state["race_key"] = "one press"
        press(page, "Start the race")
    assert len(idle_studio.log.runs()) == 2


def test_two_races_one_after_another_are_two(idle_studio: RunManager) -> None:
    page = open_page("lab")
    press(page, "Start the race")
    press(page, "Start the race")
    assert len(idle_studio.log.runs()) == 4


@pytest.mark.parametrize(
    ("label", "typed", "sentence"),
    [
        ("Prime", "96", "96 is not a prime number"),
        ("Prime", "ninety", "whole number"),
        ("Prime", "", "number"),
        ("Prime", "1009", "113"),
        ("Share to learn from", "1.5", "0.95"),
        ("Seed", "-1", "0"),
        ("Training steps", "many", "number"),
        ("Training steps", "0", "1"),
    ],
)
def test_what_cannot_be_used_gets_its_sentence_and_nothing_starts(
    idle_studio: RunManager, label: str, typed: str, sentence: str
) -> None:
    page = open_page("lab")
    before = plain(page)
    field(page, label).set_value(typed).run()
    assert not page.exception
    said = "".join(line for line in plain(page).splitlines() if line not in before.splitlines())
    assert sentence in said
    press(page, "Start the race")
    assert idle_studio.log.runs() == []
    assert sentence in plain(page)


def test_without_a_variant_nothing_can_start(idle_studio: RunManager) -> None:
    page = open_page("lab")
    variants(page).set_value([]).run()
    assert next(button for button in page.button if button.label == "Start the race").disabled
    assert "Choose at least one variant" in texts(page)


# Addresses


@pytest.mark.parametrize("runs", ["nowhere", ",,,", "nowhere,a", "a,a,a", "<script>", "x" * 5000])
def test_an_address_with_runs_that_are_not_here_does_no_harm(studio: RunManager, runs: str) -> None:
    add_run(studio, "a", [(0, 0.0)])
    page = open_page("lab", runs=runs)
    assert not page.exception
    assert "variant a" in str([link.proto.label for link in page.get("page_link")])


def test_an_empty_lab_says_what_to_do(studio: RunManager) -> None:
    for query in ({}, {"runs": "nowhere"}, {"from": "nowhere"}):
        page = open_page("lab", **query)
        assert not page.exception
        assert any(button.label == "Start the race" for button in page.button)


def test_a_run_of_text_is_not_of_the_lab(idle_studio: RunManager, tiny_config: TrainingConfig) -> None:
    text = idle_studio.start(tiny_config, "Text", ["m"])
    page = open_page("lab", runs=text)
    assert "Text" not in str([link.proto.label for link in page.get("page_link")])
    page = open_page("lab", **{"from": text})
    assert not page.exception
    assert variants(page).value == ["grokfast", "control"]


def test_new_run_sends_the_settings_of_a_lab_run_on_to_the_lab(idle_studio: RunManager) -> None:
    add_run(idle_studio, "a", [(0, 0.0)], weight_decay=0.125, arithmetic_modulus=59)
    page = open_page("new_run", **{"from": "a"})
    assert "Grokking lab" in texts(page)
    assert page.query_params["from"] == "a"
    assert "own" in variants(page).value
    assert (field(page, "Weight decay").value, field(page, "Prime").value) == ("0.125", "59")
    page = open_page("lab", **{"from": "a"})  # a browser stays there; AppTest would go by New run again
    variants(page).set_value(["own"]).run()
    press(page, "Start the race")
    copy = next(run for run in idle_studio.log.runs() if run.id != "a").config
    parent = idle_studio.log.run("a").config
    assert {key for key, value in copy if value != getattr(parent, key)} <= {"output_dir"}


def test_a_damaged_run_does_no_harm(studio: RunManager) -> None:
    add_run(studio, "a", [(0, 0.0)])
    add_run(studio, "b", [(0, 0.0)])
    with sqlite3.connect(studio.log.path) as connection:
        connection.execute("UPDATE runs SET config = '{\"d_model\": \"wide\"}' WHERE id = 'b'")
    page = open_page("lab", runs="a,b")
    assert not page.exception


# Standings


def test_grokked_is_said_of_what_the_checks_measured_alone(studio: RunManager) -> None:
    add_run(studio, "a", [(0, 0.0), (10, 0.3), (20, 0.94), (30, 0.95), (40, 0.99)], learning=1.0)
    add_run(studio, "b", [(0, 0.0), (10, 0.3), (20, 0.9499)], learning=1.0)
    add_run(studio, "c", [(0, 0.0), (10, 0.31)])
    page = open_page("lab", runs="a,b,c")
    said = [line for line in plain(page).splitlines() if line.startswith("step 100 of 100")]
    assert "grokked at step 30" in said[0] and "by heart at step 10" in said[0]
    assert "not grokked yet" in said[1] and "95.0% of the unseen" in said[1]
    assert "not yet by heart" in said[2] and "31.0% of the unseen problems right" in said[2]
    assert texts(page).count("grokked at step") == 1


def test_a_variant_without_a_check_has_nothing_measured(studio: RunManager) -> None:
    add_run(studio, "a", [])
    assert "nothing was measured" in texts(open_page("lab", runs="a"))


def test_lines_are_what_was_measured_with_the_published_steps_beside_that_problem(studio: RunManager) -> None:
    add_run(studio, "a", [(0, 0.0), (50, 0.25), (100, 1.0)], max_steps=2000)
    drawn = charts(open_page("lab", runs="a"))[0]
    assert any(list(trace["y"]) == [0.25, 1.0] for trace in drawn["data"])
    assert "published" in str(drawn)
    add_run(studio, "b", [(0, 0.0), (50, 0.25)], max_steps=2000, arithmetic_modulus=59)
    assert "published" not in str(charts(open_page("lab", runs="b"))[0])


def test_beside_a_run_of_text_there_is_a_line_for_each(studio: RunManager, tiny_config: TrainingConfig) -> None:
    add_run(studio, "a", [(0, 0.0), (50, 0.25)])
    studio.log.create_run("text", "text", tiny_config, ["m"], studio.home, None)
    page = open_page("compare", runs="a,text")
    assert not page.exception
    assert "variant a" in str(charts(page)) and "text" in str(charts(page))


# Read-only


def test_who_only_looks_starts_and_stops_nothing(tmp_path: Path) -> None:
    owner = RunManager(tmp_path / "home", executor="thread")
    try:
        add_run(owner, "a", [(0, 0.0), (50, 0.96)])
        assert current_manager().read_only
        page = open_page("lab", runs="a")
        assert not page.exception
        assert "grokked at step 50" in texts(page)
        assert all(button.disabled for button in page.button if button.label in ("Start the race", "Stop and save"))
    finally:
        owner.close()


# Other pages


def test_a_model_of_the_lab_is_asked_problems_and_writes_nothing(lab_studio: RunManager) -> None:
    models = {model.name: model for model in lab_studio.log.models()}
    page = open_page("models", model=models["Two"].id)
    labels = [element.label for element in page.number_input]
    assert {"x", "y"} <= set(labels)
    assert not any(button.label == "Write" for button in page.button)
    assert "accuracy" not in texts(page).lower()
    assert "Problems learned from" in [metric.label for metric in page.metric]
    asked = next(element for element in page.number_input if element.label == "x")
    asked.set_value(3).run()
    assert not page.exception
    assert any("modulo 7" in metric.label and metric.label.startswith("3") for metric in page.metric)
    share = models["Two"].details["training_stats"]["heldout_accuracy"][ARITHMETIC]
    assert f"{share:.1%} are right" in texts(page)
    assert chart_titles(page) == ["All its answers", "The numbers, as it sees them"]


def test_its_checkpoints_have_a_slider(lab_studio: RunManager) -> None:
    model = lab_studio.log.models()[0]
    page = open_page("models", model=model.id)
    (slider,) = page.select_slider
    slider.set_value(lab_studio.kept_steps(model.id)[0]).run()
    assert not page.exception and not page.error


def test_a_model_whose_files_are_gone_is_a_sentence(lab_studio: RunManager) -> None:
    model = lab_studio.log.models()[0]
    lab_studio.store.path(lab_studio.log.artifacts(model.id)[0]["path"]).unlink()
    page = open_page("models", model=model.id)
    assert not page.exception
    assert page.error or page.warning


@pytest.mark.parametrize("name", ["One", "Two"])
def test_monitor_tells_of_problems(lab_studio: RunManager, name: str) -> None:
    run = lab_studio.log.runs()[0]
    page = open_page("monitor", run=run.id)
    picker = next(group for group in page.button_group if group.label == "Model")
    picker.set_value(name).run()
    assert not page.exception
    speed = next(metric for metric in page.metric if metric.label == "Speed")
    assert speed.value.endswith("problems/s")
    shares = [
        row["accuracy"] for row in lab_studio.log.evaluations(run.id) if row["model_name"] == name and row["step"]
    ]
    first = charts(page)[0]
    assert any(list(trace["y"]) == pytest.approx(shares) for trace in first["data"] if len(trace["y"]) == len(shares))
    for word in ("tokens/s", "word pieces", "unseen text"):
        assert word not in texts(page) + str([metric.label + metric.value for metric in page.metric])


def test_the_report_has_each_models_own_figures(lab_studio: RunManager) -> None:
    run = lab_studio.log.runs()[0]
    for model in lab_studio.log.models(run.id):
        html = report_of_run(lab_studio.log, run, model.name)
        share = model.details["training_stats"]["heldout_accuracy"][ARITHMETIC]
        assert f"it answered {share:.1%} of the problems" in html
        assert "32,000" not in html


def test_datasets_offers_no_tokenizer_of_it(lab_studio: RunManager) -> None:
    page = open_page("datasets")
    assert "Prepared by earlier runs" not in texts(page), "there is no text in it"
    offered = [option for box in page.selectbox if box.label == "Tokenizer" for option in box.options]
    assert not any(ARITHMETIC in option for option in offered)


def test_the_plan_of_a_language_model_knows_nothing_of_its_problems(lab_studio: RunManager) -> None:
    assert known_report(lab_studio.log, TrainingConfig()) is None


def test_the_tour_does_not_lead_through_it(lab_studio: RunManager) -> None:
    lab_studio.log.set_coordination("cognate-studio/tour", {"over": False})
    for name in ("monitor", "models", "lab", "home", "compare"):
        page = open_page(name)
        assert not page.exception
        assert "**Write**" not in texts(page) and "text it reads" not in texts(page)


def test_the_oldest_race_of_many_runs_is_still_there(studio: RunManager) -> None:
    add_runs(studio, 1, RunStatus.COMPLETED, "oldest", TINY)
    add_runs(studio, 210, RunStatus.COMPLETED)
    assert "oldest 0" in [link.proto.label for link in open_page("lab").get("page_link")]
    assert "oldest 0" in [link.proto.label for link in open_page("lab", runs="oldest-0").get("page_link")]


def test_an_address_of_a_run_that_is_gone_is_told(studio: RunManager) -> None:
    add_runs(studio, 1, RunStatus.COMPLETED, config=TINY)
    assert "It may have been deleted" in texts(open_page("lab", runs="gone"))
    assert "It may have been deleted" in texts(open_page("lab", runs="other-0,gone"))
    assert "It may have been deleted" not in texts(open_page("lab", runs="other-0"))
    assert "It may have been deleted" not in texts(open_page("lab"))
