"""The memory's parts: what a segment writes, what joins, what is pushed out, and what is read."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cognate_core.model import CognateState, MemoryBank
from cognate_core.model.memory import (
    FIRST_GATE_BIAS,
    FIRST_SCALE,
    MemoryReader,
    MemoryView,
    MemoryWriter,
    SegmentPart,
    cleared,
    joined,
    used,
)
from cognate_core.model.rows import Chunk
from cognate_core.model.state import MemoryFigures
from tests.model.tiny import blocks_of, lively, seeded, token_ids, whole_config
from tests.there import there

WIDTH, D_MEM = 6, 4


def new_writer(writes: int = 3, capacity: int = 5, seed: int = 0) -> MemoryWriter:
    """A writer whose running surprise is 2 nats with a variance of 1."""
    generator = torch.Generator().manual_seed(seed)
    writer = MemoryWriter(WIDTH, D_MEM, writes, capacity, first_surprise=2.0)
    with torch.no_grad():
        for linear in (writer.key, writer.value):
            linear.weight.copy_(torch.randn(D_MEM, WIDTH, generator=generator))
    return writer


def segment_of(batch: int, time: int, seed: int = 0, surprise: list[float] | None = None) -> SegmentPart:
    generator = torch.Generator().manual_seed(seed)
    return SegmentPart(
        torch.randn(batch, time, WIDTH, generator=generator),
        torch.randn(batch, time, WIDTH, generator=generator),
        torch.full((batch, time), 2.0) if surprise is None else torch.tensor(surprise).expand(batch, time),
        torch.arange(1, time + 1).expand(batch, time),
        torch.zeros(batch, time, dtype=torch.bool),
    )


def empty(batch: int = 1) -> MemoryBank:
    return MemoryBank.empty(batch, D_MEM, torch.device("cpu"))


def written(
    writer: MemoryWriter, bank: MemoryBank, segment: SegmentPart, start: int = 0, usable: Tensor | None = None
) -> tuple[MemoryBank, Tensor]:
    shape = segment.tokens.shape
    positions = torch.arange(start, start + shape[1]).expand(shape)
    with torch.no_grad():
        return writer(bank, segment, torch.ones(shape, dtype=torch.bool) if usable is None else usable, positions)


def places(bank: MemoryBank, row: int = 0) -> list[int]:
    return bank.positions[row][bank.filled[row]].tolist()


# Writing


def test_what_surprised_most_is_noted() -> None:
    segment = segment_of(1, 6, surprise=[1.0, 5.0, 0.5, 3.0, 2.0, 4.0])
    bank, noted = written(new_writer(), empty(), segment, start=10)
    assert sorted(places(bank)) == [11, 13, 15]
    assert noted.tolist() == [3]
    assert sorted(bank.tokens[0].tolist()) == [2, 4, 6]
    assert bank.usage.tolist() == [[1, 1, 1]]
    assert bank.age.tolist() == [[0, 0, 0]]


def test_a_note_weighs_as_much_as_it_surprised() -> None:
    """The first segment has nothing to be like: w = sigmoid((surprise - mean) / spread), with slope 1 and offset 0."""
    surprise = [1.0, 5.0, 2.0]
    bank, _ = written(new_writer(), empty(), segment_of(1, 3, surprise=surprise))
    for place, log_weight in zip(places(bank), bank.log_weights[0].tolist(), strict=True):
        assert math.exp(log_weight) == pytest.approx(1 / (1 + math.exp(2 - surprise[place])), rel=1e-4)


def test_a_surprise_beyond_four_deviations_counts_as_four() -> None:
    bank, _ = written(new_writer(), empty(), segment_of(1, 2, surprise=[100.0, 6.0]))
    assert bank.log_weights[0, 0].item() == pytest.approx(bank.log_weights[0, 1].item(), abs=1e-5)


def test_an_unknown_surprise_counts_as_usual() -> None:
    bank, _ = written(new_writer(), empty(), segment_of(1, 2, surprise=[math.nan, 9.0]))
    assert dict(zip(places(bank), bank.log_weights[0].exp().tolist(), strict=True))[0] == pytest.approx(0.5)


def test_what_is_known_already_is_hardly_noted() -> None:
    writer = new_writer(writes=2, capacity=9)
    first = segment_of(1, 2, seed=1)
    bank, _ = written(writer, empty(), first)
    new = segment_of(1, 2, seed=2)
    both = joined((first, new))
    again, _ = written(writer, bank, both, start=2)
    assert sorted(places(again)) == [0, 1, 4, 5]
    assert (again.age[0][again.positions[0] < 2] == 1).all()


def test_novelty_is_one_less_the_greatest_likeness() -> None:
    writer = new_writer(writes=1, capacity=9)
    bank, _ = written(writer, empty(), segment_of(1, 1, seed=1))
    known, other = segment_of(1, 1, seed=1), segment_of(1, 1, seed=5)
    segment = dataclasses.replace(known, contexts=known.contexts + other.contexts, states=known.states + other.states)
    again, _ = written(writer, bank, segment, start=1)
    old, new = 0, 1
    likeness = [F.cosine_similarity(x[0, old], x[0, new], dim=0).item() for x in (again.keys, again.values)]
    novelty = min(1 - sum(likeness) / 2, 1.0)
    assert 0.1 < novelty < 0.9, "a clear case"
    assert again.log_weights[0, new].exp().item() == pytest.approx(0.5 * novelty, rel=1e-4)


def test_what_must_not_be_noted_is_not() -> None:
    usable = torch.tensor([[False, True, False, False], [False, False, False, False]])
    bank, noted = written(new_writer(), empty(2), segment_of(2, 4, surprise=[9.0, 0.0, 9.0, 9.0]), usable=usable)
    assert noted.tolist() == [1, 0]
    assert places(bank, 0) == [1]
    assert places(bank, 1) == []
    assert bank.slots == 1


def test_a_segment_without_notes_leaves_an_empty_bank() -> None:
    bank, _ = written(new_writer(), empty(2), segment_of(2, 4), usable=torch.zeros(2, 4, dtype=torch.bool))
    assert bank.slots == 0
    again, _ = written(new_writer(), bank, segment_of(2, 4))
    assert again.slots == 3


# Joining


def repeated(segment: SegmentPart, order: list[int]) -> SegmentPart:
    """The tokens of a segment in this order, some of them several times."""
    return SegmentPart(
        *(getattr(segment, name)[:, order] for name in ("contexts", "states", "surprise", "tokens", "opens"))
    )


def test_the_same_thing_twice_is_one_note() -> None:
    segment = repeated(segment_of(1, 2, surprise=[3.0, 2.0]), [0, 1, 0])
    segment.surprise[0, 2] = 4.0
    bank, noted = written(new_writer(), empty(), segment, start=20)
    assert noted.tolist() == [3]
    assert sorted(places(bank)) == [21, 22], "the first of them in the order of their weight stays"
    weights = dict(zip(places(bank), bank.log_weights[0].exp().tolist(), strict=True))
    assert weights[22] == pytest.approx(1 / (1 + math.exp(-2.0)), rel=1e-4), "the larger weight"


def test_the_joint_note_is_the_weighted_mean() -> None:
    writer = new_writer(writes=1, capacity=9)
    first = segment_of(1, 1, seed=1, surprise=[3.0])
    near = SegmentPart(first.contexts + 0.05, first.states - 0.05, first.surprise - 2, first.tokens + 7, first.opens)
    old, _ = written(writer, empty(), first)
    apart, _ = written(writer, empty(), near)
    bank, _ = written(writer, old, near, start=1)
    assert places(bank) == [0]
    assert bank.tokens.tolist() == [[1]]
    likeness = (F.cosine_similarity(old.keys, apart.keys, -1) + F.cosine_similarity(old.values, apart.values, -1)) / 2
    assert likeness.item() > 0.95
    shares = torch.tensor([old.log_weights.exp().item(), apart.log_weights.exp().item() * (1 - likeness.item())])
    shares = shares / shares.sum()
    key = F.normalize(shares[0] * old.keys + shares[1] * apart.keys, dim=-1)
    assert torch.allclose(bank.keys, key, atol=1e-5)
    assert torch.allclose(bank.values, shares[0] * old.values + shares[1] * apart.values, atol=1e-5)
    assert torch.equal(bank.log_weights, old.log_weights)


def turned(angles: list[float], surprise: list[float]) -> SegmentPart:
    """Tokens whose context and state lie at these angles (degrees) of one plane."""
    radians = torch.tensor(angles).deg2rad()
    states = F.pad(torch.stack((radians.cos(), radians.sin()), dim=-1), (0, WIDTH - 2))[None]
    return dataclasses.replace(segment_of(1, len(angles), surprise=surprise), contexts=states, states=states)


def test_a_note_that_joins_one_that_joined_another_is_part_of_that() -> None:
    """cos 12 degrees is above 0.95, cos 24 is not: the last is only near the middle one, which is part of the first."""
    writer = new_writer()
    with torch.no_grad():
        for linear in (writer.key, writer.value):
            linear.weight.copy_(torch.eye(D_MEM, WIDTH))
    segment = turned([0.0, 12.0, 24.0], [5.0, 4.0, 3.0])
    bank, _ = written(writer, empty(), segment)
    assert places(bank) == [0]
    weights = torch.sigmoid(segment.surprise[0] - 2)
    expected = (weights[:, None] * writer.norm(segment.states)[0, :, :D_MEM]).sum(0) / weights.sum()
    assert torch.allclose(bank.values[0, 0], expected, atol=1e-5)
    apart, _ = written(writer, empty(), turned([0.0, 24.0], [5.0, 3.0]))
    assert places(apart) == [0, 1]


def test_many_of_one_kind_are_still_one_note() -> None:
    segment = repeated(segment_of(2, 2), [0] * 9)
    bank, _ = written(new_writer(writes=9, capacity=9), empty(2), segment)
    assert bank.slots == 1
    assert bank.filled.all()
    assert bank.keys.norm(dim=-1).flatten().tolist() == pytest.approx([1.0, 1.0])


def test_a_row_that_joins_nothing_is_left_as_it_was() -> None:
    plain, both_alike = segment_of(1, 2, seed=3), repeated(segment_of(1, 1, seed=4), [0, 0])
    together = SegmentPart(
        *(
            torch.cat((getattr(plain, name), getattr(both_alike, name)))
            for name in ("contexts", "states", "surprise", "tokens", "opens")
        )
    )
    bank, _ = written(new_writer(), empty(2), together)
    alone, _ = written(new_writer(), empty(), plain)
    assert bank.filled.sum(1).tolist() == [2, 1]
    assert torch.allclose(bank.keys[:1], alone.keys, atol=1e-6)
    assert torch.allclose(bank.values[:1], alone.values, atol=1e-6)
    assert torch.equal(bank.log_weights[:1], alone.log_weights)


# Pushing out


def test_what_was_used_least_goes() -> None:
    writer = new_writer(writes=2, capacity=3)
    bank, _ = written(writer, empty(), segment_of(1, 2, seed=1, surprise=[0.0, 0.0]))
    bank = used(bank, torch.tensor([[1, -1]]), torch.tensor([[5.0, 0.3]]))
    assert bank.usage.tolist() == [[1, 6]]
    read_often = bank.positions[0, 1].item()
    again, _ = written(writer, bank, segment_of(1, 2, seed=9, surprise=[5.0, 6.0]), start=2)
    assert again.slots == 3
    assert sorted(places(again)) == sorted([read_often, 2, 3])
    assert again.usage[0][again.positions[0] == read_often].item() == pytest.approx(6 * 0.9)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 100), writes=st.integers(1, 9), capacity=st.integers(1, 9), times=st.lists(st.integers(1, 6))
)
def test_the_bank_never_outgrows_its_capacity(seed: int, writes: int, capacity: int, times: list[int]) -> None:
    writer, bank, start = new_writer(writes, capacity), empty(2), 0
    for n, time in enumerate(times):
        usable = torch.rand(2, time, generator=torch.Generator().manual_seed(seed + n)) > 0.3
        before = bank.filled.sum(1)
        bank, noted = written(writer, bank, segment_of(2, time, seed + n), start, usable)
        assert (noted == usable.sum(1).clamp_max(writes)).all()
        after = bank.filled.sum(1)
        assert (after <= capacity).all()
        assert (after <= before + noted).all()
        assert (after >= torch.minimum(before, torch.tensor(capacity))).all(), "notes went although there was room"
        assert bank.slots == after.max(), "slots that no row needs"
        start += time
        for row in range(2):
            found = places(bank, row)
            assert len(set(found)) == len(found)


@pytest.mark.parametrize("slot", [0, 3, 7])
def test_a_note_that_was_long_unused_stays_while_there_is_room(slot: int) -> None:
    """Usage fades by a tenth each segment; after a thousand of them a note is still worth more than an empty slot."""
    writer = new_writer(writes=8, capacity=20)
    bank, _ = written(writer, empty(2), segment_of(2, 8, seed=1))
    assert bank.slots == 8
    faded, weights = bank.usage.clone(), bank.log_weights.clone()
    for _ in range(1100):
        faded[0] *= 0.9
    weights[0, torch.arange(8) != slot] = -math.inf  # the row beside has more notes
    weights[1, 5:] = -math.inf
    bank = dataclasses.replace(bank, usage=faded, log_weights=weights)
    kept = places(bank, 0)
    assert len(kept) == 1
    bank, _ = written(writer, bank, segment_of(2, 1, seed=3), start=8, usable=torch.zeros(2, 1, dtype=torch.bool))
    assert places(bank, 0) == kept
    assert len(places(bank, 1)) == 5


def test_a_full_memory_still_takes_in_new_things() -> None:
    """A new note must have a chance to be read before those that were read for long push it out again."""
    model = seeded(whole_config(n_layers=4, act_enabled=False, max_seq_len=512, mem_capacity=8, mem_segment=16))
    state = CognateState()
    with torch.no_grad():
        model.eval()(token_ids(1, 512, first=1), state=state)
    assert max(places(there(state.bank))) >= 256, (
        f"in the end it knows only of the places {places(there(state.bank))} of 512"
    )


def test_cleared_rows_are_empty_and_the_others_as_before() -> None:
    bank, _ = written(new_writer(), empty(2), segment_of(2, 4))
    after = cleared(bank, torch.tensor([True, False]))
    assert places(after, 0) == []
    assert places(after, 1) == places(bank, 1) != []


# The running surprise


def test_the_running_surprise_follows_slowly() -> None:
    writer = new_writer()
    losses = torch.tensor([3.0, 5.0, 4.0])
    writer.follow(losses, momentum=0.1)
    mean = 2.0 + 0.1 * (4.0 - 2.0)
    assert writer.surprise_mean.item() == pytest.approx(mean)
    spread = sum((loss - mean) ** 2 for loss in losses.tolist()) / 3
    assert writer.surprise_variance.item() == pytest.approx(0.9 * 1.0 + 0.1 * spread)


@pytest.mark.parametrize("losses", [[], [math.nan], [1.0, math.inf]])
def test_what_is_no_number_is_not_followed(losses: list[float]) -> None:
    writer = new_writer()
    writer.follow(torch.tensor(losses))
    assert (writer.surprise_mean.item(), writer.surprise_variance.item()) == (2.0, 1.0)


def test_the_running_surprise_stands_still_but_in_training() -> None:
    model = lively(whole_config(), 1)
    before = there(model.writer).surprise_mean.item()
    model(token_ids(1, 30), token_ids(1, 30))
    list(model.generate(token_ids(1, 5), 10))
    assert there(model.writer).surprise_mean.item() == before
    model.train()(token_ids(1, 30), token_ids(1, 30))
    assert there(model.writer).surprise_mean.item() != before


def test_it_follows_the_loss_of_the_text() -> None:
    model = lively(whole_config(), 1).train()
    ids = token_ids(1, 31, first=1)
    before = there(model.writer).surprise_mean.item()
    with torch.no_grad():
        logits = model(ids).logits
    loss = F.cross_entropy(logits[0, :-1], ids[0, 1:]).item()
    assert there(model.writer).surprise_mean.item() == pytest.approx(before + 0.05 * (loss - before), rel=1e-5)


# Reading


def reader_and_rows(batch: int, time: int, seed: int = 0) -> tuple[MemoryReader, Tensor, Chunk]:
    reader = MemoryReader(WIDTH, D_MEM)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in reader.named_parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator) + ("norm" in name))
    return (
        reader,
        torch.randn(batch * time, WIDTH, generator=generator),
        Chunk(batch, time, 0, 0, 16, 2, torch.device("cpu")),
    )


def view_of(reader: MemoryReader, bank: MemoryBank, tokens: int, topk: int) -> MemoryView:
    return MemoryView(bank, reader.keys(bank), torch.ones(tokens, dtype=torch.bool), topk)


def test_an_empty_memory_gives_only_the_null_slot() -> None:
    reader, x, chunk = reader_and_rows(2, 3)
    with torch.no_grad():
        added, read = reader(x, chunk.rows(), view_of(reader, empty(2), 6, 4))
        gate = torch.sigmoid(reader.gate(reader.norm(x)))
        expected = gate * reader.out(reader.value(reader.null_value))
    assert torch.allclose(added, expected, atol=1e-6)
    assert (read.slots == -1).all()
    assert (read.weights == 0).all()
    assert (read.null == 1).all()
    assert read.slots.shape == read.weights.shape == (6, 4)


def test_cleared_notes_are_not_read_and_give_what_an_empty_memory_gives() -> None:
    reader, x, chunk = reader_and_rows(2, 3)
    bank, _ = written(new_writer(), empty(2), segment_of(2, 4))
    view = view_of(reader, cleared(bank, torch.tensor([True, True])), 6, 2)
    with torch.no_grad():
        added, read = reader(x, chunk.rows(), view)
        nothing, _ = reader(x, chunk.rows(), view_of(reader, empty(2), 6, 2))
    assert torch.allclose(added, nothing, atol=1e-6)
    assert (read.slots == -1).all()
    assert (read.null == 1).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 100), topk=st.integers(1, 6), data=st.data())
def test_some_rows_read_what_they_read_among_all(seed: int, topk: int, data: st.DataObject) -> None:
    reader, x, chunk = reader_and_rows(2, 4, seed)
    bank, _ = written(new_writer(4, 9, seed), empty(2), segment_of(2, 4, seed))
    view = view_of(reader, bank, 8, topk)
    index = torch.tensor(sorted(data.draw(st.sets(st.integers(0, 7), min_size=1))))
    with torch.no_grad():
        everything, all_read = reader(x, chunk.rows(), view)
        some, read = reader(x[index], chunk.rows(index), view)
    assert torch.allclose(some, everything[index], atol=1e-6)
    assert torch.equal(read.slots, all_read.slots[index])
    assert torch.allclose(read.weights.sum(-1) + read.null, torch.ones(len(index)), atol=1e-6)
    later = all_read.updated(chunk.rows(index), read)
    assert torch.equal(later.slots, all_read.slots)
    assert (read.weights.diff(dim=-1) <= 0).all(), "the best first"


def test_tokens_of_a_later_text_read_nothing() -> None:
    reader, x, chunk = reader_and_rows(1, 4)
    bank, _ = written(new_writer(), empty(), segment_of(1, 4))
    readable = torch.tensor([True, True, False, False])
    view = MemoryView(bank, reader.keys(bank), readable, 2)
    with torch.no_grad():
        _, read = reader(x, chunk.rows(), view)
        _, some = reader(x[[1, 3]], chunk.rows(torch.tensor([1, 3])), view)
    assert (read.null < 1).tolist() == readable.tolist()
    assert (some.null < 1).tolist() == [True, False]


def test_a_new_model_looks_for_contexts_like_the_present_one() -> None:
    """The reader begins with the writer's own projection, a sharp scale and a gate nearly shut."""
    model = seeded(whole_config())
    for block in blocks_of(model):
        reader = there(block.memory)
        assert torch.equal(reader.query.weight, there(model.writer).key.weight)
        assert torch.equal(reader.key.weight, torch.eye(model.config.d_mem))
        assert (reader.gate.bias == FIRST_GATE_BIAS).all()
        assert reader.log_scale.exp().item() == pytest.approx(FIRST_SCALE)
        assert (reader.null_value == 0).all()
    state = CognateState()
    with torch.no_grad():
        reads = model(token_ids(1, 24), state=state).memory_reads
    assert reads.gate.mean().item() == pytest.approx(1 / (1 + math.exp(2)), abs=0.03)


