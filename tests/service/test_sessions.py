"""Sessions, the models they list, pauses, and going on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cognate_core.contracts import ModelArtifacts, Phase, RunStatus
from cognate_core.errors import CancelRequested, Interruption, PauseRequested, RunError, StopRequested, TrainingError
from cognate_core.service import TrainingService, TrainingSession, stronger
from cognate_core.testing import MockDatasetLoader, MockModelTrainer, MockProgressEmitter
from tests.service.doubles import FIVE_STEPS, TASK, Hook, HookedEmitter, HookedLoader, Outcome, StepTrainer, run


def test_unknown_session() -> None:
    service = TrainingService(MockProgressEmitter(), MockDatasetLoader(), MockModelTrainer())
    for ask in (
        service.get_training_status,
        service.execute_training_pipeline,
        service.cancel_training_session,
        service.stop_training_session,
    ):
        with pytest.raises(RunError, match="There is no training session 'ghost'"):
            asyncio.run(ask("ghost"))
    with pytest.raises(RunError, match="There is no training session 'ghost'"):
        service.raise_if_interrupted("ghost")


def test_executing_twice() -> None:
    outcome = run()
    with pytest.raises(RunError, match="'training_001' is completed and cannot be started again"):
        asyncio.run(outcome.service.execute_training_pipeline(TASK))
    assert outcome.session.status is RunStatus.COMPLETED and len(outcome.session.models) == 1


def test_executing_twice_at_once_runs_once() -> None:
    trainer = StepTrainer()
    service = TrainingService(MockProgressEmitter(), MockDatasetLoader(), trainer, FIVE_STEPS)

    async def both() -> list[Any]:
        await service.start_training_session(TASK, None, ["a"])
        work = (service.execute_training_pipeline(TASK) for _ in range(2))
        return await asyncio.gather(*work, return_exceptions=True)

    models, refused = asyncio.run(both())
    assert [model.model_name for model in models] == ["a"]
    assert isinstance(refused, RunError) and "cannot be started again" in str(refused)
    assert len(asyncio.run(service.list_trained_models())) == 1


def test_task_id_can_be_used_once() -> None:
    outcome = run()
    with pytest.raises(RunError, match="A training session 'training_001' already exists"):
        asyncio.run(outcome.service.start_training_session(TASK))
    assert asyncio.run(outcome.service.get_training_status(TASK)) is outcome.session


def test_sessions_side_by_side_keep_apart() -> None:
    holder: list[TrainingService] = []

    async def cancel_two() -> None:
        await holder[0].cancel_training_session("two")

    emitter, trainer = MockProgressEmitter(), StepTrainer(hook=cancel_two, model="b")
    service = TrainingService(emitter, MockDatasetLoader(), trainer, FIVE_STEPS)
    holder.append(service)

    async def both() -> list[list[ModelArtifacts]]:
        await service.start_training_session("one", {"seed": 1}, ["a"])
        await service.start_training_session("two", {"seed": 2}, ["b"])
        work = (service.execute_training_pipeline(task) for task in ("one", "two"))
        return await asyncio.gather(*work)

    of_one, of_two = asyncio.run(both())
    assert ([model.model_name for model in of_one], of_two) == (["a"], [])
    assert asyncio.run(service.get_training_status("one")).status is RunStatus.COMPLETED
    assert asyncio.run(service.get_training_status("two")).status is RunStatus.CANCELLED
    assert {name: config.seed for name, config in trainer.configs.items()} == {"a": 1, "b": 2}


def test_models_are_listed_and_found() -> None:
    outcome = run(["a", "b"])
    listed = asyncio.run(outcome.service.list_trained_models())
    assert listed == outcome.models == outcome.emitter.models
    assert len({model.model_id for model in listed}) == 2
    for model in listed:
        assert asyncio.run(outcome.service.get_model_artifacts(model.model_id)) is model
    with pytest.raises(RunError, match="There is no trained model 'ghost'"):
        asyncio.run(outcome.service.get_model_artifacts("ghost"))


def test_artifacts_say_what_the_trainer_reported() -> None:
    class Reporting(MockModelTrainer):
        async def train_model(self, *_: Any) -> dict[str, Any]:
            return {
                "parameter_count": 123,
                "training_status": "completed",
                "artifacts": {"weights": "x/model.safetensors"},
                "training_stats": {"steps": 9, "final_loss": None},
                "datasets_used": ["SVAMP", "Synthetic"],
                "grokfast_enabled": False,
                "act_enabled": True,
                "ltm_enabled": False,
            }

    (model,) = run(trainer=Reporting()).models
    assert (model.model_name, model.parameter_count, model.training_status) == ("a", 123, "completed")
    assert model.artifacts == {"weights": "x/model.safetensors"}
    assert model.training_stats == {"steps": 9, "final_loss": None}
    assert model.datasets_used == ["SVAMP", "Synthetic"]
    assert (model.grokfast_enabled, model.act_enabled, model.ltm_enabled) == (False, True, False)


def test_list_that_was_given_out_is_a_copy() -> None:
    outcome = run()
    outcome.models.clear()
    assert len(outcome.session.models) == 1


def test_finished_sessions_are_forgotten_after_their_time() -> None:
    outcome = run()
    service, session = outcome.service, outcome.session
    asyncio.run(service.start_training_session("waiting"))
    assert service.cleanup_completed_sessions() == 0
    day_ago = datetime.now(UTC) - timedelta(hours=24)
    session.finished_at = (day_ago + timedelta(minutes=5)).isoformat()
    assert service.cleanup_completed_sessions(max_age_hours=24) == 0
    session.finished_at = (day_ago - timedelta(minutes=5)).isoformat()
    assert service.cleanup_completed_sessions(max_age_hours=24) == 1
    assert service.cleanup_completed_sessions(max_age_hours=0) == 0, "one that has not ended stays"
    assert asyncio.run(service.get_training_status("waiting")).status is RunStatus.QUEUED
    with pytest.raises(RunError, match="no training session"):
        asyncio.run(service.get_training_status(TASK))


@pytest.mark.parametrize("failing", [False, True])
def test_age_zero_forgets_whatever_has_ended(failing: bool) -> None:
    outcome = run(trainer=MockModelTrainer({"a": TrainingError("Dry.")} if failing else None))
    assert outcome.service.cleanup_completed_sessions(max_age_hours=0) == 1


def paused_at(hook_of: Callable[[Hook], dict[str, Any]], names: Sequence[str] = ("a", "b")) -> Outcome:
    """A session that a person pauses from the hook that `hook_of` puts somewhere."""
    holder: list[TrainingService] = []

    async def ask(_: object = None) -> None:
        assert holder[0].interrupt(TASK, PauseRequested)
        assert (await holder[0].get_training_status(TASK)).status is RunStatus.PAUSING

    return run(names, connect=holder.append, **hook_of(ask))


@pytest.mark.parametrize(
    ("hook_of", "phase", "finished"),
    [
        (lambda ask: {"prepare": ask}, Phase.INITIALIZATION, []),
        (lambda ask: {"loader": HookedLoader(downloading=ask)}, Phase.DATASETS, []),
        (lambda ask: {"trainer": StepTrainer(hook=ask)}, Phase.TRAINING, []),
        (lambda ask: {"emitter": HookedEmitter(model_hook=ask)}, Phase.TRAINING, ["a"]),
    ],
    ids=["before it is executed", "while a dataset is fetched", "while a model trains", "between two models"],
)
def test_a_pause_ends_where_it_is_and_is_no_error(
    hook_of: Callable[[Hook], dict[str, Any]], phase: Phase, finished: list[str]
) -> None:
    outcome = paused_at(hook_of)
    assert outcome.error is None
    assert outcome.session.status is RunStatus.PAUSED
    assert (outcome.last.phase_name, outcome.last.message) == (phase, "Paused")
    assert [model.model_name for model in outcome.models] == finished
    assert outcome.last.progress < 1.0 and outcome.shares == sorted(outcome.shares)
    assert outcome.service.interrupt(TASK, CancelRequested) is False, "this life of it has ended"


def test_models_that_an_earlier_life_finished_are_not_trained_again() -> None:
    first = paused_at(lambda ask: {"emitter": HookedEmitter(model_hook=ask)}, names=("a", "b", "c"))
    emitter, trainer = MockProgressEmitter(), MockModelTrainer()
    service = TrainingService(emitter, MockDatasetLoader(), trainer, FIVE_STEPS)

    async def go_on() -> list[ModelArtifacts]:
        await service.start_training_session(TASK, None, ["a", "b", "c"], completed_models=first.models)
        return await service.execute_training_pipeline(TASK)

    models = asyncio.run(go_on())
    assert [model.model_name for model in models] == ["a", "b", "c"]
    assert models[0] is first.models[0]
    assert {name: config.seed for name, config in trainer.configs.items()} == {"b": 1337, "c": 2023}, (
        "each has the seed that it would have had"
    )
    assert [model.model_name for model in emitter.models] == ["b", "c"], "the first was shown before"
    assert first.models == first.session.models, "the list that was given is left alone"


def test_a_session_whose_models_are_all_finished_is_complete() -> None:
    first = run(["a"])
    trainer = MockModelTrainer()
    service = TrainingService(MockProgressEmitter(), MockDatasetLoader(), trainer, FIVE_STEPS)

    async def go_on() -> TrainingSession:
        session = await service.start_training_session(TASK, None, ["a"], completed_models=first.models)
        await service.execute_training_pipeline(TASK)
        return session

    assert asyncio.run(go_on()).status is RunStatus.COMPLETED
    assert trainer.configs == {}


COMMANDS: list[type[Interruption]] = [PauseRequested, StopRequested, CancelRequested]


@pytest.mark.parametrize("first", COMMANDS)
@pytest.mark.parametrize("second", COMMANDS)
def test_the_stronger_of_two_wishes_holds_in_whatever_order_they_come(
    first: type[Interruption], second: type[Interruption]
) -> None:
    wanted = COMMANDS[max(COMMANDS.index(first), COMMANDS.index(second))]
    assert stronger(first, second) is stronger(second, first) is wanted
    assert stronger(None, first) is first
    holder: list[TrainingService] = []

    async def ask() -> None:
        assert holder[0].interrupt(TASK, first) and holder[0].interrupt(TASK, second)

    outcome = run(trainer=StepTrainer(hook=ask), connect=holder.append)
    ends = {
        PauseRequested: RunStatus.PAUSED,
        StopRequested: RunStatus.STOPPED,
        CancelRequested: RunStatus.CANCELLED,
    }
    assert outcome.session.status is ends[wanted]
