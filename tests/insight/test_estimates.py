"""What a configuration will need: sums that add up, and grow where they must."""

from __future__ import annotations

from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.insight.estimates import Estimate, estimate, seconds_left

FLOAT = 4  # bytes


def needs(config: TrainingConfig, **overrides: Any) -> Estimate:
    return estimate(config.with_overrides(overrides))


def test_totals_are_the_sums_of_their_parts(tiny_config: TrainingConfig) -> None:
    wanted = needs(tiny_config)
    parts = {part: count for part, count in wanted.parameters.items() if part != "total"}
    assert wanted.parameters["total"] == sum(parts.values()) and all(count > 0 for count in parts.values())
    assert wanted.total_memory_bytes == sum(wanted.memory_bytes.values())


def test_parameters_counted_by_hand(tiny_config: TrainingConfig) -> None:
    parameters = needs(tiny_config).parameters
    assert parameters["embedding"] == parameters["head"] == 400 * 16
    assert parameters["attention"] == 2 * 4 * 16 * 16
    assert parameters["norms"] == (2 * 2 + 1) * 16


def test_weights_gradients_and_optimizer_are_two_numbers_for_each_parameter(tiny_config: TrainingConfig) -> None:
    wanted = needs(tiny_config)
    each = 2 * wanted.parameters["total"] * FLOAT
    assert (wanted.memory_bytes["weights and gradients"], wanted.memory_bytes["optimizer"]) == (each, each)


@pytest.mark.parametrize(
    "more", [{"batch_size": 4}, {"train_seq_len": 512, "max_seq_len": 512}, {"vocab_size": 800}, {"n_layers": 4}]
)
def test_more_work_at_once_takes_more_memory(tiny_config: TrainingConfig, more: dict[str, int]) -> None:
    assert needs(tiny_config, **more).memory_bytes["activations"] > needs(tiny_config).memory_bytes["activations"]


def test_activations_grow_with_the_batch_and_weights_do_not(tiny_config: TrainingConfig) -> None:
    once, twice = needs(tiny_config, batch_size=2).memory_bytes, needs(tiny_config, batch_size=4).memory_bytes
    assert 1.9 * once["activations"] < twice["activations"] <= 2 * once["activations"]  # the head's part may stay
    assert {part: twice[part] for part in twice if part != "activations"} == {
        part: once[part] for part in once if part != "activations"
    }


@pytest.mark.parametrize("part", ["act_enabled", "ltm_enabled"])
def test_pondering_and_memory_take_more_memory(tiny_config: TrainingConfig, part: str) -> None:
    plain = tiny_config.with_overrides({"act_enabled": False, "ltm_enabled": False})
    with_it = needs(plain, **{part: True})
    assert with_it.memory_bytes["activations"] > needs(plain).memory_bytes["activations"]
    assert with_it.parameters["total"] > needs(plain).parameters["total"]


def test_the_first_batches_ponder_to_the_limit_and_need_memory_for_it(tiny_config: TrainingConfig) -> None:
    some = [
        needs(tiny_config, act_enabled=True, max_act_steps=most, act_inference_steps=2).memory_bytes["activations"]
        for most in (2, 8, 16)
    ]
    assert some[2] - some[1] > some[1] - some[0] > 0


def test_activations_in_bf16_take_half(tiny_config: TrainingConfig) -> None:
    whole, half = (needs(tiny_config, precision=each).memory_bytes for each in ("fp32", "bf16"))
    assert 2 * half["activations"] == whole["activations"] and half["optimizer"] == whole["optimizer"]


def test_computing_twice_takes_less_memory(tiny_config: TrainingConfig) -> None:
    less = needs(tiny_config, gradient_checkpointing=True)
    assert less.memory_bytes["activations"] < needs(tiny_config).memory_bytes["activations"]


def test_adding_up_batches_takes_no_more_memory(tiny_config: TrainingConfig) -> None:
    once, more = needs(tiny_config), needs(tiny_config, gradient_accumulation_steps=8)
    assert more.memory_bytes == once.memory_bytes
    assert more.tokens_per_step == 8 * once.tokens_per_step == 8 * 2 * tiny_config.train_seq_len


def test_without_grokfast_it_costs_nothing(tiny_config: TrainingConfig) -> None:
    assert needs(tiny_config, grokfast_enabled=False).memory_bytes["GrokFast"] == 0
    assert needs(tiny_config, grokfast_enabled=False, grokfast_method="ma").memory_bytes["GrokFast"] == 0


def test_ema_filter_costs_one_copy(tiny_config: TrainingConfig) -> None:
    wanted = needs(tiny_config, grokfast_method="ema", grokfast_window=50)
    assert wanted.memory_bytes["GrokFast"] == wanted.parameters["total"] * FLOAT


@pytest.mark.parametrize("window", [1, 10, 100])
def test_ma_filter_costs_a_copy_for_each_step_of_its_window(tiny_config: TrainingConfig, window: int) -> None:
    wanted = needs(tiny_config, grokfast_method="ma", grokfast_window=window)
    copies = wanted.memory_bytes["GrokFast"] / (wanted.parameters["total"] * FLOAT)
    assert copies == window + 2  # the ring, and its running sum in double precision


def test_ma_filter_really_holds_what_is_estimated(tiny_config: TrainingConfig) -> None:
    import torch

    from cognate_core.model import CognateModel
    from cognate_core.training.grokfast import GrokFastMA

    parameters = list(CognateModel(tiny_config).parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    held = GrokFastMA(parameters, window_size=7)
    held.step()
    state = held.state_dict()
    tensors = [tensor for kind in ("ring", "sum") for tensor in state[kind].values()]
    measured = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert needs(tiny_config, grokfast_method="ma", grokfast_window=7).memory_bytes["GrokFast"] == measured


@pytest.mark.parametrize("method", [None, "ema", "ma"])
@pytest.mark.parametrize(("vocabulary", "fewest", "most"), [(400, 8, 8), (32_000, 1, 7), (65_536, 0, 3)])
def test_the_disk_must_hold_the_model_and_every_checkpoint_that_is_kept(
    tiny_config: TrainingConfig, vocabulary: int, fewest: int, most: int, method: str | None
) -> None:
    """The newest three, the best, the one being written; over the whole run eight, or as many as a gigabyte holds."""
    grokfast = {"grokfast_method": method, "grokfast_window": 3} if method else {"grokfast_enabled": False}
    width = 16 if vocabulary == 400 else 384
    wanted = needs(tiny_config, d_model=width, vocab_size=vocabulary, **grokfast)
    weights = wanted.parameters["total"] * FLOAT
    checkpoint = weights * {None: 3, "ema": 4, "ma": 3 + 3 + 2}[method]  # weights, two moments, the filter's copies
    over_the_run = 0
    while over_the_run < 8 and (over_the_run + 1) * checkpoint <= 10**9:
        over_the_run += 1
    assert fewest <= over_the_run <= most
    assert wanted.disk_bytes == weights + (3 + 1 + 1 + over_the_run) * checkpoint


@pytest.mark.parametrize(
    ("step", "total", "pace", "left"),
    [
        (0, 100, 0.5, 50.0),
        (99, 100, 0.5, 0.5),
        (0, 100, None, None),
        (100, 100, 0.5, None),
        (101, 100, 0.5, None),
        (10, 20, 0.0, 0.0),
    ],
)
def test_seconds_left(step: int, total: int, pace: float | None, left: float | None) -> None:
    assert seconds_left(step, total, pace) == left
