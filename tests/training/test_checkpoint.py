"""Checkpoints: whole or not at all, checked when they are read, the newest three."""

import errno
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cognate_core.errors import StorageError
from cognate_core.training import checkpoint as checkpoint_module
from cognate_core.training.checkpoint import (
    KEPT_CHECKPOINTS,
    MANIFEST,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", MANIFEST)


def checkpoint_of(step: int = 4) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    model = {"head.weight": torch.randn(3, 5, generator=generator), "norm": torch.ones(5)}
    tensors = {
        "optimizer.0.step": torch.tensor(float(step)),
        "optimizer.0.exp_avg": torch.randn(5, 3, generator=generator).T,  # not contiguous
        "filter.sum.0": torch.randn(4, generator=generator, dtype=torch.float64),
        "half": torch.randn(4, generator=generator).bfloat16(),
        "count": torch.arange(3),
        "empty": torch.zeros(0),
    }
    state = {"step": step, "batches": {"drawn": [1, 2]}, "scalars": {"lr": 0.1, "name": "é", "betas": [0.9, 0.95]}}
    return Checkpoint(model, tensors, state)


def assert_equal(found: Checkpoint, expected: Checkpoint) -> None:
    assert found.state == expected.state
    for got, wanted in ((found.model, expected.model), (found.tensors, expected.tensors)):
        assert set(got) == set(wanted)
        for name, tensor in wanted.items():
            assert got[name].dtype == tensor.dtype, name
            assert torch.equal(got[name], tensor), name


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints"), checkpoint_of())


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / saved.name))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "not there yet" / "checkpoints", checkpoint_of(7))
    assert path.name == "step-00000007"
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)
    assert_equal(load_checkpoint(path), checkpoint_of(7))


def test_saving_takes_weights_that_learn(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(3.0))
    path = save_checkpoint(tmp_path, Checkpoint({"w": weight}, {}, {"step": 1}))
    assert torch.equal(load_checkpoint(path).model["w"], torch.arange(3.0))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), name=st.sampled_from(FILES))
def test_a_single_flipped_bit_is_noticed(saved: Path, data: st.DataObject, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(saved, Path(folder) / saved.name))
        content = bytearray((path / name).read_bytes())
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
        (path / name).write_bytes(content)
        if name == MANIFEST and _same_json(bytes(content), (saved / name).read_bytes()):
            assert_equal(load_checkpoint(path), checkpoint_of())  # a space became another blank
        else:
            with pytest.raises(StorageError, match=r"^The checkpoint step-00000004 is .* cannot be used\.$"):
                load_checkpoint(path)


def _same_json(first: bytes, second: bytes) -> bool:
    try:
        return bool(json.loads(first) == json.loads(second))
    except ValueError:
        return False


@pytest.mark.parametrize("name", FILES[:3])
def test_the_changed_file_is_named(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    with pytest.raises(StorageError, match=rf"is damaged \({name} has changed\)"):
        load_checkpoint(copy)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 1, 0.5, -1])
def test_a_file_that_was_cut_off_is_noticed(copy: Path, name: str, kept: float) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: int(len(content) * kept)] if kept == 0.5 else content[: int(kept)])
    with pytest.raises(StorageError, match="cannot be used"):
        load_checkpoint(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_noticed(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(StorageError, match=r"^The checkpoint step-00000004 is not complete and cannot be used\.$"):
        load_checkpoint(copy)


@pytest.mark.parametrize("content", ["{}", "null", '{"state.json": 5}', '["state.json"]'])
def test_a_manifest_that_names_no_files_is_noticed(copy: Path, content: str) -> None:
    (copy / MANIFEST).write_text(content)
    with pytest.raises(StorageError, match="cannot be used"):
        load_checkpoint(copy)


def test_a_checkpoint_that_is_not_there_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not complete"):
        load_checkpoint(tmp_path / "step-00000001")


def test_the_newest_three_stay(tmp_path: Path) -> None:
    assert KEPT_CHECKPOINTS == 3
    for step in (9, 10, 11, 99, 100):
        save_checkpoint(tmp_path, checkpoint_of(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:08d}" for step in (11, 99, 100)]
    for step in (11, 99, 100):
        assert_equal(load_checkpoint(tmp_path / f"step-{step:08d}"), checkpoint_of(step))


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_full_disk_leaves_the_earlier_checkpoint_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    earlier = save_checkpoint(tmp_path, checkpoint_of(1))
    write = checkpoint_module.write_durably
    calls: list[Path] = []

    def disk_full(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == nth:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(checkpoint_module, "write_durably", disk_full)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(tmp_path, checkpoint_of(2))
    assert [path.name for path in tmp_path.iterdir()] == [earlier.name]
    assert_equal(load_checkpoint(earlier), checkpoint_of(1))
    monkeypatch.undo()
    assert_equal(load_checkpoint(save_checkpoint(tmp_path, checkpoint_of(2))), checkpoint_of(2))


def test_a_full_disk_removes_no_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, checkpoint_of(step))

    def disk_full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_durably", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, checkpoint_of(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000002", "step-00000003"]


def test_the_manifest_is_written_last_and_everything_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    write = checkpoint_module.write_durably

    def spy(path: Path, content: bytes) -> None:
        assert ".tmp-" in path.parent.name, "written where a reader would find it half done"
        order.append(path.name)
        write(path, content)

    synced: list[int] = []
    monkeypatch.setattr(checkpoint_module, "write_durably", spy)
    monkeypatch.setattr(checkpoint_module.os, "fsync", synced.append)
    save_checkpoint(tmp_path, checkpoint_of())
    assert sorted(order) == sorted(FILES)
    assert order[-1] == MANIFEST
    assert len(synced) >= len(FILES)


def test_an_interruption_while_writing_leaves_no_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, "write_durably", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, checkpoint_of())
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_does_not_follow_the_weights_afterwards(tmp_path: Path) -> None:
    weight: Tensor = torch.zeros(3)
    path = save_checkpoint(tmp_path, Checkpoint({"w": weight}, {}, {"step": 1}))
    weight += 1
    assert torch.equal(load_checkpoint(path).model["w"], torch.zeros(3))
