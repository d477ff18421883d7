"""The README of a model: every figure as measured, nothing made up, nobody's text able to break it."""

import math
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.contracts import DataReport, SourceReport
from cognate_core.training.model_card import model_card

CONFIG = TrainingConfig(vocab_size=5_000, d_model=64, n_layers=3, n_heads=4, learning_rate=3e-4, batch_size=8)
STATS: dict[str, Any] = {
    "steps": 1_234,
    "planned_steps": 2_000,
    "weights_step": 1_234,
    "tokens": 1_234_567,
    "seconds": 1_001.26,
    "tokens_per_second": 1_233.0,
    "epochs": {"GSM8K": 1.5},
    "heldout_loss": {"GSM8K": 2.5, "SVAMP": 3.25},
    "heldout_bits_per_byte": {"GSM8K": 1.0625},
    "precision": "bf16",
    "threads": 7,
    "workers": 1,
    "seed": 99,
}


def source(**changes: Any) -> SourceReport:
    fields: dict[str, Any] = {
        "name": "GSM8K",
        "asked_for": "openai/gsm8k",
        "origin": "local folder, gsm8k/main",
        "loaded": True,
        "reason": "",
        "train_rows": 7_000,
        "heldout_rows": 500,
        "skipped": {"too long": 3, "empty": 2},
    }
    return SourceReport(**{**fields, **changes})


def card(
    name: str = "my model",
    status: str = "completed",
    config: TrainingConfig = CONFIG,
    sources: list[SourceReport] | None = None,
    fallback: bool = False,
    fitted: bool = False,
    **stats: Any,
) -> str:
    report = DataReport([source()] if sources is None else sources, fallback, "cafe", 4_321, False, fitted)
    return model_card(name, 1_000_000, status, config, report, {**STATS, **stats})


def test_guessing_chooses_among_the_tokens_that_the_model_has() -> None:
    text = card(fitted=True)
    assert f"ln(4,321) = {math.log(4_321):.2f}" in text
    assert "4 heads, vocabulary 4,321 (at most 5,000 requested)" in text


def test_the_figures_are_those_that_were_measured() -> None:
    text = card()
    assert text.startswith("# my model\n")
    assert "with 1,000,000 parameters" in text
    assert "Training ran all of its 1,234 steps." in text
    assert f"ln(5,000) = {math.log(5_000):.2f}" in text
    assert "| dataset | loss | perplexity | bits per byte |\n| --- | ---: | ---: | ---: |\n" in text
    assert "| GSM8K | 2.500 | 12.2 | 1.062 |\n| SVAMP | 3.250 | 25.8 | unknown |\n" in text
    assert "bits per byte" not in card(heldout_bits_per_byte={}), "a table of problems has none"
    assert "1,234,567 tokens in 1,001 s (1,233 per second), bf16, 7 threads" in text
    assert "(1,233 per second), bf16, 2 workers of 7 threads" in card(workers=2)
    assert "3 layers, width 64, 4 heads, vocabulary 5,000 (the tokenizer uses 4,321)" in text
    assert "learning rate 0.0003, 8 x 4 sequences of 512 tokens per step, seed 99" in text
    assert "GrokFast EMA, lambda 2," in text


def test_it_tells_how_the_model_thinks_and_remembers() -> None:
    config = CONFIG.with_overrides({"max_act_steps": 4, "act_inference_steps": 6, "mem_segment": 96, "d_mem": 40})
    text = card(config=config)
    assert "at most 4 ponder steps in training and 4 in writing;" in text
    later = card(config=config.with_overrides({"max_steps": 200, "act_from": 0.5}))
    assert "4 in writing, from step 101 on;" in later
    assert "memory of 4,096 notes, width 40, written after every 96 tokens" in text
    plain = card(config=CONFIG.with_overrides({"act_enabled": False, "ltm_enabled": False}))
    assert "each layer once (no adaptive computation); no long-term memory" in plain


