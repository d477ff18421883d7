"""How many problems a model has right once it is trained, and when: over seeds, on problems that it never saw.

`python -m tests.bench.solves --seeds 0 1 2 3 4` trains the preset "solve"; another preset, and settings, may be named:
`python -m tests.bench.solves solve word_problems=two-steps max_steps=2400`. Asked are the held-out rows, those with
held-out names, numbers and wordings, and own_words.json, which was written by somebody who had not read the wordings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import get_preset
from cognate_core.contracts import END_OF_TEXT_ID, Evaluation, Record
from cognate_core.contracts.answers import QUESTION_MARK, SOLUTION_MARK, is_right, wilson_interval
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.data.questions import heldout_questions
from cognate_core.training.answering import answers
from cognate_core.training.hardware import keep_freed_memory, precision_for
from cognate_core.training.text_loop import TextLoop
from tests.bench.timing import heading, line

OWN_WORDS = Path(__file__).with_name("own_words.json")
LONGEST = 60  # tokens of an answer


def prepared(config: TrainingConfig, cache: Path) -> PreparedData:
    loader = MixtureLoader(config, cache, lambda _: None, lambda _: None)

    async def run() -> str:
        for name in config.dataset_sources:
            await loader.download_dataset(name, name)
        return await loader.create_mixed_training_data()

    return PreparedData(Path(asyncio.run(run())))


def asked_of(data: PreparedData) -> dict[str, list[tuple[str, str]]]:
    """What is asked at the end, by its name: pairs of prompt and answer."""
    questions = {
        name: [(each.prompt, each.answer) for each in heldout_questions(data, name, 10_000, seed=0)]
        for name in data.sources
    }
    own = json.loads(OWN_WORDS.read_text(encoding="utf-8"))
    questions["own words"] = [
        (f"{QUESTION_MARK}{each['question']}{SOLUTION_MARK}", str(each["answer"])) for each in own
    ]
    return questions


def train(config: TrainingConfig, data: PreparedData, folder: Path) -> dict[str, float]:
    """Train one model; the share of each kind of questions that it has right. The way there is printed."""
    checks: list[tuple[float, Evaluation]] = []

    def record(item: Record) -> None:
        if isinstance(item, Evaluation) and item.accuracy is not None:
            checks.append((loop.elapsed_seconds, item))

    loop = TextLoop("bench", config, data, folder, precision_for(config), record, lambda *_: None)
    loop.run()
    seconds = loop.elapsed_seconds
    first = checks[0][1].dataset if checks else ""
    for after, check in checks:
        if check.dataset == first:
            line(f"  after {check.step:,} steps, {after:,.0f} s", f"{check.accuracy:.0%}", "right")
    model, tokenizer = loop.model.eval(), data.tokenizer()
    shares: dict[str, float] = {"seconds": seconds}
    for name, questions in asked_of(data).items():
        prompts = [[END_OF_TEXT_ID, *tokenizer.encode(prompt).ids] for prompt, _ in questions]
        texts = tokenizer.decode_batch(answers(model, prompts, LONGEST))
        right = sum(is_right(text, answer, name) for text, (_, answer) in zip(texts, questions, strict=True))
        low, high = wilson_interval(right, len(questions))
        shares[name] = right / len(questions)
        line(f"  {name}: {right} of {len(questions)}", f"{shares[name]:.1%}", f"right ({low:.0%} to {high:.0%})")
    return shares


def main(arguments: Sequence[str] = ("solve", "max_steps=40", "max_train_samples=1000")) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.solves")
    parser.add_argument("preset", nargs="?", default="solve")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    asked = parser.parse_args(arguments)
    changes: Mapping[str, str] = dict(each.split("=", 1) for each in asked.settings)
    config = get_preset(asked.preset).config.with_overrides(changes)
    heading(f"Problems that a model has right: {asked.preset} {' '.join(asked.settings)}")
    keep_freed_memory()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(config, Path(folder))
        for seed in asked.seeds:
            line(f"seed {seed}", "", "")
            found.append(train(config.with_overrides({"seed": seed}), data, Path(folder) / str(seed)))
    for name in found[0]:
        values = sorted(each[name] for each in found)
        shown = [f"{value:.0f}" if name == "seconds" else f"{value:.1%}" for value in values]
        middle = statistics.median(values)
        line(
            f"{name}, median of {len(values)}",
            f"{middle:.0f}" if name == "seconds" else f"{middle:.1%}",
            ", ".join(shown),
        )


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
