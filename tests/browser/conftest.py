"""One studio for all browser tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.studio import Studio, new_context, page_on, running_studio


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running_studio(tmp_path_factory.mktemp("browser") / "home") as studio:
        yield studio


@pytest.fixture(scope="module")
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """One for all pages of a module."""
    context = new_context(chromium, viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def outside_requests() -> list[str]:
    """Addresses beyond this computer that the page asked for: must stay empty."""
    return []


@pytest.fixture
def page(context: BrowserContext, studio: Studio, outside_requests: list[str]) -> Iterator[Page]:
    with page_on(context, studio) as page:
        page.on(
            "request",
            lambda request: (
                outside_requests.append(request.url)
                if not request.url.startswith((studio.url, "data:", "blob:"))
                else None
            ),
        )
        yield page
    assert outside_requests == []
