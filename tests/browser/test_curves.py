"""What a person does with a run's curves, in real Chromium: look otherwise, open a step, branch, mend, hand on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus, StepMetrics
from cognate_core.runs import RunManager, database_path
from cognate_core.storage.progress_reader import ProgressReader
from tests.browser.studio import Studio, choose_file, download, let_in, page_on, running_studio, wait_until_idle
from tests.waiting import LONG

pytestmark = pytest.mark.browser

PLOT = "document.querySelector('.js-plotly-plot')"


@pytest.fixture(scope="module")
def ids() -> dict[str, str]:
    """Name -> id of the runs of the studio below."""
    return {}


@pytest.fixture(scope="module")
def known(
    tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig, ids: dict[str, str]
) -> Iterator[Studio]:
    """A studio with a trained run, and one whose curve shows a learning rate that is too high."""
    home = tmp_path_factory.mktemp("curves") / "home"
    manager = RunManager(home, executor="thread")
    config = tiny_config.with_overrides({"max_steps": 12, "save_steps": 4, "eval_interval": 4})
    run = manager.start(config, "Trained", ["Trained"])
    assert manager.wait(run, LONG)
    diverges = tiny_config.with_overrides({"max_steps": 200, "learning_rate": 0.3, "max_grad_norm": 1})
    worse = manager.log.create_run("0123456789ab", "Too fast", diverges, ["m"], home / "runs" / "0123456789ab", None)
    for step in range(1, 201):
        loss = 6 - step / 25 if step < 80 else 2.8 + min(step - 80, 60) / 10
        manager.log.record(worse, StepMetrics("m", step, loss, 0.3, 1, 1, 100, 0.1, step / 10))
    manager.log.claim(worse)
    manager.log.set_status(worse, RunStatus.COMPLETED, step=200, total_steps=200)
    manager.close()
    ids.update({"Trained": run, "Too fast": worse})
    with running_studio(home) as studio:
        yield studio


@pytest.fixture
def page(context: BrowserContext, known: Studio) -> Iterator[Page]:
    with page_on(context, known) as page:
        yield page


def open_run(page: Page, studio: Studio, run_id: str) -> None:
    page.goto(f"{studio.url}/monitor?run={run_id}")
    page.wait_for_function(f"{PLOT}?.data?.some(t => t.name === 'training')")


def start_training(page: Page) -> None:
    button = page.get_by_role("button", name="Start training")
    expect(button).to_be_enabled()
    button.click()
    page.wait_for_url(re.compile("/monitor"))


def test_curves_are_looked_at_otherwise_and_zoom_stays(page: Page, known: Studio, ids: dict[str, str]) -> None:
    open_run(page, known, ids["Trained"])
    box = page.locator(".live-charts .place").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + 300, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 150, steps=5)
    page.mouse.up()
    page.wait_for_function(f"{PLOT}.layout.xaxis.range[0] > 0")
    zoomed = page.evaluate(f"{PLOT}.layout.xaxis.range")
    assert 0 < zoomed[0] < zoomed[1] < 12
    page.get_by_label("Smoothing").select_option("none")
    page.wait_for_function(f"!{PLOT}.data.some(t => t.name === 'training')")
    assert page.evaluate(f"{PLOT}.layout.xaxis.range") == zoomed
    page.get_by_role("combobox", name="Scale").select_option("logarithmic")
    page.wait_for_function(f"{PLOT}.layout.yaxis.type === 'log'")
    page.get_by_role("combobox", name="Along").select_option("tokens")
    page.wait_for_function(f"{PLOT}.layout.xaxis.title.text === 'tokens learned from'")
    page.reload()  # the look is remembered
    page.wait_for_function(f"{PLOT}?.layout?.xaxis?.title?.text === 'tokens learned from'")
    expect(page.get_by_role("combobox", name="Scale")).to_have_value("logarithmic")


def test_a_click_opens_the_step_and_a_branch_goes_on_from_there(page: Page, known: Studio, ids: dict[str, str]) -> None:
    open_run(page, known, ids["Trained"])
    box = page.locator(".live-charts .place").first.bounding_box()
    assert box
    middle = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5
    page.mouse.move(*middle)
    page.locator(".hoverlayer text").first.wait_for()  # a click means the point that is shown
    page.mouse.click(*middle)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("What it read in this step")).to_be_visible()
    expect(dialog.get_by_text("Problem:").first).to_be_visible()
    dialog.get_by_text("Try other settings from here").click()
    dialog.get_by_role("textbox", name="New value").fill("a lot")
    dialog.get_by_role("button", name="Start the branch").click()
    expect(dialog.get_by_text("Learning rate must be a number")).to_be_visible()
    dialog.get_by_role("textbox", name="New value").fill("0.001")
    dialog.get_by_role("textbox", name="Name").fill("The branch")
    dialog.get_by_role("button", name="Start the branch").click()
    page.wait_for_url(re.compile("/compare"))
    expect(page.get_by_role("heading", name="Settings that differ")).to_be_visible()
    expect(page.get_by_text("branched from the one above, after step 4")).to_be_visible()
    page.get_by_role("link", name="The branch").first.click()
    expect(page.get_by_text("Training is complete")).to_be_visible()
    expect(page.get_by_text("Branched from")).to_be_visible()


@pytest.mark.slow
def test_a_caption_offers_its_remedy_for_a_new_run(page: Page, known: Studio, ids: dict[str, str]) -> None:
    open_run(page, known, ids["Too fast"])
    captions = page.get_by_role("list", name="What the curves show")
    expect(captions.get_by_role("listitem")).to_have_count(1)
    captions.get_by_role("button", name="Apply to a new run").click()
    page.wait_for_url(re.compile("/new-run"))
    expect(page.get_by_role("textbox", name="Name")).to_have_value("Too fast (fixed)")
    expect(page.get_by_role("textbox", name="Learning rate")).to_have_value("0.1")
    page.get_by_role("textbox", name="Training steps").fill("5")
    page.get_by_role("textbox", name="Training steps").press("Enter")
    wait_until_idle(page)
    page.reload()
    expect(page.get_by_role("textbox", name="Training steps")).to_have_value("5")
    start_training(page)
    expect(page.get_by_text("Fixes", exact=True)).to_be_visible()
    expect(page.get_by_text("Training is complete")).to_be_visible()


@pytest.mark.slow
def test_a_run_is_shared_and_repeated_to_verify(page: Page, known: Studio, ids: dict[str, str], tmp_path: Path) -> None:
    open_run(page, known, ids["Trained"])
    page.get_by_role("button", name="More").click()
    report = download(page, "Save its report (HTML)", tmp_path / "report.html")
    assert re.search(r"<h1[^>]*>\s*Trained", report.read_text(encoding="utf-8"))
    download(page, "Save as run archive", tmp_path / "run.cognate.zip")
    page.get_by_role("button", name="Repeat it to verify").click()
    expect(page.get_by_text("Identical.")).to_be_visible()

    with running_studio(tmp_path / "another") as another:
        let_in(page.context, another)
        page.goto(another.url)
        page.get_by_text("Open a run from another studio").click()
        choose_file(page, tmp_path / "report.html")
        expect(page.get_by_text("files are not allowed")).to_be_visible()
        choose_file(page, tmp_path / "run.cognate.zip")
        page.wait_for_url(re.compile("/monitor"))
        expect(page.get_by_role("heading", name="Trained")).to_be_visible()
        here, there = (ProgressReader(database_path(studio.home)) for studio in (known, another))
        losses = [[row["loss"] for row in log.metrics(ids["Trained"])] for log in (here, there)]
        assert losses[0] == losses[1] and len(losses[0]) == 12


@pytest.mark.slow
def test_settings_are_saved_opened_and_quoted(page: Page, known: Studio, ids: dict[str, str], tmp_path: Path) -> None:
    page.goto(f"{known.url}/new-run?from={ids['Trained']}")
    expect(page.get_by_role("textbox", name="Width")).to_have_value("16")
    page.get_by_text("Save or open settings").click()
    expect(page.get_by_text("cognate train settings.toml --name 'Trained (again)'")).to_be_visible()
    settings = download(page, "Save these settings (TOML)", tmp_path / "settings.toml")
    (tmp_path / "wrong.toml").write_text("d_model = 'wide'")
    choose_file(page, tmp_path / "wrong.toml", -1)
    expect(page.get_by_text("Width must be a whole number")).to_be_visible()
    settings.write_text(settings.read_text(encoding="utf-8").replace("d_model = 16", "d_model = 24"), encoding="utf-8")
    choose_file(page, settings, -1)
    page.wait_for_url(re.compile("settings=[0-9a-f]{16}"))
    expect(page.get_by_role("textbox", name="Width")).to_have_value("24")
    page.get_by_role("button", name="How long will it take?").click()
    expect(page.get_by_text("Time to train")).to_be_visible()
    start_training(page)
    expect(page.get_by_text("Estimated for training").first).to_be_visible()
