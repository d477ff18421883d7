"""Broadcast: in order, nothing lost and nothing twice, never waiting, and never more than a listener can take."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.contracts import Phase, RunStatus, TrainingProgress
from cognate_core.errors import RunError
from cognate_core.runs import broadcast as module
from cognate_core.runs.broadcast import Broadcast, Listener
from tests.waiting import LONG

Said = dict[str, Any]


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broadcast(clock: Clock) -> Broadcast:
    return Broadcast(clock=clock)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)


def at(step: int, message: str = "Training a", phase: str = Phase.TRAINING) -> TrainingProgress:
    return TrainingProgress(step / 1000, message, phase, step, 1000, 1.0 / max(1, step), 1e-3)


def row(message: str = "") -> TrainingProgress:
    return TrainingProgress(0.0, message, "")


def heard(broadcast: Broadcast, after: int | None = None, run_id: str | None = None) -> list[Said]:
    """What somebody who connects now is told at once."""

    async def listen() -> list[Said]:
        with broadcast.listening(after, run_id) as listener:
            return [await next_of(listener) for _ in range(listener.behind)]

    return asyncio.run(listen())


def run_async(work: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(LONG):
            return await work()

    return asyncio.run(limited())


async def next_of(listener: Listener) -> Said:
    said: Said = json.loads(await anext(listener))
    return said


def steps(said: list[Said]) -> list[int]:
    return [each["step"] for each in said if each["type"] == "training_update"]


class TestProgress:
    def test_of_quick_steps_two_a_second_go_out_and_the_newest_follows(
        self, broadcast: Broadcast, clock: Clock
    ) -> None:
        begin = broadcast.newest_id
        for step in range(1, 101):  # a hundred steps in one second
            broadcast.progress("r", at(step))
            clock.now += 0.01
        broadcast.status("r", RunStatus.COMPLETED, row("Training is complete"))
        said = heard(broadcast, begin)
        assert steps(said) == [1, 51, 100]
        assert [each["type"] for each in said] == ["training_update"] * 3 + ["training_complete"]
        assert said[-1]["step"] == 100 and said[-1]["message"] == "Training is complete"

    def test_a_step_that_was_held_back_follows_without_another(self, broadcast: Broadcast, clock: Clock) -> None:
        async def listen() -> list[int]:
            with broadcast.listening() as listener:
                broadcast.progress("r", at(1))
                broadcast.progress("r", at(2))
                first = await next_of(listener)
                clock.now += module.LONGEST_GAP_SECONDS
                return [first["step"], (await next_of(listener))["step"]]

        assert run_async(listen) == [1, 2]

    def test_what_is_told_is_what_was_measured(self, broadcast: Broadcast) -> None:
        progress = TrainingProgress(0.25, "Training a", Phase.TRAINING, 3, 10, 1.5, 1e-3)
        begin = broadcast.newest_id
        broadcast.progress("r", progress)
        assert heard(broadcast, begin) == [
            {
                "id": begin + 1,
                "run_id": "r",
                "type": "training_update",
                "status": "training",
                "progress": 0.25,
                "message": "Training a",
                "phase": "Model Training",
                "step": 3,
                "total_steps": 10,
                "loss": 1.5,
                "learning_rate": 1e-3,
                "timestamp": progress.timestamp,
            }
        ]

    def test_no_number_is_null_and_odd_text_can_be_read(self, broadcast: Broadcast) -> None:
        odd = TrainingProgress(0.1, "half \ud83d " + "x" * 5000, Phase.TRAINING, 1, 2, float("nan"), float("inf"))
        begin = broadcast.newest_id
        broadcast.progress("r", odd)
        (said,) = heard(broadcast, begin)
        assert said["loss"] is None and said["learning_rate"] is None
        assert said["message"].startswith("half ? xxx") and len(said["message"]) == module.MOST_LETTERS

    def test_nothing_follows_an_end(self, broadcast: Broadcast, clock: Clock) -> None:
        broadcast.progress("r", at(1))
        broadcast.status("r", RunStatus.CRASHED, row("It crashed."))
        begin = broadcast.newest_id
        clock.now += 10
        broadcast.progress("r", at(2))
        broadcast.status("r", RunStatus.CRASHED, row("It crashed."))
        assert heard(broadcast, begin) == []

    def test_a_wish_stays_shown_while_the_run_obeys(self, broadcast: Broadcast, clock: Clock) -> None:
        begin = broadcast.newest_id
        broadcast.progress("r", at(1))
        broadcast.status("r", RunStatus.PAUSING, row("Training a"))
        clock.now += 1
        broadcast.progress("r", at(2))
        assert [each["status"] for each in heard(broadcast, begin)] == ["training", "pausing", "pausing"]


@pytest.mark.parametrize("status", RunStatus)
def test_each_status_is_told_once_as_its_kind(broadcast: Broadcast, status: RunStatus) -> None:
    begin = broadcast.newest_id
    for _ in range(2):
        broadcast.status("r", status, row("A sentence."))
    (said,) = heard(broadcast, begin)
    kinds = dict.fromkeys(("completed", "completed with failures", "stopped"), "training_complete")
    kinds |= dict.fromkeys(("failed", "crashed", "diverged", "interrupted"), "training_error")
    assert said["type"] == kinds.get(status, "training_update")
    assert (said["status"], said["message"]) == (status, "A sentence.")


def test_a_finished_model_is_told_after_its_last_step(broadcast: Broadcast) -> None:
    begin = broadcast.newest_id
    broadcast.progress("r", at(1))
    broadcast.progress("r", at(2))
    broadcast.model_completed("r", "m1", "a")
    said = heard(broadcast, begin)
    assert steps(said) == [1, 2]
    assert said[-1]["type"] == "model_completed"
    assert (said[-1]["model_id"], said[-1]["model_name"], said[-1]["step"]) == ("m1", "a", 2)


class TestConnecting:
    def test_without_an_id_first_how_the_runs_stand_that_go_on(self, broadcast: Broadcast, clock: Clock) -> None:
        for run_id in ("a", "b", "ended"):
            broadcast.progress(run_id, at(1))
            clock.now += 1
        broadcast.progress("a", at(2))
        broadcast.status("ended", RunStatus.COMPLETED, row())
        broadcast.introduce("waits", RunStatus.QUEUED, row("Waiting for its turn"))
        assert [(each["run_id"], each["step"]) for each in heard(broadcast)] == [("b", 1), ("a", 2), ("waits", None)]
        assert [each["type"] for each in heard(broadcast, run_id="ended")] == ["training_complete"]
        assert heard(broadcast, run_id="b")[0]["run_id"] == "b"

    def test_an_introduction_is_no_news_and_changes_nothing_that_is_known(self, broadcast: Broadcast) -> None:
        begin = broadcast.newest_id
        broadcast.introduce("r", RunStatus.INTERRUPTED, row("It was closed."))
        assert heard(broadcast, begin) == [] and broadcast.newest_id == begin
        broadcast.introduce("r", RunStatus.COMPLETED, row())
        assert [each["message"] for each in heard(broadcast, run_id="r")] == ["It was closed."]
        broadcast.status("r", RunStatus.QUEUED, row("Waiting for its turn"))
        assert [each["status"] for each in heard(broadcast, begin)] == ["queued"]

    def test_a_chatty_run_takes_no_other_ones_events(
        self, broadcast: Broadcast, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "UPDATES_KEPT", 5)
        begin = broadcast.newest_id
        broadcast.progress("quiet", at(1))
        broadcast.status("quiet", RunStatus.COMPLETED, row())
        for step in range(1, 50):
            clock.now += 1
            broadcast.progress("chatty", at(step))
        assert [each["type"] for each in heard(broadcast, begin, "quiet")] == ["training_update", "training_complete"]
        lost, *kept = heard(broadcast, begin, "chatty")
        assert lost == {"type": "events_lost", "id": kept[0]["id"] - 1}
        assert steps(kept) == [45, 46, 47, 48, 49]
        assert [each["type"] for each in heard(broadcast, begin)][:3] == [
            "events_lost",
            "training_update",
            "training_complete",
        ]
        assert steps(heard(broadcast, kept[0]["id"])) == [46, 47, 48, 49]

    def test_what_is_kept_is_bounded_and_what_is_lost_is_said(
        self, broadcast: Broadcast, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LASTING_KEPT", 10)
        monkeypatch.setattr(module, "RUNS_KEPT", 5)
        begin = broadcast.newest_id
        for number in range(50):
            clock.now += 1
            broadcast.progress(f"r{number}", at(1))
            broadcast.status(f"r{number}", RunStatus.COMPLETED, row())
        lost, *kept = heard(broadcast, begin)
        assert lost["type"] == "events_lost"
        assert len(kept) == 10 + 5
        assert [number for number in range(50) if heard(broadcast, run_id=f"r{number}")] == [45, 46, 47, 48, 49]
        for run_id in ("r0", "never seen"):
            assert [each["type"] for each in heard(broadcast, begin, run_id)] == ["events_lost"]
        assert heard(broadcast, broadcast.newest_id) == []

    def test_what_goes_on_or_waits_is_told_however_much_there_is(
        self, broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "RUNS_KEPT", 5)
        broadcast.status("going", RunStatus.TRAINING, row())
        for number in range(20):
            broadcast.introduce(f"waits {number}", RunStatus.QUEUED, row())
        broadcast.status("ended", RunStatus.COMPLETED, row())
        broadcast.status("ended, too", RunStatus.FAILED, row())
        told = [each["run_id"] for each in heard(broadcast)]
        assert sorted(told) == sorted(["going", *(f"waits {number}" for number in range(20))])
        assert heard(broadcast, run_id="ended") == [], "what has ended is forgotten first"

    @pytest.mark.parametrize("off", [-1, 10**6])
    def test_an_id_of_another_life_is_told_to_be_lost(self, broadcast: Broadcast, off: int) -> None:
        begin = broadcast.newest_id
        broadcast.status("r", RunStatus.QUEUED, row())
        lost, kept = heard(broadcast, begin + off)
        assert lost == {"type": "events_lost", "id": begin}
        assert kept["status"] == "queued"

    def test_ids_rise_over_restarts_also_when_the_clock_was_set_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000_123_456_789)
        first = Broadcast()
        assert first.newest_id == 1_800_000_000_123, "milliseconds"
        for number in range(100):
            first.status(str(number), RunStatus.QUEUED, row())
        monkeypatch.setattr(time, "time_ns", lambda: 0)
        assert Broadcast(above=first.newest_id - 50).newest_id > first.newest_id

    def test_too_many_are_refused_and_room_is_made_by_who_goes(self) -> None:
        broadcast = Broadcast(most_listeners=1)

        async def listen() -> None:
            with (
                broadcast.listening(),
                pytest.raises(RunError, match=r"1 programs are already listening\."),
                broadcast.listening(),
            ):
                pass
            with broadcast.listening():
                assert broadcast.listeners == 1

        run_async(listen)
        assert broadcast.listeners == 0

    def test_closing_lets_everybody_go_and_nobody_in(self, broadcast: Broadcast) -> None:
        async def listen() -> None:
            with broadcast.listening() as listener:
                threading.Thread(target=broadcast.close).start()
                assert (await listener.ended).code == 1001
                assert [text async for text in listener] == []
            with pytest.raises(RunError, match="closing"), broadcast.listening():
                pass

        run_async(listen)


class TestSlow:
    def test_whoever_does_not_read_is_let_go_and_the_others_hear_everything(
        self, broadcast: Broadcast, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MOST_WAITING", 50)

        async def listen() -> list[int]:
            with broadcast.listening() as quick, broadcast.listening() as slow:
                said = []
                for step in range(module.MOST_WAITING + 2):
                    clock.now += module.LONGEST_GAP_SECONDS
                    broadcast.progress("r", at(step))
                    said.append((await next_of(quick))["step"])
                assert (await slow.ended).code == 1013
                assert [text async for text in slow] == []
                assert not quick.ended.done()
                return said

        assert run_async(listen) == list(range(module.MOST_WAITING + 2))

    def test_whoever_cannot_send_is_let_go(self, broadcast: Broadcast, clock: Clock) -> None:
        async def listen() -> None:
            with broadcast.listening() as slow, broadcast.listening() as quick:
                broadcast.progress("r", at(1))
                await anext(slow)  # it is sending until the end
                await anext(quick)
                clock.now += module.SEND_SECONDS
                broadcast.progress("r", at(2))
                await anext(quick)
                assert not slow.ended.done(), "it still has time"
                clock.now += module.LONGEST_GAP_SECONDS
                broadcast.progress("r", at(3))
                assert (await slow.ended).code == 1013
                assert not quick.ended.done()

        run_async(listen)

    def test_what_it_missed_before_does_not_count_against_it(
        self, broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MOST_WAITING", 50)
        begin = broadcast.newest_id
        for number in range(2 * module.MOST_WAITING):
            broadcast.status(str(number % 3), [RunStatus.QUEUED, RunStatus.PAUSED][number // 3 % 2], row())

        async def listen() -> int:
            with broadcast.listening(begin) as listener:
                broadcast.status("more", RunStatus.QUEUED, row())
                return len([await anext(listener) for _ in range(2 * module.MOST_WAITING + 1)])

        assert run_async(listen) == 2 * module.MOST_WAITING + 1

    def test_the_longer_handing_out_takes_the_less_often_progress_is_told(
        self, broadcast: Broadcast, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin, looks = broadcast.newest_id, itertools.count()
        monkeypatch.setattr(time, "thread_time", lambda: next(looks) * 0.1)  # 0.1 s: twenty times that is rest

        async def listen() -> None:
            with broadcast.listening() as listener:
                broadcast.progress("r", at(1))
                await anext(listener)
                broadcast.status("another", RunStatus.QUEUED, row())
                await anext(listener)  # so the first was handed out, and how long that took is known
                for step in range(2, 12):
                    clock.now += 0.5
                    broadcast.progress("r", at(step))
                broadcast.status("r", RunStatus.COMPLETED, row())

        run_async(listen)
        assert steps(heard(broadcast, begin, "r")) == [1, 2, 6, 10, 11]


def test_from_many_threads_to_many_loops_in_one_order_and_whole(broadcast: Broadcast) -> None:
    """Eight threads publish; listeners in three event loops, one of which begins late, hear the same."""
    ready, go, midway = threading.Semaphore(0), threading.Event(), threading.Event()
    each, threads = 100, 8
    begin = broadcast.newest_id
    results: list[list[int]] = []

    def publish(number: int) -> None:
        go.wait(LONG)
        for turn in range(each):
            if turn == each // 2:
                midway.set()
            broadcast.status(f"r{number}", [RunStatus.QUEUED, RunStatus.PAUSED][turn % 2], row())

    def listen(late: bool) -> None:
        async def work() -> list[int]:
            if late:
                ready.release()
                midway.wait(LONG)
            with broadcast.listening(begin) as listener:
                if not late:
                    ready.release()
                return [(await next_of(listener))["id"] for _ in range(each * threads)]

        results.append(run_async(work))

    listeners = [threading.Thread(target=listen, args=(late,)) for late in (False, False, True)]
    publishers = [threading.Thread(target=publish, args=(number,)) for number in range(threads)]
    for thread in [*listeners, *publishers]:
        thread.start()
    for _ in listeners:
        assert ready.acquire(timeout=LONG)
    go.set()
    for thread in [*listeners, *publishers]:
        thread.join(LONG)
    assert results == [list(range(begin + 1, begin + 1 + each * threads))] * 3


acts = st.lists(
    st.tuples(
        st.sampled_from(["step", "end", "model", "again"]), st.sampled_from(["a", "b", "c"]), st.floats(0.0, 1.0)
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(acts=acts, places=st.lists(st.integers(0, 60), max_size=5), run_id=st.sampled_from([None, "a", "b"]))
def test_whoever_connects_again_anywhere_has_in_the_end_what_who_never_left_has(
    acts: list[tuple[str, str, float]], places: list[int], run_id: str | None
) -> None:
    """After each act in `places` the client goes and comes back with the last id that it saw."""
    clock = Clock()
    broadcast = Broadcast(clock=clock)
    begin = last = broadcast.newest_id
    came_back: list[Said] = []
    for number, (act, run, wait) in enumerate(acts):
        clock.now += wait
        if act == "step":
            broadcast.progress(run, at(number))
        elif act == "model":
            broadcast.model_completed(run, f"m{number}", "a")
        else:
            broadcast.status(run, RunStatus.FAILED if act == "end" else RunStatus.PREPARING, row())
        if number in places:
            came_back += heard(broadcast, last, run_id)
            last = came_back[-1]["id"] if came_back else last
    came_back += heard(broadcast, last, run_id)
    stayed = heard(broadcast, begin, run_id)
    assert came_back == stayed
    ids = [each["id"] for each in stayed]
    assert ids == sorted(set(ids))
    assert all(each["type"] != "events_lost" for each in stayed)
