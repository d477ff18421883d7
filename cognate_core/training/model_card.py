"""The README.md of a trained model: what it is, what it read, how good it is. Text only."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from cognate_core.config import OPTIMIZERS, TrainingConfig
from cognate_core.contracts import DataReport, perplexity
from cognate_core.labels import escape_markdown
from cognate_core.training.text_loop import first_pondering_step


def model_card(
    name: str,
    parameter_count: int,
    status: str,
    config: TrainingConfig,
    data: DataReport,
    stats: Mapping[str, Any],
) -> str:
    """The card as Markdown. Every figure comes from `stats`, `data` or `config`; a missing one is called unknown."""
    choices = config.fitted(asdict(data)).choices
    uniform = math.log(choices)
    lab = config.task == "arithmetic"
    lines = [
        f"# {escape_markdown(name)}",
        "",
        f"{_what(config)} with {parameter_count:,} parameters, trained with Cognate Studio "
        f"{version('cognate-studio')}. Training {_ending(status, stats)}.",
        "",
        _ability(config, stats),
        "",
        "## Held-out loss",
        "",
        f"Mean over {'problems' if lab else 'text'} that it never saw, in nats per token; uniform guessing gives "
        f"ln({choices:,}) = {uniform:.2f}.",
        "",
    ]
    if stats["heldout_loss"]:
        bits = {name: f"{value:.3f}" for name, value in stats["heldout_bits_per_byte"].items()}
        lines += ["| dataset | loss | perplexity |" + " bits per byte |" * bool(bits)]
        lines += ["| --- | ---: | ---: |" + " ---: |" * bool(bits)]
        lines += [
            f"| {name} | {loss:.3f} | {perplexity(loss):,.1f} |" + f" {bits.get(name, 'unknown')} |" * bool(bits)
            for name, loss in stats["heldout_loss"].items()
        ]
        if bits:
            lines += [
                "",
                "Bits per byte = loss x tokens / (ln 2 x bytes of their text in UTF-8). The end of a text counts as a "
                "token, but has no bytes. This figure does not depend on the vocabulary.",
            ]
    else:
        why = "training was stopped before the final measurement"
        if not any(source.heldout_rows for source in data.sources):
            why = f"no held-out row fits into {config.train_seq_len:,} tokens"
        lines.append(f"Unknown: {why}.")
    lines += [
        "",
        "## Training data",
        "",
        "| dataset | from | training rows | held-out rows | skipped |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for source in data.sources:
        skipped = "; ".join(f"{count}: {reason}" for reason, count in source.skipped.items()) or "none"
        what = source.origin if source.loaded else f"not loaded: {source.reason}"
        cells = (source.name, what, f"{source.train_rows:,}", f"{source.heldout_rows:,}", skipped)
        lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    if data.fallback:
        lines += [
            "",
            "None of the requested datasets was available: built-in synthetic problems were used instead.",
        ]
    grokfast = (
        f"GrokFast {config.grokfast_method.upper()}, lambda {config.grokfast_lamb:g}"
        if config.grokfast_enabled
        else "no GrokFast"
    )
    shape = f"- {config.n_layers} layers, width {config.d_model}, {config.n_heads} heads, vocabulary {choices:,}"
    rate = f"{grokfast}, learning rate {config.learning_rate:g}"
    made = f"at most {config.choices:,} requested" if data.fitted else f"the tokenizer uses {data.vocabulary:,}"
    lines += ["", "## How", ""]
    if lab:
        lines += [
            shape,
            f"- {config.optimizer}, weight decay {config.weight_decay:g}, {rate}, {config.batch_size} problems per "
            f"step, seed {stats['seed']}",
        ]
    else:
        lines += [
            f"{shape} ({made})",
            f"- attention over {config.attention_window:,} tokens; {_pondering(config)}; {_memory(config)}",
            f"- {OPTIMIZERS[config.optimizer]}, {rate}, {config.batch_size} x {config.gradient_accumulation_steps} "
            f"sequences of {config.train_seq_len} tokens per step, seed {stats['seed']}",
        ]
    lines += [
        f"- {stats['tokens']:,} {'problems' if lab else 'tokens'} in {stats['seconds']:,.0f} s "
        f"({stats['tokens_per_second']:,.0f} per second), "
        f"{stats['precision']}, {_calculated_with(stats)}, {platform.machine()}, torch {version('torch')}",
        "",
        "`training_config.toml` repeats the run: `cognate train training_config.toml`.",
        "",
    ]
    return "\n".join(lines)


def _calculated_with(stats: Mapping[str, Any]) -> str:
    threads = f"{stats['threads']} threads"
    return threads if stats["workers"] == 1 else f"{stats['workers']} workers of {threads}"


def _what(config: TrainingConfig) -> str:
    if config.task == "arithmetic":
        return f"A transformer that calculates x {config.arithmetic_operation} y modulo {config.arithmetic_modulus},"
    return "A Cognate language model"


def _ability(config: TrainingConfig, stats: Mapping[str, Any]) -> str:
    """What it can do, as far as it was measured."""
    if config.task == "text":
        shares = [f"{share:.0%} of {name}" for name, share in stats.get("heldout_accuracy", {}).items()]
        if shares:
            asked = f"up to {config.check_questions:,} held-out questions of each dataset"
            return f"Of {asked} it answered correctly: {', '.join(shares)}. What it writes may be wrong."
        return "It learned the style of what it read. It does not solve problems reliably; what it writes may be wrong."
    shares = [f"{share:.2%}" for share in stats["heldout_accuracy"].values()]
    if not shares:
        return "Its share of right answers to unseen problems is unknown: training was stopped before it was measured."
    return f"Of the problems that it never saw, it answers {', '.join(shares)} correctly."


def _pondering(config: TrainingConfig) -> str:
    if not config.act_enabled:
        return "each layer once (no adaptive computation)"
    most, begin = min(config.act_inference_steps, config.max_act_steps), first_pondering_step(config)
    later = f", from step {begin:,} on" if begin > 1 else ""
    return (
        f"adaptive computation with a halting threshold of {config.act_threshold:g}, at most {config.max_act_steps} "
        f"ponder steps in training and {most} in writing{later}"
    )


def _memory(config: TrainingConfig) -> str:
    if not config.ltm_enabled:
        return "no long-term memory"
    return (
        f"long-term memory of {config.mem_capacity:,} notes, width {config.d_mem}, written after every "
        f"{config.mem_segment} tokens"
    )


def _ending(status: str, stats: Mapping[str, Any]) -> str:
    if status != "completed":
        ended = f"was stopped after {stats['steps']:,} of {stats['planned_steps']:,} steps"
    elif "ended_early" in stats:
        ended = "e" + str(stats["ended_early"]).removeprefix("E").removesuffix(".")
    else:
        ended = f"ran all of its {stats['steps']:,} steps"
    if stats["weights_step"] < stats["steps"]:
        ended += f". The weights are from the best check, at step {stats['weights_step']:,}"
    return ended
