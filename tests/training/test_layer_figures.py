"""The inside of a model: each figure against its formula in numpy, and training that does not notice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cognate_core.arithmetic.model import ArithmeticModel
from cognate_core.config import TrainingConfig
from cognate_core.contracts import LayerFigures, Record, StepMetrics
from cognate_core.data.prepared import PreparedData
from cognate_core.insight.layer_detectors import exploding_layers, still_layers
from cognate_core.model import CognateModel
from cognate_core.training.hardware import Precision
from cognate_core.training.layer_figures import MOST_MEASURED, LayersOfStep, is_measured, layers_of, magnitude_counts
from cognate_core.training.loop import TrainingLoop
from cognate_core.training.tasks import loop_for
from tests.arithmetic.tiny import config_of
from tests.training.preparing import prepared_folder
from tests.training.test_arithmetic_loop import prepared as prepared_lab
from tests.training.test_process_group import TEXT as text_of_a_group

pytestmark = pytest.mark.usefixtures("one_thread")

TEXT = text_of_a_group.with_overrides(
    {
        "max_steps": 12,
        "gradient_accumulation_steps": 1,
        "max_grad_norm": 0.1,
        "act_ponder_weight": 0.003,
        "loss_on_answer_only": False,
        "eval_interval": 2,
        "sample_tokens": 0,
        "save_steps": 1000,
    }
)
LAB = config_of(max_steps=10, eval_interval=3)
PARTS = {  # beginnings of names, of TEXT
    "embedding": ["embedding."],
    "prelude 1": ["blocks.0."],
    "core 2": ["blocks.1."],
    "coda 3": ["blocks.2."],
    "memory": ["blocks.0.memory", "blocks.1.memory", "blocks.2.memory", "writer."],
    "halting": ["pondering."],
    "output": ["final_norm.", "head."],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The prepared data of each task."""
    text = prepared_folder(TEXT, tmp_path_factory.mktemp("cache"))
    return {"text": Path(text), "arithmetic": Path(prepared_lab(LAB, tmp_path_factory.mktemp("lab")))}


def loop_of(
    config: TrainingConfig, data: dict[str, Path], folder: Path, records: list[Record], callback: Any = lambda *_: None
) -> TrainingLoop:
    given, precision = PreparedData(data[config.task]), Precision("fp32", "fp32, as set")
    return loop_for(config)("m", config, given, folder, precision, records.append, callback)


def layers_in(records: list[Record]) -> list[LayerFigures]:
    return [record for record in records if isinstance(record, LayerFigures)]


def as_rows(records: list[Record]) -> list[dict[str, Any]]:
    fields = ("step", "layers", "weights", "gradients", "updates", "magnitudes")
    return [{name: getattr(each, name) for name in fields} for each in layers_in(records)]


def test_each_weight_belongs_to_one_layer_that_has_a_name() -> None:
    model = CognateModel(TEXT)
    names = {id(weight): name for name, weight in model.named_parameters()}
    found = {layer: {names[id(weight)] for weight in weights} for layer, weights in layers_of(model).items()}
    memory = tuple(PARTS["memory"])
    expected = {
        layer: {
            name
            for name in names.values()
            if name.startswith(tuple(begins)) and (layer == "memory" or not name.startswith(memory))
        }
        for layer, begins in PARTS.items()
    }
    assert found == expected
    assert list(found) == list(PARTS), "in the order in which text passes them"


def test_a_plain_model_has_plain_layers() -> None:
    plain = CognateModel(TEXT.with_overrides({"act_enabled": False, "ltm_enabled": False}))
    assert list(layers_of(plain)) == ["embedding", "layer 1", "layer 2", "layer 3", "output"]
    lab = ArithmeticModel(LAB)
    assert list(layers_of(lab)) == ["embedding", "layer 1", "layer 2", "output"]
    assert sum(map(len, layers_of(lab).values())) == len(list(lab.parameters()))


def test_figures_are_those_of_numpy() -> None:
    generator = torch.Generator().manual_seed(3)
    model = CognateModel(TEXT)
    for number, weight in enumerate(model.parameters()):
        if number % 5:  # the others have no gradient
            weight.grad = torch.randn(weight.shape, generator=generator)
    flat = {  # in fp64, each layer as one vector
        layer: [np.concatenate([each.detach().double().numpy().ravel() for each in weights])]
        for layer, weights in layers_of(model).items()
    }
    gradients = {
        layer: np.concatenate(
            [np.empty(0), *(each.grad.double().numpy().ravel() for each in weights if each.grad is not None)]
        )
        for layer, weights in layers_of(model).items()
    }
    measured = LayersOfStep(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=1e-3)
            weight.grad = None  # what clipping and the filter do to it does not matter
    for layer, weights in layers_of(model).items():
        flat[layer].append(np.concatenate([each.detach().double().numpy().ravel() for each in weights]))
    found = measured.figures("m", 7)
    assert (found.model_name, found.step, found.layers) == ("m", 7, list(PARTS))
    for number, (before, after) in enumerate(flat.values()):
        root_mean_square = np.sqrt(np.mean(after**2))
        assert found.weights[number] == pytest.approx(root_mean_square, rel=1e-5)
        change = np.sqrt(np.mean((after - before) ** 2)) / np.sqrt(np.mean(before**2))
        assert found.updates[number] == pytest.approx(change, rel=1e-4)
        assert sum(found.magnitudes[number]) == len(after)
    assert found.gradients == pytest.approx([np.sqrt(np.sum(each**2)) for each in gradients.values()], rel=1e-5)


