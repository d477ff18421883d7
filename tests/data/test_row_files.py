"""Reading rows from a person's files: every row with its place, every fault with its line, nothing lost in between."""

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.data.documents import UnusableRow
from cognate_core.data.row_files import read_rows
from cognate_core.data.row_files.plain_text import LONGEST_TEXT_BLOCK, TEXT_BLOCK_CHARACTERS, TEXT_BLOCKS
from cognate_core.data.row_files.rows import MAX_ROW_BYTES, NOT_UTF8
from cognate_core.errors import DataError

ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def faults(path: Path) -> dict[str, str]:
    return {place: str(row) for place, row in read_rows(path) if isinstance(row, UnusableRow)}


def good(path: Path) -> list[Any]:
    return [row for _, row in read_rows(path) if not isinstance(row, UnusableRow)]


# JSON lines


def test_json_lines_come_with_their_line_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "é"}\n\n  \r\n{"text": "two"}\r\n{"text": "no line end"}')
    assert list(read_rows(path)) == [
        ("a.jsonl, line 1", {"text": "é"}),
        ("a.jsonl, line 4", {"text": "two"}),
        ("a.jsonl, line 5", {"text": "no line end"}),
    ]


def test_json_lines_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert good(write(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + jsonl({"text": "x"}).encode())) == [{"text": "x"}]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"text": "cut', "the row is not valid JSON (one object on each line is expected)"),
        (b"plain words", "the row is not valid JSON (one object on each line is expected)"),
        (b'{"text": "a"} {"text": "b"}', "the row is not valid JSON (one object on each line is expected)"),
        (b"[" * 200_000, "the row is not valid JSON (one object on each line is expected)"),
        (b'{"n": ' + b"9" * 5_000 + b"}", "the row is not valid JSON (one object on each line is expected)"),
        (b'["a", "list"]', "the row is no JSON object"),
        (b"null", "the row is no JSON object"),
        (b'"a word"', "the row is no JSON object"),
        ('{"text": "ß'.encode() + b'\xff"}', NOT_UTF8),
        (b'{"text": "' + b"x" * 10_000_000 + b'"}', "the row is longer than 1 MB"),
    ],
    ids=["cut", "words", "two", "deep", "long number", "list", "null", "string", "damaged", "10 MB"],
)
def test_a_bad_json_line_is_named_and_the_others_are_read(tmp_path: Path, line: bytes, fault: str) -> None:
    before, after = (jsonl({"text": word}).encode() for word in ("before", "after"))
    path = write(tmp_path, "a.jsonl", before + line + b"\n" + after)
    assert faults(path) == {"a.jsonl, line 2": fault}
    assert good(path) == [{"text": "before"}, {"text": "after"}]


