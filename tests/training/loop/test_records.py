"""What is recorded of a run."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cognate_core.config.schedule import learning_rate_at
from cognate_core.contracts import DataReport, Evaluation, Event, PonderHistogram, Sample, bits_per_byte
from cognate_core.data.packing import EncodedDocument, Packed, pack
from cognate_core.data.prepared import HeldoutPrompt, PreparedData, write_prepared
from cognate_core.data.questions import heldout_questions
from cognate_core.data.tokenizer import train_tokenizer
from cognate_core.errors import DataError
from cognate_core.inference.playground import Playground
from cognate_core.training import text_loop as text_loop_module
from cognate_core.training.threads import ThreadChoice
from tests.rounding import sum_differs
from tests.training.loop.trained import TINY, Trained, held_out_loss, prepare, same

pytestmark = pytest.mark.usefixtures("one_thread")


def test_each_step_is_recorded_once_with_its_figures(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {"max_steps": 7}).run()
    steps = trained.steps
    assert [metrics.step for metrics in steps] == list(range(1, 8))
    assert {metrics.model_name for metrics in steps} == {"m"}
    for metrics in steps:
        assert metrics.learning_rate == learning_rate_at(metrics.step, trained.config)
        assert 0 < metrics.tokens <= 2 * 256
        assert metrics.seconds > 0
        assert math.isfinite(metrics.loss)
        assert metrics.grad_norm > 0
    elapsed = [metrics.elapsed_seconds for metrics in steps]
    assert elapsed == sorted(elapsed)
    assert trained.loop.step == 7
    assert trained.loop.tokens == sum(metrics.tokens for metrics in steps)
    assert trained.loop.elapsed_seconds >= elapsed[-1]
    sequences = len(data.packed("Synthetic", "train").tokens)
    assert trained.loop.epochs() == {"Synthetic": pytest.approx(14 / sequences)}


def test_the_callback_hears_of_each_step(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path).run()
    told = {step: (total, loss, rate) for step, total, loss, rate in trained.calls}
    assert set(told) == {0, 1, 2, 3, 4, 5}
    for metrics in trained.steps:
        assert told[metrics.step] == (5, metrics.loss, metrics.learning_rate)


def test_the_filter_lengthens_the_clipped_gradient(data: PreparedData, tmp_path: Path) -> None:
    change = {"max_grad_norm": 0.25, "grokfast_lamb": 2.0}
    first = Trained(data, tmp_path, change).run().steps[0]
    assert first.grad_norm > 0.25
    assert first.filtered_grad_norm == pytest.approx(0.75, rel=1e-4)
    off = Trained(data, tmp_path, {**change, "grokfast_enabled": False}).run().steps[0]
    assert off.grad_norm == first.grad_norm
    assert off.filtered_grad_norm == pytest.approx(0.25, rel=1e-4)
    loose = Trained(data, tmp_path, {"max_grad_norm": 0, "grokfast_enabled": False}).run().steps[0]
    assert loose.filtered_grad_norm == pytest.approx(loose.grad_norm, rel=1e-4)


@pytest.mark.parametrize(
    ("max_steps", "interval", "expected"),
    [(7, 3, [0, 3, 6, 7]), (6, 3, [0, 3, 6]), (2, 100, [0, 2]), (3, 1, [0, 1, 2, 3])],
)
def test_the_held_out_loss_is_measured_at_the_start_at_intervals_and_at_the_end(
    data: PreparedData, tmp_path: Path, max_steps: int, interval: int, expected: list[int]
) -> None:
    change = {"max_steps": max_steps, "eval_interval": interval, "sample_tokens": 3}
    trained = Trained(data, tmp_path, change).run()
    checks, samples = trained.of(Evaluation), trained.of(Sample)
    assert [check.step for check in checks] == expected
    assert [sample.step for sample in samples] == expected
    assert {check.dataset for check in checks} == {"Synthetic"}
    assert checks[0].loss == pytest.approx(math.log(400), abs=0.2)
    whole = data.packed("Synthetic", "heldout").counted[:, 1:].sum()  # less than a check may read
    assert [check.tokens for check in checks[1:]] == [whole] * (len(expected) - 1)
    assert text_loop_module.FIRST_CHECK_TOKENS <= checks[0].tokens < whole


def test_a_check_reads_part_of_the_held_out_text_and_the_end_reads_all(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before the first step reads least: the person waits for the first point."""
    rows = data.packed("Synthetic", "heldout").counted[:, 1:].sum(axis=1)
    monkeypatch.setattr(text_loop_module, "CHECK_TOKENS", int(rows[0]) + 1)
    monkeypatch.setattr(text_loop_module, "FIRST_CHECK_TOKENS", int(rows[0]))
    trained = Trained(data, tmp_path, {"batch_size": 1}).run()
    assert [check.tokens for check in trained.of(Evaluation)] == [rows[0], rows[:2].sum()]
    monkeypatch.setattr(text_loop_module, "FIRST_CHECK_TOKENS", 1)
    several = Trained(data, tmp_path / "several", {"batch_size": 2, "max_steps": 1}).run()
    assert several.of(Evaluation)[0].tokens == rows[0], "it reads no more rows at once than it needs"
    within = sum_differs(int(data.packed("Synthetic", "heldout").counted[:, 1:].sum()))
    (whole,) = trained.loop.full_heldout()
    assert whole.loss == pytest.approx(held_out_loss(trained, data), rel=within)
    assert whole.dataset == "Synthetic" and whole.tokens == data.packed("Synthetic", "heldout").counted[:, 1:].sum()


