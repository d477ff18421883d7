"""The loss by position: the same as a naive loop over tokens gives."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.data.packing import Packed
from cognate_core.errors import DataError
from cognate_core.inference.position_loss import (
    AT_ONCE,
    bucket_of,
    loss_by_position,
    positions_of,
    prepared_for,
    token_losses,
)
from cognate_core.model import CognateModel
from tests.model.tiny import config_of, seeded, whole_config

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTH = 49


class Held:
    """In place of PreparedData: held-out sequences in memory."""

    def __init__(self, **sources: Packed) -> None:
        self.held = sources
        self.sources = list(sources)

    def packed(self, source: str, split: str) -> Packed:
        assert split == "heldout"
        return self.held[source]


def sequences(count: int, seed: int) -> Packed:
    """Texts of any length one after the other, the end of the sequence as padding; some tokens are prompts."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 300, (count, LENGTH)).astype(np.uint16)
    tokens[rng.random(tokens.shape) < 0.06] = END_OF_TEXT_ID
    tokens[:, 0] = END_OF_TEXT_ID
    if count > 1:
        tokens[1, 0] = 7  # the rest of a text that was cut
    counted = (rng.random(tokens.shape) < 0.8).astype(np.uint8)
    counted[:, -5:] = 0
    return Packed(tokens, counted, 0)


def by_a_loop(model: CognateModel, packed: Packed) -> dict[tuple[int, int], tuple[float, int]]:
    """(first, last) -> (mean loss, tokens)."""
    losses: dict[tuple[int, int], list[float]] = defaultdict(list)
    for tokens, counted in zip(packed.tokens.tolist(), packed.counted.tolist(), strict=True):
        with torch.no_grad():
            chances = model(torch.tensor([tokens[:-1]])).logits[0].log_softmax(-1)
        position = 0
        for place in range(1, LENGTH):
            position = 1 if tokens[place - 1] == END_OF_TEXT_ID else position + 1
            first, last = 1, 8
            while position > last:
                first, last = last + 1, 2 * last
            if counted[place]:
                losses[first, last].append(-float(chances[place - 1, tokens[place]]))
    return {ends: (sum(each) / len(each), len(each)) for ends, each in losses.items()}


@pytest.mark.parametrize("config", [config_of(max_seq_len=64), whole_config()], ids=["plain", "the whole"])
def test_each_bucket_has_the_mean_of_its_tokens(config: Any) -> None:
    model = seeded(config, 4).eval()
    data = Held(one=sequences(5, 0), other=sequences(1, 1), none=sequences(0, 2))
    said: list[tuple[int, int]] = []
    found = loss_by_position(model, data, 50, lambda done, total: said.append((done, total)))  # type: ignore[arg-type]
    assert list(found) == ["one", "other"]
    assert said == [(done, 6) for done in range(6)]
    for source, rows in found.items():
        expected = by_a_loop(model, data.held[source])
        assert {(row.first, row.last): row.tokens for row in rows} == {ends: n for ends, (_, n) in expected.items()}
        assert [row.loss for row in rows] == pytest.approx([expected[row.first, row.last][0] for row in rows], rel=1e-4)
        assert [row.first for row in rows] == sorted(row.first for row in rows)


def test_no_more_sequences_are_read_than_asked_and_they_are_spread_over_all() -> None:
    model, packed = seeded(config_of(max_seq_len=64), 4).eval(), sequences(9, 0)
    found = loss_by_position(model, Held(one=packed), 3)["one"]  # type: ignore[arg-type]
    some = Packed(packed.tokens[[0, 4, 8]], packed.counted[[0, 4, 8]], 0)
    assert sum(row.tokens for row in found) == int(some.counted[:, 1:].sum())
    assert found == loss_by_position(model, Held(one=some), 3)["one"]  # type: ignore[arg-type]


def test_a_long_sequence_is_read_in_pieces_to_the_same_effect() -> None:
    model = seeded(config_of(max_seq_len=2 * AT_ONCE, attention_window=64), 4).eval()
    tokens = np.random.default_rng(0).integers(1, 300, AT_ONCE + 40)
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens[None, :-1])).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(tokens[1:]), reduction="none")
    assert token_losses(model, tokens) == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-4)


def test_a_position_is_counted_from_the_beginning_of_its_text() -> None:
    assert positions_of(np.array([0, 5, 6, 0, 7, 0, 0, 8])).tolist() == [1, 2, 3, 1, 2, 1, 1]
    assert positions_of(np.array([9, 5, 6, 0, 7])).tolist() == [1, 2, 3, 1]


def test_buckets_double() -> None:
    ends = [1, 8, 9, 16, 17, 32, 33, 64, 65, 4096, 4097]
    assert bucket_of(np.array(ends)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 9, 10]


@pytest.mark.parametrize("count", [0, 2])
def test_data_in_which_nothing_counts_is_told(count: int) -> None:
    packed = sequences(count, 0)
    packed.counted[:] = 0
    with pytest.raises(DataError, match=r"^No held-out text of this run counts .* Start a run that holds out more"):
        loss_by_position(seeded(config_of(max_seq_len=64)).eval(), Held(one=packed), 5)  # type: ignore[arg-type]


def test_data_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^The prepared text of this run is no longer there.* Start a run"):
        prepared_for(tmp_path, "abc")
    (tmp_path / "prepared" / "abc").mkdir(parents=True)
    with pytest.raises(DataError, match="is incomplete or damaged"):
        prepared_for(tmp_path, "abc")
