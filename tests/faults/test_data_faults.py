"""Training text that is damaged or cannot be had: all of it is there, or a person reads what is missing.

The hub is a real HTTP server on this computer, read by the real client in a process of its own.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cognate_core.config import TrainingConfig
from cognate_core.data.documents import CHAT_COLUMNS, OWN_FILE_COLUMNS
from cognate_core.data.prepared import PreparedData
from cognate_core.data.row_files.rows import NOT_UTF8
from cognate_core.errors import DataError
from tests.data.loader.prepared import SMALL, prepare, texts_in
from tests.faults.times import Tally
from tests.waiting import LONG

# The hub

pytestmark = pytest.mark.slow
TRAIN, TEST = "main/train-00000-of-00001.parquet", "main/test-00000-of-00001.parquet"
WANTED, NAMED = 500, 1000  # rows that the run asks for; rows that the hub says it has
COMMIT = "a" * 40
README = f"""---
dataset_info:
- config_name: main
  features: [{{name: question, dtype: string}}, {{name: answer, dtype: string}}]
  splits: [{{name: train, num_bytes: 1, num_examples: {NAMED}}}, {{name: test, num_bytes: 1, num_examples: 20}}]
configs:
- config_name: main
  data_files: [{{split: train, path: main/train-*}}, {{split: test, path: main/test-*}}]
