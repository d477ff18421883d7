"""Charts which follow their runs by themselves, the lights that tell whether all is alive, and what can be clicked.

`st.plotly_chart` (Streamlit 1.67) builds its chart anew whenever the data change: it flickers and loses the zoom, and
drawing a page again each second slowed training by 42 % on two cores (docs/experiments.md). This component draws with
the same library, asks `/live` for new points, and changes its charts in place.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from cognate_core.contracts import RunStatus
from cognate_core.errors import RunError
from cognate_core.insight.axis import By
from cognate_core.insight.charts import PLOTLY_SCRIPT, View
from cognate_core.insight.run_charts import Look, comparison_charts, run_charts
from cognate_core.insight.words import size
from cognate_core.runs import RunManager, current_manager
from cognate_core.storage.rows import Run

MOST_KEPT = 16  # charts of a run and model, light or dark, for all who watch
MOST_COMPARED = 12
REST = 8  # times as long as a look at the run took, there is no other: watching takes a ninth of one core at most

SMOOTHING = {"none": 0.0, "light": 0.02, "medium": 0.06, "strong": 0.15}
ALONG: dict[str, By] = {"steps": "step", "time": "time", "tokens": "tokens"}
CONTROLS = {
    "smoothing": ("Smoothing", list(SMOOTHING), "light"),
    "scale": ("Loss scale", ["linear", "logarithmic"], "linear"),
    "along": ("Along the bottom", list(ALONG), "steps"),
}
"""What can be chosen of the look: the label, the choices, and the first one."""

_component = st.components.v2.component(
    "live_charts",
    html="""
    <div class="live-head">
      <div class="live-lights" role="group" aria-label="Is everything alive?"></div>
      <div class="live-controls" role="group" aria-label="How the curves are drawn"></div>
    </div>
    <div class="live-charts"></div>
    <p class="live-problem" role="status"></p>
    """,
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    isolate_styles=False,  # Plotly puts its styles into the page's head
)


def live_charts(manager: RunManager, run: Run, model_name: str) -> Any:
    """Show the charts of one model of a run; while the run goes on, they follow it.

    Returns:
        what the person did just now: `step` when one was clicked, `finding` (its number) when its remedy was.
    """
    going = not run.status.is_terminal and run.status is not RunStatus.PAUSED
    asked = {"run": run.id, "model": model_name}
    key = f"charts-{run.id}-{run.model_names.index(model_name)}"  # a name may hold anything
    return _mounted(manager, asked, key, going=going)


def live_comparison(manager: RunManager, runs: Sequence[Run]) -> Any:
    """Show several runs over one another; while one goes on, the charts follow it. What was clicked is returned."""
    going = any(not run.status.is_terminal and run.status is not RunStatus.PAUSED for run in runs)
    return _mounted(manager, {"runs": ",".join(run.id for run in runs)}, "comparison", going=going)


def _mounted(manager: RunManager, asked: Mapping[str, str], key: str, *, going: bool) -> Any:
    asked = {**asked, "dark": str(int(st.context.theme.type == "dark"))}
    built = _charts(manager, asked, at_once=True)
    data = {
        **json.loads(built.as_json),
        "address": "live?" + urlencode(asked),
        "going": going,
        "clickable": True,
        "controls": [
            {"name": name, "label": label, "choices": choices, "first": first}
            for name, (label, choices, first) in CONTROLS.items()
        ],
    }
    return _component(key=key, data=data, on_step_change=_nothing, on_finding_change=_nothing)


def _nothing() -> None:
    """Streamlit wants to be told that somebody listens to a trigger."""


def still_charts(charts: list[dict[str, Any]], key: str) -> None:
    """Show charts that do not change; another `key` for other charts."""
    data = {"charts": charts, "findings": [], "controls": [], "going": False, "clickable": False}
    _component(key=key, data=data)


@dataclass(slots=True)
class _Charts:
    """Charts as the component reads them, with a word that changes when there is something new to draw."""

    seen: str
    as_json: bytes
    rest_until: float  # by the monotonic clock


_kept: dict[tuple[Any, ...], _Charts] = {}  # the last one asked for stands last
_building = threading.Lock()  # of all who wait for the same charts, one builds them


def _charts(manager: RunManager, asked: Mapping[str, str], *, at_once: bool) -> _Charts:
    """The newest charts; without `at_once` perhaps those of a moment ago. Raises RunError when there is no such run."""
    log, look = manager.log, _look(asked)
    run_ids = [asked["run"]] if "run" in asked else [each for each in asked.get("runs", "").split(",") if each]
    key = (log.path, *run_ids, "run" in asked, asked.get("model", ""), look)
    with _building:
        built = _kept.pop(key, None)
        start = time.monotonic()
        if built is None or at_once or start > built.rest_until:
            runs = [log.run(run_id) for run_id in run_ids[:MOST_COMPARED]]
            # Before the charts: what comes between is drawn twice.
            newest = [(run.name, log.newest_ids(run.id)) for run in runs]
            seen = hashlib.sha256(repr(newest).encode(errors="replace")).hexdigest()[:16]
            if built is None or built.seen != seen:
                news: dict[str, Any] = {"seen": seen, "findings": []}
                if "run" in asked:
                    news["charts"], found = run_charts(log, runs[0], asked.get("model", ""), look)
                    news["findings"] = [asdict(finding) for finding in found]
                else:
                    news["charts"] = comparison_charts(log, runs, look)
                as_json = json.dumps(news, allow_nan=False, separators=(",", ":")).encode()
                built = _Charts(seen, as_json, start)
            end = time.monotonic()
            built.rest_until = end + REST * (end - start)
        _kept[key] = built
        if len(_kept) > MOST_KEPT:
            del _kept[next(iter(_kept))]
    return built


def _look(asked: Mapping[str, str]) -> Look:
    """What was chosen of the look; what is not among the choices is as at first."""
    chosen = {
        name: asked[name] if asked.get(name) in choices else first for name, (_, choices, first) in CONTROLS.items()
    }
    view = View(SMOOTHING[chosen["smoothing"]], chosen["scale"] == "logarithmic", asked.get("dark") == "1")
    return Look(ALONG[chosen["along"]], view)


def _live(request: Request) -> Response:
    """New points, and how alive all is, for the component."""
    asked = cast(Mapping[str, str], request.query_params)
    manager = current_manager()
    try:
        built = _charts(manager, asked, at_once=False)
    except RunError as error:
        return JSONResponse({"problem": str(error)}, status_code=404)
    run_ids = [each for each in asked.get("run", asked.get("runs", "")).split(",") if each]
    alive = json.dumps(_signs_of_life(manager, run_ids)).encode()
    news = b"" if built.seen == asked.get("after") else built.as_json[1:-1] + b","
    return Response(
        b"{" + news + b'"alive":' + alive + b"}",
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _signs_of_life(manager: RunManager, run_ids: Sequence[str]) -> dict[str, Any]:
    """How long nothing was heard of the most silent trainer (None: nobody trains, or not for this studio), the memory
    they have together, and how late the log is. The page itself knows how old it is."""
    silent = [seconds for run_id in run_ids if (seconds := manager.silent_seconds(run_id)) is not None]
    memory = sum(manager.memory_bytes(run_id) or 0 for run_id in run_ids)
    return {
        "trainer": max(silent, default=None),
        "log": manager.log.delayed_seconds,
        "memory": size(memory) if memory else None,
        "elsewhere": bool(manager.read_only),
    }


def _plotly(_: Request) -> Response:
    return FileResponse(PLOTLY_SCRIPT, headers={"Cache-Control": "public, max-age=86400"})


routes = [Route("/live", _live), Route("/plotly.min.js", _plotly)]
"""What the component asks the server for; app.py mounts them."""
