"""The report: one HTML file about a run, to send by e-mail and read without a studio or a network.

`run_report` is pure: measurements in, text out; report.html is its template. Texts may come from anybody and are shown
as typed. Only the report's own two scripts run, and nothing is fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cognate_core.config import TrainingConfig, as_text, field_extra, used_fields
from cognate_core.config.portable import file_name_only
from cognate_core.config.presets import nearest_preset
from cognate_core.contracts import perplexity, utc_now
from cognate_core.contracts.heldout import heldout_checks
from cognate_core.insight.charts import PLOTLY_SCRIPT
from cognate_core.insight.run_charts import Look, run_charts
from cognate_core.insight.words import compact, duration, size
from cognate_core.labels import policy_source
from cognate_core.storage.progress_reader import ProgressReader
from cognate_core.storage.rows import Run

Row = Mapping[str, Any]

UNKNOWN = "unknown"
SHOWN_SAMPLES, SHOWN_CHECKS = 6, 12  # per problem, per dataset: the first, the last, and some between
_HERE = Path(__file__).parent
_NOT_SHOWN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # not allowed in HTML


def report_of_run(log: ProgressReader, run: Run, model_name: str) -> str:
    """The report of one model of a run, as one HTML page, from its records."""
    charts, found = run_charts(log, run, model_name, Look())
    models = [model for model in log.models(run.id) if model.trained_as == model_name]
    measured = models[0].details["training_stats"] if models else {}
    nearest = nearest_preset(run.config)
    return run_report(
        run,
        charts=charts,
        findings=[(finding.title, finding.cause, finding.advice) for finding in found],
        samples=[row for row in log.samples(run.id) if row["model_name"] == model_name],
        evaluations=log.evaluations(run.id, model_name=model_name),
        models=[model.details for model in models],
        artifacts=[row for model in models for row in log.artifacts(model.id)],
        environment={name: str(measured[name]) for name in ("precision", "threads") if name in measured},
        compared_with=(f"the preset {nearest.title}", nearest.config),
        made_at=utc_now(),
    )


def run_report(
    run: Run,
    *,
    charts: Sequence[Mapping[str, Any]],
    findings: Sequence[tuple[str, str, str]],
    samples: Sequence[Row],
    evaluations: Sequence[Row],
    models: Sequence[Row],
    artifacts: Sequence[Row],
    environment: Mapping[str, str],
    compared_with: tuple[str, TrainingConfig],
    made_at: str,
) -> str:
    """The report as one HTML page.

    Args:
        charts: each with title, help and figure (data and layout as JSON, for a light background).
        findings: title, cause and advice of each finding in the curves.
        samples, evaluations: rows of the progress log, in order of writing.
        models: the fields of ModelArtifacts of each finished model.
        artifacts: rows of their files: model_id, kind, path, bytes, sha256.
        environment: what it ran on, in words, such as {"processor": ..., "torch": ...}.
        compared_with: a name and its settings, such as a preset's; settings that differ are marked.
        made_at: when, as ISO 8601.
    """
    plotly, script = PLOTLY_SCRIPT.read_text(encoding="utf-8"), _own("report.js")
    sentences, figures = _summary(run, models, evaluations)
    settings = _settings(run.config, compared_with[1])
    return _template().render(
        run=run,
        # Plotly writes style attributes. No text becomes markup, and no style can fetch anything.
        policy=f"default-src 'none'; script-src {policy_source(plotly)} {policy_source(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'",
        style=_own("report.css"),
        sentences=sentences,
        figures=figures,
        unseen=_words(run.config)[0],
        checks=_checks(evaluations, run.config.fitted(run.data_report)),
        findings=findings,
        charts=charts,
        problems=_problems(samples),
        data=_data(run.data_report, run.config),
        settings=settings,
        changed=sum(setting["differs"] for setting in settings),
        standard=compared_with[0],
        environment={name: value or UNKNOWN for name, value in {**environment, **_of_models(models)}.items()},
        files=_files(artifacts, models),
        made_at=_moment(made_at),
        chart_figures=_json_of(charts),
        plotly=plotly,
        script=script,
    )


@cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(_HERE)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, finalize=_printable, trim_blocks=True
    )
    return environment.get_template("report.html")


def _printable(value: object) -> object:
    """A text as HTML can hold it: without control characters and lone surrogates."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", value.encode(errors="replace").decode())


