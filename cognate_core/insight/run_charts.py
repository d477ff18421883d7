"""The charts of a run, and of a comparison of several runs, in the format of the live_charts component."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np

from cognate_core.contracts.heldout import heldout_checks
from cognate_core.contracts.metrics import MACHINE, PONDER_STEPS, STEP_CHARTS, StepChart
from cognate_core.errors import RunError
from cognate_core.insight.axis import Axis, By, Floats, axis_by
from cognate_core.insight.charts import (
    Line,
    Losses,
    RunAccuracy,
    View,
    accuracy_chart,
    comparison_chart,
    line_chart,
    loss_chart,
    ponder_chart,
    share_chart,
)
from cognate_core.insight.detectors import findings
from cognate_core.insight.drawing import Curve, smoothed
from cognate_core.insight.finding import Finding, LayerKind
from cognate_core.insight.grokking import published_steps
from cognate_core.insight.layer_charts import layer_chart, magnitudes_chart
from cognate_core.labels import escape_html
from cognate_core.storage.curves import Curves, read_curves
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run

Chart = dict[str, Any]

INSIDE = "Inside"
"""The group that is folded until a person opens it."""


@dataclass(frozen=True, slots=True)
class Look:
    """The chosen options of charts: what the horizontal axis shows, and the view."""

    by: By = "step"
    view: View = field(default_factory=View)


def run_charts(log: ProgressReader, run: Run, model_name: str, look: Look) -> tuple[list[Chart], list[Finding]]:
    """The charts of one model of a run, and the findings about it. The first chart is the main one and has no group."""
    curves = read_curves(log.path, run.id, model_name)
    evaluations = log.evaluations(run.id, model_name=model_name)
    axis, view = _axis(log, run, curves, look.by), look.view
    layers = log.layer_figures(run.id, model_name=model_name)
    found = run_findings(run, curves, evaluations, layers)
    of_losses = [each for each in found if each.kind not in get_args(LayerKind)]

    def small(chart: StepChart) -> Chart:
        figures = STEP_CHARTS[chart]
        lines = {label: curves.lines[figure] for figure, label in figures.items()}
        gaps = {label: curves.gaps[figure] for figure, label in figures.items()}
        return _chart(
            chart.title,
            chart.help,
            line_chart(lines, chart.unit, axis, view, run.colour, noisy=chart.noisy, gaps=gaps),
            group=chart.group,
        )

    loss = loss_chart(
        _losses(curves), evaluations, math.log(run.as_trained.choices), axis, view, run.colour, findings=of_losses
    )
    lab = run.config.task == "arithmetic"
    charts = [] if not lab else [_accuracy([(run, curves, evaluations)], {run.id: axis}, view)]
    answered = [row["dataset"] for row in evaluations if row["accuracy"] is not None]
    if answered and not lab:
        shares = {
            escape_html(dataset): _heldout_accuracy([row for row in evaluations if row["dataset"] == dataset])
            for dataset in dict.fromkeys(reversed(answered))  # the last one has the run's colour
        }
        charts.append(
            _chart(
                "Right answers to questions that it never saw",
                f"At each check it answers up to {run.config.check_questions:,} held-out questions of each dataset. "
                "Every answer is compared with the dataset's own.",
                share_chart(shares, "right answers", axis, view, run.colour),
                wide=True,
            )
        )
    charts += [
        _chart(
            "How wrong it is (loss)",
            f"Lower is better. Unseen: on {'problems' if lab else 'text'} set aside from training, the honest measure.",
            loss,
            wide=True,
            group="Learning" if charts else "",
        ),
        *_bits_per_byte(run, evaluations, axis, view),
    ]
    speed = line_chart(
        {"speed": _speed(curves)}, "problems/s" if lab else "tokens/s", axis, view, run.colour, noisy=True
    )
    for chart, figures in STEP_CHARTS.items():
        if chart.needs and (lab or not getattr(run.config, chart.needs)):
            continue
        if not chart.everywhere and not any(len(curves.lines[figure][0]) for figure in figures):
            continue
        charts.append(small(chart))
        if chart is PONDER_STEPS:
            charts.append(
                _chart(
                    "How deep it learns",
                    "Share of tokens by the ponder steps of their batch, between two checks. A single dark row: nearly "
                    "all tokens ask for the same number.",
                    ponder_chart(log.ponder_histograms(run.id, model_name=model_name), axis, view, run.colour),
                    group=chart.group,
                )
            )
    speed_help = f"{'Problems' if lab else 'Tokens'} learned from per second."
    machine = [each for each in charts if each["group"] == MACHINE]
    charts = [each for each in charts if each["group"] != MACHINE]
    return [*charts, *_inside(layers, axis), _chart("Speed", speed_help, speed, group=MACHINE), *machine], found


def run_findings(
    run: Run, curves: Curves, evaluations: Sequence[dict[str, Any]], layers: Sequence[dict[str, Any]]
) -> list[Finding]:
    """What the detectors find about one model of a run; `layers` as `ProgressReader.layer_figures`."""
    return findings(
        curves.lines["loss"],
        curves.mean_loss,
        curves.mean_counts,
        curves.missing_loss,
        curves.lines["grad_norm"],
        evaluations,
        run.as_trained,
        curves.lines["accuracy"],
        layers,
    )


def comparison_charts(log: ProgressReader, runs: Sequence[Run], look: Look) -> list[Chart]:
    """Overlaid charts of the first model of each run."""
    known = [(run, read_curves(log.path, run.id, run.model_names[0])) for run in runs]
    view = look.view
    ends = [float(curves.elapsed_seconds[1][-1]) for _, curves in known if len(curves.elapsed_seconds[1])]
    longest = max(filter(math.isfinite, ends), default=0.0)
    axes = {run.id: _axis(log, run, curves, look.by, longest) for run, curves in known}
    twins = are_twins(runs)

    def lines(curve: str, *, noisy: bool = True) -> list[Line]:
        return [
            Line(
                run.name,
                run.colour,
                axes[run.id],
                _calmed(curves.lines[curve], view.smoothing if noisy else 0.0),
                curves.gaps[curve],
            )
            for run, curves in known
        ]

    losses = [
        Line(
            run.name,
            run.colour,
            axes[run.id],
            _losses(curves).smoothed(view.smoothing) if view.smoothing else curves.lines["loss"],
            curves.missing_loss,
        )
        for run, curves in known
    ]
    lab = [run for run in runs if run.config.task == "arithmetic"]
    checks = {run.id: log.evaluations(run.id, model_name=run.model_names[0]) for run in runs}
    means = {run_id: [(each.step, each.means) for each in heldout_checks(rows)] for run_id, rows in checks.items()}

    def unseen(figure: str) -> list[Line]:
        points = {run_id: [(step, getattr(mean, figure)) for step, mean in each] for run_id, each in means.items()}
        return [Line(run.name, run.colour, axes[run.id], *_known(points[run.id])) for run, _ in known]

    plain = replace(view, log_scale=False)
    # Each run has a line in each chart: a click identifies the run by the line's number.
    charts = [_accuracy([(*each, checks[each[0].id]) for each in known], axes, view)] if lab else []
    charts += [
        _chart(
            f"How wrong it is on unseen {'problems' if lab else 'text'} (held-out loss)",
            "Lower is better: this is the honest measure. For several datasets it is their mean, weighted by each "
            "one's share of the training text.",
            comparison_chart(unseen("loss"), "loss (nats per token)", view, shade=twins, wide=True, marked=True),
            wide=True,
        ),
        _chart(
            "How wrong it is while learning (training loss)",
            "Lower is better. Smoothed as chosen above.",
            comparison_chart(losses, "loss (nats per token)", view, shade=twins, wide=True, marked=True),
            wide=True,
        ),
        _chart(
            "Gradient size, after clipping and GrokFast",
            "What the optimizer received.",
            comparison_chart(lines("filtered_grad_norm"), "norm", plain),
        ),
    ]
    bits = [replace(line, missing=np.empty(0)) for line in unseen("bits_per_byte")]  # an unknown value is not an error
    if any(len(line.curve[0]) for line in bits):
        charts.insert(
            -1,
            _chart(
                "Bits per byte, on unseen text",
                "Lower is better. You can use it to compare models with different vocabularies.",
                comparison_chart(bits, "bits per byte", plain),
            ),
        )
    if len(lab) < len(runs):  # lab runs have a constant rate
        charts.insert(
            -1,
            _chart(
                "Learning rate",
                "How far each step moves the weights.",
                comparison_chart(lines("learning_rate", noisy=False), "", plain),
            ),
        )
    if sum(run.config.act_enabled for run in runs if run not in lab) > 1:
        charts.append(
            _chart(
                "How long it thinks (ponder steps)",
                "How often the middle layers process a token, on average.",
                comparison_chart(lines("ponder_steps"), "steps per token", plain),
            )
        )
    return charts


def _accuracy(
    runs: Sequence[tuple[Run, Curves, Sequence[dict[str, Any]]]], axes: Mapping[str, Axis], view: View
) -> Chart:
    """Right answers of Grokking lab runs, with published figures for the same problem."""
    published = [published_steps(run.config) for run, _, _ in runs]
    marks = published[0] if all(each == published[0] for each in published) else {}
    drawn = [
        RunAccuracy(run.name, run.colour, axes[run.id], _heldout_accuracy(evaluations), curves.lines["accuracy"])
        for run, curves, evaluations in runs
    ]
    return _chart(
        "Right answers (thick: unseen problems, faint: those it learns from)",
        "From 95 % on, it has understood.",
        accuracy_chart(drawn, marks, view),
        wide=True,
    )


def _heldout_accuracy(evaluations: Sequence[dict[str, Any]]) -> Curve:
    rows = [row for row in evaluations if row["accuracy"] is not None]
    return np.array([row["step"] for row in rows], dtype=float), np.array(
        [row["accuracy"] for row in rows], dtype=float
    )


def are_twins(runs: Sequence[Run]) -> bool:
    """Whether these are exactly a run and its GrokFast twin."""
    return len(runs) == 2 and any(
        run.relation == "twin" and run.parent_run_id == other.id for run, other in (tuple(runs), tuple(runs)[::-1])
    )


def _chart(title: str, explanation: str, figure: dict[str, Any], *, wide: bool = False, group: str = "") -> Chart:
    along = figure["layout"]["xaxis"]["title"]["text"].partition(" (of ")[0]
    about = {"title": title, "help": explanation, "alt": f"{title} by {along}"}
    return {**about, "wide": wide, "group": group, "figure": figure}


def _losses(curves: Curves) -> Losses:
    return Losses(curves.lines["loss"], curves.mean_loss, curves.mean_counts, curves.missing_loss)


def _axis(log: ProgressReader, run: Run, curves: Curves, by: By, longest: float = 0.0) -> Axis:
    before = _tokens_before(log, run) if by == "tokens" else 0.0
    follows = run.config.task == "text"  # the lab has a logarithmic axis with published steps on it
    steps, done = run.config.max_steps, curves.elapsed_seconds[0]
    if follows and run.status.is_terminal and len(done):
        steps = int(done[-1])  # no more will come
    return axis_by(by, steps, curves.elapsed_seconds, curves.tokens, before, longest, follows=follows)


def _tokens_before(log: ProgressReader, run: Run) -> float:
    """Tokens that a branch's ancestors had learned from before it continues; deleted ancestors are not counted."""
    tokens = 0.0
    while run.relation == "branch" and run.parent_run_id is not None and run.branch_step is not None:
        try:
            parent = log.run(run.parent_run_id)
        except RunError:
            return tokens
        steps, counts = read_curves(log.path, parent.id, parent.model_names[0]).tokens
        if len(steps):
            tokens += float(np.interp(run.branch_step, np.r_[steps[0] - 1, steps], np.r_[0.0, counts]))
        run = parent
    return tokens


