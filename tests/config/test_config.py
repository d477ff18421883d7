"""TrainingConfig: bounds from both sides, one clear sentence for each mistake, and the way through TOML."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cognate_core.config import (
    DATASETS,
    Section,
    TrainingConfig,
    as_text,
    field_extra,
    field_range,
    fields_that,
    form_fields,
    parse_setting,
    used_fields,
)
from cognate_core.errors import ConfigError

WHOLE_NUMBERS = {  # name -> lowest and highest allowed
    "max_train_samples": (1, 1_000_000),
    "max_eval_samples": (1, 100_000),
    "train_seq_len": (16, 16_384),
    "d_model": (8, 4096),
    "n_layers": (1, 96),
    "n_heads": (1, 64),
    "vocab_size": (257, 65_536),
    "max_seq_len": (16, 65_536),
    "attention_window": (16, 65_536),
    "max_act_steps": (1, 64),
    "act_inference_steps": (1, 64),
    "ray_workers": (1, 64),
    "ray_parallel_models": (1, 20),
    "d_mem": (1, 4096),
    "mem_capacity": (1, 1_000_000),
    "mem_topk": (1, 256),
    "mem_segment": (8, 16_384),
    "mem_writes": (1, 4096),
    "max_steps": (1, 10_000_000),
    "batch_size": (1, 4096),
    "gradient_accumulation_steps": (1, 1024),
    "seed": (0, 2_147_483_647),
    "grokfast_window": (1, 1000),
    "threads": (0, 256),
    "arithmetic_modulus": (3, 113),
    "early_stopping_patience": (0, 10_000),
    "eval_interval": (1, 10_000_000),
    "check_questions": (0, 10_000),
    "sample_tokens": (0, 2000),
    "save_steps": (1, 10_000_000),
}
ABOVE_ZERO = math.nextafter(0.0, 1.0)
BELOW_ONE = math.nextafter(1.0, 0.0)
DECIMALS = {  # name -> lowest and highest allowed
    "learning_rate": (ABOVE_ZERO, 1.0),
    "warmup_ratio": (0.0, 1.0),
    "min_lr_ratio": (0.0, 1.0),
    "decay_ratio": (0.0, 1.0),
    "weight_decay": (0.0, 10.0),
    "beta1": (0.0, BELOW_ONE),
    "beta2": (0.0, BELOW_ONE),
    "max_grad_norm": (0.0, 1000.0),
    "grokfast_alpha": (0.0, BELOW_ONE),
    "grokfast_lamb": (0.0, 100.0),
    "arithmetic_train_share": (0.05, 0.95),
    "act_threshold": (ABOVE_ZERO, 1.0),
    "act_ponder_weight": (0.0, 10.0),
    "act_from": (0.0, 1.0),
}
NUMBERS = {**WHOLE_NUMBERS, **DECIMALS}
SWITCHES = (
    "loss_on_answer_only",
    "keep_calculator_marks",
    "hotpotqa_distractors",
    "act_enabled",
    "ltm_enabled",
    "gradient_checkpointing",
    "grokfast_enabled",
    "grokfast_keep_step_size",
)
COMPANIONS: dict[
    tuple[str, float], dict[str, int]
] = {  # what else must be set so that an edge does not contradict another setting
    ("n_heads", 64): {"d_model": 128},
    ("train_seq_len", 16_384): {"max_seq_len": 16_384},
    ("max_seq_len", 16): {"train_seq_len": 16},
}


def sentence(values: Mapping[str, Any], field: str) -> str:
    """What a person reads when `values` are refused because of `field`, and of `field` alone."""
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.from_values(values)
    assert list(caught.value.problems) == [field]
    text = caught.value.problems[field]
    assert str(caught.value) == text
    assert text[0].isupper() and text.endswith(".") and "\n" not in text
    return text


def title(field: str) -> str:
    return str(TrainingConfig.model_fields[field].title)


# Bounds


def test_every_number_has_its_bounds_in_the_tables_here() -> None:
    numeric = {name for name, info in form_fields().items() if info.annotation in (int, float)}
    assert set(NUMBERS) == numeric


@pytest.mark.parametrize("name", NUMBERS)
def test_both_ends_of_the_range_are_allowed(name: str) -> None:
    for value in NUMBERS[name]:
        config = TrainingConfig.from_values({name: value, **COMPANIONS.get((name, value), {})})
        assert getattr(config, name) == value


@pytest.mark.parametrize("name", NUMBERS)
def test_just_outside_the_range_is_refused(name: str) -> None:
    low, high = NUMBERS[name]
    if name in WHOLE_NUMBERS:
        outside: tuple[float, ...] = (low - 1, high + 1)
    else:
        outside = (math.nextafter(low, -math.inf), math.nextafter(high, math.inf))
    for value in outside:
        text = sentence({name: value}, name)
        assert text == f"{title(name)} must be {field_range(TrainingConfig.model_fields[name])}; got {value!r}."


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("max_steps", "1 to 10,000,000"),
        ("seed", "0 to 2,147,483,647"),
        ("learning_rate", "above 0 to 1"),
        ("beta1", "0 to below 1"),
        ("max_grad_norm", "0 to 1,000"),
        ("precision", ""),
        ("grokfast_enabled", ""),
        ("output_dir", ""),
    ],
)
def test_range_in_words(name: str, words: str) -> None:
    assert field_range(TrainingConfig.model_fields[name]) == words


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
def test_range_in_words_names_both_ends(name: str) -> None:
    low, high = WHOLE_NUMBERS[name]
    assert field_range(TrainingConfig.model_fields[name]) == f"{low:,} to {high:,}"


@pytest.mark.parametrize("weight", [0, 1000])
def test_mixture_weight_at_the_ends(weight: float) -> None:
    config = TrainingConfig.from_values({"mixture_weights": {"GSM8K": weight}})
    assert config.mixture_weights == {"GSM8K": weight}


@pytest.mark.parametrize("weight", [-0.001, 1000.001, "much", math.nan, math.inf, ""])
def test_mixture_weight_that_cannot_be_used(weight: Any) -> None:
    text = sentence({"mixture_weights": {"SVAMP": weight}}, "mixture_weights")
    assert text.startswith("Mixture weights, SVAMP: ") and text.endswith(f"got {weight!r}.")


# Mistakes in one field


@pytest.mark.parametrize("name", NUMBERS)
def test_letters_in_a_number(name: str) -> None:
    kind = "a whole number" if name in WHOLE_NUMBERS else "a number"
    text = sentence({name: "abc"}, name)
    assert text.startswith(f"{title(name)} must be {kind} ({field_range(TrainingConfig.model_fields[name])})")
    assert "; got 'abc'. Type something like " in text


@pytest.mark.parametrize("name", NUMBERS)
def test_nothing_typed_in_a_number(name: str) -> None:
    text = sentence({name: ""}, name)
    assert text.startswith(f"{title(name)} must be ") and "; got nothing. Type something like " in text


@pytest.mark.parametrize("name", DECIMALS)
def test_decimal_that_is_no_finite_number(name: str) -> None:
    for value in (math.nan, math.inf, -math.inf, "nan", "inf", "-Infinity"):
        text = sentence({name: value}, name)
        assert text.startswith(f"{title(name)} must be a finite number (") and f"got {value!r}." in text


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
def test_whole_number_that_is_none(name: str) -> None:
    for value in (math.nan, math.inf, 2.5, "2.5", "1e3", "nan", None):
        assert sentence({name: value}, name).startswith(f"{title(name)} must be a ")


@pytest.mark.parametrize("name", SWITCHES)
def test_switch_that_is_neither_on_nor_off(name: str) -> None:
    for value in ("", "maybe", 2, None):
        assert sentence({name: value}, name).startswith(f"{title(name)} must be true or false; got ")


@pytest.mark.parametrize(
    ("name", "value", "choices"),
    [
        ("precision", "fp16", "'auto', 'fp32' or 'bf16'"),
        ("grokfast_method", "EMA", "'ema' or 'ma'"),
        ("precision", "", "'auto', 'fp32' or 'bf16'"),
    ],
)
def test_choice_that_is_not_offered(name: str, value: str, choices: str) -> None:
    assert sentence({name: value}, name) == f"{title(name)} must be one of {choices}; got {value!r}."


@pytest.mark.parametrize("name", ["act_everything", "MAX_STEPS", "", "__init__", "max steps"])
def test_unknown_setting(name: str) -> None:
    assert sentence({name: 1}, name).startswith(f"There is no setting called {name!r}.")


def test_each_wrong_field_gets_its_own_sentence() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.from_values({"max_steps": "x", "beta1": 2, "nonsense": 0, "batch_size": 2})
    assert set(caught.value.problems) == {"max_steps", "beta1", "nonsense"}
    assert all(text in str(caught.value) for text in caught.value.problems.values())


# Datasets


def test_unknown_dataset_is_named_beside_those_there_are() -> None:
    text = sentence({"dataset_sources": ["GSM8K", "MATH"]}, "dataset_sources")
    assert text == "There is no dataset 'MATH'. Choose from GSM8K, SVAMP, HotpotQA, Synthetic."


@pytest.mark.parametrize(
    ("given_names", "kept"),
    [
        ("GSM8K, SVAMP", ["GSM8K", "SVAMP"]),
        (" svamp ,, gsm8k,", ["SVAMP", "GSM8K"]),
        (["hotpotqa", "HotpotQA", "SYNTHETIC"], ["HotpotQA", "Synthetic"]),
    ],
)
def test_dataset_names_as_people_write_them(given_names: str | list[str], kept: list[str]) -> None:
    assert TrainingConfig.from_values({"dataset_sources": given_names}).dataset_sources == kept


@pytest.mark.parametrize("nothing", [[], "", " , "])
def test_no_dataset_at_all(nothing: str | list[str]) -> None:
    text = sentence({"dataset_sources": nothing}, "dataset_sources")
    assert text == "Choose at least one dataset, or give a file of your own."


def test_own_file_needs_no_dataset() -> None:
    config = TrainingConfig.from_values({"dataset_sources": [], "dataset_path": "mine.txt"})
    assert (config.dataset_sources, config.dataset_path) == ([], "mine.txt")


def test_empty_own_file_means_none() -> None:
    assert TrainingConfig.from_values({"dataset_path": ""}).dataset_path is None


def test_weight_for_a_dataset_that_was_not_chosen() -> None:
    text = sentence({"dataset_sources": ["GSM8K"], "mixture_weights": "GSM8K=1, SVAMP=2"}, "mixture_weights")
    assert text == "SVAMP has a weight but is not among the chosen datasets (GSM8K)."


def test_all_weights_zero() -> None:
    values = {"dataset_sources": "GSM8K, SVAMP", "mixture_weights": {"GSM8K": 0, "SVAMP": 0}}
    assert sentence(values, "mixture_weights") == "At least one dataset needs a weight above zero."


def test_one_dataset_without_a_weight_still_counts() -> None:
    config = TrainingConfig.from_values({"dataset_sources": "GSM8K, SVAMP", "mixture_weights": "GSM8K=0"})
    assert config.mixture_weights == {"GSM8K": 0.0}


@pytest.mark.parametrize("text", ["GSM8K", "GSM8K=1=2", "GSM8K:2"])
def test_mixture_weights_in_another_writing(text: str) -> None:
    assert sentence({"mixture_weights": text}, "mixture_weights") == (
        f"Mixture weights look like GSM8K=2, SVAMP=1; got {text!r}."
    )


# Settings that must agree


def valid_widths(n_heads: int) -> list[int]:
    return [width for width in range(8, 4097) if width % n_heads == 0 and width // n_heads % 2 == 0]


@settings(deadline=None)
@given(d_model=st.integers(8, 4096), n_heads=st.integers(1, 64))
@example(d_model=216, n_heads=7)  # not divisible
@example(d_model=210, n_heads=2)  # divisible, but each head has an odd number
@example(d_model=10, n_heads=64)  # none below
@example(d_model=4090, n_heads=63)  # none above
def test_width_that_the_heads_cannot_share(d_model: int, n_heads: int) -> None:
    widths = valid_widths(n_heads)
    if d_model in widths:
        assert TrainingConfig(d_model=d_model, n_heads=n_heads).d_model == d_model
        return
    text = sentence({"d_model": d_model, "n_heads": n_heads}, "d_model")
    assert text.startswith(f"Width {d_model} cannot be shared evenly by {n_heads} attention heads")
    named = re.search(r"Use a width of ([\d or]+),", text)
    assert named is not None
    suggested = [int(number) for number in re.findall(r"\d+", named[1])]
    for width in suggested:
        assert TrainingConfig.from_values({"d_model": width, "n_heads": n_heads}).d_model == width
    below = [width for width in widths if width < d_model][-1:]
    above = [width for width in widths if width > d_model][:1]
    assert suggested == below + above


def test_training_length_over_the_longest_text() -> None:
    text = sentence({"train_seq_len": 513, "max_seq_len": 512}, "train_seq_len")
    assert text.startswith("Training length 513 is longer than the longest text the model can read (512).")
    assert TrainingConfig(train_seq_len=512, max_seq_len=512).train_seq_len == 512


# Values as a form or a command line gives them


def test_text_values_become_typed_ones() -> None:
    config = TrainingConfig.from_values(
        {
            "learning_rate": "2e-3",
            "max_steps": " 150 ",
            "grokfast_enabled": "false",
            "loss_on_answer_only": "true",
            "dataset_sources": "GSM8K, SVAMP",
            "mixture_weights": "GSM8K = 2 , SVAMP=0.5",
            "precision": "bf16",
            "dataset_path": "",
        }
    )
    assert (config.learning_rate, config.max_steps) == (0.002, 150)
    assert (config.grokfast_enabled, config.loss_on_answer_only) == (False, True)
    assert config.dataset_sources == ["GSM8K", "SVAMP"]
    assert config.mixture_weights == {"GSM8K": 2.0, "SVAMP": 0.5}
    assert (config.precision, config.dataset_path) == ("bf16", None)


@pytest.mark.parametrize("name", [n for n, info in form_fields().items() if field_extra(info)["example"] != "None"])
def test_the_example_of_each_field_is_a_valid_text(name: str) -> None:
    example_text = field_extra(TrainingConfig.model_fields[name])["example"]
    if example_text in ("[]", "{}"):
        pytest.fail(f"{name} has no example that a person could type")
    TrainingConfig.from_values({name: example_text})


# Immutable, described, with the specification's defaults


def test_frozen() -> None:
    config = TrainingConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.max_steps = 3
    assert config.max_steps == 2000


def test_configs_share_no_default_list() -> None:
    TrainingConfig().dataset_sources.append("changed")
    assert TrainingConfig().dataset_sources == ["GSM8K", "SVAMP", "HotpotQA"]


@pytest.mark.parametrize("name", form_fields())
def test_every_setting_is_described(name: str) -> None:
    info = TrainingConfig.model_fields[name]
    assert info.title and info.title[0].isupper()
    assert info.description and info.description.rstrip().endswith(".")
    assert field_extra(info)["section"] in get_args(Section)


def test_only_the_prepared_folder_is_hidden_from_people() -> None:
    assert set(TrainingConfig.model_fields) - set(form_fields()) == {"prepared_data"}


def test_sections_stand_together_in_their_order() -> None:
    sections = [field_extra(info)["section"] for info in form_fields().values()]
    assert list(dict.fromkeys(sections)) == list(get_args(Section))
    assert sections == sorted(sections, key=get_args(Section).index)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("max_steps", 2000),
        ("batch_size", 2),
        ("learning_rate", 2e-4),
        ("gradient_accumulation_steps", 4),
        ("save_steps", 1000),
        ("max_train_samples", 5000),
        ("max_eval_samples", 500),
        ("d_model", 216),
        ("n_layers", 11),
        ("n_heads", 4),
        ("vocab_size", 32000),
        ("max_seq_len", 4096),
        ("grokfast_enabled", True),
        ("grokfast_alpha", 0.98),
        ("grokfast_lamb", 2.0),
        ("dataset_sources", ["GSM8K", "SVAMP", "HotpotQA"]),
        ("dataset_path", None),
        ("seed", 42),
    ],
)
def test_defaults_of_the_specification(name: str, default: Any) -> None:
    value = getattr(TrainingConfig(), name)
    assert value == default and type(value) is type(default)


# Overrides


def test_overrides_change_a_copy() -> None:
    config = TrainingConfig(max_steps=10)
    changed = config.with_overrides({"max_steps": "20", "batch_size": 3})
    assert (changed.max_steps, changed.batch_size) == (20, 3)
    assert (config.max_steps, config.batch_size) == (10, 2)
    assert changed == TrainingConfig(max_steps=20, batch_size=3)


def test_no_overrides_give_an_equal_config() -> None:
    config = TrainingConfig(dataset_sources=["SVAMP"], mixture_weights={"SVAMP": 3}, seed=9)
    assert config.with_overrides({}) == config


def test_overrides_keep_the_prepared_folder() -> None:
    config = TrainingConfig().model_copy(update={"prepared_data": "somewhere"})
    assert config.with_overrides({"seed": 1}).prepared_data == "somewhere"


def test_overrides_are_judged_together_with_the_rest() -> None:
    config = TrainingConfig(d_model=128, n_heads=4)
    with pytest.raises(ConfigError, match="Width 128 cannot be shared evenly by 6"):
        config.with_overrides({"n_heads": 6})
    assert config.with_overrides({"n_heads": 6, "d_model": 120}).d_model == 120
    with pytest.raises(ConfigError, match="There is no setting called 'n_head'"):
        config.with_overrides({"n_head": 6})


# TOML

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.sampled_from(
    ['"', "'''", '"""', "\\", "a\\nb", "# no comment", "x = 1", "\r\n", "\t", "\x00", "\x7f", "\u2028", "[model]", " "]
)


