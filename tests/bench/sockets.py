"""What a thousand programs that listen cost the training, how late they hear, and how much processor it takes.

A studio as a user starts it, a real run in its worker, and the listeners in one more process, which on a small computer
takes its share of the same cores: its own processor time is printed, too. Alone and with listeners in turns.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import psutil

from cognate_core.config.presets import PRESETS
from cognate_core.runs import database_path
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from tests.bench.timing import heading, line
from tests.browser.studio import Studio, running_studio

LISTENERS = 1000
ROUNDS, SECONDS, SETTLE_SECONDS = 6, 10.0, 3.0
CONNECTED_A_SECOND = 90  # the studio lets a hundred requests a second through
TIMED = 20  # every so many listeners look when what they hear was said
SKIPPED_STEPS = 10
STEADY = {  # all steps alike (pondering draws how much each does), and short, so that a median stands on many
    "max_steps": 1_000_000,
    "dataset_sources": "Synthetic",
    "eval_interval": 1_000_000,
    "save_steps": 1_000_000,
    "act_enabled": False,
    "batch_size": 2,
}
TEXT, PING = 1, 9


class Client(asyncio.Protocol):
    """As little as a WebSocket client can do: it opens, counts texts, and answers pings."""

    def __init__(self, timed: list[float] | None) -> None:
        self.opened = asyncio.get_running_loop().create_future()
        self.texts, self.gone = 0, False
        self._timed, self._received = timed, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("closed before it opened"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self.opened.done():
            head, found, self._received = self._received.partition(b"\r\n\r\n")
            if not found:
                self._received = head
                return
            if b" 101 " not in head[:20]:
                self.opened.set_exception(ConnectionError(head.decode()))
                return
            self.opened.set_result(None)
        while len(self._received) >= 4:
            opcode, size, begin = self._received[0] & 15, self._received[1], 2
            if size == 126:
                size, begin = int.from_bytes(self._received[2:4], "big"), 4
            if len(self._received) < begin + size:
                return
            payload, self._received = self._received[begin : begin + size], self._received[begin + size :]
            if opcode == PING:
                self.transport.write(bytes([0x8A, 0x80 | size, 0, 0, 0, 0]) + payload)  # masked with zeros
            elif opcode == TEXT:
                self.texts += 1
                if self._timed is not None:
                    said = datetime.fromisoformat(json.loads(payload)["timestamp"]).timestamp()
                    self._timed.append(time.time() - said)


async def listen(pipe: Connection, url: str, token: str, count: int) -> None:
    """Connect and go when the pipe says so; tell how many texts came, how late, and how many were let go."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    while await loop.run_in_executor(None, pipe.recv):
        late: list[float] = []
        clients, begin = [], time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, begin + number / CONNECTED_A_SECOND - time.monotonic()))
            timed = late if number % TIMED == 0 else None
            _, client = await loop.create_connection(partial(Client, timed), parts.hostname or "", parts.port or 0)
            clients.append(client)
            key = base64.b64encode(os.urandom(16)).decode()
            opening = (
                f"GET /api/v1/events HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n"
            )
            client.transport.write(opening.encode())
        for client in clients:
            await client.opened
        pipe.send(len(clients))
        await loop.run_in_executor(None, pipe.recv)  # now it is measured
        late.clear()
        before = sum(client.texts for client in clients)
        await loop.run_in_executor(None, pipe.recv)  # until now
        texts = (sum(client.texts for client in clients) - before) / count
        pipe.send((texts, list(late), sum(client.gone for client in clients)))
        for client in clients:
            client.transport.close()


def listeners(pipe: Connection, url: str, token: str, count: int) -> None:
    """The process of the listeners."""
    asyncio.run(listen(pipe, url, token, count))


def processor_seconds(processes: dict[str, psutil.Process]) -> dict[str, float]:
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def newest(reader: ProgressReader, run_id: str) -> int:
    return int(reader.last_metrics(run_id, 1)[0]["step"])


def measured(
    reader: ProgressReader, run_id: str, processes: dict[str, psutil.Process]
) -> tuple[float, dict[str, float]]:
    """Median seconds of a step over the next SECONDS, and each process's share of a core."""
    first, before, begin = newest(reader, run_id), processor_seconds(processes), time.perf_counter()
    time.sleep(SECONDS)
    took, after = time.perf_counter() - begin, processor_seconds(processes)
    rows = reader.last_metrics(run_id, newest(reader, run_id) - first)
    shares = {name: (after[name] - before[name]) / took for name in processes}
    return statistics.median(row["seconds"] for row in rows), shares


def main() -> None:
    heading(f"{LISTENERS:,} WebSocket listeners on this machine")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        log = ProgressLog(database_path(home))
        config = PRESETS["first-run"].config.with_overrides(STEADY)
        log.create_run("run", "bench", config, ["bench"], home / "runs" / "run", None)  # it begins with the studio
        log.close()
        with running_studio(home) as studio:
            watch(studio, ProgressReader(database_path(home)), psutil.Process(studio.process.pid))


def watch(studio: Studio, reader: ProgressReader, server: psutil.Process) -> None:
    while len(reader.last_metrics("run", SKIPPED_STEPS)) < SKIPPED_STEPS:
        time.sleep(0.1)  # another process writes them
    (worker,) = [child for child in server.children() if "cognate_core.runs.worker" in child.cmdline()]
    pipe, other = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=listeners, args=(other, studio.url, studio.token, LISTENERS), daemon=True
    )
    process.start()
    processes = {"server": server, "worker": worker, "listeners": psutil.Process(process.pid)}
    alone, watched, late, texts = [], [], [], []
    shares: dict[str, list[dict[str, float]]] = {"alone": [], "watched": []}
    lost = 0
    for _ in range(ROUNDS):
        time.sleep(SETTLE_SECONDS)
        step, share = measured(reader, "run", processes)
        alone.append(step)
        shares["alone"].append(share)
        pipe.send(True)
        assert pipe.recv() == LISTENERS
        time.sleep(SETTLE_SECONDS)
        pipe.send("begin")
        step, share = measured(reader, "run", processes)
        pipe.send("end")
        heard, how_late, gone = pipe.recv()
        watched.append(step)
        shares["watched"].append(share)
        texts.append(heard)
        late += how_late
        lost += gone
    pipe.send(False)
    process.join()
    ratio = statistics.median(with_them / without for without, with_them in zip(alone, watched, strict=True))
    each = ", ".join(f"{w / a - 1:+.1%}" for a, w in zip(alone, watched, strict=True))
    line("a training step, nobody listens", f"{statistics.median(alone) * 1000:.1f} ms")
    line("a training step, all listen", f"{statistics.median(watched) * 1000:.1f} ms")
    line("what they cost the training", f"{ratio - 1:+.1%}", f"must stay below +5 %; each round: {each}")
    late.sort()
    line("messages that each got a second", f"{statistics.median(texts) / SECONDS:.2f}", f"{lost} were let go")
    line("how late, median", f"{statistics.median(late) * 1000:.0f} ms")
    line("how late, 19 of 20", f"{late[int(0.95 * len(late))] * 1000:.0f} ms", "thinned progress waits for its turn")
    for name in processes:
        before, after = (statistics.median(share[name] for share in shares[what]) for what in ("alone", "watched"))
        line(f"the {name}'s share of a core", f"{after:.1%}", f"alone {before:.1%}")
