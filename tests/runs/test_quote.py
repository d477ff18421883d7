from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.errors import TrainingError
from cognate_core.runs import quote as quote_module
from cognate_core.runs.quote import measured_quote
from cognate_core.training.rehearsal import Rehearsal, rehearse


def test_a_quote_is_measured_in_a_process_like_a_worker(tiny_config: TrainingConfig) -> None:
    config = tiny_config.with_overrides({"max_steps": 1000, "eval_interval": 1000, "dataset_sources": ["GSM8K"]})
    quote = measured_quote(config, models=2, busy=True)
    assert 2 <= quote.steps_measured <= 40
    assert 0 < quote.step_seconds * 1000 < quote.high_seconds
    assert 0 < quote.low_seconds < quote.high_seconds
    assert quote.memory_bytes > 50e6  # torch alone
    assert quote.threads >= 1
    assert quote.busy


@pytest.mark.usefixtures("one_thread")
def test_steps_with_and_without_pondering_are_both_rehearsed(tiny_config: TrainingConfig, tmp_path: Path) -> None:
    whole = {"max_steps": 3, "act_enabled": True, "sample_tokens": 0}
    at_once = rehearse(tiny_config.with_overrides(whole), tmp_path, budget_seconds=0.0)
    later = rehearse(tiny_config.with_overrides({**whole, "act_from": 0.5}), tmp_path, budget_seconds=0.0)
    assert (len(at_once.step_seconds), at_once.early_seconds) == (2, [])
    assert (len(later.step_seconds), len(later.early_seconds)) == (2, 2)


def test_a_rehearsal_that_takes_too_long_is_ended_with_a_sentence(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quote_module, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(TrainingError, match="took more than"):
        measured_quote(tiny_config)


@pytest.mark.usefixtures("one_thread")
def test_what_cannot_be_trained_is_told(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rehearse_here(words: list[str], *, input: str, **_: Any) -> SimpleNamespace:
        monkeypatch.setattr(sys, "stdin", io.StringIO(input))
        quote_module.main()
        return SimpleNamespace(stdout=capsys.readouterr().out)

    monkeypatch.setattr(subprocess, "run", rehearse_here)
    monkeypatch.setattr(quote_module, "step_back", lambda: None)  # it is this process's own place that it would give up
    with pytest.raises(TrainingError, match="longer than the training length"):
        measured_quote(tiny_config.with_overrides({"train_seq_len": 16, "mem_segment": 8}))


class TestRange:
    config = TrainingConfig(max_steps=100, eval_interval=50, save_steps=50, dataset_sources=["GSM8K", "SVAMP"])

    def test_is_made_of_steps_checks_of_each_dataset_and_saves(self) -> None:
        low, high = Rehearsal([2.0, 2.0, 2.0], 1.0, 0.5).seconds(self.config)
        rest = 3 * 2 * 1.0 + 3 * 0.5
        assert low == pytest.approx(200 + 0.85 * rest)  # no step was quicker than two seconds
        assert high == pytest.approx(1.15 * (200 + rest))

    def test_is_wider_where_the_steps_differ(self) -> None:
        low, high = Rehearsal([1.0, 3.0] * 8, 0.0, 0.0).seconds(self.config)
        error = 2 * (16 / 15) ** 0.5 / 4
        assert (low, high) == pytest.approx((100 * (2 - error), 100 * (2 + error)))

    def test_steps_before_pondering_count_by_what_they_take(self) -> None:
        config = self.config.with_overrides({"act_from": 0.4})
        low, high = Rehearsal([3.0] * 4, 0.0, 0.0, [1.0] * 4).seconds(config)
        assert (low, high) == pytest.approx((40 * 1 + 60 * 3, 1.15 * (40 * 1 + 60 * 3)))
        low, high = Rehearsal([3.0] * 4, 0.0, 0.0, [1.0] * 4).seconds(self.config.with_overrides({"act_from": 1}))
        assert (low, high) == pytest.approx((100, 115))

    def test_one_step_gives_one_too(self) -> None:
        low, high = Rehearsal([1.0], 0.0, 0.0).seconds(self.config)
        assert low == 100 and high == pytest.approx(115)
