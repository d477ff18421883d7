"""TorchTrainer: the folder of artifacts that it leaves, whatever the model is called and however training ends."""

import asyncio
import dataclasses
import errno
import json
import math
import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    ARTIFACT_FILES,
    Event,
    ModelArtifacts,
    ProgressCallback,
    ProgressEmitter,
    Record,
    StepMetrics,
    TrainingProgress,
)
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.errors import CancelRequested, DataError, DiskFull, Diverged, StopRequested
from cognate_core.files import write_pieces_durably
from cognate_core.model import CognateModel, CognateOutput, count_parameters
from cognate_core.service import TrainingService
from cognate_core.training import checkpoint as checkpoint_module
from cognate_core.training.trainer import TorchTrainer, model_folder
from tests.there import there
from tests.training.preparing import prepared_folder

TINY = TrainingConfig(
    dataset_sources=["Synthetic"],
    max_train_samples=60,
    max_eval_samples=10,
    train_seq_len=256,
    max_seq_len=256,
    d_model=16,
    n_layers=2,
    n_heads=2,
    vocab_size=400,
    max_steps=5,
    batch_size=2,
    gradient_accumulation_steps=1,
    learning_rate=1e-2,
    eval_interval=5,
    sample_tokens=2,
    save_steps=1000,
    precision="fp32",
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(prepared_folder(TINY, tmp_path_factory.mktemp("cache")))


@pytest.fixture
def config(prepared: Path, tmp_path: Path) -> TrainingConfig:
    return TINY.model_copy(update={"prepared_data": str(prepared), "output_dir": str(tmp_path / "runs")})


def train(
    config: TrainingConfig,
    name: str = "my-model",
    callback: ProgressCallback = lambda *progress: None,
    records: list[Record] | None = None,
) -> dict[str, Any]:
    kept = [] if records is None else records
    return asyncio.run(TorchTrainer(kept.append).train_model(name, config, callback))


def at_step(wanted: int, error: type[Exception]) -> ProgressCallback:
    def callback(step: int, *rest: float) -> None:
        if step == wanted:
            raise error

    return callback


def folder_of(result: dict[str, Any]) -> Path:
    (folder,) = {Path(path).parent for path in result["artifacts"].values()}
    return folder


def log_of(folder: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    lines = (folder / "training_log.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def weights_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors"))


# What a finished model leaves


@pytest.fixture(scope="module")
def finished(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingConfig, dict[str, Any], list[Record]]:
    config = TINY.with_overrides(
        {"output_dir": str(tmp_path_factory.mktemp("runs")), "save_steps": 3, "seed": 7}
    ).model_copy(update={"prepared_data": str(prepared)})
    records: list[Record] = []
    return config, train(config, records=records), records


Finished = tuple[TrainingConfig, dict[str, Any], list[Record]]


def test_the_result_tells_what_was_done(finished: Finished) -> None:
    config, result, records = finished
    assert result["training_status"] == "completed"
    assert result["parameter_count"] == count_parameters(config)["total"]
    assert result["datasets_used"] == ["Synthetic"]
    assert (result["grokfast_enabled"], result["act_enabled"], result["ltm_enabled"]) == (True, True, True)
    stats = result["training_stats"]
    steps = [record for record in records if isinstance(record, StepMetrics)]
    assert stats["steps"] == stats["planned_steps"] == len(steps) == 5
    assert stats["tokens"] == sum(step.tokens for step in steps)
    assert stats["seconds"] > 0
    assert stats["tokens_per_second"] == pytest.approx(stats["tokens"] / stats["seconds"], rel=0.1)
    sequences = len(PreparedData(Path(config.prepared_data or "")).packed("Synthetic", "train").tokens)
    assert stats["epochs"] == {"Synthetic": round(10 / sequences, 3)}
    assert set(stats["heldout_loss"]) == set(stats["heldout_bits_per_byte"]) == {"Synthetic"}
    assert stats["heldout_accuracy"] == {}, "nobody asked whether its answers are right"
    assert (stats["precision"], stats["threads"], stats["seed"]) == ("fp32", 1, 7)
    assert json.loads(json.dumps(result)) == result, "it can be sent as JSON"


def test_every_artifact_is_there(finished: Finished) -> None:
    config, result, _ = finished
    assert set(result["artifacts"]) == set(ARTIFACT_FILES)
    folder = folder_of(result)
    assert folder.parent == Path(config.output_dir)
    for kind, path in result["artifacts"].items():
        assert Path(path).name == ARTIFACT_FILES[kind]
        assert Path(path).stat().st_size > 0
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-00000003", "step-00000005"]


def test_the_weights_load_into_a_fresh_model(finished: Finished) -> None:
    config, result, _ = finished
    stored = load_file(result["artifacts"]["weights"])
    fresh = CognateModel(config)
    fresh.load_state_dict(stored)
    learned = {name for name, _ in fresh.named_parameters()}
    assert result["parameter_count"] == sum(stored[name].numel() for name in learned)
    assert set(stored) - learned == {"writer.surprise_mean", "writer.surprise_variance"}
    opened = CognateModel.from_pretrained(folder_of(result))
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(fresh(ids).logits, opened(ids).logits)
    last = load_file(folder_of(result) / "checkpoints/step-00000005/model.safetensors")
    assert all(torch.equal(last[name], stored[name]) for name in stored)


def test_the_held_out_loss_of_the_result_is_that_of_the_stored_weights(finished: Finished) -> None:
    config, result, _ = finished
    model = CognateModel.from_pretrained(folder_of(result))
    packed = PreparedData(Path(config.prepared_data or "")).packed("Synthetic", "heldout")
    tokens = torch.from_numpy(packed.tokens.astype("int64"))
    counted = torch.from_numpy(packed.counted.astype("int64"))[:, 1:]
    with torch.no_grad():
        guesses = torch.log_softmax(model(tokens[:, :-1]).logits, dim=-1)
    losses = -guesses.gather(2, tokens[:, 1:, None])[..., 0] * counted
    expected = float(losses.sum() / counted.sum())
    assert result["training_stats"]["heldout_loss"]["Synthetic"] == pytest.approx(expected, abs=1e-4)


def test_the_tokenizer_is_the_one_of_the_data(finished: Finished) -> None:
    config, result, _ = finished
    opened = Tokenizer.from_file(result["artifacts"]["tokenizer"])
    assert opened.to_str() == PreparedData(Path(config.prepared_data or "")).tokenizer().to_str()
    assert opened.decode(opened.encode("12 apples é").ids) == "12 apples é"


def test_the_stored_config_repeats_the_run(finished: Finished) -> None:
    config, result, _ = finished
    text = Path(result["artifacts"]["training_config"]).read_text("utf-8")
    assert TrainingConfig.from_toml(text) == config.model_copy(update={"prepared_data": None})


def test_the_log_holds_every_record(finished: Finished) -> None:
    _, result, records = finished
    log = log_of(folder_of(result))
    assert [line["type"] for line in log] == [type(record).__name__ for record in records]
    losses = [line["loss"] for line in log if line["type"] == "StepMetrics"]
    assert losses == [record.loss for record in records if isinstance(record, StepMetrics)]
    assert isinstance(records[0], Event)
    assert records[0].message == "Number format fp32, as set"


def test_the_readme_has_the_figures_of_the_result(finished: Finished) -> None:
    _, result, _ = finished
    text = Path(result["artifacts"]["model_card"]).read_text("utf-8")
    stats = result["training_stats"]
    assert text.startswith("# my\\-model\n")
    assert f"with {result['parameter_count']:,} parameters" in text
    assert f"ran all of its {stats['steps']} steps" in text
    loss = stats["heldout_loss"]["Synthetic"]
    (row,) = re.findall(r"^\| Synthetic \| ([\d.]+) \| ([\d.,]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert float(row[0]) == pytest.approx(loss, abs=5e-4)
    assert float(row[1].replace(",", "")) == pytest.approx(math.exp(loss), abs=0.06)
    assert float(row[2]) == pytest.approx(stats["heldout_bits_per_byte"]["Synthetic"], abs=5e-4)
    (measured,) = re.findall(
        r"^- ([\d,]+) tokens in ([\d,]+) s \(([\d,]+) per second\), fp32, 1 threads", text, re.MULTILINE
    )
    tokens, seconds, speed = (float(figure.replace(",", "")) for figure in measured)
    assert tokens == stats["tokens"]
    assert seconds == pytest.approx(stats["seconds"], abs=0.51)
    assert speed == pytest.approx(stats["tokens_per_second"], abs=0.51)
    assert "seed 7" in text
    assert "| Synthetic | made on this computer | 60 | 10 | none |" in text


@pytest.mark.parametrize(
    "change",
    [{"grokfast_enabled": False}, {"grokfast_method": "ma", "grokfast_window": 2}, {"precision": "bf16"}],
)
def test_each_kind_of_training_ends_with_a_model(config: TrainingConfig, change: dict[str, Any]) -> None:
    chosen = config.with_overrides({"max_steps": 3, **change})
    result = train(chosen)
    assert result["training_status"] == "completed"
    assert result["grokfast_enabled"] == chosen.grokfast_enabled
    assert result["training_stats"]["precision"] == chosen.precision
    assert all(weight.isfinite().all() for weight in load_file(result["artifacts"]["weights"]).values())


def test_training_twice_gives_the_same_weights(config: TrainingConfig) -> None:
    first, second = train(config), train(config)
    one, two = (load_file(result["artifacts"]["weights"]) for result in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert first["training_stats"]["heldout_loss"] == second["training_stats"]["heldout_loss"]


# Other ends


def test_a_stopped_model_is_saved(config: TrainingConfig) -> None:
    result = train(config, callback=at_step(3, StopRequested))
    assert result["training_status"] == "stopped"
    stats = result["training_stats"]
    assert (stats["steps"], stats["planned_steps"], stats["heldout_loss"]) == (3, 5, {})
    for path in result["artifacts"].values():
        assert Path(path).is_file()
    CognateModel.from_pretrained(folder_of(result))
    text = Path(result["artifacts"]["model_card"]).read_text("utf-8")
    assert "was stopped after 3 of 5 steps" in text
    assert "Unknown: training was stopped" in text


def test_a_stop_before_the_first_step_reaches_the_caller(config: TrainingConfig) -> None:
    with pytest.raises(StopRequested):
        train(config, callback=at_step(0, StopRequested))
    assert weights_below(Path(config.output_dir)) == []


@pytest.mark.parametrize("step", [0, 1, 4, 5])
def test_a_cancelled_model_leaves_no_weights(config: TrainingConfig, step: int) -> None:
    with pytest.raises(CancelRequested):
        train(config, callback=at_step(step, CancelRequested))
    assert weights_below(Path(config.output_dir)) == []


def test_a_cancelled_model_leaves_no_weights_in_checkpoints_either(config: TrainingConfig) -> None:
    # contracts.py: "CancelRequested: the callback asked for it; nothing is kept"
    with pytest.raises(CancelRequested):
        train(config.with_overrides({"save_steps": 1}), callback=at_step(4, CancelRequested))
    assert weights_below(Path(config.output_dir)) == []


def test_a_loss_that_is_no_number_is_null_in_the_log(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = CognateModel.forward

    def spoilt(model: CognateModel, *arguments: Any, **options: Any) -> CognateOutput:
        output = forward(model, *arguments, **options)
        if torch.is_grad_enabled() and output.loss is not None:
            spoilt_part = there(output.language_model_loss) * math.nan
            return dataclasses.replace(output, loss=output.loss * math.nan, language_model_loss=spoilt_part)
        return output

    monkeypatch.setattr(CognateModel, "forward", spoilt)
    with pytest.raises(Diverged, match=r"^The loss stopped being a number at step 3\."):
        train(config)
    (folder,) = Path(config.output_dir).iterdir()
    steps = [line for line in log_of(folder) if line["type"] == "StepMetrics"]
    assert [(line["step"], line["loss"], line["filtered_grad_norm"]) for line in steps] == [
        (n, None, None) for n in (1, 2, 3)
    ]
    assert weights_below(folder) == []


def test_without_prepared_data_nothing_begins(config: TrainingConfig) -> None:
    with pytest.raises(DataError, match=r"^No training data was prepared\."):
        train(config.model_copy(update={"prepared_data": None}))
    assert not Path(config.output_dir).exists()


def test_prepared_data_that_is_gone_is_told(config: TrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is incomplete"):
        train(config.model_copy(update={"prepared_data": str(tmp_path / "gone")}))


@pytest.mark.parametrize("nth", [1, 4])
def test_a_full_disk_while_saving_a_checkpoint_reaches_the_caller(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    write, count = write_pieces_durably, 0

    def disk_full(path: Path, pieces: Iterable[bytes | memoryview]) -> str:
        nonlocal count
        count += 1
        if count == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, pieces)

    monkeypatch.setattr(checkpoint_module, "write_pieces_durably", disk_full)
    with pytest.raises(DiskFull, match=r"^The disk is full: a checkpoint needs \d\.\d MB") as caught:
        train(config)
    assert isinstance(caught.value.__cause__, OSError)
    assert count == nth, "it went on writing"
    assert weights_below(Path(config.output_dir)) == []


def test_a_full_disk_while_saving_the_model_reaches_the_caller(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(model: CognateModel, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CognateModel, "save_pretrained", disk_full)
    with pytest.raises(OSError, match="No space left on device"):
        train(config)


def test_an_error_of_the_record_sink_reaches_the_caller(config: TrainingConfig) -> None:
    def sink(record: Record) -> None:
        if isinstance(record, StepMetrics):
            raise OSError(errno.EIO, "the database is gone")

    with pytest.raises(OSError, match="the database is gone"):
        asyncio.run(TorchTrainer(sink).train_model("m", config, lambda *progress: None))


# Names

HOSTILE = [
    "../../x",
    "/etc/passwd",
    "C:\\windows\\x",
    "a/b",
    "nul\x00byte",
    "🎉",
    "x" * 10_000,
    "",
    " ",
    ".",
    "..",
    "-",
    "---",
    "CON",
    "a\nb",
    "<script>",
    "name.",
    "ÄÖÜ",
    "half a letter \udcff",
]


def test_hostile_names_stay_inside_and_do_not_collide(tmp_path: Path) -> None:
    parent = tmp_path / "runs"
    names = [*HOSTILE, *HOSTILE, "a-b", "a b", "A-B", "x" * 9_999 + "y", "x" * 40, "model", "🎈"]
    config = TrainingConfig(output_dir=str(parent))
    folders = [model_folder(config, name, use_again=False) for name in names]
    assert len(set(folders)) == len(names)
    assert {path.resolve() for path in parent.iterdir()} == {folder.resolve() for folder in folders}
    for folder in folders:
        assert folder.resolve().parent == parent.resolve()
        assert len(folder.name) <= 60
        assert set(folder.name) <= set(string.ascii_lowercase + string.digits + "-")
    assert len({folder.name.lower() for folder in folders}) == len(folders), "alike where case does not count"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@settings(max_examples=60)
@given(names=st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_any_names_get_folders_of_their_own(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    parent = tmp_path_factory.mktemp("runs")
    config = TrainingConfig(output_dir=str(parent))
    folders = [model_folder(config, name, use_again=False) for name in names]
    assert len(set(folders)) == len(names)
    assert all(folder.parent == parent and folder.is_dir() for folder in folders)


@pytest.mark.parametrize("name", ["../../x", "nul\x00byte", "🎉", "x" * 10_000, "", "half a letter \udcff"])
def test_a_model_with_a_hostile_name_is_trained_and_saved(config: TrainingConfig, tmp_path: Path, name: str) -> None:
    before = set(tmp_path.iterdir())
    result = train(config.with_overrides({"max_steps": 1, "eval_interval": 9}), name)
    folder = folder_of(result)
    assert folder.parent == Path(config.output_dir)
    assert set(tmp_path.iterdir()) - before == {Path(config.output_dir)}
    assert {line.get("model_name") for line in log_of(folder)} == {name}
    assert all(Path(path).is_file() for path in result["artifacts"].values())


def test_an_ordinary_name_is_the_folders_name_and_a_second_one_gets_a_number(config: TrainingConfig) -> None:
    short = config.with_overrides({"max_steps": 1, "sample_tokens": 0})
    first, second = train(short, "cognate-1"), train(short, "cognate-1")
    assert (folder_of(first).name, folder_of(second).name) == ("cognate-1", "cognate-1-2")
    assert (folder_of(first) / "model.safetensors").is_file()


# From the datasets that were asked for to the model's README, through the service


class Silent(ProgressEmitter):
    async def emit_progress(self, progress: TrainingProgress) -> None:
        pass

    async def emit_model_completed(self, artifacts: ModelArtifacts) -> None:
        pass


def readme_of_a_run(config: TrainingConfig, cache: Path) -> str:
    def ignore(item: object) -> None:
        pass

    async def run() -> str:
        service = TrainingService(Silent(), MixtureLoader(config, cache, ignore, ignore), TorchTrainer(ignore), config)
        await service.start_training_session("t", model_names=["m"])
        (model,) = await service.execute_training_pipeline("t")
        return Path(model.artifacts["model_card"]).read_text("utf-8")

    return asyncio.run(run())


@pytest.fixture
def one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingConfig:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionError("no network here")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    monkeypatch.setattr("cognate_core.data.sources.sleep", lambda seconds: None)
    return TINY.with_overrides({"max_steps": 1, "sample_tokens": 0, "output_dir": str(tmp_path / "runs")})


STOOD_IN = "None of the requested datasets was available"


def test_the_readme_tells_of_a_fallback(one_step: TrainingConfig, tmp_path: Path) -> None:
    text = readme_of_a_run(one_step.with_overrides({"dataset_sources": ["GSM8K"]}), tmp_path / "cache")
    assert STOOD_IN in text


def test_the_readme_tells_of_a_fallback_although_the_data_was_prepared_before(
    one_step: TrainingConfig, tmp_path: Path
) -> None:
    assert STOOD_IN not in readme_of_a_run(one_step, tmp_path / "cache")
    fallen_back = one_step.with_overrides({"dataset_sources": ["GSM8K"]})
    assert STOOD_IN in readme_of_a_run(fallen_back, tmp_path / "cache")


def test_the_readme_tells_of_no_fallback_when_made_problems_were_asked_for(
    one_step: TrainingConfig, tmp_path: Path
) -> None:
    readme_of_a_run(one_step.with_overrides({"dataset_sources": ["GSM8K"]}), tmp_path / "cache")
    assert STOOD_IN not in readme_of_a_run(one_step, tmp_path / "cache")


def test_the_readme_tells_which_dataset_could_not_be_had(one_step: TrainingConfig, tmp_path: Path) -> None:
    text = readme_of_a_run(one_step.with_overrides({"dataset_sources": ["Synthetic", "SVAMP"]}), tmp_path / "cache")
    assert STOOD_IN not in text
    assert "| SVAMP | not loaded: SVAMP could not be fetched" in text
