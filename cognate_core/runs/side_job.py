"""Work beside the runs, in a separate process: one job at a time, with visible progress, cancelled by force."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from cognate_core.errors import RunError
from cognate_core.runs.process import lines_of, send_line
from cognate_core.runs.token import worker_environment

END_SECONDS = 5.0  # how long to wait for a killed process


class JobState(Protocol):
    """The state of a job: a dataclass whose fields the process updates."""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""

    @property
    def problem(self) -> str | None:
        """Why it failed."""


S = TypeVar("S", bound=JobState)


class SideJob(Generic[S]):
    """The single job of its kind that may run in this studio. Safe to use from any thread.

    Args:
        module: what the process runs. Its first line of input is the job, and it ends with its input.
        what: the job's name in sentences.
        fetches: whether it fetches data from the hub.
    """

    def __init__(self, module: str, what: str, *, fetches: bool = False) -> None:
        self._module, self._what, self._fetches = module, what, fetches
        self._lock = threading.Lock()
        self._state: S | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> S | None:
        """The state of the last job started here."""
        return self._state

    def cancel(self) -> None:
        """Kill the job. Its state stays as it was last reported; earlier saved results are kept."""
        with self._lock:
            state, process = self._state, self._process
            if process is None or state is None or state.ended:
                return
            self._state = replace(state, ended=True)  # type: ignore[type-var]
            process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)

    def _begin(self, state: S, job: dict[str, Any]) -> None:
        """Start a job. Raises RunError if another one is running."""
        with self._lock:
            if self._state is not None and not self._state.ended:
                raise RunError(f"Another {self._what} is running. Wait until it is done, or cancel it.")
            process = subprocess.Popen(  # noqa: S603  (a list of our own words, no shell)
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=worker_environment(fetches=self._fetches),
                start_new_session=True,  # Ctrl-C in the studio's terminal is for the studio
            )
            self._state, self._process = state, process
        threading.Thread(target=self._follow, args=(process, job), name=self._module, daemon=True).start()

    def _follow(self, process: subprocess.Popen[bytes], job: dict[str, Any]) -> None:
        """The body of the thread that reads the process's output."""
        answered = False
        with process:
            send_line(process, json.dumps(job))
            for what, value in lines_of(process):
                answered = answered or what == "ended"
                self._change(process, **value)
        if not answered:
            sentence = f"The {self._what} ended without a result; perhaps the computer ran out of memory. Try again."
            self._change(process, ended=True, problem=sentence)

    def _change(self, process: subprocess.Popen[bytes], **values: Any) -> None:
        with self._lock:
            if process is self._process and self._state is not None and not self._state.ended:
                self._state = replace(self._state, **values)  # type: ignore[type-var]
