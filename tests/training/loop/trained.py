"""A tiny model, trained by the loop alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cognate_core.config import TrainingConfig
from cognate_core.contracts import (
    ProgressCallback,
    Record,
    StepMetrics,
)
from cognate_core.data.prepared import PreparedData
from cognate_core.training.hardware import Precision
from cognate_core.training.text_loop import TextLoop
from cognate_core.training.threads import ThreadChoice
from tests.training.preparing import prepared_folder

TINY = TrainingConfig(
    dataset_sources=["Synthetic"],
    max_train_samples=60,
    max_eval_samples=10,
    train_seq_len=256,
    max_seq_len=256,
    d_model=16,
    n_layers=2,
    n_heads=2,
    vocab_size=400,
    max_steps=5,
    batch_size=2,
    gradient_accumulation_steps=1,
    learning_rate=1e-2,
    eval_interval=1000,
    sample_tokens=0,
    save_steps=1000,
    precision="fp32",
    act_enabled=False,  # test_the_whole_cognate_* have both
    ltm_enabled=False,
)
FP32 = Precision("fp32", "fp32, as set")
BF16 = Precision("bf16", "bf16, as set")


def prepare(config: TrainingConfig, cache: Path) -> PreparedData:
    return PreparedData(Path(prepared_folder(config, cache)))


class Trained:
    """A loop and all it recorded."""

    def __init__(
        self,
        data: PreparedData,
        folder: Path,
        change: dict[str, Any] | None = None,
        precision: Precision = FP32,
        callback: ProgressCallback = lambda *progress: None,
        before_save: Callable[[], None] = lambda: None,
        threads: ThreadChoice | None = None,
    ) -> None:
        self.config = TINY.with_overrides(change or {})
        self.records: list[Record] = []
        self.calls: list[tuple[int, int, float, float]] = []
        self.folder = folder

        def tell(*progress: Any) -> None:
            self.calls.append(progress)
            callback(*progress)

        self.loop = TextLoop(
            "m", self.config, data, folder, precision, self.records.append, tell, before_save, threads=threads
        )

    def run(self) -> "Trained":
        self.loop.run()
        return self

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def steps(self) -> list[StepMetrics]:
        return self.of(StepMetrics)

    @property
    def losses(self) -> list[float]:
        return [metrics.loss for metrics in self.steps]

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self.loop.model.named_parameters()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@torch.no_grad()
def held_out_loss(trained: Trained, data: PreparedData, **options: Any) -> float:
    """Token by token over every held-out row."""
    packed = data.packed("Synthetic", "heldout")
    losses = []
    for tokens, counted in zip(packed.tokens, packed.counted, strict=True):
        ids = torch.from_numpy(tokens.astype("int64"))
        guesses = F.log_softmax(trained.loop.model(ids[None, :-1], **options).logits[0], dim=-1)
        losses += [-float(guesses[t - 1, ids[t]]) for t in range(1, len(ids)) if counted[t]]
    return sum(losses) / len(losses)
