"""A learning rate search: the curve of the loss over the rate, and the suggested rate. Pure functions.

The range test of arXiv 1506.01186: the rate grows exponentially while the model trains. At low rates nothing happens;
then the loss falls faster and faster; then it jumps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cognate_core.insight.charts import View
from cognate_core.insight.drawing import FONT_SIZE, Figure
from cognate_core.insight.palette import faint, neutral, run_colour, run_word_colour

Floats = npt.NDArray[np.float64]

BELOW_LOWEST = 10.0  # the suggestion is the rate of the lowest loss divided by this
CLEAR = 2.0  # a fall by fewer standard deviations of the single losses does not count
CHART_HEIGHT = 240


def smooth_losses(losses: Sequence[float]) -> Floats:
    """The mean over about a tenth of the losses around each: centred, to avoid a shift to the right."""
    values = np.asarray(losses, dtype=np.float64)
    half = len(values) // 20
    window = np.ones(2 * half + 1)
    return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")


def suggested_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """A tenth of the rate at which the smoothed loss was lowest (the "minimum" rule of fastai's lr_find); None if the
    loss did not clearly fall.

    Why not the steepest point: it depends on differences of neighbouring losses, and one odd batch moves it by a factor
    of ten. The minimum is a mean over many batches; a tenth of its rate leaves the margin that a whole run needs.
    """
    if len(losses) < 2:
        return None
    curve = smooth_losses(losses)
    lowest = int(curve.argmin())
    until = slice(0, lowest + 1)
    noise = float(np.std(np.asarray(losses)[until] - curve[until]))
    fall = float(curve[0] - curve[lowest])
    return rates[lowest] / BELOW_LOWEST if fall > max(CLEAR * noise, 1e-3 * abs(float(curve[0]))) else None


def rate_chart(rates: Sequence[float], losses: Sequence[float], suggestion: float | None, view: View) -> Figure:
    """The loss after a step at each rate (one or more): faint single losses, the smoothed curve, and the suggestion as
    a line."""
    hue, words = run_colour(0, dark=view.dark), run_word_colour(0, dark=view.dark)
    text = neutral(0, dark=view.dark)
    curve = smooth_losses(losses)
    x = list(rates)
    marked = [] if suggestion is None else [suggestion]
    low, high = float(curve.min()), float(curve[0])
    around = 0.15 * (high - low) or 0.1  # the jump at the end would flatten the rest
    grid = {"gridcolor": faint("#808080", 0.3), "zeroline": False, "color": text}
    return {
        "data": [
            {
                "type": "scatter",
                "x": x,
                "y": list(losses),
                "mode": "markers",
                "name": "one step",
                "marker": {"color": faint(hue, 0.35), "size": 5},
                "hovertemplate": "%{y:.3f} after a step at rate %{x:.2g}<extra></extra>",
            },
            {
                "type": "scatter",
                "x": x,
                "y": curve.tolist(),
                "mode": "lines",
                "name": "smoothed",
                "line": {"color": hue, "width": 2},
                "hoverinfo": "skip",
            },
        ],
        "layout": {
            "height": CHART_HEIGHT,
            "margin": {"l": 48, "r": 12, "t": 26, "b": 44},
            "showlegend": False,
            "font": {"size": FONT_SIZE, "color": text},
            "xaxis": {"type": "log", "title": {"text": "learning rate"}, "tickformat": ".0e", "dtick": 1, **grid},
            "yaxis": {"title": {"text": "loss"}, "range": [low - around, high + around], "tickformat": ".3~g", **grid},
            "shapes": [
                {"type": "line", "x0": rate, "x1": rate, "yref": "paper", "y0": 0, "y1": 1, "line": _dashed(text)}
                for rate in marked
            ],
            "annotations": [
                {
                    "x": float(np.log10(rate)),  # Plotly places text on a logarithmic axis by the logarithm
                    "yref": "paper",
                    "y": 1,
                    "yanchor": "bottom",
                    "text": f"suggestion {rate:.1e}",
                    "showarrow": False,
                    "font": {"color": words, "size": FONT_SIZE},
                }
                for rate in marked
            ],
        },
    }


def _dashed(colour: str) -> dict[str, object]:
    return {"color": colour, "width": 1.5, "dash": "dash"}
