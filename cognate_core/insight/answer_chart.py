"""Charts of right answers: each dataset's share and interval, beside the share of the commonest answer.

Pure functions: scores in, a Plotly figure out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cognate_core.contracts.answers import Score, StepScores
from cognate_core.insight.charts import CHART_HEIGHT
from cognate_core.insight.drawing import FONT_SIZE, Figure, Trace
from cognate_core.insight.palette import GREY, run_colour, run_word_colour
from cognate_core.labels import escape_html

ROW_HEIGHT = 56  # of one dataset
LONGEST_GUESS = 24  # characters of the commonest answer that are shown
LEAST_RANGE = 0.1  # the axis reaches at least 10 %: a tiny share must not look large


def answer_chart(scores: Sequence[Score], *, dark: bool = False) -> Figure:
    """One row for each dataset: a dot with its 95 % interval, and a grey mark for "always the commonest answer"."""
    names = [escape_html(score.dataset) for score in scores]
    blue = run_colour(0, dark=dark)
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [score.commonest_share for score in scores],
            "y": names,
            "name": "always the commonest answer",
            "marker": {"symbol": "line-ns", "size": 26, "line": {"color": GREY, "width": 3}},
            "hovertemplate": "always %{customdata}: %{x:.1%}<extra></extra>",
            "customdata": [_guess(score) for score in scores],
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": [score.share for score in scores],
            "y": names,
            "name": "this model",
            "marker": {"color": blue, "size": 12},
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [score.interval[1] - score.share for score in scores],
                "arrayminus": [score.share - score.interval[0] for score in scores],
                "color": blue,
                "thickness": 2,
                "width": 6,
            },
            "hovertemplate": "%{customdata}<extra></extra>",
            "customdata": [
                f"{score.right} of {score.asked} right, {score.share:.1%} "
                f"(95 % interval {score.interval[0]:.1%} to {score.interval[1]:.1%})"
                for score in scores
            ],
        },
    ]
    layout = _layout(78 + ROW_HEIGHT * len(names))
    layout["xaxis"] |= {**_share_axis(scores), "title": {"text": "right answers", "font": {"size": FONT_SIZE}}}
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "automargin": True, "showgrid": False}
    layout["hovermode"] = "closest"
    return {"data": traces, "layout": layout}


def answers_by_step_chart(steps: Sequence[StepScores], *, dark: bool = False) -> Figure:
    """A line for each dataset over the measured checkpoints, with intervals; dotted: the commonest answer."""
    traces: list[Trace] = []
    labels: list[dict[str, Any]] = []
    layout = _layout(CHART_HEIGHT)
    for number, dataset in enumerate(dict.fromkeys(score.dataset for row in steps for score in row.scores)):
        colour, words = run_colour(number, dark=dark), run_word_colour(number, dark=dark)
        rows = [(row.step, score) for row in steps for score in row.scores if score.dataset == dataset]
        x, scores = [step for step, _ in rows], [score for _, score in rows]
        name = escape_html(dataset)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": x,
                "y": [score.commonest_share for score in scores],
                "name": f"{name}, always the commonest answer",
                "line": {"color": colour, "width": 1.5, "dash": "dot"},
                "hovertemplate": "%{y:.1%}",
            }
        )
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": x,
                "y": [score.share for score in scores],
                "name": name,
                "line": {"color": colour, "width": 2},
                "marker": {"size": 8},
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [score.interval[1] - score.share for score in scores],
                    "arrayminus": [score.share - score.interval[0] for score in scores],
                    "thickness": 1,
                    "width": 4,
                },
                "hovertemplate": "%{y:.1%}",
            }
        )
        labels.append({"y": scores[-1].share, "text": name, "font": {"color": words, "size": FONT_SIZE}})
    top = _share_axis([score for row in steps for score in row.scores])
    layout["xaxis"] |= {"title": {"text": "step", "font": {"size": FONT_SIZE}}, "tickformat": ",d", "showgrid": False}
    layout["yaxis"] |= {**top, "title": {"text": "right answers", "font": {"size": FONT_SIZE}}}
    layout["margin"] |= {"l": 64, "r": 110}
    layout["hovermode"] = "x unified"
    layout["annotations"] = _apart(labels, gap=0.07 * top["range"][1])
    return {"data": traces, "layout": layout}


def _apart(labels: list[dict[str, Any]], gap: float) -> list[dict[str, Any]]:
    """The names beside their lines' last points, moved up if they would overlap."""
    place = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 10, "showarrow": False}
    lowest = float("-inf")
    for label in sorted(labels, key=lambda each: float(each["y"])):
        lowest = label["y"] = max(label["y"], lowest + gap)
        label |= place
    return labels


def _share_axis(scores: Sequence[Score]) -> dict[str, Any]:
    highest = max((max(score.interval[1], score.commonest_share) for score in scores), default=1.0)
    return {"range": [0, min(1.02, max(LEAST_RANGE, 1.08 * highest))], "tickformat": ".0%"}


def _guess(score: Score) -> str:
    text = score.commonest
    return escape_html(text if len(text) <= LONGEST_GUESS else text[: LONGEST_GUESS - 1] + "\N{HORIZONTAL ELLIPSIS}")


def _layout(height: int) -> dict[str, Any]:
    axis = {"gridcolor": "rgba(128,128,128,0.18)", "zeroline": False, "tickfont": {"size": FONT_SIZE}}
    return {
        "height": height,
        "margin": {"l": 16, "r": 24, "t": 12, "b": 48},
        "showlegend": False,  # the page explains the marks
        "uirevision": "keep",
        "xaxis": dict(axis),
        "yaxis": dict(axis),
        "template": "none",
    }
