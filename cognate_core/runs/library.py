"""Trained runs and models: delete and restore, rename, describe, inspect, and measure their accuracy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from cognate_core.contracts import BatchSequence
from cognate_core.errors import ConfigError, NotFound, RunError, StorageError
from cognate_core.labels import folder_name
from cognate_core.runs.accuracy import Job, Measurement
from cognate_core.runs.derived import checkpoint_steps
from cognate_core.runs.execution import begin_folder
from cognate_core.runs.names import valid_name, valid_tag
from cognate_core.runs.process import workers
from cognate_core.runs.recovery import fill_from_logs
from cognate_core.runs.scheduler import Scheduler
from cognate_core.service import seeds_from
from cognate_core.storage.rows import Row, Run
from cognate_core.storage.trash import TrashEntry

MAX_NOTE_LENGTH = 4000


class Library(Scheduler):
    """Existing runs and models."""

    def delete_model(self, model_id: str) -> None:
        """Move a model and its files to the trash.

        Raises:
            RunError: there is no such model, its run is queued or active, or its accuracy is being measured.
        """
        with self._ending:
            model = self.log.model(model_id)
            self._require_rest(model.run_id, "Its run has not ended")
            self._require_unmeasured(model_id)
            files = self.log.artifacts(model_id)
            own = self._folder(model.run_id) / folder_name(model.trained_as)
            folder = (self.home / files[0]["path"]).parent if files else own
            self._move_to_trash("model", model.id, model.name, folder, self.log.export_model(model_id))
            self._keep_run_file(model.run_id)

    def delete_run(self, run_id: str) -> None:
        """Move a run, its models and its files to the trash.

        Raises:
            RunError: there is no such run, or it is queued or active.
        """
        with self._ending, self._lock:
            run = self.log.run(run_id)
            self._require_rest(run_id, "The run has not ended")
            for model in self.log.models(run_id):
                self._require_unmeasured(model.id)
            self._move_to_trash("run", run_id, run.name, self._folder(run_id), self.log.export_run(run_id))

    def restore(self, entry_id: str) -> TrashEntry:
        """Restore a run or model from the trash.

        Raises:
            RunError: it is no longer in the trash, or the model's run no longer exists.
        """
        with self._ending:
            entry = self.trash.entry(entry_id)
            if entry.kind == "model":
                for row in entry.rows["models"]:
                    self.log.run(row["run_id"])
            entry = self.trash.restore(entry_id)
            (own,) = entry.rows[f"{entry.kind}s"]
            known = self._with_reserve(lambda: self.log.restore(entry_id))
            if not known and not self.log.is_taken("runs" if entry.kind == "run" else "models", own["id"]):
                self.log.import_rows(entry.rows)  # from an earlier version, or the database was lost since
                if entry.kind == "run":
                    fill_from_logs(self.log, self.home / entry.origin)
            self._keep_run_file(own["id"] if entry.kind == "run" else own["run_id"])
            self.trash.remove(entry_id)
            return entry

    def remove_for_good(self, entry_id: str) -> None:
        """Remove an entry of the trash for good.

        Raises:
            RunError: it is no longer there.
            StorageError: it could not be removed, and is still in the trash.
        """
        with self._ending, self.trash.given_up(entry_id):
            self._with_reserve(lambda: self.log.forget(entry_id))
        self.trash.remove(entry_id)  # this may take long
        self._reserve.keep()

    def empty_trash(self) -> int:
        """Remove everything in the trash for good; returns the number of entries removed.

        Raises:
            StorageError: some cannot be removed; the others were.
        """
        entries, removed, refused = self.trash.entries(), 0, list[StorageError]()
        for entry in entries:
            try:
                self.remove_for_good(entry.id)
                removed += 1
            except NotFound:
                continue  # another request removed it or restored it
            except StorageError as error:
                refused.append(error)
        if refused:
            raise StorageError(
                f"{len(refused):,} of {len(entries):,} items in the trash cannot be removed. {refused[0]}"
            ) from refused[0]
        return removed

    def checkpoint_steps(self, run_id: str, model_name: str) -> list[int]:
        """The checkpoint steps of a model of the run."""
        return checkpoint_steps(self._folder(run_id), model_name)

    def batch_at(self, run_id: str, model_name: str, step: int) -> list[BatchSequence]:
        """What a model of the run read at a step, one entry for each sequence.

        Raises:
            RunError: the run has no such model.
            DataError: the data is gone, or the step is too late to draw its batch again.
        """
        from cognate_core.data.replay import batch_at

        run = self.log.run(run_id)
        seed = seed_of(run, model_name)
        if run.data_report is None:
            raise RunError("This run has read nothing yet.")
        prepared = self.home / "cache" / "prepared" / run.data_report["content_hash"]
        return batch_at(prepared, run.config, seed, step, begin_folder(self._folder(run_id)))

    def rename_run(self, run_id: str, name: str) -> None:
        """Rename a run. Its models keep their names. Raises ConfigError if the name cannot be used."""
        self.log.rename_run(self.log.run(run_id).id, valid_name(name))
        self._keep_run_file(run_id)

    def tag_runs(self, run_ids: Sequence[str], *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Add tags to runs, and take others away. Raises ConfigError if a tag cannot be used."""
        new, gone = [valid_tag(tag) for tag in add], {tag.strip() for tag in remove}
        runs = [self.log.run(run_id) for run_id in run_ids]
        tags = {run.id: [tag for tag in dict.fromkeys([*run.tags, *new]) if tag not in gone] for run in runs}
        self.log.tag_runs(tags)
        for run in runs:
            self._keep_run_file(run.id)

    def describe_model(self, model_id: str, *, title: str, note: str, tags: Sequence[str]) -> None:
        """Set a model's name, note and tags. Raises ConfigError if a text cannot be used."""
        model = self.log.model(model_id)
        if len(note) > MAX_NOTE_LENGTH:
            raise ConfigError({"note": f"The note has {len(note):,} characters; at most {MAX_NOTE_LENGTH:,} fit."})
        kept = list(dict.fromkeys(valid_tag(tag) for tag in tags))
        self.log.describe_model(model_id, title=valid_name(title, "model"), note=note.strip(), tags=kept)
        self._keep_run_file(model.run_id)

    def kept_steps(self, model_id: str) -> list[int]:
        """A model's checkpoint steps before the step of its weights, in order."""
        model = self.log.model(model_id)
        steps = checkpoint_steps(self._folder(model.run_id), model.details["model_name"])
        return [step for step in steps if step < model.step]

    def remove_upload(self, name: str) -> None:
        """Remove an uploaded file for good.

        Raises:
            NotFound: there is no such file.
            RunError: a run uses it, or would if it were resumed.
        """
        from cognate_core.data.uploads import find_upload, remove

        file = find_upload(self.home, name)
        path = file.path.resolve()
        for run in self.log.runs():
            needs_it = run.status.is_going or run.status.can_resume
            if needs_it and run.config.dataset_path and path.is_relative_to(Path(run.config.dataset_path).resolve()):
                raise RunError(
                    f"The run {run.name} ({run.status.value}) needs this file, or would if it were resumed. Let "
                    "the run complete, or delete it, then remove the file."
                )
        remove(file)

    def weights(self, model_id: str) -> tuple[Path, str]:
        """The folder of a model and the sha256 of its weights.

        Raises:
            NotFound: there is no such model, or it has no weights.
        """
        rows = self.log.artifacts(self.log.model(model_id).id)
        row = next((row for row in rows if row["kind"] == "weights"), None)
        if row is None:
            raise NotFound("The weights of this model were not kept.")
        return self.store.path(row["path"]).parent, str(row["sha256"])

    def measure_accuracy(self, model_id: str, questions: int, *, checkpoints: bool = False) -> None:
        """Start to measure how many held-out questions a model answers right. `measurement` shows the progress.

        Args:
            questions: at most this many from each dataset.
            checkpoints: whether to measure its kept checkpoints, too.

        Raises:
            RunError: there is no such model, it answers no questions, another measurement is running, or its data are
                not known.
            StorageError: its files are gone.
        """
        model = self.log.model(model_id)
        run = self.log.run(model.run_id)
        if run.config.task == "arithmetic":
            raise RunError(
                "A Grokking lab model answers no questions in words. Its table shows how many problems it answers "
                "right."
            )
        if not run.data_report:
            raise RunError("This model's training data were not recorded, so there are no held-out questions to ask.")
        folder, _ = self.weights(model_id)
        job = Job(
            folder=str(folder),
            home=str(self.home),
            config=json.loads(run.config.model_dump_json()),
            data_hash=run.data_report["content_hash"],
            model_step=model.step,
            steps=self.kept_steps(model_id) if checkpoints else [],
            limit=questions,
        )
        self._measuring.start(model_id, job)

    def measurement(self) -> Measurement | None:
        """The state of the latest accuracy measurement since the studio was opened; None without one."""
        return self._measuring.state

    def cancel_measurement(self) -> None:
        """Cancel the running accuracy measurement, if there is one."""
        self._measuring.cancel()

    def _move_to_trash(
        self, kind: Literal["run", "model"], row_id: str, name: str, folder: Path, rows: Mapping[str, list[Row]]
    ) -> None:
        """Move both files and rows, or neither."""
        entry = self._with_reserve(lambda: self.trash.put(kind, row_id, name, folder, rows))
        try:
            self._with_reserve(lambda: self.log.move_to_trash(kind, row_id, entry.id))
        except BaseException:
            self.trash.restore(entry.id)
            self.trash.remove(entry.id)
            raise

    def _require_rest(self, run_id: str, what: str) -> None:
        status = self.log.run(run_id).status
        if status.is_going:
            raise RunError(f"{what} ({status}). Stop or cancel it first.")
        if run_id in workers():  # left by a killed studio
            raise RunError("Its last training process is still ending. Try again in a few seconds.")

    def _require_unmeasured(self, model_id: str) -> None:
        if self._measuring.is_going(model_id):
            raise RunError("Its accuracy is being measured. Wait until that is done, or cancel it first.")


def seed_of(run: Run, model_name: str) -> int:
    """The seed of one of the run's models. Raises NotFound if the run has no such model."""
    seeds = dict(zip(run.model_names, seeds_from(run.config.seed), strict=False))
    if model_name not in seeds:
        raise NotFound("This run has no such model.")
    return seeds[model_name]
