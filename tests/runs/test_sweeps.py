"""Sweeps as runs of one group: queued all or none, once for each key, cancelled together, kept wherever a run goes."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.config.sweep import Sweep
from cognate_core.contracts import ModelTrainer, Origin, ProgressCallback, RunStatus
from cognate_core.contracts.heldout import lowest_loss
from cognate_core.errors import ConfigError, DiskFull, RunError
from cognate_core.runs import manager as manager_module
from cognate_core.runs import workspace
from cognate_core.runs.execution import RunContext
from cognate_core.runs.manager import RunManager
from cognate_core.runs.names import MAX_NAME_LENGTH
from cognate_core.runs.read_only import ReadOnlyManager
from cognate_core.service import TrainingService
from cognate_core.sharing.archive import open_archive, write_archive
from cognate_core.testing import MockDatasetLoader, MockModelTrainer
from tests.runs.test_broadcast import heard
from tests.waiting import LONG

pytestmark = pytest.mark.usefixtures("one_thread")


class HeldTrainer(MockModelTrainer):
    """Trains once it is let go, or not at all when it is interrupted before."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        while not self.let_go.wait(0.005):
            progress_callback(1, 10, 1.0, 1e-3)
        return await super().train_model(model_name, config, progress_callback)


@pytest.fixture
def trainer() -> Iterator[HeldTrainer]:
    trainer = HeldTrainer()
    yield trainer
    trainer.let_go.set()


@pytest.fixture
def studio(open_manager: Callable[..., RunManager], trainer: ModelTrainer) -> RunManager:
    def build(context: RunContext) -> TrainingService:
        return TrainingService(context.emitter, MockDatasetLoader(), trainer, context.config)

    return open_manager(build_service=build)


@pytest.fixture
def rates(tiny_config: TrainingConfig) -> Sweep:
    return Sweep(tiny_config, {"learning_rate": "1e-3, 1e-2, 1e-1"})


def statuses(studio: RunManager, group_id: str) -> list[RunStatus]:
    return [run.status for run in studio.log.runs_of_group(group_id)]


def test_whoever_listens_hears_of_each_that_is_queued(studio: RunManager, rates: Sweep) -> None:
    begin = studio.broadcast.newest_id
    _, run_ids = studio.start_sweep(rates, "rates")
    assert [each["run_id"] for each in heard(studio.broadcast, begin) if each["status"] == "queued"] == run_ids


def test_all_are_queued_in_their_order_as_one_group(studio: RunManager, rates: Sweep) -> None:
    group_id, run_ids = studio.start_sweep(rates, " rates ")
    runs = studio.log.runs_of_group(group_id)
    assert [run.id for run in runs] == run_ids
    assert [run.name for run in runs] == [f"rates learning_rate={rate}" for rate in ("0.001", "0.01", "0.1")]
    assert [run.model_names for run in runs] == [[run.name] for run in runs]
    assert [run.config.learning_rate for run in runs] == [1e-3, 1e-2, 1e-1]
    assert {Path(run.config.output_dir) for run in runs} == {studio.home / "runs" / run_id for run_id in run_ids}
    assert {(run.group_id, run.group_name) for run in runs} == {(group_id, "rates")}
    (group,) = studio.log.groups()
    assert (group.id, group.name, group.run_ids) == (group_id, "rates", run_ids)
    assert len({run.colour for run in runs}) == 3


def test_one_after_the_other_is_trained(studio: RunManager, trainer: HeldTrainer, rates: Sweep) -> None:
    group_id, run_ids = studio.start_sweep(rates, "rates")
    trainer.let_go.set()
    assert all(studio.wait(run_id, LONG) for run_id in run_ids)
    assert statuses(studio, group_id) == [RunStatus.COMPLETED] * 3


