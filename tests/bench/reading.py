"""A file of one's own: how fast it is read, and how much memory that needs.

`python -m tests.bench.reading --megabytes 2048` writes such files first. Beside each stands the same file read by the
plainest code: json.loads of each line, or pyarrow's batches as Python lists.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cognate_core.config import TrainingConfig
from cognate_core.data.own_file import own_file_source
from tests.bench.timing import heading, line

WORDS = {"short rows": (35, 45), "long rows": (0, 600)}  # in a question and its answer, or a text
GROUP = 20_000  # rows of a Parquet group


def rows(question: int, answer: int) -> Iterator[dict[str, Any]]:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20_000)]
    while True:
        text = " ".join(rng.choices(words, k=answer))
        yield {"question": " ".join(rng.choices(words, k=question)), "answer": text} if question else {"text": text}


def write(path: Path, made: Iterator[dict[str, Any]], size: int) -> None:
    """A file of about `size` bytes."""
    if path.suffix == ".jsonl":
        with path.open("w") as file:
            while file.tell() < size:
                file.write("".join(json.dumps(next(made)) + "\n" for _ in range(1000)))
        return
    first = pa.Table.from_pylist([next(made) for _ in range(GROUP)])
    with pq.ParquetWriter(path, first.schema, compression="none") as writer:
        writer.write_table(first)
        while path.stat().st_size < size:
            writer.write_table(pa.Table.from_pylist([next(made) for _ in range(GROUP)]))


def as_own_file(path: Path) -> None:
    own_file_source(TrainingConfig(dataset_path=str(path)), lambda _: None)


def plainly(path: Path) -> None:
    if path.suffix == ".jsonl":
        with path.open() as file:
            for text in file:
                json.loads(text)
        return
    with pq.ParquetFile(path, pre_buffer=False) as table:
        for batch in table.iter_batches(batch_size=1000):
            batch.to_pylist()


def _measured(read: Callable[[Path], None], path: Path, end: Connection) -> None:
    before, start = most_memory(), time.perf_counter()
    read(path)
    end.send((time.perf_counter() - start, before, most_memory()))


def most_memory() -> float:
    """The most that this process has needed, in MB; Linux only. (`ru_maxrss` would count its parent's.)"""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1024


def measured(read: Callable[[Path], None], path: Path) -> tuple[float, float, float]:
    """Seconds, and the most memory in MB before and after, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    end, other = spawn.Pipe()
    process = spawn.Process(target=_measured, args=(read, path, other))
    process.start()
    found: tuple[float, float, float] = end.recv()
    process.join()
    return found


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reading")
    parser.add_argument("--megabytes", type=int, default=50)
    size = parser.parse_args(arguments).megabytes << 20
    heading(f"Reading a file of one's own, {size >> 20:,} MB")
    for suffix in (".jsonl", ".parquet"):
        for kind, words in WORDS.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"rows{suffix}"
                write(path, rows(*words), size)
                seconds, before, after = measured(as_own_file, path)
                plain, _, _ = measured(plainly, path)
                megabytes = path.stat().st_size / 1e6
            line(
                f"{suffix}, {kind}",
                f"{megabytes / seconds:.1f} MB/s",
                f"{seconds / plain:.2f} x as long as plainly; memory {before:.0f} to {after:.0f} MB",
            )


if __name__ == "__main__":
    main(sys.argv[1:])
