"""Several processes that train one model."""

from __future__ import annotations

import re
from functools import partial
from typing import Literal

from pydantic import field_validator

from cognate_core.config.setting import BOTH, Settings, setting

_setting = partial(setting, section="Several workers", tasks=BOTH, sweepable=False)


class WorkerSettings(Settings):
    """Several processes that train one model."""

    engine: Literal["local", "ray"] = _setting(
        "local",
        title="Engine",
        help="local: one process on this computer. ray: several workers share each batch, on this computer or "
        'others; needs pip install "cognate-studio[ray]". The result is the same except for rounding.',
    )
    ray_workers: int = _setting(
        2,
        title="Workers",
        help="How many processes share the sequences of each batch; at most one for each sequence. They share the "
        "threads, too: on one computer more workers are rarely faster. If one is lost, training continues from the "
        "last checkpoint. For the ray engine.",
        unit="processes",
        ge=1,
        le=64,
    )
    ray_address: str | None = _setting(
        None,
        title="Ray cluster",
        help="Empty: workers only on this computer. host:port: a cluster that this computer belongs to; auto: the one "
        "started here. A cluster runs the code of anyone who can reach it: name only your own. All its computers need "
        "Cognate Studio, and the data and output folders under the same paths; Threads then applies to each worker.",
        example="192.168.1.20:6379",
        personal=True,
    )
    ray_parallel_models: int = _setting(
        1,
        title="Models at once",
        help="How many models of a run to train at the same time, each with its own workers. For the ray engine.",
        unit="models",
        ge=1,
        le=20,
    )

    @field_validator("ray_address")
    @classmethod
    def _host_and_port(cls, address: str | None) -> str | None:
        found = re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?):([0-9]{1,5})", address or "")
        if address in (None, "auto") or (found and 1 <= int(found[3]) <= 65535):
            return address
        raise ValueError(
            f"Give a Ray cluster as host:port, such as 192.168.1.20:6379, or as auto; got {address[:60]!r}."
        )