# Figures


def test_the_figures_say_how_much_was_noted_and_kept() -> None:
    model = lively(whole_config(mem_capacity=6, mem_writes=4, mem_segment=8), 1)
    figures = model(token_ids(2, 24, first=1)).memory_figures
    assert (figures.ends, figures.notes) == (2 * 3, 2 * (4 + 6 + 6)), "after each of three segments of two texts"
    assert (figures.usable, figures.written) == (2 * 23, 2 * 3 * 4), "24 tokens, less the first, of unknown surprise"
    assert model(token_ids(2, 7)).memory_figures == MemoryFigures(0, 0, 0, 0)


def test_padding_does_not_dilute_the_figures() -> None:
    model = lively(whole_config(mem_capacity=64, mem_writes=4, mem_segment=8), 1)
    ids = token_ids(1, 24, first=1)
    padding = torch.zeros_like(ids)
    alone = model(ids).memory_figures
    assert model(torch.cat((ids, padding))).memory_figures == alone
    assert model(padding).memory_figures == MemoryFigures(0, 0, 0, 0)


def test_a_segment_that_is_not_full_is_written_when_it_is_ended() -> None:
    model = lively(whole_config(), 1)
    state = CognateState()
    with torch.no_grad():
        model(token_ids(1, 5, first=1), state=state)
    assert there(state.bank).slots == 0
    model.end_segment(state)
    assert sorted(places(there(state.bank))) != []
    before = state.bank
    model.end_segment(state)
    assert state.bank is before, "there was nothing more to write"


def test_the_first_word_of_all_has_no_context_to_be_found_by() -> None:
    """Keys have length 1, so that every note can be found; where there is no context there must be no note."""
    model = lively(whole_config(mem_writes=8, mem_capacity=8), 1)
    state = CognateState()
    with torch.no_grad():
        model(token_ids(1, 8, first=1), state=state)
    assert torch.allclose(there(state.bank).keys.norm(dim=-1)[there(state.bank).filled], torch.ones(1), atol=1e-4)