def test_the_same_key_starts_it_once(studio: RunManager, rates: Sweep, tiny_config: TrainingConfig) -> None:
    first = studio.start_sweep(rates, "rates", "pressed")
    assert studio.start_sweep(rates, "rates", "pressed") == first
    assert len(studio.log.runs()) == 3
    studio.cancel(first[1][0])
    assert studio.wait(first[1][0], LONG)
    studio.delete_run(first[1][0])
    assert studio.start_sweep(rates, "rates", "pressed") == (first[0], first[1][1:])
    assert studio.start_sweep(rates, "rates", "pressed again")[0] != first[0]
    assert studio.start(tiny_config, "alone", ["alone"], "pressed") not in first[1], "a run's keys are others"


def test_many_presses_at_once_start_it_once(studio: RunManager, rates: Sweep) -> None:
    given: list[tuple[str, list[str]]] = []
    presses = [
        threading.Thread(target=lambda: given.append(studio.start_sweep(rates, "rates", "key"))) for _ in range(8)
    ]
    for press in presses:
        press.start()
    for press in presses:
        press.join()
    assert len(given) == 8 and all(each == given[0] for each in given)
    assert len(studio.log.runs()) == 3


def test_what_is_refused_queues_nothing(
    studio: RunManager, tiny_config: TrainingConfig, rates: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    contradicts = Sweep(tiny_config, {"d_model": [16, 17]})
    for sweep, name, key in ((contradicts, "widths", None), (rates, " ", None), (rates, "x", "\ud800")):
        with pytest.raises(ConfigError):
            studio.start_sweep(sweep, name, key)
    asked: list[int] = []

    def no_room(folder: Path, needed: int, what: str) -> None:
        asked.append(needed)
        raise DiskFull(what)

    monkeypatch.setattr(workspace, "require_space", no_room)
    with pytest.raises(DiskFull, match="this sweep"):
        studio.start_sweep(rates, "rates")
    with pytest.raises(DiskFull):
        studio.start(tiny_config, "one", ["one"])
    assert asked[0] == 3 * asked[1], "room for all of them"
    assert studio.log.runs() == [] and studio.log.groups() == []
    assert list((studio.home / "runs").glob("*")) == []


def test_the_database_keeps_all_or_none(studio: RunManager, rates: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = iter(["9" * 12, "1" * 12, "2" * 12, "1" * 12])
    monkeypatch.setattr(manager_module, "new_id", lambda: next(ids))  # the third run has the first one's id
    with pytest.raises(Exception, match="UNIQUE"):
        studio.start_sweep(rates, "rates")
    assert studio.log.runs() == []


def test_cancelling_a_group_takes_out_what_waits_and_ends_what_goes(studio: RunManager, rates: Sweep) -> None:
    group_id, run_ids = studio.start_sweep(rates, "rates")
    other_id, _ = studio.start_sweep(rates, "others")
    assert studio.cancel_group(group_id) == 3
    assert all(studio.wait(run_id, LONG) for run_id in run_ids)
    assert statuses(studio, group_id) == [RunStatus.CANCELLED] * 3
    assert RunStatus.CANCELLED not in statuses(studio, other_id)
    assert studio.cancel_group(group_id) == 0
    with pytest.raises(RunError, match="no such sweep"):
        studio.cancel_group("nowhere")


def test_what_goes_may_go_on(studio: RunManager, trainer: HeldTrainer, rates: Sweep) -> None:
    group_id, run_ids = studio.start_sweep(rates, "rates")
    assert studio.cancel_group(group_id, going=False) == 2
    trainer.let_go.set()
    assert studio.wait(run_ids[0], LONG)
    assert statuses(studio, group_id) == [RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.CANCELLED]


def test_long_names_are_shortened_and_stay_apart(studio: RunManager, tiny_config: TrainingConfig) -> None:
    sweep = Sweep(tiny_config, {"learning_rate": [1e-3, 2e-3], "grokfast_keep_step_size": [False, True]})
    group_id, _ = studio.start_sweep(sweep, "n" * MAX_NAME_LENGTH)
    names = [run.name for run in studio.log.runs_of_group(group_id)]
    assert len(set(names)) == 4 and max(map(len, names)) <= MAX_NAME_LENGTH


def test_it_may_begin_with_the_settings_of_a_run(studio: RunManager, rates: Sweep, tiny_config: TrainingConfig) -> None:
    parent = studio.start(tiny_config, "parent", ["parent"])
    group_id, _ = studio.start_sweep(rates, "rates", origin=Origin(parent, "copy"))
    assert {run.parent_run_id for run in studio.log.runs_of_group(group_id)} == {parent}
    assert studio.log.run(parent).group_id is None


def test_who_only_looks_starts_and_cancels_none(studio: RunManager, rates: Sweep) -> None:
    group_id, _ = studio.start_sweep(rates, "rates")
    watcher = ReadOnlyManager(studio.home)
    with pytest.raises(RunError, match="already running"):
        watcher.start_sweep(rates, "rates")
    with pytest.raises(RunError, match="already running"):
        watcher.cancel_group(group_id)
    assert len(watcher.log.runs_of_group(group_id)) == 3


def test_the_group_outlives_trash_and_a_lost_database(
    open_manager: Callable[..., RunManager], studio: RunManager, rates: Sweep
) -> None:
    group_id, run_ids = studio.start_sweep(rates, "rates")
    studio.cancel_group(group_id)
    assert all(studio.wait(run_id, LONG) for run_id in run_ids)
    studio.delete_run(run_ids[1])
    assert len(studio.log.runs_of_group(group_id)) == 2
    (entry,) = studio.trash.entries()
    studio.restore(entry.id)
    assert {run.id for run in studio.log.runs_of_group(group_id)} == set(run_ids)
    studio.close()
    for path in studio.home.glob("studio.sqlite*"):
        path.unlink()
    again = open_manager()
    assert {run.id for run in again.log.runs_of_group(group_id)} == set(run_ids)
    assert again.log.groups()[0].name == "rates"


def test_a_run_in_a_archive_keeps_the_label_of_its_group(
    open_manager: Callable[..., RunManager], tiny_config: TrainingConfig, tmp_path: Path
) -> None:
    here = open_manager()
    group_id, run_ids = here.start_sweep(Sweep(tiny_config, {"seed": [1, 2]}), "seeds")
    assert all(here.wait(run_id, LONG) for run_id in run_ids)
    archive = tmp_path / "run.cognate.zip"
    write_archive(here.log, here.store, run_ids[0], archive)
    checks = here.log.heldout_checks(run_ids)
    assert set(checks) == set(run_ids)
    assert lowest_loss(checks[run_ids[0]]) == here.log.best_check(run_ids[0]) is not None
    here.close()
    shutil.rmtree(here.home)
    there = open_manager()
    opened = open_archive(there, archive)
    (run,) = there.log.runs()
    assert opened == run.id and (run.group_id, run.group_name) == (group_id, "seeds")
    assert len(there.log.groups()[0].run_ids) == 1


def test_a_run_file_of_an_earlier_version_belongs_to_no_group(
    open_manager: Callable[..., RunManager], studio: RunManager, rates: Sweep
) -> None:
    group_id, (run_id, *others) = studio.start_sweep(rates, "rates")
    studio.cancel_group(group_id)
    assert all(studio.wait(each, LONG) for each in (run_id, *others))
    studio.close()
    path = studio.home / "runs" / run_id / "run.json"
    rows = json.loads(path.read_text())
    for column in ("group_id", "group_name"):
        del rows["runs"][0][column]
    path.write_text(json.dumps(rows))
    for database in studio.home.glob("studio.sqlite*"):
        database.unlink()
    again = open_manager()
    assert again.log.run(run_id).group_id is None
    assert {run.id for run in again.log.runs_of_group(group_id)} == set(others)
