"""A page of another site, open in a browser on the studio's computer: it can start, delete and read nothing."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.runs import database_path
from cognate_core.storage.progress_reader import ProgressReader
from tests.browser.studio import Studio, let_in, new_context
from tests.waiting import LONG, until

pytestmark = pytest.mark.browser

ATTEMPTS = """
async studio => {
  const [api, told] = [`${studio.url}/api/v1`, {}];
  const body = JSON.stringify({name: "by a hostile page", settings: {max_steps: 1}});
  const tell = async (name, attempt) => {
    try { told[name] = await attempt(); } catch (error) { told[name] = `refused: ${error.name}`; }
  };
  const read = async answer => answer.type === "opaque" ? "opaque" : `read ${answer.status} ${await answer.text()}`;
  const post = (headers, mode) => fetch(api + "/runs", {method: "POST", body, headers, mode, credentials: "include"});

  await tell("start, as text", async () => read(await post({"Content-Type": "text/plain"}, "no-cors")));
  await tell("start, as a form", async () =>
    read(await post({"Content-Type": "application/x-www-form-urlencoded"}, "no-cors")));
  await tell("start, of no kind", async () =>
    read(await fetch(api + "/runs", {method: "POST", mode: "no-cors", body: new Blob([body])})));
  await tell("start, as JSON", async () => read(await post({"Content-Type": "application/json"}, "cors")));
  await tell("start, with a guessed token", async () => read(await post(
    {"Content-Type": "application/json", "Authorization": "Bearer guessed"}, "cors")));
  await tell("start, by a beacon", async () => String(navigator.sendBeacon(api + "/runs", new Blob([body]))));
  await tell("resume", async () => read(await fetch(`${api}/runs/${studio.run}/resume`,
    {method: "POST", mode: "no-cors"})));
  await tell("delete", async () => read(await fetch(`${api}/runs/${studio.run}`, {method: "DELETE"})));
  await tell("delete, by another word", async () => read(await fetch(`${api}/runs/${studio.run}`,
    {method: "POST", mode: "no-cors", headers: {"X-HTTP-Method-Override": "DELETE"}})));
  for (const path of ["/api/v1/runs", "/api/v1/health", "/live?run=" + studio.run, "/plotly.min.js", "/"]) {
    await tell("read " + path, async () => read(await fetch(studio.url + path, {credentials: "include"})));
    await tell("read without an answer " + path, async () => read(await fetch(studio.url + path, {mode: "no-cors"})));
  }
  const element = (tag, source, how) => new Promise(done => {
    const made = document.createElement(tag);
    made.onload = () => done("loaded");
    made.onerror = () => done("refused");
    made[how] = source;
    document.body.append(made);
  });
  await tell("a script", () => element("script", studio.url + "/plotly.min.js", "src"));
  await tell("runs as a script", () => element("script", api + "/runs", "src"));
  await tell("an image", () => element("img", studio.url + "/favicon.png", "src"));
  await tell("a style", () => new Promise(done => {
    const made = Object.assign(document.createElement("link"),
      {rel: "stylesheet", href: api + "/v1/", onload: () => done("loaded"), onerror: () => done("refused")});
    document.head.append(made);
  }));
  const socket = path => new Promise(done => {
    const made = new WebSocket(studio.url.replace("http", "ws") + path);
    made.onopen = () => done("opened");
    made.onerror = () => done("refused");
  });
  for (const path of ["/_stcore/stream", "/api/v1/events"]) await tell("socket " + path, () => socket(path));
  return told;
}
"""
FORM = """<form id="f" method="post" enctype="text/plain" action="{url}/api/v1/runs">
<input name='{{"name": "by a form", "x": "' value='"}}'></form>"""


class Elsewhere(BaseHTTPRequestHandler):
    """Serves one empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>hostile</title><body></body>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module", params=["127.0.0.1", "localhost"])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a page of another site: the same computer, but another port, and perhaps another name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{request.param}:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def hostile(chromium: Browser, elsewhere: str, studio: Studio) -> Iterator[Page]:
    """Open in a browser that the studio knows."""
    context = new_context(chromium)
    let_in(context, studio)
    page = context.new_page()
    page.goto(elsewhere)
    yield page
    context.close()


@pytest.fixture(scope="module")
def run_id(studio: Studio) -> str:
    """A run that has ended: it could be deleted."""
    token = (studio.home / "token").read_text()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{studio.url}/api/v1{path}", json.dumps(body).encode(), headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=LONG) as answered:
            told: dict[str, Any] = json.loads(answered.read())
            return told

    settings = {"dataset_sources": ["Synthetic"], "max_steps": TrainingConfig().max_steps}
    started: str = ask("/runs", {"name": "mine", "settings": settings})["id"]
    ask(f"/runs/{started}/cancel", {})
    until(lambda: log(studio).run(started).status.is_terminal, "the end of the run")
    return started


def log(studio: Studio) -> ProgressReader:
    return ProgressReader(database_path(studio.home))


def runs(studio: Studio) -> list[tuple[str, str, RunStatus]]:
    return [(run.id, run.name, run.status) for run in log(studio).runs()]


def test_nothing_is_started_deleted_or_read(hostile: Page, studio: Studio, run_id: str) -> None:
    hostile.context.new_page().goto(studio.url)  # the person has the studio open, too, with all its cookies
    before = runs(studio)
    told = hostile.evaluate(ATTEMPTS, {"url": studio.url, "run": run_id})
    succeeded = {name: what for name, what in told.items() if what.startswith(("read ", "loaded", "opened"))}
    assert succeeded == {}
    assert len(told) > 20
    assert runs(studio) == before


def test_a_form_starts_nothing(hostile: Page, studio: Studio) -> None:
    before = runs(studio)
    hostile.set_content(FORM.format(url=studio.url))
    with hostile.expect_navigation() as navigation:
        hostile.evaluate("document.getElementById('f').submit()")
    answer = navigation.value
    assert answer is not None and answer.status == 403
    assert runs(studio) == before


@pytest.mark.parametrize("path", ["/", "/new-run", "/api/v1/", "/api/v1/runs"])
def test_nothing_is_shown_in_a_frame(hostile: Page, studio: Studio, path: str) -> None:
    with hostile.expect_response(f"{studio.url}{path}") as response:
        hostile.set_content(f'<iframe src="{studio.url}{path}"></iframe>')
    assert response.value.status == 403
    frame = hostile.frames[1]
    assert "Cognate Studio" not in (frame.content() if not frame.url.startswith("chrome-error") else "")


def test_a_link_leads_to_the_page_and_leaves_it_working(hostile: Page, studio: Studio) -> None:
    hostile.set_content(f'<a href="{studio.url}/">the studio</a>')
    hostile.get_by_text("the studio").click()
    hostile.get_by_role("heading", name="Cognate Studio").wait_for()