def _summary(run: Run, models: Sequence[Row], evaluations: Sequence[Row]) -> tuple[list[str], dict[str, str]]:
    """The run in plain sentences, and its most important figures."""
    count = len(models)
    trained = (
        "No model was finished" if not count else f"{count} models were trained" if count > 1 else "A model was trained"
    )
    parameters = sorted({compact(model["parameter_count"]) for model in models})
    known_time = run.worked_seconds is not None
    sentences = [
        trained
        + (f", with {' and '.join(parameters)} parameters" if parameters else "")
        + (f", in {duration(run.worked_seconds)} of work." if known_time else "; the time is unknown."),
        f"The run of {_moment(run.created_at)} is {run.status} after {_steps(run)} steps.",
    ]
    if run.error:
        sentences.append(f"What went wrong: {run.error}")
    figures = {"Steps": _steps(run), "Time": duration(run.worked_seconds)}
    unseen, tokens = _words(run.config)
    ends = _ends(evaluations)
    if not ends:
        sentences.append(f"How wrong it is on unseen {unseen} was not measured.")
        figures["Held-out loss"] = UNKNOWN
    else:
        (first_step, first, _), (last_step, last, bits) = ends
        moved = "fell" if last < first else "rose" if last > first else "stayed"
        went = f"{moved} from {first:.3f} at step {first_step:,} to" if first_step < last_step else "was"
        sentences += [
            f"On {unseen} it never saw, how wrong it is (the held-out loss) {went} {last:.3f} at step {last_step:,}.",
            f"That is as unsure as a choice among {_unsure(last)} equally likely {tokens} (the perplexity); pure "
            f"guessing chooses among {run.config.fitted(run.data_report).choices:,}.",
        ]
        figures |= {
            "Last held-out loss": f"{last:.3f}",
            "As unsure as among (perplexity)": f"{_unsure(last)} {tokens}",
        }
        if bits is not None:
            figures["Last bits per byte"] = f"{bits:.3f}"
    for check in heldout_checks(evaluations)[-1:]:
        if check.means.accuracy is not None:
            share = f"{check.means.accuracy:.1%}"
            sentences.append(f"At step {check.step:,} it answered {share} of the problems it never saw right.")
            figures["Unseen problems right"] = share
    if run.data_report and run.data_report["fallback"]:
        sentences.append("None of the chosen datasets was available: built-in synthetic problems replaced them.")
    return sentences, figures


def _checks(evaluations: Sequence[Row], config: TrainingConfig) -> Row:
    """The table of held-out evaluations: its caption, columns and rows."""
    tokens, lab = _words(config)[1], config.task == "arithmetic"
    columns = ["model", "dataset", "step", "loss (nats per token)", "as unsure as among (perplexity)"]
    answered = any(row["accuracy"] is not None for row in evaluations)
    columns += ["bits per byte"] * (not lab) + ["right answers"] * answered
    rows = []
    for (model, dataset), checks in _grouped(evaluations, "model_name", "dataset").items():
        for row in _some(checks, SHOWN_CHECKS):
            loss, bits, accuracy = row["loss"], row["bits_per_byte"], row["accuracy"]
            cells = [model, dataset, f"{row['step']:,}"]
            cells += ["no number", UNKNOWN] if loss is None else [f"{loss:.3f}", f"{_unsure(loss)} {tokens}"]
            cells += [UNKNOWN if bits is None else f"{bits:.3f}"] * (not lab)
            cells += [UNKNOWN if accuracy is None else f"{accuracy:.1%}"] * answered
            rows.append(cells)
    caption = f"The loss on held-out rows. Pure guessing chooses among {config.choices:,}."
    if left_out := len(evaluations) - len(rows):
        caption += f" {left_out:,} checks between these are left out."
    return {"caption": caption, "columns": columns, "rows": rows}


def _words(config: TrainingConfig) -> tuple[str, str]:
    """What is held out, and what the model chooses among."""
    return ("problems", "answers") if config.task == "arithmetic" else ("text", "tokens")


