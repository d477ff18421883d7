"""What is asked of any model."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig
from cognate_core.model import CognateModel, CognateOutput, CognateState
from cognate_core.model.generation import GeneratedToken
from cognate_core.model.memory import MemoryReads
from tests.model.tiny import token_ids, whole_config
from tests.there import there


def reads(found: CognateOutput | GeneratedToken) -> MemoryReads:
    return there(found.memory_reads)


@st.composite
def whole_configs(draw: st.DrawFn) -> TrainingConfig:
    """Small models with pondering, memory or both."""
    act, ltm = draw(st.sampled_from([(True, True), (True, True), (True, False), (False, True)]))
    return whole_config(
        n_layers=draw(st.integers(1, 4)),
        n_heads=draw(st.sampled_from([1, 2, 4])),
        attention_window=draw(st.integers(16, 40)),
        act_enabled=act,
        act_threshold=draw(st.sampled_from([0.5, 0.9, 0.99, 1.0])),
        act_inference_steps=draw(st.integers(1, 6)),
        ltm_enabled=ltm,
        d_mem=draw(st.integers(2, 9)),
        mem_segment=draw(st.integers(8, 13)),
        mem_capacity=draw(st.integers(1, 20)),
        mem_writes=draw(st.integers(1, 9)),
        mem_topk=draw(st.integers(1, 5)),
        mem_layers=draw(st.sampled_from(["all", "one"])),
    )


def written_bank(model: CognateModel, batch: int) -> CognateState:
    """The beginning of a text, with the memory of an earlier one if the model has a memory."""
    state = CognateState()
    with torch.no_grad():
        model.eval()(token_ids(batch, 45, 77, first=1), state=state)
    model.end_segment(state)
    return CognateState(bank=state.bank)


def same_reads(a: CognateOutput, b: CognateOutput, tolerance: float = 1e-4) -> None:
    """Steps and reads of two outputs agree."""
    if a.ponder_steps is not None:
        assert torch.equal(a.ponder_steps, there(b.ponder_steps))
    if a.memory_reads is not None:
        x, y = a.memory_reads, there(b.memory_reads)
        assert torch.equal(x.positions, y.positions)
        assert torch.equal(x.tokens, y.tokens)
        for name in ("weights", "null", "gate"):
            assert torch.allclose(getattr(x, name), getattr(y, name), atol=tolerance), name
