"""The inside of a model at one step, layer by layer: the sizes of its weights, its gradient and its update.

Everything is only read: training stays the same bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from cognate_core.arithmetic.model import ArithmeticModel
from cognate_core.config import TrainingConfig
from cognate_core.contracts.records import MAGNITUDES, SMALLEST_MAGNITUDE, LayerFigures
from cognate_core.model import CognateModel
from cognate_core.model.layer_names import in_order, layer_of

MOST_MEASURED = 100  # checks of a run: a chart has no room for more columns
EXPONENTS = 256  # of a number in fp32


def is_measured(step: int, config: TrainingConfig) -> bool:
    """Whether layers are measured at a step: the first, and those of held-out checks. Of more than MOST_MEASURED
    checks, evenly spread ones are."""
    every = config.eval_interval * math.ceil(config.max_steps / config.eval_interval / MOST_MEASURED)
    return step in (1, config.max_steps) or step % every == 0


def layers_of(model: CognateModel | ArithmeticModel) -> dict[str, list[nn.Parameter]]:
    """The weights of each layer, in the order in which text passes them."""
    core = model.core if isinstance(model, CognateModel) and model.pondering is not None else None
    layers: dict[str, list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        layers.setdefault(layer_of(name, core), []).append(weight)
    return {layer: layers[layer] for layer in in_order(layers)}


class LayersOfStep:
    """The layers at one step. Make it once the gradients are complete; call `figures` after the optimizer.

    Until then it holds a copy of all weights.
    """

    @torch.no_grad()
    def __init__(self, model: CognateModel | ArithmeticModel) -> None:
        self._layers = layers_of(model)
        self._gradients = {
            layer: _norm(weight.grad for weight in weights if weight.grad is not None)
            for layer, weights in self._layers.items()
        }
        self._before = {layer: [weight.clone() for weight in weights] for layer, weights in self._layers.items()}

    @torch.no_grad()
    def figures(self, model_name: str, step: int) -> LayerFigures:
        """What the step did."""
        sizes, updates, magnitudes = list[float](), list[float](), list[list[int]]()
        for layer, weights in self._layers.items():
            copies = self._before.pop(layer)
            before = _norm(copies)
            change = _norm(copy.sub_(weight) for copy, weight in zip(copies, weights, strict=True))
            updates.append(change / before if before else math.nan)
            sizes.append(_norm(weights) / math.sqrt(sum(weight.numel() for weight in weights)))
            magnitudes.append(magnitude_counts(weights))
        return LayerFigures(
            model_name,
            step,
            list(self._layers),
            _numbers(sizes),
            _numbers(self._gradients.values()),
            _numbers(updates),
            magnitudes,
        )


def magnitude_counts(weights: Sequence[Tensor]) -> list[int]:
    """How many weights have each order of magnitude, as in `LayerFigures`."""
    counts = torch.zeros(EXPONENTS, dtype=torch.long)
    for weight in weights:
        exponents = (weight.float().view(torch.int32) & 0x7FFFFFFF) >> 23  # |w| is 2^(exponent - 127) to twice that
        counts += torch.bincount(exponents.flatten(), minlength=EXPONENTS)
    first = SMALLEST_MAGNITUDE + 127
    last = first + MAGNITUDES - 1
    return [int(counts[: first + 1].sum()), *counts[first + 1 : last].tolist(), int(counts[last:].sum())]


def _norm(tensors: Iterable[Tensor]) -> float:
    """The norm of all numbers together; 0 without any."""
    return math.hypot(*(float(torch.linalg.vector_norm(tensor)) for tensor in tensors))


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]
