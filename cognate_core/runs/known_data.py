"""What earlier runs found out about the data that a run with the same settings will read."""

from __future__ import annotations

from typing import Any

from cognate_core.config import TrainingConfig, fields_that
from cognate_core.storage.progress_reader import ProgressReader


def known_report(log: ProgressReader, config: TrainingConfig) -> dict[str, Any] | None:
    """The DataReport fields of the newest run with the same data settings and no missing dataset; None without one."""
    names = list(fields_that("prepares_data"))
    wanted = [getattr(config, name) for name in names]
    for run in log.runs():
        report = run.data_report
        if report is None or report["fallback"] or not all(source["loaded"] for source in report["sources"]):
            continue
        if [getattr(run.config, name) for name in names] == wanted:
            return report
    return None
