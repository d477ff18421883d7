"""The report: whole in itself, the same figures as were measured, and nobody's text ever becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig, used_fields
from cognate_core.contracts import ARITHMETIC, DataReport, RunStatus, SourceReport, perplexity
from cognate_core.insight.axis import Axis
from cognate_core.insight.charts import PLOTLY_SCRIPT, Losses, View, line_chart, loss_chart
from cognate_core.sharing.report import SHOWN_CHECKS, SHOWN_SAMPLES, run_report
from tests.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = (
    "</script><script>window.ran = 1</script>",
    '"><img src=x onerror="window.ran = 1">',
    "<!--<script>",
    "' onmouseover='window.ran = 1",
    "&lt;b&gt; & \0 \ud800 ]]>",
    "javascript:window.ran=1",
)
ALLOWED = {
    "html": {"lang"}, "head": set(), "body": set(), "title": set(), "style": set(), "main": set(), "section": set(),
    "meta": {"charset", "http-equiv", "content", "name"}, "script": {"type", "id"}, "noscript": set(),
    "h1": {"dir"}, "h2": set(), "h3": set(), "p": {"class"}, "dl": {"class"}, "dt": set(), "dd": set(),
    "div": {"class", "role", "aria-label", "tabindex"}, "table": set(), "caption": set(), "thead": set(),
    "tbody": set(), "tr": set(), "th": {"scope", "class"}, "td": {"class"}, "span": {"class"}, "pre": {"dir"},
    "figure": set(), "figcaption": set(), "details": set(), "summary": set(), "footer": set(),
}  # fmt: skip


@dataclass
class Facts:
    """A run as the report wants it."""

    name: str = "My first run"
    status: RunStatus = RunStatus.COMPLETED
    error: str | None = None
    step: int | None = 300
    total_steps: int | None = 300
    config: TrainingConfig = field(default_factory=lambda: TrainingConfig(max_steps=300, learning_rate=2e-3))
    data_report: dict[str, Any] | None = None
    created_at: str = "2026-11-23T02:00:00.000+00:00"
    worked_seconds: float | None = 151.0


UNMEASURED = {"bytes": None, "bits_per_byte": None, "accuracy": None, "weight": None}


def evaluations(losses: list[float | None], model: str = "m", dataset: str = "GSM8K") -> list[dict[str, Any]]:
    return [
        {"model_name": model, "step": step, "dataset": dataset, "loss": loss, "tokens": 9, **UNMEASURED}
        for step, loss in enumerate(losses)
    ]


def everything(text: str = "") -> dict[str, Any]:
    """All that a report can be given, with `text` wherever a person's text may stand."""
    steps = np.arange(1.0, 301)
    losses = 4.6 * np.exp(-steps / 90) + 3.7 + 0.15 * np.sin(steps)
    rows = evaluations([8.31, 5.2, 4.4, 4.0, 3.9, 3.85, 3.81], f"model{text}", f"GSM8K{text}")
    for row in rows:
        row["step"] *= 50
    measured = Losses((steps, losses), (steps, losses), np.ones(300), np.array([]))
    loss = loss_chart(measured, rows, 8.3, Axis(end=300), View())
    rate = line_chart({f"rate{text}": (steps, np.sin(steps / 100))}, "rate", Axis(end=300), View())
    source = SourceReport(
        f"GSM8K{text}", "openai/gsm8k", f"local folder{text}", True, text, 5000, 500, {f"no answer{text}": 3}, 9, 8
    )
    return {
        "run": Facts(
            name=f"My first run{text}",
            error=text or None,
            data_report=asdict(DataReport([source], False, "abc", 4096, False)),
        ),
        "charts": [
            {"title": f"How wrong it is (loss){text}", "help": f"Lower is better.{text}", "figure": loss},
            {"title": "Learning rate", "help": "How far each step moves the weights.", "figure": rate},
        ],
        "findings": [(f"It stopped getting better{text}", f"The rate is low.{text}", f"Train less long.{text}")],
        "samples": [
            {
                "model_name": f"model{text}",
                "step": step,
                "dataset": f"GSM8K{text}",
                "prompt": f"Problem: Maria has 12 apples.{text}",
                "text": f"She has {step} apples.{text}",
                "expected": f"7{text}",
            }
            for step in (50, 100, 300)
        ],
        "evaluations": rows,
        "models": [
            {
                "model_id": "a" * 12,
                "model_name": f"model{text}",
                "parameter_count": 2_482_560,
                "training_stats": {"threads": 1, "precision": f"fp32{text}", "seed": 42},
            }
        ],
        "artifacts": [
            {
                "model_id": "a" * 12,
                "kind": "weights",
                "path": f"runs/x/model/model.safetensors{text}",
                "bytes": 9_931_234,
                "sha256": "ab" * 32,
            }
        ],
        "environment": {f"processor{text}": f"Some processor{text}", "torch": "2.13", "system": ""},
        "compared_with": (f"the defaults{text}", TrainingConfig()),
        "made_at": "2026-11-23T03:00:00.000+00:00",
    }


