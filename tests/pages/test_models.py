from __future__ import annotations

import json
from typing import Any

from streamlit.testing.v1 import AppTest

from cognate_core.contracts import MEMORY_FILE
from cognate_core.runs import RunManager
from tests.pages.conftest import open_page, texts


def test_without_a_model_it_says_what_to_do(studio: RunManager) -> None:
    assert "There is no model yet" in texts(open_page("models"))


def test_a_model_shows_its_measured_figures_and_files(trained_studio: RunManager) -> None:
    model = trained_studio.log.models()[0]
    page = open_page("models", model=model.id)
    values = {metric.label: metric.value for metric in page.metric}
    assert values["Steps"] == "4 of 4"
    table = page.dataframe[0].value
    assert list(table["dataset"]) == ["Synthetic"]
    assert table["loss (nats a token)"][0] == model.details["training_stats"]["heldout_loss"]["Synthetic"]
    for file in ("model.safetensors", "config.json", "tokenizer.json", "training_log.jsonl", "README.md"):
        assert file in texts(page)


def test_the_model_writes_and_the_same_seed_writes_the_same(trained_studio: RunManager) -> None:
    written = []
    for _ in range(2):
        page = open_page("models")
        next(button for button in page.button if button.label == "Write").click().run(timeout=60)
        assert not page.exception
        written.append(page.text[-1].value)
    assert written[0]
    assert written[0] == written[1]


def lens_words(page: AppTest) -> list[dict[str, Any]]:
    """What the lens shows."""
    (component,) = page.get("bidi_component")
    return json.loads(component.proto.json)["words"]


def write(page: AppTest) -> AppTest:
    next(button for button in page.button if button.label == "Write").click().run(timeout=60)
    assert not page.exception
    return page


def test_each_word_tells_how_the_model_came_to_it(trained_studio: RunManager) -> None:
    page = write(open_page("models"))
    words = lens_words(page)
    assert page.text[-1].value == "".join(word["text"] for word in words if word["written"])
    assert all(word["ponder_steps"] >= 1 and 0 <= word["recall"] <= 1 for word in words)
    assert any(word["notes"] for word in words), "the text is longer than a segment"
    page.slider[0].set_value(1.0).run()
    assert lens_words(page) == words, "it stays until the next text is written"


def test_memory_is_kept_between_texts_only_when_asked(trained_studio: RunManager) -> None:
    page = write(open_page("models"))
    assert "notes of earlier texts" not in texts(page)
    next(toggle for toggle in page.toggle if toggle.label == "Keep its memory").set_value(True)
    write(page)
    assert "notes of earlier texts" in texts(page)
    write(page)
    first = lens_words(page)[0]
    assert first["notes"], "the first word reads what an earlier text left"
    assert {note["place"] for note in first["notes"]} == {None}
    next(button for button in page.button if button.label == "Forget").click().run()
    assert "notes of earlier texts" not in texts(page)


def test_a_damaged_memory_gets_a_sentence_and_can_be_forgotten(trained_studio: RunManager) -> None:
    model = trained_studio.log.models()[0]
    weights = next(row for row in trained_studio.log.artifacts(model.id) if row["kind"] == "weights")
    memory = trained_studio.store.path(weights["path"]).parent / MEMORY_FILE
    memory.write_bytes(b"nonsense")
    page = open_page("models")
    assert "The kept memory cannot be opened" in texts(page)
    next(toggle for toggle in page.toggle if toggle.label == "Keep its memory").set_value(True)
    page.text_area[0].set_value("How many?")
    memory_before = memory.read_bytes()
    write(page)
    assert lens_words(page), "it writes all the same, without it"
    assert memory.read_bytes() != memory_before
    memory.write_bytes(b"nonsense")
    page = open_page("models")
    next(button for button in page.button if button.label == "Forget").click().run()
    assert not memory.exists()
    assert "cannot be opened" not in texts(page)


def test_an_empty_prompt_gets_a_sentence(trained_studio: RunManager) -> None:
    page = open_page("models")
    page.text_area[0].set_value("  ")
    next(button for button in page.button if button.label == "Write").click().run()
    assert "The box is empty" in texts(page)


def test_a_missing_file_gets_a_sentence(trained_studio: RunManager) -> None:
    model = trained_studio.log.models()[0]
    weights = next(row for row in trained_studio.log.artifacts(model.id) if row["kind"] == "weights")
    trained_studio.store.path(weights["path"]).unlink()
    page = open_page("models")
    next(button for button in page.button if button.label == "Write").click().run()
    assert "no longer there" in texts(page)


def test_an_address_of_a_deleted_model_is_told(trained_studio: RunManager) -> None:
    page = open_page("models", model="gone")
    assert "does not exist any more" in texts(page)
    assert page.header


def test_delete_asks_first(trained_studio: RunManager) -> None:
    """What the answer does is tested in a real browser: AppTest closes a dialog when it reruns."""
    page = open_page("models")
    next(button for button in page.button if button.label == "Delete this model").click().run()
    assert "move to the trash" in texts(page)
    assert len(trained_studio.log.models()) == 1
