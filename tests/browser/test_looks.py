"""Every page in light and dark at three widths, as it looked when somebody last approved of it.

The pictures in looks/ are a fifth of the size, so that what differs between computers and hours (the edges of letters,
free memory, a speed) is too small to count. After an intended change, delete a page's picture and run the test: it
makes another one and fails; look at it before you commit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import Evaluation, RunStatus, Sample, StepMetrics
from cognate_core.runs import RunManager
from tests.browser.studio import Studio, page_on, running_studio, wait_until_idle, wait_until_still

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOOKS = Path(__file__).parent / "looks"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS, HEIGHT, SMALLER, COLOURS = (1280, 768, 360), 900, 5, 48
CLEARLY = 40  # of 255: a pixel that differs so much is another
MOST = 0.02  # of the pixels may be others: less than one line of text of a wide page
ENDED, OTHER, LAB = "0123456789ab", "1123456789ab", "2123456789ab"
PAGES = {
    "home": "",
    "new-run": "new-run?preset=Learns+to+solve",
    "monitor": f"monitor?run={ENDED}",
    "compare": f"compare?runs={ENDED},{OTHER}",
    "lab": f"lab?runs={LAB}",
    "models": "models",
    "datasets": "datasets?dataset=Synthetic",
    "glossary": "glossary",
}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig) -> Iterator[Studio]:
    """A studio with three runs whose figures are always the same."""
    home = tmp_path_factory.mktemp("looks") / "home"
    manager = RunManager(home, executor="thread")
    log, text = manager.log, tiny_config.with_overrides({"max_steps": 40, "check_questions": 30})
    for run_id, config in ((ENDED, text), (OTHER, text), (LAB, PRESETS["grokking"].config)):
        lab = config.task == "arithmetic"
        log.create_run(run_id, f"Run {run_id[0]}", config, ["m"], home / "runs" / run_id, None)
        for step in range(1, 41):
            fell = 6.0 - step / 8 + (step % 7) / 20 + int(run_id[0]) / 3
            more = {"accuracy": step / 40} if lab else {"ponder_steps": 1 + step / 40, "ponder_loss": 0.01}
            log.record(run_id, StepMetrics("m", step, fell, 0.3 - step / 200, 2.0, 1.0, 100, 0.1, step / 10, **more))
        for step in (10, 20, 30, 40):
            log.record(run_id, Evaluation("m", step, "SVAMP", 6.0 - step / 10, 90, accuracy=step / 50, bytes=200))
            if not lab:
                answer = "#### 4" if step > 20 else "#### 3"
                log.record(run_id, Sample("m", step, "SVAMP", "Problem: 2 + 2?\nSolution:", answer, "#### 4"))
        log.claim(run_id)
        log.set_status(run_id, RunStatus.COMPLETED, step=40, total_steps=40)
    manager.close()
    with running_studio(home, COGNATE_DATASETS_DIR="") as studio:
        yield studio


def looks_of(page: Page) -> Image.Image:
    """The first screen of the page that is open: above light, below dark, from wide to narrow."""
    sheet = Image.new("RGB", (sum(WIDTHS) // SMALLER, 2 * HEIGHT // SMALLER))
    for row, scheme in enumerate(SCHEMES):
        left = 0
        for width in WIDTHS:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": HEIGHT})
            expect(page.locator("[data-drawn]")).to_have_attribute("data-drawn", scheme)
            wait_until_idle(page)
            wait_until_still(page)
            picture = Image.open(BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB")
            small = picture.resize((width // SMALLER, HEIGHT // SMALLER), Image.Resampling.BOX)
            sheet.paste(small, (left, row * HEIGHT // SMALLER))
            left += small.width
    return sheet


def share_that_differs(one: Image.Image, other: Image.Image) -> float:
    """The share of pixels that clearly differ between two pictures of the same size."""
    apart = np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)).max(axis=2)
    return float((apart > CLEARLY).mean())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_looks_as_it_did(context: BrowserContext, known: Studio, tmp_path: Path, name: str) -> None:
    with page_on(context, known) as page:
        page.goto(f"{known.url}/{PAGES[name]}")
        wait_until_idle(page)
        if name in ("monitor", "compare", "lab"):
            page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.length > 0")
        if name == "new-run":
            page.get_by_text("of memory are free").wait_for()
        sheet = looks_of(page)
    approved = LOOKS / f"{name}.png"
    if not approved.exists():
        sheet.quantize(COLOURS).save(approved, optimize=True)
        pytest.fail(f"{approved} is new. Look at it before you commit it.")
    share = share_that_differs(sheet, Image.open(approved).convert("RGB"))
    sheet.save(tmp_path / f"{name}.png")
    assert share <= MOST, f"{share:.1%} of {name} looks otherwise: compare {tmp_path / name}.png with {approved}"


def test_the_comparison_sees_a_line_that_is_missing() -> None:
    """So that the test above cannot pass by not looking: a title and its sentence gone from the narrowest page."""
    page = Image.new("RGB", (360 // SMALLER, HEIGHT // SMALLER), "white")
    without = page.copy()
    page.paste("black", (4, 10, 60, 18))
    assert share_that_differs(page, page) == 0
    assert share_that_differs(page, without) > MOST