def _calmed(curve: Curve, smoothing: float) -> Curve:
    return (curve[0], smoothed(curve[1], np.ones(len(curve[1])), smoothing)) if smoothing else curve


def _speed(curves: Curves) -> Curve:
    """Tokens per second between points several steps apart: the time of a single step says little."""
    steps, tokens = curves.tokens
    seconds = curves.elapsed_seconds[1]
    apart = max(1, len(steps) // 200)
    steps, tokens, seconds = steps[::apart], tokens[::apart], seconds[::apart]
    took = np.diff(seconds)
    known = took > 0
    return steps[1:][known], np.diff(tokens)[known] / took[known]


def _known(points: Sequence[tuple[int, float | None]]) -> tuple[Curve, Floats]:
    """(steps with a value and their values, steps without one)."""
    steps, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    known = np.isfinite(values)
    return (steps[known], values[known]), steps[~known]


def _inside(layers: Sequence[dict[str, Any]], axis: Axis) -> list[Chart]:
    """Heat maps of what was measured inside the model; none if nothing was."""
    if not layers:
        return []
    charts = [
        _chart(
            "How far each layer moves (update size)",
            "How far a step moved the weights, relative to their size. Good: 0.001 to 0.03 in each row, less at the "
            "end. Far less: the layer hardly learns. Far more: it jumps.",
            layer_chart(layers, "updates", axis),
        ),
        _chart(
            "How hard each layer is pulled (gradient norm)",
            "Before clipping. Good: each row changes slowly. A row that turns dark stops learning; one that suddenly "
            "turns bright explodes.",
            layer_chart(layers, "gradients", axis),
        ),
        _chart(
            "How large the weights are",
            "Share of all weights by size, whatever their sign. Good: one bright band that moves slowly. If it keeps "
            "climbing, use more weight decay.",
            magnitudes_chart(layers, axis),
        ),
    ]
    return [chart | {"group": INSIDE} for chart in charts]


def _bits_per_byte(run: Run, evaluations: Sequence[dict[str, Any]], axis: Axis, view: View) -> list[Chart]:
    """A chart with a line for each dataset; none if it was not measured."""
    points: dict[str, list[tuple[int, float | None]]] = {}
    for row in evaluations:
        points.setdefault(f"unseen {escape_html(row['dataset'])}", []).append((row["step"], row["bits_per_byte"]))
    lines = {dataset: _known(each)[0] for dataset, each in points.items()}
    if not any(len(steps) for steps, _ in lines.values()):
        return []
    explanation = "Lower is better. It does not depend on the vocabulary, so you can compare it with other models."
    figure = line_chart(lines, "bits per byte", axis, view, run.colour)
    return [_chart("Bits per byte, on unseen text", explanation, figure, group="Learning")]
