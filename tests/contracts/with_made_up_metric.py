"""Run beside a copy of the library with one more figure, `made_up_warmth`: it fails unless that arrives everywhere."""

from __future__ import annotations

import sys
from pathlib import Path

from starlette.testclient import TestClient

from cognate_core.api import create_api
from cognate_core.config import TrainingConfig
from cognate_core.contracts import StepMetrics
from cognate_core.insight.run_charts import Look, run_charts
from cognate_core.runs import RunManager
from cognate_core.tracking.export import metrics_csv
from cognate_core.tracking.tracker import named_figures

HERE = Path(sys.argv[1])
assert Path(sys.modules["cognate_core"].__file__ or "").is_relative_to(HERE), "the copy is asked"

manager = RunManager(HERE / "home", max_parallel=0)
run_id = manager.start(TrainingConfig(), "Warm", ["warm"])
for step in range(1, 201):
    row = StepMetrics("warm", step, 2.0, 1e-3, 1.0, 1.0, 9, 0.1, step / 10, made_up_warmth=step / 2)  # type: ignore[call-arg]
    manager.log.record(run_id, row)
manager.log.set_coordination("made up", {})  # a call waits until the rows before it are written

assert dict(named_figures(row))["made_up/warmth"] == 100.0
assert manager.log.metrics_after(run_id, "warm", 199, 1)[0]["made_up_warmth"] == 100.0
charts, _ = run_charts(manager.log, manager.log.run(run_id), "warm", Look())
(chart,) = [each for each in charts if each["title"] == "How warm it is"]
(line,) = [each for each in chart["figure"]["data"] if each.get("name") == "warmth"]
assert len(line["x"]) > 1
assert metrics_csv(manager.log, run_id).decode().splitlines()[0].rstrip().endswith('"made_up_warmth"')
with TestClient(create_api(lambda: manager)) as api:
    assert api.get(f"/v1/runs/{run_id}/metrics").json()["items"][0]["made_up_warmth"] == 0.5
    fields = api.get("/v1/openapi.json").json()["components"]["schemas"]["Step"]["properties"]
    assert fields["made_up_warmth"]["description"] == "How warm the weights are."
manager.close()