@st.composite
def configs(draw: st.DrawFn) -> TrainingConfig:
    """Any valid config."""
    values: dict[str, Any] = {name: draw(st.integers(*ends)) for name, ends in WHOLE_NUMBERS.items()}
    values |= {name: draw(st.floats(*ends)) for name, ends in DECIMALS.items()}
    values |= {name: draw(st.booleans()) for name in SWITCHES}
    values["d_model"] = draw(st.sampled_from(valid_widths(values["n_heads"])))
    values["max_seq_len"] = max(values["max_seq_len"], values["train_seq_len"])
    values["precision"] = draw(st.sampled_from(["auto", "fp32", "bf16"]))
    values["grokfast_method"] = draw(st.sampled_from(["ema", "ma"]))
    values["optimizer"] = draw(st.sampled_from(["adamw", "adam", "muon"]))
    values["metric_for_best_model"] = draw(st.sampled_from(["loss", "accuracy"]))
    values["mem_layers"] = draw(st.sampled_from(["all", "one"]))
    if draw(st.booleans()):
        values["task"] = "arithmetic"
        values["arithmetic_modulus"] = draw(st.sampled_from([5, 59, 97, 113]))
        values |= {name: draw(st.booleans()) for name in ("stable_max", "orthogonal_gradient")}
    values["dataset_path"] = draw(st.none() | TEXTS)
    values["output_dir"] = draw(TEXTS)
    own_file = values["dataset_path"] is not None
    names = st.lists(st.sampled_from(list(DATASETS)), min_size=0 if own_file else 1, unique=True)
    values["dataset_sources"] = draw(names)
    weights = st.floats(0, 1000, exclude_min=True)
    keys = TEXTS if own_file else st.sampled_from(values["dataset_sources"])
    values["mixture_weights"] = draw(st.dictionaries(keys, weights, max_size=4))
    return TrainingConfig(**values)


