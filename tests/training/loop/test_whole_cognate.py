"""With pondering and memory."""

import math
from pathlib import Path

import pytest
import torch

from cognate_core.contracts import Evaluation, Event, PonderHistogram
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import StopRequested
from cognate_core.training.checkpoint import load_checkpoint
from cognate_core.training.text_loop import ponder_limit, ponder_weight_at
from tests.rounding import sum_differs
from tests.there import there
from tests.training.loop.trained import TINY, Trained, held_out_loss, same

pytestmark = pytest.mark.usefixtures("one_thread")


WHOLE = {
    "act_enabled": True,
    "ltm_enabled": True,
    "n_layers": 4,
    "d_mem": 16,
    "mem_segment": 32,
    "mem_writes": 4,
    "max_act_steps": 6,
}


def test_the_whole_cognate_learns(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {**WHOLE, "max_steps": 30, "batch_size": 4, "eval_interval": 15}).run()
    losses, counts = trained.losses, trained.of(PonderHistogram)[-1].counts
    assert sum(count >= 0.01 * sum(counts) for count in counts) > 1, "every token takes as many steps as the others"
    assert losses[0] == pytest.approx(math.log(400), abs=0.2)
    assert sum(losses[-5:]) / 5 < losses[0] - 1


def test_the_whole_cognate_repeats_itself_to_the_bit(data: PreparedData, tmp_path: Path) -> None:
    first, second = (Trained(data, tmp_path / name, WHOLE).run() for name in ("a", "b"))
    assert first.losses == second.losses
    assert same(first.weights, second.weights)


def test_the_whole_cognate_records_how_it_thinks_and_remembers(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {**WHOLE, "max_steps": 6, "eval_interval": 3}).run()
    for metrics in trained.steps:
        assert 1 <= there(metrics.ponder_steps) <= 6
        assert there(metrics.ponder_loss) > 0
        assert there(metrics.memory_notes) > 0
        assert 0 < there(metrics.memory_written) < 1
        assert 0 < there(metrics.memory_gate) < 1
        assert 0 <= there(metrics.memory_null_share) <= 1
    histograms = trained.of(PonderHistogram)
    assert [histogram.step for histogram in histograms] == [3, 6]
    for histogram, steps in zip(histograms, (trained.steps[:3], trained.steps[3:]), strict=True):
        assert sum(histogram.counts) == sum(metrics.tokens for metrics in steps)
        mean = sum(n * count for n, count in enumerate(histogram.counts)) / sum(histogram.counts)
        weighted = sum(there(metrics.ponder_steps) * metrics.tokens for metrics in steps) / sum(histogram.counts)
        assert mean == pytest.approx(weighted)


def test_the_price_of_pondering_is_not_in_the_loss_that_is_shown(data: PreparedData, tmp_path: Path) -> None:
    free, dear = (
        Trained(data, tmp_path / str(weight), {**WHOLE, "max_steps": 1, "act_ponder_weight": weight}).run().steps[0]
        for weight in (0.0, 10.0)
    )
    assert free.loss == dear.loss
    assert (free.ponder_loss, free.ponder_steps) == (0, dear.ponder_steps)
    assert there(dear.ponder_loss) > 10


@pytest.mark.slow
def test_a_price_makes_it_think_less(data: PreparedData, tmp_path: Path) -> None:
    change = {**WHOLE, "max_steps": 30, "warmup_ratio": 0}
    free, dear = (
        Trained(data, tmp_path / str(weight), {**change, "act_ponder_weight": weight}).run().steps[-8:]
        for weight in (0.0, 1.0)
    )
    assert sum(there(each.ponder_steps) for each in dear) < 0.7 * sum(there(each.ponder_steps) for each in free)


def test_the_price_grows_over_the_first_fifth() -> None:
    config = TINY.with_overrides({"max_steps": 100, "act_ponder_weight": 0.05})
    assert [ponder_weight_at(step, config) for step in (10, 20, 21, 100)] == pytest.approx([0.025, 0.05, 0.05, 0.05])


def test_the_price_and_the_limits_begin_with_pondering() -> None:
    config = TINY.with_overrides({"max_steps": 100, "act_ponder_weight": 0.05, "act_from": 0.5, "max_act_steps": 5})
    prices = [ponder_weight_at(step, config) for step in (1, 50, 51, 55, 60, 100)]
    assert prices == pytest.approx([0.0, 0.0, 0.005, 0.025, 0.05, 0.05])
    assert {ponder_limit(config, step, batch) for step in range(1, 51) for batch in range(3)} == {1}
    assert {ponder_limit(config, step, 0) for step in range(51, 101)} == {2, 3, 4, 5}
    never = config.with_overrides({"act_from": 1.0})
    assert {ponder_limit(never, step, 0) for step in range(1, 101)} == {1} and ponder_weight_at(100, never) == 0


