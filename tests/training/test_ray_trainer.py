"""RayTrainer on a cluster of this computer: what it learns, and what becomes of it when a worker is lost."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    Evaluation,
    Event,
    PonderHistogram,
    ProgressCallback,
    Record,
    Rewind,
    Sample,
    StepMetrics,
)
from cognate_core.contracts.json_lines import is_before, read_records
from cognate_core.errors import CancelRequested, PauseRequested, StopRequested, TrainingError
from cognate_core.training import ray_trainer
from cognate_core.training.ray_trainer import RayTrainer, cluster
from cognate_core.training.trainer import TorchTrainer
from tests.training.preparing import prepared_folder
from tests.training.test_process_group import TEXT, WITHIN, steps_in

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra cognate-studio[ray]"),
    pytest.mark.slow,
    pytest.mark.timeout(900),  # each life of workers is a dozen processes that load Ray and torch
    pytest.mark.usefixtures("one_thread"),
    # Ray's own code, at our version of Python:
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of sockets and logs that Ray leaves to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the same, found by pytest
]

CONFIG = TEXT.with_overrides(
    {"max_steps": 40, "eval_interval": 10, "save_steps": 4, "engine": "ray", "ray_workers": 2, "ray_parallel_models": 4}
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    return prepared_folder(TEXT, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def one_cluster() -> Iterator[None]:
    """One for all tests here, which takes some seconds to start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray leaves sockets, logs and processes to the collector
        with cluster.used(CONFIG):
            yield
        gc.collect()


@pytest.fixture
def config(prepared: str, tmp_path: Path, one_cluster: None) -> TrainingConfig:
    return CONFIG.model_copy(update={"prepared_data": prepared, "output_dir": str(tmp_path)})


@pytest.fixture(scope="module")
def local(prepared: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], Path]:
    """What the local engine says and leaves."""
    records: list[Record] = []
    folder = tmp_path_factory.mktemp("local")
    config = CONFIG.model_copy(update={"prepared_data": prepared, "output_dir": str(folder), "engine": "local"})
    asyncio.run(TorchTrainer(records.append).train_model("model", config, lambda *progress: None))
    return records, folder / "model"


def kept(records: list[Record]) -> list[Record]:
    """What is left of them when each Rewind has made void what came after it."""
    left: list[Record] = []
    for record in records:
        if isinstance(record, Rewind):
            left = [each for each in left if is_before(each, record)]
        else:
            left.append(record)
    return left


def events_in(records: list[Record], level: str) -> list[str]:
    return [record.message for record in records if isinstance(record, Event) and record.level == level]


def tokens_pondered(records: list[Record]) -> dict[int, int]:
    """By the step of each histogram: how many tokens they counted until then, however they are divided."""
    until_then: dict[int, int] = {}
    for each in records:
        if isinstance(each, PonderHistogram):
            until_then[each.step] = sum(each.counts) + max(until_then.values(), default=0)
    return until_then


def assert_as_local(records: list[Record], folder: Path, local: tuple[list[Record], Path], pauses: int = 0) -> None:
    """Each figure once, and equal but for the rounding of sums; so are the weights. A pause may divide a histogram."""
    mine, theirs = kept(records), kept(local[0])
    assert [step.step for step in steps_in(mine)] == list(range(1, CONFIG.max_steps + 1))
    losses, expected = ([step.loss for step in steps_in(each)] for each in (mine, theirs))
    assert losses == pytest.approx(expected, rel=10 * WITHIN)
    for kind in (Evaluation, Sample):
        places, expected_places = (
            sorted((each.step, each.dataset) for each in said if isinstance(each, kind)) for said in (mine, theirs)
        )
        assert places == expected_places
    pondered, expected_pondered = (tokens_pondered(said) for said in (mine, theirs))
    assert expected_pondered.items() <= pondered.items()
    assert len(pondered) <= len(expected_pondered) + pauses
    weights, others = (load_file(place / "model.safetensors") for place in (folder, local[1]))
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=1e-2, atol=1e-3)


def workers_of(folder: Path) -> tuple[psutil.Process, list[psutil.Process]]:
    """Rank 0 of a model, which has its log open, and the other workers of this cluster."""
    found = [
        process
        for process in psutil.Process().children(recursive=True)
        if "RayTrainWorker" in "".join(process.cmdline())
    ]
    first = next(p for p in found if str(folder / "training_log.jsonl") in [file.path for file in p.open_files()])
    return first, [process for process in found if process != first]


def listening() -> set[tuple[str, str]]:
    """The addresses at which this process and those it started wait for connections, with who does."""
    me = psutil.Process()
    return {
        (process.name(), at.laddr.ip.removeprefix("::ffff:"))
        for process in (me, *me.children(recursive=True))
        for at in process.net_connections("inet")
        if at.status == psutil.CONN_LISTEN
    }


