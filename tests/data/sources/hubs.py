"""A hub that is made up, and rows to give."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets

from cognate_core.config import TrainingConfig

CONFIG = TrainingConfig(max_train_samples=5, max_eval_samples=3)


def problem(number: int) -> dict[str, str]:
    return {"question": f"What is {number} + 0?", "answer": f"It is <<{number}+0={number}>>{number}.\n#### {number}"}


def answers(documents: list[Any]) -> list[int]:
    return [int(document.answer.rpartition("#### ")[2]) for document in documents]


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def quiet(message: str) -> None:
    """A Tell that shows nothing."""


class FakeHub:
    """Stands in for the hub: `rows` for each split, and errors to raise, one for each call that should fail."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.loads: list[tuple[Any, ...]] = []
        self.waits: list[float] = []
        self.rows: dict[str, list[dict[str, Any]]] = {
            "train": [problem(n) for n in range(100, 200)],
            "test": [problem(n) for n in range(10)],
        }
        self.info_errors: Iterator[BaseException] = iter(())
        self.load_errors: Iterator[BaseException] = iter(())
        self.said: dict[str, Any] | None = None  # what the dataset's page says of its splits
        self.stream: Callable[[str, int], Iterator[dict[str, Any]]] = lambda split, n: iter(self.rows[split][:n])

    def dataset_info(self, api: object, dataset_id: str, **options: Any) -> None:
        self.asked.append((dataset_id, options))
        for error in self.info_errors:
            raise error

    def load_dataset(self, dataset_id: str, config: str | None, **options: Any) -> Any:
        self.loads.append((dataset_id, config, options))
        for error in self.load_errors:
            raise error
        hub, split = self, options["split"]

        class Rows:
            info = datasets.DatasetInfo.from_dict({"splits": hub.said})

            def take(self, n: int) -> Iterator[dict[str, Any]]:
                return hub.stream(split, n)

        return Rows()
