from __future__ import annotations

import shlex

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button, TextInput

from cognate_core.config.presets import PRESETS
from cognate_core.contracts import DataReport, RunStatus, TimeEstimate
from cognate_core.data import uploads
from cognate_core.errors import TrainingError
from cognate_core.model import count_parameters
from cognate_core.runs import RunManager
from cognate_core.runs import time_estimate as time_estimate_module
from tests.pages.conftest import add_runs, chart_titles, open_page, texts
from tests.waiting import LONG

FIRST_RUN = PRESETS["first-run"].title  # as the address has it


def field(page: AppTest, label: str) -> TextInput:
    return next(element for element in page.text_input if element.label == label)


def start_button(page: AppTest) -> Button:
    return next(button for button in page.button if button.label == "Start training")


@pytest.fixture
def idle_studio(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> RunManager:
    """Runs stay in the queue: these tests are about starting, not training."""
    monkeypatch.setattr(studio, "_start_waiting", lambda: None)
    return studio


def test_the_form_starts_with_the_presets_values_and_counts_real_parameters(idle_studio: RunManager) -> None:
    page = open_page("new_run", preset=FIRST_RUN)
    config = PRESETS["first-run"].config
    assert field(page, "Training steps").value == str(config.max_steps)
    assert field(page, "Learning rate").value == "0.002"
    metric = next(metric for metric in page.metric if metric.label == "Parameters, at most")
    counts = count_parameters(config)
    assert metric.value == f"{counts['total'] / 1e6:.3g} million"
    for part in ("feed_forward", "pondering", "memory"):
        assert f"| {part.replace('_', ' ')} | {counts[part]:,} |" in texts(page)


def test_what_an_earlier_run_made_of_the_same_text_is_counted(idle_studio: RunManager) -> None:
    config = PRESETS["first-run"].config
    run_id = idle_studio.start(config, "Earlier", ["Earlier"])
    idle_studio.log.record(run_id, DataReport([], False, "x", 1000, False, fitted=True, rare_tokens=700))
    page = open_page("new_run", preset=FIRST_RUN)
    (metric,) = [metric for metric in page.metric if metric.label.startswith("Parameters")]
    total = count_parameters(config.with_overrides({"vocab_size": 1000}))["total"]
    assert (metric.label, metric.value) == ("Parameters", f"{total / 1e6:.3g} million")
    assert f"| embedding | {1000 * config.d_model:,} |" in texts(page)
    assert "700 of its 1,000 tokens occur fewer than 5 times" in texts(page)
    idle_studio.log.record(run_id, DataReport([], True, "x", 1000, False, fitted=True))  # built-in text stood in
    assert "Parameters, at most" in [metric.label for metric in page.run().metric]
    field(page, "Vocabulary (tokens)").set_value("2000").run()
    assert [metric.label for metric in page.metric if metric.label.startswith("Parameters")] == ["Parameters, at most"]


def test_settings_that_will_hardly_do_what_was_meant_are_told_beside_the_start(idle_studio: RunManager) -> None:
    page = open_page("new_run", preset=FIRST_RUN)
    next(toggle for toggle in page.toggle if toggle.label == "Long-term memory (LTM)").set_value(True).run()
    field(page, "Attention window (tokens)").set_value("5000").run()
    warnings = [str(warning.value) for warning in page.warning]
    assert any("memory will hardly help" in warning for warning in warnings)
    assert not start_button(page).disabled
    field(page, "Attention window (tokens)").set_value("32").run()
    assert "memory will hardly help" not in texts(page)


def test_every_setting_of_the_config_has_its_field(idle_studio: RunManager) -> None:
    page = open_page("new_run")
    labels = " ".join(e.label for e in (*page.text_input, *page.toggle, *page.button_group))
    for title in (
        "Width",
        "Vocabulary",
        "Weight decay",
        "Window",
        "Save every",
        "Mixture weights",
        "Keep the step size",
        "Pondering (ACT)",
        "Most ponder steps, learning",
        "Halting threshold",
        "Long-term memory (LTM)",
        "Notes a token reads",
        "Attention window",
    ):
        assert title in labels


@pytest.mark.parametrize(
    ("label", "typed", "sentence"),
    [
        ("Training steps", "abc", "Training steps must be a whole number"),
        ("Training steps", "", "got nothing"),
        ("Training steps", "0", "must be 1 to 10,000,000; got '0'"),
        ("Learning rate", "fast", "Learning rate must be a number"),
        ("Width", "130", "Use a width of 128 or 136"),
        ("Mixture weights", "GSM8K=x", "Mixture weights"),
    ],
)
def test_bad_input_gets_a_sentence_keeps_what_was_typed_and_blocks_the_start(
    idle_studio: RunManager, label: str, typed: str, sentence: str
) -> None:
    page = open_page("new_run")
    field(page, label).set_value(typed).run()
    errors = " ".join(str(error.value).replace("\\", "") for error in page.error)
    assert sentence in errors
    assert field(page, label).value == typed
    assert start_button(page).disabled
    assert not page.exception


def test_no_dataset_at_all_gets_a_sentence(idle_studio: RunManager) -> None:
    page = open_page("new_run")
    next(group for group in page.button_group if group.label == "Datasets").set_value([]).run()
    assert "Choose at least one dataset" in texts(page)


def test_start_queues_one_run_with_what_was_typed(idle_studio: RunManager) -> None:
    page = open_page("new_run")
    field(page, "Training steps").set_value("7").run()
    field(page, "Learning rate").set_value("3e-4").run()
    field(page, "Name").set_value("Evening run").run()
    start_button(page).click().run()
    (run,) = idle_studio.log.runs()
    assert (run.name, run.config.max_steps, run.config.learning_rate) == ("Evening run", 7, 3e-4)
    assert run.config.d_model == PRESETS["first-run"].config.d_model


def test_start_pressed_twice_is_one_run(idle_studio: RunManager) -> None:
    page = open_page("new_run")
    page.session_state["start_key"] = "one press"
    start_button(page).click().run()
    page = open_page("new_run")  # the second press of a double click reaches the server with the same key
    page.session_state["start_key"] = "one press"
    start_button(page).click().run()
    assert len(idle_studio.log.runs()) == 1


def test_name_and_number_of_models_survive_another_page_and_a_reload(idle_studio: RunManager) -> None:
    page = open_page("new_run", preset=FIRST_RUN)
    field(page, "Name").set_value("Evening run").run()
    field(page, "Training steps").set_value("7").run()
    page.number_input[0].set_value(3).run()
    page.switch_page("home.py").run()
    page.switch_page("new_run.py").run()
    there = (field(page, "Name").value, field(page, "Training steps").value, page.number_input[0].value)
    assert there == ("Evening run", "7", 3)
    typed = {"first-run.name": "Evening run", "first-run.max_steps": "7", "model_count": "3"}  # as a browser writes it
    page = open_page("new_run", preset=FIRST_RUN, **typed)
    there = (field(page, "Name").value, field(page, "Training steps").value, page.number_input[0].value)
    assert there == ("Evening run", "7", 3)
    start_button(page).click().run()
    (run,) = idle_studio.log.runs()
    assert run.model_names == ["Evening run 1", "Evening run 2", "Evening run 3"]


def test_an_empty_name_gets_a_sentence(idle_studio: RunManager) -> None:
    page = open_page("new_run")
    field(page, "Name").set_value("   ").run()
    start_button(page).click().run()
    assert "Give the run a name" in texts(page)
    assert idle_studio.log.runs() == []


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b"{broken\n{broken\n", "not valid JSON"),
        ("a.csv", b"x,y\n1,2\n3,4\n", "none of the columns"),
        ("a.txt", b"one paragraph only", "at least two are needed"),
        ("a.parquet", b"not parquet", "not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(
    idle_studio: RunManager, name: str, content: bytes, sentence: str
) -> None:
    page = open_page("new_run")
    page.file_uploader[0].upload(name, content).run()
    assert sentence in texts(page).replace("\\", "")
    assert start_button(page).disabled


