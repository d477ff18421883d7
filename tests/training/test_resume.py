"""Pause, kill, resume: what follows is, bit for bit, what would have followed, and its log has each thing once."""

import asyncio
import dataclasses
import json
import math
import shutil
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    CHECKPOINT_MANIFEST,
    Evaluation,
    Event,
    PonderHistogram,
    Record,
    Rewind,
    Sample,
    StepMetrics,
)
from cognate_core.contracts.heldout import HeldoutMeans
from cognate_core.contracts.json_lines import is_before, read_records
from cognate_core.data.loader import MixtureLoader
from cognate_core.errors import CancelRequested, Diverged, OutOfMemory, PauseRequested, StopRequested
from cognate_core.model import CognateModel, CognateOutput
from cognate_core.training import checkpoint as checkpoint_module
from cognate_core.training import loop as loop_module
from cognate_core.training import trainer as trainer_module
from cognate_core.training.checkpoint import Checkpoint, load_checkpoint
from cognate_core.training.hardware import compute_environment
from cognate_core.training.text_loop import TextLoop
from cognate_core.training.trainer import TorchTrainer
from tests.there import there

TINY = TrainingConfig(
    dataset_sources=["Synthetic"],
    max_train_samples=40,
    max_eval_samples=5,
    train_seq_len=128,
    max_seq_len=128,
    d_model=16,
    n_layers=2,
    n_heads=2,
    vocab_size=300,
    max_steps=8,
    batch_size=1,
    gradient_accumulation_steps=2,
    learning_rate=1e-2,
    eval_interval=3,
    sample_tokens=3,
    save_steps=2,
    precision="fp32",
    act_enabled=False,
    ltm_enabled=False,
)
BOTH = {"n_layers": 3, "act_enabled": True, "max_act_steps": 3, "ltm_enabled": True}
BOTH |= {"d_mem": 16, "mem_segment": 64, "mem_writes": 2}
KINDS: dict[str, dict[str, Any]] = {
    "EMA, pondering and memory": BOTH,
    "EMA, Muon, memory": {**BOTH, "act_enabled": False, "optimizer": "muon"},
    "MA, pondering later": {
        **BOTH,
        "ltm_enabled": False,
        "act_from": 0.4,
        "grokfast_method": "ma",
        "grokfast_window": 3,
    },
    "no filter, memory": {**BOTH, "act_enabled": False, "grokfast_enabled": False},
    "MA, plain": {"grokfast_method": "ma", "grokfast_window": 3, "grokfast_lamb": 1.0},
    "EMA, plain": {},
}
Place = tuple[int, int]
"""A call of the progress callback: the step that it names, and which of the calls that name this step it is."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    async def run() -> str:
        loader = MixtureLoader(TINY, tmp_path_factory.mktemp("cache"), lambda record: None, lambda message: None)
        await loader.download_dataset("Synthetic", "built in")
        return await loader.create_mixed_training_data()

    return asyncio.run(run())


class Trained:
    """A model of a kind and all its lives.

    Attributes:
        calls: the step that each call of the progress callback named, in the newest life.
        records: what is known of the model, as the database has it: a rewind takes back what is void.
    """

    def __init__(self, prepared: str, parent: Path, kind: str = "EMA, plain", **change: Any) -> None:
        where = {"prepared_data": prepared, "output_dir": str(parent)}
        self.config = TINY.with_overrides({**KINDS[kind], **change}).model_copy(update=where)
        self.folder = parent / "m"
        self.calls: list[int] = []
        self.records: list[Record] = []
        self.heard: list[Record] = []
        self.result: dict[str, Any] | None = None
        self.meanwhile: Callable[[Place], None] = lambda place: None
        self.chooses_threads = False

    def live(self, until: Place | None = None, error: type[Exception] = PauseRequested, resume: bool = True) -> bool:
        """Train to the end or to a call of the callback, which then asks for an end; whether it came to the end."""
        self.calls, self.heard = [], []
        seen: Counter[int] = Counter()

        def callback(step: int, *rest: float) -> None:
            self.calls.append(step)
            place = (step, seen[step])
            seen[step] += 1
            self.meanwhile(place)
            if place == until:
                raise error

        try:
            trainer = TorchTrainer(self._record, resume, chooses_threads=self.chooses_threads)
            self.result = asyncio.run(trainer.train_model("m", self.config, callback))
        except error:
            assert until is not None
            return False
        return True

    def live_to_stop(self, place: Place) -> bool:
        """Train to a call of the callback, which then asks for a stop: the model is saved as it is."""
        return self.live(until=place, error=StopRequested)

    def _record(self, record: Record) -> None:
        self.heard.append(record)
        if isinstance(record, Rewind):
            self.records = [each for each in self.records if is_before(each, record)]
        else:
            self.records.append(record)

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def told(self) -> list[str]:
        """What was told as a warning in the newest life."""
        return [each.message for each in self.heard if isinstance(each, Event) and each.level == "warning"]

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "checkpoints").iterdir())


class Reference(Trained):
    """Trained in one go, with a map of when the callback was called: `places[kind][step]`."""

    def __init__(self, prepared: str, parent: Path, kind: str) -> None:
        super().__init__(prepared, parent, kind)
        self.places: dict[str, dict[int, list[Place]]] = {"step": {}, "midst": {}, "check": {}}
        assert self.live(resume=False)
        for step, count in Counter(self.calls).items():
            places = [(step, number) for number in range(count)]
            if step:
                self.places["step"][step] = [places.pop(0)]  # right after the step
            if step < self.config.max_steps:
                self.places["midst"][step] = [places.pop()]  # between the two batches of the next one
            self.places["check"][step] = places  # while measuring and writing


@pytest.fixture(scope="module")
def references(prepared: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Reference]:
    """What each kind comes to when it is left alone."""
    made: dict[str, Reference] = {}

    def reference(kind: str) -> Reference:
        if kind not in made:
            made[kind] = Reference(prepared, tmp_path_factory.mktemp("alone"), kind)
        return made[kind]

    return reference


@pytest.fixture
def plain(references: Callable[[str], Reference]) -> Reference:
    return references("EMA, plain")


def figures(records: Sequence[Record]) -> list[Any]:
    """What was measured, in order, without what a clock says."""
    return [
        dataclasses.replace(record, seconds=0.0, elapsed_seconds=0.0) if isinstance(record, StepMetrics) else record
        for record in records
        if isinstance(record, StepMetrics | Evaluation | Sample)
    ]


def ponder_counts(records: Sequence[Record]) -> list[int]:
    histograms = [record.counts for record in records if isinstance(record, PonderHistogram)]
    length = max((len(counts) for counts in histograms), default=0)
    return [sum(counts[n] for counts in histograms if n < len(counts)) for n in range(length)]


def assert_same_end(found: Trained, wanted: Trained) -> None:
    """Weights, optimizer, filter, position in the data and everything measured are equal bit for bit."""
    assert found.result is not None and wanted.result is not None
    for file in ("model.safetensors", "checkpoints/step-00000008/model.safetensors"):
        assert_equal_tensors(load_file(found.folder / file), load_file(wanted.folder / file))
    one, other = (load_checkpoint(each.folder / "checkpoints/step-00000008") for each in (found, wanted))
    assert_equal_tensors(one.tensors, other.tensors)
    for state in (one.state, other.state):
        assert state.pop("elapsed_seconds") > 0  # type: ignore[attr-defined]
    assert one.state == other.state
    assert figures(found.records) == figures(wanted.records)
    log = list(read_records(found.folder / "training_log.jsonl"))
    assert figures(log) == figures(wanted.records)
    assert ponder_counts(found.records) == ponder_counts(log) == ponder_counts(wanted.records)
    assert [metrics.step for metrics in found.of(StepMetrics)] == list(range(1, 9)), "each step once"
    elapsed = [metrics.elapsed_seconds for metrics in found.of(StepMetrics)]
    assert elapsed == sorted(elapsed), "time goes on over all lives"
    for stats in ("steps", "tokens", "epochs", "heldout_loss"):
        assert found.result["training_stats"][stats] == wanted.result["training_stats"][stats], stats
    assert found.result["training_stats"]["seconds"] >= elapsed[-1] - 0.01
    assert not list(found.folder.glob("**/*.tmp-*"))


def assert_equal_tensors(found: Any, wanted: Any) -> None:
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


# Paused


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_was_paused_again_and_again_ends_as_if_it_had_not(
    prepared: str, references: Callable[[str], Reference], tmp_path: Path, kind: str
) -> None:
    alone = references(kind)
    step, midst, check = (alone.places[name] for name in ("step", "midst", "check"))
    paused = Trained(prepared, tmp_path, kind)
    for place in (
        check[0][1],  # before anything was learned
        midst[0][0],  # within the first step
        step[1][0],
        midst[2][0],  # after a checkpoint, within the step behind it
        step[3][0],  # before a check that is due
        check[6][0],  # at the beginning of a check
        midst[7][0],
        check[8][-1],  # all steps are done; while the whole held-out text is read
    ):
        assert not paused.live(until=place)
    assert paused.live()
    assert_same_end(paused, alone)


@pytest.mark.parametrize("kind", ["EMA, plain", "EMA, pondering and memory"])
def test_a_check_that_is_broken_off_anywhere_is_made_once(
    prepared: str, references: Callable[[str], Reference], tmp_path: Path, kind: str
) -> None:
    alone = references(kind)
    places = alone.places["check"][3]
    assert len(places) > TINY.sample_tokens > 1, "it has parts"
    paused = Trained(prepared, tmp_path, kind)
    for (number, _), place in zip(enumerate(places), places, strict=True):
        # the step's own call is not made again by a life that begins at this step
        assert not paused.live(until=place if number == 0 else (place[0], place[1] - 1)), place
    assert paused.live()
    assert_same_end(paused, alone)


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])  # a life takes a while
@given(data=st.data())
def test_any_pauses_leave_each_step_once(
    references: Callable[[str], Reference],
    prepared: str,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    alone = references("EMA, plain")
    everywhere = sorted(place for kind in alone.places.values() for places in kind.values() for place in places)
    places = sorted(data.draw(st.lists(st.sampled_from(everywhere), max_size=4, unique=True)))
    paused = Trained(prepared, tmp_path_factory.mktemp("paused"))
    for place in places:
        if paused.live(until=place):
            break  # the life before ended at this step, and the call did not come again
    else:
        paused.live()
    assert_same_end(paused, alone)


def test_a_pause_is_heard_at_once_and_saved_as_if_the_broken_step_had_not_begun(
    prepared: str, plain: Reference, tmp_path: Path
) -> None:
    paused = Trained(prepared, tmp_path)
    assert not paused.live(until=plain.places["midst"][5][0])
    assert paused.calls[-1] == 5
    checkpoint = load_checkpoint(paused.folder / "checkpoints/step-00000005")
    assert checkpoint.state["batches"] == {"drawn": [10]}
    assert checkpoint.state["tokens"] == sum(metrics.tokens for metrics in paused.of(StepMetrics))
    assert not (paused.folder / "model.safetensors").exists()


def test_a_pause_before_the_first_step_leaves_nothing_to_go_on_from_and_is_told_so(
    prepared: str, plain: Reference, tmp_path: Path
) -> None:
    paused = Trained(prepared, tmp_path)
    assert not paused.live(until=(0, 0))
    assert not (paused.folder / "checkpoints").exists()
    assert paused.live()
    assert paused.heard[0] == Rewind("m", -1, -1)
    assert_same_end(paused, plain)


def test_a_resumed_life_first_takes_back_what_is_void(prepared: str, plain: Reference, tmp_path: Path) -> None:
    paused = Trained(prepared, tmp_path)
    paused.live(until=plain.places["check"][6][0])
    paused.live()
    assert paused.heard[0] == Rewind("m", 6, 3)
    assert "Resumed after step 6" in [event.message for event in paused.heard if isinstance(event, Event)]
    assert not any(isinstance(record, Rewind) for record in plain.heard), "a first life takes nothing back"


def test_resuming_where_nothing_was_is_starting(prepared: str, plain: Reference, tmp_path: Path) -> None:
    fresh = Trained(prepared, tmp_path)
    assert fresh.live()
    assert_same_end(fresh, plain)
    assert fresh.told == []


def test_the_number_format_stays_that_of_the_first_life(
    prepared: str, plain: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = Trained(prepared, tmp_path)
    paused.live(until=(4, 0))

    def refuse(wanted: str) -> None:
        raise AssertionError("another format may be chosen today")

    monkeypatch.setattr(trainer_module, "precision_for", refuse)
    assert paused.live()
    assert "Number format fp32, as before" in [each.message for each in paused.heard if isinstance(each, Event)]


# Killed


KILLS = ("step", 1), ("check", 3), ("midst", 4), ("step", 6), ("check", 8)


@pytest.mark.parametrize("kind", ["EMA, plain", "EMA, pondering and memory"])
def test_a_model_whose_process_was_killed_ends_as_if_it_had_not_been(
    prepared: str, references: Callable[[str], Reference], tmp_path: Path, kind: str
) -> None:
    alone = references(kind)
    wanted = {alone.places[when][step][-1] for when, step in KILLS}
    left: dict[Place, Path] = {}

    def leave(place: Place) -> None:
        """What is on the disk when the process is killed at this moment."""
        if place in wanted:
            left[place] = tmp_path / f"killed at {place}"
            shutil.copytree(tmp_path / "alive" / "m", left[place] / "m")

    alive = Trained(prepared, tmp_path / "alive", kind)
    alive.meanwhile = leave
    assert alive.live()
    assert set(left) == wanted
    for place, parent in left.items():
        killed = Trained(prepared, parent, kind)
        log = killed.folder / "training_log.jsonl"
        killed.records = list(read_records(log))
        with log.open("ab") as file:
            file.write(b'{"type": "StepMetrics", "model_na')  # the line that was being written
        assert killed.live(), place
        assert_same_end(killed, alone)


def test_what_a_kill_left_half_written_is_swept_away(prepared: str, plain: Reference, tmp_path: Path) -> None:
    killed = Trained(prepared, tmp_path)
    killed.live(until=(5, 0))
    (killed.folder / "checkpoints/step-00000007.tmp-0123abcd").mkdir()
    (killed.folder / "checkpoints/step-00000007.tmp-0123abcd/model.safetensors").write_bytes(b"half")
    (killed.folder / "finishing.tmp-0123abcd").mkdir()
    (killed.folder / "finishing.tmp-0123abcd/model.safetensors").write_bytes(b"half")
    assert killed.live()
    assert_same_end(killed, plain)  # which finds no such leftover
    assert not any("tmp-" in path.name for path in killed.folder.rglob("*"))


def test_a_kill_while_the_model_is_put_in_place_loses_nothing(
    prepared: str, plain: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Trained(prepared, tmp_path)
    replace, count = Path.replace, 0

    def die_at_the_third(path: Path, target: Path) -> Path:
        nonlocal count
        if path.parent.name.startswith("finishing.tmp-"):
            count += 1
            if count == 3:
                raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", die_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        killed.live()
    monkeypatch.undo()
    assert not (killed.folder / "model.safetensors").exists(), "a folder that has weights has all the rest"
    assert killed.live()
    assert_same_end(killed, plain)


# Damaged checkpoints


@pytest.fixture(scope="module")
def at_seven(prepared: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Paused after step 7, with the checkpoints of step 4, 6 and 7."""
    paused = Trained(prepared, tmp_path_factory.mktemp("paused"))
    assert not paused.live(until=(7, 0))
    assert set(paused.checkpoints) >= {"step-00000004", "step-00000006", "step-00000007"}
    return paused


