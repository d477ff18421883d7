"""No token sees a later one, no text another, and pieces give what the whole gives."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.model import IGNORED_TARGET, CognateOutput, CognateState
from tests.model.tiny import blocks_of, config_of, largest_difference, lively, token_ids, whole_config
from tests.model.whole.models import reads, same_reads, whole_configs, written_bank
from tests.there import there

DEPTHS = st.sampled_from([None, 1, 4])  # each token halts by itself, or all go as many steps


@settings(max_examples=15)
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


@settings(max_examples=15)
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


@settings(max_examples=15)
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


@settings(max_examples=10)
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


@settings(max_examples=9)
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


@settings(max_examples=10)
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


@settings(max_examples=10)
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


@settings(max_examples=8)
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


@settings(max_examples=7)
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
