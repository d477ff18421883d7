"""A person's own file is read as its owner means it, or refused with a sentence; nothing is left out without a word."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.data.documents import Document, UnusableRow, own_file_document
from cognate_core.data.row_files import read_rows
from cognate_core.data.row_files.json_rows import NO_JSON
from cognate_core.errors import DataError
from tests.data.excel import workbook
from tests.data.sources.files import CONFIG, documents, source, write

COMMA = "the row has more cells than there are columns (put a text that holds a comma between double quotes)"
ASKED = Document("Problem: What is 1 and 1?\nSolution:", " 2")
FEW = {"messages": [{"role": "user", "content": "What is 1 and 1?"}, {"role": "assistant", "content": "2"}]}


# Tables


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("a.csv", "question,answer\nWhat is 1 and 1?,2\n"),
        ("a.csv", "question;answer\nWhat is 1 and 1?;2\n"),
        ("a.csv", "question\tanswer\nWhat is 1 and 1?\t2\n"),
        ("a.csv", "question|answer\nWhat is 1 and 1?|2\n"),
        ("a.tsv", "question\tanswer\nWhat is 1 and 1?\t2\n"),
        ("a.tsv", "question, or problem\tquestion\tanswer\n\tWhat is 1 and 1?\t2\n"),
        ("a.csv", "sep=;\r\nquestion;answer\r\nWhat is 1 and 1?;2\r\n"),
        ("a.csv", '"sep=;"\nquestion;answer\nWhat is 1 and 1?;2\n'),
        ("a.csv", "Question, Answer \nWhat is 1 and 1?,2\n"),
        ("a.csv", '"QUESTION","ANSWER"\n"What is 1 and 1?","2"\n'),
        ("a.csv", "question,answer,,\nWhat is 1 and 1?,2,,\n,,,\n , ,\t,\n"),
        ("a.csv", "\n\nquestion,answer\n\nWhat is 1 and 1?,2\n\n"),
        ("a.csv", "id,question,answer\n7,What is 1 and 1?,2\n"),
        ("a.csv", "question,answer,\nWhat is 1 and 1?,2,a note\n"),
        ("a.csv", "\n;;\nquestion;answer\nWhat is 1 and 1?;2\n"),
        ("a.csv", "\nsep=;\nquestion;answer\nWhat is 1 and 1?;2\n"),
        ("a.csv", 'question, answer\n"What is 1 and 1?", "2"\n'),
        ("a.csv", '"a; b; c",question,answer\n,What is 1 and 1?,2\n'),
        ("a.csv", "question;answer\rWhat is 1 and 1?;2\r"),
    ],
)
def test_a_table_is_read_whatever_separates_its_cells(tmp_path: Path, name: str, table: str) -> None:
    assert documents(write(tmp_path, name, table)) == [ASKED]


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt"])
def test_a_file_of_windows_programs_is_read(tmp_path: Path, name: str, coding: str) -> None:
    text = "Size in German is Größe 🙂"
    row = {"text": text}
    content = {
        "a.csv": f"text\r\n{text}\r\n",
        "a.jsonl": json.dumps(row, ensure_ascii=False) + "\r\n",
        "a.json": json.dumps([row], ensure_ascii=False, indent=1),
        "a.txt": text,
    }[name]
    assert documents(write(tmp_path, name, content.encode(coding))) == [Document("", text)]


@pytest.mark.parametrize("header", ["answer,question,answer", "Answer,question,answer"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match=r"^a\.csv, line 1 names two columns 'answer'\. Rename one of them\.$"):
        documents(write(tmp_path, "a.csv", f"{header}\n1,2,3\n"))


def test_a_table_that_a_quote_swallows_is_refused(tmp_path: Path) -> None:
    rows = [f"{n},{n}" for n in range(300)]
    table = "\n".join(["question,answer", *rows, '"oops,1', *rows])
    with pytest.raises(DataError, match=r"^a\.csv, line 302: a quotation mark opens here"):
        source(write(tmp_path, "a.csv", table))


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("question,answer\nWhat is 1 and 1?,2, because 1+1\n", COMMA),
        ("text\nOne, two\n", COMMA),
        ("question;answer\nWhat is 1 and 1?;2; because\n", COMMA.replace("a comma", "a semicolon")),
        ("question,answer\nWhat is 1 and 1?\n", "the column 'answer' holds no text"),
    ],
)
def test_a_row_with_too_many_or_too_few_cells_is_bad(tmp_path: Path, table: str, fault: str) -> None:
    with pytest.raises(UnusableRow) as caught:
        documents(write(tmp_path, "a.csv", table))
    assert str(caught.value) == fault


def test_an_unquoted_comma_is_counted_and_named(tmp_path: Path) -> None:
    rows = [f"How many are {n}?,{n}" for n in range(199)]
    found = source(write(tmp_path, "a.csv", "\n".join(["question,answer", *rows, "What is 1 and 1?,2, because 1+1"])))
    assert found.skipped == {COMMA: 1}
    assert len(found.train) + len(found.heldout) == 199


# JSON


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(("name", "wrapped"), [("a.json", False), ("a.json", True), ("a.jsonl", False)])
def test_a_list_of_objects_is_read(tmp_path: Path, name: str, indent: int | None, wrapped: bool) -> None:
    rows = [{"question": f"What is {n} and 1?", "answer": str(n + 1)} for n in (1, 2, 3)]
    content = json.dumps({"version": "1", "data": rows} if wrapped else rows, indent=indent)
    assert [document.answer for document in documents(write(tmp_path, name, f"\n{content}\n"))] == [" 2", " 3", " 4"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[{"text": "a"},\n{"text": "b"', 2),
        ('[{"text": "a"}\n{"text": "b"}]', 2),
        ('[{"text": "a"}]\n[{"text": "b"}]', 2),
        ('[{"text": "a"},\n]', 2),
        ('{"data":\n [{"text": "a"}]\n} {', 3),
        ('[{"a": ' + "[" * 100_000, 0),
        ('[{"a": ' + "9" * 5_000 + "}]", 0),
    ],
)
def test_a_damaged_list_is_refused_with_the_line(tmp_path: Path, content: str, line: int) -> None:
    where = f", line {line}" if line else ""
    with pytest.raises(DataError, match=rf"^a\.json{where} is not valid JSON \(.*\)\. Repair the file\.$"):
        documents(write(tmp_path, "a.json", content))


def test_lines_of_objects_may_be_damaged_or_end_in_commas(tmp_path: Path) -> None:
    good = [json.dumps({"text": f"row {n}"}) for n in range(300)]
    found = source(write(tmp_path, "a.json", "\n".join(['{"text": "a', *good])))
    assert found.skipped == {NO_JSON: 1} and len(found.train) + len(found.heldout) == 300
    assert len(documents(write(tmp_path, "b.json", ",\n".join(good)))) == 300


def test_one_row_alone_is_not_taken_apart(tmp_path: Path) -> None:
    row = {"text": "x", "tags": [{"a": 1}]}
    assert documents(write(tmp_path, "a.json", json.dumps(row))) == [Document("", "x")]
    assert documents(write(tmp_path, "b.json", json.dumps(FEW, indent=1))) == [ASKED]


def test_one_object_alone_is_one_row_and_an_empty_list_none(tmp_path: Path) -> None:
    assert documents(write(tmp_path, "a.json", '{\n"text": "a"\n}')) == [Document("", "a")]
    assert [str(row) for _, row in read_rows(write(tmp_path, "b.json", "[]"))] == []
    assert [str(row) for _, row in read_rows(write(tmp_path, "w.json", '"word"'))] == ["the row is no JSON object"]
    rows = [row for _, row in read_rows(write(tmp_path, "c.json", '[{"text": "a"}, 7, "word"]'))]
    assert [str(row) for row in rows[1:]] == ["the row is no JSON object"] * 2


# Kinds of rows


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"Question": "What is 1 and 1?", " ANSWER": "2"}, ASKED.prompt),
        (FEW, ASKED.prompt),
        (
            {"conversations": [{"from": "human", "value": "What is 1 and 1?"}, {"from": "gpt", "value": " 2 "}]},
            ASKED.prompt,
        ),
        (
            {"messages": [{"role": "system", "content": "Be brief."}, *FEW["messages"]]},
            f"Be brief.\n{ASKED.prompt}",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Hello"},
                    *FEW["messages"],
                ]
            },
            f"Problem: Hi\nSolution: Hello\n{ASKED.prompt}",
        ),
        ({"instruction": "Add.", "input": "1 and 1", "output": "2"}, "Problem: Add.\n1 and 1\nSolution:"),
        ({"instruction": "Add 1 and 1.", "input": "", "output": 2}, "Problem: Add 1 and 1.\nSolution:"),
        ({"instruction": "Add.", "context": "1 and 1", "response": "2"}, "1 and 1\nProblem: Add.\nSolution:"),
        ({"context": "One is 1.", "question": "What is 1 and 1?", "answer": "2"}, f"One is 1.\n{ASKED.prompt}"),
        ({"context": None, "question": "What is 1 and 1?", "answer": "2"}, ASKED.prompt),
        ({"input": float("nan"), "question": "What is 1 and 1?", "answer": "2"}, ASKED.prompt),
        ({"Question": "no", "question": "What is 1 and 1?", "answer": "2"}, ASKED.prompt),
        (
            {
                "messages": [
                    {"role": "User", "content": "What is 1"},
                    {"role": "User", "content": "and 1?"},
                    {"role": "Assistant", "content": "2"},
                ]
            },
            "Problem: What is 1\nand 1?\nSolution:",
        ),
        ({"input": "What is 1 and 1?", "output": "2"}, ASKED.prompt),
        ({"question": "What is 1 and 1?", "answer": Decimal("2")}, ASKED.prompt),
        ({"question": 10**400, "answer": 2}, f"Problem: {10**400}\nSolution:"),
    ],
)
def test_each_kind_of_row_is_read_whole(row: dict[str, Any], prompt: str) -> None:
    assert own_file_document(row, CONFIG) == Document(prompt, " 2")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"messages": FEW["messages"][:1]}, "the chat does not end with an answer"),
        ({"messages": []}, "the column 'messages' holds no chat"),
        ({"messages": "Hi"}, "the column 'messages' holds no chat"),
        ({"messages": [{"role": "tool", "content": "x"}, *FEW["messages"]]}, "a turn of the chat has the role 'tool'"),
        ({"messages": [{"role": "assistant"}]}, "the column 'content' is missing"),
        ({"context": ["a"], "question": "Why?", "answer": "So."}, "the column 'context' holds no text"),
        ({"question": "Why?", "answer": Decimal("NaN")}, "the column 'answer' holds no number"),
    ],
)
def test_what_cannot_be_read_whole_is_bad(row: dict[str, Any], fault: str) -> None:
    with pytest.raises(UnusableRow) as caught:
        own_file_document(row, CONFIG)
    assert str(caught.value) == fault


def test_a_chat_that_is_null_leaves_the_text() -> None:
    assert own_file_document({"messages": None, "text": "Hi"}, CONFIG) == Document("", "Hi")


def test_a_program_keeps_its_blanks() -> None:
    assert own_file_document({"text": "    def f():\n        pass\n"}, CONFIG).answer == "    def f():\n        pass\n"


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    rows = [
        {"id": n, "source": "x", "instruction": f"Add {n}.", "input": f"{n}", "output": f"{n}", "Topic": "sums"}
        for n in range(50)
    ]
    found = source(write(tmp_path, "a.json", json.dumps(rows)))
    assert found.unused == ["Topic", "id", "source"]
    assert found.skipped == {}
    assert len({document.prompt for document in (*found.train, *found.heldout)}) == 50


def test_any_number_of_columns_may_be_unread(tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", f"\ud83d{n} {'x' * 100}": n} for n in range(200)]
    found = source(write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert len(found.unused) == 20
    assert all(len(name.encode()) <= 40 for name in found.unused)


def test_a_value_that_python_cannot_hold_matters_only_if_it_is_read(tmp_path: Path) -> None:
    answers = pa.array([Decimal("2.50"), Decimal("3.00")], pa.decimal128(10, 2))
    when = pa.array([10**12, 0], pa.int64()).cast(pa.timestamp("s", "UTC"))  # the year 33658
    nowhere = pa.array([0, 0], pa.int64()).cast(pa.timestamp("s", "Nowhere/At_All"))
    table = pa.table({"question": ["Half of 5?", "Half of 6?"], "answer": answers, "when": when, "zone": nowhere})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [document.answer for document in documents(tmp_path / "a.parquet")] == [" 2.50", " 3.00"]
    pq.write_table(pa.table({"text": when}), tmp_path / "b.parquet")
    with pytest.raises(UnusableRow, match=r"^a value cannot be read"):
        documents(tmp_path / "b.parquet")


PARTS = [{"type": "text", "text": "What is"}, {"type": "text", "text": "1 and 1?"}]


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "user", "content": PARTS}, {"role": "assistant", "content": "2"}],
        [
            {"role": None, "from": "human", "value": None, "content": "What is\n1 and 1?"},
            {"from": "model", "value": "2"},
        ],
    ],
)
def test_chats_of_other_programs_are_read(turns: list[dict[str, Any]]) -> None:
    expected = Document("Problem: What is\n1 and 1?\nSolution:", " 2")
    assert own_file_document({"messages": turns}, CONFIG) == expected
    assert own_file_document({"messages": None, "conversations": turns, "text": "x"}, CONFIG) == expected
    assert own_file_document({"messages": None, "conversations": None, "text": "x"}, CONFIG) == Document("", "x")


def test_a_system_message_in_the_midst_of_a_chat_is_bad() -> None:
    turns = [{"role": role, "content": "x"} for role in ("user", "system", "assistant")]
    with pytest.raises(UnusableRow, match="a system message comes after the first question"):
        own_file_document({"messages": turns}, CONFIG)


# Columns of other names


def test_columns_may_be_chosen(tmp_path: Path) -> None:
    rows = [{"Frage": f"Was ist {n}?", "Antwort": n, "text": "not read", "Umgebung": "Heft"} for n in range(9)]
    path = write(tmp_path, "a.json", json.dumps(rows))
    found = source(path, dataset_columns="context=umgebung, answer=ANTWORT, question=Frage")
    assert Document("Heft\nProblem: Was ist 3?\nSolution:", " 3") in [*found.train, *found.heldout]
    assert found.unused == ["text"]
    assert source(path, dataset_columns={"text": "Frage"}).unused == ["Antwort", "Umgebung", "text"]
    with pytest.raises(DataError, match=r"The first: a\.json, row 1: the column 'Nummer' is missing\.$"):
        source(path, dataset_columns="text=Nummer")


def test_a_chosen_chat_is_read(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path = write(tmp_path, "a.jsonl", "".join(json.dumps({"talk": turns, "n": n}) + "\n" for n in range(2)) * 2)
    with pytest.raises(DataError, match=r"has 1 usable row \(the others repeat it\)"):
        source(path, dataset_columns="messages=talk")


# Plain text


def test_a_list_of_names_is_cut_between_lines(tmp_path: Path) -> None:
    names = [f"Name{n}" for n in range(3_000)]
    found = source(write(tmp_path, "names.txt", "\n".join(names) + "\n"))
    blocks = [document.text for document in (*found.train, *found.heldout)]
    assert sorted("\n".join(blocks).split()) == sorted(names)
    assert len(blocks) > 10


def test_few_blank_lines_do_not_keep_a_text_together(tmp_path: Path) -> None:
    names = [f"Name{n}" for n in range(9_000)]
    found = source(write(tmp_path, "names.txt", "Title\n\n" + "\n".join(names)), text_rows="blocks")
    blocks = [document.text for document in (*found.train, *found.heldout)]
    assert sorted(" ".join(blocks).split()) == sorted(["Title", *names])
    assert len(blocks) > 30


@pytest.mark.parametrize("separator", [" ", "\n"])
def test_prose_without_blank_lines_is_cut_between_words(tmp_path: Path, separator: str) -> None:
    words = [f"word{n}" for n in range(200_000)]
    found = source(write(tmp_path, "a.txt", "Title\n\n" + separator.join(words)), text_rows="blocks")
    assert Counter(" ".join(d.text for d in (*found.train, *found.heldout)).split()) == Counter(["Title", *words])


# Folders


def test_a_dataset_folder_keeps_its_splits_and_its_readme_is_no_data(tmp_path: Path) -> None:
    def rows(split: str, count: int) -> str:
        return "".join(json.dumps({"text": f"{split} {n}"}) + "\n" for n in range(count))

    write(tmp_path, "set/README.md", "# About")
    write(tmp_path, "set/dataset_infos.json", '{"default": {}}')
    write(tmp_path, "set/.cache/x.jsonl", rows("hidden", 3))
    write(tmp_path, "set/train.jsonl", rows("train", 3))
    write(tmp_path, "set/test.jsonl", rows("test", 2))
    write(tmp_path, "set/data/train-00000-of-00002.jsonl", rows("more", 3))
    write(tmp_path, "set/data/validation-00000-of-00001.jsonl", rows("valid", 2))
    found = source(tmp_path / "set")
    assert {document.text.split()[0] for document in found.train} == {"train", "more"}
    assert {document.text for document in found.heldout} == {"test 0", "test 1", "valid 0", "valid 1"}
    assert len(found.train) == 6 and found.skipped == {}


@pytest.mark.parametrize(
    ("name", "heldout"),
    [
        *((f"{name}.jsonl", True) for name in ("held_out", "held-out", "holdout", "evaluation", "my_testset", "dev")),
        ("tests/a.jsonl", True),
        ("train_test_split/b.jsonl", False),
        ("train_test_split/test.jsonl", True),
        ("test/train.jsonl", False),
        ("state-capitals.jsonl", False),
        ("license plates.jsonl", False),
    ],
)
def test_a_folder_is_divided_by_the_names_in_it(tmp_path: Path, name: str, heldout: bool) -> None:
    write(tmp_path, "set/rows.jsonl", json.dumps({"text": "from rows"}) + "\n" + json.dumps({"text": "more rows"}))
    write(tmp_path, f"set/{name}", "".join(json.dumps({"text": f"named {n}"}) + "\n" for n in range(3)) * 2)
    found = source(tmp_path / "set")
    named = sum(document.text.startswith("named") for document in found.heldout)
    assert named == 3 if heldout else len(found.train) + len(found.heldout) == 5
    assert ("held out: " in found.origin) == heldout
    assert found.skipped == {"the same text appears twice": 3}


def test_a_split_without_rows_holds_nothing_out(tmp_path: Path) -> None:
    write(tmp_path, "set/train.jsonl", "".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(40)))
    write(tmp_path, "set/test.csv", "text\n")
    found = source(tmp_path / "set")
    assert (len(found.train), len(found.heldout), found.origin) == (38, 2, "own file, set")


@pytest.mark.parametrize("name", ["latest.jsonl", "contest/a.jsonl", "greatest-hits.jsonl", "test.jsonl"])
def test_a_folder_whose_names_say_nothing_is_divided_as_a_file_is(tmp_path: Path, name: str) -> None:
    write(tmp_path, f"set/{name}", "".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(40)))
    found = source(tmp_path / "set")
    assert (len(found.train), len(found.heldout)) == (38, 2)


# What is left out


def test_rows_beyond_a_limit_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "\n".join(["text", *(f"row {n}" for n in range(600))]))
    found = source(path, max_train_samples=500, max_eval_samples=20)
    assert (len(found.train), len(found.heldout)) == (500, 20)
    assert found.skipped == {"beyond the limit of 500 training rows": 80}


# Any file


# Python 3.11 writes "\r" unquoted; every second byte is zero in UTF-16.
NO_CR = st.characters(codec="utf-8", exclude_characters="\r\x00")
ANY = st.text(NO_CR, min_size=1, max_size=20).filter(str.strip)
PAIRS = st.lists(st.tuples(ANY, ANY), min_size=1, max_size=6)
_NOT_IN_XML = re.compile("[\x00-\x1f\ufffe\uffff]")


def zipped(name: str, content: bytes) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"folder/{name}", content)
    return "a.zip", buffer.getvalue()


PACK: dict[str, Callable[[str, bytes], tuple[str, bytes]]] = {
    "": lambda name, content: (name, content),
    ".gz": lambda name, content: (f"{name}.gz", gzip.compress(content)),
    ".zst": lambda name, content: (f"{name}.zst", pa.Codec("zstd").compress(content, asbytes=True)),
    ".zip": zipped,
}


@settings(max_examples=200)
@given(
    pairs=PAIRS,
    separator=st.sampled_from(",;\t|"),
    coding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoted=st.booleans(),
    shape=st.sampled_from(["table", "said", "lines", "list", "pretty", "wrapped", "chat", "excel", "parquet"]),
    packed=st.sampled_from(["", ".gz", ".zst", ".zip"]),
)
def test_any_file_gives_the_rows_it_was_made_from(
    pairs: list[tuple[str, str]], separator: str, coding: str, line_end: str, quoted: bool, shape: str, packed: str
) -> None:
    rows: list[dict[str, Any]] = [{"question": question, "answer": answer} for question, answer in pairs]
    whole = None
    if shape == "chat":
        rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs]
    name = "a.json"
    match shape:
        case "table" | "said":
            buffer = io.StringIO(newline="")
            buffer.write(f"sep={separator}{line_end}" if shape == "said" else "")
            writer = csv.writer(
                buffer,
                delimiter=separator,
                lineterminator=line_end,
                quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
            )
            writer.writerows([("Question", "ANSWER "), *pairs])
            name, content = "a.csv", buffer.getvalue()
        case "lines" | "chat":
            name, content = "a.jsonl", line_end.join(json.dumps(row, ensure_ascii=False) for row in rows)
        case "excel":
            pairs = [(_NOT_IN_XML.sub("?", q), _NOT_IN_XML.sub("?", a)) for q, a in pairs]
            name, whole = "a.xlsx", workbook({"Mine": [("Question", "Answer"), *pairs]})
        case "parquet":
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows), sink)
            name, whole = "a.parquet", sink.getvalue()
        case "wrapped":
            content = json.dumps({"rows": rows}, ensure_ascii=False)
        case _:
            content = json.dumps(rows, ensure_ascii=False, indent=1 if shape == "pretty" else None)
    with tempfile.TemporaryDirectory() as folder:
        found = documents(write(Path(folder), *PACK[packed](name, content.encode(coding) if whole is None else whole)))
    assert found == [Document(f"Problem: {q.strip()}\nSolution:", f" {a.strip()}") for q, a in pairs]