@pytest.fixture
def copy(at_seven: Trained, prepared: str, tmp_path: Path) -> Trained:
    shutil.copytree(at_seven.folder, tmp_path / "m")
    paused = Trained(prepared, tmp_path)
    paused.records = list(at_seven.records)
    return paused


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 16]) + content[-8:])


@pytest.mark.parametrize(
    ("part", "how"),
    [
        ("model.safetensors", "a flipped bit"),
        ("optimizer.safetensors", "truncated"),
        ("state.json", "a flipped bit"),
        ("state.json", "missing"),
        (CHECKPOINT_MANIFEST, "missing"),
    ],
)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_gives_the_same_end(
    copy: Trained, plain: Reference, part: str, how: str
) -> None:
    damage(copy.folder / "checkpoints/step-00000007" / part, how)
    assert copy.live()
    assert copy.heard[0] == Rewind("m", 6, 6)
    (warning,) = copy.told
    assert warning.startswith("The checkpoint step-00000007 is ")
    assert warning.endswith("An earlier one is taken.")
    assert_same_end(copy, plain)
    assert any(name.startswith("step-00000007.damaged-") for name in copy.checkpoints), "it is kept"
    assert warning in (copy.folder / "training_log.jsonl").read_text("utf-8")


def test_two_damaged_checkpoints_are_both_told_and_the_one_before_them_is_taken(
    copy: Trained, plain: Reference
) -> None:
    for step in (6, 7):
        damage(copy.folder / f"checkpoints/step-0000000{step}/optimizer.safetensors", "a flipped bit")
    assert copy.live()
    assert copy.heard[0] == Rewind("m", 4, 3)
    assert [warning.split()[2] for warning in copy.told] == ["step-00000007", "step-00000006"]
    assert_same_end(copy, plain)


