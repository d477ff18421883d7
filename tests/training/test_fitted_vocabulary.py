"""A model is as wide as its text is rich: whoever tells its size tells the same, and it can be opened."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cognate_core.config import TrainingConfig
from cognate_core.contracts import Event, Record
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData, write_report
from cognate_core.inference.playground import Playground
from cognate_core.model import CognateModel, count_parameters, read_shape
from cognate_core.training.rehearsal import rehearse
from cognate_core.training.trainer import TorchTrainer

ASKED = 3000  # more than the text makes

pytestmark = pytest.mark.usefixtures("one_thread")


def prepared(config: TrainingConfig, cache: Path) -> PreparedData:
    loader = MixtureLoader(config, cache, lambda _: None, lambda _: None)
    asyncio.run(loader.download_dataset("Synthetic", "built in"))
    return PreparedData(Path(asyncio.run(loader.create_mixed_training_data())))


@pytest.mark.parametrize("fitted", [True, False])
def test_everything_tells_the_size_that_the_model_has(
    tiny_config: TrainingConfig, tmp_path: Path, fitted: bool
) -> None:
    """Data that an earlier studio prepared (not `fitted`) have models as wide as was asked."""
    config = tiny_config.with_overrides({"vocab_size": ASKED, "output_dir": str(tmp_path / "runs"), "max_steps": 2})
    data = prepared(config, tmp_path)
    write_report(data.folder, dataclasses.replace(data.report, fitted=fitted))
    records: list[Record] = []
    run = config.model_copy(update={"prepared_data": str(data.folder)})
    result = asyncio.run(TorchTrainer(records.append).train_model("m", run, lambda *_: None))
    width = data.tokenizer().get_vocab_size() if fitted else ASKED
    assert width < ASKED or not fitted
    folder = Path(result["artifacts"]["weights"]).parent
    weights = load_file(folder / "model.safetensors")
    assert weights["embedding.weight"].shape == weights["head.weight"].shape == (width, config.d_model)
    total = count_parameters(config.with_overrides({"vocab_size": width}))["total"]
    assert result["parameter_count"] == total
    assert f"The model has {total:,} parameters" in [each.message for each in records if isinstance(each, Event)]
    assert read_shape(folder).vocab_size == width
    card = (folder / "README.md").read_text("utf-8")
    assert f"with {total:,} parameters" in card and f"ln({width:,}) = {math.log(width):.2f}" in card
    assert TrainingConfig.from_toml((folder / "training_config.toml").read_text("utf-8")) == config
    assert Playground.from_folder(folder).model.config.vocab_size == width


@pytest.mark.parametrize(("dataset", "fitted"), [("Synthetic", True), ("GSM8K", False)])
def test_a_rehearsal_takes_the_width_of_the_runs_own_text_or_what_is_asked_for(
    dataset: str, fitted: bool, tiny_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GSM8K is not on this computer: how many tokens the text makes that stands in says nothing of it."""
    widths = []
    build = CognateModel.__init__

    def built(model: CognateModel, config: TrainingConfig) -> None:
        widths.append(config.vocab_size)
        build(model, config)

    monkeypatch.setattr(CognateModel, "__init__", built)
    rehearse(
        tiny_config.with_overrides({"vocab_size": 20_000, "dataset_sources": [dataset]}), tmp_path, budget_seconds=0
    )
    assert {width < 20_000 for width in widths} == {fitted}
