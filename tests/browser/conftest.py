"""One studio for all browser tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.studio import Studio, running_studio

expect.set_options(timeout=30_000)  # a machine with much to do; what is right comes at once


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running_studio(tmp_path_factory.mktemp("browser") / "home") as studio:
        yield studio


@pytest.fixture
def outside_requests() -> list[str]:
    """Addresses beyond this computer that the page asked for: must stay empty."""
    return []


@pytest.fixture
def page(chromium: Browser, studio: Studio, outside_requests: list[str]) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.on(
        "request",
        lambda request: (
            outside_requests.append(request.url) if not request.url.startswith((studio.url, "data:", "blob:")) else None
        ),
    )
    page.set_default_timeout(60_000)
    yield page
    context.close()
    assert outside_requests == []
