from __future__ import annotations

import io
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.errors import TrainingError
from cognate_core.runs import time_estimate as time_estimate_module
from cognate_core.runs.time_estimate import measured_time_estimate


@pytest.mark.slow
def test_a_quote_is_measured_in_a_process_like_a_worker(tiny_config: TrainingConfig) -> None:
    config = tiny_config.with_overrides({"max_steps": 1000, "eval_interval": 1000, "dataset_sources": ["GSM8K"]})
    time_estimate = measured_time_estimate(config, models=2, busy=True)
    assert 8 <= time_estimate.steps_measured <= 40
    assert 0 < time_estimate.step_seconds * 1000 < time_estimate.high_seconds
    assert 0 < time_estimate.low_seconds < time_estimate.high_seconds
    assert time_estimate.memory_bytes > 50e6  # torch alone
    assert time_estimate.threads >= 1
    assert time_estimate.busy
    assert time_estimate.quickest_step_seconds is not None and time_estimate.quickest_step_seconds > 0
    assert time_estimate.missing_data == ["GSM8K"]  # which is not on this computer


def test_a_rehearsal_that_takes_too_long_is_ended_with_a_sentence(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_estimate_module, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(TrainingError, match="took more than"):
        measured_time_estimate(tiny_config)


@pytest.mark.usefixtures("one_thread")
def test_what_cannot_be_trained_is_told(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rehearse_here(words: list[str], *, input: str, **_: Any) -> SimpleNamespace:
        monkeypatch.setattr(sys, "stdin", io.StringIO(input))
        time_estimate_module.main()
        return SimpleNamespace(stdout=capsys.readouterr().out)

    monkeypatch.setattr(subprocess, "run", rehearse_here)
    monkeypatch.setattr(
        time_estimate_module, "step_back", lambda: None
    )  # it is this process's own place that it would give up
    with pytest.raises(TrainingError, match="longer than the training length"):
        measured_time_estimate(tiny_config.with_overrides({"train_seq_len": 16, "mem_segment": 8}))
