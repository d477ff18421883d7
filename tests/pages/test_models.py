from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cognate_core.contracts import MEMORY_FILE
from cognate_core.errors import ConfigError
from cognate_core.inference.playground import Playground, opened, problem_prompt
from cognate_core.labels import escape_streamlit
from cognate_core.runs import RunManager
from cognate_core.runs.accuracy import ACCURACY_FILE
from cognate_core.storage.rows import TrainedModel
from tests.pages.conftest import open_page, sent, texts
from tests.there import there
from tests.waiting import until


def test_without_a_model_it_says_what_to_do(studio: RunManager) -> None:
    assert "There are no models yet" in texts(open_page("models"))


def test_a_model_shows_its_measured_figures_and_files(trained_studio: RunManager) -> None:
    model = trained_studio.log.models()[0]
    page = open_page("models", model=model.id)
    values = {metric.label: metric.value for metric in page.metric}
    assert values["Steps"] == "4 of 4"
    table = page.dataframe[0].value
    assert list(table["dataset"]) == ["Synthetic"]
    assert table["loss (nats per token)"][0] == model.details["training_stats"]["heldout_loss"]["Synthetic"]
    assert table["bits per byte"][0] == model.details["training_stats"]["heldout_bits_per_byte"]["Synthetic"]
    for file in ("model.safetensors", "config.json", "tokenizer.json", "training_log.jsonl", "README.md"):
        assert file in texts(page)


def test_the_model_writes_and_the_same_seed_writes_the_same(trained_studio: RunManager) -> None:
    written = []
    for _ in range(2):
        page = open_page("models")
        next(button for button in page.button if button.label == "Write").click().run()
        assert not page.exception
        written.append(page.text[-1].value)
    assert written[0]
    assert written[0] == written[1]


def lenses(page: AppTest) -> list[list[dict[str, Any]]]:
    """What each lens shows."""
    return sent(page, "words")


def lens_words(page: AppTest) -> list[dict[str, Any]]:
    """What the one lens shows."""
    (words,) = lenses(page)
    return words


def write(page: AppTest) -> AppTest:
    next(button for button in page.button if button.label == "Write").click().run()
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


def test_what_is_not_read_of_a_long_text_is_told(trained_studio: RunManager) -> None:
    page = open_page("models")
    write(page)
    assert "Only the end" not in texts(page)
    page.text_area[0].set_value("7" * 3000)
    write(page)
    assert "Only the end of your text was read" in texts(page)


def test_a_missing_file_gets_a_sentence(trained_studio: RunManager) -> None:
    model = trained_studio.log.models()[0]
    weights = next(row for row in trained_studio.log.artifacts(model.id) if row["kind"] == "weights")
    trained_studio.store.path(weights["path"]).unlink()
    page = open_page("models")
    next(button for button in page.button if button.label == "Write").click().run()
    assert "no longer there" in texts(page)


def test_an_address_of_a_deleted_model_is_told(trained_studio: RunManager) -> None:
    page = open_page("models", model="gone")
    assert "does not exist. It may have been deleted." in texts(page)
    assert page.header


def test_delete_asks_first(trained_studio: RunManager) -> None:
    """What the answer does is tested in a real browser: AppTest closes a dialog when it reruns."""
    page = open_page("models")
    next(button for button in page.button if button.label == "Delete this model").click().run()
    assert "move to the trash" in texts(page)
    assert len(trained_studio.log.models()) == 1


# As it was after a step, and beside another


def open_short() -> AppTest:
    """The page, set to write little: it is quicker."""
    page = open_page("models")
    next(slider for slider in page.slider if slider.label == "Length (tokens)").set_value(20)
    return page


def written(words: list[dict[str, Any]]) -> str:
    return "".join(word["text"] for word in words if word["written"])


def test_an_earlier_checkpoint_writes_at_once_what_it_would_have_then(trained_studio: RunManager) -> None:
    page = write(open_short())
    finished = lens_words(page)
    assert page.select_slider[0].options == ["2", "4, finished"]
    page.select_slider[0].set_value(2).run()
    assert not page.exception
    folder = weights_folder(trained_studio)
    player, text = Playground.from_checkpoint(folder, 2), ""
    prompt = problem_prompt(there(page.text_area[0].value))
    for piece in player.stream(prompt, max_new_tokens=20, temperature=0.7, seed=0):
        text += piece.text
    assert page.text[-1].value == text != written(finished)
    assert written(lens_words(page)) == text
    assert "after step 2" in texts(page)
    page.select_slider[0].set_value(4).run()
    assert lens_words(page) == finished