@settings(deadline=None, max_examples=100)
@given(config=configs())
def test_toml_round_trip(config: TrainingConfig) -> None:
    assert TrainingConfig.from_toml(config.to_toml()) == config


def test_the_lab_has_no_bits_per_byte_and_is_warned_of_its_loss() -> None:
    lab = {"task": "arithmetic"}
    assert "no bits per byte" in sentence({**lab, "metric_for_best_model": "bits_per_byte"}, "metric_for_best_model")
    assert TrainingConfig.from_values({"metric_for_best_model": "bits_per_byte"}).early_stopping_patience == 0

    def doubts(**settings: object) -> str:
        return " ".join(TrainingConfig.from_values({**lab, "ltm_enabled": False, **settings}).doubts())

    assert "Choose accuracy" in doubts(early_stopping_patience=5)
    assert doubts(early_stopping_patience=5, metric_for_best_model="accuracy") == doubts() == ""


PRIMES = [n for n in range(3, 114) if all(n % divisor for divisor in range(2, n))]


@pytest.mark.parametrize("modulus", range(3, 114))
def test_only_modulo_a_prime_is_calculated(modulus: int) -> None:
    values = {"task": "arithmetic", "arithmetic_modulus": modulus}
    if modulus in PRIMES:
        assert TrainingConfig.from_values(values).choices == modulus + 2
    else:
        assert f"{modulus} is not a prime" in sentence(values, "arithmetic_modulus")
    text = TrainingConfig.from_values({**values, "task": "text"})
    assert text.choices == TrainingConfig().vocab_size
    assert text.fitted({"vocabulary": 300, "fitted": True}).choices == 300
    for unfitted in (
        None,
        {"vocabulary": 300},
        {"vocabulary": 300, "fitted": False},
    ):  # the last two of earlier studios
        assert text.fitted(unfitted) == text


