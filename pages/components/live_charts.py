"""Charts that follow their runs by themselves, the status lights, and what can be clicked.

`st.plotly_chart` (Streamlit 1.67) rebuilds its chart whenever the data change: it flickers and loses the zoom, and
redrawing a page each second slowed training by 42 % on two cores (docs/experiments.md). This component draws with the
same library, asks `/live` for new points, and updates its charts in place.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlencode

import streamlit as st
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from cognate_core.contracts import RunStatus
from cognate_core.contracts.answers import question_of, verdict
from cognate_core.errors import RunError
from cognate_core.insight.axis import By
from cognate_core.insight.charts import PLOTLY_SCRIPT, View
from cognate_core.insight.run_charts import Look, comparison_charts, run_charts
from cognate_core.insight.words import size
from cognate_core.runs import RunManager, current_manager
from cognate_core.storage.rows import Run
from pages.components.run_figures import headline

MOST_KEPT = 16  # sets of charts, one for each run, model and look, shared by all viewers
MOST_COMPARED = 12
MOST_REPLAYED = 200  # checks whose samples are shown when a run is played again
REST = 8  # pause between two reads, times the duration of a read: watching takes at most a ninth of one core

SMOOTHING = {"none": 0.0, "light": 0.02, "medium": 0.06, "strong": 0.15}
ALONG: dict[str, By] = {"steps": "step", "time": "time", "tokens": "tokens"}
CONTROLS = {
    "smoothing": ("Smoothing", list(SMOOTHING), "light"),
    "scale": ("Scale", ["linear", "logarithmic"], "linear"),
    "along": ("Along", list(ALONG), "steps"),
}
"""The options of the charts: label, choices, default."""

_component = st.components.v2.component(
    "live_charts",
    html="""
    <div class="live-root">
      <h2 class="live-title"></h2>
      <div class="live-head">
        <div class="live-lights" role="group" aria-label="Status"></div>
        <div class="live-replay" role="group" aria-label="Replay"></div>
        <div class="live-controls" role="group" aria-label="Chart options"></div>
        <button class="live-picture" type="button" title="One picture of this run, to show to others">Picture</button>
        <button class="live-present" type="button" title="Full screen, large type. Keys: P, arrows for other runs">
          Present
        </button>
      </div>
      <div class="live-figures"></div>
      <div class="live-charts"></div>
      <p class="live-problem" role="status"></p>
    </div>
    """,
    js="\n".join(
        Path(__file__).with_name(name).read_text(encoding="utf-8")
        for name in ("live_charts.js", "replay.js", "present.js")
    ),
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    isolate_styles=False,  # Plotly puts its styles into the page's head
)


def live_charts(manager: RunManager, run: Run, model_name: str) -> Any:
    """Show the charts of one model of a run; they follow an active run.

    Returns:
        what was just chosen: `step` for a step, `finding` (its number) for a finding's remedy, `onward` (1 or -1) for
        the next or the previous run.
    """
    going = not run.status.is_terminal and run.status is not RunStatus.PAUSED
    asked = {"run": run.id, "model": model_name}
    key = f"charts-{run.id}-{run.model_names.index(model_name)}"  # a name may hold anything
    ended = run.status.is_terminal
    return _mounted(manager, asked, key, going=going, title=run.name, replay=ended)


def live_comparison(manager: RunManager, runs: Sequence[Run], title: str) -> Any:
    """Show the overlaid curves of several runs; they follow active runs. Returns what was just clicked.

    title: stands above them in full screen.
    """
    going = any(not run.status.is_terminal and run.status is not RunStatus.PAUSED for run in runs)
    return _mounted(manager, {"runs": ",".join(run.id for run in runs)}, "comparison", going=going, title=title)


def _mounted(manager: RunManager, asked: Mapping[str, str], key: str, *, going: bool, **more: Any) -> Any:
    asked = {**asked, "dark": str(int(st.context.theme.type == "dark"))}
    built = _charts(manager, asked, at_once=True)
    data = {
        **json.loads(built.as_json),
        "address": "live?" + urlencode(asked),
        "going": going,
        "clickable": True,
        **more,
        "controls": [
            {"name": name, "label": label, "choices": choices, "first": first}
            for name, (label, choices, first) in CONTROLS.items()
        ],
    }
    return _component(
        key=key, data=data, on_step_change=_nothing, on_finding_change=_nothing, on_onward_change=_nothing
    )


def _nothing() -> None:
    """Streamlit requires a callback for each trigger."""


class Still(NamedTuple):
    """A chart that follows no run; `alt` says what it shows, for people who cannot see it."""

    title: str
    help: str
    alt: str
    figure: Mapping[str, Any]


def still_charts(charts: Sequence[Still], key: str) -> None:
    """Show charts that follow no run, below one another; two such groups on a page need different keys.

    Every chart of the studio is drawn by this component: `st.plotly_chart` brings a Plotly of its own, and a browser
    needs nearly two seconds of a slow core to read each.
    """
    drawn = [{**chart._asdict(), "wide": True} for chart in charts]
    data = {"charts": drawn, "findings": [], "controls": [], "going": False, "clickable": False}
    _component(key=key, data=data)


@dataclass(slots=True)
class _Charts:
    """Charts as JSON for the component; `seen` changes when there is something new to draw."""

    seen: str
    as_json: bytes
    rest_until: float  # by the monotonic clock


_kept: dict[tuple[Any, ...], _Charts] = {}  # in the order of use, the latest last
_building = threading.Lock()  # one thread builds at a time; the others reuse its charts


def _charts(manager: RunManager, asked: Mapping[str, str], *, at_once: bool) -> _Charts:
    """The newest charts; without `at_once` possibly slightly older ones. Raises RunError if a run does not exist."""
    log, look = manager.log, _look(asked)
    run_ids = [asked["run"]] if "run" in asked else [each for each in asked.get("runs", "").split(",") if each]
    key = (log.path, *run_ids, "run" in asked, asked.get("model", ""), look)
    with _building:
        built = _kept.pop(key, None)
        start = time.monotonic()
        if built is None or at_once or start > built.rest_until:
            runs = [log.run(run_id) for run_id in run_ids[:MOST_COMPARED]]
            # Read before the charts: what arrives in between is drawn twice, not missed.
            newest = [(run.name, log.newest_ids(run.id)) for run in runs]
            seen = hashlib.sha256(repr(newest).encode(errors="replace")).hexdigest()[:16]
            if built is None or built.seen != seen:
                news: dict[str, Any] = {"seen": seen, "findings": [], "samples": [], "figures": []}
                if "run" in asked:
                    news["charts"], found = run_charts(log, runs[0], asked.get("model", ""), look)
                    news["findings"] = [asdict(finding) for finding in found]
                    news["samples"] = _samples(manager, runs[0], asked.get("model", ""))
                    figures = headline(log, runs[0], asked.get("model", ""))
                    news["figures"] = [(each.label, each.value) for each in figures]
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


def _samples(manager: RunManager, run: Run, model_name: str) -> list[dict[str, Any]]:
    """What the model wrote last for a few unseen problems of one dataset, and whether it is right."""
    return _judged(run, manager.log.newest_samples(run.id, model_name))


def _history(manager: RunManager, run_id: str, model_name: str) -> list[dict[str, Any]]:
    """As `_samples`, at each of its checks; of a long run, at some of them."""
    run, steps = manager.log.run(run_id), manager.log.sample_steps(run_id, model_name)
    some = steps[:: -(-len(steps) // MOST_REPLAYED) or 1]
    return [each for step in some for each in _judged(run, manager.log.samples_at(run_id, model_name, step))]


def _judged(run: Run, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples of its first dataset in `rows`, which are of one step."""
    asked = bool(run.config.check_questions)
    return [
        {
            "step": row["step"],
            "question": question_of(row["prompt"]),
            "text": row["text"].strip() or "(nothing)",
            "right": verdict(row["text"], row["expected"], row["dataset"], asked=asked),
        }
        for row in rows
        if row["dataset"] == rows[0]["dataset"]
    ]


