"""Every page in real Chromium, light and dark, wide and narrow: what axe-core finds, what the console says, whether it
fits. And the way from Home to a step of a run with the keyboard alone.

Structure is the same in every look; what differs is checked in each (COLOURS), the rest in two of the four.
"""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.contracts import RunStatus
from cognate_core.runs import RunManager, database_path
from cognate_core.runs.process import workers
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from tests.browser.studio import Studio, let_in, running_studio, wait_until_idle, wait_until_still
from tests.waiting import LONG, until

pytestmark = pytest.mark.browser

WIDE, NARROW = 1280, 360
GRAVE = ("serious", "critical")
COLOURS = {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}
EVERYTHING = {"resultTypes": ["violations"]}
Look = tuple[Literal["light", "dark"], int, Any]
LOOKS: tuple[Look, ...] = (("light", WIDE, EVERYTHING), ("dark", NARROW, EVERYTHING))
OTHER_LOOKS: tuple[Look, ...] = (("dark", WIDE, COLOURS), ("light", NARROW, COLOURS))
ALLOWED: tuple[tuple[str, str, str], ...] = ()  # (rule, part of the element's HTML, why it is not in our power)


@dataclass(frozen=True)
class Visit:
    """A page as a person looks at it. Words between braces are ids of the trained home."""

    address: str
    ready: Callable[[Page], None] = lambda page: None
    scheme: Literal["light", "dark"] = "light"  # in which it is opened
    slow: bool = False  # what it is made of stands on other pages, too


def curves_are_drawn(page: Page) -> None:
    page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.length > 0")


def all_settings_are_open(page: Page) -> None:
    page.get_by_text("are free on this computer").wait_for()
    page.get_by_text("All settings").click()
    page.get_by_role("tab").first.wait_for()


def a_text_is_written(page: Page) -> None:
    page.get_by_role("button", name="Write").click()
    page.locator(".lens [role=option]").first.wait_for()


def a_step_is_open(page: Page) -> None:
    curves_are_drawn(page)
    page.get_by_role("button", name="Look at one step").click()
    page.get_by_role("button", name="Open").click()
    page.get_by_text("What it read in this step").wait_for()


def the_own_variant_is_open(page: Page) -> None:
    page.get_by_text("Your own variant").click()
    page.get_by_text("Orthogonal gradient").wait_for()


VISITS = {
    "home": Visit(""),
    "new run, all settings": Visit("new-run", all_settings_are_open),
    "monitor": Visit("monitor?run={run}", curves_are_drawn),
    "one step": Visit("monitor?run={run}", a_step_is_open, slow=True),
    "compare": Visit("compare?runs={run},{twin}", curves_are_drawn),
    "lab": Visit("lab?runs={lab}", curves_are_drawn),
    "lab, your own variant": Visit("lab", the_own_variant_is_open, slow=True),
    "a model of the lab": Visit("models?model={calculator}", curves_are_drawn, slow=True),
    "models": Visit("models?model={model}", a_text_is_written),
    "models, opened in the dark": Visit("models?model={model}", a_text_is_written, "dark", slow=True),  # other shades
    "datasets, rows": Visit("datasets?dataset=Synthetic"),
    "datasets, lengths": Visit("datasets?dataset=Synthetic&section=Lengths", slow=True),
    "datasets, overlap": Visit("datasets?dataset=Synthetic&section=Seen+before+%28overlap%29", slow=True),
    "datasets, near-duplicates": Visit("datasets?dataset=Synthetic&section=Near-duplicates", slow=True),
    "datasets, mixture": Visit("datasets?dataset=Synthetic&section=Mixture+and+batch", slow=True),
    "datasets, own file": Visit("datasets?dataset=Own+file", slow=True),
    "datasets, not here": Visit("datasets?dataset=GSM8K"),
    "glossary": Visit("glossary"),
    "glossary, a term": Visit("glossary?term=learning+rate", slow=True),
}


