"""The HTML in which every page begins."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pages.components.frame import CHANGES, ICON, STREAMLIT_PAGE, routes

ADDRESSES = ("/", "/new-run", "/monitor", "/compare", "/lab", "/models", "/datasets", "/glossary")
CLIENT = TestClient(Starlette(routes=routes))


@pytest.mark.parametrize("pattern", CHANGES)
def test_each_change_finds_its_place_in_the_page_of_this_streamlit(pattern: str) -> None:
    assert len(re.findall(pattern, STREAMLIT_PAGE.read_text(encoding="utf-8"), re.DOTALL)) == 1


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_page_knows_its_server_and_names_the_studio_alone(address: str) -> None:
    answer = CLIENT.get(address)
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text.index("BACKEND_BASE_URL") < answer.text.index('<script type="module"')  # which reads it
    words = re.sub("<!--.*?-->|<script.*?</script>|<[^>]*>", " ", answer.text, flags=re.DOTALL).split()
    assert words[:2] == ["Cognate", "Studio"]
    assert "streamlit" not in " ".join(words).lower()
    assert "_stcore" not in answer.text


def test_nothing_else_is_answered() -> None:
    for address in ("/new-run/", "/new-run/_stcore/health", "/_stcore/health", "/static/index.html", "/elsewhere"):
        assert CLIENT.get(address, follow_redirects=False).status_code in (307, 404)
    assert CLIENT.post("/new-run").status_code == 405


def test_the_icon_is_ours() -> None:
    assert CLIENT.get("/favicon.png").content == ICON.read_bytes()
