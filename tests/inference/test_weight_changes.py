"""How far each part of a model moved: the same as all its weights in one vector give."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cognate_core.errors import StorageError
from cognate_core.inference.weight_changes import weight_changes
from cognate_core.model import CognateModel
from cognate_core.training.checkpoint import Checkpoint, save_checkpoint
from tests.model.tiny import seeded, whole_config

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = whole_config(n_layers=11)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished model, and what it was after steps 3 and 7."""
    seeded(CONFIG, 9).save_pretrained(tmp_path)
    for step in (3, 7):
        save_checkpoint(tmp_path / "checkpoints", Checkpoint(at(step).state_dict(), {}, {"step": step}))
    return tmp_path


def at(step: int) -> CognateModel:
    return seeded(CONFIG, step)


def vector(model: CognateModel, patterns: str) -> torch.Tensor:
    """All weights whose names fit one of the patterns."""
    wanted = patterns.split("|")
    return torch.cat(
        [
            weight.flatten()
            for name, weight in model.state_dict().items()
            if any(fnmatchcase(name, each) for each in wanted)
        ]
    )


@pytest.mark.parametrize(("after", "seed"), [(7, 7), (None, 9)])
def test_the_change_is_that_of_all_weights_of_a_layer(folder: Path, after: int | None, seed: int) -> None:
    found = weight_changes(folder, 3, after)
    layers = {"embedding": "embedding.*"} | {f"layer {n + 1}": f"blocks.{n}.[!m]*" for n in range(11)}
    layers |= {"memory": "*.memory.*|writer.*", "halting": "pondering.*", "output": "final_norm.*|head.*"}
    assert [row.layer for row in found] == list(layers)
    for row in found:
        first, second = (vector(model, layers[row.layer]).double() for model in (at(3), at(seed)))
        assert row.change == pytest.approx(float((second - first).norm() / first.norm()), rel=1e-5)


def test_nothing_moved_between_a_step_and_itself(folder: Path) -> None:
    assert {row.change for row in weight_changes(folder, 7, 7)} == {0.0}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_a_number_is_unknown(folder: Path, value: float) -> None:
    broken = at(9)
    with torch.no_grad():
        broken.head.weight[0, 0] = value
    broken.save_pretrained(folder)
    changes = {row.layer: row.change for row in weight_changes(folder, 3, None)}
    assert changes["output"] is None and changes["layer 1"] is not None


def test_files_that_will_not_do_are_told(folder: Path) -> None:
    with pytest.raises(StorageError, match=r"^The checkpoint of step 5 is no longer there\. Choose another step\.$"):
        weight_changes(folder, 5, 7)
    weights = folder / "checkpoints" / "step-00000007" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"^The checkpoint of step 7 is damaged"):
        weight_changes(folder, 3, 7)
    save_file({"head.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(StorageError, match="have different parts"):
        weight_changes(folder, 3, None)
    for content in (b"", b"{}"):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(StorageError, match=r"^The model in .* cannot be opened \("):
            weight_changes(folder, 3, None)
    (folder / "model.safetensors").unlink()
    with pytest.raises(StorageError, match=r"^The model in .* cannot be opened \("):
        weight_changes(folder, 3, None)
