"""Everything is as in a reference written from the specification alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.model import CognateState
from tests.model.reference import Reference
from tests.model.tiny import largest_difference, lively, token_ids, whole_config
from tests.model.whole.models import whole_configs
from tests.there import there


def few_words(time: int, words: int, seed: int) -> Tensor:
    """A text that says the same few things again and again."""
    return token_ids(1, time, seed, vocab_size=words, first=1)


def several_texts(time: int, words: int, seed: int) -> Tensor:
    """Ends of text in the middle of a segment, as its first and as its last token."""
    ids = few_words(time, words, seed)
    ids[0, [0, 11, 24, 31]] = 0
    return ids


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    # name: changes of the config, of the text, and what must have happened
    "pondering alone": ({"ltm_enabled": False, "n_layers": 4}, {}, ()),
    "memory alone": ({"act_enabled": False, "mem_capacity": 100}, {}, ()),
    "both": ({"mem_capacity": 100, "n_layers": 4, "n_heads": 1}, {}, ()),
    "one layer": ({"n_layers": 1}, {}, ("evicted",)),
    "two layers": ({"n_layers": 2}, {}, ("evicted",)),
    "full at once": ({"mem_capacity": 5, "mem_writes": 8}, {}, ("evicted",)),
    "room for one": ({"mem_capacity": 1, "mem_topk": 5}, {}, ("evicted",)),
    "few words": ({"mem_capacity": 3, "n_layers": 2}, {"words": 4}, ("evicted", "merged")),
    "joined in long chains": ({"mem_capacity": 50, "mem_writes": 8, "d_mem": 1}, {"words": 3}, ("merged",)),
    "several texts": ({"mem_capacity": 6}, {"words": 40, "several": True}, ("evicted", "forgotten")),
    "one step": ({"act_inference_steps": 1}, {}, ()),
    "every step": ({"act_threshold": 1.0, "time": 32}, {}, ()),
    "low threshold": ({"act_threshold": 0.3}, {}, ()),
    "segment longer than the window": ({"mem_segment": 20, "mem_writes": 12}, {}, ("evicted",)),
    "segment longer than the text": ({"mem_segment": 64}, {}, ()),
    "one layer reads": ({"mem_layers": "one", "n_layers": 4}, {"words": 40, "several": True}, ("evicted", "forgotten")),
    "one layer reads, no core before it": ({"mem_layers": "one", "n_layers": 2}, {}, ("evicted",)),
    "one layer reads, window over segments": (
        {"mem_layers": "one", "n_layers": 5, "act_enabled": False, "mem_segment": 12, "attention_window": 18},
        {},
        ("evicted",),
    ),
}


def held_against_the_reference(config: TrainingConfig, ids: Tensor, seed: int) -> Reference | None:
    """Compare model and reference on one text; None when a choice was too close to be made alike in fp32."""
    model = lively(config, seed)
    reference = Reference(model, config.act_inference_steps)
    expected = reference.read_all(ids[0].tolist())
    if reference.closest < 2e-5:
        return None
    state = CognateState()
    targets = ids.roll(-1, 1)
    targets[0, -1] = 1
    with torch.no_grad():
        output = model(ids, targets, state=state, ponder_weight=1.0)
    logits = torch.tensor(np.stack([token.logits for token in expected]))
    assert largest_difference(output.logits[0].double(), logits) < 2e-4
    if config.act_enabled:
        assert output.ponder_steps[0].tolist() == [token.steps for token in expected]
        assert output.ponder_loss.item() == pytest.approx(np.mean([token.cost for token in expected]), rel=1e-4)
    if config.ltm_enabled:
        reads = output.memory_reads
        for time, token in enumerate(expected):
            for layer, wanted in enumerate(token.shares):
                positions = reads.positions[0, time, layer].tolist()
                shares = reads.weights[0, time, layer].tolist()
                found = {place: share for place, share in zip(positions, shares, strict=True) if place >= 0}
                assert found == pytest.approx(wanted, abs=2e-4), (time, layer)
                words = reads.tokens[0, time, layer].tolist()
                assert [ids[0, place].item() if place >= 0 else -1 for place in positions] == words
            assert reads.null[0, time].tolist() == pytest.approx(token.null, abs=2e-4)
            assert reads.gate[0, time].tolist() == pytest.approx(token.gates, abs=2e-4)
        same_notes(state, reference)
    return reference


def same_notes(state: CognateState, reference: Reference) -> None:
    """The bank at the end holds the notes of the reference, in the order in which they were written."""
    bank, filled = state.bank, there(state.bank).filled[0]
    found = {name: getattr(bank, name)[0][filled] for name in ("keys", "values", "log_weights", "usage")}
    for name in ("position", "token", "age"):
        plural = name if name == "age" else f"{name}s"
        assert getattr(bank, plural)[0][filled].tolist() == [getattr(note, name) for note in reference.notes]
    if reference.notes:
        assert np.allclose(found["keys"], np.stack([note.key for note in reference.notes]), atol=1e-3)
        assert np.allclose(found["values"], np.stack([note.value for note in reference.notes]), atol=1e-3)
        assert np.allclose(found["log_weights"], [note.log_weight for note in reference.notes], atol=1e-2)
        assert np.allclose(found["usage"], [note.usage for note in reference.notes], rtol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_everything_is_as_in_the_reference(name: str) -> None:
    changes, text, events = CASES[name]
    changes = dict(changes)
    make = several_texts if text.get("several") else few_words
    compared = 0
    happened = dict.fromkeys(events, 0)
    for seed in range(4):
        ids = make(changes.get("time", 44), text.get("words", 300), seed)
        config = whole_config(**{field: value for field, value in changes.items() if field != "time"})
        reference = held_against_the_reference(config, ids, seed)
        if reference is not None:
            compared += 1
            for event in events:
                happened[event] += getattr(reference, event)
        if compared == 2:
            break
    assert compared == 2, "nearly every choice was too close"
    assert all(happened.values()), happened


def test_some_tokens_ponder_long_and_some_short_there() -> None:
    """Else the reference would say nothing about a halted token that keeps its last keys and values."""
    model = lively(whole_config(mem_capacity=100, n_layers=4, n_heads=1), 0)
    with torch.no_grad():
        steps = model(few_words(44, 300, 0)).ponder_steps
    assert set(steps.flatten().tolist()) == {3, 4, 5}


@settings(max_examples=12)
@given(config=whole_configs(), seed=st.integers(0, 1000), words=st.sampled_from([5, 30, 300]), time=st.integers(1, 40))
def test_any_small_model_is_as_in_the_reference(config: TrainingConfig, seed: int, words: int, time: int) -> None:
    ids = token_ids(1, time, seed, vocab_size=words)
    assume(held_against_the_reference(config, ids, seed) is not None)
