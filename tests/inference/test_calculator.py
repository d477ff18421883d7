"""The calculator: what it says is what the model says, at each checkpoint; and a damaged model is a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cognate_core.arithmetic import ArithmeticModel, beginning, evaluate
from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.errors import StorageError
from cognate_core.inference.calculator import Calculator
from cognate_core.inference.playground import Playground
from cognate_core.runs import RunManager
from tests.arithmetic.tiny import config_of
from tests.there import there
from tests.waiting import LONG

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = config_of(max_steps=30, eval_interval=10, save_steps=10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """The folder of a model that was really trained."""
    manager = RunManager(tmp_path_factory.mktemp("calculator") / "home", executor="thread")
    run_id = manager.start(CONFIG, "Lab", ["Lab"])
    assert manager.wait(run_id, LONG)
    (model,) = manager.log.models(run_id)
    folder = manager.store.path(manager.log.artifacts(model.id)[0]["path"]).parent
    manager.close()
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "model"))


@pytest.mark.parametrize("modulus", [3, 5])
def test_the_numbers_lie_in_a_plane_if_there_are_enough(modulus: int) -> None:
    start = beginning(PRESETS["grokking"].config.with_overrides({"arithmetic_modulus": modulus}))
    found = Calculator(start.model, start.problems).circle()
    if modulus == 3:  # 0 has no logarithm, so there are two
        assert found is None
    else:
        assert there(found).points.shape == (4, 2) and bool(there(found).points.isfinite().all())


def test_each_answer_is_the_models(trained: Path) -> None:
    calculator = Calculator.from_folder(trained)
    model, problems = ArithmeticModel.from_pretrained(trained), beginning(CONFIG).problems
    table = calculator.table()
    assert table.right.shape == table.learned_from.shape == (7, 6)
    assert table.first_right == 1
    assert table.learned_from.sum() == len(problems.train)
    for x in range(7):
        for y in range(1, 7):
            found = calculator.calculate(x, y)
            chances = model(torch.tensor([x]), torch.tensor([y]))[0].detach().softmax(-1)
            assert found.truth == x * y % 7
            assert found.probability == pytest.approx(float(chances.max()), rel=1e-5)
            words = [*map(str, range(7)), "=", "*"]
            assert found.answer == words[int(chances.argmax())]
            assert (found.answer == str(found.truth)) == table.right[x, y - 1]
            assert found.learned_from == table.learned_from[x, y - 1]
    assert table.heldout_accuracy == pytest.approx(evaluate(model, problems, problems.heldout)[1])


def test_each_checkpoint_has_its_own_answers(trained: Path) -> None:
    finished, early = Calculator.from_folder(trained), Calculator.from_folder(trained, 10)
    last = Calculator.from_folder(trained, 30)
    asked = torch.tensor([2]), torch.tensor([3])
    assert not torch.equal(early.model(*asked), finished.model(*asked))
    assert torch.equal(last.model(*asked), finished.model(*asked))
    assert np.array_equal(last.table().right, finished.table().right)
    with pytest.raises(StorageError, match="step 11 is no longer there"):
        Calculator.from_folder(trained, 11)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (7, 1), (-1, 3), (3, 7)])
def test_there_is_no_such_problem(trained: Path, x: int, y: int) -> None:
    with pytest.raises(ValueError, match="no problem"):
        Calculator.from_folder(trained).calculate(x, y)


DAMAGED = [None, b"\xff\xfe", b'{"model": "arithmetic"}']
FILES = {"model.safetensors": [b"", b"[]"], "config.json": [b"", b"[]"], "training_config.toml": []}


@pytest.mark.parametrize(("file", "content"), [(file, each) for file in FILES for each in [*FILES[file], *DAMAGED]])
def test_a_damaged_model_is_a_sentence(folder: Path, file: str, content: bytes | None) -> None:
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(StorageError, match="cannot be opened"):
        Calculator.from_folder(folder)


def test_settings_of_another_model_are_noticed(folder: Path) -> None:
    (folder / "training_config.toml").write_text(TrainingConfig().to_toml(), encoding="utf-8")
    with pytest.raises(StorageError, match="belong to another model"):
        Calculator.from_folder(folder)


@pytest.mark.parametrize("step", [None, 10])
def test_the_playground_says_that_it_does_not_write(trained: Path, step: int | None) -> None:
    with pytest.raises(StorageError, match="Grokking lab: it calculates and does not write text"):
        Playground.from_folder(trained) if step is None else Playground.from_checkpoint(trained, step)
