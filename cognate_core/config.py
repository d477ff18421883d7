"""TrainingConfig: every setting of a training run, with its name, help, bounds and place in the form.

The one source for the form, the command line, the TOML files and the documentation. It knows nothing of tensors,
files or pages.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import ErrorDetails

from cognate_core.errors import ConfigError

DATASETS: dict[str, str] = {
    "GSM8K": "openai/gsm8k",
    "SVAMP": "ChilleD/SVAMP",
    "HotpotQA": "hotpotqa/hotpot_qa",
    "Synthetic": "built in",
}
"""The datasets that can be named in `dataset_sources`, and where each comes from."""

DATASET_DESCRIPTIONS: dict[str, str] = {
    "GSM8K": "school maths problems with worked solutions",
    "SVAMP": "short one-step maths problems",
    "HotpotQA": "questions answered from two paragraphs",
    "Synthetic": "word problems made on this computer, no download",
}

SMALLEST_VOCABULARY = 257
"""The ids that every tokenizer has: end-of-text and the 256 bytes."""

TrackerName = Literal["tensorboard", "csv", "parquet", "trackio"]

TRACKERS: dict[TrackerName, str] = {
    "tensorboard": "TensorBoard",
    "csv": "CSV",
    "parquet": "Parquet",
    "trackio": "Trackio",
}
"""Where a run's figures can be kept beside the studio's own database, and what each is called."""

OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "muon": "Muon"}
"""What each optimizer is called."""

Section = Literal[
    "Data",
    "Model",
    "Pondering",
    "Memory",
    "Training",
    "GrokFast",
    "Grokking lab",
    "Checking and saving",
    "Several workers",
]


def _setting(
    default: Any,
    *,
    title: str,
    help: str,
    section: Section,
    simple: bool = False,
    unit: str = "",
    example: str = "",
    **bounds: Any,
) -> Any:
    """A config field together with what the form shows of it."""
    extra: JsonDict = {"section": section, "simple": simple, "unit": unit, "example": example or str(default)}
    if isinstance(default, list | dict):
        return Field(default_factory=default.copy, title=title, description=help, json_schema_extra=extra, **bounds)
    return Field(default, title=title, description=help, json_schema_extra=extra, **bounds)


class TrainingConfig(BaseModel):
    """Every setting of a run. Immutable; make a changed copy with `with_overrides`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    # Data
    dataset_sources: list[str] = _setting(
        ["GSM8K", "SVAMP", "HotpotQA"],
        title="Datasets",
        help="What the model reads. Those that cannot be had are left out and named; when none can, built-in "
        "synthetic word problems stand in, visibly.",
        section="Data",
        simple=True,
        example="GSM8K, SVAMP",
    )
    dataset_path: str | None = _setting(
        None,
        title="Own file",
        help="A JSONL, CSV, Parquet or text file, or a folder of them. When set, it is used instead of the datasets.",
        section="Data",
        example="my_texts.jsonl",
    )
    mixture_weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] = _setting(
        {},
        title="Mixture weights",
        help="How often each dataset is drawn, relative to the others, such as GSM8K=2, SVAMP=1. Empty: each "
        "dataset as often as its size.",
        section="Data",
        example="GSM8K=2, SVAMP=1",
    )
    max_train_samples: int = _setting(
        5000,
        title="Training rows",
        help="At most this many rows of each dataset are used for training.",
        section="Data",
        unit="rows",
        ge=1,
        le=1_000_000,
    )
    max_eval_samples: int = _setting(
        500,
        title="Held-out rows",
        help="At most this many rows of each dataset are kept apart, to measure the model on text it never saw.",
        section="Data",
        unit="rows",
        ge=1,
        le=100_000,
    )
    train_seq_len: int = _setting(
        512,
        title="Training length",
        help="How many tokens one training sequence holds. Several rows share a sequence; a row is never cut "
        "inside its answer. A longer plain text goes on in the next sequence, where memory begins anew. Longer costs "
        "more time and memory.",
        section="Data",
        unit="tokens",
        ge=16,
        le=16384,
    )
    word_problems: Literal["sums-to-20", "one-step-to-100", "two-steps", "all"] = _setting(
        "all",
        title="Built-in problems",
        help="How hard the built-in word problems (Synthetic) are. sums-to-20: one sum or difference of numbers up to "
        "20. one-step-to-100: one step of any kind, numbers up to 100. two-steps: one or two sums and differences. "
        "all: up to four steps of any kind, in fewer wordings.",
        section="Data",
    )
    loss_on_answer_only: bool = _setting(
        False,
        title="Learn the answers only",
        help="On: the model is graded on solutions and answers, not on repeating the question.",
        section="Data",
    )
    keep_calculator_marks: bool = _setting(
        False,
        title="Keep calculator marks",
        help="GSM8K writes sums as <<3*4=12>> inside its solutions. Off: they are taken out.",
        section="Data",
    )
    hotpotqa_distractors: bool = _setting(
        False,
        title="HotpotQA with distractors",
        help="On: all ten paragraphs (about 5,400 characters; needs a long training length). Off: only the ones "
        "that hold the answer.",
        section="Data",
    )

    # Model
    d_model: int = _setting(
        216,
        title="Width",
        help="How many numbers describe one token inside the model (d_model). Must be a multiple of twice the heads.",
        section="Model",
        simple=True,
        ge=8,
        le=4096,
    )
    n_layers: int = _setting(
        11,
        title="Layers",
        help="How many blocks of attention and feed-forward the text passes through.",
        section="Model",
        simple=True,
        ge=1,
        le=96,
    )
    n_heads: int = _setting(
        4,
        title="Attention heads",
        help="Into how many independent views each layer's attention is split.",
        section="Model",
        ge=1,
        le=64,
    )
    vocab_size: int = _setting(
        32000,
        title="Vocabulary",
        help="How many different tokens (word pieces) the model knows at most. A short text makes fewer, and the model "
        "then has no more than these.",
        section="Model",
        unit="tokens",
        ge=SMALLEST_VOCABULARY,
        le=65536,
    )
    max_seq_len: int = _setting(
        4096,
        title="Longest text",
        help="The longest text that the finished model can read at once.",
        section="Model",
        unit="tokens",
        ge=16,
        le=65536,
    )

    attention_window: int = _setting(
        512,
        title="Attention window",
        help="How far back each layer looks directly. Longer takes more time; what lies far behind it is for long-term "
        "memory.",
        section="Model",
        unit="tokens",
        ge=16,
        le=65536,
    )

    # Pondering
    act_enabled: bool = _setting(
        True,
        title="Pondering (ACT)",
        help="Adaptive computation time: the middle layers go over each token until the model finds that it has "
        "thought enough, token by token (arXiv 1603.08983). Off: each layer once.",
        section="Pondering",
        simple=True,
    )
    max_act_steps: int = _setting(
        16,
        title="Most ponder steps, learning",
        help="While it learns, a token is gone over at most this often. Each batch draws its own limit up to this, so "
        "that the model gets used to shorter ones.",
        section="Pondering",
        unit="steps",
        ge=1,
        le=64,
    )
    act_inference_steps: int = _setting(
        6,
        title="Most ponder steps, writing",
        help="The finished model goes over a token at most this often, and never more often than while learning.",
        section="Pondering",
        unit="steps",
        ge=1,
        le=64,
    )
    act_threshold: float = _setting(
        0.99,
        title="Halting threshold",
        help="After each step the model gives the probability that it has thought enough. A token is done when they "
        "add up to this (1 - epsilon in the paper). Lower: fewer steps.",
        section="Pondering",
        gt=0,
        le=1,
    )
    act_ponder_weight: float = _setting(
        0.003,
        title="Price of a step",
        help="How much a ponder step costs in the loss (tau). Higher: the model thinks less. It grows from zero over "
        "the first fifth of the training that ponders.",
        section="Pondering",
        ge=0,
        le=10,
    )
    act_from: float = _setting(
        0.0,
        title="Pondering begins",
        help="After this share of the training steps pondering begins; until then each token goes through the layers "
        "once, which is quicker. 0: from the first step on. 0.5: in the second half.",
        section="Pondering",
        ge=0,
        le=1,
    )

    # Memory
    ltm_enabled: bool = _setting(
        True,
        title="Long-term memory (LTM)",
        help="The model takes notes of what surprised it, segment by segment, and its layers can look them up later "
        "in the same text (arXiv 2203.08913). Off: it has its attention alone.",
        section="Memory",
        simple=True,
    )
    d_mem: int = _setting(
        216,
        title="Memory width",
        help="How many numbers one note holds, and as many by which it is found.",
        section="Memory",
        ge=1,
        le=4096,
    )
    mem_capacity: int = _setting(
        4096,
        title="Memory size",
        help="How many notes are kept of one text. When it is full, what was used least goes.",
        section="Memory",
        unit="notes",
        ge=1,
        le=1_000_000,
    )
    mem_topk: int = _setting(
        4,
        title="Notes a token reads",
        help="Each token looks at this many of the best matching notes at once, or at none of them.",
        section="Memory",
        unit="notes",
        ge=1,
        le=256,
    )
    mem_segment: int = _setting(
        128,
        title="Segment",
        help="Text is read in segments of this length. What one segment noted, later ones can read. It should be "
        "shorter than the texts that the model learns from.",
        section="Memory",
        unit="tokens",
        ge=8,
        le=16384,
    )
    mem_layers: Literal["all", "one"] = _setting(
        "all",
        title="Layers that read the memory",
        help="all: every layer looks notes up. one: only the first layer behind those that pondering repeats, so that "
        "all layers before it read a text as a whole instead of by segments. Faster, but recall is learned later.",
        section="Memory",
    )
    mem_writes: int = _setting(
        16,
        title="Notes a segment writes",
        help="Of each segment, at most this many tokens are noted: those that were most surprising and new.",
        section="Memory",
        unit="notes",
        ge=1,
        le=4096,
    )

    # Training
    max_steps: int = _setting(
        2000,
        title="Training steps",
        help="How often the weights are updated. More steps: better, and longer.",
        section="Training",
        simple=True,
        ge=1,
        le=10_000_000,
    )
    batch_size: int = _setting(
        2,
        title="Batch size",
        help="How many sequences are worked on at once. Larger is steadier and takes more memory.",
        section="Training",
        simple=True,
        unit="sequences",
        ge=1,
        le=4096,
    )
    gradient_accumulation_steps: int = _setting(
        4,
        title="Batches per step",
        help="How many batches are added up before the weights are updated: a larger batch without more memory.",
        section="Training",
        ge=1,
        le=1024,
    )
    optimizer: Literal["adamw", "adam", "muon"] = _setting(
        "adamw",
        title="Optimizer",
        help="How gradients move the weights. adamw: the usual choice. muon: the step of each weight matrix in the "
        "layers is made orthogonal (arXiv 2502.16982), AdamW moves the rest; it learns more from a step, and stands "
        "higher learning rates. adam: weight decay goes through the gradient, as in the published experiments of the "
        "Grokking lab.",
        section="Training",
    )
    learning_rate: float = _setting(
        2e-4,
        title="Learning rate",
        help="How far each step moves the weights. Too high: the loss jumps. Too low: nothing happens.",
        section="Training",
        simple=True,
        example="2e-4",
        gt=0,
        le=1,
    )
    warmup_ratio: float = _setting(
        0.05,
        title="Warm-up",
        help="Over this share of the steps the learning rate grows from zero to its full value.",
        section="Training",
        ge=0,
        le=1,
    )
    min_lr_ratio: float = _setting(
        0.1,
        title="Final learning rate",
        help="After the warm-up the learning rate falls along a cosine to this share of its full value.",
        section="Training",
        ge=0,
        le=1,
    )
    decay_ratio: float = _setting(
        1.0,
        title="Decay",
        help="Over this last share of the steps the learning rate falls; between warm-up and decay it stays at its "
        "full value (arXiv 2404.06395). 1: it falls as soon as the warm-up ends. 0: it never falls. A run with a flat "
        "stretch can be branched off there and brought to an end after any number of steps.",
        section="Training",
        ge=0,
        le=1,
    )
    weight_decay: float = _setting(
        0.1,
        title="Weight decay",
        help="Pulls the weight matrices gently towards zero, against learning by heart.",
        section="Training",
        ge=0,
        le=10,
    )
    beta1: float = _setting(
        0.9,
        title="AdamW beta 1",
        help="How long the optimizer remembers the direction of past gradients.",
        section="Training",
        ge=0,
        lt=1,
    )
    beta2: float = _setting(
        0.95,
        title="AdamW beta 2",
        help="How long the optimizer remembers the size of past gradients.",
        section="Training",
        ge=0,
        lt=1,
    )
    max_grad_norm: float = _setting(
        1.0,
        title="Gradient clipping",
        help="A gradient longer than this is shortened to it, so that one odd batch does no harm. 0: off.",
        section="Training",
        ge=0,
        le=1000,
    )
    precision: Literal["auto", "fp32", "bf16"] = _setting(
        "auto",
        title="Precision",
        help="bf16 is faster where the processor has it built in; auto uses it there and fp32 elsewhere.",
        section="Training",
    )
    threads: int = _setting(
        0,
        title="Threads",
        help="How many threads calculate. 0: as many as make a step quickest here, measured after the first step, "
        "and again when the pace halves. Several workers do not try, and the Grokking lab takes one.",
        section="Training",
        ge=0,
        le=256,
    )
    gradient_checkpointing: bool = _setting(
        False,
        title="Use less RAM",
        help="Keeps less of the computer's memory while learning, and computes a part a second time instead (gradient "
        "checkpointing). Slower.",
        section="Training",
    )
    seed: int = _setting(
        42,
        title="Seed",
        help="The same seed gives the same start and the same order of data.",
        section="Training",
        ge=0,
        le=2**31 - 1,
    )

    # GrokFast
    grokfast_enabled: bool = _setting(
        True,
        title="GrokFast",
        help="Strengthens the slow, steady part of the gradient (arXiv 2405.20233), which in some tasks makes the "
        "step from learning by heart to understanding come sooner.",
        section="GrokFast",
        simple=True,
    )
    grokfast_method: Literal["ema", "ma"] = _setting(
        "ema",
        title="Filter",
        help="ema: an exponential moving average, one extra copy of the gradients. ma: the mean of a window, which "
        "keeps every gradient of the window in memory.",
        section="GrokFast",
    )
    grokfast_alpha: float = _setting(
        0.98,
        title="Memory (alpha)",
        help="How slowly the average follows the gradient: 0.98 looks back about 50 steps. For the ema filter.",
        section="GrokFast",
        ge=0,
        lt=1,
    )
    grokfast_lamb: float = _setting(
        2.0,
        title="Strength (lambda)",
        help="How strongly the slow part is added to the gradient.",
        section="GrokFast",
        ge=0,
        le=100,
    )
    grokfast_window: int = _setting(
        100,
        title="Window",
        help="How many past gradients are averaged. For the ma filter.",
        section="GrokFast",
        unit="steps",
        ge=1,
        le=1000,
    )
    grokfast_keep_step_size: bool = _setting(
        False,
        title="Keep the step size",
        help="Divides the learning rate by 1 + lambda, to even out that the filter lengthens the gradient.",
        section="GrokFast",
    )

    # Grokking lab
    task: Literal["text", "arithmetic"] = _setting(
        "text",
        title="Task",
        help="text: a language model. arithmetic: the small model of the Grokking lab, which learns calculating modulo "
        "a prime.",
        section="Grokking lab",
    )
    arithmetic_operation: Literal["*", "+", "-", "/"] = _setting(
        "*",
        title="Operation",
        help="What is calculated, modulo the prime: x * y, x + y, x - y or x / y.",
        section="Grokking lab",
    )
    arithmetic_modulus: int = _setting(
        97,
        title="Prime",
        help="Everything is calculated modulo this prime number. Larger: more problems to learn from.",
        section="Grokking lab",
        ge=3,
        le=113,
    )
    arithmetic_train_share: float = _setting(
        0.5,
        title="Share to learn from",
        help="This share of all problems is learned from; the rest is held out. Smaller: understanding comes later.",
        section="Grokking lab",
        ge=0.05,
        le=0.95,
    )
    stable_max: bool = _setting(
        False,
        title="StableMax",
        help="Instead of softmax: exp is replaced by a function that grows linearly, so that the loss of what is known "
        "by heart does not round to zero (arXiv 2501.04697).",
        section="Grokking lab",
    )
    orthogonal_gradient: bool = _setting(
        False,
        title="Orthogonal gradient",
        help="Takes out of each gradient what only makes the weights longer without changing an answer "
        "(arXiv 2501.04697).",
        section="Grokking lab",
    )

    # Checking and saving
    eval_interval: int = _setting(
        100,
        title="Check every",
        help="How often the held-out loss is measured and a text sample is written.",
        section="Checking and saving",
        unit="steps",
        ge=1,
        le=10_000_000,
    )
    check_questions: int = _setting(
        0,
        title="Questions at each check",
        help="At each check the model answers this many held-out questions of each dataset, and Monitor draws the "
        "share that is right. 0: none. Long solutions take their time.",
        section="Checking and saving",
        unit="questions",
        ge=0,
        le=10_000,
    )
    early_stopping_patience: int = _setting(
        0,
        title="Early stopping",
        help="Training ends early when so many checks in a row were no better than the best one before. With it, a "
        "model that you do not stop yourself is what it was at its best check. 0: off.",
        section="Checking and saving",
        unit="checks",
        ge=0,
        le=10_000,
    )
    metric_for_best_model: Literal["loss", "bits_per_byte", "accuracy"] = _setting(
        "loss",
        title="Best by",
        help="By what a check on unseen text is the best so far: loss, bits_per_byte (within one run they always "
        "agree), or accuracy, the share of right answers, of tasks that have such.",
        section="Checking and saving",
    )
    sample_tokens: int = _setting(
        60,
        title="Sample length",
        help="How many tokens each text sample has. 0: no samples.",
        section="Checking and saving",
        unit="tokens",
        ge=0,
        le=2000,
    )
    save_steps: int = _setting(
        1000,
        title="Save every",
        help="How often a checkpoint is written to disk. The newest three, the best and some of the earlier ones stay.",
        section="Checking and saving",
        unit="steps",
        ge=1,
        le=10_000_000,
    )
    trackers: list[TrackerName] = _setting(
        [],
        title="Also write the figures to",
        help="Beside the studio's own database: tensorboard writes event files, csv and parquet a table when the run "
        "ends, trackio its database on this computer. tensorboard and trackio are installed extra.",
        section="Checking and saving",
        example="tensorboard, csv",
    )
    output_dir: str = _setting(
        "cognate_runs",
        title="Output folder",
        help="Where the files of the run go. The studio chooses its own folder for runs started there.",
        section="Checking and saving",
    )

    # Several workers
    engine: Literal["local", "ray"] = _setting(
        "local",
        title="Engine",
        help="local: one process on this computer. ray: several workers share each batch, on this computer or on "
        'others; needs pip install "cognate-studio[ray]". What is learned is the same but for rounding.',
        section="Several workers",
    )
    ray_workers: int = _setting(
        2,
        title="Workers",
        help="How many processes share the sequences of each batch; at most as many as it has. They share the threads, "
        "too: on one computer more workers are seldom faster. If one is lost, training goes on from the last "
        "checkpoint. For the ray engine.",
        section="Several workers",
        unit="processes",
        ge=1,
        le=64,
    )
    ray_address: str | None = _setting(
        None,
        title="Ray cluster",
        help="Empty: workers on this computer alone. host:port: a cluster of computers that this one belongs to; auto: "
        "the one that was started here. A cluster runs the code of whoever may reach it, so name only your own. All "
        "its computers need Cognate Studio and the data and output folders under the same paths; Threads is then for "
        "each worker.",
        section="Several workers",
        example="192.168.1.20:6379",
    )
    ray_parallel_models: int = _setting(
        1,
        title="Models at once",
        help="How many models of a run are trained at the same time, each with its own workers. For the ray engine.",
        section="Several workers",
        unit="models",
        ge=1,
        le=20,
    )

    prepared_data: SkipJsonSchema[str | None] = Field(default=None, exclude=True, repr=False)
    """Folder that the DatasetLoader made; the service puts it in with `model_copy`, and nobody else can."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_service_alone(cls, values: Any) -> Any:
        """To whoever gives settings, prepared_data is none of them: it is not kept with the others."""
        if isinstance(values, Mapping) and "prepared_data" in values:
            raise ValueError(f"prepared_data: {_no_setting('prepared_data')}")
        return values

    @model_validator(mode="before")
    @classmethod
    def _epsilon_of_the_paper(cls, values: Any) -> Any:
        """act_epsilon is another way to write act_threshold: 1 - epsilon."""
        if not isinstance(values, Mapping) or "act_epsilon" not in values:
            return values
        rest = {name: value for name, value in values.items() if name != "act_epsilon"}
        try:
            epsilon = float(values["act_epsilon"])
        except (TypeError, ValueError):
            epsilon = math.nan
        if not 0 <= epsilon < 1:
            raise ValueError(
                f"act_epsilon: It must be a number from 0 to below 1, such as 0.01; got {values['act_epsilon']!r}."
            )
        threshold = round(1 - epsilon, 12)
        try:
            agrees = float(rest.get("act_threshold", threshold)) == threshold
        except (TypeError, ValueError):
            agrees = False
        if not agrees:
            raise ValueError(
                f"act_epsilon: It means a halting threshold of {threshold}, but act_threshold is "
                f"{rest['act_threshold']}. Give one of the two."
            )
        return {**rest, "act_threshold": threshold}

    @field_validator("*", mode="before")
    @classmethod
    def _thousands_commas(cls, value: Any) -> Any:
        """5,000 is how the form itself writes numbers."""
        is_grouped = isinstance(value, str) and re.fullmatch(r"\s*\d{1,3}(,\d{3})+\s*", value)
        return value.replace(",", "") if is_grouped else value

    @field_validator("dataset_sources", "trackers", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("dataset_sources")
    @classmethod
    def _known_datasets(cls, names: list[str]) -> list[str]:
        spelling = {name.lower(): name for name in DATASETS}
        for name in names:
            if name.lower() not in spelling:
                raise ValueError(f"There is no dataset {name!r}. Choose from {', '.join(DATASETS)}.")
        return list(dict.fromkeys(spelling[name.lower()] for name in names))

    @field_validator("trackers")
    @classmethod
    def _each_once(cls, names: list[TrackerName]) -> list[TrackerName]:
        return list(dict.fromkeys(names))

    @field_validator("mixture_weights", mode="before")
    @classmethod
    def _split_weights(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.split("=") for part in value.split(",") if part.strip()]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"Mixture weights look like GSM8K=2, SVAMP=1; got {value!r}.")
        spelling = {name.lower(): name for name in DATASETS}
        names = [spelling.get(name.strip().lower(), name.strip()) for name, _ in pairs]
        return {name: weight.strip() for name, (_, weight) in zip(names, pairs, strict=True)}

    @field_validator("dataset_path", "ray_address", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("ray_address")
    @classmethod
    def _host_and_port(cls, address: str | None) -> str | None:
        found = re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?):([0-9]{1,5})", address or "")
        if address in (None, "auto") or (found and 1 <= int(found[3]) <= 65535):
            return address
        raise ValueError(
            f"A Ray cluster is named as host:port, such as 192.168.1.20:6379, or as auto; got {address[:60]!r}."
        )

    @model_validator(mode="after")
    def _fields_agree(self) -> TrainingConfig:
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            step = 2 * self.n_heads
            below, above = self.d_model // step * step, -(-self.d_model // step) * step
            nearest = " or ".join(str(n) for n in dict.fromkeys((below, above)) if 8 <= n <= 4096)
            raise ValueError(
                f"d_model: Width {self.d_model} cannot be shared evenly by {self.n_heads} attention heads: each head "
                f"needs an even number of its own. Use a width of {nearest}, or another number of heads."
            )
        lab = self.task == "arithmetic"
        if lab and any(self.arithmetic_modulus % n == 0 for n in range(2, self.arithmetic_modulus)):
            raise ValueError(
                f"arithmetic_modulus: Modulus {self.arithmetic_modulus} is not a prime number, and only modulo a prime "
                "can everything be divided. Use one such as 59, 97 or 113."
            )
        right_numbers = self.arithmetic_modulus - (self.arithmetic_operation in ("*", "/"))  # never by 0
        if lab and int(self.arithmetic_modulus * right_numbers * self.arithmetic_train_share) < 1:
            raise ValueError(
                f"arithmetic_train_share: A share of {self.arithmetic_train_share:g} of the problems modulo "
                f"{self.arithmetic_modulus} is not even one. Choose a larger share or prime."
            )
        if lab and self.metric_for_best_model == "bits_per_byte":
            raise ValueError(
                "metric_for_best_model: The Grokking lab has no text, and so no bits per byte. Choose loss or accuracy."
            )
        if not lab and (self.stable_max or self.orthogonal_gradient):
            name = "stable_max" if self.stable_max else "orthogonal_gradient"
            raise ValueError(
                f"{name}: Language models are trained without StableMax and orthogonal gradients; these are for the "
                "Grokking lab (task = arithmetic)."
            )
        if self.engine == "ray" and self.ray_workers > self.batch_size:
            raise ValueError(
                f"ray_workers: A batch of {self.batch_size} sequences cannot be shared by {self.ray_workers} workers: "
                "each needs at least one. Choose fewer workers or a larger batch."
            )
        if self.train_seq_len > self.max_seq_len:
            raise ValueError(
                f"train_seq_len: Training length {self.train_seq_len} is longer than the longest text the model can "
                f"read ({self.max_seq_len}). Lower the training length or raise the longest text."
            )
        if not self.dataset_sources and not self.dataset_path:
            raise ValueError("dataset_sources: Choose at least one dataset, or give a file of your own.")
        if self.mixture_weights and not self.dataset_path:
            unknown = sorted(set(self.mixture_weights) - set(self.dataset_sources))
            if unknown:
                raise ValueError(
                    f"mixture_weights: {', '.join(unknown)} has a weight but is not among the chosen datasets "
                    f"({', '.join(self.dataset_sources)})."
                )
            if not any(self.mixture_weights.get(name, 1.0) > 0 for name in self.dataset_sources):
                raise ValueError("mixture_weights: At least one dataset needs a weight above zero.")
        return self

    @property
    def act_epsilon(self) -> float:
        """The halting threshold as the paper has it: 1 - epsilon."""
        return round(1 - self.act_threshold, 12)

    @property
    def choices(self) -> int:
        """Among how many tokens the model chooses the next one."""
        return self.arithmetic_modulus + 2 if self.task == "arithmetic" else self.vocab_size

    def fitted(self, report: Mapping[str, Any] | None) -> TrainingConfig:
        """These settings with the vocabulary that models have which learn from the data of `report`.

        Args:
            report: the fields of a DataReport; None while the data are not prepared: at most as many as asked for.
        """
        if report is None or not report.get("fitted"):
            return self
        return self.model_copy(update={"vocab_size": report["vocabulary"]})

    def doubts(self) -> list[str]:
        """Sentences about settings that are allowed and will hardly do what was meant."""
        found = []
        if self.ltm_enabled and self.mem_segment >= self.train_seq_len:
            found.append(
                f"Long-term memory will not be learned: a segment ({self.mem_segment} tokens) is not shorter than the "
                f"training length ({self.train_seq_len}), so nothing noted is ever read. Choose shorter segments."
            )
        elif self.ltm_enabled and self.attention_window >= self.train_seq_len:
            found.append(
                f"Long-term memory can hardly matter here: it begins anew with each sequence, and the attention window "
                f"({self.attention_window} tokens) holds all of a sequence ({self.train_seq_len}). Choose a shorter "
                "window or a longer training length, or switch memory off to train faster."
            )
        if self.task == "arithmetic" and self.early_stopping_patience and self.metric_for_best_model == "loss":
            found.append(
                "The held-out loss of the Grokking lab rises for long before it falls: early stopping by loss will end "
                "before the model understands. Choose accuracy as what is best by."
            )
        if self.engine == "ray" and self.ray_address is not None:
            found.append(
                f"This run joins the Ray cluster {self.ray_address}. Whoever may use that cluster can run programs on "
                "this computer meanwhile: join only your own."
            )
        return found

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Validate `values` (typed, or text as a person typed it).

        Raises:
            ConfigError: with a sentence for each field that cannot be used.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_sentences(error)) from error

    def with_overrides(self, overrides: Mapping[str, Any]) -> TrainingConfig:
        """A copy with `overrides` put over it, validated as a whole.

        Raises:
            ConfigError: as `from_values`.
        """
        current = {name: getattr(self, name) for name in form_fields()}
        if "act_epsilon" in overrides:
            del current["act_threshold"]  # the same under another name
        changed = self.from_values({**current, **overrides})
        return changed.model_copy(update={"prepared_data": self.prepared_data})

    def to_toml(self) -> str:
        """The config as TOML, each setting under a comment that explains it."""
        lines: list[str] = []
        section = None
        for name, info in form_fields().items():
            extra = field_extra(info)
            if extra["section"] != section:
                section = extra["section"]
                lines += ["", f"# {section}", ""]
            value = getattr(self, name)
            lines.append(f"# {info.title}: {info.description}")
            lines.append(f"# {name} =" if value is None else f"{name} = {_toml_value(value)}")
        return "\n".join(lines).strip() + "\n"

    @classmethod
    def from_toml(cls, text: str) -> TrainingConfig:
        """Read what `to_toml` wrote, or any part of it; what is missing takes its default.

        Raises:
            ConfigError: the text is no TOML, or a setting cannot be used.
        """
        try:
            values = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
            raise ConfigError({"toml": f"This is not a readable TOML file: {error}."}) from error
        return cls.from_values(values)


class _EachAlone(TrainingConfig):
    """The settings without the question whether they agree with one another."""

    @model_validator(mode="after")
    def _fields_agree(self) -> _EachAlone:
        return self


def parse_setting(name: str, value: Any) -> tuple[str, Any]:
    """One setting by itself, typed or as text: the field that it means, and its value.

    Whether it agrees with the other settings is for `TrainingConfig.with_overrides` to say.

    Raises:
        ConfigError: there is no such setting, or it cannot have this value.
    """
    try:
        alone = _EachAlone.model_validate({name: value})
    except ValidationError as error:
        raise ConfigError(_sentences(error)) from error
    field = "act_threshold" if name == "act_epsilon" else name
    return field, getattr(alone, field)


FIXED_ON_A_BRANCH = ("Data", "Model", "Pondering", "Memory", "Grokking lab")
"""Sections whose settings the weights, the prepared data or the optimizer's state depend on."""