def test_the_field_for_an_own_file_takes_what_is_kept(idle_studio: RunManager) -> None:
    field = open_page("new_run").file_uploader[0].proto
    assert field.multiple_files
    assert field.max_upload_size_mb << 20 <= uploads.MOST_BYTES
    assert {".csv", ".xlsx", ".gz", ".zip"} <= set(field.type)


def test_an_own_file_is_used_instead_of_the_datasets(idle_studio: RunManager) -> None:
    rows = b"".join(b'{"question": "What is %d + 1?", "answer": "%d"}\n' % (n, n + 1) for n in range(40))
    page = open_page("new_run")
    page.file_uploader[0].upload("mine.jsonl", rows).run()
    assert "40 usable rows" in texts(page)
    start_button(page).click().run()
    (run,) = idle_studio.log.runs()
    assert run.config.dataset_path is not None
    assert run.config.dataset_path.startswith(str(idle_studio.home / "uploads"))


# Where the settings come from


def test_another_runs_settings_with_a_remedy(trained_studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_studio, "_start_waiting", lambda: None)
    run = trained_studio.log.runs()[0]
    page = open_page("new_run", **{"from": run.id, "change": "learning_rate=0.001;max_grad_norm=2"})
    values = {field.label: field.value for field in page.text_input}
    assert values["Width"] == str(run.config.d_model)
    assert values["Learning rate"] == "0.001"
    assert values["Gradient clipping"] == "2"
    assert values["Name"] == f"{run.name} (fixed)"
    start_button(page).click().run()
    started = trained_studio.log.runs()[0]
    assert (started.parent_run_id, started.relation) == (run.id, "fix")
    assert started.config.learning_rate == 0.001


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"from": "nonsense"}, "There is no such run"),
        ({"from": "<b>"}, "There is no such run"),
        ({"settings": "../../etc/passwd"}, "were not found"),
        ({"settings": "0123456789abcdef"}, "were not found"),
    ],
)
def test_an_address_that_leads_nowhere_gets_a_sentence_and_the_presets(
    studio: RunManager, query: dict[str, str], sentence: str
) -> None:
    page = open_page("new_run", **query)
    assert sentence in texts(page)
    assert {field.label: field.value for field in page.text_input}["Width"] == "128"


