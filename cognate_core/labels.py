"""A person's text, made safe for where it is shown. Names are labels: shown as typed, never read as markup."""

from __future__ import annotations


def escape_markdown(label: str) -> str:
    """`label` so that Markdown shows it as typed, on one line."""
    one_line = " ".join(label.split()).encode(errors="replace").decode()  # half a letter cannot be written down
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+-.!|<>~$&:" else sign for sign in one_line)


def escape_html(label: str) -> str:
    """`label` for a Plotly text, which reads a little HTML."""
    return label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