def test_it_never_promises_more_than_style() -> None:
    assert "It does not solve problems reliably" in card()
    asked = card(config=CONFIG.with_overrides({"check_questions": 100}), heldout_accuracy={"Synthetic": 0.98})
    assert "Of up to 100 held-out questions of each dataset it answered correctly: 98% of Synthetic." in asked


def test_the_data_is_listed_with_what_was_skipped() -> None:
    text = card(sources=[source(), source(name="SVAMP", origin="hub", skipped={}, train_rows=5, heldout_rows=1)])
    assert "| GSM8K | local folder, gsm8k/main | 7,000 | 500 | 3: too long; 2: empty |" in text
    assert "| SVAMP | hub | 5 | 1 | none |" in text
    assert "used instead" not in text


def test_what_could_not_be_had_is_told() -> None:
    gone = source(name="SVAMP", origin="nowhere", loaded=False, reason="no network", train_rows=0, heldout_rows=0)
    text = card(sources=[gone, source(name="Synthetic")], fallback=True)
    assert "| SVAMP | not loaded: no network | 0 | 0 |" in text
    assert "None of the requested datasets was available: built-in synthetic problems were used instead." in text


def test_a_stopped_model_says_so_and_guesses_no_loss() -> None:
    text = card(status="stopped", heldout_loss={})
    assert "Training was stopped after 1,234 of 2,000 steps." in text
    assert "Unknown: training was stopped before the final measurement." in text
    assert "perplexity" not in text


def test_a_model_without_held_out_rows_says_so() -> None:
    text = card(heldout_loss={}, sources=[source(heldout_rows=0)])
    assert "Unknown: no held-out row fits into" in text
    assert "stopped" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grokfast_enabled": False}, "AdamW, no GrokFast, learning"),
        ({"grokfast_method": "ma", "grokfast_lamb": 5.0}, "AdamW, GrokFast MA, lambda 5, learning"),
        ({"optimizer": "muon"}, "Muon, GrokFast EMA, lambda 2, learning"),
    ],
)
def test_optimizer_and_filter_are_named(change: dict[str, Any], words: str) -> None:
    assert words in card(config=CONFIG.with_overrides(change))


@pytest.mark.parametrize("loss", [709.0, 710.0, 1e6, math.inf, math.nan])
def test_a_loss_beyond_all_measure_is_still_written_down(loss: float) -> None:
    # too high a learning rate may end there, and the model's folder should be completed all the same
    text = card(heldout_loss={"GSM8K": loss})
    assert f"| GSM8K | {loss:.3f} |" in text


@pytest.mark.parametrize(
    "name", ["a\n# b", "[x](http://evil)", "<script>alert(1)</script>", "`code`", "**bold**", "|a|b|"]
)
def test_a_hostile_name_is_shown_as_typed(name: str) -> None:
    heading = card(name=name).splitlines()[0]
    assert heading.startswith("# ")
    shown = heading.removeprefix("# ").replace("\\", "")
    assert shown == " ".join(name.split())
    for sign in "[]<>`*|":
        assert heading.count(sign) == heading.count(f"\\{sign}")


@pytest.mark.parametrize("hostile", ["a|b", "a\nb", "a\r\n\n# heading", "| x | y |"])
@pytest.mark.parametrize("place", ["origin", "reason", "skipped"])
def test_a_persons_text_cannot_break_the_table(hostile: str, place: str) -> None:
    # a file's name stands in the origin, its column names in the reasons for skipped rows
    changes: dict[str, dict[str, Any]] = {
        "origin": {"origin": f"own file, {hostile}.jsonl"},
        "reason": {"loaded": False, "reason": hostile},
        "skipped": {"skipped": {f"none of the columns is there (found: {hostile})": 1}},
    }
    lines, plain = (card(sources=[source(**c)]).splitlines() for c in (changes[place], {}))
    assert len(lines) == len(plain), "a table row became several lines"
    (row,) = [line for line in lines if line.startswith("| GSM8K | ") and "| 7,000 |" in line]
    assert row.replace("\\|", "").count("|") == 6
