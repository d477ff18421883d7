"""Checkpoints: whole or not at all, checked when they are read; of the older ones few stay."""

import errno
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cognate_core import files
from cognate_core.contracts import CHECKPOINT_MANIFEST, spread_checkpoints
from cognate_core.errors import DiskFull, StorageError
from cognate_core.training import checkpoint as checkpoint_module
from cognate_core.training.checkpoint import (
    KEPT_CHECKPOINTS,
    ROOM_FOR_THE_REST,
    Checkpoint,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)

Pieces = Iterable[bytes | memoryview]
FILES = ("model.safetensors", "optimizer.safetensors", "state.json", CHECKPOINT_MANIFEST)


def checkpoint_of(step: int = 4, **more_state: Any) -> Checkpoint:
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
    return Checkpoint(model, tensors, {**state, **more_state})


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def steps_in(folder: Path) -> list[int]:
    return [int(name.removeprefix("step-")) for name in names_in(folder)]


def assert_equal(found: Checkpoint, expected: Checkpoint) -> None:
    assert found.state == expected.state
    for got, wanted in ((found.model, expected.model), (found.tensors, expected.tensors)):
        assert set(got) == set(wanted)
        for name, tensor in wanted.items():
            assert got[name].dtype == tensor.dtype, name
            assert torch.equal(got[name], tensor), name


def test_what_calculated_it_is_known_by_its_old_name_too(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint_of(calculator={"threads": 2}))
    assert load_checkpoint(path).state == checkpoint_of(compute_environment={"threads": 2}).state


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


@settings(max_examples=80)
@given(data=st.data(), name=st.sampled_from(FILES))
def test_a_single_flipped_bit_is_noticed(saved: Path, data: st.DataObject, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(saved, Path(folder) / saved.name))
        content = bytearray((path / name).read_bytes())
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
        (path / name).write_bytes(content)
        if name == CHECKPOINT_MANIFEST and _same_json(bytes(content), (saved / name).read_bytes()):
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
    with pytest.raises(StorageError, match=r"^The checkpoint step-00000004 is incomplete and cannot be used\.$"):
        load_checkpoint(copy)


@pytest.mark.parametrize("content", ["{}", "null", '{"state.json": 5}', '["state.json"]'])
def test_a_manifest_that_names_no_files_is_noticed(copy: Path, content: str) -> None:
    (copy / CHECKPOINT_MANIFEST).write_text(content)
    with pytest.raises(StorageError, match="cannot be used"):
        load_checkpoint(copy)


def test_a_checkpoint_that_is_not_there_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is incomplete"):
        load_checkpoint(tmp_path / "step-00000001")


