"""Where a model came from: its run and that run's parent, its data, its settings, and the computer."""

from __future__ import annotations

import streamlit as st

from cognate_core.config import as_text, form_fields
from cognate_core.config.presets import nearest_preset
from cognate_core.insight.comparison import config_difference
from cognate_core.runs import RunManager
from cognate_core.storage.rows import Run, TrainedModel
from pages.components.config_form import HIDDEN_FIELDS
from pages.components.layout import run_link, shown, status_badge
from pages.components.run_actions import origin_line
from pages.components.tables import table


def lineage(manager: RunManager, model: TrainedModel) -> None:
    """The run, data, settings and computer that made the model."""
    run = manager.log.run(model.run_id)
    st.subheader("Where it came from (lineage)", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.write("Run")
        run_link(run)
        status_badge(run.status)
    origin_line(manager, run)
    data(run)
    settings(run)
    computer(model)


def data(run: Run) -> None:
    """What the run read, by source, and the content hash."""
    report = run.data_report
    if not report:
        st.caption("What it read was not recorded.")
        return
    table(
        [
            {
                "data": source["name"],
                "from": source["origin"] if source["loaded"] else f"not loaded: {source['reason']}",
                "training rows": source["train_rows"],
                "held-out rows": source["heldout_rows"],
            }
            for source in report["sources"]
        ],
    )
    if report["fallback"]:
        st.caption("None of the chosen datasets could be loaded; built-in problems were used instead.")
    st.caption("Hash of all its text and how it was prepared (content hash)")
    st.code(report["content_hash"], language=None)


def settings(run: Run) -> None:
    """The settings that differ from the nearest preset."""
    if run.config_error:
        st.caption(f"The settings cannot be read. {shown(run.config_error)}")
        return
    preset = nearest_preset(run.config)
    names = [name for name in config_difference([preset.config, run.config]) if name not in HIDDEN_FIELDS]
    if not names:
        st.caption(f"All settings are those of the preset {shown(preset.title)}.")
        return
    st.caption(f"Settings that differ from the nearest preset, {shown(preset.title)}; all others are the same.")
    fields = form_fields()
    table(
        [
            {
                "setting": fields[name].title,
                "here": as_text(getattr(run.config, name)),
                "preset": as_text(getattr(preset.config, name)),
            }
            for name in names
        ],
        column_config={name: st.column_config.TextColumn(width="medium") for name in ("setting", "here", "preset")},
        width="content",
    )


def computer(model: TrainedModel) -> None:
    """The computer that trained the model. Models of earlier versions may lack some of it."""
    stats = model.details["training_stats"]
    words = {
        "processor": "Processor",
        "threads": "threads",
        "precision": "number format",
        "torch": "torch",
        "seed": "random start (seed)",
    }
    known = [f"{word} {stats.get(name, 'unknown')}" for name, word in words.items()]
    st.caption(f"{shown(', '.join(known))}.")
