"""The process that measures a model's accuracy: asks the held-out questions, and saves the result with the weights.

    python -m cognate_core.runs.accuracy_worker

Its first line of input is the job; it ends when the input ends. It reports progress in lines of JSON.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from cognate_core.errors import OUT_OF_MEMORY, CognateError, is_out_of_memory, plain_sentence
from cognate_core.files import replace_durably
from cognate_core.runs.accuracy import ACCURACY_FILE
from cognate_core.runs.cores import worker_threads
from cognate_core.runs.worker import Lines, input_lines, step_back, take_over_output


def main() -> None:
    """Do the job from the first line of input. Reports progress, and how it ended."""
    lines = Lines(take_over_output())
    asked = input_lines()
    job = json.loads(next(asked))
    threading.Thread(target=end_with_input, args=(asked,), name="input", daemon=True).start()
    step_back()
    import torch

    from cognate_core.inference.evaluation import measure

    torch.set_num_threads(worker_threads())
    problem = None
    try:
        accuracy = measure(**job, say=lambda **progress: lines.say("progress", progress))
        replace_durably(Path(job["folder"]) / ACCURACY_FILE, json.dumps(asdict(accuracy), indent=1).encode())
    except (CognateError, OSError, RuntimeError, MemoryError) as error:
        problem = OUT_OF_MEMORY if is_out_of_memory(error) else plain_sentence(error)
    lines.say("ended", {"ended": True, "problem": problem})


def end_with_input(lines: Iterator[str]) -> None:
    """End this process when the input ends: the studio is gone or has cancelled the job."""
    for _ in lines:
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
