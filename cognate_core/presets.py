"""Ready-made configurations, each with an honest sentence on what to expect of it."""

from __future__ import annotations

from dataclasses import dataclass

from cognate_core.config import TrainingConfig
from cognate_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Preset:
    """A named starting point. `expectation` says what a run of it gave, on which kind of computer."""

    name: str
    title: str
    summary: str
    expectation: str
    config: TrainingConfig


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="first-run",
            title="First language model in three minutes",
            summary="A small model that visibly learns the style of school maths problems.",
            expectation="About two to three minutes on two processor cores. In one measured run the loss on unseen "
            "GSM8K problems fell from 8.3 (pure guessing) to 3.6: it writes in the style of worked solutions, with "
            "wrong sums.",
            config=TrainingConfig(
                dataset_sources=["GSM8K", "SVAMP"],
                train_seq_len=256,
                max_seq_len=512,
                attention_window=256,
                d_mem=128,
                mem_segment=64,
                mem_writes=8,
                d_model=128,
                n_layers=4,
                n_heads=4,
                vocab_size=4096,
                max_steps=400,
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
            summary="The full-size model with the settings of the specification.",
            expectation="About two hours on two processor cores, at 3.7 s a measured step. 22.0 "
            "million parameters until adaptive computation and long-term memory join it. How low its loss gets was "
            "not measured yet.",
            config=TrainingConfig(),
        ),
    )
}


def get_preset(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        ConfigError: there is none; the sentence lists those there are.
    """
    if name not in PRESETS:
        raise ConfigError({"preset": f"There is no preset {name!r}. Choose from {', '.join(PRESETS)}."})
    return PRESETS[name]
