"""A run is stopped or cancelled at any place."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Phase, ProgressCallback, RunStatus, TrainingProgress
from cognate_core.errors import CancelRequested
from cognate_core.service import TrainingService
from tests.service.doubles import (
    FIVE_CALLS,
    TASK,
    HookedEmitter,
    HookedLoader,
    Outcome,
    StepTrainer,
    ThreadTrainer,
    run,
)
from tests.waiting import LONG

PLACES = ("before it is executed", "while a dataset is fetched", "while the data is mixed", "while a model trains")


def interrupted_run(place: str, kind: str, *, then: str | None = None, names: Sequence[str] = ("a", "b")) -> Outcome:
    """A session of two models that a person stops or cancels at `place`; each request must be granted."""
    asked: list[bool] = []
    holder: list[TrainingService] = []

    async def ask(_: object = None) -> None:
        for each in (kind, then):
            if each is not None:
                request = getattr(holder[0], f"{each}_training_session")
                asked.append(await request(TASK))

    outcome = run(
        names,
        connect=holder.append,
        prepare=ask if place == "before it is executed" else None,
        loader=HookedLoader(
            downloading=ask if place == "while a dataset is fetched" else None,
            mixing=ask if place == "while the data is mixed" else None,
        ),
        trainer=StepTrainer(
            hook=ask if place.endswith("model trains") else None,
            model=names[-1] if place == "while the last model trains" else names[0],
        ),
        emitter=HookedEmitter(model_hook=ask if place == "between two models" else None),
    )
    assert asked and all(asked)
    return outcome


@pytest.mark.parametrize("place", PLACES)
def test_cancel_ends_without_a_model(place: str) -> None:
    outcome = interrupted_run(place, "cancel")
    assert outcome.error is None and outcome.models == []
    assert outcome.session.status is RunStatus.CANCELLED
    assert (outcome.last.phase_name, outcome.last.message) == (Phase.CANCELLED, "Cancelled")
    assert outcome.shares == sorted(outcome.shares) and outcome.last.progress < 1.0
    assert outcome.session.finished_at is not None
    trained = {"a"} if place == "while a model trains" else set()
    assert set(outcome.trainer.configs) == trained


def test_cancel_between_two_models_begins_no_other() -> None:
    outcome = interrupted_run("between two models", "cancel", names=("a", "b", "c"))
    assert outcome.error is None
    assert outcome.session.status is RunStatus.CANCELLED
    assert set(outcome.trainer.configs) == {"a"}


def test_cancel_while_a_later_model_trains() -> None:
    outcome = interrupted_run("while the last model trains", "cancel")
    assert outcome.session.status is RunStatus.CANCELLED
    assert [model.model_name for model in outcome.models] == ["a"], "a model that was finished and shown stays"
    assert outcome.last.progress < 1.0


@pytest.mark.parametrize("place", PLACES[:3])
def test_stop_before_training_ends_with_nothing(place: str) -> None:
    outcome = interrupted_run(place, "stop")
    assert outcome.error is None and outcome.models == []
    assert outcome.session.status is RunStatus.STOPPED
    assert outcome.last.message == "Stopped before training began"
    assert outcome.trainer.configs == {} and outcome.last.progress < 1.0


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_an_early_end_is_told_and_all_is_done(names: list[str]) -> None:
    class Early(StepTrainer):
        async def train_model(self, *args: Any) -> dict[str, Any]:
            stats = {"steps": 2, "weights_step": 1, "ended_early": "Ended early, at step 2 of 5. Why."}
            return {**await super().train_model(*args), "training_stats": stats}

    outcome = run(trainer=Early(FIVE_CALLS[:2]), names=names)
    assert outcome.session.status is RunStatus.COMPLETED and outcome.last.progress == 1.0
    each = "Ended early, at step 2 of 5. Why. The model is from step 1"
    told = each if len(names) == 1 else f"a: {each}. b: {each}"
    assert outcome.last.message == f"Training is complete. {told}"


def test_stop_keeps_what_is_trained() -> None:
    outcome = interrupted_run("while a model trains", "stop")
    assert outcome.error is None
    assert outcome.session.status is RunStatus.STOPPED
    assert [(model.model_name, model.training_status) for model in outcome.models] == [("a", "stopped")]
    assert outcome.models[0].training_stats == {"steps": 2}
    assert outcome.emitter.models == outcome.models
    assert outcome.last.message == "Stopped and saved"
    assert set(outcome.trainer.configs) == {"a"}, "no other model is begun"


def test_stop_while_a_later_model_trains_keeps_both() -> None:
    outcome = interrupted_run("while the last model trains", "stop", names=("a", "b"))
    assert [(m.model_name, m.training_status) for m in outcome.models] == [("a", "completed"), ("b", "stopped")]
    assert outcome.session.status is RunStatus.STOPPED


def test_stop_between_two_models_keeps_the_first() -> None:
    outcome = interrupted_run("between two models", "stop", names=("a", "b", "c"))
    assert [(model.model_name, model.training_status) for model in outcome.models] == [("a", "completed")]
    assert outcome.session.status is RunStatus.STOPPED
    assert outcome.last.message == "Stopped and saved"


def stopped_before_the_first_step_of(model: str) -> Outcome:
    holder: list[TrainingService] = []

    async def stop() -> None:
        await holder[0].stop_training_session(TASK)

    return run(["a", "b"], trainer=StepTrainer(hook=stop, after=0, model=model), connect=holder.append)


def test_stop_before_the_first_step_of_the_only_model_begun() -> None:
    outcome = stopped_before_the_first_step_of("a")
    assert outcome.error is None and outcome.models == []
    assert outcome.session.status is RunStatus.STOPPED


def test_stop_before_the_first_step_of_a_later_model_does_not_deny_the_first() -> None:
    outcome = stopped_before_the_first_step_of("b")
    assert [model.model_name for model in outcome.models] == ["a"]
    assert outcome.session.status is RunStatus.STOPPED
    assert "before training began" not in outcome.last.message
    assert outcome.last.message == "Stopped and saved"


def test_cancel_takes_a_stop_back() -> None:
    outcome = interrupted_run("while a model trains", "stop", then="cancel")
    assert outcome.session.status is RunStatus.CANCELLED and outcome.models == []


def test_stop_does_not_take_a_cancel_back() -> None:
    outcome = interrupted_run("while a model trains", "cancel", then="stop")
    assert outcome.session.status is RunStatus.CANCELLED and outcome.models == []


@pytest.mark.parametrize(
    ("kind", "status"), [("cancel", RunStatus.CANCELLING), ("stop", RunStatus.STOPPING)], ids=["cancel", "stop"]
)
def test_status_says_at_once_what_was_asked_for(kind: str, status: RunStatus) -> None:
    seen: list[RunStatus] = []
    holder: list[TrainingService] = []

    async def ask() -> None:
        await getattr(holder[0], f"{kind}_training_session")(TASK)
        seen.append((await holder[0].get_training_status(TASK)).status)

    run(trainer=StepTrainer(hook=ask), connect=holder.append)
    assert seen == [status]


@pytest.mark.parametrize("kind", ["cancel", "stop"])
def test_after_the_end_nothing_can_be_stopped(kind: str) -> None:
    outcome = run()
    told = len(outcome.emitter.progress)
    request = getattr(outcome.service, f"{kind}_training_session")
    assert asyncio.run(request(TASK)) is False
    assert outcome.session.status is RunStatus.COMPLETED and outcome.session.interruption is None
    assert len(outcome.emitter.progress) == told


def test_loader_can_ask_whether_to_go_on() -> None:
    outcome = run()
    outcome.service.raise_if_interrupted(TASK)  # nobody asked for anything
    outcome.session.interruption = CancelRequested
    with pytest.raises(CancelRequested):
        outcome.service.raise_if_interrupted(TASK)


def test_interruption_from_another_thread_is_heard_by_a_trainer_in_a_thread() -> None:
    holder: list[TrainingService] = []
    going_on, asked = threading.Event(), threading.Event()

    async def at_second_step(progress: TrainingProgress) -> None:
        if progress.step == 2:
            assert await asyncio.to_thread(going_on.wait, LONG)  # else the second step itself may hear it
            await asyncio.to_thread(asyncio.run, holder[0].stop_training_session(TASK))
            asked.set()

    class Waiting(ThreadTrainer):
        async def train_model(
            self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
        ) -> dict[str, Any]:
            def callback(*call: Any) -> None:
                if call[0] == 3:
                    going_on.set()
                    assert asked.wait(LONG)  # the person presses before the third step ends
                progress_callback(*call)

            return await super().train_model(model_name, config, callback)

    outcome = run(emitter=HookedEmitter(at_second_step), trainer=Waiting(), connect=holder.append)
    assert outcome.session.status is RunStatus.STOPPED
    assert outcome.models[0].training_stats["steps"] == 3
