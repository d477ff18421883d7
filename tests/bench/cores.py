"""What threads, waiting and priority do to a step of first-run: alone, beside busy loops, and beside an open page.

Every setting has a process in a session of its own, as a worker has; they take turns by the step, so read the ratios.
Nothing else should be going on; `sudo` is not needed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Browser, sync_playwright

from cognate_core.config.presets import PRESETS
from cognate_core.model import CognateModel
from cognate_core.runs import database_path
from cognate_core.runs.cores import usable_cores
from cognate_core.runs.worker import NICENESS
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.training.hardware import keep_freed_memory
from cognate_core.training.threads import ThreadChoice
from tests.bench.feel import delays_to_the_screen
from tests.bench.pages import median_step, wait_for_status
from tests.bench.timing import heading, line
from tests.browser.studio import Studio, launch_chromium, let_in, running_studio, wait_until_idle

ROUNDS = 6  # the first does not count
PAGE_ROUNDS, PAGE_STEPS = 2, 60
AUTOGROUP = Path("/proc/self/autogroup")
CORES = usable_cores()
CONFIG = PRESETS["first-run"].config


@dataclass(frozen=True, slots=True)
class Setting:
    """`spin`: GOMP_SPINCOUNT, None for the library's own. `session_nice`: of its session, which Linux's autogroups
    (kernel.sched_autogroup_enabled) weigh against other sessions instead of the niceness of each process."""

    threads: int
    spin: int | None = None
    nice: int = NICENESS
    session_nice: int | None = None
    batch: bool = False  # SCHED_BATCH


SETTINGS = {
    "one thread, nice 10, as until November 2026": Setting(1),
    "all threads, nice 10": Setting(CORES),
    "all threads, nice 10, no spinning": Setting(CORES, spin=0),
    "all threads, nice 10, a short spin (10,000)": Setting(CORES, spin=10_000),
    "all threads, nice 10, a longer spin (100,000)": Setting(CORES, spin=100_000),
    "all threads, nice 5": Setting(CORES, nice=5),
    "all threads, nice 0": Setting(CORES, nice=0),
    "all threads, nice 0, SCHED_BATCH": Setting(CORES, nice=0, batch=True),
    "one thread, its session nice 10": Setting(1, session_nice=10),
    "all threads, its session nice 10": Setting(CORES, session_nice=10),
    "all threads, its session nice 10, no spinning": Setting(CORES, spin=0, session_nice=10),
}
BASE, TRAP, TRAP_ALONE = (
    "one thread, nice 10, as until November 2026",
    "all threads, its session nice 10",
    "one thread, its session nice 10",
)


def child() -> None:
    """Answers each "step" with its seconds, and "choose" with what the studio would choose; with null where this
    system does not have the setting."""
    setting = Setting(**json.loads(sys.argv[1]))
    missing = setting.batch and not hasattr(os, "SCHED_BATCH")
    missing = missing or (setting.session_nice is not None and not AUTOGROUP.exists())
    if hasattr(os, "nice"):
        os.nice(setting.nice)
    if setting.session_nice is not None and not missing:
        AUTOGROUP.write_text(str(setting.session_nice), encoding="ascii")
    if setting.batch and not missing:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    torch.set_num_threads(setting.threads)
    keep_freed_memory()
    torch.manual_seed(0)
    model = CognateModel(CONFIG)
    tokens = torch.randint(1, CONFIG.vocab_size, (CONFIG.batch_size, CONFIG.train_seq_len + 1))

    def step() -> None:
        loss = model(tokens[:, :-1], tokens[:, 1:], keep_logits=False, max_ponder_steps=2).loss
        loss.backward()
        model.zero_grad()

    for word in sys.stdin:
        answer: object = None
        if not missing and word == "step\n":
            start = time.perf_counter()
            step()
            answer = time.perf_counter() - start
        elif not missing:
            choice = ThreadChoice(CORES)
            tried = choice.choose(step)
            torch.set_num_threads(setting.threads)
            answer = [choice.now, tried]
        print(json.dumps(answer), flush=True)


class Child:
    """The parent's end of a `child`."""

    def __init__(self, setting: Setting) -> None:
        spin = {} if setting.spin is None else {"GOMP_SPINCOUNT": str(setting.spin)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from tests.bench.cores import child; child()", json.dumps(asdict(setting))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **spin, "OMP_NUM_THREADS": str(CORES)},
            text=True,
            start_new_session=True,
        )

    def ask(self, word: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many programs that always calculate, each in a session of its own."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def in_turns(children: dict[str, Child], loops: int) -> dict[str, float | None]:
    """Setting -> median seconds of a step beside so many busy loops."""
    took: dict[str, list[float | None]] = {name: [] for name in children}
    with busy_loops(loops):
        for _ in range(ROUNDS):
            for name, each in children.items():
                took[name].append(each.ask("step"))
        chosen = children["all threads, nice 10"].ask("choose")
    print(f"   the studio would choose: {chosen} [threads, seconds of a step with each]")
    measured = {name: [each for each in times[1:] if each is not None] for name, times in took.items()}
    return {name: statistics.median(times) if times else None for name, times in measured.items()}


def machine() -> str:
    """What decides whether niceness counts, and which library the threads wait in."""
    enabled = "no such"
    with suppress(OSError):
        enabled = Path("/proc/sys/kernel/sched_autogroup_enabled").read_text(encoding="ascii").strip()
    mapped = ""
    with suppress(OSError):
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    libraries = [name for name in ("libgomp", "libiomp5", "libomp") if name in mapped]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    niceness = os.nice(0) if hasattr(os, "nice") else 0
    openmp = ", ".join(libraries) or "unknown"
    own = f"{niceness}{' (start it without nice: none can be taken back)' * bool(niceness)}"
    return f"{CORES} cores; OpenMP: {openmp}; autogroups: {enabled}; load {load:.1f}; this shell's niceness: {own}"


def settings_in_turns() -> None:
    with ExitStack() as ended:
        children = {name: Child(setting) for name, setting in SETTINGS.items()}
        for each in children.values():
            ended.callback(each.end)
        for name, each in children.items():
            if each.ask("step") is None:
                line(name, "not here", "this system has no such setting")
        for loops in (0, 1, CORES):
            heading(f"A step of first-run, {f'beside {loops} busy loop(s)' if loops else 'nothing else going on'}")
            took = in_turns(children, loops)
            base = took[BASE]
            for name, seconds in took.items():
                if seconds is not None and base is not None:
                    line(name, f"{seconds:.2f} s", f"{base / seconds:.2f} x as fast as one thread")
            trap, alone = took[TRAP], took[TRAP_ALONE]
            if loops and trap is not None and alone is not None:
                line(
                    "the trap: two niced threads against one",
                    f"{alone / trap:.2f} x",
                    "0.2 x was seen once; below 1: it is there",
                )


def beside_the_page(browser: Browser, folder: Path) -> None:
    """Runs of one thread and of as many as the studio chooses, in turns, while Monitor is open."""
    heading("Beside an open Monitor page")
    steps: dict[int, list[float]] = {1: [], 0: []}
    delays: dict[int, list[float]] = {1: [], 0: []}
    with running_studio(folder / "home") as studio:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        let_in(page.context, studio)
        reader = ProgressReader(database_path(studio.home))
        for _ in range(PAGE_ROUNDS):
            for threads in steps:
                page.goto(_new_run(studio, threads))
                wait_until_idle(page)
                page.get_by_role("button", name="Start training").click()
                wait_for_status(reader, "training")
                delays[threads] += delays_to_the_screen(page, studio, reader, PAGE_STEPS - 15)
                wait_for_status(reader, "completed")
                steps[threads].append(median_step(reader))
        page.close()
    one, chosen = min(steps[1]), min(steps[0])
    line("a step with one thread", f"{one:.2f} s")
    line("a step with as many threads as it chooses", f"{chosen:.2f} s", f"{one / chosen:.2f} x; wanted 1.6 x")
    for threads, what in ((1, "one thread"), (0, "as many as it chooses")):
        late = sorted(delays[threads])
        line(f"a step on the screen, 19 of 20, {what}", f"{late[int(0.95 * len(late))]:.2f} s", "below 1.5 s")


def _new_run(studio: Studio, threads: int) -> str:
    changes = {"max_steps": PAGE_STEPS, "dataset_sources": "Synthetic", "threads": threads}
    return f"{studio.url}/new-run?preset=First+language+model&" + "&".join(
        f"first-run.{name}={value}" for name, value in changes.items()
    )


def main() -> None:
    heading("Cores: " + machine())
    settings_in_turns()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch_chromium(playwright)
        beside_the_page(browser, Path(folder))
        browser.close()
