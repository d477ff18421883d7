"""The choice of a number of threads, on a computer that is made up here: its clock goes on as it calculates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import pytest
import torch

from cognate_core.errors import PauseRequested
from cognate_core.training.threads import AGAIN_SECONDS, LEAD, PACE_STEPS, SLOWER, SOON, ThreadChoice


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class Computer:
    """`seconds`: how long a pass takes with so many threads."""

    def __init__(self, seconds: Mapping[int, float]) -> None:
        self.seconds = dict(seconds)
        self.now = 0.0
        self.tried: list[int] = []

    def clock(self) -> float:
        return self.now

    def calculate(self) -> None:
        self.tried.append(torch.get_num_threads())
        self.now += self.seconds[torch.get_num_threads()]

    def steps(self, choice: ThreadChoice, seconds: float, count: int = PACE_STEPS) -> list[bool]:
        """After which of so many steps a trial is due."""
        due = []
        for _ in range(count):
            self.now += seconds
            due.append(choice.is_due(seconds))
        return due


def test_after_the_first_step_the_quickest_number_is_found_in_turns() -> None:
    computer = Computer({2: 0.7, 1: 0.4})
    choice = ThreadChoice(2, clock=computer.clock)
    assert torch.get_num_threads() == choice.now == 2
    assert choice.is_due(1.0) and choice.chosen is None, "a run that pauses here tries when it goes on"
    assert choice.choose(computer.calculate) == pytest.approx({2: 0.7, 1: 0.4})
    assert torch.get_num_threads() == choice.now == choice.chosen == 1
    assert computer.tried == [2, 1, 2, 1]
    assert not choice.is_due(1.0)


def test_a_small_lead_changes_nothing() -> None:
    computer = Computer({2: 0.4, 1: 0.4 / LEAD + 0.001})
    choice = ThreadChoice(2, clock=computer.clock)
    choice.choose(computer.calculate)
    assert choice.now == 2


def test_of_many_cores_the_numbers_are_halved_and_hopeless_ones_left() -> None:
    computer = Computer({12: 1.0, 6: 0.8, 3: 1.7, 1: 5.0})
    choice = ThreadChoice(12, clock=computer.clock)
    choice.choose(computer.calculate)
    assert choice.now == 6
    assert computer.tried == [12, 6, 3, 12, 6]


def test_threads_that_wait_for_other_programs_are_tried_once() -> None:
    computer = Computer({2: 60.0, 1: 0.9})
    choice = ThreadChoice(2, clock=computer.clock)
    choice.choose(computer.calculate)
    assert choice.now == 1
    assert computer.tried == [2, 1, 1]


def test_with_one_core_there_is_nothing_to_try() -> None:
    choice = ThreadChoice(1)
    assert not choice.is_due(1.0)


def test_what_was_chosen_before_is_kept_as_far_as_there_are_cores() -> None:
    assert ThreadChoice(2, chosen=1).now == torch.get_num_threads() == 1
    assert ThreadChoice(2, chosen=8).now == torch.get_num_threads() == 2
    assert not ThreadChoice(2, chosen=1).is_due(1.0)


def test_it_tries_again_when_the_pace_halves() -> None:
    computer = Computer({2: 0.7, 1: 1.2})
    choice = ThreadChoice(2, clock=computer.clock)
    choice.choose(computer.calculate)
    assert not any(computer.steps(choice, 1.0, 300))
    assert not any(computer.steps(choice, SLOWER - 0.01, 20))
    assert computer.steps(choice, SLOWER + 0.01).index(True) == PACE_STEPS // 2, "the median has changed"
    computer.seconds[2] = 1.5  # one of its threads waits for another program
    choice.choose(computer.calculate)
    assert choice.now == 1
    assert not any(computer.steps(choice, SLOWER + 0.01, 100)), "that is its pace now"


def test_slow_from_the_first_step_after_a_trial_is_seen_by_what_the_trial_took() -> None:
    computer = Computer({2: 0.2, 1: 0.3})
    choice = ThreadChoice(2, clock=computer.clock)
    choice.choose(computer.calculate)
    assert computer.steps(choice, 3.0).index(True) == PACE_STEPS - 1
    computer.seconds[2] = 4.0
    choice.choose(computer.calculate)
    assert choice.now == 1


def test_it_tries_again_after_a_while_when_it_left_cores_idle() -> None:
    computer = Computer({2: 0.7, 1: 0.4})
    choice = ThreadChoice(2, clock=computer.clock)
    choice.choose(computer.calculate)
    due = computer.steps(choice, 1.0, int(AGAIN_SECONDS) + 1)
    assert due.index(True) == AGAIN_SECONDS
    computer.seconds[2] = 0.2
    choice.choose(computer.calculate)
    assert choice.now == 2
    assert not any(computer.steps(choice, 0.3, 1000)), "none is idle"


def test_trials_take_a_hundredth_of_the_time_at_most_where_nothing_is_amiss() -> None:
    computer = Computer({2: 30.0, 1: 20.0})
    choice = ThreadChoice(2, clock=computer.clock)
    choice.choose(computer.calculate)
    assert choice.now == 1 and computer.now == 100.0
    assert computer.steps(choice, 25.0, 402).index(True) in (399, 400)


def test_several_threads_that_are_slow_are_soon_looked_at() -> None:
    computer = Computer({2: 20.0, 1: 30.0})
    choice = ThreadChoice(2, clock=computer.clock)
    choice.choose(computer.calculate)
    due = computer.steps(choice, 70.0, 10)
    assert due.index(True) == max(PACE_STEPS, math.ceil(SOON * 100.0 / 70.0)) - 1


def test_one_that_is_broken_off_changes_nothing() -> None:
    choice = ThreadChoice(2)

    def break_off() -> None:
        torch.set_num_threads(1)
        raise PauseRequested

    with pytest.raises(PauseRequested):
        choice.choose(break_off)
    assert choice.now == torch.get_num_threads() == 2
    assert choice.is_due(1.0)
