"""Fixtures of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.studio import Studio, let_in, new_context, running_studio
from tests.faults.hostile_names.naming import (
    Kept,
    Watch,
    fill,
    shown_names,
)


@pytest.fixture
def watched(chromium: Browser, studio: Studio) -> Iterator[tuple[Page, Watch]]:
    """A page on the studio of these tests, and who watches it."""
    context = new_context(chromium, viewport={"width": 1280, "height": 900})
    let_in(context, studio)
    watch = Watch(studio.url)
    watch.over(context)
    page = context.new_page()
    yield page, watch
    context.close()


@pytest.fixture(scope="package")
def kept() -> list[Kept]:
    """What `studio` has in its data folder."""
    return []


@pytest.fixture(scope="package")
def studio(tmp_path_factory: pytest.TempPathFactory, kept: list[Kept]) -> Iterator[Studio]:
    """A studio whose newest runs have the first of the accepted names."""
    home = tmp_path_factory.mktemp("hostile") / "home"
    kept += fill(home, shown_names()[:10][::-1])  # reversed: Home shows the newest, which the first names shall be
    with running_studio(home, OMP_NUM_THREADS="1") as studio:
        yield studio