@settings(max_examples=30)
@given(rows=st.lists(st.dictionaries(ANY_TEXT, ANY_TEXT | st.integers() | st.none(), max_size=4), min_size=1))
def test_json_rows_come_back_as_they_were(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert good(write(Path(folder), "a.jsonl", jsonl(*rows))) == rows


# CSV


def test_csv_with_a_byte_order_mark_keeps_its_first_column_name(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "\ufeffquestion,answer\r\nWhy?,So.\r\n")
    assert list(read_rows(path)) == [("a.csv, line 2", {"question": "Why?", "answer": "So."})]


def test_quoted_csv_fields_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,n\n"one, ""two""\nthree",1\nlast,2\n')
    assert list(read_rows(path)) == [
        ("a.csv, line 3", {"text": 'one, "two"\nthree', "n": "1"}),
        ("a.csv, line 4", {"text": "last", "n": "2"}),
    ]


@settings(max_examples=30)
@given(rows=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=10))
def test_csv_rows_come_back_as_they_were(rows: list[tuple[str, str]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(("prompt", "response"))
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "a.csv", buffer.getvalue())
        found = [(row["prompt"], row["response"]) for row in good(path)]
        assert found == [row for row in rows if "".join(row).strip()]  # blank rows are no rows


def test_a_bad_csv_row_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text\nbefore\n"closed"too early\nafter\n')
    found = faults(path)
    assert list(found) == ["a.csv, line 3"]
    assert found["a.csv, line 3"].startswith("the row is not valid CSV (")
    assert good(path) == [{"text": "before"}, {"text": "after"}]


def test_a_quote_that_never_closes_refuses_the_file_with_the_line_where_it_opens(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text\nfine\n"open\nfor ever\n')
    with pytest.raises(DataError, match=r"^a\.csv, line 3: a quotation mark opens here and is never closed"):
        list(read_rows(path))


def test_each_line_that_a_quote_swallows_is_a_bad_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text\nfine\n"open\nswallowed\nclosed" and\nlast\n')
    assert list(faults(path)) == ["a.csv, line 3", "a.csv, line 4", "a.csv, line 5"]
    assert good(path) == [{"text": "fine"}, {"text": "last"}]


def test_a_csv_row_of_ten_megabytes_ends_where_it_ends(tmp_path: Path) -> None:
    # else its lines would be taken for rows
    path = write(tmp_path, "a.csv", 'text\nbefore\n"' + "one line\n" * 1_100_000 + '"\nafter\n')
    assert [len(row["text"]) for row in good(path)] == [6, 9_900_000, 5]
    assert faults(path) == {}


def test_a_csv_row_that_is_not_utf8_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text\nbefore\nGrüße\n".encode("latin-1") + "Grüße\n".encode())
    assert faults(path) == {"a.csv, line 3": NOT_UTF8}
    assert good(path) == [{"text": "before"}, {"text": "Grüße"}]


def test_csv_with_columns_that_are_not_utf8_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "größe,\n".encode("latin-1") + "süßer,2\n".encode())
    with pytest.raises(DataError, match=r"^a\.csv, line 1 is not UTF-8 text\. Save the file as UTF-8"):
        list(read_rows(path))


# Parquet


def parquet(folder: Path, rows: int) -> Path:
    path = folder / "a.parquet"
    pq.write_table(pa.table({"text": [f"row {n}" for n in range(1, rows + 1)], "n": list(range(rows))}), path)
    return path


def test_parquet_rows_are_numbered_through(tmp_path: Path) -> None:
    rows = list(read_rows(parquet(tmp_path, 2_500)))
    assert len(rows) == 2_500
    assert rows[0] == ("a.parquet, row 1", {"text": "row 1", "n": 0})
    assert rows[1_700] == ("a.parquet, row 1701", {"text": "row 1701", "n": 1_700})


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^a\.parquet is not a readable Parquet file"):
        list(read_rows(write(tmp_path, "a.parquet", "question,answer\n")))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_parquet_file_that_was_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = parquet(tmp_path, 500)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"^a\.parquet is not a readable Parquet file"):
        list(read_rows(path))


@pytest.mark.parametrize("kind", ["data", "footer"])
def test_a_parquet_file_with_damaged_bytes_is_refused(tmp_path: Path, kind: str) -> None:
    path = parquet(tmp_path, 500)
    content = bytearray(path.read_bytes())
    start = 20 if kind == "data" else len(content) - 60
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^a\.parquet is not a readable Parquet file"):
        list(read_rows(path))


def test_a_parquet_row_that_is_not_utf8_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    cells = [b"row %d" % n for n in range(1, 301)]
    cells[149] = "Grüße".encode("latin-1")
    pq.write_table(pa.table({"text": pa.array(cells, pa.binary()).view(pa.string())}), tmp_path / "a.parquet")
    cells_read = [row["text"] for row in good(tmp_path / "a.parquet")]
    assert str(cells_read.pop(149)) == NOT_UTF8
    assert cells_read == [f"row {n}" for n in range(1, 301) if n != 150]


# Plain text

PARAGRAPHS = st.lists(
    st.text(st.sampled_from("ab é\n\t"), max_size=12) | st.integers(1, 2_000).map(lambda n: "x" * n), max_size=12
)


@settings(max_examples=60)
@given(paragraphs=PARAGRAPHS)
def test_text_blocks_lose_nothing_but_the_blank_lines_between_them(paragraphs: list[str]) -> None:
    text = "\n\n".join(paragraphs) or "\n"
    with tempfile.TemporaryDirectory() as folder:
        found = list(read_rows(write(Path(folder), "a.txt", text)))
    rows = [(place, row) for place, row in found if not isinstance(row, UnusableRow)]
    assert rows == found
    blocks = [row["text"] for _, row in rows]
    whole = "\n\n".join(blocks)
    assert text.startswith(whole)
    assert not text[len(whole) :].strip(), "text was left out at the end"
    for place, row in rows:
        line = int(place.removeprefix("a.txt, line "))
        rest = "\n".join(text.split("\n")[line - 1 :])
        assert rest.startswith(row["text"]), "the block stands in another line"


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(1, 900), min_size=1, max_size=30))
def test_text_blocks_are_cut_between_paragraphs_once_they_are_long_enough(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "a.md", "\n\n".join("x" * size for size in sizes))
        blocks = [row["text"].split("\n\n") for row in good(path)]
    assert [len(paragraph) for block in blocks for paragraph in block] == sizes
    for block in blocks:
        assert sum(map(len, block[:-1])) < TEXT_BLOCK_CHARACTERS
    for block in blocks[:-1]:
        assert sum(map(len, block)) >= TEXT_BLOCK_CHARACTERS


