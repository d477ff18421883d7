"""The report: one HTML file that tells a run, to be sent by e-mail and read without a studio and without a network.

Pure: what was measured in, a text out. It knows neither the database nor where files lie. Every text in it may come
from anybody and is shown as it was typed; no script but its own two runs, and nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cognate_core.config import TrainingConfig, as_text, field_extra, used_fields
from cognate_core.config.portable import file_name_only
from cognate_core.contracts import RunStatus, perplexity
from cognate_core.heldout import heldout_checks
from cognate_core.insight.charts import PLOTLY_SCRIPT
from cognate_core.insight.words import compact, duration, size

Row = Mapping[str, Any]
Cell = str | tuple[str, str]  # its HTML, and perhaps its class

UNKNOWN = "unknown"
SHOWN_SAMPLES, SHOWN_CHECKS = 6, 12  # of one problem and of one dataset: the first, the last, and some between
_HERE = Path(__file__).parent
_NOT_SHOWN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # HTML has no place for them


class RunFacts(Protocol):
    """What is told of the run itself, as the progress log has it."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> RunStatus: ...
    @property
    def error(self) -> str | None: ...
    @property
    def step(self) -> int | None: ...
    @property
    def total_steps(self) -> int | None: ...
    @property
    def config(self) -> TrainingConfig: ...
    @property
    def data_report(self) -> dict[str, Any] | None: ...
    @property
    def created_at(self) -> str: ...
    @property
    def worked_seconds(self) -> float | None: ...


