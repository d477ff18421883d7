"""What a configuration needs before it runs: parameters, memory, tokens. Counted or computed, never measured here.

The parameter count comes from the model itself and loads torch; everything else is arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cognate_core.config import TrainingConfig, field_extra, form_fields
from cognate_core.contracts import spread_checkpoints

BYTES = 4  # weights, gradients and optimizer state are fp32
CHECKPOINTS = 5  # the newest three, the best, and the one being written
KEPT_OF_BLOCK, KEPT_OF_READ, KEPT_WITH_CHECKPOINTING = 30, 10, 8  # times the width
OF_PONDER_STEP = 1.3  # what a later ponder step keeps of a layer, relative to the first


@dataclass(frozen=True, slots=True)
class Estimate:
    """parameters: by component, with "total". memory_bytes: by purpose. tokens_per_step includes padding."""

    parameters: dict[str, int]
    memory_bytes: dict[str, int]
    tokens_per_step: int
    disk_bytes: int  # the finished model and the most checkpoints that exist at one time

    @property
    def total_memory_bytes(self) -> int:
        return sum(self.memory_bytes.values())


def estimate(config: TrainingConfig) -> Estimate:
    """What training with `config` needs.

    Activations follow a formula that was compared with measured peaks of the full-size model (docs/experiments.md), for
    a batch that ponders to its limit, as the first ones do, in fp32 unless the settings say bf16.
    """
    parameters, activations, tokens = _of_the_lab(config) if config.task == "arithmetic" else _of_text(config)
    weights = parameters["total"] * BYTES
    memory = {
        "weights and gradients": 2 * weights,
        "optimizer": 2 * weights,
        "GrokFast": _filter_copies(config) * weights,
        "activations": activations * (BYTES // 2 if config.precision == "bf16" else BYTES),
    }
    checkpoint = weights + memory["optimizer"] + memory["GrokFast"]
    kept = CHECKPOINTS + spread_checkpoints(checkpoint)
    return Estimate(parameters, memory, tokens, weights + kept * checkpoint)


_OF_NO_DISK = ("Data", "Training", "Checking and saving")


def disk_bytes(configs: Iterable[TrainingConfig]) -> int:
    """Total disk space of runs with these settings."""
    sections = {name: field_extra(info)["section"] for name, info in form_fields().items()}
    shapes: dict[str, int] = {}  # counting takes a fifth of a second, and the runs of a sweep often have the same shape

    def counted(config: TrainingConfig) -> int:
        shape = repr({name: value for name, value in config if sections.get(name, "Data") not in _OF_NO_DISK})
        if shape not in shapes:
            shapes[shape] = estimate(config).disk_bytes
        return shapes[shape]

    return sum(map(counted, configs))


def _of_text(config: TrainingConfig) -> tuple[dict[str, int], int, int]:
    """(parameters by component, how many numbers the backward pass keeps, tokens of a step)."""
    from cognate_core.model import core_layers, count_parameters, reading_layers
    from cognate_core.model.head_loss import CHUNK_LOGITS

    positions = config.batch_size * config.train_seq_len
    passes: float = config.n_layers  # layers that a token goes through
    if config.act_enabled:
        passes += OF_PONDER_STEP * (config.max_act_steps - 1) * len(core_layers(config.n_layers))
    first = reading_layers(config).start
    behind_core = (
        first >= core_layers(config.n_layers).stop
    )  # then memory is read once, and the core does not use segments
    reads, by_segments = (1, config.n_layers - first) if behind_core else (passes, passes)
    # What the backward pass keeps for each position, in widths.
    kept = passes * KEPT_WITH_CHECKPOINTING
    if not config.gradient_checkpointing:
        kept = passes * KEPT_OF_BLOCK + reads * KEPT_OF_READ * config.ltm_enabled
    segments = -(-config.train_seq_len // config.mem_segment) if config.ltm_enabled else 1
    seen = min(config.attention_window, config.train_seq_len / 2) if segments > 1 else 0  # on average for each segment
    past = config.batch_size * segments * int(seen) * by_segments * 2 * config.d_model  # keys and values
    # The head is computed in chunks; each segment keeps the gradient of its weights.
    head = 2 * min(positions * config.vocab_size, CHUNK_LOGITS) + segments * config.vocab_size * config.d_model
    activations = positions * kept * config.d_model + head + past
    return count_parameters(config), int(activations), positions * config.gradient_accumulation_steps


def _of_the_lab(config: TrainingConfig) -> tuple[dict[str, int], int, int]:
    """The same for a Grokking lab model: the four positions of each problem, as if none were shared."""
    import torch

    from cognate_core.arithmetic.model import ArithmeticModel

    with torch.device("meta"):
        total = sum(weight.numel() for weight in ArithmeticModel(config).parameters())
    activations = 4 * config.batch_size * config.n_layers * KEPT_OF_BLOCK * config.d_model
    return {"total": total}, activations, config.batch_size


def fitting_batch_size(config: TrainingConfig, available_bytes: float) -> int | None:
    """The largest batch size up to half of the current one that should fit; None if not even 1 fits."""
    half = config.batch_size // 2
    for size in range(half, 0, -1):
        if estimate(config.model_copy(update={"batch_size": size})).total_memory_bytes <= available_bytes:
            return size
    return None


def _filter_copies(config: TrainingConfig) -> int:
    if not config.grokfast_enabled:
        return 0
    return 1 if config.grokfast_method == "ema" else config.grokfast_window + 2  # the ring buffer, and its sum in fp64


def seconds_left(step: int, total_steps: int, recent_seconds_per_step: float | None) -> float | None:
    """Seconds until the last step at the recent pace; None while the pace is unknown, or after the last step."""
    if recent_seconds_per_step is None or step >= total_steps:
        return None
    return (total_steps - step) * recent_seconds_per_step
