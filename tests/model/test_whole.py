"""The whole model, pondering and remembering: against the slow reference, and what must always hold of it."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.model import IGNORED_TARGET, CognateModel, CognateOutput, CognateState, count_parameters
from cognate_core.model.generation import GeneratedToken
from cognate_core.model.memory import MemoryReads
from tests.model.reference import Reference
from tests.model.tiny import blocks_of, config_of, largest_difference, lively, seeded, token_ids, whole_config
from tests.there import there


def reads(found: CognateOutput | GeneratedToken) -> MemoryReads:
    return there(found.memory_reads)


# Against the reference


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


@settings(max_examples=12, deadline=None)
@given(config=whole_configs(), seed=st.integers(0, 1000), words=st.sampled_from([5, 30, 300]), time=st.integers(1, 40))
def test_any_small_model_is_as_in_the_reference(config: TrainingConfig, seed: int, words: int, time: int) -> None:
    ids = token_ids(1, time, seed, vocab_size=words)
    assume(held_against_the_reference(config, ids, seed) is not None)


# Who sees whom

DEPTHS = st.sampled_from([None, 1, 4])  # each token halts by itself, or all go as many steps


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


@settings(max_examples=15, deadline=None)
@given(
    config=whole_configs(), seed=st.integers(0, 1000), changed=st.integers(1, 39), training=st.booleans(), depth=DEPTHS
)
def test_no_token_sees_a_later_one(
    config: TrainingConfig, seed: int, changed: int, training: bool, depth: int | None
) -> None:
    ids = token_ids(2, 40, seed)
    other = ids.clone()
    other[0, changed] = (other[0, changed] + 1) % 300
    outputs = []
    for text in (ids, other):
        model = lively(config, seed)
        state = written_bank(model, 2)
        with torch.no_grad():
            outputs.append(model.train(training)(text, state=state, ponder_depth=depth).logits)
    before, after = outputs
    assert largest_difference(after[0, :changed], before[0, :changed]) < 1e-5
    assert not torch.allclose(after[0, changed], before[0, changed], atol=1e-4)
    assert largest_difference(after[1], before[1]) < 1e-5, "another row of the batch changed with it"


@st.composite
def configs_of_any_kind(draw: st.DrawFn) -> TrainingConfig:
    """As `whole_configs`, or the plain backbone."""
    plain = config_of(max_seq_len=128, attention_window=draw(st.integers(16, 40)))
    return draw(whole_configs() | st.just(plain))


@settings(max_examples=15, deadline=None)
@given(
    config=configs_of_any_kind(),
    seed=st.integers(0, 1000),
    ends=st.integers(1, 30),
    training=st.booleans(),
    depth=DEPTHS,
)
def test_a_packed_document_says_nothing_to_the_next(
    config: TrainingConfig, seed: int, ends: int, training: bool, depth: int | None
) -> None:
    """Two documents and padding; the second, and the padding, have the same losses whatever the first is.

    To the last bit, unless each token halts by itself: how many go on together, and so the shape of the products, is
    then up to the first document, too.
    """
    ids = token_ids(2, 40, seed, first=1)
    ids[:, [0, ends]] = 0
    ids[0, 35:] = 0
    other = ids.clone()
    other[:, 1:ends] = token_ids(2, 40, seed + 1, first=1)[:, 1:ends]
    found = []
    for text in (ids, other):
        model = lively(config, seed).train(training)
        with torch.no_grad():
            found.append(model(text, text.roll(-1, 1), ponder_depth=depth).logits)
    first, second = (logits[:, ends:] for logits in found)
    if config.act_enabled and depth is None:
        assert largest_difference(first, second) < 1e-4
    else:
        assert torch.equal(first, second)


@settings(max_examples=15, deadline=None)
@given(config=configs_of_any_kind(), seed=st.integers(0, 1000), segments=st.integers(1, 3))
def test_a_packed_document_is_read_as_it_is_alone(config: TrainingConfig, seed: int, segments: int) -> None:
    """Memory is written at every so many tokens, so the documents before it are as long as some segments."""
    before = segments * config.mem_segment if config.ltm_enabled else 7 * segments
    ids = token_ids(2, before + 30, seed, first=1)
    ids[:, [0, 5, before]] = 0
    ids[1, before + 20 :] = 0
    model = lively(config, seed)
    with torch.no_grad():
        packed, alone = model(ids), model(ids[:, before:])
    assert largest_difference(packed.logits[:, before:], alone.logits) < 1e-4


@settings(max_examples=10, deadline=None)
@given(config=whole_configs(), seed=st.integers(0, 1000), depth=st.integers(1, 5))
def test_a_depth_for_all_is_a_limit_that_all_reach(config: TrainingConfig, seed: int, depth: int) -> None:
    model = lively(config.with_overrides({"act_threshold": 1.0}), seed)
    if model.pondering is not None:
        with torch.no_grad():
            model.pondering.halting.bias.fill_(-9.0)  # nobody asks to halt
    ids = token_ids(2, 30, seed, vocab_size=40)
    with torch.no_grad():
        together = model(ids, ids.roll(-1, 1), ponder_depth=depth)
        limited = model(ids, ids.roll(-1, 1), max_ponder_steps=depth)
    assert largest_difference(together.logits, limited.logits) < 1e-5
    assert together.loss.item() == pytest.approx(limited.loss.item(), rel=1e-5)
    same_reads(together, limited)


@settings(max_examples=9, deadline=None)
@given(config=whole_configs(), seed=st.integers(0, 1000), training=st.booleans())
def test_a_row_alone_is_a_row_of_a_batch(config: TrainingConfig, seed: int, training: bool) -> None:
    """Each row has its own memory, its own ends of text and its own ponder steps."""
    ids = token_ids(3, 36, seed, vocab_size=40)
    ids[1] = token_ids(1, 36, seed, vocab_size=4, first=1)[0]  # its notes are merged: it has fewer than the others

    def read(text: Tensor) -> CognateOutput:
        with torch.no_grad():
            return lively(config, seed).train(training)(text)

    together = read(ids)
    for row in range(3):
        alone = read(ids[row : row + 1])
        assert largest_difference(together.logits[row : row + 1], alone.logits) < 1e-5
        if config.act_enabled:
            assert torch.equal(there(together.ponder_steps)[row : row + 1], there(alone.ponder_steps))
        if config.ltm_enabled:
            assert torch.equal(reads(together).positions[row : row + 1], reads(alone).positions)


@settings(max_examples=10, deadline=None)
@given(config=whole_configs(), seed=st.integers(0, 1000), data=st.data())
def test_reading_piece_by_piece_is_reading_at_once(config: TrainingConfig, seed: int, data: Any) -> None:
    model = lively(config, seed)
    ids = token_ids(2, 40, seed, vocab_size=60)
    cuts = data.draw(st.sets(st.integers(1, 39)) | st.just(set(range(1, 40))))
    edges = [0, *sorted(cuts), 40]
    state, at_once = CognateState(), CognateState()
    with torch.no_grad():
        whole = model(ids, state=at_once)
        pieces = [model(ids[:, a:b], state=state) for a, b in pairwise(edges)]
    logits = torch.cat([piece.logits for piece in pieces], dim=1)
    assert largest_difference(logits, whole.logits) < 1e-4
    start = 0
    for piece in pieces:
        end = start + piece.logits.shape[1]
        with torch.no_grad():
            if config.act_enabled:
                assert torch.equal(piece.ponder_steps, whole.ponder_steps[:, start:end])
            if config.ltm_enabled:
                assert torch.equal(piece.memory_reads.positions, whole.memory_reads.positions[:, start:end])
                assert torch.allclose(piece.memory_reads.weights, whole.memory_reads.weights[:, start:end], atol=1e-4)
        start = end
    if config.ltm_enabled:
        assert torch.equal(there(state.bank).positions, there(at_once.bank).positions)
        assert torch.allclose(there(state.bank).usage, there(at_once.bank).usage, atol=1e-3)


def test_a_step_at_a_time_ponders_as_the_whole_text() -> None:
    """A halted token keeps its last keys and values when the next one is computed much later, too."""
    model = lively(whole_config(n_layers=4), 2)
    ids = token_ids(1, 60, 4)
    state = CognateState()
    with torch.no_grad():
        whole = model(ids)
        steps = [model(ids[:, n : n + 1], state=state) for n in range(60)]
    assert torch.cat([step.ponder_steps for step in steps], dim=1).tolist() == whole.ponder_steps.tolist()
    assert len(set(whole.ponder_steps.flatten().tolist())) > 2
    assert largest_difference(torch.cat([step.logits for step in steps], dim=1), whole.logits) < 1e-4


@settings(max_examples=10, deadline=None)
@given(config=whole_configs(), seed=st.integers(0, 1000), end=st.integers(1, 38))
def test_after_an_end_of_text_nothing_is_remembered_of_before(config: TrainingConfig, seed: int, end: int) -> None:
    """With attention shut, memory is the only way to the text before."""
    model = lively(config, seed)
    with torch.no_grad():
        for block in blocks_of(model):
            block.attention.out.weight.zero_()
    ids = token_ids(1, 60, seed, vocab_size=30, first=1)
    ids[0, end] = 0
    other = ids.clone()
    other[0, :end] = token_ids(1, end, seed + 1, vocab_size=300, first=1)
    with torch.no_grad():
        one, another = model(ids), model(other)
    assert largest_difference(one.logits[:, end:], another.logits[:, end:]) < 1e-5
    if config.ltm_enabled:
        for output in (one, another):
            read = output.memory_reads.positions[:, end:]
            assert ((read > end) | (read == -1)).all()
            assert (read[:, -1] > end).any(), "nothing was read of the new text either"


def test_the_first_token_opens_no_text_where_a_memory_was_given() -> None:
    model = lively(whole_config(act_enabled=False), 1)
    state = written_bank(model, 1)
    ids = token_ids(1, 20, 2, first=1)
    ids[0, 0] = 0
    with torch.no_grad():
        reads = model(ids, state=state).memory_reads
    assert (reads.weights[0, 0].sum(-1) > 0).all()
    with torch.no_grad():
        assert (model(ids).memory_reads.null[0, 0] == 1).all()


@settings(max_examples=8, deadline=None)
@given(config=whole_configs(), seed=st.integers(0, 1000), tail=st.integers(1, 25))
def test_a_tail_of_padding_changes_nothing_before_it(config: TrainingConfig, seed: int, tail: int) -> None:
    model = lively(config, seed)
    ids = token_ids(2, 25, seed, first=1)
    padded = torch.cat((ids, torch.zeros(2, tail, dtype=torch.long)), dim=1)
    targets = torch.cat((ids[:, 1:], torch.zeros(2, 1, dtype=torch.long)), dim=1)
    padded_targets = torch.cat((targets, torch.full((2, tail), IGNORED_TARGET)), dim=1)
    with torch.no_grad():
        plain, longer = model(ids, targets), model(padded, padded_targets)
    assert largest_difference(longer.logits[:, :25], plain.logits) < 1e-5
    assert longer.loss.item() == pytest.approx(plain.loss.item(), rel=1e-5)


def test_padding_does_not_change_what_counts_as_surprising() -> None:
    """In training the memory follows the model's loss on the text, not on the padding behind it."""
    ids = token_ids(2, 24, 3, first=1)
    padded = torch.cat((ids, torch.zeros(2, 40, dtype=torch.long)), dim=1)
    targets = torch.cat((ids[:, 1:], torch.zeros(2, 1, dtype=torch.long)), dim=1)
    padded_targets = torch.cat((targets, torch.full((2, 40), IGNORED_TARGET)), dim=1)
    # The end of text that follows the last word is predicted, and may count.
    closed, closed_targets = padded[:, :25], padded_targets[:, :25]
    means = []
    for text, wanted in ((ids, targets), (closed, closed_targets), (padded, padded_targets)):
        model = lively(whole_config(), 1).train()
        model(text, wanted)
        means.append(float(there(model.writer).surprise_mean))
    assert means[2] == pytest.approx(means[0], abs=1e-6) or means[2] == pytest.approx(means[1], abs=1e-6)


