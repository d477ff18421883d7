"""Files are read whatever packs them, archives as folders are; a damaged one gets a sentence."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cognate_core.data.documents import UnusableRow
from cognate_core.data.row_files import json_rows, read_rows
from cognate_core.data.row_files.opening import suffix_of
from cognate_core.data.row_files.rows import Reading
from cognate_core.errors import DataError
from tests.data.excel import Cell, workbook

ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(30)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


PACKED: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstd}


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


def table(separator: str) -> bytes:
    return "\n".join(separator.join(row) for row in [["question", "answer"], *(row.values() for row in ROWS)]).encode()


def cells() -> list[list[Cell]]:
    rows: list[list[Cell]] = [[row["question"], int(row["answer"])] for row in ROWS]
    return [["question", "answer"], *rows]


FORMATS: dict[str, bytes] = {
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".json": json.dumps(ROWS).encode(),
    ".csv": table(","),
    ".tsv": table("\t"),
    ".xlsx": workbook({"Sheet1": cells()}),
    ".parquet": parquet(),
}


def archive(files: dict[str, bytes], way: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", way) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def good(path: Path, reading: Reading | None = None) -> list[Any]:
    return [row for _, row in read_rows(path, reading) if not isinstance(row, UnusableRow)]


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packed", ["", *PACKED])
@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_read_packed_and_in_an_archive(tmp_path: Path, kind: str, packed: str) -> None:
    content = PACKED[packed](FORMATS[kind]) if packed else FORMATS[kind]
    path = write(tmp_path, f"a{kind}{packed}", content)
    reading = Reading()
    assert good(path, reading) == ROWS
    assert (reading.seen >= len(content), reading.notes) == (True, [])
    inside = write(tmp_path, "a.zip", archive({f"folder/a{kind}{packed}": content, "folder/picture.png": b"x"}))
    assert good(inside) == ROWS


def test_an_archive_is_read_as_a_folder_is(tmp_path: Path) -> None:
    files = {
        "set/README.md": b"# About",
        "set/test.jsonl": b'{"text": "held out"}',
        "set/train.jsonl": b'{"text": "trained on"}',
        "__MACOSX/set/._train.jsonl": b"\x00\x05\x16\x07",
        "set/more.zip": b"PK",
    }
    path = write(tmp_path, "a.zip", archive(files))
    reading = Reading()
    places = [place for place, _ in read_rows(path, reading)]
    assert places == ["test.jsonl, line 1", "train.jsonl, line 1"]
    assert reading.notes == ["Files that are not read: README.md, more.zip."]


def test_files_of_one_name_in_an_archive_are_all_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file, pytest.warns(UserWarning, match="Duplicate name"):
        for text in ("one", "two"):
            file.writestr("a.csv", f"text\n{text}\n")
    assert [row["text"] for row in good(tmp_path / "a.zip")] == ["one", "two"]


@pytest.mark.parametrize("packed", PACKED)
def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cognate_core.data.row_files.opening.MOST_UNPACKED", 2**20)
    path = write(tmp_path, f"a.jsonl{packed}", PACKED[packed](b'{"text": "a"}\n' * 100_000))
    with pytest.raises(DataError, match=r"^The file unpacks to more than 0 GB\. Choose fewer rows\.$"):
        list(read_rows(path))


def test_a_line_that_is_far_too_long_is_never_whole_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.jsonl", b'{"text": "one"}\n{"text": "' + b"x" * 5_000_000 + b'"}\n{"text": "two"}\n')
    longest = 0

    def watched(line: str) -> Any:
        nonlocal longest
        longest = max(longest, len(line))
        return json_row(line)

    json_row = json_rows._json_row
    monkeypatch.setattr(json_rows, "_json_row", watched)
    assert [row["text"] for row in good(path)] == ["one", "two"]
    assert 10**6 < longest < 10**6 + 10


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_packed_file_gets_a_sentence(tmp_path: Path, packed: str, damage: str) -> None:
    whole = PACKED[packed](bytes(range(256)) * 100 + LINES)
    path = write(tmp_path, f"a.jsonl{packed}", whole[: len(whole) // 2] if damage == "cut" else b"plain words")
    with pytest.raises(DataError, match=rf"^a\.jsonl\{packed} cannot be unpacked \("):
        list(read_rows(path))


def test_a_damaged_archive_gets_a_sentence(tmp_path: Path) -> None:
    whole = archive({"a.jsonl": LINES * 100})
    with pytest.raises(DataError, match=r"^a\.zip is not a readable archive \("):
        list(read_rows(write(tmp_path, "a.zip", whole[: len(whole) // 2])))
    changed = whole[:60] + bytes(40) + whole[100:]
    with pytest.raises(DataError, match=r"^a\.jsonl cannot be unpacked \("):
        list(read_rows(write(tmp_path, "b.zip", changed)))
    stored = archive({"a.jsonl": LINES}, zipfile.ZIP_STORED).replace(b"What is 3", b"What is 4", 1)
    with pytest.raises(DataError, match=r"^a\.jsonl cannot be unpacked \(Bad CRC-32"):
        list(read_rows(write(tmp_path, "b.zip", stored)))
    packed = bytearray(archive({"a.jsonl": LINES}, zipfile.ZIP_LZMA))
    packed[60:100] = bytes(40)
    with pytest.raises(DataError, match=r"^a\.jsonl cannot be unpacked \("):
        list(read_rows(write(tmp_path, "b.zip", bytes(packed))))
    unknown = archive({"a.jsonl": LINES}, zipfile.ZIP_STORED)
    for place in (8, unknown.index(b"PK\x01\x02") + 10):  # Deflate64, as Windows writes large archives
        unknown = unknown[:place] + b"\x09\x00" + unknown[place + 2 :]
    with pytest.raises(DataError, match=r"^a\.jsonl cannot be unpacked \(That compression method is not supported\)"):
        list(read_rows(write(tmp_path, "b.zip", unknown)))
    with pytest.raises(DataError, match=r"^c\.zip has no \.jsonl, .* file\.$"):
        list(read_rows(write(tmp_path, "c.zip", archive({"picture.png": b"x"}))))


def test_a_locked_archive_and_one_that_is_endless_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bytearray(archive({"a.jsonl": LINES}))
    central = whole.index(b"PK\x01\x02")
    locked = whole[:6] + b"\x01" + whole[7 : central + 8] + b"\x01" + whole[central + 9 :]
    with pytest.raises(DataError, match=r"^a\.zip is locked with a password\. Unpack it, and choose the files\.$"):
        list(read_rows(write(tmp_path, "a.zip", bytes(locked))))
    size = (2**32 - 2).to_bytes(4, "little")
    endless = whole[: central + 24] + size + whole[central + 28 :]
    monkeypatch.setattr("cognate_core.data.row_files.opening.MOST_UNPACKED", 2**30)
    with pytest.raises(DataError, match=r"^b\.zip holds more than 1 GB\. Unpack it, and choose some of its files\.$"):
        list(read_rows(write(tmp_path, "b.zip", bytes(endless))))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.JSONL.GZ", ".jsonl.gz"),
        ("my.data.csv", ".csv"),
        ("a.tar.gz", ""),
        ("a.gz", ""),
        (".csv", ""),
        ("a.csv.zip", ".zip"),
        ("a.docx", ""),
        ("a.xlsx", ".xlsx"),
    ],
)
def test_the_ending_decides_how_a_file_is_read(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix


def test_excel_cells_are_read_as_excel_shows_them(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [
        [],
        [" Question ", "Answer", None, "note"],
        ["How many?", 12.0, None, None],
        [None, None],
        ["How much?", 2.5, None, True],
        ["A <b> & ü\nline", "x", None, None],
    ]
    path = write(tmp_path, "a.xlsx", workbook({"Empty": [], "Mine": rows, "More": [["text"], ["other"]]}))
    reading = Reading()
    found = list(read_rows(path, reading))
    assert [place for place, _ in found] == [f"a.xlsx, row {n}" for n in (3, 5, 6)]
    assert [(row["Question"], row["Answer"], row["note"]) for _, row in found if not isinstance(row, UnusableRow)] == [
        ("How many?", "12", ""),
        ("How much?", "2.5", "TRUE"),
        ("A <b> & ü\nline", "x", ""),
    ]
    assert reading.notes == ["a.xlsx: only the sheet 'Mine' is read, not More."]


def test_the_sheet_with_known_columns_is_read(tmp_path: Path) -> None:
    sheets: dict[str, list[list[Cell]]] = {"Cover": [["My rows"]], "Data": [["text"], ["one"], [1e300]]}
    path = write(tmp_path, "a.xlsx", workbook(sheets))
    assert good(path) == [{"text": "one"}, {"text": "1e+300"}]
    with zipfile.ZipFile(io.BytesIO(workbook(sheets))) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    parts["xl/workbook.xml"] = parts["xl/workbook.xml"].replace(b'name="Data"', b'name="Data" state="hidden"')
    assert good(write(tmp_path, "b.xlsx", archive(parts))) == []


def test_a_stray_cell_far_away_does_no_harm(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(workbook({"S": [["text"], ["one"]]}))) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    far = b'<row r="5000"><c r="XFD5000" t="inlineStr"><is><t>far</t></is></c></row></sheetData>'
    parts["xl/worksheets/sheet1.xml"] = parts["xl/worksheets/sheet1.xml"].replace(b"</sheetData>", far)
    path = write(tmp_path, "a.xlsx", archive(parts))
    assert good(path) == [{"text": "one"}]
    (fault,) = (str(row) for _, row in read_rows(path) if isinstance(row, UnusableRow))
    assert fault.startswith("the row has more cells than there are columns")


@pytest.mark.parametrize("content", [b"no workbook", FORMATS[".xlsx"][:500]])
def test_what_is_no_excel_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"^a\.xlsx is not a readable Excel file \("):
        list(read_rows(write(tmp_path, "a.xlsx", content)))


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        (['5" pipe\tlong', '"quoted" word\tshort', 'a "b\tc'], ('5" pipe', "long")),
        (['"a\tb"', "c\td"], ('"a', 'b"')),
        (['"a tab\there"\tb', "c\td"], ("a tab\there", "b")),
        (['"say ""hi"""\tb', "c\td"], ('say "hi"', "b")),
    ],
    ids=["literal", "literal, over two cells", "a tab inside", "doubled"],
)
def test_quotation_marks_between_tabs_are_letters_where_they_close_nothing(
    tmp_path: Path, lines: list[str], first: tuple[str, str]
) -> None:
    path = write(tmp_path, "a.tsv", "\n".join(["question\tanswer", *lines]).encode())
    row, *others = good(path)
    assert (row["question"], row["answer"]) == first
    assert len(others) == len(lines) - 1


