"""All problems, their split, and batches that follow from the seed and the place alone."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer

from cognate_core.arithmetic import beginning, tokenizer
from cognate_core.config.presets import PRESETS
from tests.arithmetic.tiny import config_of


@pytest.mark.parametrize(("operation", "count"), [("*", 42), ("/", 42), ("+", 49), ("-", 49)])
def test_every_problem_is_there_once_with_its_answer(operation: str, count: int) -> None:
    problems = beginning(config_of(arithmetic_operation=operation)).problems
    rows = list(zip(problems.left.tolist(), problems.right.tolist(), problems.answer.tolist(), strict=True))
    assert len(rows) == len(set(rows)) == count
    assert rows == sorted(rows)
    for left, right, answer in rows:
        assert 0 <= answer < 7
        holds = {
            "*": (left * right - answer) % 7 == 0,
            "/": right != 0 and (answer * right - left) % 7 == 0,
            "+": (left + right - answer) % 7 == 0,
            "-": (left - right - answer) % 7 == 0,
        }
        assert holds[operation], (left, right, answer)


@pytest.mark.parametrize(("share", "count"), [(0.5, 21), (0.3, 12)])
def test_what_is_held_out_is_never_learned_from(share: float, count: int) -> None:
    problems = beginning(config_of(arithmetic_train_share=share)).problems
    assert len(problems.train) == count
    assert sorted([*problems.train.tolist(), *problems.heldout.tolist()]) == list(range(42))


def test_everything_random_is_drawn_as_published() -> None:
    config = PRESETS["grokking"].config.model_copy(update={"seed": 5})
    before = torch.get_rng_state()
    start = beginning(config)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        type(start.model)(config)
        train = torch.randperm(9312)[:4656]
        for _ in range(3):
            train = train[torch.randperm(4656)]
            for rows in train.split(512):
                left, right, answer = start.batches.next()
                assert torch.equal(left, rows // 96)
                assert torch.equal(right, rows % 96 + 1)
                assert torch.equal(answer, (rows // 96) * (rows % 96 + 1) % 97)
    assert start.batches.epochs() == 3.0


def test_batches_go_on_from_where_they_were() -> None:
    config = config_of()  # 21 training problems in batches of 8: three batches an epoch
    uninterrupted = beginning(config).batches
    expected = [uninterrupted.next() for _ in range(12)]
    batches = beginning(config).batches
    for done in range(8):
        again = beginning(config).batches
        again.load_state_dict(json.loads(json.dumps(batches.state_dict())))
        assert again.epochs() == batches.epochs() == pytest.approx(done // 3 + done % 3 * 8 / 21)
        for batch in expected[done : done + 4]:
            assert all(torch.equal(a, b) for a, b in zip(again.next(), batch, strict=True))
        batches.next()


def test_tokenizer_reads_and_writes_the_published_ids() -> None:
    problems = beginning(config_of(arithmetic_operation="/")).problems
    reader = Tokenizer.from_str(tokenizer(problems).to_str())
    assert reader.encode("6 / 5 = 4").ids == [6, 8, 5, 7, 4]
    assert reader.decode([6, 8, 5, 7, 4]) == "6 / 5 = 4"
    assert reader.get_vocab_size() == 9
