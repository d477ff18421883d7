"""The HTML in which every page begins."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.web.server.starlette.starlette_static_routes import create_streamlit_static_assets_routes

from pages.components.frame import CHANGES, ICON, STREAMLIT_PAGE, Frame, icon

PAGES = ("/", "/new-run", "/monitor?run=x", "/glossary")
ELSEWHERE = ("/nonsense", "/two/deep")
OURS = "<title>a page of ours</title>"
CLIENT = TestClient(
    Starlette(
        routes=[icon, Route("/api", lambda _: HTMLResponse(OURS)), *create_streamlit_static_assets_routes(None)],
        middleware=[Middleware(Frame), Middleware(GZipMiddleware)],
    )
)


@pytest.mark.parametrize("pattern", CHANGES)
def test_each_change_finds_its_place_in_the_page_of_this_streamlit(pattern: str) -> None:
    assert len(re.findall(pattern, STREAMLIT_PAGE.read_text(encoding="utf-8"), re.DOTALL)) == 1


@pytest.mark.parametrize("address", PAGES + ELSEWHERE)
def test_every_page_knows_its_server_and_names_the_studio_alone(address: str) -> None:
    answer = CLIENT.get(address)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert answer.text.index("BACKEND_BASE_URL") < answer.text.index('<script type="module"')  # which reads it
    words = re.sub("<!--.*?-->|<script.*?</script>|<[^>]*>", " ", answer.text, flags=re.DOTALL).split()
    assert words[:2] == ["Cognate", "Studio"]
    assert "streamlit" not in " ".join(words).lower()
    assert "_stcore" not in answer.text


@pytest.mark.parametrize(
    ("address", "root"), [("/", "./"), ("/new-run", "./"), ("/one%2Fdeep", "./"), ("/two/deep", "../")]
)
def test_the_root_is_found_from_where_a_page_lies(address: str, root: str) -> None:
    """Relative, because a proxy may serve the studio below an address of its own."""
    assert f'new URL("{root}", location)' in CLIENT.get(address).text


def test_a_page_that_a_browser_has_kept_from_streamlit_is_sent_anew() -> None:
    kept = TestClient(Starlette(routes=create_streamlit_static_assets_routes(None))).get("/")
    again = CLIENT.get("/", headers={"If-None-Match": kept.headers["etag"]})
    assert (again.status_code, again.text) == (200, CLIENT.get("/").text)
    assert "etag" not in again.headers and "last-modified" not in again.headers


def test_who_asks_for_the_head_alone_gets_no_body() -> None:
    head = CLIENT.head("/new-run")
    assert (head.content, head.headers["content-length"]) == (b"", CLIENT.get("/new-run").headers["content-length"])


def test_nothing_else_is_changed() -> None:
    assert CLIENT.get("/api").text == OURS
    for address in ("/new-run/", "/new-run/_stcore/health", "/_stcore/agent/mcp"):
        assert CLIENT.get(address, follow_redirects=False).status_code in (301, 404)
    assert CLIENT.post("/new-run").status_code == 405


def test_the_icon_is_ours() -> None:
    assert CLIENT.get("/favicon.png").content == ICON.read_bytes()