def test_a_checkpoint_that_went_meanwhile_gets_a_sentence(trained_studio: RunManager) -> None:
    page = write(open_short())
    weights = next(weights_folder(trained_studio).glob("checkpoints/*02/model.safetensors"))
    weights.unlink()  # its manifest stands a moment longer
    page.select_slider[0].set_value(2).run()
    assert "The checkpoint of step 2 is no longer there" in texts(page)
    shutil.rmtree(weights.parent)
    page.run()
    assert not page.exception and not page.select_slider
    assert lens_words(page), "the finished model is there"


def test_two_stand_side_by_side_with_a_lens_each(trained_studio: RunManager) -> None:
    page = open_short()
    next(toggle for toggle in page.toggle if toggle.label == "Beside another model").set_value(True).run()
    page.select_slider[1].set_value(2).run()
    assert next(toggle for toggle in page.toggle if toggle.label == "Keep its memory").disabled
    write(page)
    left, right = lenses(page)
    assert written(left) != written(right)
    assert [word["text"] for word in left if not word["written"]] == [
        word["text"] for word in right if not word["written"]
    ]
    next(toggle for toggle in page.toggle if toggle.label == "Beside another model").set_value(False).run()
    assert lens_words(page) == left


# What is known of it


def weights_folder(studio: RunManager) -> Path:
    weights = next(row for row in studio.log.artifacts(studio.log.models()[0].id) if row["kind"] == "weights")
    return studio.store.path(weights["path"]).parent


def test_its_lineage_is_told(trained_studio: RunManager) -> None:
    model = trained_studio.log.models()[0]
    run = trained_studio.log.run(model.run_id)
    page = open_page("models")
    shown = texts(page)
    assert there(run.data_report)["content_hash"] in shown
    for row in trained_studio.log.artifacts(model.id):
        assert f"{row['sha256']}  {row['path'].rsplit('/', 1)[-1]}" in shown
    data = next(table.value for table in page.dataframe if "held-out rows" in table.value)
    assert list(data["data"]) == ["Synthetic"]
    settings = next(table.value for table in page.dataframe if "setting" in table.value).set_index("setting")
    assert settings.loc["Training steps", "here"] == "4"
    assert escape_streamlit(model.details["training_stats"]["processor"]) in shown


@pytest.mark.parametrize(
    ("relation", "step", "words"),
    [("twin", None, "GrokFast twin of"), ("branch", 2, "after step 2"), ("copy", None, "settings of")],
)
def test_the_run_before_its_run_is_named(
    trained_studio: RunManager, relation: str, step: int | None, words: str
) -> None:
    run_id = trained_studio.log.models()[0].run_id
    with sqlite3.connect(trained_studio.log.path) as database:
        change = "UPDATE runs SET parent_run_id = ?, relation = ?, branch_step = ?"
        database.execute(change, [run_id if relation != "copy" else "gone", relation, step])
    database.close()
    shown = texts(open_page("models"))
    assert words in shown
    assert ("a deleted run" in shown) is (relation == "copy")


def test_what_a_person_says_of_it_is_shown_as_typed(trained_studio: RunManager) -> None:
    model_id = trained_studio.log.models()[0].id
    trained_studio.describe_model(model_id, title="**My** best", note="<b>not</b> *bold*", tags=["for_the *demo*"])
    page = open_page("models")
    assert escape_streamlit("**My** best") in [header.value for header in page.header]
    assert "<b>not</b> *bold*" in [text.value for text in page.text]
    assert escape_streamlit("for_the *demo*") in texts(page)
    next(button for button in page.button if button.label == "Describe").click().run()
    assert page.text_input[0].value == "**My** best"
    assert page.multiselect[0].value == ["for_the *demo*"]


def many(studio: RunManager, count: int) -> list[TrainedModel]:
    """Models in the database alone, with tags in turn."""
    rows = studio.log.export_model(studio.log.models()[0].id)
    for number in range(count):
        model = {
            **rows["models"][0],
            "id": f"copy{number}",
            "title": f"Copy {number}",
            "tags": json.dumps([f"tag{number % 2}"]),
        }
        files = [{**row, "model_id": model["id"]} for row in rows["artifacts"]]
        for row in files:
            row.pop("id", None)
        studio.log.import_rows({"models": [model], "artifacts": files})
    return studio.log.models()


def test_one_of_many_is_found_by_tag_and_text(trained_studio: RunManager) -> None:
    assert not open_page("models").text_input, "one model needs no search"
    models = many(trained_studio, 9)
    page = open_page("models")
    assert len(page.selectbox[0].options) == len(models) == 10
    page.multiselect[0].set_value(["tag1"]).run()
    assert len(page.selectbox[0].options) == 4
    page.text_input[0].set_value("COPY 3").run()
    assert [option.split(",")[0] for option in page.selectbox[0].options] == ["Copy 3"]
    assert page.header[0].value == "Copy 3"
    page.text_input[0].set_value("nothing has this name").run()
    assert "No model matches" in texts(page)
    assert len(page.selectbox[0].options) == 10
    page = open_page("models", model="copy5")
    assert page.header[0].value == "Copy 5"