def test_killed_workers_cost_nothing_but_time(config: TrainingConfig, local: tuple[list[Record], Path]) -> None:
    """First the second one, then rank 0, whose records may be on their way."""
    folder = Path(config.output_dir) / "model"
    records: list[Record] = []
    kills: list[Callable[[], psutil.Process]] = [lambda: workers_of(folder)[1][0], lambda: workers_of(folder)[0]]
    after = [6, 20]
    open_to = set[tuple[str, str]]()

    def callback(step: int, *_: float) -> None:
        if step == 5:
            open_to.update(listening())
        if after and step >= after[0]:
            after.pop(0)
            kills.pop(0)().kill()

    result = asyncio.run(RayTrainer(records.append).train_model("model", config, callback))
    assert not kills
    assert_as_local(records, folder, local)
    assert result["training_status"] == "completed"
    lost = [message for message in events_in(records, "warning") if message.startswith("A worker was lost")]
    assert len(lost) == 2 and all("continues from step" in message for message in lost)
    rewinds = [record.step for record in records if isinstance(record, Rewind)]
    assert len(rewinds) == 2 and all(step >= 4 for step in rewinds), "each went on from a checkpoint"
    logged = [record.step for record in read_records(folder / "training_log.jsonl") if isinstance(record, StepMetrics)]
    assert logged == list(range(1, CONFIG.max_steps + 1))
    assert not (folder / "ray").exists()
    assert open_to
    assert [each for each in open_to if not ip_address(each[1]).is_loopback] == [], "other computers could reach it"


def when(wanted: int, kind: type[Exception]) -> ProgressCallback:
    """Raises from that step on, as the service does."""

    def callback(step: int, *_: float) -> None:
        if step >= wanted:
            raise kind

    return callback


def test_wishes_errors_and_models_at_once(config: TrainingConfig, local: tuple[list[Record], Path]) -> None:
    """Four models side by side, each ended in another way; none is a matter for the others."""
    (Path(config.output_dir) / "broken").mkdir()
    (Path(config.output_dir) / "broken" / "checkpoints").write_text("a file where a folder should be")
    records: dict[str, list[Record]] = {name: [] for name in ("paused", "stopped", "cancelled", "broken")}

    async def one(name: str, callback: ProgressCallback, **changes: Any) -> Any:
        trainer = RayTrainer(records[name].append, resume=name == "broken")
        return await trainer.train_model(name, config.with_overrides(changes), callback)

    async def all_of_them() -> tuple[Any, ...]:
        return await asyncio.gather(
            one("paused", when(9, PauseRequested)),  # mostly not where it saves by itself
            one("stopped", when(5, StopRequested), ray_workers=1),
            one("cancelled", when(5, CancelRequested), ray_workers=1),
            one("broken", lambda *progress: None),
            return_exceptions=True,
        )

    paused, stopped, cancelled, broken = asyncio.run(all_of_them())
    assert isinstance(paused, PauseRequested)
    assert stopped["training_status"] == "stopped" and 5 <= stopped["training_stats"]["steps"] < CONFIG.max_steps
    assert (Path(config.output_dir) / "stopped" / "model.safetensors").is_file()
    assert isinstance(cancelled, CancelRequested)
    assert not (Path(config.output_dir) / "cancelled").exists()
    assert isinstance(broken, TrainingError) and "checkpoints" in str(broken)
    assert not [message for said in records.values() for message in events_in(said, "warning") if "lost" in message]

    resumed = config.with_overrides({"engine": "local"})
    again = TorchTrainer(records["paused"].append, resume=True)
    asyncio.run(again.train_model("paused", resumed, lambda *progress: None))
    assert_as_local(records["paused"], Path(config.output_dir) / "paused", local, pauses=1)
    assert any("workers was 2 and is 1" in message for message in events_in(records["paused"], "warning"))


def test_who_should_hear_and_cannot_ends_it(config: TrainingConfig) -> None:
    """As with any trainer, that error is what the caller gets; and there is a checkpoint."""

    def refuse(record: Record) -> None:
        if isinstance(record, StepMetrics) and record.step == 5:
            raise OSError("no room for it")

    with pytest.raises(OSError, match="no room for it"):
        one_worker = config.with_overrides({"ray_workers": 1})
        asyncio.run(RayTrainer(refuse).train_model("model", one_worker, lambda *progress: None))
    assert list((Path(config.output_dir) / "model" / "checkpoints").glob("step-*"))


def test_what_a_killed_studio_left_is_removed(tmp_path: Path) -> None:
    mine = Path(ray_trainer.new_scratch(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f"cognate-ray-{ended.pid}-abc"
    (left / "session").mkdir(parents=True)
    others = [tmp_path / "cognate-ray-mine-abc", tmp_path / f"cognate-ray-{os.getppid()}-abc"]
    for other in others:
        other.mkdir()
    again = Path(ray_trainer.new_scratch(tmp_path))
    assert set(tmp_path.iterdir()) == {mine, again, *others}


def test_a_cluster_that_is_too_small_is_told(config: TrainingConfig) -> None:
    too_many = config.with_overrides({"ray_workers": 4, "ray_parallel_models": 3})
    with pytest.raises(TrainingError, match=r"has 8 CPUs, but training 3 model.* needs 12"):
        asyncio.run(RayTrainer(lambda record: None).train_model("model", too_many, lambda *progress: None))
