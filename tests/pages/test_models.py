from __future__ import annotations

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