@pytest.mark.parametrize("operation", "*+-/")
def test_there_is_a_problem_to_learn_from(operation: str) -> None:
    values = {"task": "arithmetic", "arithmetic_modulus": 3, "arithmetic_operation": operation}
    assert "not even one" in sentence({**values, "arithmetic_train_share": 0.05}, "arithmetic_train_share")
    TrainingConfig.from_values({**values, "arithmetic_train_share": 0.2})
    TrainingConfig.from_values({**values, "arithmetic_train_share": 0.05, "arithmetic_modulus": 5})


@pytest.mark.parametrize("setting", ["stable_max", "orthogonal_gradient"])
def test_what_is_for_the_lab_alone_is_refused_for_language_models(setting: str) -> None:
    assert "Grokking lab" in sentence({setting: True}, setting)
    TrainingConfig.from_values({setting: True, "task": "arithmetic"})


def test_each_setting_means_something_for_one_of_the_tasks() -> None:
    text, lab = used_fields("text"), used_fields("arithmetic")
    assert {**text, **lab}.keys() == form_fields().keys()
    assert {"task", "stable_max", "arithmetic_modulus"} <= set(lab) - set(text)
    assert {"vocab_size", "act_enabled", "warmup_ratio", "precision", "dataset_sources"} <= set(text) - set(lab)
    assert {"learning_rate", "grokfast_lamb", "max_steps", "d_model", "seed", "output_dir"} <= set(lab) & set(text)
    assert (
        fields_that("branchable", "text").keys() <= text.keys()
        and fields_that("branchable", "arithmetic").keys() <= lab.keys()
    )
    assert {"optimizer", "d_model", "seed", "arithmetic_modulus"}.isdisjoint(fields_that("branchable", "arithmetic"))
    assert "optimizer" in text and "optimizer" not in fields_that("branchable", "text")