def run_report(
    run: RunFacts,
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
        charts: each with title, help and figure (data and layout as JSON has it, for a light ground).
        findings: title, cause and advice of what was noticed in the curves.
        samples, evaluations: rows as the progress log has them, in order of writing.
        models: the fields of ModelArtifacts of each finished model.
        artifacts: rows of their files: model_id, kind, path, bytes, sha256.
        environment: what it ran on, in words, such as {"processor": ..., "torch": ...}.
        compared_with: a name and its settings, such as those of the preset; what differs from them is marked.
        made_at: when, as ISO 8601.
    """
    plotly, script = PLOTLY_SCRIPT.read_text(encoding="utf-8"), _own("report.js")
    policy = (
        f"default-src 'none'; script-src {_source(plotly)} {_source(script)}; img-src data:; base-uri 'none'; "
        # plotly writes style attributes. No text becomes markup, and no style can fetch anything.
        "form-action 'none'; style-src 'unsafe-inline'"
    )
    parts = [
        _summary(run, models, evaluations),
        _heldout(evaluations, run.config.fitted(run.data_report)),
        _findings(findings),
        _charts(charts),
        *([] if run.config.task == "arithmetic" else [_samples(samples)]),
        _data(run.data_report, run.config),
        _settings(run.config, *compared_with),
        _pairs("What it ran on", {**environment, **_of_models(models)}),
        _files(artifacts, models),
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(run.name)}, a run of Cognate Studio</title>",
            f"<style>{_own('report.css')}</style>\n</head>\n<body>\n<main>",
            *parts,
            "</main>",
            f"<footer>Made by Cognate Studio on {_text(_moment(made_at))}. Every figure was measured. This file "
            "fetches nothing from anywhere.</footer>",
            f'<script type="application/json" id="charts">{_data_of_charts(charts)}</script>',
            f"<script>{plotly}</script>\n<script>{script}</script>",
            "</body>\n</html>\n",
        ]
    )


def _summary(run: RunFacts, models: Sequence[Row], evaluations: Sequence[Row]) -> str:
    """Title, one paragraph in plain words, and the few figures that matter."""
    count = len(models)
    trained = (
        "No model was finished" if not count else f"{count} models were trained" if count > 1 else "A model was trained"
    )
    parameters = sorted({compact(model["parameter_count"]) for model in models})
    sentences = [
        trained
        + (f", with {' and '.join(parameters)} parameters" if parameters else "")
        + (
            f", in {duration(run.worked_seconds)} of work."
            if run.worked_seconds is not None
            else "; for how long is unknown."
        ),
        f"The run, of {_moment(run.created_at)}, is {run.status}, after {_steps(run)} steps.",
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
        if first_step < last_step:
            moved = "fell" if last < first else "rose" if last > first else "stayed"
            sentences.append(
                f"On {unseen} it never saw, how wrong it is (the held-out loss) {moved} from {first:.3f} at step "
                f"{first_step:,} to {last:.3f} at step {last_step:,}."
            )
        else:
            sentences.append(
                f"On {unseen} it never saw, how wrong it is (the held-out loss) was {last:.3f} at step {last_step:,}."
            )
        sentences.append(
            f"That is as unsure as choosing among {_unsure(last)} equally likely {tokens} (the perplexity); pure "
            f"guessing chooses among {run.config.fitted(run.data_report).choices:,}."
        )
        figures |= {
            "Held-out loss, at last": f"{last:.3f}",
            "As unsure as among (perplexity)": f"{_unsure(last)} {tokens}",
        }
        if bits is not None:
            figures["Bits per byte, at last"] = f"{bits:.3f}"
    for check in heldout_checks(evaluations)[-1:]:
        if check.means.accuracy is not None:
            share = f"{check.means.accuracy:.1%}"
            sentences.append(f"At step {check.step:,} it had {share} of the problems right that it never saw.")
            figures["Right, of unseen problems"] = share
    if run.data_report and run.data_report["fallback"]:
        sentences.append("None of the datasets asked for could be had: built-in synthetic problems stood in for them.")
    shown = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in figures.items())
    return (
        f'<p class="kicker">Report of a run</p>\n<h1 dir="auto">{_text(run.name)}</h1>\n'
        f'<p class="summary">{_text(" ".join(sentences))}</p>\n<dl class="figures">{shown}</dl>'
    )


def _heldout(evaluations: Sequence[Row], config: TrainingConfig) -> str:
    unseen, tokens = _words(config)
    lab = config.task == "arithmetic"
    heading = f"How wrong it is on unseen {unseen}"
    if not evaluations:
        return _section(heading, "<p>Unknown: it was not measured.</p>")
    columns = ["model", "dataset", "step", "loss (nats a token)", "as unsure as among (perplexity)"]
    answered = any(row["accuracy"] is not None for row in evaluations)
    columns += ["bits per byte"] * (not lab) + ["right answers"] * answered
    rows: list[list[Cell]] = []
    for (model, dataset), checks in _grouped(evaluations, "model_name", "dataset").items():
        for row in _some(checks, SHOWN_CHECKS):
            loss = row["loss"]
            figures: tuple[str, ...] = (
                ("no number", "unknown") if loss is None else (f"{loss:.3f}", f"{_unsure(loss)} {tokens}")
            )
            accuracy, bits = row["accuracy"], row["bits_per_byte"]
            if not lab:
                figures += (UNKNOWN if bits is None else f"{bits:.3f}",)
            if answered:
                figures += (UNKNOWN if accuracy is None else f"{accuracy:.1%}",)
            numbers = [(text, "number") for text in (f"{row['step']:,}", *figures)]
            rows.append([_text(model), _text(dataset), *numbers])
    left_out = len(evaluations) - len(rows)
    note = f" {left_out:,} checks between these are left out." if left_out else ""
    caption = (
        f"The held-out loss, on rows that were kept apart. Guessing evenly chooses among {config.choices:,}.{note}"
    )
    return _section(heading, _table(caption, columns, rows, numbers={2, 3, 4, 5, 6}))


def _words(config: TrainingConfig) -> tuple[str, str]:
    """What is held out, and what the model chooses among."""
    return ("problems", "answers") if config.task == "arithmetic" else ("text", "tokens")


def _findings(findings: Sequence[tuple[str, str, str]]) -> str:
    if not findings:
        return _section("What stands out in the curves", "<p>Nothing was found that asks for attention.</p>")
    cards = [
        f'<div class="finding"><h3>{_text(title)}</h3><p>{_text(cause)}</p><p>{_text(advice)}</p></div>'
        for title, cause, advice in findings
    ]
    return _section("What stands out in the curves", "\n".join(cards))


def _charts(charts: Sequence[Mapping[str, Any]]) -> str:
    if not charts:
        return _section("Curves", "<p>There is no curve: no step was recorded.</p>")
    figures = [
        f"<figure><h3>{_text(chart['title'])}</h3><figcaption>{_text(chart['help'])}</figcaption>"
        f'<div class="chart" role="img" aria-label="{_text(chart["title"])}, as a chart"></div></figure>'
        for chart in charts
    ]
    script_off = "<noscript><p>The curves need JavaScript. The table above has the held-out losses.</p></noscript>"
    return _section("Curves", script_off + "\n".join(figures))


def _samples(samples: Sequence[Row]) -> str:
    heading = "What it writes"
    if not samples:
        return _section(heading, "<p>No samples were written.</p>")
    parts = []
    for (model, dataset, prompt), rows in _grouped(samples, "model_name", "dataset", "prompt").items():
        shown = _some(rows, SHOWN_SAMPLES)
        parts.append(
            f"<h3>{_text(model)}: a problem of {_text(dataset)} that it never saw</h3>\n"
            f'<pre dir="auto">{_text(prompt)}</pre>'
        )
        if len(shown) < len(rows):
            parts.append(f'<p class="soft">{len(shown)} of {len(rows):,} samples are shown.</p>')
        for row in shown:
            parts.append(
                f'<p class="soft">What it wrote after step {row["step"]:,}</p>\n'
                f'<pre dir="auto">{_text(row["text"] or "(nothing)")}</pre>'
            )
        parts.append(
            "<details><summary>What the dataset has there</summary>"
            f'<pre dir="auto">{_text(rows[-1]["expected"])}</pre></details>'
        )
    return _section(heading, "\n".join(parts))


def _data(report: Row | None, config: TrainingConfig) -> str:
    heading = "What it learned from"
    if report is None:
        return _section(heading, "<p>Unknown: the run ended before its text was prepared.</p>")
    columns = ["dataset", "from", "training rows", "held-out rows", _words(config)[1], "skipped rows, and why"]
    rows: list[list[Cell]] = []
    for source in report["sources"]:
        skipped = "; ".join(f"{count:,}: {why}" for why, count in source["skipped"].items()) or "none"
        origin = source["origin"] + (f" ({source['reason']})" if source["reason"] else "")
        counts = [(f"{source[name]:,}", "number") for name in ("train_rows", "heldout_rows", "train_tokens")]
        what = origin if source["loaded"] else f"not loaded: {source['reason']}"
        rows.append([_text(source["name"]), _text(what), *counts, _text(skipped)])
    stood_in = "Built-in synthetic problems stood in for what was asked. " if report["fallback"] else ""
    pieces = "tokens" if config.task == "arithmetic" else "word pieces"
    caption = f"{stood_in}The tokenizer knows {report['vocabulary']:,} {pieces}. Fingerprint: {report['content_hash']}"
    return _section(heading, _table(caption, columns, rows, numbers={2, 3, 4}))


def _settings(config: TrainingConfig, standard_name: str, standard: TrainingConfig) -> str:
    rows: list[list[Cell]] = []
    changed = 0
    for name, info in used_fields(config.task).items():
        value, usual = _value(name, config), _value(name, standard)
        differs = value != usual and not field_extra(info)["personal"]
        changed += differs
        unit = field_extra(info).get("unit", "")
        shown = f"{value} {unit}".strip() if value != "none" else value
        marked = (f"{_text(shown)} (changed)", "changed") if differs else _text(shown)
        rows.append(
            [f'{_text(str(info.title))} <span class="soft">{name}</span>', marked, _text(usual if differs else "")]
        )
    caption = f"{changed} of {len(rows)} settings differ from {standard_name}; they are marked."
    return _section("Settings", _table(caption, ["setting", "value", f"in {standard_name}"], rows))


def _files(artifacts: Sequence[Row], models: Sequence[Row]) -> str:
    if not artifacts:
        return _section("Files", "<p>There are none.</p>")
    names = {model["model_id"]: model["model_name"] for model in models}
    rows: list[list[Cell]] = [
        [
            _text(file_name_only(row["path"])),
            _text(names.get(row["model_id"], UNKNOWN)),
            (size(row["bytes"]), "number"),
            (_text(row["sha256"]), "hash"),
        ]
        for row in artifacts
    ]
    caption = "Each file's fingerprint: whoever has the same file gets the same one."
    return _section("Files", _table(caption, ["file", "model", "size", "SHA-256"], rows, numbers={2}))


def _of_models(models: Sequence[Row]) -> dict[str, str]:
    """How each model was computed, by its own record."""
    found = {}
    for model in models:
        stats = model["training_stats"]
        threads, precision = stats.get("threads", UNKNOWN), stats.get("precision", UNKNOWN)
        found[f"{model['model_name']}: threads, number format, seed"] = (
            f"{threads}, {precision}, {stats.get('seed', UNKNOWN)}"
        )
    return found


def _pairs(heading: str, pairs: Mapping[str, str]) -> str:
    rows: list[list[Cell]] = [[_text(name), _text(value or UNKNOWN)] for name, value in pairs.items()]
    return _section(heading, _table("As it was recorded.", ["what", "value"], rows) if rows else "<p>Unknown.</p>")


# Small parts


def _section(heading: str, content: str) -> str:
    return f"<section>\n<h2>{_text(heading)}</h2>\n{content}\n</section>"


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], numbers: Iterable[int] = ()) -> str:
    """A table whose first column names its rows. Cells are HTML already."""
    aligned = set(numbers)
    head = "".join(
        f'<th scope="col"{_class("number" if place in aligned else "")}>{_text(column)}</th>'
        for place, column in enumerate(columns)
    )
    lines = []
    for first, *others in rows:
        cells = [cell if isinstance(cell, tuple) else (cell, "") for cell in others]
        name = first[0] if isinstance(first, tuple) else first
        lines.append(
            f'<tr><th scope="row">{name}</th>' + "".join(f"<td{_class(kind)}>{cell}</td>" for cell, kind in cells)
        )
    body = "</tr>\n".join(lines)
    return (
        f'<div class="scroll" role="region" aria-label="{_text(caption)}" tabindex="0"><table><caption>{_text(caption)}'
        f"</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>{body}</tr></tbody></table></div>"
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _text(value: object) -> str:
    """A text as it was typed, whatever it holds."""
    whole = str(value).encode(errors="replace").decode()  # half a letter cannot be written down
    return html.escape(_NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", whole))


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


def _steps(run: RunFacts) -> str:
    done = UNKNOWN if run.step is None else f"{run.step:,}"
    return f"{done} of {UNKNOWN if run.total_steps is None else f'{run.total_steps:,}'}"


def _unsure(loss: float) -> str:
    return f"{perplexity(loss):,.1f}"


def _moment(timestamp: str) -> str:
    return f"{timestamp[:16].replace('T', ' ')} UTC"


def _ends(evaluations: Sequence[Row]) -> list[tuple[int, float, float | None]]:
    """Step, mean loss and bits per byte of the first and the last check that gave numbers; nothing when none did."""
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
    """At most `count` of the rows, evenly, the first and the last among them."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (count - 1))] for place in range(count)]


def _data_of_charts(charts: Sequence[Mapping[str, Any]]) -> str:
    """The figures as JSON in which no text can end the script that holds it."""
    as_json = json.dumps([chart["figure"] for chart in charts], allow_nan=False)
    return as_json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _source(script: str) -> str:
    """How a Content-Security-Policy names this very script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
