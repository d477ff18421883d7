"""Stopped, cancelled, without memory, with bad losses: what is there to go on from."""

import dataclasses
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cognate_core.contracts import (
    StepMetrics,
)
from cognate_core.errors import CancelRequested, Diverged, OutOfMemory
from cognate_core.model import CognateModel, CognateOutput
from cognate_core.training import checkpoint as checkpoint_module
from cognate_core.training import loop as loop_module
from cognate_core.training import trainer as trainer_module
from cognate_core.training.checkpoint import Checkpoint, load_checkpoint
from tests.there import there
from tests.training.resume.lives import Place, Reference, Trained, assert_equal_tensors, assert_same_end, figures

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_stopped_model_is_resumed_and_ends_as_if_it_had_not_been_stopped(
    prepared: str, plain: Reference, tmp_path: Path
) -> None:
    stopped = Trained(prepared, tmp_path)
    assert stopped.live_to_stop((5, 0))
    assert stopped.result is not None
    assert (stopped.result["training_status"], stopped.result["training_stats"]["steps"]) == ("stopped", 5)
    early = load_file(stopped.folder / "model.safetensors")
    assert stopped.live()
    assert stopped.result["training_status"] == "completed"
    assert_same_end(stopped, plain)
    final = load_file(stopped.folder / "model.safetensors")
    assert not all(torch.equal(early[name], final[name]) for name in early)
    CognateModel.from_pretrained(stopped.folder)


@pytest.mark.parametrize("finished_before", [True, False])
def test_a_cancel_in_a_later_life_takes_nothing_that_an_earlier_one_finished(
    prepared: str, tmp_path: Path, finished_before: bool
) -> None:
    model = Trained(prepared, tmp_path)
    if finished_before:
        assert model.live_to_stop((3, 0))
    else:
        assert not model.live(until=(3, 0))
    assert not model.live(until=(5, 0), error=CancelRequested)
    assert model.folder.exists() is finished_before
    if finished_before:
        CognateModel.from_pretrained(model.folder)


NO_MEMORY = "[enforce fail at alloc_cpu.cpp:121] err == 12. DefaultCPUAllocator: can't allocate memory: you tried to "


def fail_after(monkeypatch: pytest.MonkeyPatch, forwards: int, error: Exception) -> None:
    """From now on the forward pass fails that comes after so many."""
    forward, count = CognateModel.forward, 0

    def failing(model: CognateModel, *arguments: Any, **options: Any) -> CognateOutput:
        nonlocal count
        if torch.is_grad_enabled():
            count += 1
            if count > forwards:
                raise error
        return forward(model, *arguments, **options)

    monkeypatch.setattr(CognateModel, "forward", failing)


