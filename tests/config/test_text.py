"""Settings as text: TOML, and as typed."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import DATASETS, TrainingConfig, as_text, field_extra, form_fields, parse_setting
from cognate_core.config.setting import Section
from cognate_core.errors import ConfigError
from tests.config.values import DECIMALS, SWITCHES, WHOLE_NUMBERS, valid_widths


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


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("learning_rate", "0,001", 0.001),
        ("learning_rate", " ,002 ", 0.002),
        ("learning_rate", "1,5e-3", 0.0015),
        ("weight_decay", "0,05", 0.05),
        ("grokfast_alpha", "0,98", 0.98),
        ("grokfast_lamb", "0,5", 0.5),
        ("dataset_path", "1,500", "1,500"),
        ("max_steps", "1,500", 1500),
        ("max_steps", "1,500,000", 1_500_000),
    ],
)
def test_a_comma_is_read_as_its_writer_means_it(name: str, text: str, value: float | str) -> None:
    assert parse_setting(name, text) == (name, value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("grokfast_lamb", "1,500", r"does 1,500 mean 1500 or 1\.500\? Write it without a comma\."),
        ("grokfast_lamb", "+1,500", r"does \+1,500 mean \+1500 or \+1\.500\? Write it without a comma\."),
        ("learning_rate", "1e-3,", "must be a number.*got '1e-3,'"),
        ("max_steps", "1,5", "must be a whole number"),
        ("max_steps", "0,100", "must be a whole number"),
        ("learning_rate", "1,2,3", "must be a number"),
    ],
)
def test_a_comma_that_may_mean_two_things_is_refused(name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_setting(name, text)


@pytest.mark.parametrize("name", [n for n, info in form_fields().items() if field_extra(info)["example"] != "None"])
def test_the_example_of_each_field_is_a_valid_text(name: str) -> None:
    example_text = field_extra(TrainingConfig.model_fields[name])["example"]
    if example_text in ("[]", "{}"):
        pytest.fail(f"{name} has no example that a person could type")
    TrainingConfig.from_values({name: example_text})


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
    upload = values["dataset_path"] is not None
    names = st.lists(st.sampled_from(list(DATASETS)), min_size=0 if upload else 1, unique=True)
    values["dataset_sources"] = draw(names)
    weights = st.floats(0, 1000, exclude_min=True)
    keys = TEXTS if upload else st.sampled_from(values["dataset_sources"])
    values["mixture_weights"] = draw(st.dictionaries(keys, weights, max_size=4))
    return TrainingConfig(**values)


@settings(max_examples=100)
@given(config=configs())
def test_toml_round_trip(config: TrainingConfig) -> None:
    assert TrainingConfig.from_toml(config.to_toml()) == config


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
@settings(max_examples=300)
def test_a_setting_as_text_reads_back_as_the_same(data: st.DataObject) -> None:
    """So that a run's settings are the same after a way through the form, a command or a sweep's name."""
    name = data.draw(st.sampled_from(list(DECIMALS)))
    value = data.draw(st.floats(*DECIMALS[name]))
    assert parse_setting(name, as_text(value)) == (name, value)


@given(st.dictionaries(st.sampled_from(list(DATASETS)), st.floats(0, 1000)))
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
    assert TrainingConfig.from_toml("\ufeffmax_steps = 7\n").max_steps == 7  # as Windows Notepad saves it


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
