"""What is measured is kept, rewound and filled in."""

import math
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    DataReport,
    Evaluation,
    Event,
    LayerFigures,
    Phase,
    PonderHistogram,
    Record,
    Rewind,
    Sample,
    SourceReport,
    StepMetrics,
)
from cognate_core.contracts.heldout import heldout_checks
from cognate_core.errors import StorageError
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import TrainedModel
from tests.storage.progress_log.rows import DEFAULTS, a_life, add_run, measured, progress, settle, step_metrics
from tests.there import there


class TestRecords:
    def test_metrics_come_in_order_and_once(self, log: ProgressLog, run_id: str) -> None:
        steps = [step_metrics(step, loss=1 / step) for step in range(1, 6)]
        for metrics in steps[:3]:
            log.record(run_id, metrics)
        settle(log)
        first = log.metrics(run_id)
        assert [row["step"] for row in first] == [1, 2, 3]
        for metrics in steps[3:]:
            log.record(run_id, metrics)
        settle(log)
        news = log.metrics(run_id, after_id=first[-1]["id"])
        assert [row["step"] for row in news] == [4, 5]
        assert log.metrics(run_id, after_id=news[-1]["id"]) == []
        for row, metrics in zip(first + news, steps, strict=True):
            assert {key: row[key] for key in asdict(metrics)} == asdict(metrics)
        assert [row["step"] for row in log.last_metrics(run_id, 2)] == [4, 5]

    def test_of_two_runs_that_write_at_once_each_sees_its_own(
        self, log: ProgressLog, tiny_config: TrainingConfig
    ) -> None:
        ids = [add_run(log, tiny_config, f"r{number}") for number in range(3)]

        def train(run_id: str) -> None:
            for step in range(1, 101):
                log.record(run_id, step_metrics(step))

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(train, ids))
        settle(log)
        for run_id in ids:
            assert [row["step"] for row in log.metrics(run_id)] == list(range(1, 101))

    def test_a_refused_row_of_one_run_harms_no_other_run(self, log: ProgressLog, tiny_config: TrainingConfig) -> None:
        bad, good = (add_run(log, tiny_config, run_id) for run_id in ("bad", "good"))
        log.record(good, step_metrics(1))
        log.record(bad, step_metrics(1))
        log.record(bad, step_metrics(1))  # the same step once more
        log.record(good, step_metrics(2))
        settle(log)
        log.record(good, step_metrics(3))  # the refusal is not told to this one
        settle(log)
        assert [row["step"] for row in log.metrics(good)] == [1, 2, 3]
        with pytest.raises(StorageError, match="UNIQUE"):
            log.record(bad, step_metrics(2))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_no_number_is_null(self, log: ProgressLog, path: Path, run_id: str, value: float) -> None:
        log.record(run_id, step_metrics(1, loss=value, grad_norm=value, filtered_grad_norm=value))
        log.record(run_id, Evaluation("m", 1, "Synthetic", value, 10))
        settle(log)
        row = log.metrics(run_id)[0]
        assert (row["loss"], row["grad_norm"], row["filtered_grad_norm"]) == (None, None, None)
        assert row["learning_rate"] == 1e-3
        assert log.evaluations(run_id)[0]["loss"] is None
        connection = sqlite3.connect(path)
        kinds = connection.execute("SELECT typeof(loss), typeof(grad_norm) FROM metrics").fetchall()
        connection.close()
        assert kinds == [("null", "null")]

    def test_evaluations_samples_and_events_come_back(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        evaluations = [Evaluation("m", step, "Synthetic", 2.0 - step, 100) for step in (0, 1)]
        sample = Sample("m", 1, "Synthetic", "Problem: 1 + 1?", "3", "2")
        event = Event("warning", "GSM8K could not be had", "m", 1)
        bare = Event("info", "Hello")
        add_run(log, tiny_config, "other")
        log.record("other", Event("error", "of another run"))
        records: list[Record] = [*evaluations, sample, event, bare]
        for record in records:
            log.record(run_id, record)
        settle(log)

        def known(record: Any, row: dict[str, Any]) -> dict[str, Any]:
            return {key: row[key] for key in asdict(record)}

        rows = log.evaluations(run_id)
        assert [known(evaluations[0], row) for row in rows] == [asdict(each) for each in evaluations]
        assert log.evaluations(run_id, after_id=rows[0]["id"]) == rows[1:]
        assert [known(sample, row) for row in log.samples(run_id)] == [asdict(sample)]
        assert [known(event, row) for row in log.events(run_id)] == [asdict(event), asdict(bare)]
        assert all(row["created_at"] for row in log.events(run_id))

    def test_a_warning_that_comes_often_is_told_once(self, log: ProgressLog, run_id: str) -> None:
        for level, message in (("warning", "b"), ("info", "i"), ("error", "a"), ("warning", "b")):
            log.record(run_id, Event(level, message))  # type: ignore[arg-type]
        settle(log)
        assert log.warnings(run_id) == ["b", "a"]

    def test_each_model_has_its_own_rows(self, log: ProgressLog, run_id: str) -> None:
        for model in ("m", "n"):
            for step in range(1, 5):
                log.record(run_id, step_metrics(step, model, loss=math.nan if step == 2 else float(step)))
            log.record(run_id, PonderHistogram(model, 4, [0, 1]))
            log.record(run_id, LayerFigures(model, 4, ["layer 1"], [0.5], [None], [0.1], [[0, 1]]))
        settle(log)
        assert log.losses(run_id, "m") == {1: 1.0, 2: None, 3: 3.0, 4: 4.0}
        rows = log.last_metrics(run_id, 2, model_name="m")
        assert [(row["model_name"], row["step"]) for row in rows] == [("m", 3), ("m", 4)]
        assert [row["model_name"] for row in log.ponder_histograms(run_id, model_name="n")] == ["n"]
        (row,) = log.layer_figures(run_id, model_name="n")
        figures = {"layers": ["layer 1"], "weights": [0.5], "gradients": [None], "updates": [0.1]}
        assert row | figures | {"model_name": "n", "magnitudes": [[0, 1]]} == row

    def test_a_data_report_comes_back_whole_and_at_once(self, log: ProgressLog, run_id: str) -> None:
        source = SourceReport("GSM8K", "openai/gsm8k", "the hub", True, "", 10, 2, {"too long": 3}, 1000, 4)
        gone = SourceReport("SVAMP", "ChilleD/SVAMP", "nowhere", False, "offline")
        report = DataReport([source, gone], False, "abc", 400, True)
        log.record(run_id, report)
        assert log.run(run_id).data_report == asdict(report)


class TestRewind:
    def test_forgets_what_came_later_and_keeps_what_happened(
        self, log: ProgressLog, run_id: str, tiny_config: TrainingConfig
    ) -> None:
        add_run(log, tiny_config, "other")
        for owner, model_name in ((run_id, "m"), (run_id, "its neighbour"), ("other", "m")):
            for record in a_life(model_name):
                log.record(owner, record)
        before, of_other = measured(log, run_id), measured(log, "other")
        log.record(run_id, Rewind("m", 9, 4))
        after = measured(log, run_id)
        limits = {"metrics": 9, "histograms": 9, "evaluations": 4, "samples": 4, "events": 99}
        for table, limit in limits.items():
            expected = [row for row in before[table] if row["model_name"] != "m" or row["step"] <= limit]
            assert after[table] == expected, table
            assert (len(expected) < len(before[table])) == (table != "events")
        assert measured(log, "other") == of_other

    def test_forgets_rows_that_were_still_on_their_way(self, log: ProgressLog, run_id: str) -> None:
        settle(log)  # so that the next commit is some time off
        for record in a_life():
            log.record(run_id, record)
        log.record(run_id, Rewind("m", 2, 0))
        assert [row["step"] for row in measured(log, run_id)["metrics"]] == [1, 2]

    def test_lets_the_same_steps_be_recorded_again(self, log: ProgressLog, run_id: str) -> None:
        for record in a_life(last=10):
            log.record(run_id, record)
        log.record(run_id, Rewind("m", 6, 4))
        for record in a_life(first=7):
            log.record(run_id, record)
        log.raise_refused(run_id)
        assert [row["step"] for row in log.metrics(run_id)] == list(range(1, 13))
        assert [row["step"] for row in log.evaluations(run_id)] == [4] * 3 + [8] * 3 + [12] * 3

    def test_to_before_the_first_step_forgets_all(self, log: ProgressLog, run_id: str) -> None:
        log.record(run_id, Evaluation("m", 0, "Synthetic", 6.0, 10))
        for record in a_life():
            log.record(run_id, record)
        log.record(run_id, Rewind("m", -1, -1))
        after = measured(log, run_id)
        assert [name for name, rows in after.items() if rows] == ["events"]
        assert log.run(run_id).step == 0

    def test_shows_the_step_that_it_goes_on_from(self, log: ProgressLog, run_id: str) -> None:
        assert log.claim(run_id)
        log.set_progress(run_id, progress(Phase.TRAINING, step=9, total_steps=20))
        log.record(run_id, Rewind("m", 6, 4))
        assert log.run(run_id).step == 6
        log.set_progress(run_id, progress(Phase.TRAINING, "Training m"))
        settle(log)
        assert (log.run(run_id).step, log.run(run_id).message) == (6, "Training m")


class TestMetricsNear:
    @pytest.fixture
    def steps(self, log: ProgressLog, run_id: str) -> dict[str, list[int]]:
        steps = {"m": [1, 2, 3, 10, 20, 21], "other": [5, 12]}
        for model, its in steps.items():
            for step in its:
                log.record(run_id, StepMetrics(model, step, float(step), 0.1, 1.0, 1.0, 10, 0.1, 0.1))
        log.raise_refused(run_id)
        return steps

    @pytest.mark.parametrize("model", ["m", "other"])
    def test_the_closest_row_of_the_model_is_given(
        self, log: ProgressLog, run_id: str, steps: dict[str, list[int]], model: str
    ) -> None:
        for asked in range(-3, 40):
            row = log.metrics_near(run_id, model, asked)
            assert row is not None and (row["model_name"], row["loss"]) == (model, float(row["step"]))
            assert abs(row["step"] - asked) == min(abs(step - asked) for step in steps[model])

    def test_of_what_is_not_there_is_none(self, log: ProgressLog, run_id: str, steps: dict[str, list[int]]) -> None:
        assert log.metrics_near(run_id, "nobody", 3) is None
        assert log.metrics_near("nothing", "m", 3) is None


class TestBestEvaluation:
    def test_is_that_of_the_lowest_mean_over_all_datasets(self, log: ProgressLog, run_id: str) -> None:
        losses = {0: (9.0, 8.0), 10: (3.0, 5.0), 20: (1.0, 6.5), 30: (3.5, 4.5), 40: (0.1, math.nan)}
        for step, each in losses.items():
            for dataset, loss in zip(("GSM8K", "SVAMP"), each, strict=True):
                log.record(run_id, Evaluation("m", step, dataset, loss, 9))
        log.raise_refused(run_id)
        best = there(log.best_check(run_id))
        assert (best.model_name, best.step) == ("m", 20), "lowest mean; one that is not known whole is none"
        assert best.means.loss == pytest.approx(3.75)

    def test_a_small_dataset_counts_little(self, log: ProgressLog, run_id: str) -> None:
        for step, (large, small) in {10: (2.0, 9.0), 20: (2.5, 3.0)}.items():
            log.record(run_id, Evaluation("m", step, "GSM8K", large, 9, weight=0.95))
            log.record(run_id, Evaluation("m", step, "HotpotQA", small, 9, weight=0.05))
        log.raise_refused(run_id)
        assert there(log.best_check(run_id)) == log.heldout_checks([run_id])[run_id][0]
        assert there(log.best_check(run_id)).means.loss == pytest.approx(2.35)

    def test_of_two_that_are_alike_is_the_earlier_one(self, log: ProgressLog, run_id: str) -> None:
        for step in (30, 10, 20):
            log.record(run_id, Evaluation("m", step, "SVAMP", 2.0, 9))
        log.raise_refused(run_id)
        assert there(log.best_check(run_id)).step == 10

    def test_is_unknown_where_nothing_was_measured(self, log: ProgressLog, run_id: str) -> None:
        assert log.best_check(run_id) is None
        log.record(run_id, Evaluation("m", 10, "SVAMP", math.nan, 9))
        log.raise_refused(run_id)
        assert log.best_check(run_id) is None


@pytest.mark.parametrize(("stats", "step"), [({"steps": 6, "weights_step": 2}, 2), ({"steps": 6}, 6)])
def test_a_model_is_of_the_step_of_its_weights(stats: dict[str, int], step: int) -> None:
    """Of an earlier version it is the last."""
    assert TrainedModel("i", "r", "run", "m", "completed", 1, "", {"training_stats": stats}, "", []).step == step


class TestEvaluations:
    def test_have_bits_per_byte_where_bytes_were_counted(self, log: ProgressLog, run_id: str) -> None:
        log.record(run_id, Evaluation("m", 1, "SVAMP", math.log(2) * 3, 20, bytes=40))
        log.record(run_id, Evaluation("m", 1, "GSM8K", 3.0, 20))
        log.record(run_id, Evaluation("m", 2, "SVAMP", math.nan, 20, bytes=40))
        log.raise_refused(run_id)
        for rows in (log.evaluations(run_id), log.records_after("evaluations", run_id, 0, 10)):
            assert [row["bits_per_byte"] for row in rows] == [pytest.approx(1.5), None, None]
        assert [row["step"] for row in log.newest_evaluations(run_id, "m")] == [1, 2], "the last of each dataset"


class TestFillGaps:
    @settings(max_examples=40)
    @given(
        known=st.integers(0, len(a_life())),
        last=st.integers(0, 12),
        models=st.sampled_from([["m"], ["m", "n"]]),
    )
    def test_whatever_the_database_lost_is_there_again_and_nothing_twice(
        self, known: int, last: int, models: list[str]
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = ProgressLog(Path(folder) / "studio.sqlite")
            try:
                for owner in ("whole", "torn", "other"):
                    add_run(log, DEFAULTS, owner)
                for model_name in models:
                    life = a_life(model_name, last=last)
                    for record in life:
                        log.record("whole", record)
                        log.record("other", record)
                    for record in life[:known]:
                        log.record("torn", record)
                for model_name in models:
                    log.fill_gaps("torn", a_life(model_name, last=last))
                expected = by_model(measured(log, "whole"))
                assert by_model(measured(log, "torn")) == expected
                for model_name in models:
                    log.fill_gaps("torn", a_life(model_name, last=last))
                assert by_model(measured(log, "torn")) == expected
                assert by_model(measured(log, "other")) == expected, "another run was touched"
            finally:
                log.close()

    def test_where_nothing_was_lost_nothing_is_added(self, log: ProgressLog, run_id: str) -> None:
        for record in a_life():
            log.record(run_id, record)
        assert log.fill_gaps(run_id, a_life()) == 0

    def test_tells_how_much_was_added(self, log: ProgressLog, run_id: str) -> None:
        assert log.fill_gaps(run_id, a_life()) == len(a_life())

    def test_what_the_database_has_beyond_the_log_stays(self, log: ProgressLog, run_id: str) -> None:
        """The log may be torn in its midst: what comes behind is not trusted, but the database has it."""
        for record in a_life():
            log.record(run_id, record)
        before = measured(log, run_id)
        log.fill_gaps(run_id, a_life(last=6))
        assert measured(log, run_id) == before

    def test_what_happened_after_a_resume_at_an_earlier_step_is_restored(self, log: ProgressLog, run_id: str) -> None:
        life = a_life(last=8)
        resumed = Event("info", "Resumed after step 4", "m", 4, "2026-01-02T00:00:00+00:00")
        for record in life:
            log.record(run_id, record)
        log.fill_gaps(run_id, [*life, resumed])
        assert [row["message"] for row in measured(log, run_id)["events"]][-1] == resumed.message

    def test_figures_that_are_no_number_are_null(self, log: ProgressLog, run_id: str) -> None:
        log.fill_gaps(run_id, [step_metrics(1, loss=math.nan), Evaluation("m", 1, "Synthetic", math.inf, 1)])
        assert (log.metrics(run_id)[0]["loss"], log.evaluations(run_id)[0]["loss"]) == (None, None)

    def test_what_is_no_row_is_passed_over(self, log: ProgressLog, run_id: str) -> None:
        report = DataReport([], False, "abc", 400, False)
        assert log.fill_gaps(run_id, [Rewind("m", 0, 0), report, step_metrics(1)]) == 1
        assert log.run(run_id).data_report is None
        assert log.fill_gaps(run_id, []) == 0

    def test_is_done_whole_or_not_at_all(self, log: ProgressLog, run_id: str) -> None:
        def torn() -> Iterator[Record]:
            yield from a_life(last=4)
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            log.fill_gaps(run_id, torn())
        assert not any(measured(log, run_id).values())
        with pytest.raises(StorageError, match="FOREIGN KEY"):
            log.fill_gaps("no such run", a_life())


def by_model(tables: dict[str, list[dict[str, Any]]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The rows of each model in each table, in order of writing."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for table, rows in tables.items():
        for row in rows:
            found.setdefault((table, row["model_name"]), []).append(row)
    return found


def test_the_means_of_all_checks_are_those_of_each(tmp_path: Path) -> None:
    """The database adds up what heldout_means adds up one by one."""
    ProgressLog(tmp_path / "log.db").close()
    amount = st.none() | st.floats(0, 20)
    one = {"step": st.integers(0, 2), "loss": amount, "tokens": st.integers(0, 9), "accuracy": amount, "weight": amount}

    @given(st.lists(st.fixed_dictionaries({**one, "bytes": st.none() | st.integers(0, 9)}), max_size=6))
    def agree(given_rows: list[dict[str, Any]]) -> None:
        rows = [{"model_name": "m", "dataset": str(number), **row} for number, row in enumerate(given_rows)]
        with sqlite3.connect(tmp_path / "log.db") as connection:
            connection.execute("DELETE FROM evaluations")
            for row in rows:
                marks = ", ".join(f":{name}" for name in row)
                connection.execute(f"INSERT INTO evaluations (run_id, {', '.join(row)}) VALUES ('r', {marks})", row)
        connection.close()
        found = ProgressReader(tmp_path / "log.db").heldout_checks(["r"]).get("r", [])
        for check, wanted in zip(found, heldout_checks(rows), strict=True):
            assert (check.model_name, check.step) == (wanted.model_name, wanted.step)
            for name in ("loss", "bits_per_byte", "accuracy"):
                mean, expected = getattr(check.means, name), getattr(wanted.means, name)
                assert mean == (None if expected is None else pytest.approx(expected, rel=1e-12))

    agree()
