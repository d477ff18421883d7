"""Run files that are damaged or of another version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cognate_core.contracts.json_lines import record_to_json
from cognate_core.runs.manager import RunManager
from tests.runs.manager.patient import end_of, figures_of, measured
from tests.runs.recovery.damage import BROKEN, lose

pytestmark = pytest.mark.usefixtures("one_thread")


class TestBrokenRunFiles:
    @pytest.fixture
    def lost(
        self, open_studio: Callable[[], RunManager], start: Callable[..., str], home: Path
    ) -> tuple[dict[str, Any], Path]:
        """Two runs whose database is gone: the rows of the good one, and the run.json of the other."""
        studio = open_studio()
        ids = [start(studio, name) for name in ("good", "other")]
        for run_id in ids:
            end_of(studio, run_id)
        studio.close()
        rows = {**studio.log.export_run(ids[0]), **measured(studio.log, ids[0])}
        lose(home)
        return rows, home / "runs" / ids[1] / "run.json"

    def is_named_and_harms_no_other(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager]
    ) -> None:
        good, path = lost
        broken = path.read_bytes()
        for _ in range(2):  # the next start must go as well
            studio = open_studio()
            found = {run.id: run for run in studio.log.runs()}
            good_id = good["runs"][0]["id"]
            assert {**studio.log.export_run(good_id), **measured(studio.log, good_id)} == good
            assert [model.name for model in studio.log.models()][-1] == "good"
            if path.parent.name in found:  # what is broken in it does no harm: it is a run like others
                run = found[path.parent.name]
                assert run.name == "other"
                assert isinstance(run.progress, float | None)
                assert isinstance(run.worked_seconds, float | None)
                assert all(isinstance(name, str) for name in run.model_names)
            else:
                assert f"The run in {path.parent.name} cannot be" in (studio.recovery_note() or "")
            assert path.read_bytes() == broken, "nothing of it is lost"
            studio.close()

    @pytest.mark.parametrize("what", BROKEN)
    def test_one_whose_rows_are_not_what_they_should_be_is_named_and_harms_no_other(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager], what: str
    ) -> None:
        _, path = lost
        path.write_text(json.dumps(BROKEN[what](json.loads(path.read_text()))))
        self.is_named_and_harms_no_other(lost, open_studio)

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"\xff\xfe\x00", b"\0" * 5000, b"[" * 100_000],
        ids=["empty", "cut off", "no text", "zeros", "deep"],
    )
    def test_one_that_is_no_json_is_named_and_harms_no_other(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager], content: bytes
    ) -> None:
        lost[1].write_bytes(content)
        self.is_named_and_harms_no_other(lost, open_studio)

    def test_one_that_is_a_folder_is_named_and_harms_no_other(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager]
    ) -> None:
        good, path = lost
        path.unlink()
        path.mkdir()
        studio = open_studio()
        assert [run.id for run in studio.log.runs()] == [good["runs"][0]["id"]]
        assert f"The run in {path.parent.name} cannot be read" in (studio.recovery_note() or "")

    def test_columns_and_settings_of_another_version_do_no_harm(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager]
    ) -> None:
        _, path = lost
        rows = json.loads(path.read_text())
        before = json.loads(path.read_text())
        for table in ("runs", "models", "artifacts"):
            rows[table][0]["colour"] = "green"
        rows["thoughts"] = [{"id": 1}]
        path.write_text(json.dumps(rows))
        studio = open_studio()
        assert studio.log.export_run(path.parent.name) == before
        assert studio.recovery_note() == "2 runs were rebuilt from their folder."

    def test_folders_that_are_links_are_not_followed(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager], tmp_path: Path
    ) -> None:
        good, path = lost
        path.parent.rename(tmp_path / path.parent.name)
        path.parent.symlink_to(tmp_path / path.parent.name, target_is_directory=True)
        studio = open_studio()
        assert [run.id for run in studio.log.runs()] == [good["runs"][0]["id"]]

    def test_what_else_lies_among_the_runs_is_let_be(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager], home: Path
    ) -> None:
        (home / "runs" / "notes.txt").write_text("mine")
        (home / "runs" / "empty").mkdir()
        studio = open_studio()
        assert len(studio.log.runs()) == 2
        assert studio.recovery_note() == "2 runs were rebuilt from their folder."
        assert (home / "runs" / "notes.txt").read_text() == "mine"

    def test_figures_count_up_to_the_first_line_that_is_not_whole(
        self, lost: tuple[dict[str, Any], Path], open_studio: Callable[[], RunManager]
    ) -> None:
        good, path = lost
        log = path.parent / "other" / "training_log.jsonl"
        figures = [json.dumps(record_to_json(record)) for record in figures_of("other", 5)]
        third_step = next(place for place, line in enumerate(figures) if '"step": 3' in line)
        log.write_text("\n".join([*figures[:third_step], '{"type": "Step', *figures[third_step:]]) + "\n")
        studio = open_studio()
        assert [row["step"] for row in studio.log.metrics(path.parent.name)] == [1, 2]
        assert measured(studio.log, good["runs"][0]["id"])["metrics"] == good["metrics"]
