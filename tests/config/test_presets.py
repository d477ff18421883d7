"""The ready-made configurations."""

from __future__ import annotations

import re

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS, get_preset
from cognate_core.errors import ConfigError
from cognate_core.model import count_parameters


def test_the_two_that_people_are_told_of_are_there() -> None:
    assert {"first-run", "cognate-25m"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_loads_by_its_name(name: str) -> None:
    assert get_preset(name).name == name


@pytest.mark.parametrize("name", PRESETS)
def test_name_fits_a_command_line(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)


@pytest.mark.parametrize("name", PRESETS)
def test_goes_through_toml_unchanged(name: str) -> None:
    config = get_preset(name).config
    assert TrainingConfig.from_toml(config.to_toml()) == config


@pytest.mark.parametrize("name", PRESETS)
def test_checks_and_saves_happen_before_its_end(name: str) -> None:
    config = get_preset(name).config
    assert config.eval_interval < config.max_steps and config.save_steps < config.max_steps


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("words", ["summary", "expectation"])
def test_says_in_a_sentence_what_it_is_and_what_to_expect(name: str, words: str) -> None:
    text = getattr(get_preset(name), words)
    assert text.endswith(".") and len(text.split()) >= 5


def test_one_is_the_specification() -> None:
    assert get_preset("as-specified").config == TrainingConfig()


@pytest.mark.parametrize("name", ["cognate-25m", "as-specified"])
def test_full_size_is_25_million_parameters(name: str) -> None:
    assert count_parameters(get_preset(name).config)["total"] == pytest.approx(25_000_000, rel=0.02)


def test_titles_are_distinct() -> None:
    titles = [preset.title for preset in PRESETS.values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", ["", "First-Run", "nope"])
def test_unknown_preset(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_preset(name)
    assert caught.value.problems == {
        "preset": f"There is no preset {name!r}. Choose from {', '.join(PRESETS)}.",
    }
