"""Sweeps: which runs they come to, what is refused and how that is said, and what the runs are called."""

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig, as_text, fields_that, form_fields, parse_setting
from cognate_core.config.sweep import MAX_RUNS, Range, Sweep, changes_text
from cognate_core.errors import ConfigError

BASE = TrainingConfig()


def problems_of(*args: Any, **kwargs: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as refusal:
        Sweep(*args, **kwargs).configs()
    return refusal.value.problems


class TestGrid:
    def test_every_combination_once_the_last_setting_changing_fastest(self) -> None:
        sweep = Sweep(BASE, {"learning_rate": [1e-3, 2e-3], "n_layers": [3, 4]})
        assert [changes for changes, _ in sweep.configs()] == [
            {"learning_rate": 1e-3, "n_layers": 3},
            {"learning_rate": 1e-3, "n_layers": 4},
            {"learning_rate": 2e-3, "n_layers": 3},
            {"learning_rate": 2e-3, "n_layers": 4},
        ]
        for changes, config in sweep.configs():
            assert config == BASE.with_overrides(changes)

    @given(
        st.lists(st.floats(1e-6, 1), min_size=2, max_size=6, unique=True),
        st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=8, unique=True),
        st.lists(st.booleans(), min_size=1, max_size=1),
    )
    @settings(max_examples=30)
    def test_is_the_product_of_its_values(self, rates: list[float], seeds: list[int], flags: list[bool]) -> None:
        sweep = Sweep(BASE, {"learning_rate": rates, "seed": seeds, "loss_on_answer_only": flags})
        expected = list(itertools.product(rates, seeds, flags))
        assert [tuple(changes.values()) for changes, _ in sweep.configs()] == expected
        assert len({repr(config) for _, config in sweep.configs()}) == len(expected)

    @given(st.data())
    @settings(max_examples=60)
    def test_a_value_as_text_is_what_the_command_line_makes_of_it(self, data: st.DataObject) -> None:
        values = {
            "learning_rate": st.floats(1e-6, 1).map(repr),
            "max_steps": st.integers(1, 10_000_000).map(lambda n: data.draw(st.sampled_from([f"{n}", f" {n:,} "]))),
            "grokfast_enabled": st.sampled_from(["on", "false", "1", "no"]),
            "precision": st.sampled_from(["fp32", "bf16", "auto"]),
        }
        name = data.draw(st.sampled_from(list(values)))
        text = data.draw(values[name])
        assert parse_setting(name, text) == (name, getattr(BASE.with_overrides({name: text}), name))

    @pytest.mark.parametrize(
        ("name", "text", "values"),
        [
            ("learning_rate", "1e-3, 2e-3,4e-3", [1e-3, 2e-3, 4e-3]),
            ("learning_rate", " 0.001 ; 0.002 ;", [1e-3, 2e-3]),
            ("learning_rate", "0.001,0.002,", [1e-3, 2e-3]),
            ("max_steps", "5,000, 10,000", [5000, 10000]),
            ("max_steps", "500,1000", [500, 1000]),
            ("grokfast_enabled", "on, off", [True, False]),
            ("grokfast_method", "ema,ma", ["ema", "ma"]),
            ("dataset_sources", "GSM8K, SVAMP; svamp", [["GSM8K", "SVAMP"], ["SVAMP"]]),
            ("mixture_weights", "GSM8K=2, SVAMP=1; HotpotQA=3", [{"GSM8K": 2, "SVAMP": 1}, {"HotpotQA": 3}]),
        ],
    )
    def test_values_in_one_text(self, name: str, text: str, values: list[Any]) -> None:
        sweep = Sweep(BASE, {name: text}, leave_out=True)
        assert sweep.grid == {name: values}

    def test_what_may_be_one_number_or_several_is_asked_about(self) -> None:
        assert "128,256 may be one number or several" in problems_of(BASE, {"max_steps": "128,256"})["max_steps"]

    def test_epsilon_is_the_threshold_by_another_name(self) -> None:
        sweep = Sweep(BASE, {"act_epsilon": "0.01, 0.05"})
        assert [config.act_threshold for _, config in sweep.configs()] == [0.99, 0.95]
        assert "in two ways" in problems_of(BASE, {"act_epsilon": [0.1], "act_threshold": [0.9]})["act_threshold"]

    @pytest.mark.parametrize(
        ("grid", "field", "words"),
        [
            ({}, "sweep", "at least one setting"),
            ({"learning_rate": [0.1]}, "sweep", "only one run"),
            ({"learning_rate": ""}, "learning_rate", "needs values"),
            ({"learning_rate": []}, "learning_rate", "needs values"),
            ({"learning_rate": "0.1, fast"}, "learning_rate", "must be a number"),
            ({"learning_rate": [0.1, 7]}, "learning_rate", "above 0, up to 1"),
            ({"learning_rate": "0.1, 1e-1"}, "learning_rate", "0.1 twice"),
            ({"output_dir": ["a", "b"]}, "output_dir", "does not affect training"),
            ({"save_steps": [1, 2]}, "save_steps", "does not affect training"),
            ({"task": ["text", "arithmetic"]}, "task", "cannot be varied"),
            ({"arithmetic_modulus": [59, 97]}, "arithmetic_modulus", "cannot be varied"),
            ({"colour": ["red", "blue"]}, "colour", "no setting called 'colour'"),
            ({"seed": range(MAX_RUNS + 1)}, "sweep", f"at most {MAX_RUNS}"),
            ({"seed": range(10), "max_steps": range(1, 10)}, "sweep", "90 runs"),
        ],
    )
    def test_what_cannot_be_has_a_sentence_at_its_field(self, grid: dict[str, Any], field: str, words: str) -> None:
        problems = problems_of(BASE, grid)
        assert list(problems) == [field]
        assert words in problems[field]

    def test_every_wrong_field_is_named_at_once(self) -> None:
        assert set(problems_of(BASE, {"learning_rate": "x"}, {"beta1": "3 to 4"}, 2)) == {"learning_rate", "beta1"}

    def test_seeds_may_be_swept_and_where_files_go_may_not(self) -> None:
        assert "seed" in fields_that("sweepable", "text")
        assert not {"output_dir", "save_steps", "eval_interval", "threads"} & set(fields_that("sweepable", "text"))
        assert "arithmetic_modulus" in fields_that("sweepable", "arithmetic")
        assert set(fields_that("sweepable", "text")) <= set(form_fields())


