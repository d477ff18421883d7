"""Settings that contradict, and those that hardly do what was meant."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cognate_core.config import TrainingConfig, fields_that, form_fields, used_fields
from tests.config.values import sentence, valid_widths


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


def test_the_lab_has_no_bits_per_byte_and_is_warned_of_its_loss() -> None:
    lab = {"task": "arithmetic"}
    assert "no bits per byte" in sentence({**lab, "metric_for_best_model": "bits_per_byte"}, "metric_for_best_model")
    assert TrainingConfig.from_values({"metric_for_best_model": "bits_per_byte"}).early_stopping_patience == 0

    def warnings(**settings: object) -> str:
        return " ".join(TrainingConfig.from_values({**lab, "ltm_enabled": False, **settings}).warnings())

    assert "'Best by' to accuracy" in warnings(early_stopping_patience=5)
    assert warnings(early_stopping_patience=5, metric_for_best_model="accuracy") == warnings() == ""


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
    assert "less than one problem" in sentence({**values, "arithmetic_train_share": 0.05}, "arithmetic_train_share")
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


def test_a_segment_as_long_as_the_training_text_is_doubtful() -> None:
    (warning,) = TrainingConfig(mem_segment=512).warnings()
    assert "512" in warning and "no note is ever read" in warning
    assert TrainingConfig(mem_segment=512, ltm_enabled=False).warnings() == []


def test_a_memory_that_attention_makes_needless_is_doubtful() -> None:
    (warning,) = TrainingConfig(attention_window=700, train_seq_len=600).warnings()
    assert "(700 tokens)" in warning and "(600)" in warning and "turn memory off" in warning
    assert len(TrainingConfig(attention_window=600, train_seq_len=600).warnings()) == 1
    assert TrainingConfig(attention_window=599, train_seq_len=600).warnings() == []
    assert TrainingConfig(attention_window=600, train_seq_len=600, ltm_enabled=False).warnings() == []


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
    assert any("join only your own" in warning for warning in TrainingConfig.from_values(joining).warnings())
    assert not any("cluster" in warning for warning in TrainingConfig.from_values({"engine": "ray"}).warnings())
