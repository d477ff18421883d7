from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from cognate_core.model import count_parameters
from cognate_core.presets import PRESETS
from cognate_core.runs import RunManager
from tests.pages.conftest import open_page, texts


def field(page: AppTest, label: str):
    return next(element for element in page.text_input if element.label == label)


def start_button(page: AppTest):
    return next(button for button in page.button if button.label == "Start training")


@pytest.fixture
def idle_studio(studio: RunManager, monkeypatch: pytest.MonkeyPatch) -> RunManager:
    """Runs stay in the queue: these tests are about starting, not training."""
    monkeypatch.setattr(studio, "_start_waiting", lambda: None)
    return studio


def test_the_form_starts_with_the_presets_values_and_counts_real_parameters(idle_studio: RunManager) -> None:
    page = open_page("new_run")
    config = PRESETS["first-run"].config
    assert field(page, "Training steps").value == str(config.max_steps)
    assert field(page, "Learning rate").value == "0.002"
    metric = next(metric for metric in page.metric if metric.label == "Parameters")
    counts = count_parameters(config)
    assert metric.value == f"{counts['total'] / 1e6:.3g} million"
    for part in ("feed_forward", "pondering", "memory"):
        assert f"| {part.replace('_', ' ')} | {counts[part]:,} |" in texts(page)


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
        ("a.parquet", b"not parquet", "no readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(
    idle_studio: RunManager, name: str, content: bytes, sentence: str
) -> None:
    page = open_page("new_run")
    page.file_uploader[0].upload(name, content).run()
    assert sentence in texts(page).replace("\\", "")
    assert start_button(page).disabled


def test_an_own_file_is_used_instead_of_the_datasets(idle_studio: RunManager) -> None:
    rows = b"".join(b'{"question": "What is %d + 1?", "answer": "%d"}\n' % (n, n + 1) for n in range(40))
    page = open_page("new_run")
    page.file_uploader[0].upload("mine.jsonl", rows).run()
    assert "40 usable rows" in texts(page)
    start_button(page).click().run()
    (run,) = idle_studio.log.runs()
    assert run.config.dataset_path is not None
    assert run.config.dataset_path.startswith(str(idle_studio.home / "uploads"))
