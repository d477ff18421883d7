"""Each setting by itself: its bounds, and what is said of a wrong value."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cognate_core.config import TrainingConfig, field_range, form_fields
from cognate_core.errors import ConfigError
from tests.config.values import COMPANIONS, DECIMALS, NUMBERS, SWITCHES, WHOLE_NUMBERS, sentence, title


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
        ("learning_rate", "above 0, up to 1"),
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
    assert text == "Choose at least one dataset or your own file."


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
