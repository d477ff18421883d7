"""Tensors on the disk: the format's bytes, and no second copy in memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from cognate_core.training.tensor_file import tensor_pieces
from tests.waiting import LONG

TENSORS = {
    "weight": torch.arange(15.0).reshape(3, 5),
    "b.scalar": torch.tensor(3.5),
    "a.double": torch.linspace(0, 1, 7, dtype=torch.float64),
    "half": torch.ones(3).half(),
    "brain": torch.full((2, 2), -1.5).bfloat16(),
    "count": torch.arange(3),
    "narrow": torch.arange(3, dtype=torch.int32),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "flags": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 4),
    'é\n"': torch.ones(1),
}


def test_the_bytes_are_those_of_the_library() -> None:
    assert b"".join(tensor_pieces(TENSORS)) == safetensors.torch.save(TENSORS)
    assert b"".join(tensor_pieces({})) == safetensors.torch.save({})


def test_each_piece_is_the_memory_of_a_tensor() -> None:
    pieces = list(tensor_pieces(TENSORS))[1:]
    assert len(pieces) == len(TENSORS)
    places = {np.frombuffer(piece, np.uint8).ctypes.data for piece in pieces if len(piece)}
    assert places == {tensor.data_ptr() for tensor in TENSORS.values() if tensor.numel()}


def test_a_tensor_that_must_be_copied_is_copied_when_its_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[Tensor] = []
    contiguous = Tensor.contiguous

    def note(tensor: Tensor) -> Tensor:
        copied.append(tensor)
        return contiguous(tensor)

    monkeypatch.setattr(Tensor, "contiguous", note)
    pieces = tensor_pieces({str(n): torch.ones(4, 3).T for n in range(3)})
    assert [(next(pieces), len(copied))[1] for _ in range(4)] == [0, 1, 2, 3]


PEAK = """
import pathlib, resource, sys, tempfile
import torch
from safetensors.torch import save_file
from cognate_core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

def peak():
    status = pathlib.Path("/proc/self/status")  # ru_maxrss is inherited from the parent on Linux
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

with tempfile.TemporaryDirectory() as folder:
    # Four pieces, as a second copy of a single one would go unnoticed in memory that was freed before.
    tensors = {str(n): torch.ones(SIZE // 16) for n in range(4)}
    before = peak()
    path = save_checkpoint(pathlib.Path(folder), Checkpoint({}, tensors, {"step": 1}))
    saved = peak()
    save_file(tensors, f"{folder}/finished.safetensors")  # as a model writes itself
    finished = peak()
    loaded = load_checkpoint(path)
    print(saved - before, finished - before, peak() - finished)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say how much memory a process had at most")
def test_saving_takes_no_memory_and_loading_as_much_as_there_is_to_load() -> None:
    size = 2**27  # bytes: small sums of other memory do not count beside it
    done = subprocess.run(
        [sys.executable, "-c", PEAK.replace("SIZE", str(size))],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    saving, finishing, loading = map(int, done.stdout.split())
    assert saving < size / 4 and finishing < size / 4
    assert 0.9 * size < loading < 1.25 * size
