"""The Memory lab's task: with a memory and without, what a model knows of facts told beyond its attention's reach.

`python -m tests.bench.memory 1 2` takes other seeds. A seed takes about two minutes on one idle core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from cognate_core.config import TrainingConfig
from cognate_core.labs.recall import Recall
from cognate_core.model import CognateModel
from cognate_core.model.cognate import IGNORED_TARGET
from cognate_core.training.optimizers import optimizers_for
from tests.bench.timing import heading, line

STEPS, BATCH, WARM_UP, DECAY = 440, 16, 20, 0.3
TRAINED_FACTS, DISTANCE, TEXTS = (1, 2, 3, 4), 64, 256
CONFIG = TrainingConfig(
    d_model=64,
    n_layers=3,
    n_heads=4,
    vocab_size=300,
    max_seq_len=8192,
    train_seq_len=64,
    attention_window=16,
    act_enabled=False,
    d_mem=64,
    mem_segment=64,
    mem_writes=24,
    mem_capacity=256,
    mem_topk=16,
    mem_layers="all",
    optimizer="muon",
    learning_rate=4e-3,
    weight_decay=0.01,
)


def trained(config: TrainingConfig, seed: int) -> CognateModel:
    """A model after STEPS batches, learning only what a reader can know."""
    torch.manual_seed(seed)
    model, random = CognateModel(config), np.random.default_rng(seed)
    optimizers = optimizers_for(model, config)
    for step in range(1, STEPS + 1):
        texts = Recall(int(random.choice(TRAINED_FACTS)), DISTANCE).batch(BATCH, random)
        tokens = torch.from_numpy(texts.tokens)
        targets = tokens[:, 1:].masked_fill(~torch.from_numpy(texts.knowable)[:, 1:], IGNORED_TARGET)
        rate = config.learning_rate * min(1.0, step / WARM_UP, max(0.05, (1 - step / STEPS) / DECAY))
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        model(tokens[:, :-1], targets).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def accuracy(model: CognateModel, task: Recall, texts: int = TEXTS) -> float:
    """The share of right answers in new texts."""
    random, right, asked = np.random.default_rng(10_000), 0, 0
    for _ in range(texts // 32):
        batch = task.batch(32, random)
        tokens, answers = torch.from_numpy(batch.tokens), torch.from_numpy(batch.answers)[:, 1:]
        hits = (model(tokens[:, :-1]).logits.argmax(-1) == tokens[:, 1:])[answers]
        right, asked = right + int(hits.sum()), asked + hits.numel()
    return right / asked


def main(seeds: Sequence[int] = (0,)) -> None:
    torch.set_num_threads(1)  # the model is tiny
    asked = Recall(max(TRAINED_FACTS), DISTANCE, alike=0.0)
    heading(f"Facts told at least {DISTANCE} tokens back; attention reaches 45")
    line("chance", f"{asked.chance:.1%}")
    for seed in seeds:
        for what, wanted, ltm in (("with memory", "95 % or more", True), ("without", "chance", False)):
            start = time.process_time()
            model = trained(CONFIG.with_overrides({"ltm_enabled": ltm}), seed)
            took = f"{time.process_time() - start:.0f} s of processor time; wanted: {wanted}"
            line(f"seed {seed}, right answers {what}", f"{accuracy(model, asked):.1%}", took)
            if ltm:
                for distance in (250, 1000, 4000):
                    far = accuracy(model, Recall(max(TRAINED_FACTS), distance, alike=0.0), 32)
                    line(f"  told {distance:,} tokens back", f"{far:.1%}")


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or (0,))
