"""A name in the settings that nobody knows is an error, wherever something is chosen by it: never the other choice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cognate_core.arithmetic import beginning
from cognate_core.config import TrainingConfig
from cognate_core.contracts import ARITHMETIC, Record
from cognate_core.data.arithmetic_loader import ArithmeticLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import ConfigError
from cognate_core.runs.execution import RunContext, build_real_service
from cognate_core.testing import MockProgressEmitter
from cognate_core.training.arithmetic_loop import ArithmeticLoop
from cognate_core.training.hardware import precision_for
from cognate_core.training.optimizers import optimizers_for
from cognate_core.training.tasks import loop_for
from tests.arithmetic.tiny import config_of
from tests.tiny import TINY

LAB = config_of()


def service(config: TrainingConfig, folder: Path) -> Any:
    emitter = MockProgressEmitter()
    return build_real_service(RunContext("id", config, ["m"], [], None, folder, list[Record]().append, print, emitter))


def loop(config: TrainingConfig, folder: Path) -> Any:
    loader = ArithmeticLoader(LAB, folder, lambda _: None)
    asyncio.run(loader.download_dataset(ARITHMETIC, "built in"))
    data = PreparedData(Path(asyncio.run(loader.create_mixed_training_data())))
    return ArithmeticLoop("m", config, data, folder, precision_for(config), lambda _: None, lambda *_: None)


CHOSEN: dict[str, tuple[TrainingConfig, Callable[[TrainingConfig, Path], Any]]] = {
    "optimizer": (LAB, lambda config, _: optimizers_for(beginning(LAB).model, config)),
    "arithmetic_operation": (LAB, lambda config, _: beginning(config)),
    "task": (TINY, lambda config, _: loop_for(config)),
    "precision": (TINY, lambda config, _: precision_for(config)),
    "engine": (TINY, service),
    "grokfast_method": (LAB, loop),
}


@pytest.mark.parametrize("setting", CHOSEN)
def test_a_name_that_nobody_knows_is_an_error(setting: str, tmp_path: Path) -> None:
    config, choose = CHOSEN[setting]
    choose(config, tmp_path)
    with pytest.raises(ConfigError, match="must be one of"):
        config.with_overrides({setting: "sgd"})
    with pytest.raises(AssertionError, match="sgd"):  # by a way past the settings' own check
        choose(config.model_copy(update={setting: "sgd"}), tmp_path)
