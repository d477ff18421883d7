"""The process that searches for a learning rate: prepares the data, then trains with an increasing rate.

    python -m cognate_core.runs.rate_worker

Its first line of input is the job; it ends when the input ends. It reports progress in lines of JSON.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from pathlib import Path

from cognate_core.config import TrainingConfig, dataset_id
from cognate_core.contracts import Event, Record
from cognate_core.errors import OUT_OF_MEMORY, CognateError, is_out_of_memory, plain_sentence
from cognate_core.runs.accuracy_worker import end_with_input
from cognate_core.runs.cores import worker_threads
from cognate_core.runs.worker import Lines, input_lines, step_back, take_over_output


def main() -> None:
    """Do the job from the first line of input. Reports progress, and how it ended."""
    lines = Lines(take_over_output())
    asked = input_lines()
    job = json.loads(next(asked))
    threading.Thread(target=end_with_input, args=(asked,), name="input", daemon=True).start()
    step_back()
    problem, exploded = None, False
    try:
        exploded = search(TrainingConfig.from_values(job["config"]), Path(job["home"]) / "cache", lines)
    except (CognateError, OSError, RuntimeError, MemoryError) as error:
        problem = OUT_OF_MEMORY if is_out_of_memory(error) else plain_sentence(error)
    lines.say("ended", {"ended": True, "exploded": exploded, "complete": problem is None, "problem": problem})


def search(config: TrainingConfig, cache: Path, lines: Lines) -> bool:
    """Prepare the data and train; returns whether the loss exploded."""
    import torch

    from cognate_core.data.loader import MixtureLoader
    from cognate_core.data.prepared import PreparedData
    from cognate_core.training.rate_finder import sweep_rates

    torch.set_num_threads(worker_threads(config))
    notes: list[str] = []

    def note(item: Record) -> None:
        if isinstance(item, Event) and item.level == "warning":
            notes.append(item.message)
            lines.say("progress", {"notes": notes})

    def show(message: str) -> None:
        lines.say("progress", {"now": message})

    loader = MixtureLoader(config, cache, note, show)
    for name in ["Own file"] if config.dataset_path else config.dataset_sources:
        asyncio.run(loader.download_dataset(name, dataset_id(name)))
    data = PreparedData(Path(asyncio.run(loader.create_mixed_training_data())))
    show("Timing the first steps")
    rates: list[float] = []
    losses: list[float] = []
    began = time.perf_counter()

    def tell(rate: float, loss: float, planned: int) -> None:
        rates.append(rate)
        losses.append(loss)
        seconds = time.perf_counter() - began
        found = {"rates": rates, "losses": losses, "planned": planned, "seconds": seconds}
        lines.say("progress", {"now": "Training with an increasing rate", **found})

    with tempfile.TemporaryDirectory(prefix="cognate-rates-") as folder:
        return sweep_rates(config, data, Path(folder), tell)


if __name__ == "__main__":
    main()
