"""Hostile names in addresses, asked by a program and opened in a browser."""

from __future__ import annotations

import http.client
import re
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.studio import Studio
from tests.faults.hostile import NAMES
from tests.faults.hostile_names.naming import (
    SOAK_SECONDS,
    Kept,
    Looker,
    Watch,
    brief,
    folded,
    report,
)
from tests.faults.times import SOAK, Tally, times
from tests.waiting import LONG

pytestmark = pytest.mark.slow

PAGES = (
    "/monitor?run={name}",
    "/compare?runs={name}",
    "/models?model={name}",
    "/new-run?preset={name}&solve.d_model={name}",
)


ROUTES = (
    "/live?run={name}&model={name}&dark={name}&after={name}",
    "/live?runs={name}&smoothing={name}&scale={name}&along={name}",
    "/{name}",
)


LONGEST_ADDRESS = 60_000  # the server hangs up on longer ones


CHARTS = "/live?run={run}&model={name}&along={name}&after={name}"  # takes longer: the charts are drawn


def percent(name: str) -> str:
    return quote(name, safe="", errors="surrogatepass")


def without_root(page: bytes) -> bytes:
    """A page without its way to the root, of which nothing but the depth of its address is in it."""
    return re.sub(rb'new URL\("(\.|(\.\./)+)", location\)', b"", page)


@pytest.mark.browser
def test_names_in_addresses_asked_by_a_program(studio: Studio, kept: list[Kept], tally: Tally) -> None:
    """Never an error of the server, never the name given back as a page."""
    problems = dict[str, str]()
    page = without_root(asked(studio, "/").body)
    for number, name in enumerate(NAMES):
        pages = PAGES if SOAK else PAGES[number % len(PAGES) :][:1]
        charts = (CHARTS,) if number < times(40, len(NAMES)) else ()
        for address in (*pages, *ROUTES, *charts):
            path = address.format(name=percent(name), run=kept[0].run_id)
            try:
                answer = asked(studio, path)
            except ConnectionError as error:
                if len(path) < LONGEST_ADDRESS:
                    problems.setdefault(name, f"{address} gives {error}")
                continue
            if answer.status >= 500:
                problems.setdefault(name, f"{address} gives {answer.status}: {answer.body[:200]!a}")
            elif answer.kind.startswith("text/html") and without_root(answer.body) != page:
                problems.setdefault(name, f"{address} gives a page of its own: {answer.body[:200]!a}")
            elif urlsplit(answer.location).netloc not in ("", urlsplit(studio.url).netloc):
                problems.setdefault(name, f"{address} leads to {answer.location!a}")
            elif address == CHARTS and len(path) < LONGEST_ADDRESS and answer.status != 200:
                problems.setdefault(name, f"{address} gives {answer.status}")
    assert asked(studio, "/_stcore/health").status == 200
    report(tally, "in addresses", NAMES, problems)


class Answer(NamedTuple):
    status: int
    kind: str
    location: str
    body: bytes


def asked(studio: Studio, path: str) -> Answer:
    """What the studio answers. Each on a connection of its own: on an open one, TCP waits 40 ms before an answer."""
    connection = http.client.HTTPConnection(urlsplit(studio.url).netloc, timeout=LONG)
    try:
        connection.request("GET", path, headers=studio.shown)
        with connection.getresponse() as answer:
            kind, location = (answer.headers.get(header, "") for header in ("Content-Type", "Location"))
            return Answer(answer.status, kind, location, answer.read())
    finally:
        connection.close()


@pytest.mark.browser
@pytest.mark.timeout(times(600, SOAK_SECONDS))
def test_names_in_addresses_opened_by_a_browser(
    watched: tuple[Page, Watch], studio: Studio, kept: list[Kept], tally: Tally
) -> None:
    page, watch = watched
    looker = Looker(page, watch, studio.url)
    names = [name for name in NAMES if 0 < len(percent(name)) < 2000][: times(2, len(NAMES))]
    for name in names:
        for path, sentence in (
            ("monitor?run", "There is no such run. It may have been deleted."),
            ("compare?runs", "A run in this address does not exist. It may have been deleted."),
            ("models?model", "The model in this address does not exist. It may have been deleted."),
        ):
            looker.open(f"{path}={percent(name)}")
            alert = page.get_by_test_id("stAlert").first.get_by_test_id("stMarkdownContainer")
            looker.text(name, path, alert, sentence)
            looker.quiet(name, path)
        if name != names[0] and not SOAK:
            continue  # the form takes seconds
        looker.open(f"new-run?preset={percent(name)}&solve.d_model={percent(name)}")
        expect(page.get_by_role("button", name="Start training")).to_be_visible()
        if not re.fullmatch(r"\s*0*\d+\s*", name):  # not a width either
            alerts = folded(" ".join(page.get_by_test_id("stAlert").all_inner_texts()))
            if "Width" not in alerts:
                looker.wrong(name, f"New run shows {brief(alerts)}")
        looker.quiet(name, "New run")
    report(tally, "in addresses in a browser", names, looker.problems)
