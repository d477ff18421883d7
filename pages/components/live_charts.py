"""The charts of a run, which follow it by themselves.

`st.plotly_chart` (Streamlit 1.67) builds its chart anew whenever the data change: it flickers and loses the zoom, and
drawing a page again each second slowed training by 42 % on two cores (docs/experiments.md). This component draws with
the same library, asks `/live` for new points, and changes its charts in place.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import plotly
import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from cognate_core.contracts import RunStatus
from cognate_core.errors import RunError
from cognate_core.insight.charts import line_chart, loss_chart, ponder_chart
from cognate_core.runs import current_manager
from cognate_core.storage.curves import read_curves
from cognate_core.storage.progress_log import ProgressLog, Run

PLOTLY_SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
OWN_HOSTS = ("127.0.0.1", "localhost")
MOST_KEPT = 16  # charts of a run and model, light or dark, for all who watch
REST = 50  # times as long as a look at the run took, there is no other: watching takes 2 % of one core at most

_component = st.components.v2.component(
    "live_charts",
    html='<div class="live-charts"></div><p class="live-problem" role="status"></p>',
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
    css="""
    .live-charts { display: grid; grid-template-columns: 1fr 1fr; gap: 0.5rem 2rem; color: var(--st-text-color);
                   font-family: var(--st-font); }
    .live-charts section { min-width: 0; }
    .live-charts .wide { grid-column: 1 / -1; }
    .live-charts h3 { font-size: 1.15rem; font-weight: 600; margin: 0.75rem 0 0.25rem; padding: 0; }
    .live-problem { color: var(--st-orange-text-color); margin: 0; }
    @media (max-width: 760px) { .live-charts { grid-template-columns: 1fr; } }
    """,
    isolate_styles=False,  # Plotly puts its styles into the page's head
)


def live_charts(log: ProgressLog, run: Run, model_name: str) -> None:
    """Show the charts of one model of a run; while the run goes on, they follow it."""
    dark = st.context.theme.type == "dark"
    address = None
    if not run.status.is_terminal and run.status is not RunStatus.PAUSED:
        address = "/live?" + urlencode({"run": run.id, "model": model_name, "dark": int(dark)})
    built = _charts(log, run.id, model_name, dark=dark, at_once=True)
    data = {**json.loads(built.as_json), "address": address}
    _component(key=f"charts-{run.id}-{run.model_names.index(model_name)}", data=data)  # a name may hold anything


def still_charts(charts: list[dict[str, Any]], key: str) -> None:
    """Show charts that do not change; another `key` for other charts."""
    _component(key=key, data={"charts": charts, "seen": "", "address": None})


@dataclass(slots=True)
class _Charts:
    """Charts as the component reads them, with a word that changes when there is something new to draw."""

    seen: str
    as_json: bytes
    rest_until: float  # by the monotonic clock


_kept: dict[tuple[Path, str, str, bool], _Charts] = {}  # the last one asked for stands last
_building = threading.Lock()  # of all who wait for the same charts, one builds them


def _charts(log: ProgressLog, run_id: str, model_name: str, *, dark: bool, at_once: bool) -> _Charts:
    """The newest charts; without `at_once` perhaps those of a moment ago. Raises RunError when there is no such run."""
    key = (log.path, run_id, model_name, dark)
    with _building:
        built = _kept.pop(key, None)
        start = time.monotonic()
        if built is None or at_once or start > built.rest_until:
            run = log.run(run_id)
            seen = "-".join(map(str, log.newest_ids(run_id)))  # before the charts: what comes between is drawn twice
            if built is None or built.seen != seen:
                news = {"charts": run_charts(log, run, model_name, dark=dark), "seen": seen}
                as_json = json.dumps(news, allow_nan=False, separators=(",", ":")).encode()
                built = _Charts(seen, as_json, start)
            end = time.monotonic()
            built.rest_until = end + REST * (end - start)
        _kept[key] = built
        if len(_kept) > MOST_KEPT:
            del _kept[next(iter(_kept))]
    return built


def run_charts(log: ProgressLog, run: Run, model_name: str, *, dark: bool) -> list[dict[str, Any]]:
    """The charts as the component reads them."""
    curves = read_curves(log.path, run.id, model_name)
    evaluations = [row for row in log.evaluations(run.id) if row["model_name"] == model_name]
    steps = run.config.max_steps

    def small(title: str, unit: str, lines: dict[str, str], explanation: str) -> dict[str, Any]:
        named = {label: curves.lines[figure] for figure, label in lines.items()}
        figure = line_chart(named, unit, steps, dark=dark)
        return {"title": title, "help": explanation, "alt": f"{title} by step", "wide": False, "figure": figure}

    charts = [
        {
            "title": "How wrong it is (loss)",
            "help": "Lower is better. Unseen: on text that was kept apart, the honest measure.",
            "alt": "Loss by step",
            "wide": True,
            "figure": loss_chart(
                curves.lines["loss"],
                curves.mean_loss,
                curves.mean_counts,
                curves.missing_loss,
                evaluations,
                math.log(run.config.vocab_size),
                steps,
                dark=dark,
            ),
        },
        small("Learning rate", "", {"learning_rate": "learning rate"}, "How far each step moves the weights."),
        small(
            "Gradient size",
            "norm",
            {"grad_norm": "before", "filtered_grad_norm": "after"},
            "Before, and after clipping and GrokFast.",
        ),
    ]
    if run.config.act_enabled:
        histograms = [row for row in log.ponder_histograms(run.id) if row["model_name"] == model_name]
        charts += [
            small(
                "How long it thinks (ponder steps)",
                "steps a token",
                {"ponder_steps": "ponder steps"},
                "How often the middle layers go over a token, on average.",
            ),
            {
                "title": "Which tokens think long",
                "help": "Share of the tokens by ponder steps, between two checks. One dark row alone: every token is "
                "treated alike.",
                "alt": "Share of tokens by ponder steps",
                "wide": False,
                "figure": ponder_chart(histograms, steps, dark=dark),
            },
            small(
                "Price of thinking (ponder loss)",
                "nats",
                {"ponder_loss": "ponder loss"},
                "What the ponder steps add to the loss that is trained on. It is not part of the curves above.",
            ),
        ]
    if run.config.ltm_enabled:
        charts += [
            small(
                "Notes in memory",
                "notes",
                {"memory_notes": "notes"},
                "How many notes a text's memory holds after a segment, on average. A new text begins with none.",
            ),
            small(
                "How memory is used",
                "share",
                {"memory_written": "noted", "memory_gate": "gate open", "memory_null_share": "nothing read"},
                "Noted: share of the tokens that became notes. Gate open: how far the layers let memory in. Nothing "
                "read: where there were notes, share of the looking that chose none.",
            ),
        ]
    return charts


Answer = Callable[[Request], Response]


def _for_own_pages(answer: Answer) -> Answer:
    """Let `answer` speak to this computer's own pages alone: by the Host they ask, and the Origin they come from."""

    def guarded(request: Request) -> Response:
        origin = request.headers.get("origin")
        own_origin = origin is None or urlsplit(origin).netloc == request.headers.get("host")
        if request.url.hostname not in OWN_HOSTS or not own_origin:
            return JSONResponse({"problem": "This address is not served."}, status_code=403)
        return answer(request)

    return guarded


@_for_own_pages
def _live(request: Request) -> Response:
    """New points of a run, for the component."""
    asked = request.query_params
    run_id, model_name, dark = asked.get("run", ""), asked.get("model", ""), asked.get("dark") == "1"
    try:
        built = _charts(current_manager().log, run_id, model_name, dark=dark, at_once=False)
    except RunError as error:
        return JSONResponse({"problem": str(error)}, status_code=404)
    news = b"{}" if built.seen == asked.get("after") else built.as_json
    return Response(news, media_type="application/json", headers={"Cache-Control": "no-store"})


@_for_own_pages
def _plotly(_: Request) -> Response:
    return FileResponse(PLOTLY_SCRIPT, headers={"Cache-Control": "public, max-age=86400"})


routes = [Route("/live", _live), Route("/plotly.min.js", _plotly)]
"""What the component asks the server for; app.py mounts them."""
