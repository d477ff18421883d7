"""Writing is reading the whole text each time; files give the same model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from cognate_core.model import CognateModel, CognateState
from tests.model.tiny import lively, token_ids, whole_config
from tests.model.whole.models import reads, same_reads, written_bank
from tests.there import there


def test_writing_is_reading_the_whole_text_each_time() -> None:
    model = lively(whole_config(), 4)
    ids = token_ids(1, 10, 4, first=1)
    tokens = list(model.generate(ids, 24, temperature=0))
    assert len({token.ponder_steps for token in tokens}) > 1
    for token in tokens:
        with torch.no_grad():
            output = model(ids)
        assert token.id == int(output.logits[0, -1].argmax())
        assert token.probability == pytest.approx(output.logits[0, -1].softmax(-1).max().item(), rel=1e-3)
        assert token.ponder_steps == output.ponder_steps[0, -1]
        assert torch.equal(reads(token).positions, output.memory_reads.at(-1).positions)
        assert torch.allclose(reads(token).weights, output.memory_reads.at(-1).weights, atol=1e-3)
        ids = torch.cat((ids, torch.tensor([[token.id]])), dim=1)
    assert (reads(tokens[-1]).positions >= 0).any()


def test_a_text_that_grows_too_long_goes_on_with_its_memory() -> None:
    """When the longest text is full, its newer half is read again; notes of the whole are there from the start."""
    model = lively(whole_config(max_seq_len=32, mem_capacity=50), 4)
    ids = token_ids(1, 32, 4, first=1)
    first, second = list(model.generate(ids, 2, temperature=0))
    with torch.no_grad():
        assert first.id == int(model(ids).logits[0, -1].argmax())
    again = torch.cat((ids, torch.tensor([[first.id]])), dim=1)[:, -16:]
    state = CognateState()
    with torch.no_grad():
        model(ids, state=state)
        output = model(again, state=CognateState(bank=state.bank))
        forgetful = model(again)
    assert second.id == int(output.logits[0, -1].argmax())
    assert torch.allclose(reads(second).weights[0, 0], output.memory_reads.weights[0, -1], atol=1e-4)
    assert not torch.allclose(forgetful.logits, output.logits, atol=1e-3)


def test_notes_from_before_the_text_began_anew_have_no_place_in_it() -> None:
    """Where a note stands is counted in the text that is read now."""
    model = lively(whole_config(max_seq_len=32, mem_capacity=50), 4)
    tokens = list(model.generate(token_ids(1, 32, 4, first=1), 16, temperature=0))
    for length, token in enumerate(tokens[1:], start=16):
        assert (reads(token).positions < length).all()


def test_a_given_memory_is_read_and_not_changed() -> None:
    model = lively(whole_config(mem_capacity=50), 4)
    bank = there(written_bank(model, 1).bank)
    before = [tensor.clone() for tensor in (bank.keys, bank.values, bank.log_weights, bank.usage, bank.age)]
    ids = token_ids(1, 5, 4, first=1)
    first = next(model.generate(ids, 30, bank=bank))
    assert (reads(first).tokens >= 0).any()
    assert (reads(next(model.generate(ids, 30))).null == 1).all()
    list(model.generate(ids, 30, bank=bank))
    after = (bank.keys, bank.values, bank.log_weights, bank.usage, bank.age)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_saved_model_is_the_same_whole(tmp_path: Path) -> None:
    config = whole_config(mem_capacity=20, act_threshold=0.9, act_inference_steps=3)
    model = lively(config, 2).train()
    model(token_ids(2, 40, 1), token_ids(2, 40, 2))  # the running surprise moves
    model.eval().save_pretrained(tmp_path)
    again = CognateModel.from_pretrained(tmp_path)
    assert not again.training
    assert there(again.writer).surprise_mean == there(model.writer).surprise_mean != math.log(300)
    assert there(again.writer).surprise_variance == there(model.writer).surprise_variance != 1
    ids = token_ids(2, 60, 3)
    with torch.no_grad():
        one, other = model(ids), again(ids)
    assert torch.equal(one.logits, other.logits)
    same_reads(one, other, 0.0)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["act_threshold"] == 0.9
    assert stored["mem_capacity"] == 20
