"""Ask a trained model the questions that were held out of its training, and count the right answers.

Opens models and data; no pages, no database, no process. Importing this loads torch.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cognate_core.config import TrainingConfig
from cognate_core.contracts import utc_now
from cognate_core.contracts.answers import Accuracy, Score, StepScores, is_answered, is_right, same_form
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import PreparedData
from cognate_core.data.questions import Examination, examination
from cognate_core.errors import DataError, StorageError
from cognate_core.inference.playground import Playground

SEED = 0  # always ask the same held-out questions


def measure(
    *,
    folder: str,
    model_step: int,
    steps: list[int],
    home: str,
    config: dict[str, Any],
    data_hash: str,
    limit: int,
    say: Callable[..., None],
) -> Accuracy:
    """Ask a model and some of its checkpoints the held-out questions of its training data.

    Args:
        folder: the model's folder; it was finished after `model_step` steps.
        steps: steps of the checkpoints to ask, too.
        home: the data directory.
        config, data_hash: what the model was trained on.
        limit: the most questions per dataset.
        say: receives the progress: `now` in words, and `done` answers of `total`.

    Raises:
        DataError: the model's training data is no longer available, or has no questions.
        StorageError: the model cannot be opened.
    """
    start = time.monotonic()
    data = _data_of(
        TrainingConfig.from_values(config), data_hash, Path(home) / "cache", lambda message: say(now=message)
    )
    left_out: dict[str, str] = {}
    examinations = []
    for source in data.sources:
        found = examination(data, source, limit, SEED)
        if found is None:
            left_out[source] = "Its held-out rows have no answer after ####."
        else:
            examinations.append(found)
    if not examinations:
        raise DataError("No held-out row of this model has an answer after ####: there is nothing to ask.")
    with (Path(folder) / "model.safetensors").open("rb") as file:
        weights_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    a_step = sum(len(each.questions) for each in examinations)
    total = a_step * (len(steps) + 1)
    scored: list[StepScores] = []
    for number, step in enumerate([*steps, None]):  # None: the finished model
        try:
            player = (
                Playground.from_folder(Path(folder)) if step is None else Playground.from_checkpoint(Path(folder), step)
            )
        except StorageError as error:
            if step is None:
                raise
            left_out[f"step {step:,}"] = str(error)
            continue
        scores, done = [], number * a_step
        for each in examinations:
            where = each.dataset if step is None else f"{each.dataset}, after step {step:,}"
            right = 0
            for question in each.questions:
                say(done=done, total=total, now=where)
                right += _is_right(player, question.prompt, question.answer, each)
                done += 1
            scores.append(_score(each, right))
        scored.append(StepScores(model_step if step is None else step, scores))
    return Accuracy(
        measured_at=utc_now(),
        weights_sha256=weights_sha256,
        limit=limit,
        seed=SEED,
        temperature=0.0,
        data_hash=data_hash,
        seconds=round(time.monotonic() - start, 1),
        steps=scored,
        left_out=left_out,
    )


def _is_right(player: Playground, prompt: str, answer: str, asked: Examination) -> bool:
    """Whether the model answers `answer`. It may write as many tokens as the longest solution in its training data."""
    text = ""
    for piece in player.stream(prompt, max_new_tokens=asked.longest, temperature=0.0):
        text += piece.text
        if is_answered(text):
            break
    return is_right(text, answer, asked.dataset)


def _score(asked: Examination, right: int) -> Score:
    guess = same_form(asked.commonest, asked.dataset)
    guessed = sum(same_form(question.answer, asked.dataset) == guess for question in asked.questions)
    return Score(asked.dataset, len(asked.questions), right, asked.commonest, guessed)


def _data_of(config: TrainingConfig, data_hash: str, cache: Path, tell: Callable[[str], None]) -> PreparedData:
    """The model's training data: as prepared for training, or prepared again from the same text."""
    with suppress(DataError):  # removed to make room, or damaged
        return PreparedData(cache / "prepared" / data_hash)

    async def prepared_again() -> str:
        loader = MixtureLoader(config, cache, lambda _: None, tell)
        for name in ["Own file"] if config.dataset_path else config.dataset_sources:
            await loader.download_dataset(name, name)
        return await loader.create_mixed_training_data()

    folder = Path(asyncio.run(prepared_again()))
    if folder.name != data_hash:
        raise DataError(
            "The held-out rows of this model are no longer available: its datasets have changed, and questions from "
            "other text would not be a fair test."
        )
    return PreparedData(folder)
