"""A studio without a page, to be killed: opens the RunManager of a folder, carries out one order, and stays.

python -m tests.faults.host HOME start CONFIG.toml   |   HOME resume RUN_ID
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.runs import RunManager


def main() -> None:
    home, order, subject = sys.argv[1:]
    manager = RunManager(Path(home))
    found = [(run.id, run.status.value, manager.resume_step(run.id)) for run in manager.log.runs()]
    if order == "start":
        run_id = manager.start(TrainingConfig.from_toml(Path(subject).read_text()), "a run", ["model"])
    else:
        run_id = subject
        manager.resume(run_id)
    ready = {"run_id": run_id, "found": found}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    sys.stdin.read()  # until the test closes it
    manager.close()


if __name__ == "__main__":
    main()
