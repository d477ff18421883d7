"""A Plotly chart that changes in place.

`st.plotly_chart` (Streamlit 1.67) builds its chart anew whenever the data change: it flickers, loses the zoom, and
costs the training processor time (docs/experiments.md). This one draws with the same library and calls `Plotly.react`.
"""

from __future__ import annotations

import json
from pathlib import Path

import plotly
import plotly.graph_objects as go
import streamlit as st
from starlette.responses import FileResponse
from starlette.routing import Route

PLOTLY_SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"

_component = st.components.v2.component(
    "live_chart",
    html='<div class="live-chart" role="img"></div>',
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
    css=".live-chart { width: 100%; color: var(--st-text-color); font-family: var(--st-font); }",
    isolate_styles=False,  # Plotly puts its styles into the page's head
)


def live_chart(figure: go.Figure, *, key: str, alt: str) -> None:
    """Show `figure`; drawn again under the same key, it changes in place. `alt` describes it to a screen reader."""
    spec = json.loads(figure.to_json())
    spec["layout"].pop("template", None)  # Plotly's default look is 7 kB that the page's own look replaces
    _component(key=key, data={"figure": spec, "alt": alt})


plotly_route = Route(
    "/plotly.min.js",
    lambda _: FileResponse(PLOTLY_SCRIPT, headers={"Cache-Control": "public, max-age=86400"}),
)
"""Serves the chart library from this computer; app.py mounts it."""
