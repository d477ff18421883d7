"""Rows of plain text: blocks of paragraphs, lines or words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from cognate_core.data.documents import Row, UnusableRow
from cognate_core.data.row_files.opening import DataFile, open_text
from cognate_core.data.row_files.rows import NOT_UTF8, NumberedRow, Reading, is_utf8, line_of

TEXT_BLOCK_CHARACTERS = 1500  # plain text is cut between paragraphs into blocks of at least about this size;
TEXT_BLOCKS = 120  # a long text is cut into about this many: one damaged block seldom spoils the file;
LONGEST_TEXT_BLOCK = 100_000  # longer only if one paragraph is: rows have a limit, too
PIECE = 2**24  # characters read at a time: more than LONGEST_TEXT_BLOCK * TEXT_BLOCKS
LIST_LINES, LIST_WORDS = 20, 3  # a text of so many lines with at most so many words is a list, such as one of names

_CUTS = {"paragraphs": "\n\n", "lines": "\n"}


def read_text(file: DataFile, reading: Reading) -> Iterator[NumberedRow]:
    """Blocks of paragraphs; of lines or words where there are no blank lines; each line of a list.

    `reading.text_rows` may say that each line or each paragraph is a row.
    """
    with open_text(file, reading, newline=None) as opened:
        text = opened.read(PIECE)
        way = reading.text_rows
        if way == "auto":
            way = "lines" if _is_list(text) else "blocks"
        if way in _CUTS:
            yield from _each(file.name, _to_ends(text, opened, _CUTS[way]), _CUTS[way])
        else:
            yield from _blocks(file.name, text, opened)


def _is_list(text: str) -> bool:
    """Whether a text has many lines, nearly all short and hardly any blank; none is indented, as in a program."""
    lines = text.strip().split("\n")
    short = sum(0 < len(line.split(maxsplit=LIST_WORDS)) <= LIST_WORDS for line in lines)
    indented = any(line.startswith((" ", "\t")) for line in lines)
    return len(lines) >= LIST_LINES and short >= 0.95 * len(lines) and not indented


def _each(name: str, pieces: Iterator[str], separator: str) -> Iterator[NumberedRow]:
    line = 1
    for piece in pieces:
        for part in piece.split(separator):
            if part.strip():
                blank = len(part) - len(part.lstrip("\n"))  # a third line end between paragraphs
                yield line_of(name, line + blank), _row(part.strip("\n"))
            line += part.count("\n") + separator.count("\n")


def _blocks(name: str, text: str, opened: TextIO) -> Iterator[NumberedRow]:
    enough = min(max(TEXT_BLOCK_CHARACTERS, len(text) // TEXT_BLOCKS), LONGEST_TEXT_BLOCK)
    cuts = ("\n\n", "\n", " ")
    first = next((n for n, separator in enumerate(cuts) if separator in text.strip()), 0)
    block: list[str] = []
    size, first_line, line = 0, 1, 1
    for piece in _to_ends(text, opened, cuts[first]):
        for part, separator in _parts(piece, cuts[first:], 4 * enough):
            block += [part, separator]
            size += len(part)
            line += part.count("\n") + separator.count("\n")
            if size >= enough:
                yield line_of(name, first_line), _row("".join(block[:-1]))
                block, size, first_line = [], 0, line
    if "".join(block).strip():
        yield line_of(name, first_line), _row("".join(block[:-1]))


def _to_ends(text: str, opened: TextIO, separator: str) -> Iterator[str]:
    """A text in pieces, each up to a separator, which is left out. `text`: what has been read of it."""
    while piece := opened.read(PIECE):
        end = text.rfind(separator)
        if end >= 0:
            yield text[:end]
            text = text[end + len(separator) :]
        text += piece
    yield text


def _parts(text: str, cuts: Sequence[str], longest: int) -> Iterator[tuple[str, str]]:
    """The text between the first of `cuts`, each with what followed it. Too long a part is cut at the others."""
    for part in text.split(cuts[0]):
        if len(part) > longest and len(cuts) > 1:
            *inner, (last, _) = _parts(part, cuts[1:], longest)
            yield from inner
            yield last, cuts[0]
        else:
            yield part, cuts[0]


def _row(text: str) -> Row | UnusableRow:
    return {"text": text} if is_utf8(text) else UnusableRow(NOT_UTF8)
