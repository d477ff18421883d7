"""A data folder in which runs were trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.runs.execution import RunContext
from cognate_core.runs.manager import RunManager
from cognate_core.service import TrainingService
from cognate_core.testing import MockDatasetLoader, MockModelTrainer
from tests.runs.manager.patient import (
    OpenManager,
    PatientTrainer,
    begin,
    end_of,
    paused,
    recording_service,
    services_with,
)
from tests.runs.recovery.damage import all_there_is
from tests.waiting import LONG


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of `open_manager`."""
    return tmp_path / "home"


@pytest.fixture
def patient(open_manager: OpenManager) -> Iterator[PatientTrainer]:
    """Let go at the end, before the managers are closed."""
    trainer = PatientTrainer()
    yield trainer
    trainer.let_all_go()


@pytest.fixture
def open_studio(open_manager: OpenManager, patient: PatientTrainer) -> Callable[[], RunManager]:
    """`open_studio()`: models called "slow..." are trained by `patient`, "bad..." fail, all others have figures."""

    def build(context: RunContext) -> TrainingService:
        name = context.model_names[0]
        if name.startswith("slow"):
            return services_with(patient)(context)
        if name.startswith("bad"):
            trainer = MockModelTrainer({name: ValueError("It would not learn.")})
            return TrainingService(context.emitter, MockDatasetLoader(), trainer, context.config)
        return recording_service(context)

    return lambda: open_manager(build_service=build)


@pytest.fixture
def start(tiny_config: TrainingConfig) -> Callable[..., str]:
    """`start(studio, "a", "b")`: start run "a" with these models; its id."""
    return lambda studio, *names: studio.start(tiny_config, names[0], list(names))


@pytest.fixture
def worked_in(
    open_studio: Callable[[], RunManager], start: Callable[..., str], patient: PatientTrainer
) -> list[dict[str, Any]]:
    """The home after a studio was closed in which some runs came to different ends: what there was of each."""
    studio = open_studio()
    for names in (("first", "second"), ("bad",), ("third",)):
        end_of(studio, start(studio, *names))
    for name in ("slow and paused", "slow and stopped", "slow and cancelled"):
        run_id = start(studio, name)
        begin(patient, name)
        if name.endswith("paused"):
            paused(studio, run_id)
        elif name.endswith("stopped"):
            studio.stop(run_id)
        else:
            studio.cancel(run_id)
        assert studio.wait(run_id, LONG)
    studio.close()
    return all_there_is(studio)
