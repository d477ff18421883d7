"""Escapes a person's text for where it is shown. Names are labels: shown as typed, never read as markup."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata

WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""Windows does not allow folders with these names."""

MOST_BYTES = 160  # of a file's name; file systems allow 255, including endings

WORD_JOINER = "\u2060"  # invisible, has no width, and prevents a line break
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # the last four: as on Japanese keyboards
_READ_LATER = re.compile(r"(?i)[:\-<>~=@]|www(?=\.)")  # how icons, arrows, dashes and addresses begin


def escape_markdown(label: str) -> str:
    """`label` as Markdown that shows it as typed, on one line."""
    one_line = " ".join(label.split()).encode(errors="replace").decode()  # a lone surrogate cannot be encoded
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+-.!|<>~$&:" else sign for sign in one_line)


def escape_streamlit(label: str) -> str:
    """`label` as Markdown that Streamlit shows as typed, on one line.

    Streamlit replaces `:material/home:`, `->`, `--` and `https://` after it has read the Markdown: a backslash does not
    help, but an invisible word joiner after their first character does.
    """
    return escape_markdown(_READ_LATER.sub(lambda match: match[0] + WORD_JOINER, label))


def escape_html(label: str) -> str:
    """`label` for a Plotly text, which interprets some HTML."""
    return label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def policy_source(text: str) -> str:
    """How a Content-Security-Policy names this exact script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def escape_csv(label: str) -> str:
    """`label` as a CSV cell: an apostrophe precedes what a spreadsheet would take for a formula."""
    return f"'{label}" if label.startswith(_FORMULA_SIGNS) else label


def escape_cell(label: str) -> str:
    """`label` for a table that people view and save: an invisible character precedes what looks like a formula."""
    return f"{WORD_JOINER}{label}" if label.startswith(_FORMULA_SIGNS) else label


def file_name(label: str) -> str:
    """A name for a saved file made from `label`: its letters and digits, of any script."""
    plain = unicodedata.normalize("NFC", label)
    kept = "".join(sign if sign == "_" or unicodedata.category(sign)[0] in "LMN" else "-" for sign in plain)
    name = re.sub("-+", "-", kept).encode()[:MOST_BYTES].decode(errors="ignore").strip("-")
    return f"run-{name}".rstrip("-") if not name or name.lower() in WINDOWS_DEVICES else name


def folder_name(label: str) -> str:
    """A folder name made from `label`: only its harmless characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40]
    # A hash distinguishes names with the same slug, and a name that looks like such a folder.
    if not slug or slug != label or slug in WINDOWS_DEVICES or re.search(r"-[0-9a-f]{6}$", slug):
        slug = f"{slug or 'model'}-{hashlib.sha256(label.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    return slug
