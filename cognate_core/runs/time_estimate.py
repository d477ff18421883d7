"""Time estimate: trains the first steps in a process like a run's worker, and scales the time to the whole run.

python -m cognate_core.runs.time_estimate < job.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from cognate_core.config import TrainingConfig
from cognate_core.contracts import TimeEstimate
from cognate_core.errors import CognateError, TrainingError, plain_sentence
from cognate_core.runs.cores import worker_threads
from cognate_core.runs.token import worker_environment
from cognate_core.runs.worker import step_back

PATIENCE_SECONDS = 240.0  # a model whose first steps take longer gets no estimate


def measured_time_estimate(
    config: TrainingConfig, models: int = 1, *, busy: bool = False, home: Path | None = None
) -> TimeEstimate:
    """Rehearse `config` on this computer. Takes about twenty seconds, more for a large model.

    Args:
        models: how many models are trained, one after the other.
        home: the data directory; its fetched datasets are used.
        busy: whether another run is active meanwhile, which makes this one look slower.

    Raises:
        TrainingError: training failed, the first steps took too long, or the engine is not the local one.
    """
    if config.engine != "local":
        raise TrainingError("Only the local engine has a time estimate. Choose it, or start without an estimate.")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cognate_core.runs.time_estimate"],
            input=json.dumps({"config": config.model_dump(mode="json"), "home": str(home) if home else None}),
            capture_output=True,
            text=True,
            env=worker_environment(),
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TrainingError(
            f"The first steps took more than {PATIENCE_SECONDS:.0f} s on this computer. Choose a smaller model, batch "
            "or training length, or start without a time estimate."
        ) from error
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise TrainingError(
            "The time estimate failed; perhaps the computer ran out of memory. Choose a smaller model, batch or "
            "training length."
        ) from error
    if "problem" in answer:
        raise TrainingError(answer["problem"])
    time_estimate = TimeEstimate(**answer)
    return replace(
        time_estimate,
        low_seconds=time_estimate.low_seconds * models,
        high_seconds=time_estimate.high_seconds * models,
        busy=busy,
    )


def main() -> None:
    """Do the job from the input; print the time estimate's fields, or the problem, as one line of JSON."""
    job = json.loads(sys.stdin.read())
    config = TrainingConfig.from_values(job["config"])
    cache = Path(job["home"]) / "cache" if job["home"] else None
    step_back()
    import torch

    from cognate_core.training.rehearsal import rehearse

    torch.set_num_threads(worker_threads(config))
    try:
        with tempfile.TemporaryDirectory(prefix="cognate-rehearsal-") as folder:
            rehearsal = rehearse(config, Path(folder), cache)
    except (CognateError, OSError, RuntimeError, MemoryError) as error:
        answer: dict[str, object] = {"problem": plain_sentence(error)}
    else:
        low, high = rehearsal.seconds(config)
        time_estimate = TimeEstimate(
            low,
            high,
            rehearsal.fresh.mean,
            len(rehearsal.fresh.step_seconds),
            _peak_memory(),
            torch.get_num_threads(),
            busy=False,
            quickest_step_seconds=rehearsal.quickest.mean,
            missing_data=rehearsal.missing,
        )
        answer = asdict(time_estimate)
    print(json.dumps(answer))  # noqa: T201  (that is how it answers)


def _peak_memory() -> int:
    """The most memory that this process has used, in bytes; its current memory if the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().rss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
