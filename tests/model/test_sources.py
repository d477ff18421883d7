"""Which notes a token read: merged over the layers, most read first."""

from __future__ import annotations

import pytest
import torch

from cognate_core.model import NOTHING, MemoryReads
from tests.model.tiny import lively, token_ids, whole_config


def test_a_token_names_the_notes_it_read_most_read_first() -> None:
    """Two layers, three notes each: the same note counts once, a closed layer hardly, a missing note not at all."""
    reads = MemoryReads(
        positions=torch.tensor([[[[7, 3, NOTHING], [3, 9, 7]]]]),
        tokens=torch.tensor([[[[70, 30, NOTHING], [30, 90, 70]]]]),
        weights=torch.tensor([[[[0.5, 0.25, 0.0], [0.5, 0.25, 0.25]]]]),
        null=torch.tensor([[[0.25, 0.0]]]),
        gate=torch.tensor([[[0.2, 1.0]]]),
    )
    found = reads.sources(0, 0)
    assert [(each.position, each.token) for each in found] == [(3, 30), (7, 70), (9, 90)]
    assert [each.share for each in found] == pytest.approx([0.275, 0.175, 0.125])


def test_the_sources_of_a_model_are_among_its_earlier_segments() -> None:
    model = lively(whole_config(mem_segment=8), 1)
    ids = token_ids(2, 24, first=1)
    reads = model(ids).memory_reads
    for row, time in ((0, 8), (1, 15), (1, 23)):
        found = reads.sources(row, time)
        assert found
        assert all(each.position < time // 8 * 8 and each.token == ids[row, each.position] for each in found)
        together = (reads.gate * (1 - reads.null))[row, time].mean().item()
        assert sum(each.share for each in found) == pytest.approx(together, abs=1e-5)
    assert reads.sources(0, 5) == [], "nothing is written before the first segment ends"
