"""Many questions answered at once: as each would be alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.errors import CancelRequested
from cognate_core.model import CognateModel
from cognate_core.training.answering import answers

CONFIG = TrainingConfig(
    d_model=16, n_layers=3, n_heads=2, vocab_size=300, max_seq_len=48, train_seq_len=32, attention_window=16,
    d_mem=8, mem_segment=8, mem_writes=2, max_act_steps=3, act_inference_steps=3,
)  # fmt: skip
PARTS: list[dict[str, Any]] = [{}, {"ltm_enabled": False}, {"act_enabled": False, "ltm_enabled": False}]


def model_of(parts: dict[str, Any], seed: int = 0) -> CognateModel:
    """Large weights: no two tokens are nearly as likely, so that rounding decides nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CognateModel(CONFIG.with_overrides(parts)).eval()
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    return model


@pytest.mark.parametrize("parts", PARTS)
@settings(max_examples=10)
@given(prompts=st.lists(st.lists(st.integers(1, 299), min_size=1, max_size=20), max_size=5), seed=st.integers(0, 3))
def test_each_is_what_the_model_writes_alone(parts: dict[str, Any], prompts: list[list[int]], seed: int) -> None:
    model = model_of(parts, seed)
    prompts = [[END_OF_TEXT_ID, *each] if len(each) % 2 else each for each in prompts]  # as texts begin, or not
    alone = [
        [token.id for token in model.generate(torch.tensor([each]), 12, temperature=0, stop_id=END_OF_TEXT_ID)]
        for each in prompts
    ]
    assert answers(model, prompts, 12) == alone


def test_no_answer_goes_past_what_the_model_can_read() -> None:
    first, second = answers(model_of(PARTS[2]), [[5] * 46, [7] * 48], 12)
    assert len(first) <= 2
    assert second == []


def test_it_can_be_broken_off() -> None:
    def stop() -> None:
        raise CancelRequested

    with pytest.raises(CancelRequested):
        answers(model_of(PARTS[1]), [[5, 6]], 3, stop)