_OF_TEXT_ALONE = (
    "gradient_accumulation_steps",
    "warmup_ratio",
    "min_lr_ratio",
    "decay_ratio",
    "precision",
    "gradient_checkpointing",
    "sample_tokens",
    "check_questions",
)
_OF_BOTH_MODELS = ("d_model", "n_layers", "n_heads")


def used_fields(task: str) -> dict[str, FieldInfo]:
    """The settings that mean something for a task, of those that people see."""
    sections = ("Training", "GrokFast", "Grokking lab", "Checking and saving", "Several workers")
    return {
        name: info
        for name, info in form_fields().items()
        if (
            field_extra(info)["section"] != "Grokking lab"
            if task == "text"
            else name in _OF_BOTH_MODELS or (field_extra(info)["section"] in sections and name not in _OF_TEXT_ALONE)
        )
    }


def branch_fields(task: str) -> dict[str, FieldInfo]:
    """The settings that a run which goes on from another's checkpoint may change."""
    return {
        name: info
        for name, info in used_fields(task).items()
        if name == "act_ponder_weight"
        or (
            field_extra(info)["section"] not in FIXED_ON_A_BRANCH
            and name not in ("optimizer", "seed", "precision", "threads", "output_dir")
        )
    }


def _toml_value(value: Any) -> str:
    """One value on one line; tables inline, because a table of its own would swallow the settings after it."""
    if isinstance(value, dict):
        pairs = (tomli_w.dumps({key: item}).strip() for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").strip()


def as_text(value: Any) -> str:
    """A setting as a person would type it, 2e-4 and not 0.0002. It reads back as the same."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name}={as_text(weight)}" for name, weight in value.items())
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):  # `repr` has the fewest digits that read back as the same number
        return f"{Decimal(repr(value)).normalize():e}" if 0 < value < 0.001 else repr(value).removesuffix(".0")
    return str(value)


def form_fields() -> dict[str, FieldInfo]:
    """The settings that people see, by name, in order."""
    return {name: info for name, info in TrainingConfig.model_fields.items() if not info.exclude}


def field_extra(info: FieldInfo) -> dict[str, Any]:
    """A field's place in the form: section, simple, unit, example."""
    return dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}


