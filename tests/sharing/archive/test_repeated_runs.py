"""Repeated runs: what is compared, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cognate_core.errors import ConfigError, RunError
from cognate_core.runs.manager import RunManager
from cognate_core.sharing.verification import Verification, compare_runs
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Row
from tests.sharing.archive.archives import (
    NAMES,
    Trained,
    assert_refused,
    change_rows,
    change_text,
    copied,
    members_of,
    packed,
)
from tests.surgery import change_database

pytestmark = pytest.mark.usefixtures("one_thread")


def verdict(trained: Trained, name: str) -> Verification:
    return compare_runs(trained.log, ArtifactStore(trained.home), trained.run_id, trained.runs[name])


def test_the_same_seed_on_the_same_computer_gives_the_same_bits(trained: Trained) -> None:
    found = verdict(trained, "again")
    assert (found.verdict, found.same_data, found.other_settings) == ("identical", True, ())
    for model in found.models:
        assert (model.steps, model.largest_difference, model.first_differing_step) == (3, 0.0, None)
        assert (model.identical_losses, model.same_weights, model.largest_heldout_difference) == (True, True, 0.0)


def test_another_seed_is_different(trained: Trained) -> None:
    found = verdict(trained, "other seed")
    assert (found.verdict, found.same_data, found.other_settings) == ("different", True, ("seed",))
    assert "Seed" in found.reason
    losses = [
        [row["loss"] for row in trained.log.metrics(run_id) if row["model_name"] == NAMES[0]]
        for run_id in (trained.run_id, trained.runs["other seed"])
    ]
    (first, _) = found.models
    assert first.largest_difference == max(abs(one - other) for one, other in zip(*losses, strict=True)) > 1e-3
    assert (first.first_differing_step, first.same_weights) == (1, False)


def test_other_data_cannot_be_compared(trained: Trained) -> None:
    found = verdict(trained, "other data")
    assert (found.verdict, found.same_data) == ("cannot be compared", False)
    assert "different data" in found.reason


def test_of_each_model_its_own_losses_alone_are_read(trained: Trained) -> None:
    read: list[int] = []

    class Reader(ProgressReader):
        def metrics(self, run_id: str, after_id: int = 0) -> list[Row]:
            raise AssertionError("the rows of all models are read")

        def evaluations(self, run_id: str, after_id: int = 0, *, model_name: str | None = None) -> list[Row]:
            rows = super().evaluations(run_id, after_id, model_name=model_name)
            read.append(len({row["model_name"] for row in rows}))
            return rows

    store, ids = ArtifactStore(trained.home), (trained.run_id, trained.runs["again"])
    assert compare_runs(Reader(trained.log.path), store, *ids) == verdict(trained, "again")
    assert read == [1] * 2 * len(NAMES)


def test_rounding_an_end_that_is_missing_and_weights_that_are_gone(trained: Trained, tmp_path: Path) -> None:
    studio = copied(trained, tmp_path)
    try:
        ids = trained.run_id, trained.runs["again"]

        def shifted(by: float) -> str:
            write = "UPDATE metrics SET loss = loss + ? WHERE run_id = ? AND step = 2"
            change_database(studio.log.path, write, [by, ids[1]])
            return compare_runs(studio.log, studio.store, *ids).verdict

        assert shifted(1e-6) == "same within rounding"
        assert compare_runs(studio.log, studio.store, *ids).models[0].first_differing_step == 2
        assert shifted(0.01) == "different"
        assert shifted(-0.01) == "same within rounding"
        change_database(studio.log.path, "DELETE FROM metrics WHERE run_id = ? AND step = 3", [ids[1]])
        found = compare_runs(studio.log, studio.store, *ids)
        assert (found.verdict, found.models[0].steps) == ("cannot be compared", 2)
        assert "is longer" in found.reason
        studio.delete_model(studio.log.models(ids[0])[0].id)
        assert [model.same_weights for model in compare_runs(studio.log, studio.store, *ids).models].count(None) == 1
        write = "UPDATE runs SET status = 'crashed' WHERE id = ?"
        change_database(studio.log.path, write, [ids[1]])
        found = compare_runs(studio.log, studio.store, *ids)
        assert (found.verdict, found.reason) == (
            "cannot be compared",
            "again was not completed: it is crashed.",
        )
    finally:
        studio.close()
    with pytest.raises(RunError, match="There is no such run"):
        compare_runs(trained.log, studio.store, trained.run_id, "gone")


def test_settings_that_cannot_be_read_are_told_by_name(trained: Trained, here: RunManager, tmp_path: Path) -> None:
    members = change_rows(
        members_of(trained.archive),
        lambda rows: change_text(rows, "runs", "config", lambda config: config.update(max_stops=3)),
    )
    assert_refused(here, packed(tmp_path / "x.zip", members), "no setting called 'max_stops'", ConfigError)