def test_models_of_one_name_and_minute_can_each_be_reached(trained_studio: RunManager) -> None:
    for model in many(trained_studio, 2):
        trained_studio.describe_model(model.id, title="One name", note=f"I am {model.id}", tags=[])
    ids = [model.id for model in trained_studio.log.models()]
    page = open_page("models")
    assert len(set(page.selectbox[0].options)) == len(ids) == 3
    for model_id in (ids[2], ids[0], ids[1]):
        page.selectbox[0].set_value(model_id).run()
        assert f"I am {model_id}" in [text.value for text in page.text]
        assert page.query_params["model"] in (model_id, [model_id])
    del page.query_params["model"]  # Back to where no model was chosen yet
    page.run()
    assert f"I am {ids[0]}" in [text.value for text in page.text], "the newest"
    page.toggle(key="beside").set_value(True).run()
    assert len(set(page.selectbox(key="other_model").options)) == 3


def test_an_empty_tag_is_told_of_as_a_tag(trained_studio: RunManager) -> None:
    model = trained_studio.log.models()[0]
    for tags, words in ((["good", " "], "A tag is empty"), (["x" * 81], "The tag has 81 characters")):
        with pytest.raises(ConfigError, match=words) as refusal:
            trained_studio.describe_model(model.id, title=model.name, note="", tags=tags)
        assert list(refusal.value.problems) == ["tags"]
    with pytest.raises(ConfigError, match="Give the model a name"):
        trained_studio.describe_model(model.id, title="", note="", tags=[])


# How often it is right


def test_accuracy_is_unknown_until_it_was_measured(trained_studio: RunManager) -> None:
    page = open_page("models")
    assert "Not measured yet." in texts(page)
    scores = [{"dataset": "<b>Own</b>", "asked": 50, "right": 3, "commonest": "*4*", "commonest_right": 5}]
    model = trained_studio.log.models()[0]
    kept = {
        "measured_at": "2026-11-23T02:54:37.698+00:00",
        "weights_sha256": next(
            row["sha256"] for row in trained_studio.log.artifacts(model.id) if row["kind"] == "weights"
        ),
        "limit": 50,
        "seed": 0,
        "temperature": 0.0,
        "data_hash": "x",
        "seconds": 12.0,
        "steps": [{"step": 2, "scores": scores}, {"step": 4, "scores": scores}],
        "left_out": {"Other": "Its held-out rows hold no answer."},
    }
    (weights_folder(trained_studio) / ACCURACY_FILE).write_text(json.dumps(kept))
    page = open_page("models")
    assert "Not measured yet" not in texts(page)
    (charts,) = sent(page, "charts")
    assert [chart["title"] for chart in charts] == ["Right answers", "Right answers while it learned"]
    table = next(table.value for table in page.dataframe if "95 % interval" in table.value)
    assert (table["right"][0], table["asked"][0]) == (3, 50)
    assert (table["share"][0], table["always that answer"][0]) == (0.06, 0.1)
    assert table["95 % interval"][0] == "2.1% to 16.2%"
    assert "Other" in texts(page)
    (weights_folder(trained_studio) / ACCURACY_FILE).write_text(json.dumps({**kept, "weights_sha256": "other"}))
    page = open_page("models")
    assert "belongs to other weights" in texts(page) and "Not measured yet" in texts(page)


def test_it_is_measured_in_the_background_and_shown(trained_studio: RunManager) -> None:
    page = open_page("models")
    page.number_input(key="accuracy_questions").set_value(2)
    next(button for button in page.button if button.label == "Measure").click().run()
    assert not page.exception
    assert any(button.label == "Cancel the measurement" for button in page.button)
    until(lambda: there(trained_studio.measurement()).ended, "the end of the measurement")
    page = open_page("models")
    table = next(table.value for table in page.dataframe if "95 % interval" in table.value)
    assert table["asked"][0] == 2


def test_changed_weights_are_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was stopped and then resumed has other weights in the same folder."""
    opens: list[Path] = []

    def opening(folder: Path) -> object:
        opens.append(folder)
        return object()

    monkeypatch.setattr(Playground, "from_folder", opening)
    for weights_sha256 in ("first", "second", "second"):
        opened(Path("a folder"), weights_sha256, None)
    assert len(opens) == 2
