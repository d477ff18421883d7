"""A person's text shown as typed: judged by a Markdown reader and an HTML reader that are not ours."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cognate_core.labels import (
    WINDOWS_DEVICES,
    WORD_JOINER,
    escape_cell,
    escape_html,
    escape_markdown,
    escape_streamlit,
    file_name,
    folder_name,
)

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
READABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)
SIGNS = st.text(st.sampled_from("\\`*_{}[]()#+-.!|<>~$&:;'\"/=@^ \n1ax"), max_size=40)


@settings(max_examples=300)
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


@pytest.mark.parametrize("label", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_a_cell_looks_as_typed_and_is_no_formula(label: str) -> None:
    assert escape_cell(label) == WORD_JOINER + label
    assert escape_cell(f"a{label}") == f"a{label}"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("First run", "First-run"),
        ("第一次训练", "第一次训练"),
        ("Größe: 2", "Größe-2"),
        ("हिन्दी में", "हिन्दी-में"),
        ("../../etc/passwd", "etc-passwd"),
        ("CON", "run-CON"),
        ("?!", "run"),
        ("", "run"),
    ],
)
def test_a_file_keeps_the_letters_of_what_it_is_called_after(label: str, name: str) -> None:
    assert file_name(label) == name


@given(label=st.text(max_size=80))
@example(label="字" * 80)
def test_a_files_name_is_one_on_every_system(label: str) -> None:
    name = file_name(label)
    assert name and len(name.encode()) <= 255 - len(".cognate.zip") and name.lower() not in WINDOWS_DEVICES
    assert not set(name) & set('<>:"/\\|?*. \0') and name.isprintable()


@pytest.mark.parametrize(("label", "folder"), [("small", "small"), ("small-2", "small-2"), ("a" * 40, "a" * 40)])
def test_a_harmless_name_is_its_own_folder(label: str, folder: str) -> None:
    assert folder_name(label) == folder


@given(labels=st.lists(st.text(max_size=60), min_size=2, max_size=5, unique=True))
@example(labels=["con", "CON", "Con"])
@example(labels=["a" * 41, "a" * 40, "A" * 40])
@example(labels=["b-c", folder_name("B c"), "B c"])
def test_folders_are_harmless_and_different_everywhere(labels: list[str]) -> None:
    folders = [folder_name(label) for label in labels]
    assert len({folder.lower() for folder in folders}) == len(labels)
    for folder in folders:
        assert folder not in WINDOWS_DEVICES and re.fullmatch("[a-z0-9][a-z0-9-]{0,46}", folder)