---
"""


def hub_row(number: int) -> dict[str, str]:
    return {"question": f"What is {number} plus one?", "answer": f"It is {number + 1}.\n#### {number + 1}"}


def hub_text(number: int) -> str:
    return f"Problem: What is {number} plus one?\nSolution: It is {number + 1}.\n#### {number + 1}"


def hub_file(numbers: range) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([hub_row(n) for n in numbers]), buffer)
    return buffer.getvalue()


class Hub(BaseHTTPRequestHandler):
    """Answers like the hub, with the fault that the server was given. Range requests, as the real client makes them."""

    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlparse(self.path).path)
        fault = self.server.fault_of(path)
        files, api = self.server.files, "/api/datasets/openai/gsm8k"
        if fault == "hang":
            self.server.closing.wait(LONG)
            self.close_connection = True
        elif fault == "429":
            self._send(429, b"slow down")
        elif path == api or path.startswith(f"{api}/revision/"):
            siblings = [{"rfilename": name} for name in files]
            self._send(200, json.dumps({"id": "openai/gsm8k", "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"{api}/tree/"):
            folder = path.removeprefix(f"{api}/tree/").partition("/")[2]
            found: list[dict[str, Any]] = [
                {"type": "file", "path": name, "oid": COMMIT, "size": len(content)}
                for name, content in files.items()
                if name.rpartition("/")[0] == folder
            ]
            if not folder:
                found.append({"type": "directory", "path": "main", "oid": COMMIT, "size": 0})
            self._send(200, json.dumps(found).encode())
        elif "/resolve/" in path and (name := path.partition("/resolve/")[2].partition("/")[2]) in files:
            self._send_file(files[name], cut=fault == "cut")
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _send_file(self, content: bytes, cut: bool) -> None:
        headers = {"ETag": '"1"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if wanted is None:
            self._send(200, content, headers, cut)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1 if last else None]
        span = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        self._send(206, part, {**headers, "Content-Range": span}, cut)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut


class HubServer(ThreadingHTTPServer):
    """`faults` maps the end of a path to (fault, how many requests have it)."""

    daemon_threads = True

    def __init__(self, faults: dict[str, tuple[str, int]], train_rows: int) -> None:
        self.faults, self.met = faults, dict.fromkeys(faults, 0)
        self.files = {
            "README.md": README.encode(),
            TRAIN: hub_file(range(train_rows)),
            TEST: hub_file(range(5000, 5020)),
        }
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), Hub)

    def fault_of(self, path: str) -> str:
        for end, (fault, count) in self.faults.items():
            if path.endswith(end) and self.met[end] < count:
                self.met[end] += 1
                return fault
        return ""


@contextmanager
def hub_server(faults: dict[str, tuple[str, int]], train_rows: int = NAMED) -> Iterator[str]:
    """A hub for the time of the block; its address."""
    server = HubServer(faults, train_rows)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


LOADER = """
import dataclasses, json, sys, time
from pathlib import Path
wait = time.sleep
time.sleep = lambda seconds: wait(min(seconds, 0.02))  # between tries, here and in the hub's client
from cognate_core.config import TrainingConfig
from cognate_core.data import sources
from tests.data.loader.prepared import prepare
sources.HUB_SILENCE_SECONDS = float(sys.argv[3])
outcome = prepare(TrainingConfig(**json.loads(sys.argv[2])), Path(sys.argv[1]))
print(json.dumps({
    "folder": str(outcome.folder), "told": outcome.told, "results": outcome.results,
    "warnings": outcome.warnings, "report": dataclasses.asdict(outcome.report),
}))
"""


def load_from_hub(address: str, folder: Path, offline: bool = False, patience: float = 60.0) -> dict[str, Any]:
    """What the loader gives that has the real client and nothing but the hub at `address`."""
    config = {
        **{"dataset_sources": ["GSM8K"], "max_train_samples": WANTED, "max_eval_samples": 10},
        **{"train_seq_len": 256, "max_seq_len": 256, "vocab_size": 400},
    }
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(folder / "cache"), json.dumps(config), str(patience)],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            **{"HF_ENDPOINT": address, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1" if offline else "0"},
            **{"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"},
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


ALWAYS = 10_000
GONE: dict[str, tuple[dict[str, tuple[str, int]], int, str]] = {  # faults, rows in the file, what a person reads of it
    "429": ({"": ("429", ALWAYS)}, NAMED, "429 Too Many Requests"),
    "429 on the rows": ({TRAIN: ("429", ALWAYS)}, NAMED, "429 Too Many Requests"),
    "half a download": ({TRAIN: ("cut", ALWAYS)}, NAMED, "peer closed connection"),
    "half a download of the held-out rows": ({TEST: ("cut", ALWAYS)}, NAMED, "peer closed connection"),
    "half a file": ({}, WANTED // 2, f"{WANTED // 2} of {WANTED} rows"),
    "silence": ({TRAIN: ("hang", ALWAYS)}, NAMED, "sent nothing for 1 seconds"),
}


def check_stand_in(found: dict[str, Any], tries: int, reason: str, folder: Path) -> None:
    """The tries were told, synthetic rows stand in, both visibly, and nothing of the dataset is left or used."""
    assert found["results"] == {"GSM8K": False}
    told = dict.fromkeys(message for message in found["told"] if ", try " in message or message.endswith("hub"))
    assert (
        list(told)
        == [
            "Fetching GSM8K from the hub",
            *(f"Fetching GSM8K from the hub, try {n} of 3" for n in (2, 3)),
        ][:tries]
    )
    first, second = found["warnings"]
    assert first.startswith("GSM8K could not be fetched from the hub" + (" in 3 tries (" if tries else ": "))
    assert reason in first
    assert "Errno" not in first
    assert first.endswith("The run continues without " + ("GSM8K." if tries else "it."))
    assert second == "No dataset is available: the run uses built-in synthetic word problems instead."
    assert found["report"]["fallback"]
    assert [(source["name"], source["loaded"]) for source in found["report"]["sources"]] == [
        ("Synthetic", True),
        ("GSM8K", False),
    ]
    assert PreparedData(Path(found["folder"])).sources == ["Synthetic"]
    left = [path.name for path in (folder / "cache" / "hub").rglob("*") if path.is_file()]
    assert set(left) <= {f"train-{WANTED}.jsonl"}  # a split that came whole is kept
    assert not left or "held-out" in folder.name


@pytest.mark.parametrize("fault", ["offline", "nobody answers", *GONE])
def test_a_hub_that_fails_is_tried_three_times_one_that_is_not_there_never_and_both_are_left_visibly(
    fault: str, tmp_path_factory: pytest.TempPathFactory, tally: Tally
) -> None:
    folder = tmp_path_factory.mktemp(fault.replace(" ", "-"))
    if fault in GONE:
        faults, rows, reason = GONE[fault]
        with hub_server(faults, rows) as address:
            found = load_from_hub(address, folder, patience=1.0 if fault == "silence" else 60.0)
    else:
        reason = "HF_HUB_OFFLINE" if fault == "offline" else "127.0.0.1 cannot be reached"
        with hub_server({}) as address:
            pass  # it is closed: nobody listens at the address any more
        found = load_from_hub(address, folder, offline=fault == "offline")
    told = int(found["report"]["fallback"] and len(found["warnings"]) == 2)
    tally(f"hub: {fault}", tried=1, survived=told, lost="GSM8K")
    check_stand_in(found, 3 if fault in GONE else 0, reason, folder)


@pytest.mark.parametrize(
    ("fault", "faults"),
    [
        ("429 twice", {"/api/datasets/openai/gsm8k": ("429", 2)}),
        ("half a download once", {TRAIN: ("cut", 6)}),  # the client itself asks six times
        ("well", {}),
    ],
)
def test_a_hub_that_recovers_gives_every_row(
    fault: str, faults: dict[str, tuple[str, int]], tmp_path: Path, tally: Tally
) -> None:
    with hub_server(faults) as address:
        found = load_from_hub(address, tmp_path)
    data = PreparedData(Path(found["folder"]))
    train, heldout = (texts_in(data, "GSM8K", split) for split in ("train", "heldout"))
    tally(f"hub: {fault}", tried=WANTED + 10, survived=train.total() + heldout.total())
    assert train == {hub_text(n): 1 for n in range(WANTED)}
    assert heldout == {hub_text(n): 1 for n in range(5000, 5010)}
    assert found["results"] == {"GSM8K": True}
    assert found["warnings"] == []
    tries = [message for message in found["told"] if ", try " in message or message.endswith("hub")]
    assert len(tries) == {"429 twice": 3, "half a download once": 2, "well": 1}[fault]


# Rows

GOOD = 200
Cells = dict[str, bytes | None]


def good_cells(number: int) -> Cells:
    return {"question": b"What is %d?" % number, "answer": b"It is %d, so #### %d" % (number, number)}


def good_text(number: int) -> str:
    return f"Problem: What is {number}?\nSolution: It is {number}, so #### {number}"


def as_jsonl(rows: list[Cells]) -> bytes:
    def cell(value: bytes | None) -> bytes:
        return b"null" if value is None else b'"' + value.replace(b"\n", b"\\n") + b'"'

    return b"".join(
        b"{" + b", ".join(b'"%s": %s' % (name.encode(), cell(value)) for name, value in row.items()) + b"}\n"
        for row in rows
    )


def as_csv(rows: list[Cells]) -> bytes:
    lines = [b",".join(b'"' + value + b'"' if value else b"" for value in row.values()) for row in rows]
    return b"question,answer\n" + b"".join(line + b"\n" for line in lines)


def as_parquet(rows: list[Cells]) -> bytes:
    buffer = io.BytesIO()
    columns = {name: pa.array([row[name] for row in rows], pa.binary()) for name in ("question", "answer")}
    pq.write_table(pa.table({name: column.view(pa.string()) for name, column in columns.items()}), buffer)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[list[Cells]], bytes]] = {
    "jsonl": as_jsonl,
    "csv": as_csv,
    "parquet": as_parquet,
}
KNOWN = ", ".join(["text", *CHAT_COLUMNS, *(f"{question} + {answer}" for question, answer in OWN_FILE_COLUMNS)])
ROW_FAULTS: dict[str, tuple[Cells, dict[str, str]]] = {  # the row, and the reason by kind of file
    "missing column": (
        {"question": b"Why?"},
        {
            "jsonl": "the column 'answer' is missing",
            "own jsonl": f"none of the columns {KNOWN} is there; found: question (choose with the setting "
            "Columns to learn from)",
            "csv": "the column 'answer' holds no text",
        },
    ),
    "null": (
        {"question": b"Why?", "answer": None},
        {
            "jsonl": "the column 'answer' holds no text",
            "csv": "the column 'answer' is empty",
            "parquet": "the column 'answer' holds no text",
        },
    ),
    "bad UTF-8": (
        {"question": b"Why?", "answer": "süße Grüße".encode() + b"\xff"},
        dict.fromkeys(WRITERS, NOT_UTF8),
    ),
    "10 MB row": (
        {"question": b"Why?", "answer": b"because of this\n" * 625_000},
        dict.fromkeys(WRITERS, "the row is longer than 1 MB"),
    ),
}


def placed(folder: Path, where: str, kind: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> TrainingConfig:
    """`content` as the training rows of GSM8K in the local folder, or as a person's own file."""
    settings = {"max_train_samples": 1000, "max_eval_samples": 10}
    path = folder / (f"gsm8k/main/train.{kind}" if where == "local folder" else f"mine.{kind}")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    if where == "own file":
        return SMALL.with_overrides({**settings, "dataset_path": str(path)})
    (path.parent / "test.jsonl").write_bytes(as_jsonl([good_cells(n) for n in range(900, 905)]))
    monkeypatch.setenv("COGNATE_DATASETS_DIR", str(folder))
    return SMALL.with_overrides({**settings, "dataset_sources": ["GSM8K", "Synthetic"]})


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_one_malformed_row_in_a_hundred_is_skipped_and_more_are_named(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    bad, reasons = ROW_FAULTS[fault]
    cases = [(where, kind) for where in ("local folder", "own file") for kind in WRITERS if kind in reasons]
    wrong: list[str] = []
    for number, (where, kind) in enumerate(cases):
        reason = reasons.get(f"own {kind}", reasons[kind]) if where == "own file" else reasons[kind]
        for bad_rows in (2, 3):  # of 202 rows, of 203
            rows = [good_cells(n) for n in range(GOOD)]
            rows[3:3] = [bad] * bad_rows
            folder = tmp_path / f"{number}-{bad_rows}"
            config = placed(folder, where, kind, WRITERS[kind](rows), monkeypatch)
            lines = (bad.get("answer") or b"").count(b"\n")
            place = {"jsonl": "line 4", "csv": f"line {5 + lines}", "parquet": "row 4"}[kind]
            try:
                outcome = prepare(config, folder / "cache")
            except DataError as error:
                expected = (
                    f"3 of 203 rows cannot be used; at most 1 in 100 may be bad. The first: "
                    f"{'mine' if where == 'own file' else 'train'}.{kind}, {place}: {reason}."
                )
                if bad_rows != 3 or str(error) != expected:
                    wrong.append(f"{where}, {kind}, {bad_rows} bad rows: {error}")
                continue
            source = outcome.report.sources[0]
            texts = sum(
                (texts_in(PreparedData(outcome.folder), source.name, s) for s in ("train", "heldout")), Counter()
            )
            if bad_rows != 2 or source.skipped != {reason: 2}:
                wrong.append(f"{where}, {kind}, {bad_rows} bad rows: went on with {source}")
            elif not {good_text(n): 1 for n in range(GOOD)}.items() <= texts.items():
                wrong.append(f"{where}, {kind}: good rows are lost or changed")
            elif source.train_rows + source.heldout_rows != GOOD + 5 * (where == "local folder"):
                wrong.append(f"{where}, {kind}: {source.train_rows} + {source.heldout_rows} rows")
    tried = 2 * len(cases)
    tally(f"malformed rows: {fault}", tried=tried, survived=tried - len(wrong), lost="the bad rows, counted")
    assert wrong == []


def test_one_damaged_part_of_a_long_text_is_skipped_and_more_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def text(*damaged: int) -> bytes:
        paragraphs = [b"Text %d. " % number * 300 for number in range(GOOD)]
        for number in damaged:
            paragraphs[number] = "süße Grüße".encode() + b"\xff" + paragraphs[number]
        return b"\n\n".join(paragraphs)

    one, two = (
        placed(tmp_path / str(len(those)), "own file", "txt", text(*those), monkeypatch) for those in ((3,), (3, 9))
    )
    (source,) = prepare(one, tmp_path / "cache").report.sources
    assert source.skipped == {NOT_UTF8: 1} and source.train_rows + source.heldout_rows > 90
    with pytest.raises(DataError, match=rf"2 of \d+ rows cannot be used; .*mine\.txt, line \d+: {re.escape(NOT_UTF8)}"):
        prepare(two, tmp_path / "cache")


def test_a_file_without_a_row_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    empty = {
        "jsonl": [b"", b"\n \n"],
        "csv": [b"", b"question,answer\n"],
        "parquet": [b"", as_parquet([])],
        "txt": [b"", b"\n\n \n"],
    }
    cases = [(kind, content) for kind, contents in empty.items() for content in contents]
    tried, wrong = 0, []
    for number, (kind, content) in enumerate(cases):
        for where in ("local folder", "own file"):
            if (where, kind) == ("local folder", "txt"):
                continue
            tried += 1
            folder = tmp_path / f"{number}-{where}"
            config = placed(folder, where, kind, content, monkeypatch)
            name = f"{'mine' if where == 'own file' else 'train'}.{kind}"
            try:
                outcome = prepare(config, folder / "cache")
            except DataError as error:
                if not str(error).startswith(name):
                    wrong.append(f"{where}, {kind}, {content!r}: {error}")
            else:
                wrong.append(f"{where}, {kind}, {content!r}: went on with {outcome.report.sources}")
    tally("malformed rows: none", tried=tried, survived=tried - len(wrong), lost="nothing begins")
    assert wrong == []


def test_held_out_rows_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = as_jsonl([good_cells(n) for n in range(GOOD)])
    config = placed(tmp_path / "datasets", "local folder", "jsonl", rows, monkeypatch)
    (tmp_path / "datasets/gsm8k/main/test.jsonl").write_bytes(b"\n")
    with pytest.raises(DataError, match=r"^test\.jsonl of GSM8K has no rows\."):
        prepare(config, tmp_path / "cache")
