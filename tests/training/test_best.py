"""The best check, and early stopping by it: when training ends, what is kept, and what survives a pause."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from cognate_core.contracts import Event
from cognate_core.contracts.heldout import HeldoutMeans
from cognate_core.data.prepared import PreparedData
from cognate_core.training.best import Best
from cognate_core.training.checkpoint import load_checkpoint
from cognate_core.training.hardware import Precision
from cognate_core.training.text_loop import TextLoop
from tests.there import there
from tests.training.group_in_threads import thread_peers, together
from tests.training.preparing import prepared_folder
from tests.training.resume.lives import TINY, Place, Trained

pytestmark = pytest.mark.usefixtures("one_thread")

BEST_AT_2 = {0: 0.5, 2: 1.0, 4: 5.0, 6: 6.0, 8: 7.0}  # what was not trained is no result
VALUES = st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])


def of(metric: str, value: float | None) -> HeldoutMeans:
    return replace(HeldoutMeans(None, None, None), **{metric: value})


def script(monkeypatch: pytest.MonkeyPatch, values: dict[int, float], metric: str = "loss") -> None:
    """From now on checks give the values of the script."""
    monkeypatch.setattr(TextLoop, "_check_heldout", lambda loop: of(metric, values[loop.step]))


@given(
    values=st.lists(VALUES, max_size=12),
    metric=st.sampled_from(["loss", "bits_per_byte", "accuracy"]),
    patience=st.integers(0, 4),
    pause=st.integers(0, 12),
)
def test_the_best_is_the_first_that_no_other_beats(
    values: list[float | None], metric: str, patience: int, pause: int
) -> None:
    best = Best(metric, patience)
    for step, value in enumerate(values):
        if step == pause:
            state = json.loads(json.dumps(best.state_dict()))
            best = Best(metric, patience)
            best.load_state_dict(state)
        best.take(step, of(metric, value))
    numbers = [value for value in values if value is not None]
    if not numbers:
        assert (best.step, best.is_over) == (None, False), "nothing is known to have grown worse"
        return
    wanted = values.index(max(numbers) if metric == "accuracy" else min(numbers))
    waited = len(values) - 1 - wanted
    assert (best.step, best.waited, best.is_over) == (wanted, waited, 0 < patience <= waited)


def test_the_best_by_another_metric_is_none() -> None:
    best, other = Best("loss", 1), Best("accuracy", 1)
    best.take(4, of("loss", 1.0))
    other.load_state_dict(best.state_dict())
    assert other == Best("accuracy", 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    return prepared_folder(TINY, tmp_path_factory.mktemp("cache"))


def trained(prepared: str, folder: Path, **change: Any) -> Trained:
    return Trained(prepared, folder, **{"eval_interval": 2, "save_steps": 1000, "early_stopping_patience": 2, **change})


def messages(model: Trained) -> list[str]:
    return [record.message for record in model.heard if isinstance(record, Event)]


def assert_weights_of(model: Trained, step: int) -> None:
    """The finished model is what it was after `step`."""
    checkpoint = load_checkpoint(model.folder / f"checkpoints/step-{step:08d}")
    finished = load_file(model.folder / "model.safetensors")
    assert all(torch.equal(tensor, checkpoint.model[name]) for name, tensor in finished.items())
    assert there(model.result)["training_stats"]["weights_step"] == step


@pytest.mark.parametrize("pause", [None, (1, 0), (2, 0), (4, 0), (5, 0)])
def test_training_ends_when_no_check_is_better_and_the_best_is_kept(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: Place | None
) -> None:
    script(monkeypatch, BEST_AT_2)
    model = trained(prepared, tmp_path)
    if pause is not None:
        assert not model.live(until=pause)
    assert model.live()
    result = there(model.result)
    stats = result["training_stats"]
    assert (result["training_status"], stats["steps"], stats["planned_steps"]) == ("completed", 6, 8)
    why = "Ended early, at step 6 of 8. The held-out loss has not improved for 2 checks, since step 2."
    assert stats["ended_early"] == why and why in messages(model)
    assert_weights_of(model, 2)
    card = (model.folder / "README.md").read_text("utf-8")
    assert f"Training e{why[1:-1]}. The weights are from the best check, at step 2." in card
    data, fp32 = PreparedData(Path(prepared)), Precision("fp32", "")
    whole = TextLoop("m", model.config, data, tmp_path, fp32, lambda _: None, lambda *_: None)
    whole.load(load_checkpoint(model.folder / "checkpoints/step-00000002"))
    (measured,) = whole.full_heldout()
    assert stats["heldout_loss"] == {"Synthetic": round(measured.loss, 4)}, "what is told is of what is kept"


def test_a_pause_while_the_end_is_measured_changes_nothing(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, BEST_AT_2)
    model = trained(prepared, tmp_path)
    assert not model.live(until=(6, 1)), "after the last step, in the closing measurement"
    assert "The model has the weights of its best check, at step 2" in messages(model)
    assert model.live()
    assert there(model.result)["training_stats"]["steps"] == 6
    assert_weights_of(model, 2)


@pytest.mark.parametrize(("patience", "kept"), [(0, 8), (4, 2)])
def test_all_steps_are_run_where_patience_suffices(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, kept: int
) -> None:
    """And with early stopping off, the last weights are the model."""
    script(monkeypatch, BEST_AT_2)
    model = trained(prepared, tmp_path, early_stopping_patience=patience)
    assert model.live()
    assert there(model.result)["training_stats"]["steps"] == 8
    assert "ended_early" not in there(model.result)["training_stats"]
    assert_weights_of(model, kept)
    assert "Training ran all of its 8 steps" in (model.folder / "README.md").read_text("utf-8")


def test_the_metric_is_the_one_that_was_chosen(prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, {0: 0.9, 2: 0.25, 4: 0.5, 6: 0.5, 8: 0.25}, "accuracy")
    model = trained(prepared, tmp_path, metric_for_best_model="accuracy", max_steps=20)
    assert model.live()
    stats = there(model.result)["training_stats"]
    assert (stats["steps"], stats["weights_step"]) == (8, 4)
    assert "The share of right answers has not improved for 2 checks, since step 4." in stats["ended_early"]


def test_what_is_never_measured_ends_nothing_and_is_told(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, BEST_AT_2)
    model = trained(prepared, tmp_path, metric_for_best_model="accuracy", early_stopping_patience=1)
    assert model.live()
    assert there(model.result)["training_stats"]["weights_step"] == 8
    told = [record for record in model.heard if isinstance(record, Event) and record.level == "warning"]
    assert [event.step for event in told] == [0, 8]
    assert "(accuracy)" in told[0].message and "weights of the last step" in told[1].message


def test_a_best_checkpoint_that_is_damaged_is_told(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, BEST_AT_2)
    model = trained(prepared, tmp_path)

    def damage(place: Place) -> None:
        if place == (5, 0):
            (model.folder / "checkpoints/step-00000002/model.safetensors").write_bytes(b"gone")

    model.meanwhile = damage
    assert model.live()
    assert there(model.result)["training_stats"]["weights_step"] == 6
    assert any("is damaged" in message and "weights of the last step" in message for message in messages(model))


def test_the_best_check_of_another_run_is_none_of_a_branch(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, {0: 9.0, 2: 1.0, 4: 5.0, 6: 4.0, 8: 6.0})
    parent = trained(prepared, tmp_path / "parent", early_stopping_patience=0)
    assert not parent.live(until=(5, 0))
    branch = trained(prepared, tmp_path / "branch")
    data, fp32 = PreparedData(Path(prepared)), Precision("fp32", "")
    loop = TextLoop("m", branch.config, data, branch.folder, fp32, lambda _: None, lambda *_: None)
    loop.load(load_checkpoint(parent.folder / "checkpoints/step-00000005"), branched=True)
    loop.run()
    loop.return_to_best()
    assert (loop.step, loop.weights_step) == (8, 6)


def test_peers_end_together(prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, BEST_AT_2)
    config = TINY.with_overrides({"eval_interval": 2, "early_stopping_patience": 2, "batch_size": 2})
    loops = [
        TextLoop(
            "m",
            config,
            PreparedData(Path(prepared)),
            tmp_path,
            Precision("fp32", ""),
            lambda record: None,
            lambda *progress: None,
            group=group,
        )
        for group in thread_peers(2)
    ]
    together([loop.run for loop in loops])
    assert [loop.step for loop in loops] == [6, 6]
    loops[0].return_to_best()
    assert loops[0].weights_step == 2 and not math.isnan(loops[0].full_heldout()[0].loss)
