"""The sums over forward passes, beside figures worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cognate_core.model import IGNORED_TARGET, NOTHING, CognateOutput, MemoryReads
from cognate_core.model.state import MemoryFigures
from cognate_core.training.introspection import Introspection

NAMES = {"ponder_loss", "ponder_steps", "memory_notes", "memory_written", "memory_gate", "memory_null_share"}
NONE_COUNT = IGNORED_TARGET


def output_of(
    steps: list[list[int]] | None = None,
    ponder_loss: float | None = None,
    reads: MemoryReads | None = None,
    figures: MemoryFigures | None = None,
) -> CognateOutput:
    return CognateOutput(
        logits=torch.zeros(1, 1, 1),
        loss=None,
        language_model_loss=None,
        ponder_loss=None if ponder_loss is None else torch.tensor(ponder_loss, requires_grad=True),
        ponder_steps=None if steps is None else torch.tensor(steps),
        memory_reads=reads,
        memory_figures=figures,
    )


def reads_of(weights: Tensor, null: Tensor, gate: Tensor) -> MemoryReads:
    """weights: (batch, time, n_layers, topk); null, gate: (batch, time, n_layers)."""
    places = torch.zeros(weights.shape, dtype=torch.long).where(weights > 0, NOTHING)
    return MemoryReads(places, places, weights, null, gate)


def counting(*targets: list[int]) -> Tensor:
    return torch.tensor(targets)


def test_nothing_seen_has_no_means() -> None:
    seen = Introspection()
    assert seen.means() == dict.fromkeys(NAMES)
    assert seen.ponder_counts.tolist() == []


def test_a_plain_model_has_no_means() -> None:
    seen = Introspection()
    seen.add(output_of(), counting([1, 2]), 1.0)
    assert seen.means() == dict.fromkeys(NAMES)


def test_steps_are_counted_over_the_targets_that_count() -> None:
    seen = Introspection()
    seen.add(output_of([[1, 3, 3, 7], [2, 2, 9, 9]]), counting([5, 5, 0, 5], [5, 5, NONE_COUNT, NONE_COUNT]), 1.0)
    assert seen.ponder_counts.tolist() == [0, 1, 2, 2, 0, 0, 0, 1]
    assert seen.means()["ponder_steps"] == pytest.approx((1 + 3 + 3 + 7 + 2 + 2) / 6)


def test_passes_with_more_and_with_fewer_steps_add_up() -> None:
    seen = Introspection()
    for steps in ([[4]], [[2, 2]], [[6]]):
        seen.add(output_of(steps), torch.ones(1, len(steps[0]), dtype=torch.long), 1.0)
    assert seen.ponder_counts.tolist() == [0, 0, 2, 0, 1, 0, 1]
    assert seen.means()["ponder_steps"] == pytest.approx((4 + 2 + 2 + 6) / 4)


def test_adding_counts_leaves_those_given_as_they_were() -> None:
    counts = torch.tensor([0, 1, 1])
    seen = Introspection()
    seen.add_counts(counts)
    seen.add_counts(torch.tensor([5]))
    seen.add_counts(torch.tensor([], dtype=torch.long))
    assert counts.tolist() == [0, 1, 1]
    assert seen.ponder_counts.tolist() == [5, 1, 1]


def test_a_pass_without_a_counted_target_tells_nothing_of_steps() -> None:
    seen = Introspection()
    seen.add(output_of([[3, 3]]), counting([NONE_COUNT, NONE_COUNT]), 1.0)
    assert seen.means()["ponder_steps"] is None


def test_the_ponder_loss_is_what_the_passes_have_of_that_of_the_step() -> None:
    seen = Introspection()
    for loss, weight in ((0.25, 0.2), (0.75, 0.8)):
        seen.add(output_of([[1]], ponder_loss=loss), counting([1]), weight)
    assert seen.means()["ponder_loss"] == pytest.approx(0.2 * 0.25 + 0.8 * 0.75)


def test_the_memory_figures_are_over_all_segments_that_ended() -> None:
    seen = Introspection()
    for figures in (MemoryFigures(1, 10, 20, 10), MemoryFigures(0, 0, 0, 0), MemoryFigures(3, 50, 60, 10)):
        seen.add(output_of(figures=figures), counting([1]), 1.0)
    means = seen.means()
    assert means["memory_notes"] == pytest.approx(15)
    assert means["memory_written"] == pytest.approx(20 / 80)


def test_the_gate_counts_every_token_and_the_null_share_those_that_could_read() -> None:
    """Two tokens, two layers, two notes: token 0 had nothing to read, nor had layer 0 of token 1."""
    weights = torch.tensor([[[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.5, 0.2]]]])
    null = torch.tensor([[[1.0, 1.0], [1.0, 0.3]]])
    gate = torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])
    seen = Introspection()
    seen.add(output_of(reads=reads_of(weights, null, gate)), counting([1, 1]), 1.0)
    assert seen.means()["memory_gate"] == pytest.approx(0.25)
    assert seen.means()["memory_null_share"] == pytest.approx(0.3)
    other = torch.full((1, 1, 1, 2), 0.25), torch.full((1, 1, 1), 0.5), torch.full((1, 1, 1), 0.75)
    seen.add(output_of(reads=reads_of(*other)), counting([1]), 1.0)
    assert seen.means()["memory_gate"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 0.75) / 5)
    assert seen.means()["memory_null_share"] == pytest.approx((0.3 + 0.5) / 2)


def test_where_nothing_could_be_read_there_is_no_null_share() -> None:
    seen = Introspection()
    seen.add(
        output_of(reads=reads_of(torch.zeros(1, 3, 2, 4), torch.ones(1, 3, 2), torch.full((1, 3, 2), 0.5))),
        counting([1, 1, 1]),
        1.0,
    )
    assert seen.means()["memory_null_share"] is None
    assert seen.means()["memory_gate"] == pytest.approx(0.5)


def test_the_sums_keep_no_graph() -> None:
    seen = Introspection()
    seen.add(output_of([[1]], ponder_loss=0.5), counting([1]), 1.0)
    assert isinstance(seen.means()["ponder_loss"], float)


def test_two_sums_do_not_share_anything() -> None:
    one, other = Introspection(), Introspection()
    one.add(output_of([[1]], ponder_loss=0.5), counting([1]), 1.0)
    assert other.means() == dict.fromkeys(NAMES)
