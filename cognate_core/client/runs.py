"""Runs: start, control, compare and read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cognate_core.client.connection import Connection, Row, Settings, given, start_key
from cognate_core.contracts.lifecycle import RunStatus
from cognate_core.errors import ConfigError


def rests(run: Row) -> bool:
    """Whether a run or event shows that the run is paused or has ended."""
    try:
        status = RunStatus(run["status"])
    except (KeyError, ValueError):
        return False
    return status.is_terminal or status is RunStatus.PAUSED


class RunRoutes(Connection):
    """Requests about runs."""

    def runs(self, status: str | None = None, tag: str | None = None) -> Iterator[Row]:
        """The runs, the newest first; with `status` or `tag`, those that have it."""
        return self._pages("/runs", status=status, tag=tag)

    def run(self, run_id: str) -> Row:
        """One run."""
        return self._ask("GET", "/runs/{}", run_id)

    def start(
        self,
        name: str,
        *,
        preset: str | None = None,
        config: Settings | None = None,
        copy_of: str | None = None,
        settings: Mapping[str, Any] | None = None,
        models: int = 1,
        model_names: Sequence[str] | None = None,
        key: str | None = None,
    ) -> Row:
        """Queue a run with the settings of a preset, a config or another run (`copy_of`). `settings` changes single
        ones.

        Repeated with the same `key`, it starts no second run. Without a `key` it uses a random one, so the request can
        be repeated if its answer is lost.
        """
        source = {"preset": preset, "config": config, "copy_of": copy_of, "model_names": model_names}
        body = {"name": name, "settings": settings or {}, "models": models, **given(source)}
        return self._ask("POST", "/runs", body=body, headers=start_key(key))

    def rename(self, run_id: str, name: str) -> Row:
        """Rename a run."""
        return self._ask("PATCH", "/runs/{}", run_id, body={"name": name})

    def tag(self, run_id: str, tags: Sequence[str]) -> Row:
        """Give a run these tags, in place of those it had."""
        return self._ask("PATCH", "/runs/{}", run_id, body={"tags": list(tags)})

    def delete(self, run_id: str) -> None:
        """Move a run, its models and its files to the trash."""
        self._ask("DELETE", "/runs/{}", run_id)

    def pause(self, run_id: str) -> Row:
        """Write a checkpoint and pause the run."""
        return self._ask("POST", "/runs/{}/pause", run_id)

    def resume(self, run_id: str) -> Row:
        """Queue a paused, stopped, interrupted, failed or crashed run again."""
        return self._ask("POST", "/runs/{}/resume", run_id)

    def stop(self, run_id: str) -> Row:
        """Save the model as it is and end the run."""
        return self._ask("POST", "/runs/{}/stop", run_id)

    def cancel(self, run_id: str) -> Row:
        """End the run without saving."""
        return self._ask("POST", "/runs/{}/cancel", run_id)

    def move(self, run_id: str, places: int) -> Row:
        """Swap a waiting run with the one `places` earlier (negative) or later in the queue."""
        return self._ask("POST", "/runs/{}/move", run_id, body={"places": places})

    def twin(self, run_id: str) -> Row:
        """Start the same run with GrokFast switched the other way."""
        return self._ask("POST", "/runs/{}/twin", run_id)

    def branch(self, run_id: str, model_name: str, step: int, settings: Mapping[str, Any], name: str) -> Row:
        """Start a run that continues from a checkpoint of this one, with changed settings."""
        body = {"model_name": model_name, "step": step, "settings": settings, "name": name}
        return self._ask("POST", "/runs/{}/branch", run_id, body=body, headers=start_key(None))

    def start_verification(self, run_id: str) -> Row:
        """Start the same run again, to check whether the result is the same."""
        return self._ask("POST", "/runs/{}/verification", run_id, headers=start_key(None))

    def verification(self, run_id: str, repeated_id: str) -> Row:
        """Whether the repetition gave the same result."""
        return self._ask("GET", "/runs/{}/verification", run_id, params={"with": repeated_id})

    def comparison(self, run_ids: Sequence[str]) -> Row:
        """Where the settings of runs differ, and the results of each."""
        return self._ask("GET", "/comparison", params={"runs": ",".join(run_ids)})

    def checkpoints(self, run_id: str) -> list[Row]:
        """The steps of the kept checkpoints, for each model of the run."""
        return self._list("/runs/{}/checkpoints", run_id)

    def metrics(
        self, run_id: str, *, model: str | None = None, after_step: int | None = None, points: int | None = None
    ) -> Iterator[Row]:
        """The metrics of each step of one model (default: the first). With `points`, at most that many steps, chosen
        to keep the curve's shape."""
        return self._pages("/runs/{}/metrics", run_id, model=model, after_step=after_step, points=points)

    def evaluations(self, run_id: str) -> Iterator[Row]:
        """The evaluations on held-out text."""
        return self._pages("/runs/{}/evaluations", run_id)

    def samples(self, run_id: str) -> Iterator[Row]:
        """What the models wrote during training."""
        return self._pages("/runs/{}/samples", run_id)

    def logged(self, run_id: str) -> Iterator[Row]:
        """The log of the run: notes, warnings, errors."""
        return self._pages("/runs/{}/events", run_id)

    def findings(self, run_id: str, model: str | None = None) -> list[Row]:
        """Findings in the curves of one model (default: the first), and what to do."""
        return self._list("/runs/{}/findings", run_id, params=given({"model": model}))

    def data_report(self, run_id: str) -> Row:
        """What each source of text contributed."""
        return self._ask("GET", "/runs/{}/data-report", run_id)

    def save_report(self, run_id: str, file: Path, model: str | None = None) -> None:
        """Save the report of one model of the run (default: the first), one HTML page, as `file`."""
        self._save("/runs/{}/report", run_id, file=file, params=given({"model": model}))

    def save_metrics(self, run_id: str, file: Path) -> None:
        """Save every step of every model of the run as a table. The ending of `file` selects Parquet or CSV."""
        match file.suffix.lower():
            case ".parquet":
                self._save("/runs/{}/metrics.parquet", run_id, file=file)
            case ".csv":
                self._save("/runs/{}/metrics.csv", run_id, file=file)
            case _:
                raise ConfigError({"file": f"{file.name} must end in .csv or .parquet."})

    def start_sweep(
        self,
        name: str,
        *,
        config: Settings,
        grid: Mapping[str, Any] | None = None,
        ranges: Mapping[str, Any] | None = None,
        draws: int = 0,
        seed: int = 0,
        leave_out: bool = False,
        key: str | None = None,
    ) -> Row:
        """Queue a run for each combination of a grid of values, and for each draw from ranges."""
        varied = {"grid": grid or {}, "ranges": ranges or {}, "draws": draws, "seed": seed, "leave_out": leave_out}
        return self._ask("POST", "/sweeps", body={"name": name, "config": config, **varied}, headers=start_key(key))

    def sweeps(self) -> list[Row]:
        """The sweeps, newest first."""
        return self._list("/sweeps")

    def sweep(self, sweep_id: str) -> Row:
        """One sweep, and the results of its runs."""
        return self._ask("GET", "/sweeps/{}", sweep_id)

    def cancel_sweep(self, sweep_id: str) -> Row:
        """Cancel its waiting and active runs."""
        return self._ask("POST", "/sweeps/{}/cancel", sweep_id)

    def save_run_archive(self, run_id: str, file: Path) -> None:
        """Save the run archive as `file`. Another studio can open it and repeat the run."""
        self._save("/runs/{}/archive", run_id, file=file)

    def open_run_archive(self, file: Path) -> Row:
        """Add the run from a run archive."""
        return self._send_file("/archives", file)