def test_weights_are_counted_by_their_magnitude() -> None:
    weights = np.random.default_rng(0).normal(size=5000).astype(np.float32) * np.logspace(-9, 4, 5000, dtype=np.float32)
    weights[:8] = [0.0, -0.0, 1e-42, 2.0**-20, -(2.0**-19), 1.0, 15.9, -1e30]
    exponents = np.floor(np.log2(np.maximum(np.abs(weights.astype(np.float64)), 1e-300)))
    expected = np.bincount((np.clip(exponents, -20, 3) + 20).astype(int), minlength=24)
    assert magnitude_counts([torch.from_numpy(weights[:1999]), torch.from_numpy(weights[1999:])]) == expected.tolist()


def test_what_is_no_number_is_none() -> None:
    model = ArithmeticModel(LAB)
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, math.nan if weight.dim() == 1 else 1.0)
    with torch.no_grad():
        model.head.weight.zero_()
        model.ln_f.weight.zero_()
    found = LayersOfStep(model).figures("m", 1)
    assert found.gradients[0] is not None and found.gradients[1] is None
    assert found.updates == [0.0, 0.0, 0.0, None], "the last one has no size to compare with"
    assert sum(magnitude_counts([torch.tensor([math.nan, math.inf, -math.inf])])) == 3


def test_measured_are_the_first_step_and_those_that_are_checked() -> None:
    assert [step for step in range(1, 13) if is_measured(step, TEXT)] == [1, 2, 4, 6, 8, 10, 12]
    assert [step for step in range(1, 11) if is_measured(step, LAB)] == [1, 3, 6, 9, 10]
    many = TEXT.with_overrides({"max_steps": 10_007, "eval_interval": 3})
    steps = [step for step in range(1, 10_008) if is_measured(step, many)]
    assert len(steps) <= MOST_MEASURED + 2
    assert all(step % 3 == 0 for step in steps[1:-1])
    assert len(set(np.diff(steps[1:-1]).tolist())) == 1, "evenly spread"


@pytest.mark.parametrize("config", [TEXT, TEXT.with_overrides({"optimizer": "muon"}), LAB], ids=["text", "Muon", "lab"])
def test_training_does_not_notice(
    config: TrainingConfig, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, unseen = list[Record](), list[Record]()
    watched = loop_of(config, data, tmp_path, seen)
    watched.run()
    monkeypatch.setattr("cognate_core.training.loop.is_measured", lambda step, config: False)
    alone = loop_of(config, data, tmp_path, unseen)
    alone.run()
    steps, others = ([each for each in said if isinstance(each, StepMetrics)] for said in (seen, unseen))
    figures = [(each.loss, each.grad_norm, each.filtered_grad_norm) for each in steps]
    assert figures == [(each.loss, each.grad_norm, each.filtered_grad_norm) for each in others]
    weights = zip(watched.model.state_dict().values(), alone.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)
    assert not layers_in(unseen)
    found = layers_in(seen)
    assert [each.step for each in found] == [n for n in range(1, config.max_steps + 1) if is_measured(n, config)]
    raw = {each.step: each.grad_norm for each in steps}
    for each in found:
        norms = [norm for norm in each.gradients if norm is not None]
        assert math.hypot(*norms) == pytest.approx(raw[each.step], rel=1e-5), "before clipping"
    assert still_layers(as_rows(seen), config) == exploding_layers(as_rows(seen), config) == [], "a healthy model"


def test_a_search_for_a_rate_measures_nothing(data: dict[str, Path], tmp_path: Path) -> None:
    records = list[Record]()
    loop_of(LAB, data, tmp_path, records).step_at(1e-3)
    assert not layers_in(records)


@pytest.mark.parametrize("from_step", [1, 5])
def test_a_frozen_layer_is_found(from_step: int, data: dict[str, Path], tmp_path: Path) -> None:
    records = list[Record]()
    loop = loop_of(TEXT, data, tmp_path, records)
    assert isinstance(loop.model, CognateModel)
    for weight in loop.model.blocks[1].parameters():
        weight.register_hook(lambda gradient: gradient * float(loop.step + 1 < from_step))
    for weight in loop.model.embedding.parameters():
        weight.register_hook(lambda gradient: gradient * float(loop.step + 1 < from_step))
    loop.run()
    found = {each.kind: each for each in still_layers(as_rows(records), TEXT)}
    assert set(found) == {"dead_layer", "still_embedding"}
    layer = found["dead_layer"]
    assert layer.title == "Layer 2 (core) does not learn (dead layer)"
    assert layer.last_step == 12 and layer.first_step >= from_step
    assert "its gradient is zero" in layer.cause
    assert ("in any check so far" in layer.cause) == (from_step == 1)
    assert bool(layer.overrides) == (from_step > 1)