def field_range(info: FieldInfo) -> str:
    """The allowed range in words, such as "1 to 4,096"; empty when there is none."""
    bounds = {
        kind: getattr(item, kind)
        for item in info.metadata
        for kind in ("ge", "gt", "le", "lt")
        if getattr(item, kind, None) is not None
    }
    low = f"{bounds['ge']:,}" if "ge" in bounds else f"above {bounds['gt']:,}" if "gt" in bounds else ""
    high = f"{bounds['le']:,}" if "le" in bounds else f"below {bounds['lt']:,}" if "lt" in bounds else ""
    return f"{low} to {high}" if low and high else low or high


def _sentences(error: ValidationError) -> dict[str, str]:
    """One sentence for each field that pydantic refused."""
    problems: dict[str, str] = {}
    for detail in error.errors():
        name, sentence = _sentence(detail)
        problems.setdefault(name, sentence)
    return problems


def _no_setting(name: str) -> str:
    return f"There is no setting called {name!r}. `cognate presets first-run` lists them all."


def _sentence(detail: ErrorDetails) -> tuple[str, str]:
    name = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "value_error":
        message = str(detail["ctx"]["error"])
        if not name:  # from _fields_agree, which names the field before the colon
            name, message = message.split(": ", 1)
        return name, message
    info = TrainingConfig.model_fields.get(name)
    if info is None:
        return name, _no_setting(name)
    got = detail["input"]
    if len(str(got)) > 60:
        got = f"{str(got)[:60]}..."
    if len(detail["loc"]) > 1:
        inner = ".".join(str(part) for part in detail["loc"][1:])
        return name, f"{info.title}, {inner}: {detail['msg']}; got {got!r}."
    example = field_extra(info).get("example", "")
    if detail["type"] == "literal_error":
        return name, f"{info.title} must be one of {detail['ctx']['expected']}; got {got!r}."
    wanted = {
        "int_parsing": "a whole number",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_parsing": "true or false",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "dict_type": "a list of name=weight",
    }.get(detail["type"])
    allowed = field_range(info)
    if wanted is None and allowed:
        return name, f"{info.title} must be {allowed}; got {got!r}."
    if wanted is None:
        return name, f"{info.title}: {detail['msg']}; got {got!r}."
    shown = "nothing" if got == "" else repr(got)
    limits = f" ({allowed})" if allowed else ""
    hint = f" Type something like {example}." if example and example not in ("None", "True", "False") else ""
    return name, f"{info.title} must be {wanted}{limits}; got {shown}.{hint}"