def test_a_change_may_name_the_papers_epsilon(trained_studio: RunManager) -> None:
    run = trained_studio.log.runs()[0]
    page = open_page("new_run", **{"from": run.id, "change": " act_epsilon = 0.05 ;"})
    assert "Halting threshold: 0.95" in texts(page).replace("\\", "").replace("\u2060", "")
    assert field(page, "Halting threshold").value == "0.95"


def test_a_runs_settings_are_taken_over_to_the_last_digit(trained_studio: RunManager) -> None:
    exact = {"learning_rate": 0.0012345678, "beta2": 0.9999999, "mixture_weights": {"Synthetic": 0.1234567}}
    other = trained_studio.log.runs()[0].config.with_overrides({**exact, "max_steps": 1})
    trained_studio.wait(trained_studio.start(other, "exact", ["exact"]), LONG)
    run = trained_studio.log.runs()[0]
    page = open_page("new_run", **{"from": run.id})
    start_button(page).click().run()
    again = trained_studio.log.runs()[0]
    assert again.parent_run_id == run.id
    assert again.config.model_copy(update={"output_dir": run.config.output_dir}) == run.config


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("d_model=wide", "Width must be a whole number"),
        ("nonsense=3", "no setting called 'nonsense'"),
        ("max_steps=-1", "Training steps must be 1"),
        ("act_epsilon=2", "from 0 to below 1"),
        ("learning_rate", "as in max_steps=500; got 'learning_rate'"),
        ("learning_rate:0.1;max_steps=5", "got 'learning_rate:0.1'"),
        ("=3", "no setting called ''"),
        ("max_steps=5;max_steps=6", "changes max_steps twice"),
        ("act_epsilon=0.05;act_threshold=0.95", "twice"),
        ("dataset_path=/etc/passwd", "this page has no such setting"),
        ("prepared_data=/etc", "no setting called 'prepared_data'"),
        ("task=arithmetic", "this page has no such setting"),
        ("d_model=19", "cannot be shared evenly"),
    ],
)
def test_a_change_that_cannot_be_is_told(trained_studio: RunManager, change: str, sentence: str) -> None:
    run = trained_studio.log.runs()[0]
    page = open_page("new_run", **{"from": run.id, "change": change})
    said = " ".join(str(warning.value) for warning in page.warning)
    assert sentence in said.replace("\\", "").replace("\u2060", "")
    assert not page.exception


