"""Whatever breaks ends the run in the right state, with a sentence."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import RunStatus
from cognate_core.errors import ConfigError, DataError, Diverged, OutOfMemory, StorageError, TrainingError
from cognate_core.insight.estimates import estimate
from cognate_core.runs.execution import Outcome, RunContext, ThreadExecution
from cognate_core.runs.home import database_path
from cognate_core.runs.manager import RunManager
from cognate_core.service import TrainingService
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run
from cognate_core.testing import MockDatasetLoader, MockModelTrainer
from tests.runs.manager.patient import OpenManager, PatientTrainer, begin, end_of, services_with

pytestmark = pytest.mark.usefixtures("one_thread")


class TestFailures:
    @pytest.fixture
    def run_with(self, open_manager: OpenManager, start: Callable[..., str]) -> Callable[..., Run]:
        """`run_with({"a": error})`: the ended run of models a and b, of which a fails."""

        def run_failing(failing: dict[str, Exception], *models: str) -> Run:
            studio = open_manager(build_service=services_with(MockModelTrainer(failing)))
            return end_of(studio, start(studio, *models))

        return run_failing

    def test_a_model_that_fails_is_named_with_its_reason(self, run_with: Callable[..., Run], home: Path) -> None:
        run = run_with({"b": TrainingError("It would not learn.")}, "a", "b", "c")
        assert run.status is RunStatus.COMPLETED_WITH_FAILURES
        assert run.error == "b: It would not learn."
        models = ProgressReader(database_path(home)).models(run.id)
        assert [model.name for model in models] == ["c", "a"]

    def test_when_the_only_model_fails_its_reason_is_the_runs(self, run_with: Callable[..., Run]) -> None:
        run = run_with({"a": TrainingError("It would not learn.")}, "a")
        assert (run.status, run.error) == (RunStatus.FAILED, "It would not learn.")
        assert "Traceback" in (run.error_details or "")
        assert "train_model" in (run.error_details or ""), "the details say where"

    def test_when_all_fail_each_is_named_and_the_details_say_where(self, run_with: Callable[..., Run]) -> None:
        run = run_with({"a": TrainingError("Too hot."), "b": KeyError("cold")}, "a", "b")
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error.startswith("No model could be trained.")
        assert "a: Too hot." in run.error
        assert "b: Something unexpected went wrong: KeyError: 'cold'" in run.error
        assert "train_model" in (run.error_details or ""), "the details say where"

    def test_a_loss_that_is_no_number_is_told_apart(self, run_with: Callable[..., Run]) -> None:
        run = run_with({"a": Diverged("The loss stopped being a number at step 3.")}, "a")
        assert (run.status, run.error) == (RunStatus.DIVERGED, "The loss stopped being a number at step 3.")

    def test_without_data_nothing_is_trained(
        self, open_manager: OpenManager, trainer: PatientTrainer, start: Callable[..., str]
    ) -> None:
        def build(context: RunContext) -> TrainingService:
            loader = MockDatasetLoader(unavailable=frozenset(context.config.dataset_sources))
            return TrainingService(context.emitter, loader, trainer, context.config)

        studio = open_manager(build_service=build)
        run = end_of(studio, start(studio, "a"))
        assert (run.status, run.error) == (RunStatus.FAILED, "No dataset is available.")
        assert trainer.order == []

    @pytest.mark.parametrize(
        "error",
        [
            KeyError("x"),
            SystemExit(3),
            KeyboardInterrupt(),
            asyncio.CancelledError(),
            MemoryError(),
            OSError(28, "No space left on device"),
            ValueError("x" * 1_000_000),
            DataError("caf\udce9.txt holds no text."),  # a file's name in another encoding
        ],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("where", ["build", "train"])
    def test_whatever_is_raised_the_run_ends_and_the_next_one_comes(
        self,
        open_manager: OpenManager,
        trainer: PatientTrainer,
        start: Callable[..., str],
        error: BaseException,
        where: str,
    ) -> None:
        class RaisingTrainer(MockModelTrainer):
            async def train_model(self, *_: Any) -> dict[str, Any]:
                raise error

        def build(context: RunContext) -> TrainingService:
            if context.model_names == ["good"]:
                return services_with(trainer)(context)
            if where == "build":
                raise error
            return services_with(RaisingTrainer())(context)

        trainer.let_all_go()
        studio = open_manager(build_service=build)
        bad, good = start(studio, "bad"), start(studio, "good")
        assert end_of(studio, good).status is RunStatus.COMPLETED
        run = end_of(studio, bad)
        assert run.status is RunStatus.FAILED
        assert run.error

    def test_of_a_run_that_failed_before_it_began_the_message_is_not_that_it_gets_ready(
        self, open_manager: OpenManager, start: Callable[..., str]
    ) -> None:
        def build(_: RunContext) -> TrainingService:
            raise StorageError("The folder is gone.")

        studio = open_manager(build_service=build)
        run = end_of(studio, start(studio, "a"))
        assert run.error == "The folder is gone."
        assert run.message != "Getting ready"

    def test_a_model_name_that_cannot_be_written_harms_no_other_run(
        self, home: Path, tiny_config: TrainingConfig, start: Callable[..., str]
    ) -> None:
        studio = RunManager(home, executor="thread", build_service=services_with(MockModelTrainer()))
        with suppress(ConfigError):  # it may as well be refused
            studio.start(tiny_config, "bad", ["half a character \ud800"])
        good = start(studio, "good")
        assert end_of(studio, good).status is RunStatus.COMPLETED
        studio.close()


class TestNames:
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("", "Give the run a name"),
            (" \t\n", "Give the run a name"),
            ("x" * 81, r"The name has 81 characters; at most 80 fit"),
            ("one\ntwo", "cannot be shown"),
            ("NUL\0", "cannot be shown"),
            ("half \ud800", "cannot be shown"),
        ],
        ids=["empty", "space", "long", "line", "NUL", "half a character"],
    )
    def test_that_cannot_be_used_start_nothing(
        self, studio: RunManager, start: Callable[..., str], name: str, why: str
    ) -> None:
        with pytest.raises(ConfigError, match=why) as refusal:
            start(studio, name)
        assert list(refusal.value.problems) == ["name"]
        assert studio.log.runs() == []

    @pytest.mark.parametrize(
        "name",
        [
            "x" * 80,
            "../../etc/passwd",
            "'; DROP TABLE runs; --",
            "<script>",
            "=cmd",
            "🐢",
            "שלום",
            "CON",
            "👩‍👩‍👧‍👦",
            "می‌خواهم",
        ],
        ids=["80", "path", "SQL", "HTML", "formula", "emoji", "Hebrew", "device", "family", "Persian"],
    )
    def test_that_are_odd_are_kept_as_typed(
        self, studio: RunManager, tiny_config: TrainingConfig, trainer: PatientTrainer, home: Path, name: str
    ) -> None:
        run_id = studio.start(tiny_config, f"  {name} ", ["a"])
        begin(trainer, "a")
        run = studio.log.run(run_id)
        assert run.name == name
        assert Path(run.folder) == home / "runs" / run_id


class TestOutOfMemory:
    @pytest.fixture
    def memory_for(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainingConfig, int], None]:
        """`memory_for(config, size)`: from now on this computer has just the memory for this batch size."""

        def leave(config: TrainingConfig, batch_size: int) -> None:
            needed = estimate(config.model_copy(update={"batch_size": batch_size})).total_memory_bytes
            monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))

        return leave

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            OutOfMemory("The computer ran out of memory."),
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_batch_size_that_fits_is_named(
        self,
        open_manager: OpenManager,
        tiny_config: TrainingConfig,
        memory_for: Callable[[TrainingConfig, int], None],
        error: Exception,
    ) -> None:
        config = tiny_config.with_overrides({"batch_size": 16})
        memory_for(config, 5)
        studio = open_manager(build_service=services_with(MockModelTrainer({"a": error})))
        run = end_of(studio, studio.start(config, "a", ["a"]))
        assert (run.status, run.error, run.message) == (
            RunStatus.FAILED,
            "Out of memory: try batch size 5.",
            "Out of memory: try batch size 5.",
        )
        assert type(error).__name__ in (run.error_details or "")

    def test_when_not_even_one_fits_that_is_said(
        self, open_manager: OpenManager, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
        studio = open_manager(build_service=services_with(MockModelTrainer({"a": MemoryError()})))
        run = end_of(studio, start(studio, "a"))
        assert run.error == "Out of memory, at any batch size: choose a smaller model or training length."

    def test_a_process_that_the_system_ended_for_want_of_memory_gets_the_same_advice_and_can_be_resumed(
        self,
        open_manager: OpenManager,
        tiny_config: TrainingConfig,
        memory_for: Callable[[TrainingConfig, int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        killed = Outcome(RunStatus.CRASHED, "It was ended.", "It was ended.", "its last words", lacking="memory")
        monkeypatch.setattr(ThreadExecution, "run", lambda _: killed)
        memory_for(tiny_config, 1)
        studio = open_manager()
        run = end_of(studio, studio.start(tiny_config, "a", ["a"]))
        assert (run.status, run.error) == (RunStatus.CRASHED, "Out of memory: try batch size 1.")
        assert run.error_details == "its last words"
        assert run.status.can_resume
