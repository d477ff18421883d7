"""Hostile names in a browser: shown as typed, and no script runs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.studio import Studio, let_in, running_studio, wait_until_idle
from tests.faults.hostile import NAMES
from tests.faults.hostile_names.naming import (
    HOME_SHOWS,
    MARKED,
    SOAK_SECONDS,
    STRANGE_ELEMENTS,
    Kept,
    Looker,
    Watch,
    accepted_names,
    brief,
    fill,
    is_sentence,
    report,
    shown_names,
)
from tests.faults.times import Tally, times

pytestmark = pytest.mark.slow

"""Elements that no page of the studio has by itself."""


HTML = "<img src=x onerror=__pwned=1><a href=javascript:__pwned=1>x</a><img src=http://evil.example/>"


@pytest.mark.browser
def test_the_watch_sees_a_script_that_runs(watched: tuple[Page, Watch], studio: Studio, kept: list[Kept]) -> None:
    page, watch = watched
    page.goto(f"{studio.url}/models?model={kept[0].model_id}")
    wait_until_idle(page)
    assert (page.evaluate(STRANGE_ELEMENTS), watch.taken()) == ([], [])
    with page.expect_console_message(lambda message: MARKED in message.text):  # once the picture has failed
        page.evaluate(
            "html => document.querySelector('[data-testid=stApp]').insertAdjacentHTML('beforeend', html)", HTML
        )
    assert page.evaluate(STRANGE_ELEMENTS) == ["<img>", "<img>", "<img onerror>", "a link to javascript:__pwned=1"]
    assert watch.taken() == ["a request to http://evil.example/", MARKED]


@pytest.mark.browser
@pytest.mark.timeout(times(600, SOAK_SECONDS))
def test_names_are_shown_as_typed(
    chromium: Browser,
    studio: Studio,
    kept: list[Kept],
    watched: tuple[Page, Watch],
    tmp_path: Path,
    tally: Tally,
) -> None:
    page, watch = watched
    looker = Looker(page, watch, studio.url)

    def look_at(harmless: Kept, *named: Kept) -> None:
        newest_first = named[::-1]
        looker.home(newest_first[:HOME_SHOWS])
        looker.trash([each.name for each in named])
        looker.choices(harmless, newest_first)
        looker.other_runs(harmless, newest_first)
        for each in newest_first:
            with looker.not_hanging(each.name):
                looker.monitor(each)
                looker.model(each)
        with looker.not_hanging(newest_first[-1].name):
            looker.delete_and_keep(newest_first[-1])

    look_at(*kept)
    names = shown_names()
    for number in range(len(kept) - 1, len(names), HOME_SHOWS):
        more = fill(tmp_path / f"home-{number}", names[number : number + HOME_SHOWS])
        with running_studio(tmp_path / f"home-{number}", OMP_NUM_THREADS="1") as another:
            let_in(looker.page.context, another)
            looker.url = watch.own = another.url
            look_at(*more)
    report(tally, "on Home, Monitor and Models", names, looker.problems)


QUICK_RUN = "/new-run?preset=First+language+model&" + "&".join(
    f"first-run.{setting}"
    for setting in (
        "max_steps=2",
        "dataset_sources=Synthetic",
        "n_layers=1",
        "d_model=32",
        "vocab_size=400",
        "batch_size=2",
        "max_train_samples=60",
        "max_eval_samples=10",
        "act_enabled=false",
        "ltm_enabled=false",
    )
)


TOO_LONG = "x" * 10_000


def typed_names() -> list[str]:
    """Some that are taken and some that are refused."""
    taken = accepted_names()
    refused = [name for name in NAMES if name.strip() not in {*taken, TOO_LONG}]
    return [*taken[:3], refused[0], TOO_LONG, *taken[3:20], *refused[1:9]][: times(5, 30)]


def type_and_start(page: Page, studio: Studio, name: str) -> str:
    """Start a run from New run under this name; what stood in the field when Start was pressed."""
    if urlsplit(page.url).path == "/monitor":
        page.get_by_role("link", name="New run").click()  # what was typed there is kept
        page.wait_for_url("**/new-run*")
    else:
        page.goto(f"{studio.url}{QUICK_RUN}")
    field = page.get_by_role("textbox", name="Name")
    field.fill(name)
    typed = field.input_value()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_function("location.pathname === '/monitor' || document.querySelector('[data-testid=stAlert]')")
    wait_until_idle(page)
    return typed


@pytest.mark.browser
@pytest.mark.timeout(times(600, SOAK_SECONDS))
def test_names_typed_by_a_person(watched: tuple[Page, Watch], studio: Studio, tally: Tally) -> None:
    page, watch = watched
    looker = Looker(page, watch, studio.url)
    started = 0
    for name in typed_names():
        typed = type_and_start(page, studio, name.encode(errors="replace").decode())
        if urlsplit(page.url).path == "/monitor":
            started += 1
            looker.text(name, "Monitor's title", page.locator("h1"), typed)
        else:
            sentence = page.get_by_test_id("stAlert").first.inner_text().split("\n")[-1]
            if not is_sentence(sentence):
                looker.wrong(name, f"refused without a sentence: {brief(sentence)}")
        looker.settle()
        looker.quiet(name, "after Start")
    assert started >= 3, "hardly any name was taken"
    report(tally, "typed in New run", typed_names(), looker.problems)