def report(**changes: Any) -> str:
    given = {**everything(), **changes}
    return run_report(given.pop("run"), **given)


class Reader(HTMLParser):
    """What a browser would make of a page: its tags with their attributes, its texts and its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self.styles = "", [""], [""]
        self._into = "text"
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._into = tag if tag in ("script", "style") else "text"
        getattr(self, f"{self._into}s", []).append("")

    def handle_endtag(self, tag: str) -> None:
        self._into = "text"

    def handle_data(self, data: str) -> None:
        if self._into == "text":
            self.text += data
        else:
            getattr(self, f"{self._into}s")[-1] += data

    def figures(self) -> Any:
        return json.loads(self.scripts[1])


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_markup(text: str) -> None:
    page, plain = report(**everything(text)), Reader(report())
    read = Reader(page)
    for tag, attributes in read.tags:
        assert tag in ALLOWED, tag
        assert set(attributes) <= ALLOWED[tag], (tag, attributes)
    shown = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    assert read.text.count(shown) >= 20
    assert len(read.scripts) == len(plain.scripts)
    assert read.scripts[2:] == plain.scripts[2:]
    assert [tag for tag, _ in read.tags].count("section") == 8


@settings(max_examples=20)
@given(st.text(st.characters(codec="utf-8")))
def test_the_figures_come_through_and_nothing_ends_their_script(text: str) -> None:
    charts = [{"title": text, "help": text, "figure": {"data": [{"name": text}], "layout": {"a": [1, 2.5, None]}}}]
    assert Reader(report(charts=charts)).figures() == [chart["figure"] for chart in charts]


def test_the_policy_names_exactly_the_scripts_that_are_there() -> None:
    read = Reader(report())
    (policy,) = [at["content"] for tag, at in read.tags if at.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    assert rules["default-src"] == "'none'"
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in read.scripts[2:]]
    assert rules["script-src"].split() == [f"'sha256-{each}'" for each in hashes]
    assert len(hashes) == 2
    assert read.scripts[2] == PLOTLY_SCRIPT.read_text(encoding="utf-8")
    assert rules["img-src"] == "data:"
    assert {"connect-src", "font-src", "frame-src"}.isdisjoint(rules), "the default holds"


def test_nothing_is_fetched() -> None:
    read = Reader(report())
    assert not [tag for tag, at in read.tags if {"src", "href", "action", "data", "srcset"} & set(at)]
    assert "url(" not in read.styles[1]
    assert "@import" not in read.styles[1]


def test_every_setting_is_there_and_those_that_differ_are_marked() -> None:
    text = " ".join(Reader(report()).text.split())
    used = used_fields("text")
    for name, info in used.items():
        assert f"{info.title} {name}" in text
    assert "arithmetic_modulus" not in text, "it means nothing to a language model"
    assert f"2 of {len(used)} settings differ" in text
    assert "300 (changed)2,000" in text
    assert "0.002 (changed)0.0002" in text


def test_a_run_of_the_grokking_lab_is_told_in_its_own_words() -> None:
    rows = [{**row, "dataset": ARITHMETIC, "accuracy": row["loss"] / 10} for row in evaluations([4.6, 9.6])]
    config = TrainingConfig(task="arithmetic", max_steps=300)
    data = asdict(DataReport([SourceReport(ARITHMETIC, "x * y", "here", True, "", 9, 9)], False, "abc", 99, False))
    facts = Facts(config=config, data_report=data)
    text = " ".join(Reader(report(run=facts, evaluations=rows, samples=[], compared_with=("it", config))).text.split())
    assert "At step 1 it answered 96.0% of the problems it never saw right" in text
    assert "pure guessing chooses among 99." in text and "Pure guessing chooses among 99." in text
    assert "right answers" in text and "46.0%" in text
    assert "arithmetic_modulus" in text and "optimizer" in text
    assert "What it writes" not in text
    for word in ("32,000", "word pieces", "unseen text", "text it never", "vocab_size", "act_enabled", "sample_tokens"):
        assert word not in text, f"it has nothing to do with {word}"


def test_folders_of_the_computer_are_not_told() -> None:
    config = TrainingConfig(output_dir="/home/maria/studio/runs/abc", dataset_path="C:\\Users\\maria\\texts.jsonl")
    text = Reader(report(run=Facts(config=config))).text
    assert "maria" not in text
    assert "texts.jsonl" in text


def test_the_summary_says_what_was_measured() -> None:
    text = Reader(report()).text
    assert "2.48 million parameters, in 3 min of work." in text
    assert "is completed after 300 of 300 steps." in text
    assert "fell from 8.310 at step 0 to 3.810 at step 300" in text
    assert (
        f"among {perplexity(3.81):,.1f} equally likely tokens (the perplexity); pure guessing chooses among 32,000"
        in text
    )
    assert "3: no answer" in text
    assert "ab" * 32 in text


def test_what_is_unknown_is_told_so() -> None:
    read = Reader(
        report(
            run=Facts(
                step=None, total_steps=None, worked_seconds=None, status=RunStatus.FAILED, error="The file is empty."
            ),
            charts=[],
            findings=[],
            samples=[],
            evaluations=[],
            models=[],
            artifacts=[],
            environment={},
        )
    )
    for words in (
        "No model was finished; the time is unknown.",
        "is failed after unknown of unknown steps. What went wrong: The file is empty.",
        "unseen text was not measured",
        "Unknown: the run ended before its text was prepared.",
        "No samples were written.",
        "There is no curve",
    ):
        assert words in read.text
    assert read.figures() == []
    assert "systemunknown" in "".join(Reader(report()).text.split())


def test_a_loss_that_is_no_number_is_named_and_not_counted() -> None:
    text = Reader(report(evaluations=evaluations([5.0, 4.0, None]))).text
    assert "from 5.000 at step 0 to 4.000 at step 1" in text
    assert "no number" in text


def test_a_synthetic_stand_in_is_told() -> None:
    fallback = asdict(DataReport([], True, "abc", 400, False))
    text = Reader(report(run=Facts(data_report=fallback))).text
    assert "built-in synthetic problems replaced" in text


def test_of_many_checks_and_samples_some_are_shown_and_that_is_said() -> None:
    (one, *_) = everything()["samples"]
    samples = [{**one, "step": step} for step in range(1000)]
    read = Reader(report(evaluations=evaluations([5.0] * 1000), samples=samples))
    assert f"{1000 - SHOWN_CHECKS:,} checks between these are left out" in read.text
    assert f"{SHOWN_SAMPLES} of 1,000 samples are shown" in read.text
    assert read.text.count("What it wrote after step") == SHOWN_SAMPLES
    assert "What it wrote after step 0" in read.text
    assert "What it wrote after step 999" in read.text


def test_it_reads_well_without_eyes() -> None:
    read = Reader(report())
    tags = [tag for tag, _ in read.tags]
    assert ("html", {"lang": "en"}) in read.tags
    assert [tags.count(tag) for tag in ("h1", "main", "title", "footer")] == [1, 1, 1, 1]
    levels = [int(tag[1]) for tag in tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(at.get("scope") in ("col", "row") for tag, at in read.tags if tag == "th")
    assert tags.count("caption") == tags.count("table")
    assert all(at.get("aria-label") for _, at in read.tags if at.get("role"))
    assert all(at.get("tabindex") == "0" for _, at in read.tags if at.get("class") == "scroll")
    labels = [at["aria-label"] for _, at in read.tags if at.get("role") == "region"]
    assert len(set(labels)) == len(labels)


@pytest.mark.browser
def test_in_a_browser_without_a_network_the_charts_are_drawn_and_no_text_runs(
    chromium: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(**everything("".join(HOSTILE))), encoding="utf-8")
    context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(file.as_uri())
        page.wait_for_selector(".chart .xtick")
        assert page.locator(".chart svg.main-svg").count() >= 2
        assert (
            page.evaluate("document.querySelectorAll('.chart')[0].querySelectorAll('.scatterlayer .trace').length") >= 2
        )
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 400, "height": 800})
        # Charts follow a moment later, and the page's policy lets no test wait inside it.
        until(lambda: page.evaluate("document.documentElement.scrollWidth") <= 400, "that all fits a narrow screen")
        page.emulate_media(media="print")
        assert page.evaluate("window.ran") is None
        assert page.locator("img, iframe, a[href]").count() == 0
        assert said == []
        assert asked == [file.as_uri()]
    finally:
        context.close()
