"""Models: their files, what they write, and how often they are right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path

from cognate_core.client.connection import TRIES, WORK_SECONDS, Connection, Row, given, not_writable
from cognate_core.errors import RunError, StorageError, Unreachable


class ModelRoutes(Connection):
    """Requests about models."""

    def models(self, run: str | None = None, tag: str | None = None) -> Iterator[Row]:
        """The finished models, the newest first."""
        return self._pages("/models", run=run, tag=tag)

    def model(self, model_id: str) -> Row:
        """One model."""
        return self._ask("GET", "/models/{}", model_id)

    def describe(
        self, model_id: str, *, title: str | None = None, note: str | None = None, tags: Sequence[str] | None = None
    ) -> Row:
        """Change the name, note or tags of a model. Those left out stay unchanged."""
        body = given({"title": title, "note": note, "tags": tags})
        return self._ask("PATCH", "/models/{}", model_id, body=body)

    def delete_model(self, model_id: str) -> None:
        """Move a model and its files to the trash."""
        self._ask("DELETE", "/models/{}", model_id)

    def artifacts(self, model_id: str) -> list[Row]:
        """The files of a model, each with its checksum."""
        return self._list("/models/{}/artifacts", model_id)

    def download_artifact(self, model_id: str, kind: str, file: Path) -> None:
        """Save a file of a model as `file`, and check it.

        An interrupted download stays beside `file`, and the next call continues it.

        Raises:
            StorageError: `file` cannot be written, or the download differs from what training wrote.
        """
        with self._answer("HEAD", "/models/{}/artifacts/{}", model_id, kind) as answer:
            tag, size = answer.headers.get("etag", ""), int(answer.headers.get("content-length", "0"))
        sha256 = tag.strip('"')
        part = file.with_name(f"{file.name}.{sha256[:16]}.part")  # other content gets another part file
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
                raise StorageError(f"The download of {file.name} is damaged: its checksum is wrong. Download it again.")
            part.replace(file)
        except OSError as error:
            raise not_writable(file, error) from error

    def _add_rest(self, model_id: str, kind: str, part: Path, tag: str, size: int) -> None:
        """Download the missing rest of a file of `size` bytes into `part`."""
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
            for chunk in answer.iter_bytes():  # written at once, so that a break loses nothing
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
        """What a model writes after a prompt, piece by piece; the last piece says how it ended.

        Close the iterator to end the writing.

        Raises:
            RunError: the model could not continue.
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
        raise Unreachable(f"The studio at {self.url} broke off the text. Try again.")

    def explain(
        self,
        model_id: str,
        prompt: str,
        written: Sequence[int] = (),
        *,
        as_problem: bool = False,
        checkpoint_step: int | None = None,
    ) -> Row:
        """Why the model expects each word of a prompt, and of the tokens that it wrote after it."""
        body = {
            "prompt": prompt,
            "written": list(written),
            "as_problem": as_problem,
            "checkpoint_step": checkpoint_step,
        }
        return self._ask("POST", "/models/{}/explain", model_id, body=body, seconds=WORK_SECONDS)

    def publish(self, model_id: str, repo_id: str, *, private: bool = True, license_name: str | None = None) -> Row:
        """Upload a model to the Hugging Face hub, with the HF_TOKEN of the studio's computer."""
        body = {"repo_id": repo_id, "private": private, "license": license_name}
        return self._ask("POST", "/models/{}/publish", model_id, body=body, seconds=WORK_SECONDS)

    def calculate(self, model_id: str, a: int, b: int, *, checkpoint_step: int | None = None) -> Row:
        """What a Grokking lab model answers to one problem."""
        body = {"a": a, "b": b, "checkpoint_step": checkpoint_step}
        return self._ask("POST", "/models/{}/calculate", model_id, body=body, seconds=WORK_SECONDS)

    def table(self, model_id: str, *, checkpoint_step: int | None = None) -> Row:
        """All problems of a Grokking lab model: which it answers right, and which it learned from."""
        asked = given({"checkpoint_step": checkpoint_step})
        return self._ask("GET", "/models/{}/table", model_id, params=asked, seconds=WORK_SECONDS)

    def accuracy(self, model_id: str) -> Row:
        """How often a model is right on held-out questions, and the progress of a measurement."""
        return self._ask("GET", "/models/{}/accuracy", model_id)

    def measure_accuracy(self, model_id: str, questions: int = 50, *, checkpoints: bool = False) -> Row:
        """Start to ask a model held-out questions: at most `questions` from each dataset."""
        body = {"questions": questions, "checkpoints": checkpoints}
        return self._ask("POST", "/models/{}/accuracy", model_id, body=body)

    def cancel_accuracy(self, model_id: str) -> Row:
        """Cancel the measurement of this model."""
        return self._ask("DELETE", "/models/{}/accuracy", model_id)
