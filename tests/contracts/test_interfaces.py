"""The contracts themselves, and the same tests over mocks and real parts, so that a mock cannot drift from them."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import math
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cognate_core
from cognate_core import contracts
from cognate_core.config import DATASETS, TrainingConfig
from cognate_core.contracts import (
    BatchSequence,
    DataReport,
    DatasetLoader,
    Evaluation,
    Event,
    LayerFigures,
    ModelArtifacts,
    ModelTrainer,
    Origin,
    Phase,
    PonderHistogram,
    ProgressEmitter,
    Record,
    Rewind,
    RunStatus,
    Sample,
    SourceReport,
    StepMetrics,
    TimeEstimate,
    TrainingProgress,
    utc_now,
)
from cognate_core.errors import CancelRequested, StopRequested, StorageError
from cognate_core.runs.broadcast import Broadcast, WebSocketProgressEmitter
from cognate_core.storage.artifacts import ArtifactStore
from cognate_core.storage.progress_emitter import SQLiteProgressEmitter
from cognate_core.storage.progress_log import ProgressLog
from cognate_core.testing import MockDatasetLoader, MockModelTrainer, MockProgressEmitter

# What the package offers


def test_all_is_sorted_and_importable() -> None:
    names = cognate_core.__all__
    assert names == sorted(names) and len(set(names)) == len(names)
    for name in names:
        assert inspect.isclass(getattr(cognate_core, name))


def test_all_is_complete() -> None:
    public = {
        name
        for name, value in vars(cognate_core).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(cognate_core.__all__)


def test_names_of_the_specification_are_offered() -> None:
    assert set(cognate_core.__all__) >= {
        "TrainingConfig",
        "TrainingService",
        "TrainingProgress",
        "ModelArtifacts",
        "RunStatus",
        "ProgressEmitter",
        "DatasetLoader",
        "ModelTrainer",
        "MockProgressEmitter",
        "MockDatasetLoader",
        "MockModelTrainer",
    }


# Plain data

SOURCE = SourceReport("GSM8K", "openai/gsm8k", "local folder", True, "", 100, 10, {"too long": 2}, 4000, 20)
EXAMPLES: list[Any] = [
    TrainingProgress(0.5, "Training a", Phase.TRAINING, 3, 10, None, 2e-4),
    TrainingProgress(0.0, "Waiting", Phase.INITIALIZATION),
    ModelArtifacts(
        model_id="m1",
        model_name="a",
        phase_name=Phase.TRAINING,
        parameter_count=123,
        created_at=utc_now(),
        training_status="completed",
        focus="GSM8K",
        training_mode="GrokFast",
        datasets_used=["GSM8K"],
        training_stats={"steps": 3, "heldout": {"GSM8K": 4.2}, "final_loss": None},
        grokfast_enabled=True,
        act_enabled=False,
        ltm_enabled=False,
        artifacts={"weights": "a/model.safetensors"},
        capabilities=["text generation"],
    ),
    StepMetrics("a", 3, 5.1, 2e-4, 0.9, 1.1, 512, 0.1, 0.4, 3.2, 0.03, 12.0, 0.1, 0.12, 0.6),
    PonderHistogram("a", 3, [0, 4, 90, 12]),
    LayerFigures("a", 3, ["embedding", "layer 1"], [0.02, 0.05], [0.4, None], [0.01, 0.0], [[0, 4], [9, 1]]),
    Evaluation("a", 3, "GSM8K", 4.2, 900),
    Sample("a", 3, "GSM8K", "Problem: 1 + 1\nSolution:", " 2", " 2\n#### 2"),
    Event("warning", "GSM8K could not be had.", None, None),
    SOURCE,
    DataReport([SOURCE], False, "abc", 400, True),
    Rewind("a", 400, 250),
    Origin("r1", "branch", 400),
    TimeEstimate(60.0, 90.0, 0.5, 10, 500_000_000, 1, busy=False),
    BatchSequence("GSM8K", ["Problem: 1 + 1\nSolution: 2"], 12),
]


def test_every_dataclass_of_the_contracts_has_an_example_here() -> None:
    declared = {
        value
        for value in vars(contracts).values()
        if inspect.isclass(value)
        and dataclasses.is_dataclass(value)
        and value.__module__.startswith(contracts.__name__)
    }
    assert {type(each) for each in EXAMPLES} == declared


@pytest.mark.parametrize("item", EXAMPLES, ids=lambda item: type(item).__name__)
def test_everything_goes_through_json_and_back(item: Any) -> None:
    values = json.loads(json.dumps(dataclasses.asdict(item), allow_nan=False))
    if isinstance(item, DataReport):
        values["sources"] = [SourceReport(**source) for source in values["sources"]]
    assert type(item)(**values) == item


def test_artifacts_as_a_dict_are_detached_from_the_model() -> None:
    model = next(item for item in EXAMPLES if isinstance(item, ModelArtifacts))
    values = model.to_dict()
    assert values == dataclasses.asdict(model)
    values["artifacts"]["weights"] = "elsewhere"
    assert model.artifacts == {"weights": "a/model.safetensors"}


@pytest.mark.parametrize("item", EXAMPLES, ids=lambda item: type(item).__name__)
def test_plain_data_cannot_be_changed(item: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign"):
        setattr(item, dataclasses.fields(item)[0].name, "changed")


def test_names_of_the_phases() -> None:
    assert [phase.value for phase in Phase] == [
        "Training Initialization",
        "Dataset Preparation",
        "Model Training",
        "Training Complete",
        "Training Cancelled",
        "Training Failed",
    ]


def test_which_status_is_the_end() -> None:
    going_on = {"queued", "preparing", "training", "pausing", "paused", "stopping", "cancelling"}
    ended = {"stopped", "cancelled", "completed", "completed with failures", "failed", "crashed", "diverged"}
    ended |= {"interrupted"}
    assert {status.value for status in RunStatus if not status.is_terminal} == going_on
    assert {status.value for status in RunStatus if status.is_terminal} == ended


@pytest.mark.parametrize("seam", [ProgressEmitter, DatasetLoader, ModelTrainer])
def test_a_seam_cannot_be_made_itself(seam: type) -> None:
    with pytest.raises(TypeError, match=f"instantiate abstract class {seam.__name__}"):
        seam()


def test_a_part_that_leaves_a_method_out_cannot_be_made() -> None:
    class Half(ProgressEmitter):
        async def emit_progress(self, progress: TrainingProgress) -> None: ...

    with pytest.raises(TypeError, match="emit_model_completed"):
        Half()  # type: ignore[abstract]


# Emitters


@dataclasses.dataclass
class Watched:
    """An emitter, and what somebody who watches sees of it."""

    emitter: ProgressEmitter
    newest: Callable[[], tuple[float, str, str, int | None, int | None]]
    models: Callable[[], list[dict[str, Any]]]


def _mock_emitter() -> Watched:
    emitter = MockProgressEmitter()

    def newest() -> tuple[float, str, str, int | None, int | None]:
        seen = emitter.progress[-1]
        return seen.progress, seen.message, seen.phase_name, seen.step, seen.total_steps

    return Watched(emitter, newest, lambda: [model.to_dict() for model in emitter.models])


def _broadcast_emitter() -> Watched:
    broadcast = Broadcast()
    begin = broadcast.newest_id

    def said() -> list[dict[str, Any]]:
        async def listen() -> list[dict[str, Any]]:
            with broadcast.listening(begin) as listener:
                broadcast.status("r1", RunStatus.COMPLETED, TrainingProgress(1.0, "", Phase.COMPLETE))
                heard = [json.loads(await anext(listener))]
                while heard[-1]["type"] != "training_complete":
                    heard.append(json.loads(await anext(listener)))
                return heard

        return asyncio.run(listen())

    def newest() -> tuple[float, str, str, int | None, int | None]:
        seen = next(each for each in reversed(said()) if each["type"] == "training_update")
        return seen["progress"], seen["message"], seen["phase"], seen["step"], seen["total_steps"]

    def models() -> list[dict[str, Any]]:
        """Who listens is told which model it is, and asks for the rest."""
        told = {each["model_id"]: each["model_name"] for each in said() if each["type"] == "model_completed"}
        return [model.to_dict() for model in kept if told.get(model.model_id) == model.model_name]

    kept: list[ModelArtifacts] = []

    def kept_as(model: ModelArtifacts) -> str:
        kept.append(model)
        return model.model_id

    return Watched(WebSocketProgressEmitter(broadcast, "r1", kept_as), newest, models)


@pytest.fixture(params=["mock", "SQLite", "WebSocket"])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    if request.param != "SQLite":
        yield _mock_emitter() if request.param == "mock" else _broadcast_emitter()
        return
    home = tmp_path / "home"
    log = ProgressLog(home / "studio.sqlite")
    log.create_run("r1", "a run", TrainingConfig(), ["a", "b"], home / "runs" / "r1", None)
    assert log.claim("r1")
    emitter = SQLiteProgressEmitter(log, "r1", ArtifactStore(home))

    def newest() -> tuple[float, str, str, int | None, int | None]:
        log.close()
        run = log.run("r1")
        return run.progress, run.message, run.phase, run.step, run.total_steps

    def models() -> list[dict[str, Any]]:
        return [model.details for model in reversed(log.models("r1"))]

    yield Watched(emitter, newest, models)
    log.close()


def test_emitter_shows_the_newest_progress(watched: Watched) -> None:
    async def emit() -> None:
        for step in (1, 2, 3):
            progress = TrainingProgress(step / 10, f"Step {step}", Phase.TRAINING, step, 9, 1.5, 1e-3)
            await watched.emitter.emit_progress(progress)

    asyncio.run(emit())
    assert watched.newest() == (0.3, "Step 3", "Model Training", 3, 9)


def test_emitter_takes_progress_without_figures(watched: Watched) -> None:
    asyncio.run(watched.emitter.emit_progress(TrainingProgress(0.05, "Fetching", Phase.DATASETS)))
    assert watched.newest() == (0.05, "Fetching", "Dataset Preparation", None, None)


def test_emitter_shows_every_model(watched: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "runs" / "r1"
    folder.mkdir(parents=True)
    weights = folder / "model.safetensors"
    weights.write_bytes(b"weights")
    example = next(item for item in EXAMPLES if isinstance(item, ModelArtifacts))
    made = [
        dataclasses.replace(example, model_id=model_id, model_name=name, artifacts={"weights": str(weights)})
        for model_id, name in (("m1", "a"), ("m2", "b"))
    ]

    async def emit() -> None:
        for model in made:
            await watched.emitter.emit_model_completed(model)

    asyncio.run(emit())
    assert watched.models() == [model.to_dict() for model in made]


# Loaders


@pytest.fixture(params=["mock", "mixture"])
def make_loader(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], DatasetLoader]:
    """A loader that has Synthetic and cannot have GSM8K."""
    if request.param == "mock":
        return lambda: MockDatasetLoader(unavailable=frozenset({"GSM8K"}))
    from cognate_core.data import sources
    from cognate_core.data.loader import MixtureLoader

    monkeypatch.setattr(sources, "HUB_TRIES", 1)  # the hub refuses at once: no second try, no waiting
    return lambda: MixtureLoader(tiny_config, tmp_path / "cache", lambda record: None, lambda message: None)


def download(loader: DatasetLoader, *names: str) -> list[bool]:
    async def work() -> list[bool]:
        return [await loader.download_dataset(name, DATASETS[name].id) for name in names]

    return asyncio.run(work())


def test_loader_has_no_results_before_it_is_asked(make_loader: Callable[[], DatasetLoader]) -> None:
    assert make_loader().get_dataset_results() == {}


@pytest.mark.parametrize("names", [("Synthetic",), ("GSM8K",), ("GSM8K", "Synthetic"), ("Synthetic", "GSM8K")])
def test_loader_says_what_it_has(make_loader: Callable[[], DatasetLoader], names: tuple[str, ...]) -> None:
    loader = make_loader()
    here = [name == "Synthetic" for name in names]
    assert download(loader, *names) == here
    assert loader.get_dataset_results() == dict(zip(names, here, strict=True))


def test_results_of_a_loader_are_a_copy(make_loader: Callable[[], DatasetLoader]) -> None:
    loader = make_loader()
    download(loader, "Synthetic")
    loader.get_dataset_results()["Synthetic"] = False
    assert loader.get_dataset_results() == {"Synthetic": True}


def test_loader_makes_data_of_what_it_has(make_loader: Callable[[], DatasetLoader]) -> None:
    loader = make_loader()
    download(loader, "GSM8K", "Synthetic")
    folder = asyncio.run(loader.create_mixed_training_data())
    assert type(folder) is str and folder
    assert loader.get_dataset_results() == {"GSM8K": False, "Synthetic": True}, "making data changes no result"


def test_real_loader_writes_the_folder_that_it_names(tmp_path: Path, tiny_config: TrainingConfig) -> None:
    from cognate_core.data.prepared import PreparedData

    assert PreparedData(Path(prepare(tiny_config, tmp_path))).sources == ["Synthetic"]


def prepare(config: TrainingConfig, folder: Path) -> str:
    """The folder of really prepared synthetic data."""
    from cognate_core.data.loader import MixtureLoader

    loader = MixtureLoader(config, folder / "cache", lambda record: None, lambda message: None)
    download(loader, "Synthetic")
    return asyncio.run(loader.create_mixed_training_data())


# Trainers

Calls = list[tuple[int, int, float, float]]


@dataclasses.dataclass
class Training:
    """A trainer, and a config that it can train with."""

    trainer: ModelTrainer
    config: TrainingConfig
    records: list[Record]

    def train(self, calls: Calls, interruption: Exception | None = None, at: int = 3) -> dict[str, Any]:
        """Train, collecting the calls of the callback; it raises `interruption` at step `at`."""

        def callback(step: int, total_steps: int, loss: float, learning_rate: float) -> None:
            calls.append((step, total_steps, loss, learning_rate))
            if interruption is not None and step >= at:
                raise interruption

        return asyncio.run(self.trainer.train_model("model a", self.config, callback))


@pytest.fixture(params=["mock", "torch"])
def training(request: pytest.FixtureRequest, tmp_path: Path, tiny_config: TrainingConfig) -> Iterator[Training]:
    records: list[Record] = []
    config = tiny_config.with_overrides(
        {"output_dir": str(tmp_path / "out"), "max_steps": 6, "eval_interval": 6, "save_steps": 6, "sample_tokens": 1}
        | {"max_train_samples": 12, "max_eval_samples": 2, "batch_size": 1, "n_layers": 1}
    )
    if request.param == "mock":
        yield Training(MockModelTrainer(), config, records)
        return
    import torch

    from cognate_core.training.trainer import TorchTrainer

    prepared = config.model_copy(update={"prepared_data": prepare(config, tmp_path)})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model only waits for a second one
    yield Training(TorchTrainer(records.append), prepared, records)
    torch.set_num_threads(threads)


RESULT_TYPES = {
    "parameter_count": int,
    "training_status": str,
    "artifacts": dict,
    "training_stats": dict,
    "datasets_used": list,
    "grokfast_enabled": bool,
    "act_enabled": bool,
    "ltm_enabled": bool,
}


def check_result(result: dict[str, Any]) -> None:
    assert {key: type(value) for key, value in result.items()} == RESULT_TYPES
    assert all(type(kind) is str and type(path) is str for kind, path in result["artifacts"].items())
    assert all(type(name) is str for name in result["datasets_used"])
    json.dumps(result, allow_nan=False)


def test_trainer_reports_what_the_contract_names(training: Training) -> None:
    result = training.train([])
    check_result(result)
    assert result["training_status"] == "completed"
    assert result["training_stats"]["steps"] == 6
    assert result["grokfast_enabled"] is training.config.grokfast_enabled
    for path in result["artifacts"].values():
        assert Path(path).is_file() and Path(path).is_relative_to(training.config.output_dir)


def test_trainer_calls_back_with_each_step_in_order_up_to_the_last(training: Training) -> None:
    calls: Calls = []
    training.train(calls)
    steps = [step for step, *_ in calls]
    assert steps == sorted(steps)
    assert set(steps) - {0} == set(range(1, 7)) and steps[-1] == 6
    for step, total_steps, loss, learning_rate in calls:
        assert type(step) is int and total_steps == 6
        assert type(loss) is float and type(learning_rate) is float
        assert step == 0 or (math.isfinite(loss) and learning_rate > 0)


def test_trainer_that_is_stopped_keeps_what_it_has(training: Training) -> None:
    calls: Calls = []
    result = training.train(calls, StopRequested())
    check_result(result)
    assert result["training_status"] == "stopped"
    assert result["training_stats"]["steps"] == 3
    assert max(step for step, *_ in calls) == 3, "no step is made after the stop"
    assert all(Path(path).is_file() for path in result["artifacts"].values())


@pytest.mark.parametrize(
    "interruption", [CancelRequested("enough"), StorageError("The log is full."), RuntimeError("odd")], ids=repr
)
def test_whatever_else_the_callback_raises_reaches_the_caller(training: Training, interruption: Exception) -> None:
    calls: Calls = []
    with pytest.raises(type(interruption)) as caught:
        training.train(calls, interruption)
    assert caught.value is interruption
    assert max(step for step, *_ in calls) == 3
    assert not list(Path(training.config.output_dir).rglob("*.safetensors")), "nothing is kept"


def test_trainer_leaves_the_config_as_it_was(training: Training) -> None:
    before = training.config.model_dump_json()
    training.train([])
    assert training.config.model_dump_json() == before


def test_trainer_trains_two_models_of_one_name_apart(training: Training) -> None:
    first, second = training.train([]), training.train([])
    paths = [*first["artifacts"].values(), *second["artifacts"].values()]
    assert len(set(paths)) == len(paths)


def test_real_trainer_tells_each_step_to_the_record_too(training: Training) -> None:
    calls: Calls = []
    training.train(calls)
    if isinstance(training.trainer, MockModelTrainer):
        assert training.records == [], "the mock measures nothing and must not say that it does"
        return
    measured = [record for record in training.records if isinstance(record, StepMetrics)]
    assert [record.step for record in measured] == [1, 2, 3, 4, 5, 6]
    told = {step: loss for step, _, loss, _ in calls}
    assert [record.loss for record in measured] == [told[step] for step in range(1, 7)]
