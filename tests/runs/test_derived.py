from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.contracts import DataReport, Origin, RunStatus
from cognate_core.data import loader
from cognate_core.errors import ConfigError, RunError, StorageError
from cognate_core.model import read_shape
from cognate_core.runs import MAX_MODELS, RunManager, numbered_names
from cognate_core.runs.derived import branch_config, checkpoint_steps, nearest_checkpoint, twin_config
from cognate_core.runs.names import MAX_NAME_LENGTH
from cognate_core.training.checkpoint import spread
from cognate_core.training.text_loop import first_pondering_step
from tests.there import there
from tests.waiting import LONG

FAST = {"max_steps": 6, "eval_interval": 3, "save_steps": 2, "sample_tokens": 0, "dataset_sources": ["Synthetic"]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_config: TrainingConfig) -> Path:
    """A data folder with one completed run."""
    home = tmp_path_factory.mktemp("derived") / "home"
    manager = RunManager(home, executor="thread")
    run_id = manager.start(tiny_config.with_overrides(FAST), "Parent", ["Parent"])
    assert manager.wait(run_id, LONG)
    assert manager.log.run(run_id).status is RunStatus.COMPLETED
    manager.close()
    return home


@pytest.fixture
def trained(home: Path, tmp_path: Path, open_manager: Callable[..., RunManager]) -> tuple[RunManager, str]:
    shutil.copytree(home, tmp_path / "home")
    manager = open_manager()
    (run,) = manager.log.runs()
    return manager, run.id


def ended(manager: RunManager, run_id: str) -> RunStatus:
    assert manager.wait(run_id, LONG)
    return manager.log.run(run_id).status


def losses(manager: RunManager, run_id: str) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in manager.log.metrics(run_id)}


def test_a_branch_without_a_change_goes_the_same_way(trained: tuple[RunManager, str]) -> None:
    manager, parent = trained
    branch = manager.start_branch(parent, "Parent", 4, {"max_steps": 6}, "Branch")
    assert ended(manager, branch) is RunStatus.COMPLETED
    assert losses(manager, branch) == {step: losses(manager, parent)[step] for step in (5, 6)}
    run = manager.log.run(branch)
    assert (run.parent_run_id, run.relation, run.branch_step) == (parent, "branch", 4)
    assert any("of step 4" in event["message"] for event in manager.log.events(branch))


def test_a_branch_goes_on_with_what_was_changed(trained: tuple[RunManager, str]) -> None:
    manager, parent = trained
    changes = {"learning_rate": 1e-5, "grokfast_enabled": False, "weight_decay": 0.0, "max_steps": 8}
    branch = manager.start_branch(parent, "Parent", 4, changes, "Branch")
    assert ended(manager, branch) is RunStatus.COMPLETED
    rows = manager.log.metrics(branch)
    assert [row["step"] for row in rows] == [5, 6, 7, 8]
    assert rows[0]["loss"] == losses(manager, parent)[5]  # the weights are those of step 4
    assert rows[0]["learning_rate"] < 1e-5
    assert rows[1]["loss"] != losses(manager, parent)[6]


def test_a_branch_outlives_its_mother(trained: tuple[RunManager, str]) -> None:
    manager, parent = trained
    branch = manager.start_branch(parent, "Parent", 2, {}, "Branch")
    assert ended(manager, branch) is RunStatus.COMPLETED
    manager.delete_run(parent)
    assert manager.log.run(branch).parent_run_id == parent
    grandchild = manager.start_branch(branch, "Branch", 4, {}, "Grandchild")
    assert ended(manager, grandchild) is RunStatus.COMPLETED


