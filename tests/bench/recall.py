"""Long-term memory on a task that needs it: the same small model, trained with and without, in this run.

A fact is told further back than all layers' attention windows together reach, and asked for later.
"""

from __future__ import annotations

import time

import torch

from cognate_core.config import TrainingConfig
from cognate_core.model import CognateModel
from tests.bench.timing import heading, line
from tests.recall_task import RecallTask

TASK = RecallTask()
STEPS, BATCH, LEARNING_RATE = 150, 16, 2e-3
CONFIG = TrainingConfig(
    d_model=64,
    n_layers=4,
    n_heads=4,
    vocab_size=300,
    max_seq_len=256,
    train_seq_len=64,
    attention_window=32,
    act_enabled=False,
    d_mem=64,
    mem_segment=32,
    mem_writes=16,
    mem_capacity=256,
)


def trained(config: TrainingConfig, task: RecallTask = TASK, steps: int = STEPS, seed: int = 0) -> CognateModel:
    """A model after `steps` batches of the task, learning every token."""
    torch.manual_seed(seed)
    model = CognateModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    batches = task.batches(BATCH, seed)
    for step in range(1, steps + 1):
        tokens = torch.from_numpy(next(batches)[0])
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, step / 30)
        model(tokens[:, :-1], tokens[:, 1:]).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def accuracy(model: CognateModel, task: RecallTask = TASK, sequences: int = 512, seed: int = 10_000) -> float:
    """Share of the answers, on sequences that were not trained on, that the model finds likeliest."""
    right = total = 0
    batches = task.batches(64, seed)
    for _ in range(sequences // 64):
        tokens, answers = (torch.from_numpy(each) for each in next(batches))
        guesses = model(tokens[:, :-1]).logits.argmax(-1)
        hits = (guesses == tokens[:, 1:])[answers[:, 1:]]
        right, total = right + int(hits.sum()), total + hits.numel()
    return right / total


def main() -> None:
    torch.set_num_threads(1)  # the model is tiny
    heading("Long-term memory: recall from beyond the attention window")
    reach = CONFIG.n_layers * (CONFIG.attention_window - 1)
    line("told and asked at least so far apart", f"{TASK.distance} tokens", f"all layers' attention reaches {reach}")
    line("chance", f"{TASK.chance:.1%}")
    for what, config, limit in (
        ("with memory", CONFIG, "must be 90 % or more"),
        ("without", CONFIG.with_overrides({"ltm_enabled": False}), f"must be {TASK.chance + 0.1:.1%} or less"),
    ):
        start = time.perf_counter()
        model = trained(config)
        line(f"right answers {what}, {STEPS} steps", f"{accuracy(model):.1%}", limit)
        line(
            "  parameters, time to train",
            f"{sum(p.numel() for p in model.parameters()):,}",
            f"{time.perf_counter() - start:.0f} s",
        )
