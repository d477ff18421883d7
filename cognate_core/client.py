"""The API from Python: `Client("http://127.0.0.1:8501").runs()`. Thin: a method for each route, named as the route.

What comes back is the JSON of the route, whose fields the studio's OpenAPI page describes (`/api/v1/`). What goes
wrong comes as the same CognateError, with the same sentence, as within the studio.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, TypedDict, Unpack
from urllib.parse import quote

import httpx2
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from cognate_core.errors import (
    CognateError,
    ConfigError,
    DataError,
    DatasetUnavailable,
    DiskFull,
    NotFound,
    RunError,
    StorageError,
    Unreachable,
)
from cognate_core.files import is_disk_full
from cognate_core.lifecycle import RunStatus

Row = dict[str, Any]
Settings = Mapping[str, Any] | str
"""Settings of a run, as an object or as the text of a TOML file."""

SERVED_BELOW = "/api/v1"
CONNECT_SECONDS, ANSWER_SECONDS, WORK_SECONDS, FETCH_SECONDS = 10.0, 60.0, 900.0, 7200.0
IDLE_SECONDS = 2.0  # well before the studio closes an idle connection (5 s): no request is to meet one just closing
AGAIN_SECONDS = 5.0  # the longest that is waited when the studio asks to come again
TRIES = 4
RECONNECT_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)  # before each new try to hear events; then it is given up
CHUNK_BYTES = 1 << 20

_ERRORS: dict[int, type[CognateError]] = {
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: RunError,
    HTTPStatus.UNPROCESSABLE_ENTITY: DataError,
    HTTPStatus.BAD_GATEWAY: DatasetUnavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: StorageError,
    HTTPStatus.INSUFFICIENT_STORAGE: DiskFull,
}

_WITH_BODY = frozenset({"POST", "PATCH"})
_CLOSED_FOR_GOOD: dict[int, type[CognateError]] = {1008: RunError, 4400: RunError, 4404: NotFound, 4409: RunError}
"""Codes with which a studio ends its events, and connecting again would not help."""


class _More(TypedDict, total=False):
    """What a request may have beside method and address. `seconds`: that its answer may take."""

    params: Mapping[str, Any] | None
    body: Mapping[str, Any]
    content: BinaryIO
    headers: Mapping[str, str]
    seconds: float


class Client:
    """What a studio does, asked of it over the network.

    Args:
        url: where it is, such as `http://127.0.0.1:8501`.
        token: what its `cognate token` prints. Default: COGNATE_TOKEN; else, for the studio that is open on this
            computer's data directory and for no other, the one that lies there.

    Raises:
        ConfigError: the address cannot be used. Each method raises a CognateError: Unreachable when no studio answers,
            else what the studio says.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url, own = _address(url)
        token = token or os.environ.get("COGNATE_TOKEN", "").strip() or (_kept_token(self.url) if own else None)
        if token is not None and not token.isascii():
            raise ConfigError({"token": "The token holds a letter that no token has. `cognate token` prints it."})
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._own = own
        self._http = httpx2.Client(
            base_url=self.url + SERVED_BELOW,
            headers=self._headers,
            trust_env=not own,  # no proxy is to see what stays on this computer
            follow_redirects=False,  # the token is for this address alone
            limits=httpx2.Limits(keepalive_expiry=IDLE_SECONDS),
        )

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # The studio

    def health(self) -> Row:
        """Whether the studio is well."""
        return self._ask("GET", "/health")

    def link(self) -> str:
        """An address that opens the studio's pages in one browser, once."""
        return self.url + str(self._ask("POST", "/links", body={})["path"])

    def coordination(self) -> Row:
        """Who manages the data directory, since when, and what is going on."""
        return self._ask("GET", "/coordination")

    def presets(self) -> list[Row]:
        """The ready-made settings."""
        return self._list("/presets")

    def preset(self, name: str) -> Row:
        """One preset, with its settings."""
        return self._ask("GET", "/presets/{}", name)

    def config_schema(self) -> Row:
        """JSON schema of the settings of a run."""
        return self._ask("GET", "/config/schema")

    def estimate(self, config: Settings, settings: Mapping[str, Any] | None = None) -> Row:
        """What a run with these settings needs: parameters, memory, disk. `settings`: what of `config` is changed."""
        body = {"config": config, "settings": settings or {}}
        return self._ask("POST", "/estimates", body=body, seconds=WORK_SECONDS)

    def quote(self, config: Settings, settings: Mapping[str, Any] | None = None, models: int = 1) -> Row:
        """How long a run with these settings takes, measured on the studio's computer in about 20 seconds."""
        body = {"config": config, "settings": settings or {}, "models": models}
        return self._ask("POST", "/quotes", body=body, seconds=WORK_SECONDS)

    def find_rate(self, config: Settings, settings: Mapping[str, Any] | None = None) -> Row:
        """Begin to search for a learning rate with these settings; `rate_search` tells how far it is."""
        return self._ask("POST", "/learning-rates", body={"config": config, "settings": settings or {}})

    def rate_search(self) -> Row:
        """How far the last search for a learning rate is, its curve, and what it suggests."""
        return self._ask("GET", "/learning-rates")

    def cancel_rate_search(self) -> Row:
        """End the search for a learning rate."""
        return self._ask("DELETE", "/learning-rates")

    # Runs

    def runs(self, status: str | None = None) -> Iterator[Row]:
        """The runs, the newest first."""
        return self._pages("/runs", status=status)

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
        """Queue a run with the settings of a preset, a config or another run (`copy_of`), of which `settings` changes
        single ones.

        A `key` starts one run, however often it is sent. Without it, the request has one of its own, so that it can be
        sent once more when its answer is lost.
        """
        source = {"preset": preset, "config": config, "copy_of": copy_of, "model_names": model_names}
        body = {"name": name, "settings": settings or {}, "models": models, **_given(source)}
        return self._ask("POST", "/runs", body=body, headers=_key(key))

    def rename(self, run_id: str, name: str) -> Row:
        """Call a run otherwise."""
        return self._ask("PATCH", "/runs/{}", run_id, body={"name": name})

    def delete(self, run_id: str) -> None:
        """Move a run, its models and its files to the trash."""
        self._ask("DELETE", "/runs/{}", run_id)

    def pause(self, run_id: str) -> Row:
        """Have a checkpoint written and let the run rest."""
        return self._ask("POST", "/runs/{}/pause", run_id)

    def resume(self, run_id: str) -> Row:
        """Queue a run again that rests or was broken off."""
        return self._ask("POST", "/runs/{}/resume", run_id)

    def stop(self, run_id: str) -> Row:
        """Have the model saved as it is, and end the run."""
        return self._ask("POST", "/runs/{}/stop", run_id)

    def cancel(self, run_id: str) -> Row:
        """End the run without saving."""
        return self._ask("POST", "/runs/{}/cancel", run_id)

    def move(self, run_id: str, places: int) -> Row:
        """Let a waiting run change places with the one `places` before (negative) or behind it."""
        return self._ask("POST", "/runs/{}/move", run_id, body={"places": places})

    def twin(self, run_id: str) -> Row:
        """Start the same run with GrokFast switched the other way."""
        return self._ask("POST", "/runs/{}/twin", run_id)

    def branch(self, run_id: str, model_name: str, step: int, settings: Mapping[str, Any], name: str) -> Row:
        """Start a run that goes on from a checkpoint of this one, with changed settings."""
        body = {"model_name": model_name, "step": step, "settings": settings, "name": name}
        return self._ask("POST", "/runs/{}/branch", run_id, body=body, headers=_key(None))

    def start_verification(self, run_id: str) -> Row:
        """Start the same run once more, to see whether the same comes of it."""
        return self._ask("POST", "/runs/{}/verification", run_id, headers=_key(None))

    def verification(self, run_id: str, repeated_id: str) -> Row:
        """How far the repetition gave the same."""
        return self._ask("GET", "/runs/{}/verification", run_id, params={"with": repeated_id})

    def comparison(self, run_ids: Sequence[str]) -> Row:
        """Where the settings of runs differ, and what each came to."""
        return self._ask("GET", "/comparison", params={"runs": ",".join(run_ids)})

    def checkpoints(self, run_id: str) -> list[Row]:
        """At which steps each model of the run has a checkpoint."""
        return self._list("/runs/{}/checkpoints", run_id)

    def metrics(
        self, run_id: str, *, model: str | None = None, after_step: int | None = None, points: int | None = None
    ) -> Iterator[Row]:
        """What was measured at each step of one model (default: the first); with `points`, at most so many, which keep
        the shape of the curve."""
        return self._pages("/runs/{}/metrics", run_id, model=model, after_step=after_step, points=points)

    def evaluations(self, run_id: str) -> Iterator[Row]:
        """The checks on text that was held out."""
        return self._pages("/runs/{}/evaluations", run_id)

    def samples(self, run_id: str) -> Iterator[Row]:
        """What the models wrote while they learned."""
        return self._pages("/runs/{}/samples", run_id)

    def logged(self, run_id: str) -> Iterator[Row]:
        """What was noted while the run went: notes, warnings, errors."""
        return self._pages("/runs/{}/events", run_id)

    def findings(self, run_id: str, model: str | None = None) -> list[Row]:
        """What the curves of one model (default: the first) tell, and what to do."""
        return self._list("/runs/{}/findings", run_id, params=_given({"model": model}))

    def data_report(self, run_id: str) -> Row:
        """What each source of text gave."""
        return self._ask("GET", "/runs/{}/data-report", run_id)

    def save_report(self, run_id: str, file: Path, model: str | None = None) -> None:
        """Save the report of one model of the run (default: the first), one HTML page, as `file`."""
        self._save("/runs/{}/report", run_id, file=file, params=_given({"model": model}))

    def save_metrics(self, run_id: str, file: Path) -> None:
        """Save every step of every model of the run as a table, Parquet or CSV, as `file` ends."""
        match file.suffix.lower():
            case ".parquet":
                self._save("/runs/{}/metrics.parquet", run_id, file=file)
            case ".csv":
                self._save("/runs/{}/metrics.csv", run_id, file=file)
            case _:
                raise ConfigError({"file": f"{file.name} must end in .csv or .parquet, which says what is written."})

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
        return self._ask("POST", "/sweeps", body={"name": name, "config": config, **varied}, headers=_key(key))

    def sweeps(self) -> list[Row]:
        """The sweeps, newest first."""
        return self._list("/sweeps")

    def sweep(self, sweep_id: str) -> Row:
        """One sweep, and what its runs came to."""
        return self._ask("GET", "/sweeps/{}", sweep_id)

    def cancel_sweep(self, sweep_id: str) -> Row:
        """Cancel those of its runs that wait or go on."""
        return self._ask("POST", "/sweeps/{}/cancel", sweep_id)

    def save_passport(self, run_id: str, file: Path) -> None:
        """Save the run's passport, by which another studio can open and repeat it, as `file`."""
        self._save("/runs/{}/passport", run_id, file=file)

    def open_passport(self, file: Path) -> Row:
        """Take up the run of a passport."""
        return self._send_file("/passports", file)

    def events(self, run_id: str | None = None, after: int | None = None) -> Iterator[Row]:
        """What happens to a run, or to all of them, as it happens; after a break it goes on where it was.

        Of one run it ends once the run rests or has ended; of all it never does.

        Args:
            after: the id of the last event that is known already; what came since then is told first. Without it, how
                things stand is.

        Raises:
            NotFound: there is no such run.
            RunError: the studio does not tell events.
            Unreachable: the studio is gone, and does not come back within half a minute.
        """
        failed = 0
        while True:
            try:
                for event in self._heard(run_id, after):
                    failed, after = 0, event["id"]
                    yield event
                    if run_id is not None and rests(event) and rests(self.run(run_id)):
                        return
                why: Exception = ConnectionError("It was closed.")
            except InvalidStatus as error:
                if error.response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise RunError(
                        f"The studio at {self.url} does not tell what happens without its token. `cognate token` "
                        "prints it on the studio's computer; give it with COGNATE_TOKEN."
                    ) from error
                why = error
            except (WebSocketException, OSError) as error:
                why = error
            if failed == len(RECONNECT_SECONDS):
                raise self._unreachable(why) from why
            sleep(RECONNECT_SECONDS[failed])
            failed += 1

    def _heard(self, run_id: str | None, after: int | None) -> Iterator[Row]:
        """The events of one connection."""
        address = "ws" + self.url.removeprefix("http") + SERVED_BELOW
        address += f"/runs/{quote(run_id, safe='')}/events" if run_id is not None else "/events"
        with connect(
            address if after is None else f"{address}?after={after}",
            additional_headers=self._headers,
            proxy=None if self._own else True,
            open_timeout=CONNECT_SECONDS,
        ) as socket:
            for message in socket:
                event = json.loads(message)
                if event["type"] == "closing":
                    if event["code"] in _CLOSED_FOR_GOOD:
                        raise _CLOSED_FOR_GOOD[event["code"]](event["message"])
                    return
                yield event

    # Models

    def models(self, run: str | None = None, tag: str | None = None) -> Iterator[Row]:
        """The finished models, the newest first."""
        return self._pages("/models", run=run, tag=tag)

    def model(self, model_id: str) -> Row:
        """One model."""
        return self._ask("GET", "/models/{}", model_id)

    def describe(
        self, model_id: str, *, title: str | None = None, note: str | None = None, tags: Sequence[str] | None = None
    ) -> Row:
        """Keep another name, a note and tags of a model. What is left out stays as it is."""
        body = _given({"title": title, "note": note, "tags": tags})
        return self._ask("PATCH", "/models/{}", model_id, body=body)

    def delete_model(self, model_id: str) -> None:
        """Move a model and its files to the trash."""
        self._ask("DELETE", "/models/{}", model_id)

    def artifacts(self, model_id: str) -> list[Row]:
        """The files of a model, each with its checksum."""
        return self._list("/models/{}/artifacts", model_id)

    def download_artifact(self, model_id: str, kind: str, file: Path) -> None:
        """Save a file of a model as `file`, and check it.

        What came of a download that was broken off lies beside `file`; the next call goes on from there.

        Raises:
            StorageError: `file` cannot be written, or what came is not what training wrote.
        """
        with self._answer("HEAD", "/models/{}/artifacts/{}", model_id, kind) as answer:
            tag, size = answer.headers.get("etag", ""), int(answer.headers.get("content-length", "0"))
        sha256 = tag.strip('"')
        part = file.with_name(f"{file.name}.{sha256[:16]}.part")  # of another content, it is another part
        try:
            for again in reversed(range(TRIES)):
                try:
                    self._add_rest(model_id, kind, part, tag, size)
                    break
                except Unreachable:
                    if not again:
                        raise
            with part.open("rb") as whole:
                came = hashlib.file_digest(whole, "sha256").hexdigest()
            if came != sha256:
                part.unlink()
                raise StorageError(f"What came of {file.name} is not what training wrote. Download it again.")
            part.replace(file)
        except OSError as error:
            raise _not_writable(file, error) from error

    def _add_rest(self, model_id: str, kind: str, part: Path, tag: str, size: int) -> None:
        """Add to a part of a file of `size` bytes what it lacks."""
        there = part.stat().st_size if part.exists() else 0
        if there and there == size:
            return
        rest = {"Range": f"bytes={there}-", "If-Range": tag} if 0 < there < size else {}
        with (
            self._answer(
                "GET", "/models/{}/artifacts/{}", model_id, kind, headers=rest, seconds=WORK_SECONDS
            ) as answer,
            part.open("ab" if answer.status_code == HTTPStatus.PARTIAL_CONTENT else "wb") as file,
        ):
            for chunk in answer.iter_bytes():  # as it comes: what came before a break is kept
                file.write(chunk)

    def save_archive(self, model_id: str, file: Path) -> None:
        """Save all files of a model as one zip archive."""
        self._save("/models/{}/archive", model_id, file=file)

    def generate(
        self,
        model_id: str,
        prompt: str,
        *,
        as_problem: bool = False,
        max_tokens: int = 120,
        temperature: float = 0.7,
        top_p: float = 0.9,
        seed: int = 0,
        checkpoint_step: int | None = None,
    ) -> Generator[Row, None, None]:
        """What a model writes after a prompt, piece by piece as it is written; the last one says how it ended.

        Whoever closes the iterator ends the writing.

        Raises:
            RunError: the model could not go on.
        """
        body = {
            "prompt": prompt,
            "as_problem": as_problem,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
            "checkpoint_step": checkpoint_step,
        }
        with self._answer("POST", "/models/{}/generate", model_id, body=body, seconds=WORK_SECONDS) as answer:
            for line in answer.iter_lines():
                if not line.startswith("data:"):
                    continue
                piece: Row = json.loads(line.removeprefix("data:"))
                if "problem" in piece:
                    raise RunError(piece["problem"])
                yield piece
                if piece.get("done"):
                    return
        raise Unreachable(f"The studio at {self.url} broke the text off. Ask once more.")

    def explain(
        self,
        model_id: str,
        prompt: str,
        written: Sequence[int] = (),
        *,
        as_problem: bool = False,
        checkpoint_step: int | None = None,
    ) -> Row:
        """How the model comes to expect each word of a prompt, and of the tokens that it wrote after it."""
        body = {
            "prompt": prompt,
            "written": list(written),
            "as_problem": as_problem,
            "checkpoint_step": checkpoint_step,
        }
        return self._ask("POST", "/models/{}/explain", model_id, body=body, seconds=WORK_SECONDS)

    def publish(self, model_id: str, repo_id: str, *, private: bool = True, license_name: str | None = None) -> Row:
        """Send a model to the Hugging Face hub, with the token that the studio's computer has."""
        body = {"repo_id": repo_id, "private": private, "license": license_name}
        return self._ask("POST", "/models/{}/publish", model_id, body=body, seconds=WORK_SECONDS)

    def calculate(self, model_id: str, a: int, b: int, *, checkpoint_step: int | None = None) -> Row:
        """What a model of the Grokking lab answers to one problem."""
        body = {"a": a, "b": b, "checkpoint_step": checkpoint_step}
        return self._ask("POST", "/models/{}/calculate", model_id, body=body, seconds=WORK_SECONDS)

    def table(self, model_id: str, *, checkpoint_step: int | None = None) -> Row:
        """Every problem of a model of the Grokking lab: which it has right, and which it learned from."""
        asked = _given({"checkpoint_step": checkpoint_step})
        return self._ask("GET", "/models/{}/table", model_id, params=asked, seconds=WORK_SECONDS)

    def accuracy(self, model_id: str) -> Row:
        """How often a model is right on held-out questions, and how far a measurement of that is."""
        return self._ask("GET", "/models/{}/accuracy", model_id)

    def measure_accuracy(self, model_id: str, questions: int = 50, *, checkpoints: bool = False) -> Row:
        """Begin to ask a model held-out questions, at most so many of each dataset."""
        body = {"questions": questions, "checkpoints": checkpoints}
        return self._ask("POST", "/models/{}/accuracy", model_id, body=body)

    def cancel_accuracy(self, model_id: str) -> Row:
        """End the measurement of this model."""
        return self._ask("DELETE", "/models/{}/accuracy", model_id)

    # Data

    def datasets(self) -> list[Row]:
        """The datasets that there are, on the studio's computer or not."""
        return self._list("/datasets")

    def fetch_dataset(self, name: str) -> Row:
        """Have a dataset fetched from the hub; it comes back once it is there."""
        return self._ask("POST", "/datasets/{}/fetch", name, seconds=FETCH_SECONDS)

    def rows(self, name: str, split: str = "training") -> Iterator[Row]:
        """The rows of a dataset or of a file of one's own. `split`: "training" or "heldout"."""
        return self._pages("/datasets/{}/rows", name, split=split)

    def lengths(
        self,
        name: str,
        *,
        train_seq_len: int | None = None,
        vocab_size: int | None = None,
        prepared: str | None = None,
    ) -> Row:
        """How long rows are in tokens, and what becomes of them at a training length. `prepared`: content hash of a
        run's data, to take its tokenizer."""
        asked = {"train_seq_len": train_seq_len, "vocab_size": vocab_size, "prepared": prepared}
        return self._ask("GET", "/datasets/{}/lengths", name, params=_given(asked), seconds=WORK_SECONDS)

    def overlap(self, name: str, train: str | None = None, limit: int = 50) -> Row:
        """Whether held-out rows stand in training rows (of `train`, or their own dataset), too."""
        asked = _given({"train": train, "limit": limit})
        return self._ask("GET", "/datasets/{}/overlap", name, params=asked, seconds=WORK_SECONDS)

    def mixture(self, settings: Mapping[str, Any]) -> Row:
        """What a run with these settings would draw from its datasets, and its first batch."""
        return self._ask("POST", "/mixture", body={"settings": settings}, seconds=WORK_SECONDS)

    def files(self) -> Iterator[Row]:
        """The kept files of one's own, the newest first."""
        return self._pages("/files")

    def add_file(self, file: Path) -> Row:
        """Send a file of this computer, to be looked at and trained on; `name` of the answer is what it goes by."""
        return self._send_file("/files", file, {"name": file.name})

    def remove_file(self, name: str) -> None:
        """Remove a kept file for good."""
        self._ask("DELETE", "/files/{}", name)

    # The trash

    def trash(self) -> Iterator[Row]:
        """What was deleted, the newest first."""
        return self._pages("/trash")

    def restore(self, entry_id: str) -> Row:
        """Have something again as it was."""
        return self._ask("POST", "/trash/{}/restore", entry_id)

    def remove_for_good(self, entry_id: str) -> None:
        """Remove something from the trash."""
        self._ask("DELETE", "/trash/{}", entry_id)

    def empty_trash(self) -> int:
        """Remove everything from the trash; how many entries there were."""
        return int(self._ask("DELETE", "/trash", seconds=WORK_SECONDS)["removed"])

    # Inside

    def _ask(self, method: str, path: str, *names: str, **more: Unpack[_More]) -> Row:
        """Send a request; the object of its answer, empty when there is none. `path`: with {} for each of `names`."""
        with self._answer(method, path, *names, **more) as answer:
            found = self._json(answer) if answer.read() else {}
            if not isinstance(found, dict):
                raise self._no_studio(answer)
            return found

    def _send_file(self, path: str, file: Path, params: Mapping[str, Any] | None = None) -> Row:
        """Send a file of this computer."""
        try:
            with file.open("rb") as content:
                return self._ask("POST", path, params=params, content=content, seconds=WORK_SECONDS)
        except OSError as error:
            raise StorageError(f"The file {file.name} cannot be opened ({error.strerror or error}).") from error

    def _list(self, path: str, *names: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        """A list that comes whole."""
        with self._answer("GET", path, *names, params=params) as answer:
            found = self._json(answer)
            if not isinstance(found, list):
                raise self._no_studio(answer)
            return found

    def _pages(self, path: str, *names: str, **params: Any) -> Iterator[Row]:
        """Every item of a list, page after page."""
        asked = _given(params) | {"limit": 500}
        while True:
            page = self._ask("GET", path, *names, params=asked)
            yield from page["items"]
            if page["next"] is None:
                return
            asked["after"] = page["next"]

    def _save(self, path: str, *names: str, file: Path, params: Mapping[str, Any] | None = None) -> None:
        """Save what is answered as `file`, which is whole or not there."""
        part = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            with (
                self._answer("GET", path, *names, params=params, seconds=WORK_SECONDS) as answer,
                part.open("wb") as whole,
            ):
                for chunk in answer.iter_bytes(CHUNK_BYTES):
                    whole.write(chunk)
            part.replace(file)
        except OSError as error:
            raise _not_writable(file, error) from error
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _answer(self, method: str, path: str, *names: str, **more: Unpack[_More]) -> Iterator[httpx2.Response]:
        """The answer to a request, if it is a good one; its content is not read yet."""
        content = more.get("content")
        request = self._http.build_request(
            method,
            path.format(*(quote(name, safe="") for name in names)),
            params=more.get("params"),
            headers={**_content_type(method, content), **more.get("headers", {})},
            content=content or (json.dumps(more.get("body", {})).encode() if method in _WITH_BODY else None),
            timeout=httpx2.Timeout(more.get("seconds", ANSWER_SECONDS), connect=CONNECT_SECONDS),
        )
        repeatable = method in ("GET", "HEAD") or "Idempotency-Key" in request.headers
        answer = self._sent(request, repeatable=repeatable, whole=content is None)
        try:
            if not answer.is_success:
                self._raise(answer)
            yield answer
        except httpx2.TransportError as error:  # while it was read
            raise self._unreachable(error) from error
        finally:
            answer.close()

    def _sent(self, request: httpx2.Request, *, repeatable: bool, whole: bool) -> httpx2.Response:
        """Send a request, again while the studio asks to wait, and once more when its answer was lost.

        Args:
            repeatable: sent twice, it does no more than sent once.
            whole: its content is at hand, and no file that was read already.
        """
        lost = False
        for attempt in range(TRIES):
            try:
                answer = self._http.send(request, stream=True)
            except (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError) as error:
                if lost or not repeatable:
                    raise self._unreachable(error) from error
                lost = True
                continue
            except httpx2.TransportError as error:
                raise self._unreachable(error) from error
            pause = _pause(answer)
            if pause is None or attempt == TRIES - 1 or not whole:
                return answer
            answer.close()
            sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _json(self, answer: httpx2.Response) -> Any:
        try:
            return json.loads(answer.read())
        except ValueError as error:
            raise self._no_studio(answer) from error

    def _raise(self, answer: httpx2.Response) -> NoReturn:
        """Say what the studio said."""
        status = answer.status_code
        try:
            told = json.loads(answer.read())
            detail, problems = str(told["detail"]), dict(told.get("problems") or {})
        except (ValueError, KeyError, TypeError) as error:
            raise self._no_studio(answer) from error
        if detail == answer.reason_phrase:  # a route that this studio does not have
            raise self._no_studio(answer)
        if status == HTTPStatus.UNAUTHORIZED and self._headers:
            raise RunError(
                f"The studio at {self.url} does not take this token. `cognate token` prints it on the studio's "
                "computer; give it with COGNATE_TOKEN. If the studio was started with a COGNATE_TOKEN, use the same."
            )
        if problems:
            refused = ConfigError(problems)
            refused.args = (detail,)
            raise refused
        raise _ERRORS.get(status, RunError if status < HTTPStatus.INTERNAL_SERVER_ERROR else CognateError)(detail)

    def _unreachable(self, error: Exception) -> Unreachable:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | OSError):
            why = "Nothing answers there. Start the studio with `cognate run`, or check the address."
        elif isinstance(error, httpx2.TimeoutException):
            why = "It took too long to answer. Try again when the computer has less to do."
        else:
            why = f"The connection broke ({type(error).__name__}). Try again."
        return Unreachable(f"The studio at {self.url} cannot be reached. {why}")

    def _no_studio(self, answer: httpx2.Response) -> Unreachable:
        return Unreachable(
            f"What answers at {self.url} is no Cognate Studio of this version (status {answer.status_code}). "
            "Check the address."
        )