UNEVEN = {"d_model": [64, 100], "n_heads": [4, 5]}


class TestContradictions:
    def test_are_named_and_refused(self) -> None:
        sweep = Sweep(BASE, UNEVEN)
        assert [changes for changes, _ in sweep.contradictions] == [
            {"d_model": 64, "n_heads": 5},
            {"d_model": 100, "n_heads": 4},
        ]
        assert all("cannot be shared evenly" in sentence for _, sentence in sweep.contradictions)
        (sentence,) = problems_of(BASE, UNEVEN).values()
        assert sentence.startswith("2 of 4 combinations cannot be trained, such as d_model=64, n_heads=5: Width 64")

    def test_may_be_left_out_and_are_still_listed(self) -> None:
        sweep = Sweep(BASE, UNEVEN, leave_out=True)
        assert [changes for changes, _ in sweep.configs()] == [
            {"d_model": 64, "n_heads": 4},
            {"d_model": 100, "n_heads": 5},
        ]
        assert len(sweep.contradictions) == 2

    def test_of_all_combinations_leave_nothing_to_train(self) -> None:
        sentences = problems_of(BASE, {"d_model": [65, 67]}, leave_out=True)
        assert "No combination can be trained. Width 65" in sentences["sweep"]

    def test_what_is_switched_off_makes_no_second_run(self) -> None:
        sweep = Sweep(BASE, {"grokfast_enabled": [True, False], "grokfast_lamb": [2, 5]}, leave_out=True)
        assert [tuple(changes.values()) for changes, _ in sweep.configs()] == [(True, 2), (True, 5), (False, 2)]
        ((changes, sentence),) = sweep.contradictions
        assert changes == {"grokfast_enabled": False, "grokfast_lamb": 5}
        assert "the same as grokfast_enabled=off, grokfast_lamb=2:" in sentence
        of_the_other_filter = Sweep(BASE, {"grokfast_window": [10, 20]})
        assert len(of_the_other_filter.contradictions) == 1
        assert not Sweep(BASE, {"grokfast_method": ["ema", "ma"]}).contradictions


