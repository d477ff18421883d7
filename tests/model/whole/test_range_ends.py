"""The ends of the allowed ranges learn and write."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from tests.model.tiny import lively, token_ids, whole_config
from tests.model.whole.models import reads
from tests.there import there

EXTREMES: dict[str, tuple[Any, ...]] = {
    "attention_window": (16, 65536),
    "max_act_steps": (1, 64),
    "act_inference_steps": (1, 64),
    "act_threshold": (1e-9, 1.0),
    "act_ponder_weight": (0.0, 10.0),
    "d_mem": (1, 4096),
    "mem_capacity": (1, 1_000_000),
    "mem_topk": (1, 256),
    "mem_segment": (8, 16384),
    "mem_writes": (1, 4096),
}


def bounds(name: str) -> tuple[Any, Any]:
    found = {}
    for item in TrainingConfig.model_fields[name].metadata:
        for kind in ("ge", "gt", "le"):
            if getattr(item, kind, None) is not None:
                found[kind] = getattr(item, kind)
    return found.get("ge", found.get("gt")), found["le"]


@pytest.mark.parametrize("name", EXTREMES)
def test_the_ends_tried_are_those_of_the_config(name: str) -> None:
    low, high = bounds(name)
    assert EXTREMES[name][1] == high
    assert EXTREMES[name][0] == (low if low or name == "act_ponder_weight" else 1e-9)


def learns_and_writes(config: TrainingConfig, words: int) -> None:
    model = lively(config, 1).train()
    ids = token_ids(2, 41, 1, vocab_size=words)
    output = model(ids[:, :-1], ids[:, 1:])
    assert output.loss.isfinite()
    assert output.logits.isfinite().all()
    output.loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), name
    tokens = list(model.eval().generate(ids[:1, :20], 12, seed=1))
    assert len(tokens) == 12
    assert all(math.isfinite(token.probability) for token in tokens)
    limit = min(config.max_act_steps, config.act_inference_steps)
    assert all(1 <= there(token.ponder_steps) <= limit for token in tokens)
    shares = [reads(token).weights.sum() + reads(token).null.sum() for token in tokens]  # one position, every layer
    assert torch.stack(shares).tolist() == pytest.approx([config.n_layers] * 12, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in EXTREMES.items() for value in values], ids=str
)
def test_the_ends_of_every_range_learn_and_write(name: str, value: Any) -> None:
    learns_and_writes(whole_config(n_layers=1 if value == 4096 else 2, max_seq_len=64, **{name: value}), words=300)


@settings(max_examples=12)
@given(
    values=st.fixed_dictionaries({name: st.sampled_from(ends) for name, ends in EXTREMES.items() if name != "d_mem"}),
    layers=st.integers(1, 3),
    words=st.sampled_from([1, 3, 300]),
)
def test_the_ends_of_all_ranges_learn_and_write_together(values: dict[str, Any], layers: int, words: int) -> None:
    learns_and_writes(whole_config(n_layers=layers, max_seq_len=48, **values), words)


@pytest.mark.parametrize("time", [1, 7, 8, 9, 16, 17, 128])
def test_a_text_of_any_length_is_read(time: int) -> None:
    model = lively(whole_config(n_layers=1), 1)
    with torch.no_grad():
        output = model(token_ids(1, time, 1))
    assert output.logits.shape == (1, time, 300)
    assert output.memory_reads.positions.shape == (1, time, 1, 3)
    assert output.ponder_steps.shape == (1, time)