@pytest.mark.parametrize(
    "error",
    [RuntimeError(f"{NO_MEMORY}allocate 8 bytes."), MemoryError(), RuntimeError("CUDA out of memory.")],
    ids=["torch", "Python", "CUDA"],
)
def test_without_memory_it_says_so_and_can_go_on_from_its_last_checkpoint(
    prepared: str, plain: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    model = Trained(prepared, tmp_path)
    fail_after(monkeypatch, 11, error)  # within step 6
    with pytest.raises(OutOfMemory, match=r"^The computer ran out of memory\. Choose a smaller batch size") as caught:
        model.live()
    assert caught.value.__cause__ is error
    assert model.checkpoints[-1] == "step-00000004"
    monkeypatch.undo()
    assert model.live()
    assert_same_end(model, plain)


def test_another_error_reaches_the_caller_as_it_is_and_the_model_can_go_on(
    prepared: str, plain: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, error = Trained(prepared, tmp_path), RuntimeError("shapes do not fit")
    fail_after(monkeypatch, 11, error)
    with pytest.raises(RuntimeError) as caught:
        model.live()
    assert caught.value is error
    monkeypatch.undo()
    assert model.live()
    assert_same_end(model, plain)


def spoil_steps(monkeypatch: pytest.MonkeyPatch, bad: Callable[[int], bool]) -> Callable[[Trained], Trained]:
    """From now on the loss of step n is no number when bad(n), of models that were told to what is given back."""
    forward, now = CognateModel.forward, {"step": 0}

    def spoilt(model: CognateModel, *arguments: Any, **options: Any) -> CognateOutput:
        output = forward(model, *arguments, **options)
        if not torch.is_grad_enabled() or not bad(now["step"] + 1):
            return output
        spoilt = [there(loss) * math.nan for loss in (output.loss, output.language_model_loss)]
        return dataclasses.replace(output, loss=spoilt[0], language_model_loss=spoilt[1])

    def follow(place: Place) -> None:
        now["step"] = place[0]

    def known(model: Trained) -> Trained:
        now["step"] = 0
        model.meanwhile = follow
        return model

    monkeypatch.setattr(CognateModel, "forward", spoilt)
    return known


@pytest.mark.parametrize("pause", [None, (4, 0), (5, 0)])
def test_bad_losses_in_a_row_are_counted_over_a_pause(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: Place | None
) -> None:
    model = spoil_steps(monkeypatch, lambda step: step > 3)(Trained(prepared, tmp_path))
    if pause is not None:
        assert not model.live(until=pause)
    with pytest.raises(Diverged, match=r"^The loss stopped being a number at step 6\."):
        model.live()
    assert [metrics.step for metrics in model.of(StepMetrics)] == [1, 2, 3, 4, 5, 6]
    best = load_checkpoint(model.folder / "checkpoints/step-00000003")
    assert all(tensor.isfinite().all() for tensor in best.model.values())


@pytest.mark.parametrize("kind", ["EMA, plain", "MA, plain", "no filter, memory"])
def test_a_checkpoint_from_before_the_optimizer_has_moved_is_as_good_as_any(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The first loss is no number: there is a step, yet neither AdamW nor the filter has anything to keep."""
    known = spoil_steps(monkeypatch, lambda step: step == 1)
    alone, paused = Trained(prepared, tmp_path / "alone", kind), Trained(prepared, tmp_path / "paused", kind)
    for model in (alone, paused):
        known(model)
        if model is paused:
            assert not model.live(until=(1, 0))
            state = load_checkpoint(model.folder / "checkpoints/step-00000001")
            assert dict(state.tensors) == {}
            assert state.state["bad_steps"] == 1
        assert model.live()
        assert math.isnan(model.of(StepMetrics)[0].filtered_grad_norm)
    for each in (alone, paused):
        each.records = [record for record in each.records if getattr(record, "step", 0) != 1]  # NaN is not NaN
    assert figures(alone.records) == figures(paused.records)
    one, other = (load_checkpoint(each.folder / "checkpoints/step-00000008") for each in (alone, paused))
    assert_equal_tensors(other.model, one.model)
    assert_equal_tensors(other.tensors, one.tensors)


@pytest.mark.parametrize("kind", ["EMA, plain", "MA, plain"])
def test_a_resumed_run_holds_its_checkpoint_once(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The optimizer and the filter take its tensors over; its weights are copied into the model and let go."""
    trained = Trained(prepared, tmp_path, kind)
    trained.live(until=(4, 0), resume=False)
    weights: list[weakref.ref[torch.Tensor]] = []
    read: dict[str, int] = {}
    held: dict[str, int] = {}
    load, save = checkpoint_module.newest_checkpoint, checkpoint_module.save_checkpoint

    def note_read(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
        found = there(load(folder, say))
        weights.extend(weakref.ref(tensor) for tensor in found.model.values())
        read.update({name: tensor.data_ptr() for name, tensor in found.tensors.items() if tensor.numel() > 1})
        return found

    def note_held(folder: Path, checkpoint: Checkpoint) -> Path:
        held.update({name: tensor.data_ptr() for name, tensor in checkpoint.tensors.items() if name in read})
        return save(folder, checkpoint)

    monkeypatch.setattr(trainer_module, "newest_checkpoint", note_read)
    monkeypatch.setattr(loop_module, "save_checkpoint", note_held)
    alive: list[int] = []
    trained.meanwhile = lambda place: alive.append(sum(each() is not None for each in weights))
    trained.live()
    assert read and held == read
    assert weights and set(alive) == {0}