@dataclass(frozen=True)
class Full:
    """A studio with two finished runs, one that is going and one that waits."""

    studio: Studio
    ids: dict[str, str]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    home = tmp_path_factory.mktemp("full") / "home"
    config = TrainingConfig(
        dataset_sources=["Synthetic"],
        max_train_samples=60,
        max_eval_samples=10,
        train_seq_len=256,
        max_seq_len=256,
        d_model=16,
        n_layers=1,
        d_mem=16,
        mem_segment=64,
        mem_writes=4,
        max_act_steps=2,
        n_heads=2,
        vocab_size=400,
        max_steps=6,
        batch_size=2,
        gradient_accumulation_steps=1,
        eval_interval=3,
        sample_tokens=4,
        precision="fp32",
    )
    manager = RunManager(home, executor="thread")
    run = manager.start(config, "A finished run", ["A finished run"])
    assert manager.wait(run, LONG)
    twin = manager.start_twin(run)
    assert manager.wait(twin, LONG)
    small = {"arithmetic_modulus": 11, "d_model": 16, "n_heads": 2, "max_steps": 20, "save_steps": 10}
    lab = manager.start(PRESETS["grokking"].config.with_overrides(small), "In the lab", ["In the lab"])
    assert manager.wait(lab, LONG)
    ids = {"run": run, "twin": twin, "model": manager.log.models(run)[0].id}
    ids |= {"lab": lab, "calculator": manager.log.models(lab)[0].id}
    manager.close()
    waiting = [uuid.uuid4().hex[:12] for _ in range(2)]
    log = ProgressLog(database_path(home))  # the studio finds them in its queue: one begins, one waits
    for run_id in waiting:
        log.create_run(
            run_id, "A long run", config.with_overrides({"max_steps": 1_000_000}), ["m"], home / "runs", None
        )
    log.close()
    with running_studio(home) as studio, at_a_standstill(ProgressReader(database_path(home)), waiting):
        yield Full(studio, ids)


@contextmanager
def at_a_standstill(log: ProgressReader, run_ids: list[str]) -> Iterator[None]:
    """As soon as one of the runs trains, stop its process for a while: the test needs the processor more."""
    going = until(lambda: [each for each in run_ids if log.run(each).status is RunStatus.TRAINING], "a run begins")
    worker = workers()[going[0]]
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


@dataclass
class Watched:
    """A page, and what went wrong in it without being seen."""

    page: Page
    trouble: list[str]


@pytest.fixture
def watched(context: BrowserContext) -> Iterator[Callable[[Studio], Watched]]:
    """A page that notes what its console says and whom it asks."""

    def watch(studio: Studio) -> Watched:
        let_in(context, studio)
        page, trouble = context.new_page(), []

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                trouble.append(f"{message.type}: {message.text} ({message.location['url']})")

        page.on("console", heard)
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                trouble.append(f"outside: {request.url}")
                if not request.url.startswith((studio.url, "data:", "blob:"))
                else None
            ),
        )
        return Watched(page, trouble)

    yield watch
    context.clear_cookies()
    for page in context.pages:
        page.close()


def grave_violations(page: Page, options: dict[str, Any]) -> list[str]:
    """What axe-core finds serious or critical, and is not allowed, each as "rule: why (element)"."""
    violations = Axe().run(page, options=options).response["violations"]
    return [
        f"{violation['id']}: {node['failureSummary'].splitlines()[-1].strip()} ({node['html'][:200]})"
        for violation in violations
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
        if not any(rule == violation["id"] and part in node["html"] for rule, part, _ in ALLOWED)
    ]


def needed_width(page: Page) -> int:
    """How wide the page is. Streamlit scrolls its main part, not the document."""
    return page.evaluate(
        """() => Math.max(...[document.scrollingElement, document.querySelector("[data-testid=stMain]")]
            .filter(Boolean).map((each) => each.scrollWidth))"""
    )


def look_at_it(page: Page, looks: tuple[Look, ...]) -> list[str]:
    """What is wrong with the page that is open, in each look."""
    wrong = []
    for scheme, width, options in looks:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 900})
        expect(page.get_by_test_id("stApp")).to_have_css("color-scheme", scheme)
        if not page.get_by_role("dialog").count():  # else the page is not drawn anew; what is out of date is pale
            expect(page.locator("[data-drawn]")).to_have_attribute("data-drawn", scheme)
        wait_until_idle(page)
        wait_until_still(page)  # colours fade from one look to the other; half-way they have no contrast
        wrong += [f"{scheme}, {width}: {each}" for each in grave_violations(page, options)]
        if needed_width(page) > width:
            wrong.append(f"{scheme}, {width}: it must be scrolled sideways")
    return wrong


