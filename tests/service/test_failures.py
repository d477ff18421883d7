"""Data, models or emitters that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cognate_core.config import DATASETS, TrainingConfig
from cognate_core.contracts import Phase, ProgressCallback, RunStatus, TrainingProgress
from cognate_core.errors import DataError, Diverged, StorageError, TrainingError
from cognate_core.testing import MockDatasetLoader, MockModelTrainer
from tests.service.doubles import HookedEmitter, HookedLoader, StepTrainer, ThreadTrainer, run


def test_every_chosen_dataset_is_asked_for_with_its_address() -> None:
    loader = HookedLoader()
    outcome = run(config=TrainingConfig(max_steps=1, dataset_sources=["SVAMP", "GSM8K"]), loader=loader)
    assert loader.asked_for == [("SVAMP", DATASETS["SVAMP"].id), ("GSM8K", DATASETS["GSM8K"].id)]
    assert outcome.trainer.configs["a"].prepared_data == "mock-data"


def test_own_file_stands_instead_of_the_datasets() -> None:
    loader = HookedLoader()
    run(config=TrainingConfig(max_steps=1, dataset_path="mine.jsonl"), loader=loader)
    assert loader.asked_for == [("Own file", "mine.jsonl")]


def test_dataset_that_cannot_be_had_is_named_and_the_run_goes_on() -> None:
    outcome = run(loader=MockDatasetLoader(frozenset({"SVAMP"})))
    messages = [p.message for p in outcome.emitter.progress if p.phase_name == Phase.DATASETS]
    assert "SVAMP is not available" in messages and "GSM8K is ready" in messages
    assert outcome.session.status is RunStatus.COMPLETED


def test_no_data_at_all_fails_the_session() -> None:
    outcome = run(loader=MockDatasetLoader(frozenset(DATASETS)))
    assert isinstance(outcome.error, DataError)
    assert outcome.session.status is RunStatus.FAILED
    assert (outcome.last.phase_name, outcome.last.message) == (Phase.FAILED, "No dataset is available.")
    assert outcome.shares[-1] == outcome.shares[-2] < 0.20, "it stays where it was, and is not at the end"
    assert outcome.trainer.configs == {} and outcome.session.finished_at is not None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataError("train.jsonl, line 3 is broken."), "train.jsonl, line 3 is broken."),
        (OSError(28, "No space left on device"), "The disk is full."),
        (KeyError("x"), "Something unexpected went wrong: KeyError: 'x'"),
    ],
)
@pytest.mark.parametrize("place", ["downloading", "mixing"])
def test_loader_that_breaks_fails_the_session(error: Exception, message: str, place: str) -> None:
    async def breaks() -> None:
        raise error

    outcome = run(loader=HookedLoader(**{place: breaks}))
    assert outcome.error is error
    assert outcome.session.status is RunStatus.FAILED
    assert outcome.last.phase_name == Phase.FAILED and outcome.last.message.startswith(message)


def test_one_failing_model_is_named_and_the_others_are_trained() -> None:
    trainer = MockModelTrainer(failing={"b": TrainingError("b ran dry.")})
    outcome = run(["a", "b", "c"], trainer=trainer)
    assert outcome.session.status is RunStatus.COMPLETED_WITH_FAILURES
    assert [model.model_name for model in outcome.models] == ["a", "c"]
    assert [model.model_name for model in outcome.emitter.models] == ["a", "c"]
    assert outcome.session.failures == {"b": "b ran dry."}
    assert outcome.last.phase_name == Phase.COMPLETE and outcome.last.progress == 1.0
    assert "b: b ran dry." in outcome.last.message
    assert outcome.trainer.configs["c"].seed == 2023, "a failure must not shift the seeds of the others"


@pytest.mark.parametrize("failing", [("a",), ("c",), ("a", "b"), ("b", "c")])
def test_with_any_failure_it_is_never_plainly_completed(failing: tuple[str, ...]) -> None:
    trainer = MockModelTrainer(failing={name: ValueError("odd") for name in failing})
    outcome = run(["a", "b", "c"], trainer=trainer)
    assert outcome.session.status is RunStatus.COMPLETED_WITH_FAILURES
    assert set(outcome.session.failures) == set(failing)
    assert all("ValueError: odd" in why for why in outcome.session.failures.values())


def test_all_failing_raises_and_names_each() -> None:
    failing: dict[str, Exception] = {"a": TrainingError("Dry."), "b": Diverged("No number."), "c": ValueError("odd")}
    outcome = run(list(failing), trainer=MockModelTrainer(failing))
    assert type(outcome.error) is TrainingError
    assert str(outcome.error).startswith("No model could be trained. a: Dry. b: No number. c: ")
    assert outcome.session.status is RunStatus.FAILED
    assert outcome.last.phase_name == Phase.FAILED and outcome.last.message == str(outcome.error)
    assert outcome.last.progress < 1.0 and outcome.session.models == []


def test_all_diverging_is_told_as_diverged() -> None:
    failing: dict[str, Exception] = {name: Diverged(f"No number in {name}.") for name in ("a", "b")}
    outcome = run(list(failing), trainer=MockModelTrainer(failing))
    assert isinstance(outcome.error, Diverged)
    assert "a: No number in a. b: No number in b." in str(outcome.error)
    assert outcome.session.status is RunStatus.DIVERGED
    assert outcome.last.phase_name == Phase.FAILED


@pytest.mark.parametrize(
    ("error", "status"),
    [(TrainingError("Dry."), RunStatus.FAILED), (Diverged("No number."), RunStatus.DIVERGED)],
)
def test_the_only_model_failing_raises_its_own_error(error: Exception, status: RunStatus) -> None:
    outcome = run(["a"], trainer=MockModelTrainer({"a": error}))
    assert outcome.error is error
    assert outcome.session.status is status
    assert outcome.last.message == str(error)


def breaking_emitter(where: Callable[[TrainingProgress], bool], *, once: bool) -> HookedEmitter:
    state = {"broken": False, "done": False}

    async def hook(progress: TrainingProgress) -> None:
        state["broken"] = state["broken"] or where(progress)
        if state["broken"] and not (once and state["done"]):
            state["done"] = True
            raise StorageError("The log cannot be written.")

    return HookedEmitter(hook)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]], ids=["one model", "three models"])
@pytest.mark.parametrize("once", [True, False], ids=["breaks once", "stays broken"])
@pytest.mark.parametrize("trainer", [StepTrainer, ThreadTrainer, MockModelTrainer])
@pytest.mark.parametrize(
    "where",
    [
        pytest.param(lambda p: p.phase_name == Phase.DATASETS, id="at the data"),
        pytest.param(lambda p: p.message == "Training a" and p.step is None, id="before the first step"),
        pytest.param(lambda p: p.step == 2, id="at a step"),
        pytest.param(lambda p: p.step == p.total_steps is not None, id="at the last step"),
    ],
)
def test_emitter_error_reaches_the_caller_and_fails_the_session(
    names: list[str], once: bool, trainer: type[MockModelTrainer], where: Callable[[TrainingProgress], bool]
) -> None:
    outcome = run(names, emitter=breaking_emitter(where, once=once), trainer=trainer())
    assert isinstance(outcome.error, StorageError)
    assert str(outcome.error) == "The log cannot be written."
    assert outcome.session.status is RunStatus.FAILED


def test_emitter_error_about_a_model_fails_the_session() -> None:
    async def breaks() -> None:
        raise StorageError("The model cannot be described.")

    outcome = run(["a", "b"], emitter=HookedEmitter(model_hook=breaks))
    assert isinstance(outcome.error, StorageError)
    assert outcome.session.status is RunStatus.FAILED
    assert outcome.last.message == "The model cannot be described."


def test_trainer_hears_of_the_emitter_error_at_its_next_call() -> None:
    heard: list[tuple[int, str]] = []

    class Listening(StepTrainer):
        async def train_model(
            self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
        ) -> dict[str, Any]:
            def callback(step: int, total: int, loss: float, rate: float) -> None:
                try:
                    progress_callback(step, total, loss, rate)
                except StorageError as error:
                    heard.append((step, str(error)))
                    raise

            return await super().train_model(model_name, config, callback)

    steps = [(step, 50, 1.0) for step in range(1, 51)]
    run(emitter=breaking_emitter(lambda p: p.step == 3, once=True), trainer=Listening(steps))
    assert len(heard) == 1
    assert 3 < heard[0][0] < 10 and heard[0][1] == "The log cannot be written."
