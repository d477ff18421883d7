"""A person's text, made safe for where it is shown. Names are labels: shown as typed, never read as markup."""

from __future__ import annotations

WORD_JOINER = "\u2060"  # takes no room, and no line breaks there
_MARKS = r"\`*_{}[]()#+-.!|<>~$&:"
_BEGINS = ":-<>~=@"  # of what Streamlit reads in text that Markdown has done with: icons, arrows, dashes, addresses


def escape_markdown(label: str) -> str:
    """`label` so that Streamlit's Markdown shows it as typed, on one line.

    Streamlit turns `:material/home:`, `->`, `--` and `https://` into something else after Markdown was read, where a
    backslash does not help; a word joiner after the first sign does, and cannot be seen.
    """
    one_line = " ".join(label.split()).encode(errors="replace").decode()  # half a letter cannot be written down
    signs = (
        ("\\" if sign in _MARKS else "") + sign + (WORD_JOINER if sign in _BEGINS else "")
        for sign in one_line.replace("www.", f"www{WORD_JOINER}.")
    )
    return "".join(signs)


def escape_html(label: str) -> str:
    """`label` for a Plotly text, which reads a little HTML."""
    return label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