@pytest.mark.parametrize(
    "looks", [pytest.param(LOOKS, id="looks"), pytest.param(OTHER_LOOKS, id="other looks", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if visit.slow else []) for name, visit in VISITS.items()]
)
def test_every_page_can_be_read_by_everyone(
    full: Full, watched: Callable[[Studio], Watched], name: str, looks: tuple[Look, ...]
) -> None:
    visit, look = VISITS[name], watched(full.studio)
    look.page.emulate_media(color_scheme=visit.scheme)
    look.page.goto(f"{full.studio.url}/{visit.address.format(**full.ids)}")
    wait_until_idle(look.page)
    visit.ready(look.page)
    wait_until_idle(look.page)
    assert look_at_it(look.page, looks) == []
    assert look.trouble == []


WRONG = """() => {
    const wrong = document.createElement("div")
    wrong.innerHTML = '<button></button><p style="color: #999; background: #fff">faint</p>'
    wrong.style.width = "3000px"
    document.querySelector("[data-testid=stMainBlockContainer]").prepend(wrong)
    console.warn("a warning of ours")
    fetch("http://127.0.0.1:9/").catch(() => null)
}"""


def test_the_measurement_sees_what_is_wrong(full: Full, watched: Callable[[Studio], Watched]) -> None:
    """So that the test above cannot pass by not looking."""
    look = watched(full.studio)
    look.page.goto(full.studio.url)
    wait_until_idle(look.page)
    with (
        look.page.expect_console_message(lambda message: "a warning of ours" in message.text),
        look.page.expect_request("http://127.0.0.1:9/"),
    ):
        look.page.evaluate(WRONG)
    found = {each.split(":")[0] for each in grave_violations(look.page, EVERYTHING)}
    assert {"button-name", "color-contrast"} <= found
    assert needed_width(look.page) > WIDE
    assert any("a warning of ours" in each for each in look.trouble)
    assert any(each.startswith("outside: ") for each in look.trouble)


@pytest.mark.slow
def test_the_apis_own_page_can_be_read_by_everyone(full: Full, watched: Callable[[Studio], Watched]) -> None:
    """Home leads there."""
    look = watched(full.studio)
    look.page.goto(full.studio.url)
    with look.page.context.expect_page() as opened:
        look.page.get_by_role("link", name="API").click()
    page, wrong = opened.value, []
    expect(page.get_by_role("heading", name="Cognate Studio 1")).to_be_visible()
    for scheme, width, options in (*LOOKS, *OTHER_LOOKS):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        wrong += [f"{scheme}, {width}: {each}" for each in grave_violations(page, options)]
        if needed_width(page) > width:
            wrong.append(f"{scheme}, {width}: it must be scrolled sideways")
    assert (wrong, look.trouble) == ([], [])


def tab_to(page: Page, role: Any, name: str, limit: int = 80) -> None:
    """Press Tab until the control has the focus, as somebody without a mouse must."""
    target = page.get_by_role(role, name=name).first
    target.wait_for()
    for _ in range(limit):
        if target.evaluate("element => element === document.activeElement || element.contains(document.activeElement)"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {role} {name!r}")


@pytest.mark.slow
def test_a_first_run_with_the_keyboard_alone(watched: Callable[[Studio], Watched], tmp_path: Path) -> None:
    with running_studio(tmp_path / "home") as studio:
        look = watched(studio)
        page = look.page
        page.goto(studio.url)
        wait_until_idle(page)
        expect(page.get_by_text("Your first model, in three steps")).to_be_visible()
        assert look_at_it(page, LOOKS + OTHER_LOOKS) == []  # Home with nothing in it
        page.set_viewport_size({"width": WIDE, "height": 900})

        tab_to(page, "link", "Choose")
        page.keyboard.press("Enter")
        tab_to(page, "button", "Start training")
        expect(page.get_by_role("button", name="Start training")).to_be_enabled()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"/monitor\?run=[0-9a-f]{12}$"))  # torch is loaded first
        expect(page.get_by_text("Step 2 of 3")).to_be_visible()
        lines = "[...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => plot.data ?? [])"
        page.wait_for_function(f"{lines}.some(line => line.name === 'training')")

        tab_to(page, "combobox", "Smoothing")
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("combobox", name="Smoothing")).to_have_value("medium")
        tab_to(page, "button", "Look at one step")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        tab_to(page, "button", "Open")
        page.keyboard.press("Enter")
        expect(dialog.get_by_text("Gradient size")).to_be_visible()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        assert look.trouble == []
