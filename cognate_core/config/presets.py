"""Ready-made configurations, each with an honest sentence about what to expect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cognate_core.config.training_config import TrainingConfig
from cognate_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Preset:
    """A named starting point. `expectation`: its duration and result (measured: docs/experiments.md)."""

    name: str
    title: str
    summary: str
    expectation: str
    config: TrainingConfig

    @property
    def time(self) -> str:
        """How long it takes: the first sentence of `expectation`."""
        return self.expectation.split(". ")[0]


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="solve",
            title="Learns to solve",
            summary="It gets word problems right before your eyes.",
            expectation="About 4 minutes on two cores. It then gets 98 of 100 new problems right, and two of three in "
            "your own words.",
            config=TrainingConfig(
                dataset_sources=["Synthetic"],
                word_problems="sums-to-20",
                max_train_samples=20_000,
                max_eval_samples=300,
                train_seq_len=128,
                max_seq_len=256,
                attention_window=256,
                loss_on_answer_only=True,
                d_model=128,
                n_layers=4,
                n_heads=4,
                vocab_size=2048,
                act_enabled=False,
                ltm_enabled=False,
                max_steps=600,
                batch_size=22,
                gradient_accumulation_steps=1,
                optimizer="muon",
                learning_rate=4e-3,
                warmup_ratio=0.04,
                decay_ratio=0.4,
                min_lr_ratio=0.0,
                weight_decay=0.05,
                grokfast_enabled=False,
                eval_interval=50,
                check_questions=100,
                sample_tokens=0,
                save_steps=300,
            ),
        ),
        Preset(
            name="first-run",
            title="First language model",
            summary="It learns to sound like a school maths book.",
            expectation="About 3 minutes on two cores. Its text then looks like worked solutions, with wrong sums.",
            config=TrainingConfig(
                dataset_sources=["GSM8K", "SVAMP"],
                train_seq_len=256,
                max_seq_len=512,
                attention_window=128,  # half of a sequence: the rest is read through memory
                d_mem=128,
                mem_segment=128,
                max_act_steps=4,
                act_inference_steps=4,
                mem_writes=8,
                d_model=128,
                n_layers=4,
                n_heads=4,
                vocab_size=4096,
                max_steps=300,
                batch_size=8,
                gradient_accumulation_steps=1,
                learning_rate=2e-3,
                eval_interval=50,
                save_steps=250,
            ),
        ),
        Preset(
            name="cognate-25m",
            title="Cognate 25M",
            summary="The full-size model, with pondering and memory.",
            expectation="About 70 minutes on two cores. It then writes fluent solutions to school problems, mostly "
            "with wrong sums.",
            config=TrainingConfig(
                d_model=384,
                n_layers=8,
                n_heads=6,
                d_mem=384,
                attention_window=256,
                mem_layers="one",
                vocab_size=6400,
                max_act_steps=4,  # with 16 a run needed 9 GB: at first each batch takes its limit
                act_inference_steps=4,
                act_from=0.5,
                max_steps=800,
                batch_size=8,
                gradient_accumulation_steps=1,
                optimizer="muon",
                learning_rate=3e-3,
                decay_ratio=0.4,
                min_lr_ratio=0.0,
                weight_decay=0.05,
                grokfast_enabled=False,
                eval_interval=50,
                save_steps=200,
            ),
        ),
        Preset(
            name="as-specified",
            title="Cognate 25M, as specified",
            summary="The same model with the settings of the specification.",
            expectation="Perhaps four hours on two cores. No run of it was trained to the end.",
            config=TrainingConfig(),
        ),
        Preset(
            name="grokking",
            title="See a model grok in a minute",
            summary="A tiny model suddenly understands a multiplication table.",
            expectation="About a minute on one core. After 900 to 1,500 steps it suddenly gets nearly all unseen "
            "problems right. Without the filter it had a third of them right after 5,000 steps.",
            config=TrainingConfig(
                task="arithmetic",
                d_model=128,
                n_layers=2,
                n_heads=4,
                act_enabled=False,
                ltm_enabled=False,
                max_steps=2000,
                batch_size=512,
                gradient_accumulation_steps=1,
                learning_rate=1e-3,
                warmup_ratio=0.0,
                min_lr_ratio=1.0,
                weight_decay=0.005,
                beta2=0.98,
                max_grad_norm=0.0,
                precision="fp32",
                optimizer="adam",
                seed=0,
                eval_interval=10,
                sample_tokens=0,
                save_steps=100,
            ),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of a race in the Grokking lab. `overrides`: its differences from the preset."""

    title: str
    explanation: str
    overrides: Mapping[str, Any]


VARIANTS: dict[str, Variant] = {
    "grokfast": Variant("GrokFast", "the filter as published: EMA, alpha 0.98, lambda 2, weight decay 0.005", {}),
    "control": Variant(
        "No filter", "the matched control: the same weight decay of 0.005, no filter", {"grokfast_enabled": False}
    ),
    "ma": Variant(
        "GrokFast MA",
        "the other published filter: the mean of 100 gradients, lambda 5, weight decay 0.01",
        {"grokfast_method": "ma", "grokfast_lamb": 5.0, "grokfast_window": 100, "weight_decay": 0.01},
    ),
    "plain": Variant(
        "No filter, no decay",
        "the published baseline, which took 39,890 steps",
        {"grokfast_enabled": False, "weight_decay": 0.0},
    ),
    "muon": Variant(
        "Muon",
        "the fastest found here: Muon, rate 0.01, decay 0.5, orthogonal gradient, no filter; seeds 0 to 4 took 160 to "
        "180 steps. It understands while it learns: there is no delay to watch",
        {
            "optimizer": "muon",
            "learning_rate": 1e-2,
            "weight_decay": 0.5,
            "orthogonal_gradient": True,
            "grokfast_enabled": False,
        },
    ),
}
"""The variants in the Grokking lab. A race without the matched control proves nothing about the filter."""


def nearest_preset(config: TrainingConfig) -> Preset:
    """The preset with the fewest settings that differ from `config`; the first one of equals."""
    return min(
        PRESETS.values(), key=lambda preset: sum(value != getattr(preset.config, name) for name, value in config)
    )


def get_preset(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        ConfigError: there is no such preset; the message lists all presets.
    """
    if name not in PRESETS:
        raise ConfigError({"preset": f"There is no preset {name!r}. Choose from {', '.join(PRESETS)}."})
    return PRESETS[name]