def test_a_long_text_is_cut_into_long_blocks(tmp_path: Path) -> None:
    text = "\n\n".join("x" * 2000 for _ in range(300))
    blocks = [row["text"] for row in good(write(tmp_path, "a.txt", text))]
    assert "\n\n".join(blocks) == text
    assert min(map(len, blocks[:-1])) >= len(text) // TEXT_BLOCKS > TEXT_BLOCK_CHARACTERS
    assert len(blocks) == 100


def test_no_text_is_so_long_that_its_blocks_are_too_long(tmp_path: Path) -> None:
    paragraph, count = "x" * 10_000, LONGEST_TEXT_BLOCK * (TEXT_BLOCKS + 5) // 10_000
    blocks = [row["text"] for row in good(write(tmp_path, "a.txt", "\n\n".join([paragraph] * count)))]
    assert len(blocks) == TEXT_BLOCKS + 5
    assert max(map(len, blocks)) < 1.1 * LONGEST_TEXT_BLOCK < MAX_ROW_BYTES


def test_text_from_windows_is_read_alike(tmp_path: Path) -> None:
    assert good(write(tmp_path, "a.txt", "\ufeffone\r\n\r\ntwo\r\n")) == [{"text": "one\n\ntwo\n"}]


def test_a_row_of_text_may_have_ten_megabytes(tmp_path: Path) -> None:
    assert [len(row["text"]) for row in good(write(tmp_path, "a.txt", "x" * 10_000_000))] == [10_000_000]


def test_text_of_blank_lines_alone_has_no_rows(tmp_path: Path) -> None:
    assert list(read_rows(write(tmp_path, "a.txt", "\n \n\n\t\n"))) == []


def test_a_block_of_text_that_is_not_utf8_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    first, bad = "ü" * TEXT_BLOCK_CHARACTERS, b"x" * TEXT_BLOCK_CHARACTERS + b"\xfc"
    path = write(tmp_path, "a.txt", first.encode() + b"\n\n" + bad + b"\n\nlast")
    assert faults(path) == {"a.txt, line 3": NOT_UTF8}
    assert good(path) == [{"text": first}, {"text": "last"}]


# Files and folders


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.txt", "a.md"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"^{name} is empty\. Choose a file with at least two rows\.$"):
        list(read_rows(write(tmp_path, name, b"")))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^There is no file .*gone\.jsonl\."):
        list(read_rows(tmp_path / "gone.jsonl"))


@pytest.mark.parametrize("name", ["a.png", "a", "a.docx.gz", "a.zip.gz", ".jsonl"])
def test_a_wrong_ending_is_refused_with_the_right_ones(tmp_path: Path, name: str) -> None:
    endings = r"\.jsonl, .*, \.csv, .*, \.xlsx, .* or \.zip, or such a name with \.gz or \.zst after it"
    with pytest.raises(DataError, match=rf"its name must end in {endings}\.$"):
        list(read_rows(write(tmp_path, name, "words")))


@pytest.mark.parametrize(("name", "other"), [("a.xls", ".xlsx"), ("A.DOCX", ".txt"), ("a.pdf", ".txt")])
def test_what_other_programs_write_is_refused_with_a_way_out(tmp_path: Path, name: str, other: str) -> None:
    with pytest.raises(DataError, match=rf"^{name} cannot be read: save it as \{other}, and choose that\.$"):
        list(read_rows(write(tmp_path, name, "words")))


def test_endings_may_be_written_large(tmp_path: Path) -> None:
    assert good(write(tmp_path, "A.JSONL", jsonl({"text": "x"}))) == [{"text": "x"}]


def test_a_folder_is_read_in_order_of_name_and_other_files_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "b.csv", "text\nsecond\n")
    write(tmp_path, "a.jsonl", jsonl({"text": "first"}))
    write(tmp_path, "c.txt", "third")
    write(tmp_path, "picture.png", b"\x89PNG")
    assert list(read_rows(tmp_path)) == [
        ("a.jsonl, line 1", {"text": "first"}),
        ("b.csv, line 2", {"text": "second"}),
        ("c.txt, line 1", {"text": "third"}),
    ]


def test_a_folder_without_readable_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "picture.png", b"\x89PNG")
    with pytest.raises(DataError, match=r"^The folder .* has no \.jsonl, \.ndjson, .* file\.$"):
        list(read_rows(tmp_path))
