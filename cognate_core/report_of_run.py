"""The report of a run, put together of what was recorded."""

from __future__ import annotations

from cognate_core.charts_of_runs import Look, run_charts
from cognate_core.config.presets import nearest_preset
from cognate_core.contracts import utc_now
from cognate_core.insight.report import run_report
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Row, Run


def report_of_run(log: ProgressReader, run: Run, model_name: str) -> str:
    """The report of one model of a run, as one HTML page."""
    charts, found = run_charts(log, run, model_name, Look())
    models = [model for model in log.models(run.id) if model.trained_as == model_name]
    measured = models[0].details["training_stats"] if models else {}
    nearest = nearest_preset(run.config)

    def of_model(rows: list[Row]) -> list[Row]:
        return [row for row in rows if row["model_name"] == model_name]

    return run_report(
        run,
        charts=charts,
        findings=[(finding.title, finding.cause, finding.advice) for finding in found],
        samples=of_model(log.samples(run.id)),
        evaluations=log.evaluations(run.id, model_name=model_name),
        models=[model.details for model in models],
        artifacts=[row for model in models for row in log.artifacts(model.id)],
        environment={name: str(measured[name]) for name in ("precision", "threads") if name in measured},
        compared_with=(f"the preset {nearest.title}", nearest.config),
        made_at=utc_now(),
    )