class TestDraws:
    @given(st.integers(0, 10**6), st.integers(2, 12))
    @settings(max_examples=40)
    def test_are_distinct_within_their_ranges_and_the_same_again(self, seed: int, draws: int) -> None:
        ranges: dict[str, Any] = {
            "learning_rate": Range(1.2345e-4, 1.2346e-2),
            "max_steps": "10 to 5000",
            "weight_decay": Range(0, 0.5),
            "n_heads": [1, 2, 4],
            "grokfast_enabled": "on, off",
        }
        sweep, again = (Sweep(BASE, ranges=ranges, draws=draws, seed=seed, leave_out=True) for _ in range(2))
        drawn = [changes for changes, _ in sweep.configs()] + [changes for changes, _ in sweep.contradictions]
        assert [changes for changes, _ in again.configs()] == [changes for changes, _ in sweep.configs()]
        assert len({repr(changes) for changes in drawn}) == len(drawn) == draws
        for changes in drawn:
            assert 1.2345e-4 <= changes["learning_rate"] <= 1.2346e-2
            assert 0 <= changes["weight_decay"] <= 0.5
            assert 10 <= changes["max_steps"] <= 5000 and isinstance(changes["max_steps"], int)
            assert changes["n_heads"] in (1, 2, 4)

    def test_of_another_seed_are_others(self) -> None:
        one, other = (Sweep(BASE, ranges={"weight_decay": Range(0, 1)}, draws=3, seed=seed) for seed in (1, 2))
        assert one.configs() != other.configs()

    @pytest.mark.parametrize(("log", "middle"), [(None, 1e-3), (True, 1e-3), (False, 5e-3)])
    def test_of_a_wide_range_are_even_by_the_logarithm(self, log: bool | None, middle: float) -> None:
        sweep = Sweep(BASE, ranges={"learning_rate": Range(1e-4, 1e-2, log)}, draws=50, seed=3)
        below = sum(changes["learning_rate"] < middle for changes, _ in sweep.configs())
        assert abs(below - 25) < 4 * math.sqrt(50 * 0.25), "half of them, within four standard deviations"

    def test_go_with_each_combination_of_the_grid(self) -> None:
        sweep = Sweep(BASE, {"seed": [1, 2]}, {"learning_rate": Range(1e-4, 1e-2)}, draws=3)
        rates = [changes["learning_rate"] for changes, _ in sweep.configs()]
        assert len(rates) == 6 and rates[:3] == rates[3:], "so that a seed's effect can be told from a rate's"

    @pytest.mark.parametrize(
        ("wanted", "draws", "field", "words"),
        [
            ({"learning_rate": "1e-3 to 1e-4"}, 2, "learning_rate", "must end above"),
            ({"learning_rate": "1e-3 to 7"}, 2, "learning_rate", "above 0, up to 1"),
            ({"learning_rate": "low to high"}, 2, "learning_rate", "must be a number"),
            ({"weight_decay": Range(0, 1, log=True)}, 2, "weight_decay", "above 0"),
            ({"precision": "fp32 to bf16"}, 2, "precision", "is not a number"),
            ({"learning_rate": "1e-4 to 1e-3"}, 0, "draws", "a number of draws"),
            ({"learning_rate": "1e-4 to 1e-3"}, 1, "draws", "only one run"),
            ({"learning_rate": "1e-4 to 1e-3"}, MAX_RUNS + 1, "draws", "at most"),
            ({"n_layers": "2 to 4"}, 5, "draws", "only 3 different"),
        ],
    )
    def test_that_cannot_be_have_a_sentence(self, wanted: dict[str, Any], draws: int, field: str, words: str) -> None:
        problems = problems_of(BASE, ranges=wanted, draws=draws)
        assert list(problems) == [field]
        assert words in problems[field]


class TestNames:
    def test_say_what_is_otherwise(self) -> None:
        sweep = Sweep(BASE, {"learning_rate": [1e-3, 2e-4], "n_layers": [4]})
        assert sweep.names("rates", 80) == [
            "rates learning_rate=0.001, n_layers=4",
            "rates learning_rate=2e-4, n_layers=4",
        ]

    @given(
        st.text(min_size=1, max_size=80),
        st.integers(40, 80),
        st.lists(st.floats(1e-6, 1), min_size=2, max_size=12, unique=True),
        st.booleans(),
    )
    @settings(max_examples=60)
    def test_fit_and_differ(self, name: str, longest: int, rates: list[float], long: bool) -> None:
        more: dict[str, Any] = (
            {"mixture_weights": ["GSM8K=0.125, SVAMP=2.5, HotpotQA=17.25"], "weight_decay": [0.1]} if long else {}
        )
        names = Sweep(BASE, {**more, "learning_rate": rates}).names(name, longest)
        assert len(set(names)) == len(names) == len(rates)
        assert max(map(len, names)) <= longest

    def test_text_of_changes_is_what_the_command_line_takes(self) -> None:
        changes = {"learning_rate": 2e-4, "grokfast_enabled": False, "dataset_sources": ["GSM8K", "SVAMP"]}
        assert changes_text(changes) == "learning_rate=2e-4, grokfast_enabled=off, dataset_sources=GSM8K, SVAMP"
        for name, value in changes.items():
            assert parse_setting(name, as_text(value)) == (name, value)