def test_when_all_checkpoints_are_damaged_it_begins_anew_and_says_so(copy: Trained, plain: Reference) -> None:
    steps = copy.checkpoints
    for name in steps:
        damage(copy.folder / "checkpoints" / name / "state.json", "truncated")
    assert copy.live()
    assert copy.heard[0] == Rewind("m", -1, -1)
    assert [warning.split()[2] for warning in copy.told] == steps[::-1]
    assert_same_end(copy, plain)
    assert "An earlier one is taken" not in copy.told[-1], "there is none"
    assert any("start" in warning or "beginning" in warning or "anew" in warning for warning in copy.told)


def test_a_checkpoint_that_is_gone_is_not_missed(copy: Trained, plain: Reference) -> None:
    shutil.rmtree(copy.folder / "checkpoints/step-00000007")
    assert copy.live()
    assert copy.heard[0] == Rewind("m", 6, 6)
    assert_same_end(copy, plain)


def test_a_log_that_is_torn_in_its_midst_does_not_stop_a_model(copy: Trained, plain: Reference) -> None:
    log = copy.folder / "training_log.jsonl"
    lines = log.read_text("utf-8").splitlines(keepends=True)
    log.write_text("".join([*lines[:5], lines[5][:10] + "\n", *lines[6:]]), "utf-8")
    assert copy.live()
    assert_equal_tensors(load_file(copy.folder / "model.safetensors"), load_file(plain.folder / "model.safetensors"))
    assert figures(copy.records) == figures(plain.records), "the database still has what the log lost"
    steps = [each.step for each in read_records(log) if isinstance(each, StepMetrics)]
    assert steps == sorted(set(steps)) and steps[-1] == 8


