"""TrainingService: the order of work, progress, failures, stop and cancel; with doubles at its three seams."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cognate_core.config import DATASETS, TrainingConfig
from cognate_core.contracts import ModelArtifacts, Phase, ProgressCallback, RunStatus, TrainingProgress
from cognate_core.errors import (
    CancelRequested,
    ConfigError,
    DataError,
    Diverged,
    Interruption,
    PauseRequested,
    RunError,
    StopRequested,
    StorageError,
    TrainingError,
)
from cognate_core.mocks import MockDatasetLoader, MockModelTrainer, MockProgressEmitter
from cognate_core.service import TrainingService, TrainingSession, seeds_from, stronger
from tests.waiting import LONG, MOMENT

TASK = "training_001"
FIVE_STEPS = TrainingConfig(max_steps=5)
Hook = Callable[[], Awaitable[object]]


# Doubles


class HookedEmitter(MockProgressEmitter):
    """Calls `hook(progress)` before it keeps the progress, and `model_hook()` after it kept a model."""

    def __init__(
        self, hook: Callable[[TrainingProgress], Awaitable[None]] | None = None, model_hook: Hook | None = None
    ) -> None:
        super().__init__()
        self.hook, self.model_hook = hook, model_hook

    async def emit_progress(self, progress: TrainingProgress) -> None:
        if self.hook is not None:
            await self.hook(progress)
        await super().emit_progress(progress)

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        await super().emit_model_completed(artifacts)
        if self.model_hook is not None:
            await self.model_hook()


class HookedLoader(MockDatasetLoader):
    """Calls a hook while it downloads, or while it mixes."""

    def __init__(self, downloading: Hook | None = None, mixing: Hook | None = None) -> None:
        super().__init__()
        self.downloading, self.mixing = downloading, mixing
        self.asked_for: list[tuple[str, str]] = []

    async def download_dataset(self, dataset_name: str, dataset_id: str) -> bool:
        self.asked_for.append((dataset_name, dataset_id))
        if self.downloading is not None:
            await self.downloading()
        return await super().download_dataset(dataset_name, dataset_id)

    async def create_mixed_training_data(self) -> str:
        if self.mixing is not None:
            await self.mixing()
        return await super().create_mixed_training_data()


FIVE_CALLS = tuple((step, 5, 2.0) for step in range(1, 6))


class StepTrainer(MockModelTrainer):
    """Calls back with `calls`, and runs `hook` after the first `after` of them (of `model`, or of each model).

    Stopped at its very first call it has nothing to keep and lets the request through, as the real trainer does.
    """

    def __init__(
        self,
        calls: Sequence[tuple[int, int, float]] = FIVE_CALLS,
        hook: Hook | None = None,
        after: int = 2,
        model: str | None = None,
    ) -> None:
        super().__init__()
        self.calls, self.hook, self.after, self.model = calls, hook, after, model

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        self.configs[model_name] = config
        status, done = "completed", 0
        for number, (step, total, loss) in enumerate(self.calls):
            if self.hook is not None and number == self.after and self.model in (None, model_name):
                await self.hook()
            try:
                progress_callback(step, total, loss, config.learning_rate)
            except StopRequested:
                if not done:
                    raise
                status = "stopped"
                break
            done += 1
            await asyncio.sleep(0)
        result = await MockModelTrainer().train_model(model_name, config, lambda *_: None)
        return {**result, "training_status": status, "training_stats": {"steps": done}}


class ThreadTrainer(MockModelTrainer):
    """The mock in a thread of its own, as a real trainer works."""

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        work = super().train_model(model_name, config, progress_callback)
        return await asyncio.to_thread(asyncio.run, work)


@dataclass
class Outcome:
    """What a pipeline left behind."""

    service: TrainingService
    session: TrainingSession
    emitter: MockProgressEmitter
    trainer: MockModelTrainer
    models: list[ModelArtifacts] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def phases(self) -> list[str]:
        return [phase for phase, _ in itertools.groupby(p.phase_name for p in self.emitter.progress)]

    @property
    def shares(self) -> list[float]:
        return [p.progress for p in self.emitter.progress]

    @property
    def last(self) -> TrainingProgress:
        return self.emitter.progress[-1]


def run(
    names: Sequence[str] | None = ("a",),
    *,
    config: TrainingConfig = FIVE_STEPS,
    emitter: MockProgressEmitter | None = None,
    loader: MockDatasetLoader | None = None,
    trainer: MockModelTrainer | None = None,
    parameters: dict[str, Any] | None = None,
    prepare: Callable[[TrainingService], Awaitable[object]] | None = None,
    connect: Callable[[TrainingService], None] | None = None,
) -> Outcome:
    """Start and execute one session. `prepare` runs between the two; `connect` gives doubles the service."""
    emitter, trainer = emitter or MockProgressEmitter(), trainer or MockModelTrainer()
    service = TrainingService(emitter, loader or MockDatasetLoader(), trainer, config)
    if connect is not None:
        connect(service)

    async def work() -> Outcome:
        session = await service.start_training_session(TASK, parameters, names)
        outcome = Outcome(service, session, emitter, trainer)
        if prepare is not None:
            await prepare(service)
        try:
            outcome.models = await service.execute_training_pipeline(TASK)
        except Exception as error:  # noqa: BLE001  (each test judges it)
            outcome.error = error
        return outcome

    return asyncio.run(work())


# Order and progress


def test_phases_come_in_the_order_of_the_specification() -> None:
    outcome = run(["a", "b"])
    assert outcome.phases == [
        "Training Initialization",
        "Dataset Preparation",
        "Model Training",
        "Training Complete",
    ]
    assert outcome.session.status is RunStatus.COMPLETED
    assert outcome.session.progress is outcome.last


def test_each_phase_keeps_to_its_share() -> None:
    shares: dict[str, list[float]] = {}
    for progress in run(None).emitter.progress:
        shares.setdefault(progress.phase_name, []).append(progress.progress)
    assert shares[Phase.INITIALIZATION] == [0.0]
    assert (shares[Phase.DATASETS][0], shares[Phase.DATASETS][-1]) == (0.05, 0.20)
    assert shares[Phase.TRAINING][0] == 0.25
    assert shares[Phase.TRAINING][-1] == pytest.approx(0.95, abs=1e-12)
    assert shares[Phase.COMPLETE] == [1.0]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_models_share_the_training_evenly(count: int) -> None:
    outcome = run([f"model {n}" for n in range(count)])
    share = 0.7 / count
    for n in range(count):
        told = [p for p in outcome.emitter.progress if p.message == f"Training model {n}"]
        assert [p.step for p in told] == [None, 1, 2, 3, 4, 5]
        expected = [0.25 + n * share] + [0.25 + (n + step / 5) * share for step in range(1, 6)]
        assert [p.progress for p in told] == pytest.approx(expected)
        assert all((p.total_steps, p.learning_rate) == (5, 2e-4) for p in told[1:])


@settings(deadline=None, max_examples=60)
@given(
    calls=st.lists(st.tuples(st.integers(-3, 9), st.integers(0, 6), st.floats()), max_size=8),
    count=st.integers(1, 8),
)
@example(calls=[(9, 1, 1.0), (1, 9, 1.0), (0, 0, math.nan)], count=3)
def test_progress_never_runs_backwards_and_ends_at_exactly_one(calls: list[tuple[int, int, float]], count: int) -> None:
    outcome = run([f"model {n}" for n in range(count)], trainer=StepTrainer(calls))
    assert outcome.shares == sorted(outcome.shares)
    assert outcome.shares[0] == 0.0 and outcome.shares[-1] == 1.0
    assert all(share < 0.951 for share in outcome.shares[:-1])


def test_losses_that_are_no_number_are_told_as_none() -> None:
    trainer = StepTrainer([(1, 4, math.nan), (2, 4, math.inf), (3, 4, -math.inf), (4, 4, 2.5)])
    told = [p.loss for p in run(trainer=trainer).emitter.progress if p.step is not None]
    assert told == [None, None, None, 2.5]


def test_no_part_of_the_progress_is_lost_or_told_out_of_order_from_another_thread() -> None:
    finished: list[int | None] = []
    inside = 0

    async def slow(progress: TrainingProgress) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1, "the next emission began before this one was awaited"
        for _ in range(10):
            await asyncio.sleep(0)  # it is the turn of whoever waits
        inside -= 1
        finished.append(progress.step)

    config = TrainingConfig(max_steps=40)
    outcome = run(["a", "b"], config=config, emitter=HookedEmitter(slow), trainer=ThreadTrainer())
    steps = list(range(1, 41))
    assert [step for step in finished if step is not None] == steps + steps
    assert finished[-1] is None and outcome.last.phase_name == Phase.COMPLETE
    assert outcome.session.status is RunStatus.COMPLETED


# Parameters, names, seeds


def test_training_parameters_reach_the_trainer() -> None:
    outcome = run(["a", "b"], parameters={"max_steps": "3", "learning_rate": 0.01, "grokfast_enabled": False})
    for config in outcome.trainer.configs.values():
        assert (config.max_steps, config.learning_rate, config.grokfast_enabled) == (3, 0.01, False)
    assert max(p.step or 0 for p in outcome.emitter.progress) == 3
    assert [model.training_mode for model in outcome.models] == ["AdamW", "AdamW"]


def test_parameters_are_for_one_session_only() -> None:
    trainer = MockModelTrainer()
    service = TrainingService(MockProgressEmitter(), MockDatasetLoader(), trainer, FIVE_STEPS)

    async def both() -> None:
        await service.start_training_session("one", {"max_steps": 1}, ["first"])
        await service.start_training_session("two", None, ["second"])
        await service.execute_training_pipeline("one")
        await service.execute_training_pipeline("two")

    asyncio.run(both())
    assert (trainer.configs["first"].max_steps, trainer.configs["second"].max_steps) == (1, 5)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"max_steps": 0}, "Training steps must be 1 to 10,000,000; got 0"),
        ({"learning_rate": "fast"}, "Learning rate must be a number"),
        ({"stepz": 3}, "There is no setting called 'stepz'"),
        ({"n_heads": 5}, "Width 216 cannot be shared evenly by 5"),
    ],
)
def test_parameters_that_cannot_be_used(parameters: dict[str, Any], sentence: str) -> None:
    emitter = MockProgressEmitter()
    service = TrainingService(emitter, MockDatasetLoader(), MockModelTrainer(), FIVE_STEPS)
    with pytest.raises(ConfigError, match=sentence):
        asyncio.run(service.start_training_session(TASK, parameters))
    assert emitter.progress == []
    with pytest.raises(RunError, match="no training session"):
        asyncio.run(service.get_training_status(TASK))


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", ""], ["  "]])
def test_model_names_that_cannot_be_used(names: list[str]) -> None:
    service = TrainingService(MockProgressEmitter(), MockDatasetLoader(), MockModelTrainer())
    with pytest.raises(ConfigError, match="Each model needs a name of its own") as caught:
        asyncio.run(service.start_training_session(TASK, model_names=names))
    assert list(caught.value.problems) == ["model_names"]


def test_three_models_by_default_with_the_seeds_of_the_specification() -> None:
    seeds = {name: config.seed for name, config in run(None).trainer.configs.items()}
    assert seeds == {"cognate_foundation_1": 42, "cognate_foundation_2": 1337, "cognate_foundation_3": 2023}


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (42, [42, 1337, 2023, 43, 44, 45]),
        (1337, [1337, 42, 2023, 1338, 1339, 1340]),
        (2022, [2022, 42, 1337, 2023, 2024, 2025]),
        (0, [0, 42, 1337, 2023, 1, 2]),
    ],
)
def test_seeds_begin_with_the_config_and_the_specification(seed: int, expected: list[int]) -> None:
    assert list(itertools.islice(seeds_from(seed), 6)) == expected


@given(seed=st.integers(0, 2**31 - 1))
@example(seed=2**31 - 1)
def test_seeds_are_distinct_and_valid_settings(seed: int) -> None:
    seeds = list(itertools.islice(seeds_from(seed), 20))
    assert seeds[0] == seed
    assert len(set(seeds)) == 20
    for each in seeds:
        assert TrainingConfig.from_values({"seed": each}).seed == each


def test_same_configuration_gives_the_same_seeds() -> None:
    names = [f"model {n}" for n in range(5)]
    first, second = ({n: c.seed for n, c in run(names).trainer.configs.items()} for _ in range(2))
    assert first == second


# Data


def test_every_chosen_dataset_is_asked_for_with_its_address() -> None:
    loader = HookedLoader()
    outcome = run(config=TrainingConfig(max_steps=1, dataset_sources=["SVAMP", "GSM8K"]), loader=loader)
    assert loader.asked_for == [("SVAMP", DATASETS["SVAMP"]), ("GSM8K", DATASETS["GSM8K"])]
    assert outcome.trainer.configs["a"].prepared_data == "mock-data"


def test_own_file_stands_instead_of_the_datasets() -> None:
    loader = HookedLoader()
    run(config=TrainingConfig(max_steps=1, dataset_path="mine.jsonl"), loader=loader)
    assert loader.asked_for == [("Own file", "mine.jsonl")]


def test_dataset_that_cannot_be_had_is_named_and_the_run_goes_on() -> None:
    outcome = run(loader=MockDatasetLoader(frozenset({"SVAMP"})))
    messages = [p.message for p in outcome.emitter.progress if p.phase_name == Phase.DATASETS]
    assert "SVAMP could not be had" in messages and "GSM8K is here" in messages
    assert outcome.session.status is RunStatus.COMPLETED


def test_no_data_at_all_fails_the_session() -> None:
    outcome = run(loader=MockDatasetLoader(frozenset(DATASETS)))
    assert isinstance(outcome.error, DataError)
    assert outcome.session.status is RunStatus.FAILED
    assert (outcome.last.phase_name, outcome.last.message) == (Phase.FAILED, "No dataset could be had.")
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


# Failing models


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


# An emitter that breaks


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


# Stop and cancel


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
    each = "Ended early, at step 2 of 5. Why. The model is that of step 1"
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


# Sessions and models


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
    with pytest.raises(RunError, match="There is a training session 'training_001' already"):
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


# Pause, and going on


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


WISHES: list[type[Interruption]] = [PauseRequested, StopRequested, CancelRequested]


@pytest.mark.parametrize("first", WISHES)
@pytest.mark.parametrize("second", WISHES)
def test_the_stronger_of_two_wishes_holds_in_whatever_order_they_come(
    first: type[Interruption], second: type[Interruption]
) -> None:
    wanted = WISHES[max(WISHES.index(first), WISHES.index(second))]
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


# Several models at once


SIDE_BY_SIDE = TrainingConfig(max_steps=5, engine="ray", ray_parallel_models=2)
ENDLESS = 1_000_000


class SlowTrainer(MockModelTrainer):
    """Each in a thread of its own; counts how many models are trained at the same time.

    None goes on before `at_once` of them have been trained at the same time, and had a moment for one too many.
    """

    def __init__(self, failing: str | None = None, at_once: int = 2, steps: int = 5) -> None:
        super().__init__()
        self.failing, self.at_once, self.steps = failing, at_once, steps
        self.changed = threading.Condition()
        self.now: set[str] = set()
        self.most = 0
        self.saved: list[str] = []

    async def train_model(
        self, model_name: str, config: TrainingConfig, progress_callback: ProgressCallback
    ) -> dict[str, Any]:
        return await asyncio.to_thread(self._train, model_name, config, progress_callback)

    def _train(self, name: str, config: TrainingConfig, progress_callback: ProgressCallback) -> dict[str, Any]:
        self.configs[name] = config
        with self.changed:
            self.now.add(name)
            self.most = max(self.most, len(self.now))
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.most >= self.at_once, LONG)
            self.changed.wait_for(lambda: self.most > self.at_once, MOMENT)
        pace = threading.Event()
        try:
            for step in range(1, self.steps + 1):
                if name == self.failing and step == 3:
                    raise TrainingError("It broke.")
                progress_callback(step, self.steps, 1.0, 0.1)
                pace.wait(0.001)  # so that others are heard
        except PauseRequested:
            self.saved.append(name)
            raise
        finally:
            with self.changed:
                self.now.remove(name)
        return asyncio.run(MockModelTrainer().train_model(name, config, lambda *_: None))


def at_once(
    trainer: SlowTrainer, emitter: MockProgressEmitter, names: Sequence[str], config: TrainingConfig = SIDE_BY_SIDE
) -> tuple[TrainingService, TrainingSession]:
    service = TrainingService(emitter, MockDatasetLoader(), trainer, config)
    session = asyncio.run(service.start_training_session(TASK, model_names=names))
    return service, session


def test_several_models_are_trained_at_once() -> None:
    trainer, emitter = SlowTrainer(), MockProgressEmitter()
    service, session = at_once(trainer, emitter, ["a", "b", "c"])
    models = asyncio.run(service.execute_training_pipeline(TASK))
    assert trainer.most == 2
    assert [model.model_name for model in models] == ["a", "b", "c"]
    assert [trainer.configs[name].seed for name in "abc"] == list(itertools.islice(seeds_from(42), 3))
    told = [progress.progress for progress in emitter.progress]
    assert told == sorted(told) and told[-1] == 1.0
    assert session.status is RunStatus.COMPLETED


def test_the_local_engine_trains_one_after_the_other() -> None:
    trainer = SlowTrainer(at_once=1)
    alone = SIDE_BY_SIDE.with_overrides({"engine": "local"})
    service, _ = at_once(trainer, MockProgressEmitter(), ["a", "b", "c"], alone)
    asyncio.run(service.execute_training_pipeline(TASK))
    assert trainer.most == 1


def test_a_failure_is_no_matter_for_the_model_beside_it() -> None:
    service, session = at_once(SlowTrainer(failing="a"), MockProgressEmitter(), ["a", "b", "c"])
    models = asyncio.run(service.execute_training_pipeline(TASK))
    assert [model.model_name for model in models] == ["b", "c"]
    assert session.failures == {"a": "It broke."}
    assert session.status is RunStatus.COMPLETED_WITH_FAILURES


@pytest.mark.parametrize("kind", [PauseRequested, CancelRequested, StopRequested])
def test_a_wish_reaches_all_that_are_trained(kind: type[Interruption]) -> None:
    async def wish(progress: TrainingProgress) -> None:
        if progress.step == 2:
            service.interrupt(TASK, kind)

    trainer = SlowTrainer(steps=ENDLESS)
    service, session = at_once(trainer, HookedEmitter(wish), ["a", "b", "c"])
    asyncio.run(service.execute_training_pipeline(TASK))
    assert "c" not in trainer.configs, "no other was begun"
    assert not trainer.now
    assert trainer.saved == [] if kind is not PauseRequested else sorted(trainer.saved) == ["a", "b"]
    ends = {PauseRequested: RunStatus.PAUSED, CancelRequested: RunStatus.CANCELLED, StopRequested: RunStatus.STOPPED}
    assert session.status is ends[kind]


def test_when_nobody_can_be_told_all_save_what_they_have() -> None:
    async def refuse(progress: TrainingProgress) -> None:
        if progress.step == 2 and progress.message == "Training a":
            raise StorageError("The disk is gone.")

    trainer = SlowTrainer(steps=ENDLESS)
    service, session = at_once(trainer, HookedEmitter(refuse), ["a", "b", "c"])
    with pytest.raises(StorageError, match="The disk is gone"):
        asyncio.run(service.execute_training_pipeline(TASK))
    assert "b" in trainer.saved and "c" not in trainer.configs
    assert session.status is RunStatus.FAILED