def _look(asked: Mapping[str, str]) -> Look:
    """The chosen options; the default replaces an unknown choice."""
    chosen = {
        name: asked[name] if asked.get(name) in choices else first for name, (_, choices, first) in CONTROLS.items()
    }
    view = View(SMOOTHING[chosen["smoothing"]], chosen["scale"] == "logarithmic", asked.get("dark") == "1")
    return Look(ALONG[chosen["along"]], view)


def _live(request: Request) -> Response:
    """New points and the status lights for the component."""
    asked = cast(Mapping[str, str], request.query_params)
    manager = current_manager()
    try:
        built = _charts(manager, asked, at_once=False)
    except RunError as error:
        return JSONResponse({"problem": str(error)}, status_code=404)
    if "history" in asked and "run" in asked:
        return JSONResponse({"history": _history(manager, asked["run"], asked.get("model", ""))})
    run_ids = [each for each in asked.get("run", asked.get("runs", "")).split(",") if each]
    alive = json.dumps(_signs_of_life(manager, run_ids)).encode()
    news = b"" if built.seen == asked.get("after") else built.as_json[1:-1] + b","
    return Response(
        b"{" + news + b'"alive":' + alive + b"}",
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _signs_of_life(manager: RunManager, run_ids: Sequence[str]) -> dict[str, Any]:
    """For the status lights: seconds since the last sign of life of the most silent trainer (None: none trains in this
    studio), their total memory, how late the log is, and whether this studio is read-only."""
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
"""Routes that the component calls; app.py mounts them."""
