"""What is said where an optional part is missing."""

from __future__ import annotations

import sys

import pytest

from cognate_core import extras
from cognate_core.config import TrainingConfig
from cognate_core.errors import ConfigError
from cognate_core.extras import install_command, require_installed


def test_settings_that_need_nothing_more_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    require_installed(TrainingConfig(trackers=["csv", "parquet"]))
    assert install_command(["local", "csv", "parquet"]) is None


def test_what_is_missing_is_told_at_its_field_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        require_installed(TrainingConfig(engine="ray", ray_workers=2, trackers=["trackio", "csv", "tensorboard"]))
    problems = refused.value.problems
    assert set(problems) == {"engine", "trackers"}
    assert f'{sys.executable} -m pip install "cognate-studio[ray]"' in problems["engine"]
    assert "Trackio and TensorBoard must be installed first" in problems["trackers"]
    assert 'pip install "cognate-studio[trackio,tensorboard]"' in problems["trackers"]


def test_of_several_only_the_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "trackio" else object())
    assert str(install_command(["tensorboard", "trackio", "ray"])).endswith('"cognate-studio[trackio]"')


def test_a_place_with_a_space_can_be_copied_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "executable", "/home/ada/my files/python")
    assert str(install_command(["ray"])).startswith("'/home/ada/my files/python' -m pip")