@pytest.fixture
def none_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a checkpoint of more than a gigabyte."""
    monkeypatch.setattr(checkpoint_module, "spread_checkpoints", lambda size: 0)


@pytest.mark.usefixtures("none_spread")
def test_the_newest_three_stay(tmp_path: Path) -> None:
    assert KEPT_CHECKPOINTS == 3
    for step in (9, 10, 11, 99, 100):
        save_checkpoint(tmp_path, checkpoint_of(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:08d}" for step in (11, 99, 100)]
    for step in (11, 99, 100):
        assert_equal(load_checkpoint(tmp_path / f"step-{step:08d}"), checkpoint_of(step))


@pytest.mark.usefixtures("none_spread")
@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([3.0, 1.0, 2.0, 2.5, 4.0, 5.0], [2, 4, 5, 6]),
        ([3.0, 2.0, 1.0, None, None, 0.5], [4, 5, 6]),
        ([1.0, None, None, None, None, None], [1, 4, 5, 6]),
        ([None, 2.0, 2.0, None, None, None], [2, 4, 5, 6]),
        ([-1.0, 0.0, 3.0, 3.0, 3.0, 3.0], [1, 4, 5, 6]),
    ],
)
def test_the_best_stays_beside_the_newest_three(tmp_path: Path, losses: list[float | None], kept: list[int]) -> None:
    for step, loss in enumerate(losses, start=1):
        save_checkpoint(tmp_path, checkpoint_of(step, heldout_loss=loss))
    assert steps_in(tmp_path) == kept
    for step in kept:
        assert_equal(load_checkpoint(tmp_path / f"step-{step:08d}"), checkpoint_of(step, heldout_loss=losses[step - 1]))


@pytest.mark.usefixtures("none_spread")
def test_the_lowest_score_is_the_best(tmp_path: Path) -> None:
    for step, score in enumerate([-0.5, -0.75, None, -0.25, 0.5, 1.0], start=1):
        save_checkpoint(tmp_path, checkpoint_of(step, score=score))
    assert steps_in(tmp_path) == [2, 4, 5, 6]


@pytest.mark.usefixtures("none_spread")
@pytest.mark.parametrize("state", [b"", b"[]", b"{", None, b'{"heldout_loss": null}', b"\xff"])
def test_an_old_checkpoint_whose_state_cannot_be_read_is_not_the_best(tmp_path: Path, state: bytes | None) -> None:
    damaged = save_checkpoint(tmp_path, checkpoint_of(1, heldout_loss=0.1))
    (damaged / "state.json").unlink()
    if state is not None:
        (damaged / "state.json").write_bytes(state)
    for step in range(2, 7):
        save_checkpoint(tmp_path, checkpoint_of(step, heldout_loss=float(step)))
    assert steps_in(tmp_path) == [2, 4, 5, 6]


def test_eight_more_stay_and_the_best_beside_them(tmp_path: Path) -> None:
    for step in range(1, 41):
        save_checkpoint(tmp_path, checkpoint_of(step, heldout_loss=1.0 if step == 20 else 2.0))
    steps = steps_in(tmp_path)
    assert len(steps) == 3 + 1 + 8 and steps[-3:] == [38, 39, 40]
    spread_ones = [0, *(step for step in steps[:-3] if step != 20), 40]
    widest = max(b - a for a, b in itertools.pairwise(spread_ones))
    assert 20 in steps and widest <= 4 * 40 / 9, "nowhere is the way back much longer than if they were evenly spread"
    for step in steps:
        assert_equal(
            load_checkpoint(tmp_path / f"step-{step:08d}"),
            checkpoint_of(step, heldout_loss=1.0 if step == 20 else 2.0),
        )


def test_large_checkpoints_are_spread_over_no_more_than_a_gigabyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (0, 1, 124_999_999, 125_000_001, 400_000_000, 999_999_999, 1_000_000_001, 10**12):
        count = spread_checkpoints(size)
        assert 0 <= count <= 8 and count * size <= 10**9
        assert count == 8 or (count + 1) * size > 10**9, "one more would be too much"
    sizes: list[int] = []

    def two(size: int) -> int:
        sizes.append(size)
        return 2

    monkeypatch.setattr(checkpoint_module, "spread_checkpoints", two)
    for step in range(1, 8):
        save_checkpoint(tmp_path, checkpoint_of(step))
    assert len(steps_in(tmp_path)) == 3 + 2
    assert sizes[-1] == sum(part.stat().st_size for part in (tmp_path / "step-00000007").iterdir())


def test_a_checkpoint_that_the_disk_did_not_keep_is_told_and_no_earlier_one_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, checkpoint_of(step))
    write = files.write_pieces_durably

    def flip_a_bit(path: Path, pieces: Pieces) -> str:
        written = write(path, pieces)
        if path.name == "optimizer.safetensors":
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        return written

    monkeypatch.setattr(checkpoint_module, "write_pieces_durably", flip_a_bit)
    with pytest.raises(StorageError, match=r"step-00000004 is damaged \(optimizer\.safetensors has changed\)"):
        save_checkpoint(tmp_path, checkpoint_of(4))
    said: list[str] = []
    found = newest_checkpoint(tmp_path, said.append)
    assert found is not None
    assert_equal(found, checkpoint_of(3))
    assert len(said) == 1


def test_a_step_that_was_saved_before_is_saved_anew(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint_of(5))
    again = checkpoint_of(5, batches={"drawn": [9, 9]})
    assert_equal(load_checkpoint(save_checkpoint(tmp_path, again)), again)
    found = newest_checkpoint(tmp_path, lambda sentence: pytest.fail(sentence))
    assert found is not None
    assert_equal(found, again)
    assert steps_in(tmp_path) == [5]


class TestNewestCheckpoint:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for step in (8, 9, 10):
            save_checkpoint(tmp_path, checkpoint_of(step))
        return tmp_path

    def newest(self, folder: Path) -> tuple[Checkpoint | None, list[str]]:
        said: list[str] = []
        return newest_checkpoint(folder, said.append), said

    def test_is_the_one_with_the_highest_step(self, folder: Path) -> None:
        found, said = self.newest(folder)
        assert found is not None
        assert_equal(found, checkpoint_of(10))
        assert said == []
        assert steps_in(folder) == [8, 9, 10]

    @pytest.mark.parametrize("exists", [True, False])
    def test_of_an_empty_folder_or_none_there_is_none(self, tmp_path: Path, exists: bool) -> None:
        folder = tmp_path / "checkpoints"
        if exists:
            folder.mkdir()
        assert self.newest(folder) == (None, [])

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("harm", ["flipped", "truncated", "missing"])
    def test_is_the_one_before_a_damaged_one_which_is_named_and_kept(self, folder: Path, name: str, harm: str) -> None:
        damage(folder / "step-00000010" / name, harm)
        before = {path.name: path.read_bytes() for path in (folder / "step-00000010").iterdir()}
        found, said = self.newest(folder)
        assert found is not None
        assert_equal(found, checkpoint_of(9))
        (sentence,) = said
        assert sentence.startswith("The checkpoint step-00000010 is ")
        (aside,) = folder.glob("*.damaged-*")
        assert aside.name.startswith("step-00000010.damaged-")
        assert {path.name: path.read_bytes() for path in aside.iterdir()} == before
        assert self.newest(folder)[1] == [], "it was told once more"

    def test_is_none_when_all_are_damaged_and_each_is_named(self, folder: Path) -> None:
        for path in folder.iterdir():
            damage(path / "state.json", "flipped")
        found, said = self.newest(folder)
        assert found is None
        assert [sentence.split()[2] for sentence in said] == ["step-00000010", "step-00000009", "step-00000008"]
        assert save_checkpoint(folder, checkpoint_of(10)).is_dir(), "its place is free again"

    def test_what_an_interrupted_save_left_is_swept_away(self, folder: Path) -> None:
        half = folder / "step-00000011.tmp-0123456789abcdef"
        shutil.copytree(folder / "step-00000010", half)
        stranger = folder / "notes.txt"
        stranger.write_text("mine")
        found, said = self.newest(folder)
        assert found is not None
        assert (found.state["step"], said) == (10, [])
        assert not half.exists()
        assert stranger.read_text() == "mine"

    def test_damaged_ones_set_aside_are_no_checkpoints_any_more(self, folder: Path) -> None:
        damage(folder / "step-00000010" / "state.json", "truncated")
        self.newest(folder)
        for step in (10, 11, 12, 13):
            save_checkpoint(folder, checkpoint_of(step, heldout_loss=1.0))
        sound = [name for name in names_in(folder) if ".damaged-" not in name]
        assert sound[-3:] == ["step-00000011", "step-00000012", "step-00000013"]
        assert len(names_in(folder)) - len(sound) == 1, "what was damaged is never removed by the studio"


def damage(path: Path, harm: str) -> None:
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 4]) + content[-4:])


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_full_disk_leaves_the_earlier_checkpoint_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    earlier = save_checkpoint(tmp_path, checkpoint_of(1))
    write = files.write_pieces_durably
    calls: list[Path] = []

    def disk_full(path: Path, pieces: Pieces) -> str:
        calls.append(path)
        if len(calls) == nth:
            content = b"".join(pieces)
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, pieces)

    monkeypatch.setattr(checkpoint_module, "write_pieces_durably", disk_full)
    with pytest.raises(DiskFull, match=r"^The disk is full: a checkpoint needs 1\.0 MB\. Free some space\.$"):
        save_checkpoint(tmp_path, checkpoint_of(2))
    assert names_in(tmp_path) == [earlier.name]
    assert_equal(load_checkpoint(earlier), checkpoint_of(1))
    monkeypatch.undo()
    assert_equal(load_checkpoint(save_checkpoint(tmp_path, checkpoint_of(2))), checkpoint_of(2))


def test_a_full_disk_removes_no_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, checkpoint_of(step))

    def disk_full(path: Path, pieces: Pieces) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_pieces_durably", disk_full)
    with pytest.raises(DiskFull, match=r"^The disk is full"):
        save_checkpoint(tmp_path, checkpoint_of(4))
    assert steps_in(tmp_path) == [1, 2, 3]


def test_without_room_for_it_a_checkpoint_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, checkpoint_of(1))

    def refuse(path: Path, pieces: Pieces) -> None:
        raise AssertionError(f"{path} was written though there is no room")

    monkeypatch.setattr(checkpoint_module, "write_pieces_durably", refuse)
    leave_free(monkeypatch, ROOM_FOR_THE_REST)
    with pytest.raises(
        DiskFull,
        match=r"^The disk is full: a checkpoint needs 1\.0 MB and 1\.0 MB are free\. Free 0\.0 MB or more, then",
    ):
        save_checkpoint(tmp_path, checkpoint_of(2))
    assert steps_in(tmp_path) == [1]


def test_the_room_that_is_asked_for_is_enough_and_not_much_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"a": torch.zeros(500, 500), "b": torch.zeros(1000, dtype=torch.float64)}
    big = Checkpoint(tensors, {"c": torch.zeros(300, dtype=torch.bfloat16)}, {"step": 1})
    needed = 4 * 500 * 500 + 8 * 1000 + 2 * 300 + ROOM_FOR_THE_REST
    leave_free(monkeypatch, needed - 1)
    with pytest.raises(DiskFull, match=r"^The disk is full"):
        save_checkpoint(tmp_path, big)
    leave_free(monkeypatch, needed)
    path = save_checkpoint(tmp_path, big)
    assert needed - ROOM_FOR_THE_REST < sum(file.stat().st_size for file in path.iterdir()) <= needed


def test_a_disk_that_fills_up_meanwhile_is_told_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(path: Path, pieces: Pieces) -> None:
        leave_free(monkeypatch, 1000)  # another program took the rest
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_pieces_durably", disk_full)
    with pytest.raises(DiskFull, match=r"needs 1\.0 MB and 0\.0 MB are free\. Free 1\.0 MB or more, then try again"):
        save_checkpoint(tmp_path, checkpoint_of())
    assert names_in(tmp_path) == []


def leave_free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """From now on the disk has so many bytes left."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=count))


def test_the_manifest_is_written_last_and_everything_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    write = files.write_pieces_durably

    def spy(path: Path, pieces: Pieces) -> str:
        assert ".tmp-" in path.parent.name, "written where a reader would find it half done"
        order.append(path.name)
        return write(path, pieces)

    synced: list[int] = []
    monkeypatch.setattr(checkpoint_module, "write_pieces_durably", spy)
    monkeypatch.setattr(os, "fsync", synced.append)
    save_checkpoint(tmp_path, checkpoint_of())
    assert sorted(order) == sorted(FILES)
    assert order[-1] == CHECKPOINT_MANIFEST
    assert len(synced) >= len(FILES) + 2, "each file, its folder, and the folder above once it has its name"


def test_an_interruption_while_writing_leaves_no_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, "write_pieces_durably", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, checkpoint_of())
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_does_not_follow_the_weights_afterwards(tmp_path: Path) -> None:
    weight: Tensor = torch.zeros(3)
    path = save_checkpoint(tmp_path, Checkpoint({"w": weight}, {}, {"step": 1}))
    weight += 1
    assert torch.equal(load_checkpoint(path).model["w"], torch.zeros(3))
