"""A tiny model that is trained in several lives, and what two trainings have in common."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    Evaluation,
    Event,
    LayerFigures,
    PonderHistogram,
    Record,
    Rewind,
    Sample,
    StepMetrics,
)
from cognate_core.contracts.json_lines import is_before, read_records
from cognate_core.errors import PauseRequested, StopRequested
from cognate_core.training.checkpoint import load_checkpoint
from cognate_core.training.trainer import TorchTrainer
from tests.tiny import OF_THE_MACHINE

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


def figures(records: Sequence[Record]) -> list[Any]:
    """What was measured, in order, without what the machine says."""
    return [
        {**dataclasses.asdict(record), **dict.fromkeys(OF_THE_MACHINE)} if isinstance(record, StepMetrics) else record
        for record in records
        if isinstance(record, StepMetrics | LayerFigures | Evaluation | Sample)
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