def test_toml_explains_each_setting() -> None:
    lines = TrainingConfig().to_toml().splitlines()
    for name, info in form_fields().items():
        above = lines[next(n for n, line in enumerate(lines) if line.removeprefix("# ").startswith(f"{name} =")) - 1]
        assert above == f"# {info.title}: {info.description}"
    assert [line.removeprefix("# ") for line in lines if line.removeprefix("# ") in get_args(Section)] == list(
        get_args(Section)
    )


def test_toml_leaves_the_prepared_folder_out() -> None:
    config = TrainingConfig().model_copy(update={"prepared_data": "/secret/place"})
    assert "secret" not in config.to_toml()
    assert TrainingConfig.from_toml(config.to_toml()).prepared_data is None


def test_nobody_but_the_service_names_the_prepared_folder() -> None:
    """It is not kept with the other settings, so that a run would not be what was asked for."""
    for give in (TrainingConfig.from_values, TrainingConfig().with_overrides):
        with pytest.raises(ConfigError, match="There is no setting called 'prepared_data'"):
            give({"prepared_data": "/elsewhere"})
    with pytest.raises(ConfigError, match="There is no setting called 'prepared_data'"):
        TrainingConfig.from_toml('prepared_data = "/elsewhere"')
    assert set(TrainingConfig.model_json_schema()["properties"]) == set(form_fields())


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_setting_as_text_reads_back_as_the_same(data: st.DataObject) -> None:
    """So that a run's settings are the same after a way through the form, a command or a sweep's name."""
    name = data.draw(st.sampled_from(list(DECIMALS)))
    value = data.draw(st.floats(*DECIMALS[name]))
    assert parse_setting(name, as_text(value)) == (name, value)


