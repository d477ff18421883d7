"""What a person does, in real Chromium: start, watch, reload, try, download."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect

from cognate_core.inference.playground import Playground
from cognate_core.labels import WORD_JOINER
from tests.browser.studio import Studio, cancel, choose_file, download, listed_runs, wait_until_idle

pytestmark = pytest.mark.browser


def type_into(page: Page, label: str, text: str) -> None:
    field = page.get_by_role("textbox", name=label)
    field.fill(text)
    field.press("Enter")
    wait_until_idle(page)


def open_new_run(page: Page, studio: Studio, **settings: object) -> None:
    """A small run on built-in text that never ends, its settings taken from the address."""
    small = {"max_steps": 100_000, "dataset_sources": "Synthetic", "n_layers": 1, "d_model": 32, "batch_size": 2}
    query = "&".join(f"first-run.{setting}={value}" for setting, value in {**small, **settings}.items())
    page.goto(f"{studio.url}/new-run?preset=First+language+model&{query}")
    wait_until_idle(page)
    expect(page.get_by_role("textbox", name="Training steps")).to_have_value("100000")


def start_endless_run(page: Page, studio: Studio, name: str) -> None:
    open_new_run(page, studio)
    type_into(page, "Name", name)
    page.get_by_role("button", name="Start training").click()


def points_on_the_curve(page: Page) -> int:
    return page.locator(".js-plotly-plot").first.evaluate(
        "plot => (plot.data.find(trace => trace.name === 'training') || {x: []}).x.length"
    )


def watch_the_curve_grow(page: Page) -> None:
    """In place: the chart is not built anew, which would flicker and lose the zoom."""
    page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.some(t => t.name === 'training')")
    page.evaluate("document.querySelector('.js-plotly-plot').marked = true")
    page.wait_for_function(
        "n => document.querySelector('.js-plotly-plot').data.find(t => t.name === 'training').x.length > n",
        arg=points_on_the_curve(page),
    )
    assert page.evaluate("document.querySelector('.js-plotly-plot').marked") is True


def look_through_the_lens(page: Page) -> None:
    """Each word tells how it came about: by pointer and by keyboard, for thinking and for memory."""
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.get_by_label("A problem, or the beginning of a text").fill("<img src=x onerror=alert(1)> How many?")
    page.get_by_text("Keep its memory").click()
    page.get_by_role("button", name="Write").click()
    lens = page.locator(".lens")
    words = lens.get_by_role("option")
    expect(lens.get_by_role("listbox")).to_contain_text("<img src=x onerror=alert(1)> How many?")
    wait_until_idle(page)
    assert dialogs == []

    words.nth(3).click()
    expect(lens.get_by_role("status")).to_contain_text(
        re.compile(r"the model gave it .* %, thought for \d+ ponder step")
    )
    before = lens.get_by_role("status").inner_text()
    lens.get_by_role("listbox").press("ArrowRight")
    expect(lens.get_by_role("status")).not_to_have_text(before)
    expect(words.nth(4)).to_have_class(re.compile("chosen"))
    thinking = words.nth(4).get_attribute("style")
    lens.get_by_role("button", name="How much memory it used").click()
    assert words.nth(4).get_attribute("style") != thinking

    expect(page.get_by_text("notes of earlier texts")).to_be_visible()
    page.get_by_label("A problem, or the beginning of a text").fill("How many are left?")
    page.get_by_role("button", name="Write").click()
    expect(lens.get_by_role("listbox")).to_contain_text("How many are left?")
    wait_until_idle(page)
    words.nth(2).click()
    expect(lens.get_by_role("listitem").first).to_contain_text("of its attention, from an earlier text")
    page.get_by_role("button", name="Forget").click()
    expect(page.get_by_text("notes of earlier texts")).to_have_count(0)


def test_from_start_to_a_downloaded_model(page: Page, studio: Studio, tmp_path: Path) -> None:
    open_new_run(page, studio, dataset_sources="SVAMP,Synthetic")
    type_into(page, "Training steps", "20")
    type_into(page, "Name", "Journey")
    page.get_by_role("button", name="SVAMP", exact=True).click()
    wait_until_idle(page)
    page.get_by_role("button", name="Start training").dblclick()  # pressed twice: one run

    expect(page.get_by_role("button", name="Stop and save")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/monitor\?run=[0-9a-f]{12}$"))
    address = page.url
    page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.some(t => t.name === 'training')")
    before = points_on_the_curve(page)
    page.reload()  # nothing is lost
    expect(page).to_have_url(address)
    page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.some(t => t.name === 'training')")
    assert points_on_the_curve(page) >= before

    expect(page.get_by_text("Training is complete")).to_be_visible()
    expect(page.get_by_role("button", name="Stop and save")).to_have_count(0)
    expect(page.get_by_text("20 of 20")).to_be_visible()

    wait_until_idle(page)  # the page is drawn anew for the new status
    page.get_by_role("link", name="Try Journey").click()
    page.wait_for_url(re.compile("/models"))
    expect(page.get_by_role("heading", name="Journey")).to_be_visible()
    page.get_by_role("button", name="Write").click()
    written = page.locator("[data-testid=stText]").last
    expect(written).not_to_be_empty()

    look_through_the_lens(page)

    with zipfile.ZipFile(download(page, "Download all as zip", tmp_path / "model.zip")) as zipped:
        assert zipped.testzip() is None
        zipped.extractall(tmp_path / "model")
    model = Playground.from_folder(tmp_path / "model")
    assert "".join(piece.text for piece in model.stream("Problem: ", max_new_tokens=5))
    assert all(torch.isfinite(weight).all() for weight in model.model.parameters())

    page.goto(studio.url)
    wait_until_idle(page)
    expect(listed_runs(page)).to_have_text(["Journey"])  # one run, not two


def test_letters_for_numbers_keep_what_was_typed_even_after_a_reload(page: Page, studio: Studio) -> None:
    page.goto(f"{studio.url}/new-run")
    wait_until_idle(page)
    type_into(page, "Training steps", "many")
    expect(page.get_by_text("Training steps must be a whole number")).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    page.reload()
    wait_until_idle(page)
    expect(page.get_by_role("textbox", name="Training steps")).to_have_value("many")
    expect(page.get_by_text("Training steps must be a whole number")).to_be_visible()


def test_an_empty_file_gets_a_sentence(page: Page, studio: Studio) -> None:
    page.goto(f"{studio.url}/new-run")
    choose_file(page, {"name": "rows.jsonl", "mimeType": "text/plain", "buffer": b""})
    expect(page.get_by_text("The file is empty")).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()


@pytest.mark.slow
def test_a_hostile_name_is_shown_as_typed_and_runs_nothing(page: Page, studio: Studio) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.on("dialog", lambda dialog: dialog.dismiss())
    name = "<img src=x onerror=alert(1)> **b** =cmd ../../etc"
    start_endless_run(page, studio, name)
    page.get_by_role("button", name="Cancel").wait_for()
    assert page.locator("h1").inner_text().replace(WORD_JOINER, "") == name

    cancel(page)
    expect(page.get_by_text(re.compile("Ended .* of work"))).to_be_visible()
    expect(page.locator(".stMarkdownBadge").filter(has_text="cancelled")).to_be_visible()
    page.goto(studio.url)
    wait_until_idle(page)
    expect(listed_runs(page).first).to_have_text(name)
    assert dialogs == []


@pytest.mark.slow
def test_stop_keeps_a_model_and_delete_asks_first(page: Page, studio: Studio) -> None:
    start_endless_run(page, studio, "Stopped early")
    watch_the_curve_grow(page)
    page.get_by_role("button", name="Stop and save").click()
    expect(page.get_by_text("Stopped and saved")).to_be_visible()
    wait_until_idle(page)  # the page is drawn anew for the new status
    page.get_by_role("link", name="Try Stopped early").click()
    page.wait_for_url(re.compile("/models"))
    expect(page.get_by_role("heading", name="Stopped early")).to_be_visible()
    page.get_by_role("button", name="Delete this model").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("heading", name="Stopped early")).to_have_count(0)
    assert list((studio.home / "trash").glob("*/content/model.safetensors"))

    page.goto(studio.url)
    page.get_by_text("Trash (1)").click()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("Trash (1)")).to_have_count(0)
    page.goto(f"{studio.url}/models")
    expect(page.get_by_role("heading", name="Stopped early")).to_be_visible()


def test_new_points_are_given_to_this_computers_own_pages_alone(studio: Studio) -> None:
    address = f"{studio.url}/live?run=nothing"
    forged = urllib.request.Request(address, headers={"Host": "attacker.example"})
    own = urllib.request.Request(address, headers=studio.shown)
    for request, status in ((forged, 403), (urllib.request.Request(address), 401), (own, 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == status
        refused.value.close()