def _address(url: str) -> tuple[str, bool]:
    """The address, with the folder below which a proxy serves it, and whether it is this computer's."""
    try:
        asked = httpx2.URL(url if "://" in url else f"http://{url}")
    except httpx2.InvalidURL as error:
        raise ConfigError({"server": f"{url} is no address. Write it as http://127.0.0.1:8501."}) from error
    if asked.scheme not in ("http", "https") or not asked.host or asked.userinfo:
        raise ConfigError({"server": "A studio has an address such as http://127.0.0.1:8501."})
    return str(asked.copy_with(query=None, fragment=None)).rstrip("/"), _is_own(asked.host)


def _is_own(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def rests(run: Row) -> bool:
    """Whether a run or event says that nobody works on it and it waits for no turn."""
    try:
        status = RunStatus(run["status"])
    except (KeyError, ValueError):
        return False
    return status.is_terminal or status is RunStatus.PAUSED


def _kept_token(url: str) -> str | None:
    """The token of the data directory, for the port at which its own studio listens: at others, anybody may."""
    from cognate_core.runs import default_home, running_address
    from cognate_core.runs.token import studio_token

    address = running_address(default_home())
    if address is None or httpx2.URL(address).port != httpx2.URL(url).port:
        return None
    return studio_token(default_home())


def _not_writable(file: Path, error: OSError) -> StorageError:
    if is_disk_full(error):
        return DiskFull(f"The disk is full: {file.name} has no room on it. Free some space, then try again.")
    return StorageError(f"{file} cannot be written ({error.strerror or error}). Choose another place.")


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are given; the studio has defaults for the others."""
    return {name: value for name, value in values.items() if value is not None}


def _key(chosen: str | None) -> dict[str, str]:
    return {"Idempotency-Key": chosen or uuid.uuid4().hex}


def _content_type(method: str, content: BinaryIO | None) -> dict[str, str]:
    if content is not None:
        return {"Content-Type": "application/octet-stream"}
    return {"Content-Type": "application/json"} if method in _WITH_BODY else {}


def _pause(answer: httpx2.Response) -> float | None:
    """How long the studio asks to wait before the same is asked again; None when it does not."""
    wait = answer.headers.get("retry-after", "")
    if answer.status_code != HTTPStatus.TOO_MANY_REQUESTS or not wait.isdecimal():
        return None
    return float(wait) if float(wait) <= AGAIN_SECONDS else None
