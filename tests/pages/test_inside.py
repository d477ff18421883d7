"""See inside, on Models."""

from __future__ import annotations

import json
import shutil
import sqlite3
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cognate_core.inference.playground import Playground
from cognate_core.inference.position_loss import loss_by_position, prepared_for
from cognate_core.inference.weight_changes import weight_changes
from cognate_core.insight.words import layer_words
from cognate_core.runs import RunManager
from pages.components.inside import CHANGES, LOOKS, POSITION, SURPRISE
from tests.pages.conftest import button, chart_titles, charts, open_page, sent, texts
from tests.there import there


def look_at(view: str) -> AppTest:
    page = open_page("models")
    page.button_group[0].set_value(view).run()
    assert not page.exception and page.button_group[0].value == view
    return page


def read(page: AppTest, text: str | None = None) -> AppTest:
    box = next(each for each in page.text_area if each.label == "A text to read")
    if text is not None:
        box.set_value(text)
    button(page, "Read it").click().run()
    assert not page.exception
    return page


def player(studio: RunManager) -> Playground:
    return Playground.from_folder(studio.weights(studio.log.models()[0].id)[0])


def test_nothing_is_opened_until_a_view_is_chosen_and_the_text_sent(
    trained_studio: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cognate_core.inference.playground.opened", None)
    for view in (SURPRISE, LOOKS, POSITION):
        page = look_at(view)
        assert sent(page, "words") == sent(page, "charts") == []


def test_a_held_out_problem_stands_ready_and_shows_what_surprises_it(trained_studio: RunManager) -> None:
    page = look_at(SURPRISE)
    text = there(next(each for each in page.text_area if each.label == "A text to read").value)
    assert text.startswith("Problem: ") and "####" in text
    (words,), reading = sent(read(page), "words"), player(trained_studio).read(text)
    assert "".join(word["text"] for word in words) == text
    assert [word["probability"] for word in words] == pytest.approx([word.probability for word in reading.words])
    assert [word["expected"] for word in words] == [word.expected for word in reading.words]
    assert f"Mean loss: {reading.loss:.2f} nats a token, {reading.bits_per_byte:.2f} bits per byte" in texts(page)
    assert sent(page, "first") == ["surprise"] and sent(page, "looks") == []


def test_where_it_looks_is_shown_for_the_same_text_by_layer(trained_studio: RunManager) -> None:
    page = read(look_at(SURPRISE), "How many apples?")
    page.button_group[0].set_value(LOOKS).run()
    assert not page.exception
    looks = player(trained_studio).attention("How many apples?").astype("float32")

    def shown(page: AppTest) -> list[list[int]]:
        ((*rows,),) = sent(page, "looks")
        assert [len(row) for row in rows] == list(range(1, len(rows) + 1))
        return rows

    def thousandths(layer: Any) -> list[Any]:
        return [pytest.approx((1000 * row[: n + 1]).tolist(), abs=1.1) for n, row in enumerate(layer)]

    assert shown(page) == thousandths(looks.mean(0))
    layers = next(box for box in page.selectbox if box.label == "Layer")
    assert layers.options == ["All layers (their mean)", "Layer 1", "Layer 2"]
    layers.set_value(2).run()
    assert shown(page) == thousandths(looks[1])


def test_a_text_that_cannot_be_read_gets_a_sentence(trained_studio: RunManager) -> None:
    page = look_at(SURPRISE)
    assert "The text is empty" in texts(read(page, ""))
    assert "this model reads at most 255 at once" in texts(read(page, "7" * 300))
    assert "Mean loss" in texts(read(page, "7")) and not page.error


def test_the_loss_by_position_is_measured_on_the_runs_own_held_out_text(trained_studio: RunManager) -> None:
    page = look_at(POSITION)
    page.number_input(key="inside_sequences").set_value(2)
    button(page, "Measure by position").click().run()
    assert not page.exception
    run = trained_studio.log.run(trained_studio.log.models()[0].run_id)
    data = prepared_for(trained_studio.home / "cache", there(run.data_report)["content_hash"])
    expected = loss_by_position(player(trained_studio).model, data, 2)["Synthetic"]
    assert chart_titles(page) == ["Loss by position"]
    assert charts(page)[0]["data"][0]["y"] == pytest.approx([row.loss for row in expected])
    shutil.rmtree(data.folder)
    button(page, "Measure by position").click().run()
    assert "The prepared text of this run is no longer there" in texts(page) and chart_titles(page) == []


def test_a_run_whose_data_were_not_recorded_is_told(trained_studio: RunManager) -> None:
    page = look_at(POSITION)
    connection = sqlite3.connect(trained_studio.log.path)
    with connection:
        connection.execute("UPDATE runs SET data_report = NULL")
    connection.close()
    button(page, "Measure by position").click().run()
    assert "training data were not recorded" in texts(page)


def test_what_training_changed_is_a_bar_for_each_layer(trained_studio: RunManager) -> None:
    page = look_at(CHANGES)
    folder, _ = trained_studio.weights(trained_studio.log.models()[0].id)
    expected = weight_changes(folder, 2, None)
    (figure,) = charts(page)
    assert figure["data"][0]["y"] == [layer_words(row.layer) for row in expected]
    assert figure["data"][0]["x"] == pytest.approx([row.change for row in expected])
    slider = next(each for each in page.select_slider if each.label == "Between steps")
    assert slider.value == (2, 4)
    slider.set_value((4, 4)).run()
    assert "Choose two" in texts(page) and not page.exception
    for weights in folder.glob("checkpoints/*02/model.safetensors"):
        weights.write_bytes(b"damaged")
    slider.set_value((2, 4)).run()
    assert "The checkpoint of step 2 is damaged" in texts(page)
    for checkpoint in folder.glob("checkpoints/*"):
        shutil.rmtree(checkpoint)
    page.run()
    assert not page.exception and "Training kept no earlier checkpoint" in texts(page)


def test_what_is_sent_is_json_that_a_browser_reads(trained_studio: RunManager) -> None:
    for component in read(look_at(LOOKS), "How many é 🎉?").get("bidi_component"):
        json.loads(component.proto.json or "null", parse_constant=lambda what: pytest.fail(what))