def test_runs_made_of_one_that_an_earlier_studio_began_have_its_data_and_its_width(
    tiny_config: TrainingConfig, open_manager: Callable[..., RunManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, models were as wide as was asked, and the same text was packed in another way."""
    manager = open_manager()
    asked = tiny_config.with_overrides({**FAST, "vocab_size": 3000})
    with monkeypatch.context() as earlier:
        earlier.setattr(loader, "LAYOUT_VERSION", 2)
        earlier.setattr(
            loader, "DataReport", lambda *values, **named: DataReport(*values, **{**named, "fitted": False})
        )
        parent = manager.start(asked, "Parent", ["Parent"])
        assert ended(manager, parent) is RunStatus.COMPLETED
    branch = manager.start_branch(parent, "Parent", 4, {"max_steps": 6}, "Branch")
    twin = manager.start_twin(parent)
    new = manager.start(asked, "New", ["New"])
    assert {ended(manager, run) for run in (branch, twin, new)} == {RunStatus.COMPLETED}
    assert losses(manager, branch) == {step: losses(manager, parent)[step] for step in (5, 6)}
    of = {run: manager.log.run(run) for run in (parent, branch, twin, new)}
    texts = {run: there(of[run].data_report)["content_hash"] for run in of}
    assert texts[branch] == texts[twin] == texts[parent] != texts[new]
    widths = {run: read_shape(manager.weights(manager.log.models(run)[0].id)[0]).vocab_size for run in of}
    made = there(of[new].data_report)["vocabulary"]
    assert widths == {parent: 3000, branch: 3000, twin: 3000, new: made} and made < 3000
    assert {run: of[run].as_trained.choices for run in of} == widths


def test_a_copy_with_other_rows_prepares_them_and_does_not_train_on_those_of_its_parent(
    trained: tuple[RunManager, str],
) -> None:
    manager, parent = trained
    config = manager.log.run(parent).config.with_overrides({"max_train_samples": 30})
    copy = manager.start(config, "Copy", ["Copy"], origin=Origin(parent, "fix"))
    assert ended(manager, copy) is RunStatus.COMPLETED
    first, other = (there(manager.log.run(each).data_report) for each in (parent, copy))
    assert first["content_hash"] != other["content_hash"]


def test_a_branch_from_where_there_is_no_checkpoint_is_refused(trained: tuple[RunManager, str]) -> None:
    manager, parent = trained
    with pytest.raises(RunError, match="no longer there"):
        manager.start_branch(parent, "Parent", 1, {}, "Branch")
    assert len(manager.log.runs()) == 1


def test_a_branch_that_cannot_be_queued_leaves_no_folder(
    trained: tuple[RunManager, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, parent = trained

    def refuse(*_: object) -> None:
        raise StorageError("The database is locked by another program.")

    monkeypatch.setattr(manager.log, "create_run", refuse)
    with pytest.raises(StorageError, match="locked"):
        manager.start_branch(parent, "Parent", 4, {}, "Branch")
    assert [path.name for path in (manager.home / "runs").iterdir()] == [parent]


def test_a_twin_differs_in_the_filter_alone_and_is_started_once(trained: tuple[RunManager, str]) -> None:
    manager, parent = trained
    twin = manager.start_twin(parent)
    assert manager.start_twin(parent) == twin
    assert ended(manager, twin) is RunStatus.COMPLETED
    run, original = manager.log.run(twin), manager.log.run(parent)
    different = {name for name, value in run.config if value != getattr(original.config, name)}
    assert different == {"grokfast_enabled", "output_dir"}
    assert losses(manager, twin)[1] == losses(manager, parent)[1]  # same start, same data
    assert run.name == "Parent (filter off)"
    assert run.relation == "twin"
    assert [model.name for model in manager.log.models(twin)] == ["Parent (filter off)"]


@pytest.mark.parametrize("length", [1, 70, MAX_NAME_LENGTH])
def test_a_run_of_any_name_and_number_of_models_has_a_twin(
    trained: tuple[RunManager, str], length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, parent = trained
    monkeypatch.setattr(manager, "_start_waiting", lambda: None)
    name = "n" * length
    config = manager.log.run(parent).config
    run_id = manager.start(config, name, numbered_names(name, MAX_MODELS))
    twin = manager.log.run(manager.start_twin(run_id))
    assert twin.name.endswith(" (filter off)") and len(set(twin.model_names)) == MAX_MODELS


def test_each_run_has_a_colour_of_its_own_that_outlives_the_trash(trained: tuple[RunManager, str]) -> None:
    manager, parent = trained
    twin = manager.start_twin(parent)
    assert ended(manager, twin) is RunStatus.COMPLETED
    assert [manager.log.run(each).colour for each in (parent, twin)] == [0, 1]
    manager.delete_run(parent)
    (entry,) = manager.trash.entries()
    manager.restore(entry.id)
    assert [manager.log.run(each).colour for each in (parent, twin)] == [0, 1]


def test_a_model_is_called_and_described_as_a_person_likes(trained: tuple[RunManager, str]) -> None:
    manager, parent = trained
    (model,) = manager.log.models(parent)
    manager.tag_runs([parent], add=["first", "second"])
    manager.tag_runs([parent], add=["third"], remove=["second", "unknown"])
    assert manager.log.run(parent).tags == ["first", "third"]
    manager.describe_model(model.id, title=" Best so far ", note="Try more steps.", tags=["good", "good", "maths"])
    (described,) = manager.log.models(parent)
    assert (described.name, described.note, described.tags) == ("Best so far", "Try more steps.", ["good", "maths"])
    assert described.details["model_name"] == "Parent"
    with pytest.raises(ConfigError, match="characters"):
        manager.describe_model(model.id, title="x", note="y" * 5000, tags=[])
    with pytest.raises(ConfigError, match="Give"):
        manager.describe_model(model.id, title=" ", note="", tags=[])


def test_what_the_weights_depend_on_cannot_change_on_the_way() -> None:
    config = TrainingConfig()
    with pytest.raises(ConfigError) as caught:
        branch_config(config, 10, {"d_model": 64, "train_seq_len": 64, "learning_rate": 1e-4})
    assert set(caught.value.problems) == {"d_model", "train_seq_len"}
    with pytest.raises(ConfigError, match="after step 2,000"):
        branch_config(config, 2000, {})
    assert branch_config(config, 10, {"learning_rate": "1e-4"}).learning_rate == 1e-4


def test_pondering_that_had_begun_does_not_begin_anew_on_a_longer_branch() -> None:
    config = TrainingConfig(max_steps=1000, act_from=0.35)
    for steps in (900, 1100, 3333):
        assert first_pondering_step(branch_config(config, 400, {"max_steps": steps})) == 351
    assert first_pondering_step(branch_config(config, 100, {"max_steps": 300})) == 301, "never"


def test_a_twins_twin_is_the_first_again() -> None:
    assert twin_config(twin_config(TrainingConfig())) == TrainingConfig()


def test_of_several_models_the_one_that_was_chosen_goes_on_with_its_own_seed(
    open_manager: Callable[..., RunManager], tiny_config: TrainingConfig
) -> None:
    manager = open_manager()
    parent = manager.start(tiny_config.with_overrides(FAST), "Two", ["Two 1", "Two 2"])
    assert ended(manager, parent) is RunStatus.COMPLETED
    branch = manager.start_branch(parent, "Two 2", 4, {}, "Branch")
    assert ended(manager, branch) is RunStatus.COMPLETED
    second = {row["step"]: row["loss"] for row in manager.log.metrics(parent) if row["model_name"] == "Two 2"}
    assert losses(manager, branch) == {step: second[step] for step in (5, 6)}


def test_checkpoints_are_found_and_the_nearest_chosen(trained: tuple[RunManager, str]) -> None:
    manager, parent = trained
    folder = manager.home / "runs" / parent
    assert checkpoint_steps(folder, "Parent") == [2, 3, 4, 6]
    assert checkpoint_steps(folder, "Another") == []
    assert [nearest_checkpoint([2, 4, 6], step) for step in (0, 3, 5, 99)] == [2, 2, 4, 6]
    assert nearest_checkpoint([], 3) is None


@given(st.sets(st.integers(1, 1000), max_size=40), st.integers(0, 8))
def test_what_is_kept_of_a_run_is_spread_over_it(steps: set[int], count: int) -> None:
    kept = spread(sorted(steps), count, until=1001)
    assert set(kept) <= steps
    assert kept == sorted(kept)
    assert len(kept) == min(count, len(steps))


def test_what_is_kept_as_checkpoints_come_stays_spread() -> None:
    kept: list[int] = []
    for step in range(10, 2000, 10):
        kept = spread([*kept, step], 8, until=step + 10)
    gaps = [b - a for a, b in zip([0, *kept], [*kept, 2000], strict=True)]
    assert max(gaps) <= 2.5 * 2000 / 9
