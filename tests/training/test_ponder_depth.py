"""The depth of training's batches: drawn as often as tokens asked for it, from the seed and earlier batches alone."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from cognate_core.training.ponder_depth import FOLLOWED, PonderDepth
from cognate_core.training.process_group import ALONE
from tests.training.group_in_threads import thread_peers, together


def told(*batches: tuple[int, list[int]]) -> PonderDepth:
    """After a step with these batches: depth, and what its tokens asked for."""
    found = PonderDepth(5)
    for depth, asked in batches:
        found.add(torch.tensor(asked), depth)
    found.follow(ALONE)
    return found


def test_the_shares_are_those_of_the_tokens_that_still_pondered() -> None:
    """Of a batch that went 2 steps, nobody knows who would have gone on after a third."""
    found = told((2, [1, 2, 2, 3, 3]), (4, [2, 3, 5]))
    assert found.going_on == pytest.approx([7 / 8, 4 / 7, 1 / 2, 1 / 1, None])


def test_the_shares_follow_slowly_and_stay_where_no_batch_went() -> None:
    found = told((3, [2, 3, 4, 4]))
    assert found.going_on == [1.0, 0.75, pytest.approx(2 / 3), None, None]
    found.forget()
    found.add(torch.tensor([1, 2, 3, 3]), 2)
    found.follow(ALONE)
    assert found.going_on == [
        pytest.approx(1 - FOLLOWED * 0.25),
        pytest.approx(0.75 + FOLLOWED * (2 / 3 - 0.75)),
        pytest.approx(2 / 3),
        None,
        None,
    ]


def test_what_was_forgotten_is_not_followed() -> None:
    found = PonderDepth(3)
    found.add(torch.tensor([1, 1]), 3)
    found.forget()
    found.follow(ALONE)
    assert found.going_on == [None, None, None]


def test_a_depth_is_drawn_as_often_as_it_was_asked_for() -> None:
    found = PonderDepth(6)
    found.going_on = [0.9, 0.5, 0.4, 1.0, None, None]
    tries = 4000
    drawn = [found.drawn(5, (7, step)) for step in range(tries)]
    for depth, share in {1: 0.1, 2: 0.45, 3: 0.27, 4: 0.0, 5: 0.18}.items():
        assert abs(drawn.count(depth) - share * tries) <= 5 * math.sqrt(share * (1 - share) * tries), depth
    assert drawn == [found.drawn(5, (7, step)) for step in range(tries)]


def test_before_anything_is_known_it_goes_to_the_limit() -> None:
    assert {PonderDepth(9).drawn(6, (0, step)) for step in range(50)} == {6}


def test_several_peers_follow_the_tokens_of_all() -> None:
    group = thread_peers(2)
    depths = [PonderDepth(3) for _ in group]
    depths[0].add(torch.tensor([1, 2]), 2)
    depths[1].add(torch.tensor([3, 3, 2]), 2)
    together([partial(depth.follow, peer) for depth, peer in zip(depths, group, strict=True)])
    assert depths[0].going_on == depths[1].going_on == told((2, [1, 2, 3, 3, 2])).going_on[:3]