def test_until_pondering_begins_each_token_takes_one_step_wherever_the_weights_are_read(
    data: PreparedData, tmp_path: Path
) -> None:
    change = {**WHOLE, "max_steps": 4, "act_from": 0.5, "eval_interval": 2, "sample_tokens": 3}
    trained = Trained(data, tmp_path, change)
    halting = there(trained.loop.model.pondering).halting
    start = halting.weight.detach().clone()

    def written() -> set[int | None]:
        model = trained.loop.model.eval()
        steps = {token.ponder_steps for token in model.generate(torch.tensor([[0, 5, 9]]), 4)}
        model.train()
        return steps

    trained.loop.model.eval()  # else memory takes note of it
    (first,) = trained.loop.full_heldout()
    assert first.loss == pytest.approx(held_out_loss(trained, data, max_ponder_steps=1), rel=sum_differs(first.tokens))
    trained.loop.model.eval()
    assert written() == {1}
    trained.run()
    assert [there(metrics.ponder_steps) == 1 for metrics in trained.steps] == [True, True, False, False]
    early, late = trained.of(PonderHistogram)
    assert (early.step, len(early.counts), late.step) == (2, 2, 4) and len(late.counts) > 2
    assert written() != {1}
    assert not torch.equal(halting.weight, start) and float(halting.bias.detach()) < 0
    assert trained.of(Evaluation)[-1].loss != pytest.approx(held_out_loss(trained, data, max_ponder_steps=1), rel=1e-6)


def test_a_branch_that_is_past_the_beginning_of_pondering_ponders_at_once(data: PreparedData, tmp_path: Path) -> None:
    def stop(step: int, *rest: float) -> None:
        if step == 4:
            raise StopRequested

    long = Trained(data, tmp_path, {**WHOLE, "max_steps": 12, "act_from": 0.5}, callback=stop)
    with pytest.raises(StopRequested):
        long.run()
    long.loop.save()
    branch = Trained(data, tmp_path / "branch", {**WHOLE, "max_steps": 6, "act_from": 0.5})  # it would begin at step 4
    branch.loop.load(load_checkpoint(tmp_path / "checkpoints/step-00000004"))
    branch.run()
    assert there(long.steps[-1].ponder_steps) == 1 < there(branch.steps[0].ponder_steps)


def test_each_batch_draws_its_own_limit_and_the_same_again() -> None:
    config = TINY.with_overrides({"max_act_steps": 5})
    drawn = [ponder_limit(config, step, batch) for step in range(1, 100) for batch in range(3)]
    assert set(drawn) == {2, 3, 4, 5}
    assert drawn == [ponder_limit(config, step, batch) for step in range(1, 100) for batch in range(3)]
    assert {ponder_limit(config.with_overrides({"max_act_steps": 1}), step, 0) for step in range(9)} == {1}


def test_a_run_that_is_stopped_keeps_what_was_counted(data: PreparedData, tmp_path: Path) -> None:
    def stop(step: int, *rest: float) -> None:
        if step == 2:
            raise StopRequested

    trained = Trained(data, tmp_path, WHOLE, callback=stop)
    with pytest.raises(StopRequested):
        trained.run()
    trained.loop.save()
    (histogram,) = trained.of(PonderHistogram)
    assert (histogram.step, sum(histogram.counts)) == (2, sum(metrics.tokens for metrics in trained.steps))


def test_a_memory_that_cannot_be_learned_is_told(data: PreparedData, tmp_path: Path) -> None:
    idle = Trained(data, tmp_path, {**WHOLE, "mem_segment": 256, "max_steps": 1}).run()
    assert "no note is ever read" in idle.of(Event)[0].message
    assert idle.of(Event)[0].level == "warning"
    assert not any("noted" in event.message for event in Trained(data, tmp_path, WHOLE).run().of(Event))


def test_a_check_uses_the_limit_for_writing(data: PreparedData, tmp_path: Path) -> None:
    """With one step at most, held-out loss is that of a single step."""
    trained = Trained(data, tmp_path, {**WHOLE, "act_inference_steps": 1, "max_steps": 1}).run()
    expected = held_out_loss(trained, data, max_ponder_steps=1)
    check = trained.of(Evaluation)[-1]
    within = sum_differs(check.tokens)
    assert expected != pytest.approx(held_out_loss(trained, data, max_ponder_steps=6), rel=within)
    assert check.loss == pytest.approx(expected, rel=within)
    assert trained.loop.model.training, "the check left the model in evaluation mode"
