"""A person's text shown as typed: judged by a Markdown reader and an HTML reader that are not ours."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cognate_core.labels import WORD_JOINER, escape_html, escape_markdown, escape_streamlit

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
READABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)
SIGNS = st.text(st.sampled_from("\\`*_{}[]()#+-.!|<>~$&:;'\"/=@^ \n1ax"), max_size=40)


@settings(deadline=None, max_examples=300)
@given(label=READABLE | SIGNS)
@example(label="# not a heading")
@example(label="1. not a list")
@example(label="    not code")
@example(label="<script>alert(1)</script>")
@example(label="[link](https://example.org) ![image](x)")
@example(label="&lt; stays &lt;")
@example(label="a|b\n-|-\nc|d")
@example(label="\\")
def test_markdown_shows_the_label_as_typed(label: str) -> None:
    rendered = MARKDOWN.render(escape_markdown(label)).strip()
    one_line = " ".join(label.split())
    if not one_line:
        assert rendered == ""
        return
    paragraph = re.fullmatch(r"<p>(.*)</p>", rendered, flags=re.DOTALL)
    assert paragraph is not None, "read as something else than one paragraph"
    assert "<" not in paragraph[1]
    assert html.unescape(paragraph[1]) == one_line


@pytest.mark.parametrize(
    ("label", "escaped"),
    [
        (":red[danger]", r"\:red\[danger\]"),
        (":material/home:", r"\:material/home\:"),
        ("$x^2$", r"\$x^2\$"),
        ("~~no~~", r"\~\~no\~\~"),
        ("two\n\nlines\tand  spaces ", "two lines and spaces"),
        ("Räksmörgås 名", "Räksmörgås 名"),
        ("", ""),
    ],
)
def test_signs_that_streamlit_reads_beside_markdown(label: str, escaped: str) -> None:
    assert escape_markdown(label) == escaped


@pytest.mark.parametrize(
    "begins", [":material", ":sparkles", "->", "<-", "--", ">=", "<=", "~=", "https:/", "a@b", "WwW."]
)
def test_what_streamlit_reads_later_is_broken_up_and_looks_the_same(begins: str) -> None:
    escaped = escape_streamlit(f"{begins}x:")
    assert begins not in escaped.replace("\\", "")
    assert escaped.replace(WORD_JOINER, "") == escape_markdown(f"{begins}x:")


@given(label=st.text())
@example(label="&amp;lt;b>")
def test_html_shows_the_label_as_typed(label: str) -> None:
    escaped = escape_html(label)
    assert "<" not in escaped and ">" not in escaped
    assert html.unescape(escaped) == label


def test_html_escapes_once() -> None:
    assert escape_html("<b>R&D</b>") == "&lt;b&gt;R&amp;D&lt;/b&gt;"
    assert escape_html("&lt;") == "&amp;lt;"
