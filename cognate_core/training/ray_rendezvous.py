"""Lets the workers on one computer find each other through a file. Ray's own way opens a port to the whole network."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import torch.distributed
from ray.train.backend import Backend
from ray.train.torch import TorchConfig


@dataclass
class FileRendezvous(TorchConfig):  # type: ignore[misc]  # Ray has no types
    """A TorchConfig with a folder that all workers see."""

    folder: str = ""

    @property
    def backend_cls(self) -> type[Backend]:
        return _FileBackend


class _FileBackend(Backend):  # type: ignore[misc]  # as above
    def on_start(self, worker_group: Any, backend_config: FileRendezvous) -> None:
        """Uses a new file each time: one that a lost worker wrote to is out of date."""
        file, size = f"{backend_config.folder}/rendezvous-{uuid.uuid4().hex}", len(worker_group)
        started = [
            worker_group.execute_single_async(rank, _join, file, rank, size, backend_config.timeout_s)
            for rank in range(size)
        ]
        ray.get(started)


def _join(file: str, rank: int, size: int, timeout_s: int) -> None:
    store = torch.distributed.FileStore(file, size)  # type: ignore[attr-defined]  # torch documents it
    torch.distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s)
    )
