"""The settings as a whole: immutable, described, with defaults, changed in copies."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from cognate_core.config import TrainingConfig, field_extra, form_fields
from cognate_core.config.setting import Section
from cognate_core.errors import ConfigError


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