def test_going_on_with_other_means_is_told(copy: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    now = compute_environment()
    monkeypatch.setattr(loop_module, "compute_environment", lambda: {**now, "threads": 64, "torch": "9.9"})
    assert copy.live()
    (warning,) = copy.told
    assert "threads was 1 and is 64" in warning
    assert f"torch was {now['torch']} and is 9.9" in warning
    assert "processor" not in warning
    assert "not bit for bit" in warning
    (event,) = [each for each in copy.heard if isinstance(each, Event) and each.level == "warning"]
    assert (event.model_name, event.step) == ("m", 7)


def test_a_checkpoint_says_what_calculated_it(copy: Trained) -> None:
    state = load_checkpoint(copy.folder / "checkpoints/step-00000007").state
    assert state["compute_environment"] == compute_environment()
    assert set(state["compute_environment"]) == {"processor", "instructions", "threads", "torch"}


def test_going_on_with_the_same_means_is_no_news(copy: Trained) -> None:
    assert copy.live()
    assert copy.told == []


def test_one_that_chooses_its_threads_goes_on_with_as_many_as_before(copy: Trained) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    copy.chooses_threads = True
    assert copy.live()
    assert torch.get_num_threads() == threads + 1, "whatever comes next may have them all"
    torch.set_num_threads(threads)
    assert copy.told == []
    assert copy.result is not None and copy.result["training_stats"]["threads"] == threads


def test_a_checkpoint_that_was_changed_on_purpose_is_not_taken(copy: Trained) -> None:
    """One who changes a part must change its checksum, too."""
    newest = copy.folder / "checkpoints/step-00000007"
    state = json.loads((newest / "state.json").read_text("utf-8"))
    (newest / "state.json").write_text(json.dumps({**state, "tokens": 10**9}), "utf-8")
    assert copy.live()
    assert copy.result is not None and copy.result["training_stats"]["tokens"] < 10**9
    assert len(copy.told) == 1


# The best checkpoint


def script_checks(monkeypatch: pytest.MonkeyPatch, losses: dict[int, float | None]) -> None:
    """From now on the mean held-out loss is the one of the script."""
    monkeypatch.setattr(TextLoop, "_check_heldout", lambda loop: HeldoutMeans(losses[loop.step], None, None))


BEST_AT_2 = {0: 9.0, 2: 1.0, 4: 5.0, 6: 6.0, 8: 7.0}


@pytest.mark.parametrize("pause", [None, (3, 0), (1, 0), (2, 0)])
def test_the_best_checkpoint_outlives_newer_ones_and_pauses(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: Place | None
) -> None:
    script_checks(monkeypatch, dict(BEST_AT_2))
    monkeypatch.setattr(checkpoint_module, "spread_checkpoints", lambda size: 0)
    model = Trained(prepared, tmp_path, eval_interval=2, save_steps=1)
    if pause is not None:
        assert not model.live(until=pause)
    assert model.live()
    assert model.checkpoints == ["step-00000002", "step-00000006", "step-00000007", "step-00000008"]
    assert load_checkpoint(model.folder / "checkpoints/step-00000002").state["score"] == 1.0


def test_a_resumed_model_knows_the_best_loss_of_its_earlier_lives(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_checks(monkeypatch, dict(BEST_AT_2))
    model = Trained(prepared, tmp_path, eval_interval=2, save_steps=1000)
    model.live(until=(3, 0))
    assert model.checkpoints == ["step-00000002", "step-00000003"], "one was kept as the best, one for the pause"
    assert model.live()
    assert model.checkpoints == ["step-00000002", "step-00000003", "step-00000008"], "no later check was better"


def test_checks_that_are_no_number_are_never_the_best(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_checks(monkeypatch, {0: None, 2: None, 4: 3.0, 6: None, 8: 4.0})
    model = Trained(prepared, tmp_path, eval_interval=2, save_steps=1000)
    assert model.live()
    assert model.checkpoints == ["step-00000004", "step-00000008"]
    assert load_checkpoint(model.folder / "checkpoints/step-00000008").state["best"]["score"] == 3.0


# Other ends


def test_a_stopped_model_is_resumed_and_ends_as_if_it_had_not_been_stopped(
    prepared: str, plain: Reference, tmp_path: Path
) -> None:
    stopped = Trained(prepared, tmp_path)
    assert stopped.live_to_stop((5, 0))
    assert stopped.result is not None
    assert (stopped.result["training_status"], stopped.result["training_stats"]["steps"]) == ("stopped", 5)
    early = load_file(stopped.folder / "model.safetensors")
    assert stopped.live()
    assert stopped.result["training_status"] == "completed"
    assert_same_end(stopped, plain)
    final = load_file(stopped.folder / "model.safetensors")
    assert not all(torch.equal(early[name], final[name]) for name in early)
    CognateModel.from_pretrained(stopped.folder)


@pytest.mark.parametrize("finished_before", [True, False])
def test_a_cancel_in_a_later_life_takes_nothing_that_an_earlier_one_finished(
    prepared: str, tmp_path: Path, finished_before: bool
) -> None:
    model = Trained(prepared, tmp_path)
    if finished_before:
        assert model.live_to_stop((3, 0))
    else:
        assert not model.live(until=(3, 0))
    assert not model.live(until=(5, 0), error=CancelRequested)
    assert model.folder.exists() is finished_before
    if finished_before:
        CognateModel.from_pretrained(model.folder)


NO_MEMORY = "[enforce fail at alloc_cpu.cpp:121] err == 12. DefaultCPUAllocator: can't allocate memory: you tried to "


def fail_after(monkeypatch: pytest.MonkeyPatch, forwards: int, error: Exception) -> None:
    """From now on the forward pass fails that comes after so many."""
    forward, count = CognateModel.forward, 0

    def failing(model: CognateModel, *arguments: Any, **options: Any) -> CognateOutput:
        nonlocal count
        if torch.is_grad_enabled():
            count += 1
            if count > forwards:
                raise error
        return forward(model, *arguments, **options)

    monkeypatch.setattr(CognateModel, "forward", failing)


@pytest.mark.parametrize(
    "error",
    [RuntimeError(f"{NO_MEMORY}allocate 8 bytes."), MemoryError(), RuntimeError("CUDA out of memory.")],
    ids=["torch", "Python", "CUDA"],
)
def test_without_memory_it_says_so_and_can_go_on_from_its_last_checkpoint(
    prepared: str, plain: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    model = Trained(prepared, tmp_path)
    fail_after(monkeypatch, 11, error)  # within step 6
    with pytest.raises(OutOfMemory, match=r"^The computer ran out of memory\. Choose a smaller batch size") as caught:
        model.live()
    assert caught.value.__cause__ is error
    assert model.checkpoints[-1] == "step-00000004"
    monkeypatch.undo()
    assert model.live()
    assert_same_end(model, plain)


def test_another_error_reaches_the_caller_as_it_is_and_the_model_can_go_on(
    prepared: str, plain: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, error = Trained(prepared, tmp_path), RuntimeError("shapes do not fit")
    fail_after(monkeypatch, 11, error)
    with pytest.raises(RuntimeError) as caught:
        model.live()
    assert caught.value is error
    monkeypatch.undo()
    assert model.live()
    assert_same_end(model, plain)


def spoil_steps(monkeypatch: pytest.MonkeyPatch, bad: Callable[[int], bool]) -> Callable[[Trained], Trained]:
    """From now on the loss of step n is no number when bad(n), of models that were told to what is given back."""
    forward, now = CognateModel.forward, {"step": 0}

    def spoilt(model: CognateModel, *arguments: Any, **options: Any) -> CognateOutput:
        output = forward(model, *arguments, **options)
        if not torch.is_grad_enabled() or not bad(now["step"] + 1):
            return output
        spoilt = [there(loss) * math.nan for loss in (output.loss, output.language_model_loss)]
        return dataclasses.replace(output, loss=spoilt[0], language_model_loss=spoilt[1])

    def follow(place: Place) -> None:
        now["step"] = place[0]

    def known(model: Trained) -> Trained:
        now["step"] = 0
        model.meanwhile = follow
        return model

    monkeypatch.setattr(CognateModel, "forward", spoilt)
    return known


@pytest.mark.parametrize("pause", [None, (4, 0), (5, 0)])
def test_bad_losses_in_a_row_are_counted_over_a_pause(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: Place | None
) -> None:
    model = spoil_steps(monkeypatch, lambda step: step > 3)(Trained(prepared, tmp_path))
    if pause is not None:
        assert not model.live(until=pause)
    with pytest.raises(Diverged, match=r"^The loss stopped being a number at step 6\."):
        model.live()
    assert [metrics.step for metrics in model.of(StepMetrics)] == [1, 2, 3, 4, 5, 6]
    best = load_checkpoint(model.folder / "checkpoints/step-00000003")
    assert all(tensor.isfinite().all() for tensor in best.model.values())


@pytest.mark.parametrize("kind", ["EMA, plain", "MA, plain", "no filter, memory"])
def test_a_checkpoint_from_before_the_optimizer_has_moved_is_as_good_as_any(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The first loss is no number: there is a step, yet neither AdamW nor the filter has anything to keep."""
    known = spoil_steps(monkeypatch, lambda step: step == 1)
    alone, paused = Trained(prepared, tmp_path / "alone", kind), Trained(prepared, tmp_path / "paused", kind)
    for model in (alone, paused):
        known(model)
        if model is paused:
            assert not model.live(until=(1, 0))
            state = load_checkpoint(model.folder / "checkpoints/step-00000001")
            assert dict(state.tensors) == {}
            assert state.state["bad_steps"] == 1
        assert model.live()
        assert math.isnan(model.of(StepMetrics)[0].filtered_grad_norm)
    for each in (alone, paused):
        each.records = [record for record in each.records if getattr(record, "step", 0) != 1]  # NaN is not NaN
    assert figures(alone.records) == figures(paused.records)
    one, other = (load_checkpoint(each.folder / "checkpoints/step-00000008") for each in (alone, paused))
    assert_equal_tensors(other.model, one.model)
    assert_equal_tensors(other.tensors, one.tensors)


@pytest.mark.parametrize("kind", ["EMA, plain", "MA, plain"])
def test_a_resumed_run_holds_its_checkpoint_once(
    prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The optimizer and the filter take its tensors over; its weights are copied into the model and let go."""
    trained = Trained(prepared, tmp_path, kind)
    trained.live(until=(4, 0), resume=False)
    weights: list[weakref.ref[torch.Tensor]] = []
    read: dict[str, int] = {}
    held: dict[str, int] = {}
    load, save = checkpoint_module.newest_checkpoint, checkpoint_module.save_checkpoint

    def note_read(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
        found = there(load(folder, say))
        weights.extend(weakref.ref(tensor) for tensor in found.model.values())
        read.update({name: tensor.data_ptr() for name, tensor in found.tensors.items() if tensor.numel() > 1})
        return found

    def note_held(folder: Path, checkpoint: Checkpoint) -> Path:
        held.update({name: tensor.data_ptr() for name, tensor in checkpoint.tensors.items() if name in read})
        return save(folder, checkpoint)

    monkeypatch.setattr(trainer_module, "newest_checkpoint", note_read)
    monkeypatch.setattr(loop_module, "save_checkpoint", note_held)
    alive: list[int] = []
    trained.meanwhile = lambda place: alive.append(sum(each() is not None for each in weights))
    trained.live()
    assert read and held == read
    assert weights and set(alive) == {0}
