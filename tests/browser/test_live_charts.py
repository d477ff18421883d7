"""Charts that are true to what was chosen of them, whatever comes late, fails, or is clicked twice, in Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image, ImageColor
from playwright.sync_api import BrowserContext, Page, Route, expect

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Evaluation, LayerFigures, RunStatus, Sample, StepMetrics
from cognate_core.insight.palette import OKABE_ITO, neutral
from cognate_core.runs import RunManager
from tests.browser.studio import Studio, page_on, running_studio
from tests.waiting import until

pytestmark = pytest.mark.browser

PLOT = "document.querySelector('.js-plotly-plot')"
UNSEEN = f"{PLOT}?.data?.find(t => t.name === 'unseen SVAMP')?.line.color"
ENDED, EARLIER = "0123456789ab", "1123456789ab"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig) -> Iterator[Studio]:
    """A studio with two runs that have ended."""
    home = tmp_path_factory.mktemp("charts") / "home"
    manager = RunManager(home, executor="thread")
    config = tiny_config.with_overrides({"max_steps": 40})
    manager.log.create_run(ENDED, "Ended", config, ["m"], home / "runs" / ENDED, None)
    for step in range(1, 41):
        manager.log.record(ENDED, StepMetrics("m", step, 6 - step % 7 / 4, 0.3, 1, 1, 100, 0.1, step / 10))
    manager.log.record(ENDED, Evaluation("m", 20, "SVAMP", 5.0, 9))
    manager.log.record(ENDED, Evaluation("m", 40, "SVAMP", 4.0, 9))
    for step, text in ((20, "#### 3"), (40, "#### 4")):
        figures = LayerFigures("m", step, ["embedding", "layer 1"], [0.1] * 2, [1.0] * 2, [0.01] * 2, [[1] * 24] * 2)
        manager.log.record(ENDED, figures)
        manager.log.record(ENDED, Sample("m", step, "SVAMP", "Problem: 2 + 2?\nSolution:", text, "#### 4"))
    manager.log.create_run(EARLIER, "Earlier", config, ["m"], home / "runs" / EARLIER, None)
    manager.log.record(EARLIER, StepMetrics("m", 1, 6, 0.3, 1, 1, 100, 0.1, 0.1))
    for run_id in (EARLIER, ENDED):
        manager.log.claim(run_id)
        manager.log.set_status(run_id, RunStatus.COMPLETED, step=40, total_steps=40)
    manager.close()
    with running_studio(home) as studio:
        yield studio


@pytest.fixture
def page(context: BrowserContext, known: Studio) -> Iterator[Page]:
    with page_on(context, known) as page:
        page.goto(f"{known.url}/monitor?run={ENDED}")
        page.wait_for_function(f"{PLOT}?.data?.some(t => t.name === 'training')")
        yield page


def held_answers(page: Page) -> list[Route]:
    """The questions of the charts from now on, none of which is answered before it is continued."""
    held: list[Route] = []
    page.route("**/live?*", lambda route: held.append(route))
    return held


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "the older one last"])
def test_of_two_choices_at_once_the_last_one_is_drawn(page: Page, order: tuple[int, int]) -> None:
    held = held_answers(page)
    page.get_by_label("Smoothing").focus()
    page.keyboard.press("ArrowDown")
    until(lambda: page.evaluate("true") and len(held) == 1)
    page.keyboard.press("ArrowDown")
    until(lambda: page.evaluate("true") and len(held) == 2)
    expect(page.get_by_label("Smoothing")).to_have_value("strong")
    assert ["smoothing=medium" in route.request.url for route in held] == [True, False]
    for place in order:
        with page.expect_response("**/live?*"):
            held[place].continue_()
    page.unroute_all()
    read = "async address => JSON.stringify((await (await fetch(address)).json()).charts[0].figure.data.map(t => t.y))"
    strong = page.evaluate(read, held[1].request.url)
    assert strong != page.evaluate(read, held[0].request.url)
    page.wait_for_function(f"strong => JSON.stringify({PLOT}.data.map(t => t.y)) === strong", arg=strong)


def test_what_was_chosen_while_the_studio_was_down_is_drawn_when_it_is_back(page: Page) -> None:
    page.route("**/live?*", lambda route: route.abort("connectionrefused"))
    page.get_by_role("combobox", name="Scale").select_option("logarithmic")
    problem = page.locator(".live-problem")
    expect(problem).to_have_text("The studio cannot be reached. Trying again.")
    page.unroute_all()
    page.wait_for_function(f"{PLOT}.layout.yaxis.type === 'log'")
    expect(problem).to_have_text("")


def test_what_answers_in_the_studios_place_is_told_in_words(page: Page) -> None:
    page.route("**/live?*", lambda route: route.fulfill(status=502, body="<html>Bad Gateway"))
    page.get_by_role("combobox", name="Scale").select_option("logarithmic")
    expect(page.locator(".live-problem")).to_contain_text("The studio does not answer as expected")


def test_lines_follow_from_light_to_dark_and_back(page: Page) -> None:
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.wait_for_function(f"{UNSEEN} === '{neutral(0, dark=scheme == 'dark')}'")


def test_a_double_click_resets_the_zoom_and_opens_no_step(page: Page) -> None:
    box = page.locator(".live-charts .place").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + 300, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 150, steps=5)
    page.mouse.up()
    page.wait_for_function(f"{PLOT}.layout.xaxis.range[0] > 0")
    page.mouse.move(box["x"] + 450, box["y"] + 150)
    page.locator(".hoverlayer text").first.wait_for()
    page.clock.install()  # its time stands still, so that the two clicks are one double click on a slow computer, too
    page.clock.pause_at(datetime.now() + timedelta(seconds=1))
    page.mouse.dblclick(box["x"] + 450, box["y"] + 150)
    # Whether Plotly tells of a click depends on what it hovered over when the clock stopped; so it is told once more.
    point = "points: [{ x: 20, curveNumber: 0 }]"
    page.evaluate(f"for (const detail of [1, 2]) {PLOT}.emit('plotly_click', {{ {point}, event: {{ detail }} }})")
    page.clock.run_for(1000)
    page.clock.resume()
    page.wait_for_function(f"{PLOT}.layout.xaxis.range[0] === 0")
    page.get_by_role("button", name="Look at one step").click()
    expect(page.get_by_role("dialog")).to_have_count(1)
    expect(page.get_by_role("dialog").get_by_text("Which step?")).to_be_visible()


def test_a_page_that_turned_dark_while_it_was_made_has_its_lines_so(context: BrowserContext, known: Studio) -> None:
    with page_on(context, known) as page:
        asked: list[str | bytes] = []
        page.on("websocket", lambda socket: socket.on("framesent", lambda frame: asked.append(frame)))
        page.goto(f"{known.url}/monitor?run={ENDED}", wait_until="commit")
        until(lambda: page.evaluate("true") and asked, "that the page is asked for, as it looks now")
        page.emulate_media(color_scheme="dark")
        # Now and then Streamlit itself misses it and stays light: then the lines must, too.
        colours = json.dumps({scheme: neutral(0, dark=scheme == "dark") for scheme in ("dark", "light")})
        scheme = "getComputedStyle(document.querySelector('[data-testid=stApp]')).colorScheme"
        page.wait_for_function(f"{UNSEEN} === {colours}[{scheme}]")


def test_charts_keep_their_heights_when_the_window_is_resized_after_they_were_redrawn(page: Page) -> None:
    def heights() -> list[int]:
        shown = ".live-root > .live-charts > section, [open] section"
        found: list[int] = page.evaluate(f"[...document.querySelectorAll('{shown}')].map(s => s.clientHeight)")
        return found

    first, drawn, width = heights(), page.evaluate(f"JSON.stringify({PLOT}.data)"), f"{PLOT}._fullLayout.width"
    page.get_by_label("Smoothing").select_option("none")
    page.wait_for_function(f"drawn => JSON.stringify({PLOT}.data) !== drawn", arg=drawn)
    before = page.evaluate(width)
    page.set_viewport_size({"width": 1150, "height": 700})
    page.wait_for_function(f"before => {width} !== before", arg=before)
    assert heights() == first and min(first) > 200


def shown_steps(page: Page, line: str = "training, each step") -> list[int]:
    found: list[int] = page.evaluate(f"name => {PLOT}.data.find(t => t.name === name).x", line)
    return found


def test_an_ended_run_is_played_again_from_its_log(page: Page) -> None:
    written = page.locator(".live-writes")
    expect(written).to_contain_text("right")
    page.get_by_role("slider", name="Position").fill("500")
    page.wait_for_function(f"{PLOT}.data[0].x.length === 20")
    assert shown_steps(page) == list(range(1, 21)) and shown_steps(page, "unseen SVAMP") == [20]
    expect(written).to_contain_text("#### 3")
    expect(written).to_contain_text("wrong")
    page.get_by_role("slider", name="Position").fill("250")
    page.wait_for_function(f"{PLOT}.data[0].x.length === 10")
    assert shown_steps(page, "unseen SVAMP") == []
    expect(written).to_be_hidden()  # it had not written anything yet
    page.get_by_label("Pace").select_option("four times")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(f"{PLOT}.data[0].x.length === 40")
    expect(written).to_contain_text("#### 4")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(page.get_by_role("slider", name="Position")).to_have_value("1000")


def test_other_options_end_a_replay(page: Page) -> None:
    page.get_by_role("slider", name="Position").fill("500")
    page.wait_for_function(f"{PLOT}.data[0].x.length === 20")
    page.get_by_role("combobox", name="Along").select_option("time")
    page.wait_for_function(f"{PLOT}.data[0].x.length === 40")
    page.get_by_role("slider", name="Position").fill("500")
    page.wait_for_function(f"{PLOT}.data[0].x.length === 20")
    assert shown_steps(page)[-1] == 2.0, "by time, too, it is played by its steps"


def test_a_key_shows_the_curve_to_a_room(page: Page) -> None:
    expect(page.get_by_role("heading", name="Ended", level=2)).to_be_hidden()
    page.keyboard.press("p")
    expect(page.get_by_role("heading", name="Ended", level=2)).to_be_visible()
    expect(page.get_by_label("Smoothing")).to_be_hidden()
    page.wait_for_function(f"{PLOT}.layout.yaxis.tickfont.size > 20")
    page.keyboard.press("p")
    expect(page.get_by_label("Smoothing")).to_be_visible()
    page.wait_for_function(f"{PLOT}.layout.yaxis.tickfont.size < 20")


def test_in_full_screen_the_arrow_keys_go_to_the_other_runs(page: Page) -> None:
    page.keyboard.press("ArrowRight")  # not in full screen: nothing happens
    page.keyboard.press("p")
    expect(page.get_by_role("heading", name="Ended", level=2)).to_be_visible()
    expect(page.locator(".live-figures")).to_contain_text("40 of 40")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Earlier", level=2)).to_be_visible()
    page.keyboard.press("ArrowRight")  # after the last one, the first
    expect(page.get_by_role("heading", name="Ended", level=2)).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name="Earlier", level=2)).to_be_visible()
    assert page.evaluate("document.fullscreenElement === document.documentElement")
    page.keyboard.press("p")
    expect(page.get_by_role("heading", name="Earlier", level=1)).to_be_visible()


def test_a_run_is_saved_as_one_picture(page: Page, tmp_path: Path) -> None:
    with page.expect_download() as saved:
        page.get_by_role("button", name="Picture").click()
    assert saved.value.suggested_filename == "Ended.png"
    saved.value.save_as(tmp_path / "run.png")
    picture = Image.open(tmp_path / "run.png").convert("RGB")
    assert picture.size == (2400, 1350)
    colours = {colour for _, colour in picture.getcolors(1_000_000) or []}
    assert ImageColor.getrgb(OKABE_ITO[0]) in colours, "its curve"
    assert ImageColor.getrgb(OKABE_ITO[2]) in colours, "the mark of a right answer"


def test_on_paper_the_whole_page_stands_and_no_chart_is_cut(page: Page) -> None:
    inner = "document.querySelector('[data-testid=stMain]')"
    assert page.evaluate(f"{inner}.scrollHeight > {inner}.clientHeight"), "on the screen it is scrolled"
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 between margins
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function("[...document.querySelectorAll('.main-svg')].every(each => each.clientWidth < 700)")
    assert page.evaluate(f"{inner}.scrollHeight <= {inner}.clientHeight")
    expect(page.get_by_role("button", name="Present")).to_be_hidden()
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.set_viewport_size({"width": 1280, "height": 720})
    page.wait_for_function(f"{PLOT}.querySelector('.main-svg').clientWidth > 700")


def test_a_folded_group_stays_folded_and_is_not_drawn(page: Page) -> None:
    speed = page.locator("details", has=page.locator("summary", has_text="Speed"))
    expect(speed.locator(".js-plotly-plot")).to_have_count(1)
    speed.locator("summary").click()
    page.reload()
    page.wait_for_function(f"{PLOT}?.data?.some(t => t.name === 'training')")
    expect(speed).not_to_have_attribute("open", "")
    expect(speed.locator(".js-plotly-plot")).to_have_count(0)
    speed.locator("summary").click()
    expect(speed.locator(".js-plotly-plot")).to_have_count(1)


def test_the_inside_is_folded_until_it_is_opened(page: Page) -> None:
    inside = page.locator("details", has=page.locator("summary", has_text="Inside"))
    expect(inside).not_to_have_attribute("open", "")
    expect(inside.locator(".js-plotly-plot")).to_have_count(0)
    for opened in (True, False):
        inside.locator("summary").click()
        expect(inside.locator(".js-plotly-plot")).to_have_count(3)
        page.reload()
        page.wait_for_function(f"{PLOT}?.data?.some(t => t.name === 'training')")
        expect(inside.locator(".js-plotly-plot")).to_have_count(3 if opened else 0)