def test_settings_that_were_opened_are_in_the_address(studio: RunManager) -> None:
    folder = studio.home / "settings"
    folder.mkdir()
    (folder / "0123456789abcdef.toml").write_text("d_model = 64\nn_layers = 3\n")
    page = open_page("new_run", settings="0123456789abcdef")
    values = {field.label: field.value for field in page.text_input}
    assert (values["Width"], values["Layers"]) == ("64", "3")


def test_the_command_says_what_differs_from_the_preset(studio: RunManager) -> None:
    page = open_page("new_run", preset=FIRST_RUN)
    field(page, "Layers").set_value("3").run()
    field(page, "Name").set_value("It's mine; rm -rf").run()
    (command,) = (block.value for block in page.code)
    assert "cognate presets first-run > first-run.toml" in command
    assert "--set n_layers=3" in command
    assert shlex.split(command.split("\n", 1)[1])[3:5] == ["--name", "It's mine; rm -rf"]


def test_the_plan_is_drawn_and_passes_wait_for_data(trained_studio: RunManager) -> None:
    assert chart_titles(open_page("new_run")) == ["Learning rate"]
    run = trained_studio.log.runs()[0]
    add_runs(trained_studio, 120, RunStatus.COMPLETED)  # which prepared nothing
    page = open_page("new_run", **{"from": run.id})
    assert chart_titles(page) == ["Learning rate", "How often each text is read"]


def test_a_quote_is_kept_with_the_run(idle_studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = TimeEstimate(60.0, 90.0, 0.5, 10, 500_000_000, 1, busy=True)
    monkeypatch.setattr(time_estimate_module, "measured_time_estimate", lambda *_, **__: measured)
    page = open_page("new_run")
    assert "Time: not measured yet" in texts(page)
    next(button for button in page.button if "How long" in button.label).click().run()
    assert {metric.label: metric.value for metric in page.metric}["Time to train"] == "60 s to 90 s"
    assert "training alone may be faster" in texts(page)
    field(page, "Layers").set_value("1").run()
    assert "Time: not measured yet" in texts(page), "of other settings nothing was measured"
    field(page, "Layers").set_value("4").run()
    start_button(page).click().run()
    run = idle_studio.log.runs()[0]
    assert run.time_estimate is not None and run.time_estimate["high_seconds"] == 90.0


def test_a_rehearsal_that_failed_gets_its_sentence(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TrainingError("Too large.")

    monkeypatch.setattr(time_estimate_module, "measured_time_estimate", fail)
    page = open_page("new_run")
    next(button for button in page.button if "How long" in button.label).click().run()
    assert "Too large" in texts(page)


def test_a_file_that_settings_cannot_read_gets_a_sentence(idle_studio: RunManager) -> None:
    rows = b"".join(b'{"question": "What is %d + 1?", "answer": "%d"}\n' % (n, n + 1) for n in range(40))
    file = uploads.keep("mine.jsonl", [rows], idle_studio.home)
    page = open_page("new_run", upload=file.path.name, **{"solve.dataset_columns": "text=Nope"})
    assert not page.exception
    assert "the column 'Nope' is missing" in texts(page).replace("\\", "")