def _problems(samples: Sequence[Row]) -> list[Row]:
    """The samples, grouped by problem."""
    return [
        {
            "model": model,
            "dataset": dataset,
            "prompt": prompt,
            "shown": _some(rows, SHOWN_SAMPLES),
            "count": len(rows),
            "expected": rows[-1]["expected"],
        }
        for (model, dataset, prompt), rows in _grouped(samples, "model_name", "dataset", "prompt").items()
    ]


def _data(report: Row | None, config: TrainingConfig) -> Row | None:
    """The table of the training data; None if they are unknown."""
    if report is None:
        return None
    rows = []
    for source in report["sources"]:
        skipped = "; ".join(f"{count:,}: {why}" for why, count in source["skipped"].items()) or "none"
        origin = source["origin"] + (f" ({source['reason']})" if source["reason"] else "")
        counts = [f"{source[name]:,}" for name in ("train_rows", "heldout_rows", "train_tokens")]
        what = origin if source["loaded"] else f"not loaded: {source['reason']}"
        rows.append([source["name"], what, *counts, skipped])
    stood_in = "Built-in synthetic problems replaced the chosen datasets. " if report["fallback"] else ""
    pieces = "tokens" if config.task == "arithmetic" else "word pieces"
    return {
        "caption": f"{stood_in}The tokenizer knows {report['vocabulary']:,} {pieces}. Fingerprint: "
        f"{report['content_hash']}",
        "columns": ["dataset", "from", "training rows", "held-out rows", _words(config)[1], "skipped rows, and why"],
        "rows": rows,
    }


def _settings(config: TrainingConfig, standard: TrainingConfig) -> list[Row]:
    """Each setting that the task uses, with the standard value if it differs."""
    rows: list[Row] = []
    for name, info in used_fields(config.task).items():
        extra = field_extra(info)
        value, usual = _value(name, config), _value(name, standard)
        unit = extra.get("unit", "") if value != "none" else ""
        rows.append(
            {
                "title": info.title,
                "name": name,
                "value": f"{value} {unit}".strip(),
                "usual": usual,
                "differs": value != usual and not extra["personal"],
            }
        )
    return rows


def _files(artifacts: Sequence[Row], models: Sequence[Row]) -> list[list[str]]:
    names = {model["model_id"]: model["model_name"] for model in models}
    return [
        [file_name_only(row["path"]), names.get(row["model_id"], UNKNOWN), size(row["bytes"]), row["sha256"]]
        for row in artifacts
    ]


def _of_models(models: Sequence[Row]) -> dict[str, str]:
    """How each model was computed, from its own record."""
    return {
        f"{model['model_name']}: threads, number format, seed": ", ".join(
            str(model["training_stats"].get(name, UNKNOWN)) for name in ("threads", "precision", "seed")
        )
        for model in models
    }


def _value(name: str, config: TrainingConfig) -> str:
    value = getattr(config, name)
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, dict):
        return as_text(value)
    if field_extra(TrainingConfig.model_fields[name])["personal"]:
        return "own cluster" if name == "ray_address" else file_name_only(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _steps(run: Run) -> str:
    done = UNKNOWN if run.step is None else f"{run.step:,}"
    return f"{done} of {UNKNOWN if run.total_steps is None else f'{run.total_steps:,}'}"


def _unsure(loss: float) -> str:
    return f"{perplexity(loss):,.1f}"


def _moment(timestamp: str) -> str:
    return f"{timestamp[:16].replace('T', ' ')} UTC"


def _ends(evaluations: Sequence[Row]) -> list[tuple[int, float, float | None]]:
    """Step, mean loss and bits per byte of the first and last check with numbers; empty if there is none."""
    known = sorted(
        (check.step, check.means.loss, check.means.bits_per_byte)
        for check in heldout_checks(evaluations)
        if check.means.loss is not None
    )
    return [known[0], known[-1]] if known else []


def _grouped(rows: Sequence[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def _some(rows: Sequence[Row], count: int) -> list[Row]:
    """At most `count` of the rows, evenly spaced, including the first and the last."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (count - 1))] for place in range(count)]


def _json_of(charts: Sequence[Mapping[str, Any]]) -> str:
    """The figures as JSON, escaped so that no text can end the surrounding script."""
    as_json = json.dumps([chart["figure"] for chart in charts], allow_nan=False)
    return as_json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
