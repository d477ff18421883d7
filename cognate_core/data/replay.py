"""Replay what a training step read: the order of the data depends only on the seed and the position."""

from __future__ import annotations

import json
from pathlib import Path

from cognate_core.arithmetic.problems import ArithmeticBatches, beginning
from cognate_core.config import TrainingConfig
from cognate_core.contracts import ARITHMETIC, BatchSequence
from cognate_core.data.packing import documents_in, holds_a_part
from cognate_core.data.prepared import Batches, PreparedData
from cognate_core.errors import DataError

MOST_DRAWS = 1_000_000  # sequences drawn again to reach a step: about five seconds


def batch_at(prepared: Path, config: TrainingConfig, seed: int, step: int, begin: Path) -> list[BatchSequence]:
    """The sequences of optimizer step `step`, counted from 1.

    Args:
        prepared: the folder of prepared data.
        seed: the model's seed.
        begin: folder of the checkpoint that a branch began with; it may be missing.

    Raises:
        DataError: the data is gone, the step is too far on to be reached soon, or it precedes the run's first step.
    """
    if config.task == "arithmetic":
        return _problems_at(config.with_overrides({"seed": seed}), step, begin)
    data = PreparedData(prepared)
    of_one_step = config.batch_size * config.gradient_accumulation_steps
    batches = Batches({name: data.packed(name, "train") for name in data.sources}, config.mixture_weights, 1, seed)
    to_skip = (step - 1 - _begin(batches, begin, step)) * of_one_step
    if to_skip > MOST_DRAWS and len(data.sources) > 1:
        raise DataError(f"Step {step:,} is too far on: {to_skip:,} sequences would have to be drawn again first.")
    batches.skip(to_skip)
    tokenizer = data.tokenizer()
    found = []
    for name, index in batches.next_sources(of_one_step):
        packed = data.packed(name, "train")
        tokens = packed.tokens[index].tolist()
        texts = tokenizer.decode_batch(documents_in(tokens))
        found.append(BatchSequence(name, texts, int(packed.counted[index][1:].sum()), holds_a_part(tokens)))
    return found


def _begin(batches: Batches | ArithmeticBatches, begin: Path, step: int) -> int:
    """Move the batches to where the run began; returns the step before that. Raises DataError if `step` is earlier."""
    first = 0
    for state_file in begin.glob("step-????????/state.json"):
        state = json.loads(state_file.read_text(encoding="utf-8"))
        batches.load_state_dict(state["batches"])
        first = int(state["step"])
    if step <= first:
        raise DataError(f"This run began after step {first:,}. For earlier steps, see its parent run.")
    return first


def _problems_at(config: TrainingConfig, step: int, begin: Path) -> list[BatchSequence]:
    """The problems of a step of the Grokking lab, as one text."""
    batches = beginning(config).batches
    for _ in range(_begin(batches, begin, step) + 1, step):
        batches.next()
    left, right, answer = (numbers.tolist() for numbers in batches.next())
    problems = [f"{x} {config.arithmetic_operation} {y} = {z}" for x, y, z in zip(left, right, answer, strict=True)]
    return [BatchSequence(ARITHMETIC, ["\n".join(problems)], len(problems))]