@pytest.mark.parametrize("way", ["lines", "paragraphs", "blocks"])
def test_a_text_is_cut_as_its_owner_says(tmp_path: Path, way: str) -> None:
    text = "One.\nTwo.\n\nThree.\n\n\nFour.\n"
    path = write(tmp_path, "a.txt", text.encode())
    expected = {
        "lines": ["One.", "Two.", "Three.", "Four."],
        "paragraphs": ["One.\nTwo.", "Three.", "Four."],
        "blocks": ["One.\nTwo.\n\nThree.\n\n\nFour.\n"],
    }[way]
    assert [row["text"] for row in good(path, Reading(text_rows=way))] == expected
    first_lines = {"lines": [1, 2, 4, 7], "paragraphs": [1, 4, 7], "blocks": [1]}[way]
    places = [place for place, _ in read_rows(path, Reading(text_rows=way))]
    assert places == [f"a.txt, line {n}" for n in first_lines]


def test_a_list_is_cut_into_lines_by_itself_and_prose_is_not(tmp_path: Path) -> None:
    names = [f"Anna Maria {n}" for n in range(50)]
    assert [row["text"] for row in good(write(tmp_path, "a.txt", "\n".join(names).encode()))] == names
    prose = "\n".join("it was the best of times, it was the worst of times" for _ in range(50))
    assert len(good(write(tmp_path, "b.txt", prose.encode()))) == 2


@pytest.mark.parametrize("separator", ["\n\n", "\n", " "])
def test_a_long_text_is_read_in_pieces_without_loss(
    tmp_path: Path, separator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cognate_core.data.row_files.plain_text.PIECE", 1000)
    words = [f"word{n}" for n in range(5000)]
    path = write(tmp_path, "a.txt", separator.join(words).encode())
    blocks = [row["text"] for row in good(path, Reading(text_rows="blocks"))]
    assert len(blocks) > 5
    assert separator.join(blocks).split() == words


def test_a_long_list_of_json_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cognate_core.data.row_files.json_rows.PIECE", 7)
    one_after_another = "\n".join(json.dumps(row, indent=1) for row in ROWS)
    for text in (json.dumps(ROWS), json.dumps(ROWS, indent=1), json.dumps({"data": ROWS}), one_after_another):
        assert good(write(tmp_path, "a.json", text.encode())) == ROWS
    path = write(tmp_path, "a.json", b'[{"text": "a"},\n{"text": "b"},\n{"text": oh}]')
    with pytest.raises(DataError, match=r"^a\.json, line 3 is not valid JSON"):
        list(read_rows(path))
