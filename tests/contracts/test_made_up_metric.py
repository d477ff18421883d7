"""A figure of a step is entered in one place, and arrives in database, curves, charts, API, trackers and tables."""

from __future__ import annotations

from pathlib import Path

from tests.copied import assert_passes, copy_library

MADE_UP = """    made_up_warmth: float | None = _perhaps(
        "How warm the weights are.", "made_up/warmth", chart=StepChart("How warm it is", "K", "Warmth."), label="warmth"
    )
"""


def test_a_new_metric_is_one_line(tmp_path: Path) -> None:
    copy_library(tmp_path, "cognate_core")
    table = tmp_path / "cognate_core" / "contracts" / "metrics.py"
    source, end = table.read_text(encoding="utf-8"), "\n\n\nMETRICS"
    table.write_text(source.replace(end, f"\n{MADE_UP}\n\nMETRICS", 1), encoding="utf-8")
    assert_passes(Path(__file__).with_name("with_made_up_metric.py"), tmp_path)
