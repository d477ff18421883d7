from __future__ import annotations

from streamlit.testing.v1 import AppTest

from cognate_core.insight.glossary import GLOSSARY
from cognate_core.runs import RunManager
from tests.pages.conftest import open_page, texts


def names(page: AppTest) -> list[str]:
    return [heading.value for heading in page.subheader]


def test_every_term_stands_there(studio: RunManager) -> None:
    assert names(open_page("glossary")) == sorted(GLOSSARY, key=str.casefold)


def test_the_address_names_a_term(studio: RunManager) -> None:
    page = open_page("glossary", term="warm-up")
    assert names(page)[0] == "warm-up"
    assert "warm-up" in (page.text_input(key="term").value or "")
    assert GLOSSARY["warm-up"].meaning in texts(page)
    assert len(names(page)) < len(GLOSSARY)


def test_what_is_not_found_is_shown_as_typed(studio: RunManager) -> None:
    page = open_page("glossary")
    page.text_input(key="term").input("**zzz** :red[x]").run()
    assert names(page) == []
    assert r"\*\*zzz\*\*" in page.info[0].value


def test_see_also_links_only_to_what_is_shown(studio: RunManager) -> None:
    page = open_page("glossary", term="plateau")
    assert "[loss](#loss)" in texts(open_page("glossary"))
    assert "[loss](#loss)" not in texts(page) and "See also: loss" in texts(page)