@pytest.mark.parametrize("what", ["data", "answers"])
def test_a_check_counts_the_bytes_of_what_counts(what: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    prepared = request.getfixturevalue(what)
    packed, tokenizer = prepared.packed("Synthetic", "heldout"), prepared.tokenizer()
    spelled = tokenizer.decode(packed.tokens[packed.counted.astype(bool)].tolist())  # the ends are left out
    assert ("Problem:" in spelled) == (what == "data")
    trained = Trained(prepared, tmp_path, {"max_steps": 1})
    with torch.no_grad():
        for parameter in trained.loop.model.parameters():
            parameter.zero_()  # each token is as likely as any other
    (check,) = trained.loop.full_heldout()
    assert check.bytes == len(spelled.encode())
    assert check.loss == pytest.approx(math.log(400), rel=sum_differs(400))
    expected = check.tokens * math.log2(400) / len(spelled.encode())
    assert bits_per_byte(check.loss, check.tokens, check.bytes) == pytest.approx(expected, rel=sum_differs(400))


def test_another_vocabulary_cuts_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for vocabulary in (300, 400):
        change = {"vocab_size": vocabulary, "train_seq_len": 1024, "max_seq_len": 1024}  # every row fits
        data = prepare(TINY.with_overrides(change), tmp_path / "cache")
        found += Trained(data, tmp_path, change).loop.full_heldout()
    cut_small, cut_large = found
    assert cut_small.tokens > cut_large.tokens and cut_small.bytes == cut_large.bytes


def test_a_dataset_counts_by_its_share_of_what_is_learned(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a" * 30], 300)

    def rows(count: int, length: int) -> Packed:
        return pack([EncodedDocument([5] * length, 0)] * count, 15, answers_only=False)

    packed = {
        "large": {"train": rows(30, 14), "heldout": rows(2, 14)},
        "small": {"train": rows(3, 4), "heldout": rows(2, 9)},
    }
    report = DataReport([], fallback=False, content_hash="x", vocabulary=300, from_cache=False)
    folder = tmp_path / "prepared"
    folder.mkdir()
    write_prepared(folder, tokenizer, packed, [], report)
    change = {"vocab_size": 300, "train_seq_len": 16}
    evaluations = Trained(PreparedData(folder), tmp_path, change).loop.full_heldout()
    learned = {name: int(splits["train"].counted.sum()) for name, splits in packed.items()}
    weights = {name: count / sum(learned.values()) for name, count in learned.items()}
    assert {each.dataset: each.weight for each in evaluations} == pytest.approx(weights)


def test_the_held_out_loss_falls_with_the_training_loss(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {"max_steps": 20}).run()
    before, after = trained.of(Evaluation)
    assert after.loss < before.loss - 0.5


def test_samples_continue_a_held_out_problem_as_the_playground_would(data: PreparedData, tmp_path: Path) -> None:
    trained = Trained(data, tmp_path, {"sample_tokens": 12}).run()
    first, last = trained.of(Sample)
    prompt = data.prompts[0]
    for sample in (first, last):
        assert (sample.dataset, sample.prompt, sample.expected) == ("Synthetic", prompt.prompt, prompt.expected)
    playground = Playground(trained.loop.model, data.tokenizer())
    assert last.text == "".join(
        piece.text for piece in playground.stream(prompt.prompt, max_new_tokens=12, seed=trained.config.seed)
    )
    assert last.text
    assert first.text != last.text


def test_questions_asked_at_a_check_are_counted_and_the_first_are_kept(
    monkeypatch: pytest.MonkeyPatch, data: PreparedData, tmp_path: Path
) -> None:
    """A model that has learned one answer by heart is right where that is the answer, and nowhere else."""
    asked = heldout_questions(data, "Synthetic", 6, seed=0)
    told = asked[1].solution

    def by_heart(model: Any, prompts: list[list[int]], most: int, poll: Callable[[], None]) -> list[list[int]]:
        poll()
        assert most >= max(len(data.tokenizer().encode(each.solution).ids) for each in asked)
        return [data.tokenizer().encode(told).ids for _ in prompts]

    monkeypatch.setattr(text_loop_module, "answers", by_heart)
    trained = Trained(data, tmp_path, {"check_questions": 6, "max_steps": 1}).run()
    right = sum(each.answer == asked[1].answer for each in asked) / 6
    assert [check.accuracy for check in trained.of(Evaluation)] == [right, right]
    kept = [(each.prompt, each.text, each.expected) for each in trained.of(Sample) if each.step == 1]
    assert kept == [(each.prompt, told, each.solution) for each in asked[:3]]


def test_no_samples_when_none_are_wanted(data: PreparedData, tmp_path: Path) -> None:
    assert Trained(data, tmp_path, {"sample_tokens": 0}).run().of(Sample) == []


def test_trying_numbers_of_threads_changes_nothing_that_is_learned(data: PreparedData, tmp_path: Path) -> None:
    whole = {"act_enabled": True, "ltm_enabled": True, "d_mem": 16, "mem_segment": 64, "gradient_accumulation_steps": 2}

    class Trying(ThreadChoice):
        """After each step, with the one thread that there is: two that are put aside in turns take minutes."""

        def is_due(self, seconds: float) -> bool:
            return True

        def choose(self, calculate: Callable[[], object]) -> dict[int, float]:
            calculate()
            return {1: 0.5}

    tried = Trained(data, tmp_path / "tried", whole, threads=Trying(1)).run()
    left = Trained(data, tmp_path / "left", whole).run()
    said = [(each.step, each.message) for each in tried.of(Event) if "thread" in each.message]
    assert said == [(n, "Using 1 thread from here: a batch took 0.50 s with 1.") for n in range(1, 5)]
    assert tried.losses == left.losses
    assert tried.of(PonderHistogram) == left.of(PonderHistogram)
    pairs = zip(tried.loop.model.state_dict().values(), left.loop.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_checking_and_sampling_do_not_change_what_is_learned(data: PreparedData, tmp_path: Path) -> None:
    checks = {"eval_interval": 1, "sample_tokens": 5, "save_steps": 1, "check_questions": 2}
    often = Trained(data, tmp_path / "a", checks).run()
    never = Trained(data, tmp_path / "b").run()
    assert often.losses == never.losses
    assert same(often.weights, never.weights)


def test_a_source_without_held_out_rows_is_learned_and_not_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def rows(count: int) -> Packed:
        documents = [EncodedDocument(rng.integers(1, 250, 20).tolist(), 5) for _ in range(count)]
        return pack(documents, 256, answers_only=False)

    folder = tmp_path / "prepared"
    folder.mkdir()
    packed = {"a": {"train": rows(30), "heldout": rows(4)}, "b": {"train": rows(30), "heldout": rows(0)}}
    report = DataReport([], False, "x", 300, False)
    prompts = [HeldoutPrompt("a", "Problem: 1\nSolution:", " 1"), HeldoutPrompt("a", "Problem: 2\nSolution:", " 2")]
    write_prepared(folder, train_tokenizer(["ab"], 300), packed, prompts, report)
    trained = Trained(PreparedData(folder), tmp_path, {"sample_tokens": 2}).run()
    assert Counter(check.dataset for check in trained.of(Evaluation)) == {"a": 2}
    assert {sample.prompt for sample in trained.of(Sample)} == {"Problem: 1\nSolution:"}, "the first prompt is used"
    assert [each.dataset for each in trained.loop.full_heldout()] == ["a"]
    assert set(trained.loop.epochs()) == {"a", "b"}


def test_weights_that_leave_out_all_there_is_are_refused(data: PreparedData, tmp_path: Path) -> None:
    config = {"dataset_sources": ["Synthetic", "GSM8K"], "mixture_weights": {"Synthetic": 0.0, "GSM8K": 1.0}}
    with pytest.raises(DataError, match=r"^The only data available \(Synthetic\)"):
        Trained(data, tmp_path, config)
