"""The same seed gives the same bits; checkpoints hold all that the next step depends on."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cognate_core.config.schedule import learning_rate_at
from cognate_core.contracts import Evaluation, Event
from cognate_core.contracts.heldout import HeldoutMeans
from cognate_core.data.prepared import PreparedData
from cognate_core.training import loop as loop_module
from cognate_core.training.checkpoint import load_checkpoint
from cognate_core.training.text_loop import TextLoop
from tests.rounding import assert_same_weights
from tests.training.loop.trained import Trained, same

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_same_seed_gives_the_same_losses_to_the_bit(data: PreparedData, tmp_path: Path) -> None:
    first = Trained(data, tmp_path).run()
    torch.manual_seed(12345)
    np.random.seed(5)
    second = Trained(data, tmp_path).run()
    assert first.losses == second.losses
    assert same(first.weights, second.weights)
    assert [check.loss for check in first.of(Evaluation)] == [check.loss for check in second.of(Evaluation)]


def test_another_seed_gives_other_weights_and_another_order(data: PreparedData, tmp_path: Path) -> None:
    one, other = (Trained(data, tmp_path, {"seed": seed}) for seed in (1, 2))
    assert not same(one.weights, other.weights)
    assert one.run().losses != other.run().losses


def test_making_a_model_leaves_the_global_random_state_alone(data: PreparedData, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    Trained(data, tmp_path).run()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("source", ["data", "answers"])
def test_two_batches_of_two_make_the_step_of_one_batch_of_four(
    source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    prepared = request.getfixturevalue(source)
    split = Trained(prepared, tmp_path, {"batch_size": 2, "gradient_accumulation_steps": 2})
    whole = Trained(prepared, tmp_path, {"batch_size": 4, "gradient_accumulation_steps": 1})
    start = whole.weights
    split.run()
    whole.run()
    first, other = split.steps[0], whole.steps[0]
    assert first.tokens == other.tokens
    assert first.loss == pytest.approx(other.loss, rel=1e-6)
    assert first.grad_norm == pytest.approx(other.grad_norm, rel=1e-5)
    assert split.losses == pytest.approx(whole.losses, rel=2e-5)  # as WITHIN of test_peers
    rates = [learning_rate_at(step, whole.config) for step in range(1, whole.config.max_steps + 1)]
    assert_same_weights(split.loop, whole.loop, start, rates)


def test_checkpoints_are_saved_at_intervals_and_told(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {"max_steps": 5, "save_steps": 2}).run()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000004", "step-00000005"], "the check at the end was the best one"
    told = [(event.step, event.message) for event in trained.of(Event)]
    assert [step for step, _ in told] == [2, 4, 5]
    assert all(message.startswith("Checkpoint saved in ") for _, message in told)
    trained.loop.save()  # once more changes nothing
    last = load_checkpoint(tmp_path / "checkpoints/step-00000005")
    assert len(trained.of(Event)) == 3
    assert same(trained.weights, dict(last.model))
    assert last.state["step"] == 5
    assert last.state["tokens"] == trained.loop.tokens
    assert last.state["batches"] == {"drawn": [10]}


def test_each_check_that_is_the_best_so_far_is_saved(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {0: 1.0, 1: 6.0, 2: 4.0, 3: 4.0, 4: None, 5: 3.5, 6: 3.6}
    monkeypatch.setattr(TextLoop, "_check_heldout", lambda loop: HeldoutMeans(losses[loop.step], None, None))
    trained = Trained(data, tmp_path, {"max_steps": 6, "eval_interval": 1}).run()
    saved = [event.step for event in trained.of(Event) if event.message.startswith("Checkpoint saved")]
    assert saved == [1, 2, 5], "neither a worse nor an equal one, none without a number, and none before the first step"
    for step in saved:
        state = load_checkpoint(tmp_path / f"checkpoints/step-0000000{step}").state
        best = {"metric": "loss", "step": step, "score": losses[step], "waited": 0}
        assert (state["score"], state["best"], state["checked_step"]) == (losses[step], best, step)


def test_slow_steps_are_saved_more_often_than_the_interval(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "SAVE_SECONDS", 0.0)
    trained = Trained(data, tmp_path, {"max_steps": 3}).run()
    assert [event.step for event in trained.of(Event)] == [1, 2, 3]


def test_what_was_recorded_is_on_the_disk_before_a_checkpoint_is(data: PreparedData, tmp_path: Path) -> None:
    there: list[list[str]] = []
    folder = tmp_path / "checkpoints"

    def look() -> None:
        there.append(sorted(path.name for path in folder.glob("*")))
        assert trained.steps[-1].step == trained.loop.step, "the step is recorded before it is saved"

    trained = Trained(data, tmp_path, {"max_steps": 4, "save_steps": 2}, before_save=look)
    trained.run()
    assert there == [[], ["step-00000002"]]


def test_nothing_is_saved_before_the_first_step(data: PreparedData, tmp_path: Path) -> None:
    Trained(data, tmp_path).loop.save()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"grokfast_enabled": False}, set()),
        ({"grokfast_method": "ema"}, {"average"}),
        ({"grokfast_method": "ma", "grokfast_window": 3}, {"ring", "sum"}),
    ],
)
def test_a_checkpoint_holds_all_that_the_next_step_depends_on(
    data: PreparedData, tmp_path: Path, change: dict[str, Any], parts: set[str]
) -> None:
    trained = Trained(data, tmp_path, {"save_steps": 5, **change}).run()
    checkpoint = load_checkpoint(tmp_path / "checkpoints/step-00000005")
    count = len(trained.weights)
    kinds = Counter(
        name.rsplit(".", 1)[0] if name.startswith("filter") else name.split(".", 2)[2] for name in checkpoint.tensors
    )
    expected = dict.fromkeys(("step", "exp_avg", "exp_avg_sq", *(f"filter.{part}" for part in parts)), count)
    assert kinds == expected
    assert {float(tensor) for name, tensor in checkpoint.tensors.items() if name.endswith(".step")} == {5.0}
    scalars = checkpoint.state["scalars"]
    if "ring" in parts:
        assert set(scalars["filter.count"].values()) == {5}
