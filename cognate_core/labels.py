"""A person's text, made safe for where it is shown. Names are labels: shown as typed, never read as markup."""

from __future__ import annotations

import hashlib
import re
import unicodedata

WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""No folder can have these names there."""

MOST_BYTES = 160  # of a file's name; file systems take 255, endings and all

WORD_JOINER = "\u2060"  # takes no room, and no line breaks there
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # the last: as Japanese keyboards have them
_READ_LATER = re.compile(r"(?i)[:\-<>~=@]|www(?=\.)")  # how icons, arrows, dashes and addresses begin


def escape_markdown(label: str) -> str:
    """`label` so that Markdown shows it as typed, on one line."""
    one_line = " ".join(label.split()).encode(errors="replace").decode()  # half a letter cannot be written down
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+-.!|<>~$&:" else sign for sign in one_line)


def escape_streamlit(label: str) -> str:
    """`label` so that Streamlit's Markdown shows it as typed, on one line.

    Streamlit turns `:material/home:`, `->`, `--` and `https://` into something else after Markdown was read, where a
    backslash does not help. A word joiner behind their first sign does, and cannot be seen.
    """
    return escape_markdown(_READ_LATER.sub(lambda match: match[0] + WORD_JOINER, label))


def escape_html(label: str) -> str:
    """`label` for a Plotly text, which reads a little HTML."""
    return label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_csv(label: str) -> str:
    """`label` as a cell of a table: an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{label}" if label.startswith(_FORMULA_SIGNS) else label


def escape_cell(label: str) -> str:
    """`label` for a table that people look at and save: what begins like a formula begins with nothing to be seen."""
    return f"{WORD_JOINER}{label}" if label.startswith(_FORMULA_SIGNS) else label


def file_name(label: str) -> str:
    """What a file that somebody saves is called after `label`: its letters and digits, of any script."""
    plain = unicodedata.normalize("NFC", label)
    kept = "".join(sign if sign == "_" or unicodedata.category(sign)[0] in "LMN" else "-" for sign in plain)
    name = re.sub("-+", "-", kept).encode()[:MOST_BYTES].decode(errors="ignore").strip("-")
    return f"run-{name}".rstrip("-") if not name or name.lower() in WINDOWS_DEVICES else name


def folder_name(label: str) -> str:
    """The name of a folder for what is called `label`: of it only harmless letters are used."""
    slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40]
    # A hash tells apart names of one slug, also from a name that looks like such a folder.
    if slug != label or slug in WINDOWS_DEVICES or re.search(r"-[0-9a-f]{6}$", slug):
        slug = f"{slug or 'model'}-{hashlib.sha256(label.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    return slug
