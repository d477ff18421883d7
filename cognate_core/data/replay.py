"""What a step of training read, drawn again: the order of the data follows from the seed and the position alone."""

from __future__ import annotations

import json
from pathlib import Path

from cognate_core.arithmetic.problems import ArithmeticBatches, beginning
from cognate_core.config import TrainingConfig
from cognate_core.contracts import ARITHMETIC, BatchSequence
from cognate_core.data.packing import documents_in, holds_a_part
from cognate_core.data.prepared import Batches, PreparedData
from cognate_core.errors import DataError

MOST_DRAWS = 1_000_000  # sequences that are drawn again to come to a step: about five seconds


def batch_at(prepared: Path, config: TrainingConfig, seed: int, step: int, begin: Path) -> list[BatchSequence]:
    """The sequences of optimizer step `step`, from 1.

    Args:
        prepared: the folder of prepared data.
        seed: the model's own.
        begin: where a run that branched off has the checkpoint that it began with, if it did.

    Raises:
        DataError: the data are no longer there, or the step is too far on to come to it soon.
    """
    if config.task == "arithmetic":
        return _problems_at(config.with_overrides({"seed": seed}), step, begin)
    data = PreparedData(prepared)
    of_one_step = config.batch_size * config.gradient_accumulation_steps
    batches = Batches({name: data.packed(name, "train") for name in data.sources}, config.mixture_weights, 1, seed)
    to_skip = (step - 1 - _begin(batches, begin, step)) * of_one_step
    if to_skip > MOST_DRAWS and len(data.sources) > 1:
        raise DataError(f"Step {step:,} is too far on: {to_skip:,} sequences would have to be drawn again before it.")
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
    """Set the batches to where the run began; the step after which that was. Raises DataError if `step` is before."""
    first = 0
    for state_file in begin.glob("step-????????/state.json"):
        state = json.loads(state_file.read_text(encoding="utf-8"))
        batches.load_state_dict(state["batches"])
        first = int(state["step"])
    if step <= first:
        raise DataError(f"This run began after step {first:,}. Look at the run that it branched off from.")
    return first


def _problems_at(config: TrainingConfig, step: int, begin: Path) -> list[BatchSequence]:
    """The problems of a step of the Grokking lab, one text."""
    batches = beginning(config).batches
    for _ in range(_begin(batches, begin, step) + 1, step):
        batches.next()
    left, right, answer = (numbers.tolist() for numbers in batches.next())
    problems = [f"{x} {config.arithmetic_operation} {y} = {z}" for x, y, z in zip(left, right, answer, strict=True)]
    return [BatchSequence(ARITHMETIC, ["\n".join(problems)], len(problems))]
