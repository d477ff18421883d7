from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from pages.components import garbage


@pytest.fixture(autouse=True)
def _thawed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(garbage, "_modules", 0)
    yield
    gc.unfreeze()


def test_collections_pass_over_what_is_loaded() -> None:
    before = len(gc.get_objects())
    garbage.pass_over_libraries()
    assert gc.get_freeze_count() > 0.9 * before
    assert len(gc.get_objects()) < 0.1 * before, "a collection looks through few objects"


def test_what_came_later_is_collected_until_many_more_modules_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    garbage.pass_over_libraries()
    frozen = gc.get_freeze_count()
    later = [[number] for number in range(1000)]
    garbage.pass_over_libraries()
    assert gc.get_freeze_count() == frozen, "nothing was loaded since"
    monkeypatch.setattr(garbage, "_modules", garbage._modules - garbage.MANY)
    garbage.pass_over_libraries()
    assert gc.get_freeze_count() >= frozen + len(later)