@given(st.dictionaries(st.sampled_from(list(DATASETS)), st.floats(0, 1000)))
@settings(deadline=None)
def test_weights_as_text_read_back_as_the_same(weights: dict[str, float]) -> None:
    assert parse_setting("mixture_weights", as_text(weights)) == ("mixture_weights", weights)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0012345678, "0.0012345678"),
        (0.9999999, "0.9999999"),
        (2e-4, "2e-4"),
        (1.2345e-5, "1.2345e-5"),
        (0.003, "0.003"),
        (2.0, "2"),
        (1000.0, "1000"),
        (0.0, "0"),
        ({"GSM8K": 0.1234567, "SVAMP": 2.0}, "GSM8K=0.1234567, SVAMP=2"),
    ],
)
def test_the_text_of_a_number_is_as_short_as_can_be(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_part_of_a_toml_takes_defaults_for_the_rest() -> None:
    config = TrainingConfig.from_toml('max_steps = 7\nmixture_weights = { GSM8K = 2, "SVAMP" = 1.5 }\n')
    assert config == TrainingConfig(max_steps=7, mixture_weights={"GSM8K": 2, "SVAMP": 1.5})
    assert TrainingConfig.from_toml("") == TrainingConfig()


@pytest.mark.parametrize(
    "text",
    [
        "max_steps = ",
        "max_steps",
        "max_steps = 1\nmax_steps = 2",
        "dataset_path = 'open",
        "\x00",
        "max_steps = 012",
        pytest.param("max_steps = " + "9" * 5000, id="more digits than Python reads"),
        pytest.param("dataset_sources = " + "[" * 20_000, id="deeper than Python nests"),
    ],
)
def test_malformed_toml(text: str) -> None:
    with pytest.raises(ConfigError, match="This is not a readable TOML file") as caught:
        TrainingConfig.from_toml(text)
    assert list(caught.value.problems) == ["toml"]


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("max_steps = 0", "max_steps", "Training steps must be 1 to 10,000,000; got 0"),
        ("d_model = 2020-01-01", "d_model", "Width must be a whole number"),
        ("learning_rate = nan", "learning_rate", "Learning rate must be a finite number"),
        ("[model]\nd_model = 8", "model", "There is no setting called 'model'"),
        ("n_heads = 5", "d_model", "Use a width of 210 or 220"),
    ],
)
def test_readable_toml_with_a_setting_that_cannot_be_used(text: str, field: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        TrainingConfig.from_toml(text)
    assert list(caught.value.problems) == [field]


# The paper's epsilon


@pytest.mark.parametrize("epsilon", [0.01, "0.01", 0.5, 0])
def test_epsilon_is_another_way_to_give_the_threshold(epsilon: float | str) -> None:
    config = TrainingConfig.from_values({"act_epsilon": epsilon})
    assert config.act_threshold == pytest.approx(1 - float(epsilon), abs=1e-12)
    assert "act_epsilon" not in config.to_toml()


@pytest.mark.parametrize("threshold", [0.99, "0.99", "0.990"])
def test_epsilon_and_threshold_may_both_stand_when_they_agree(threshold: float | str) -> None:
    config = TrainingConfig.from_values({"act_epsilon": 0.01, "act_threshold": threshold})
    assert config.act_threshold == 0.99


def test_epsilon_and_threshold_must_agree() -> None:
    text = sentence({"act_epsilon": 0.01, "act_threshold": 0.9}, "act_epsilon")
    assert "0.99" in text and "0.9." in text


@pytest.mark.parametrize("epsilon", ["much", None, [0.01], 1.5, -0.1, 1, "nan"])
def test_an_epsilon_that_will_not_do_is_refused(epsilon: object) -> None:
    assert repr(epsilon) in sentence({"act_epsilon": epsilon}, "act_epsilon")


def test_the_epsilon_of_a_config_can_be_read() -> None:
    for epsilon in (0.01, 0.05, 0, 0.5):
        config = TrainingConfig.from_values({"act_epsilon": epsilon})
        assert config.act_epsilon == epsilon
        assert config.with_overrides({"act_epsilon": config.act_epsilon}) == config


def test_epsilon_can_be_overridden() -> None:
    assert TrainingConfig(act_threshold=0.5).with_overrides({"act_epsilon": "0.05"}).act_threshold == 0.95


# Allowed, and hardly what was meant


def test_a_segment_as_long_as_the_training_text_is_doubtful() -> None:
    (doubt,) = TrainingConfig(mem_segment=512).doubts()
    assert "512" in doubt and "nothing noted is ever read" in doubt
    assert TrainingConfig(mem_segment=512, ltm_enabled=False).doubts() == []


def test_a_memory_that_attention_makes_needless_is_doubtful() -> None:
    (doubt,) = TrainingConfig(attention_window=700, train_seq_len=600).doubts()
    assert "(700 tokens)" in doubt and "(600)" in doubt and "switch memory off" in doubt
    assert len(TrainingConfig(attention_window=600, train_seq_len=600).doubts()) == 1
    assert TrainingConfig(attention_window=599, train_seq_len=600).doubts() == []
    assert TrainingConfig(attention_window=600, train_seq_len=600, ltm_enabled=False).doubts() == []


# Several workers


@pytest.mark.parametrize("address", ["auto", "10.0.0.5:6379", "head.example:1", "localhost:65535", "a:6379"])
def test_a_cluster_is_named_by_host_and_port(address: str) -> None:
    assert TrainingConfig.from_values({"ray_address": address}).ray_address == address


@pytest.mark.parametrize(
    "address",
    [
        "local",
        "10.0.0.5",
        "ray://10.0.0.5:10001",
        "http://10.0.0.5:6379",
        "10.0.0.5:0",
        "10.0.0.5:65536",
        "a b:6379",
        "-a:6379",
        "a:6379\n",
        "a:６379",
        "x" * 300 + ":6379",
        "user@host:6379",
        " ",
    ],
)
def test_no_other_form_of_address_is_taken(address: str) -> None:
    assert "host:port" in sentence({"ray_address": address}, "ray_address")


def test_no_address_is_this_computer() -> None:
    assert TrainingConfig.from_values({"ray_address": ""}).ray_address is None
    assert TrainingConfig().engine == "local"


def test_each_worker_has_a_sequence() -> None:
    shared = {"engine": "ray", "ray_workers": 4, "batch_size": 3}
    assert "A batch of 3 sequences cannot be shared by 4 workers" in sentence(shared, "ray_workers")
    TrainingConfig.from_values({**shared, "batch_size": 5})
    TrainingConfig.from_values({**shared, "engine": "local"})


def test_where_a_run_is_trained_may_change_on_the_way() -> None:
    where = {"engine", "ray_workers", "ray_address", "ray_parallel_models"}
    assert where <= set(fields_that("branchable", "text")) and where <= set(fields_that("branchable", "arithmetic"))


def test_joining_a_cluster_is_pointed_out() -> None:
    joining = {"engine": "ray", "ray_address": "10.0.0.5:6379"}
    assert any("join only your own" in doubt for doubt in TrainingConfig.from_values(joining).doubts())
    assert not any("cluster" in doubt for doubt in TrainingConfig.from_values({"engine": "ray"}).doubts())
