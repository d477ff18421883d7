"""A whole optimizer step of the 25M plain backbone, as the loop does it, against an ordinary PyTorch transformer of the
same size, and against the machine's matrix product rate.

Each has a process of its own, because keeping freed memory cannot be switched back; they take turns by the step.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.model import CognateModel
from cognate_core.training.grokfast import GrokFastEMA
from cognate_core.training.hardware import choose_precision, keep_freed_memory
from tests.bench.model import PLAIN, arithmetic, matmul_flops
from tests.bench.timing import heading, in_turns, line
from tests.there import there

ROUNDS = 3
CONFIG = PRESETS["as-specified"].config.with_overrides(PLAIN)
WANTED_SPEED, WANTED_SHARE = 1.7, 0.5


class OrdinaryLayer(nn.Module):
    """Pre-norm, causal attention, a feed-forward with GELU."""

    def __init__(self, d_model: int, n_heads: int, inner: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, inner), nn.Linear(inner, d_model)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, d_model = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, time, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, d_model))
        return x + self.down(F.gelu(self.up(self.feed_forward_norm(x))))


class OrdinaryTransformer(nn.Module):
    """As anybody would write it: learned positions, untied head, cross-entropy over all logits."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        inner = 6 * config.d_model  # two matrices with as many weights as SwiGLU's three
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.train_seq_len, config.d_model)
        self.layers = nn.ModuleList(
            OrdinaryLayer(config.d_model, config.n_heads, inner) for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions(torch.arange(ids.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shape = (CONFIG.batch_size, CONFIG.train_seq_len + 1)
    tokens = [
        torch.randint(1, CONFIG.vocab_size, shape, generator=generator)
        for _ in range(CONFIG.gradient_accumulation_steps)
    ]
    return [(each[:, :-1], each[:, 1:]) for each in tokens]


def ordinary() -> tuple[int, Callable[[], None]]:
    model = OrdinaryTransformer(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    given = batches()

    def step() -> None:
        for inputs, targets in given:
            (model(inputs, targets) / len(given)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return sum(p.numel() for p in model.parameters()), step


def ours() -> tuple[int, Callable[[], None]]:
    precision = choose_precision("auto").name
    model = CognateModel(CONFIG)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    grokfast = GrokFastEMA(parameters)
    given = batches()

    def step() -> None:
        for inputs, targets in given:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                loss = model(inputs, targets, keep_logits=False).loss
            (loss / len(given)).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        grokfast.step()
        nn.utils.get_total_norm([there(p.grad) for p in parameters])
        optimizer.step()
        optimizer.zero_grad()

    return sum(p.numel() for p in parameters), step


def _their_step() -> Callable[[], None]:
    return ordinary()[1]


def _own_step() -> Callable[[], None]:
    keep_freed_memory()
    return ours()[1]


def main() -> None:
    heading(
        "Training step: 25M plain backbone, the filter and the fused AdamW included, against an ordinary transformer"
    )
    sizes = [ordinary()[0], ours()[0]]
    took = list(in_turns({"theirs": _their_step, "own": _own_step}, ROUNDS, torch.get_num_threads()).values())
    theirs, own = map(min, took)
    medians = [statistics.median(times) for times in took]
    tokens = CONFIG.batch_size * CONFIG.train_seq_len * CONFIG.gradient_accumulation_steps
    precision = choose_precision("auto").name
    rate = matmul_flops(torch.bfloat16 if precision == "bf16" else torch.float32)
    share = arithmetic(CONFIG, tokens) / own / rate
    line("ordinary, eager fp32, AdamW", f"{theirs:.2f} s", f"{tokens / theirs:,.0f} tokens/s, {sizes[0]:,} parameters")
    line(f"ours, {precision}", f"{own:.2f} s", f"{tokens / own:,.0f} tokens/s, {sizes[1]:,} parameters")
    assert math.isclose(*sizes, rel_tol=0.02)
    medians_note = f"of the medians {medians[0] / medians[1]:.2f} x; wanted {WANTED_SPEED} x"
    line("ours is faster, best step of each", f"{theirs / own:.2f} x", medians_note)
    line(
        f"share of the {precision} matrix rate", f"{share:.0%}", f"{rate / 1e9:.0f} GFLOP/s; wanted {WANTED_SHARE:.0%}"
    )