@settings(max_examples=7, deadline=None)
@given(config=whole_configs(), seed=st.integers(0, 1000))
def test_targets_change_no_logits(config: TrainingConfig, seed: int) -> None:
    """Surprise is the same whether the targets are given, left out of the loss or unknown."""
    model = lively(config, seed)
    ids = token_ids(1, 41, seed)
    inputs, targets = ids[:, :-1], ids[:, 1:].clone()
    some = targets.where(token_ids(1, 40, seed + 1) > 150, IGNORED_TARGET)
    with torch.no_grad():
        plain = model(inputs)
        for given_targets in (targets, some):
            with_targets = model(inputs, given_targets)
            assert largest_difference(with_targets.logits, plain.logits) < 1e-6
            same_reads(with_targets, plain)


# Learning


def gradients_of(config: TrainingConfig, ids: Tensor, steps: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    """Largest gradient of every weight over some optimizer steps from the usual beginning; and the last logits."""
    model = seeded(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    largest: dict[str, Tensor] = {}
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(ids[:, :-1], ids[:, 1:])
        output.loss.backward()
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                assert weight.grad.isfinite().all(), name
                largest[name] = torch.maximum(largest.get(name, weight.grad.abs()), weight.grad.abs())
        optimizer.step()
    assert set(largest) == {name for name, _ in model.named_parameters()}
    return largest, output.logits.detach()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("act", "ltm"), [(True, True), (True, False), (False, True), (False, False)])
def test_gradients_reach_every_parameter(act: bool, ltm: bool, checkpointing: bool) -> None:
    config = config_of(
        d_model=24,
        n_layers=4,
        max_seq_len=128,
        attention_window=64,
        act_enabled=act,
        ltm_enabled=ltm,
        d_mem=24,
        mem_segment=16,
        mem_writes=2,
        gradient_checkpointing=checkpointing,
    )
    for name, largest in gradients_of(config, token_ids(2, 81, 5), steps=2)[0].items():
        assert largest.max() > 0, name


@pytest.mark.parametrize("words", [3, 300])
def test_computing_twice_to_save_memory_gives_the_same_gradients(words: int) -> None:
    ids = token_ids(2, 61, 5, vocab_size=words)
    kept, logits = gradients_of(whole_config(n_layers=4), ids)
    again, same_logits = gradients_of(whole_config(n_layers=4, gradient_checkpointing=True), ids)
    assert torch.equal(logits, same_logits)
    for name, gradient in kept.items():
        assert torch.allclose(gradient, again[name], rtol=1e-4, atol=1e-7), name


def test_saving_memory_really_computes_twice() -> None:
    counts = []
    for checkpointing in (False, True):
        model = seeded(whole_config(act_enabled=False, gradient_checkpointing=checkpointing)).train()
        calls: list[int] = []
        blocks_of(model)[0].attention_norm.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        ids = token_ids(1, 17, 5)
        model(ids[:, :-1], ids[:, 1:]).loss.backward()
        counts.append(len(calls))
    assert counts[1] == 2 * counts[0]


@pytest.mark.parametrize("words", [3, 300])
def test_bf16_stays_finite(words: int) -> None:
    model = seeded(whole_config(n_layers=4)).train()
    ids = token_ids(2, 61, 5, vocab_size=words)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(ids[:, :-1], ids[:, 1:])
    output.loss.backward()
    assert output.logits.isfinite().all()
    for name, weight in model.named_parameters():
        assert there(weight.grad).isfinite().all(), name
    exact = seeded(whole_config(n_layers=4))(ids[:, :-1], ids[:, 1:], max_ponder_steps=5)
    assert output.loss.item() == pytest.approx(exact.loss.item(), rel=0.02)


# The loss


@settings(max_examples=15, deadline=None)
@given(config=whole_configs(), seed=st.integers(0, 1000), weight=st.sampled_from([None, 0.0, 0.5, 3.0]))
def test_the_loss_is_that_of_the_words_and_the_price_of_pondering(
    config: TrainingConfig, seed: int, weight: float | None
) -> None:
    model = lively(config, seed)
    ids = token_ids(2, 31, seed, first=1)
    inputs, targets = ids[:, :-1].clone(), ids[:, 1:].clone()
    inputs[1, 20:], targets[1, 20:] = 0, IGNORED_TARGET  # padding
    inputs[0, 7] = 0  # an end of text that counts is no padding
    targets[0, :5] = IGNORED_TARGET  # a prompt is no padding either
    costs: list[Tensor] = []
    if model.pondering is not None:
        model.pondering.register_forward_hook(lambda module, inputs, pondered: costs.append(pondered.cost.view(2, -1)))
    with torch.no_grad():
        output = model(inputs, targets, ponder_weight=weight)
        logits = output.logits.double()
    wanted = [
        -torch.log_softmax(logits[row, time], dim=-1)[targets[row, time]].item()
        for row, time in (targets != IGNORED_TARGET).nonzero().tolist()
    ]
    assert output.language_model_loss.item() == pytest.approx(np.mean(wanted), rel=1e-5)
    assert output.loss.item() == pytest.approx(
        output.language_model_loss.item() + (output.ponder_loss.item() if config.act_enabled else 0.0)
    )
    if not config.act_enabled:
        assert output.ponder_loss is None
        return
    price = config.act_ponder_weight if weight is None else weight
    real = ~((inputs == 0) & (targets == IGNORED_TARGET))
    assert real.sum() == 50
    assert output.ponder_loss.item() == pytest.approx(price * torch.cat(costs, dim=1)[real].mean().item(), rel=1e-5)


def test_padding_costs_no_pondering() -> None:
    model = lively(whole_config(ltm_enabled=False), 3)
    ids = token_ids(2, 20, 3, first=1)
    costs = []
    for row in range(2):
        with torch.no_grad():
            costs.append(model(ids[row : row + 1], ids[row : row + 1], ponder_weight=1.0).ponder_loss.item() * 20)
    padded = torch.cat((ids, torch.zeros(2, 9, dtype=torch.long)), dim=1)
    targets = padded.where(torch.arange(29) < 20, IGNORED_TARGET)
    with torch.no_grad():
        output = model(padded, targets, ponder_weight=1.0)
    assert output.ponder_loss.item() == pytest.approx(sum(costs) / 40, rel=1e-5)


# What is built


@pytest.mark.parametrize(("act", "ltm"), [(False, False), (True, False), (False, True), (True, True)])
def test_what_is_off_is_not_built(act: bool, ltm: bool) -> None:
    config = whole_config(act_enabled=act, ltm_enabled=ltm)
    model = seeded(config)
    names = " ".join(model.state_dict())
    assert ("pondering" in names) == act
    assert ("memory" in names) == ltm
    assert ("writer" in names) == ltm
    counts = count_parameters(config)
    assert ("pondering" in counts) == act
    assert ("memory" in counts) == ltm
    assert counts["total"] == sum(weight.numel() for weight in model.parameters())
    assert counts["total"] == sum(count for part, count in counts.items() if part != "total")
    output = model(token_ids(1, 20), token_ids(1, 20))
    assert (output.ponder_steps is not None) == act
    assert (output.ponder_loss is not None) == act
    assert (output.memory_reads is not None) == ltm
    assert (output.memory_figures is not None) == ltm


def test_pondering_and_memory_are_counted_apart() -> None:
    config = whole_config(n_layers=3, max_act_steps=5)
    d, m = config.d_model, config.d_mem
    counts = count_parameters(config)
    assert counts["pondering"] == d + d + 1 + 5 * d  # norm, halting, step embedding
    reader = d + m * d + m * m + d * m + d * d + d * d + d + 2 * m + 1
    writer = d + 2 * m * d + 2
    assert counts["memory"] == 3 * reader + writer
    assert counts["norms"] == (2 * 3 + 1) * d


def test_an_untrained_model_guesses_evenly() -> None:
    config = whole_config(d_model=32, d_mem=32, vocab_size=500)
    output = seeded(config)(token_ids(2, 40, 1, 500), token_ids(2, 40, 2, 500))
    assert output.language_model_loss.item() == pytest.approx(math.log(500), abs=0.05)


# The ends of the allowed ranges

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


@settings(max_examples=12, deadline=None)
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


# Writing


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


# Files


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
