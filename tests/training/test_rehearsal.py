"""What a rehearsal measures, and the range that it says from that."""

from __future__ import annotations

from pathlib import Path

import pytest

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.training.rehearsal import (
    FEWEST_QUICK_STEPS,
    FEWEST_STEPS,
    MOST_STEPS,
    STUDENT,
    Pace,
    Rehearsal,
    rehearse,
)

CONFIG = TrainingConfig(max_steps=100, eval_interval=50, save_steps=50)


def of(*steps: float, check: float = 0.0, sample: float = 0.0, save: float = 0.0) -> Pace:
    return Pace(list(steps), check, sample, save)


class TestRange:
    def test_is_made_of_all_that_a_run_does(self) -> None:
        low, high = Rehearsal(of(2, 2, 2, check=1, sample=0.25, save=0.5), of(1, 1, check=0.5, save=0.5), 4).seconds(
            CONFIG
        )
        assert low == pytest.approx(100 * 1 + 0.85 * ((3 + 4) * 0.5 + 2 * 0.5))  # no step was quicker than a second
        most = 100 * 2 + (3 + 4) * 1 + 3 * 0.25 + (2 + 3) * 0.5  # each of three checks may be the best so far
        assert high == pytest.approx(1.15 * most * (1 + 0.5 / 300))  # and every five minutes one is saved

    def test_counts_the_check_and_the_checkpoint_of_a_last_step_that_is_no_multiple(self) -> None:
        pace = of(1, check=10, save=1)
        round_, odd = (Rehearsal(pace, pace, 0).seconds(CONFIG.model_copy(update={"max_steps": n})) for n in (100, 101))
        assert odd[0] - round_[0] == pytest.approx(1 + 0.85 * (10 + 1))

    def test_is_wider_where_the_steps_differ(self) -> None:
        pace = of(*[1.0, 3.0] * 8)
        low, high = Rehearsal(pace, pace, 0).seconds(CONFIG)
        error = STUDENT * (16 / 15) ** 0.5 / 4
        assert (low, high) == pytest.approx((100 * (2 - error), 100 * (2 + error)))

    def test_steps_before_pondering_are_of_the_quickest(self) -> None:
        config = CONFIG.with_overrides({"act_from": 0.4})
        low, high = Rehearsal(of(3, 3, 3), of(1, 1, 1), 0).seconds(config)
        assert (low, high) == pytest.approx((100 * 1, 1.15 * (40 * 1 + 60 * 3)))

    def test_is_one_of_a_single_step_too(self) -> None:
        pace = of(1)
        assert Rehearsal(pace, pace, 0).seconds(CONFIG) == pytest.approx((100, 115))

    def test_has_its_ends_in_order_where_the_quick_steps_were_disturbed(self) -> None:
        low, high = Rehearsal(of(1, 1), of(9, 9), 0).seconds(CONFIG)
        assert low == high


@pytest.fixture
def words() -> TrainingConfig:
    return TrainingConfig(
        dataset_sources=["Synthetic"],
        max_train_samples=40,
        max_eval_samples=30,
        train_seq_len=128,
        max_seq_len=128,
        d_model=16,
        n_layers=3,
        n_heads=2,
        max_act_steps=8,
        ltm_enabled=False,
        vocab_size=400,
        max_steps=1000,
        batch_size=2,
        gradient_accumulation_steps=1,
        sample_tokens=3,
        precision="fp32",
    )


@pytest.mark.usefixtures("one_thread")
class TestMeasuring:
    def test_takes_steps_enough_for_a_spread_however_slow_they_are(self, words: TrainingConfig, tmp_path: Path) -> None:
        found = rehearse(words, tmp_path, budget_seconds=0.0)
        assert len(found.fresh.step_seconds) == FEWEST_STEPS
        assert len(found.quickest.step_seconds) == FEWEST_QUICK_STEPS
        parts = [found.fresh.check_seconds, found.fresh.sample_seconds, found.fresh.save_seconds]
        assert min([*parts, found.quickest.check_seconds]) > 0
        assert found.closing_checks == 1.0, "all of its held-out text is read at each check"
        assert not found.missing

    def test_measures_a_model_that_does_not_ponder_once(self, words: TrainingConfig, tmp_path: Path) -> None:
        found = rehearse(words.with_overrides({"act_enabled": False, "max_steps": 5}), tmp_path)
        assert found.quickest is found.fresh
        assert len(found.fresh.step_seconds) == 4 < MOST_STEPS
        assert found.fresh.save_seconds > 0, "the last step was saved as the best, and that is measured"

    def test_the_closing_check_reads_what_a_check_leaves_out(
        self, words: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cognate_core.training.text_loop.CHECK_TOKENS", 1)
        found = rehearse(words.with_overrides({"act_enabled": False, "max_steps": 2}), tmp_path)
        assert found.closing_checks > 2

    def test_rehearses_with_the_data_that_are_here_and_names_the_others(
        self, words: TrainingConfig, tmp_path: Path
    ) -> None:
        both = words.with_overrides({"dataset_sources": ["GSM8K", "Synthetic"], "mixture_weights": {"GSM8K": 3.0}})
        found = rehearse(both.with_overrides({"max_steps": 2, "act_enabled": False}), tmp_path)
        assert found.missing == ["GSM8K"]

    def test_the_lab_measures_its_held_out_problems_once_more_at_the_end(self, tmp_path: Path) -> None:
        config = PRESETS["grokking"].config.with_overrides({"max_steps": 3, "d_model": 16, "n_heads": 2})
        found = rehearse(config, tmp_path)
        assert found.closing_checks == 1.0 and found.quickest is found.fresh
        assert found.fresh.check_seconds > 0
