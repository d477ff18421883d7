"""Following long work: a progress bar until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cognate_core.cli import output
from cognate_core.client import Client, Row, rests
from cognate_core.errors import RunError

POLL_SECONDS = 0.25


@contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """Yields `show(share, words)`, which updates the bar inside the block."""
    with Progress(
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=output.messages,
    ) as bar:
        task = bar.add_task("Waiting", total=1.0)
        yield lambda share, words: bar.update(task, completed=share, description=output.plain(words))


def follow_run(client: Client, run_id: str) -> Row:
    """Wait until the run is paused or has ended, and return it. Ctrl-C stops and saves it, a second one cancels it.

    Its warnings are printed when the training of its first model begins, and at the end.
    """
    interrupts, trains, told = 0, False, set[str]()
    with progress_bar() as show:
        while True:
            try:
                run = client.run(run_id)
                show(run["progress"], describe(run))
                if rests(run) or (run["step"] and not trains):
                    trains = True
                    for event in client.logged(run_id):
                        if event["level"] == "warning" and event["message"] not in told:
                            told.add(event["message"])
                            output.say(f"Warning: {event['message']}")
                if rests(run):
                    return run
                time.sleep(POLL_SECONDS)
            except KeyboardInterrupt:
                interrupts += 1
                with suppress(RunError):  # it has just ended
                    client.stop(run_id) if interrupts == 1 else client.cancel(run_id)


def follow_job(state: Row, look: Callable[[], Row], share: Callable[[Row], float], cancel: Callable[[], object]) -> Row:
    """Wait for a job to end and return its last state. Ctrl-C cancels it; a problem ends the command."""
    with progress_bar() as show:
        try:
            while not state["ended"]:
                show(share(state), state["now"])
                time.sleep(POLL_SECONDS)
                state = look()
        except KeyboardInterrupt:
            cancel()
            output.fail("It was cancelled.")
    if state["problem"]:
        output.fail(state["problem"])
    return state


def describe(run: Row) -> str:
    """How far a run is, in words."""
    loss = run.get("loss")
    if loss is None:
        return str(run["message"])
    return f"{run['message']}, step {run['step'] or 0:,} of {run['total_steps'] or 0:,}, loss {loss:.3f}"
