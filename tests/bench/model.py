"""The model: tokens a second of the plain backbone beside the machine's own matrix product rate, and what pondering and
memory cost on top."""

from __future__ import annotations

import torch

from cognate_core.config import TrainingConfig
from cognate_core.config.presets import PRESETS
from cognate_core.model import CognateModel, count_parameters
from cognate_core.training.hardware import choose_precision, keep_freed_memory
from tests.bench.timing import heading, line, seconds

PLAIN = {"act_enabled": False, "ltm_enabled": False}
ROUNDS = 6


def matmul_flops(dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product."""
    a, b = torch.randn(1024, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    return 2 * 1024 * 2048 * 2048 / seconds(lambda: a @ b, repeats=20, warmups=3)


def arithmetic(config: TrainingConfig, tokens: int) -> float:
    """Operations of a forward and backward pass: 6 for each weight that multiplies, and attention's own."""
    counts = count_parameters(config)
    weights = counts["total"] - counts["embedding"] - counts["norms"]
    attention = 6 * 2 * config.n_layers * config.d_model * config.train_seq_len / 2  # causal: half the pairs
    return tokens * (6 * weights + attention)


def step_seconds(config: TrainingConfig, precision: str) -> float:
    model = CognateModel(config)
    ids = torch.randint(0, config.vocab_size, (config.batch_size, config.train_seq_len))

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = model(ids, ids).loss
        loss.backward()
        model.zero_grad()

    return seconds(step, repeats=5, warmups=2)


def main() -> None:
    heading("Model: forward and backward pass against the machine's matrix product rate")
    rates = {"fp32": matmul_flops(torch.float32), "bf16": matmul_flops(torch.bfloat16)}
    line("matrix product, fp32", f"{rates['fp32'] / 1e9:.0f} GFLOP/s")
    ratio = f"{rates['bf16'] / rates['fp32']:.2f} x fp32"
    line("matrix product, bf16", f"{rates['bf16'] / 1e9:.0f} GFLOP/s", ratio)
    line("chosen here", choose_precision("auto").name)
    for name in ("first-run", "cognate-25m"):
        config = PRESETS[name].config.with_overrides(PLAIN)
        tokens = config.batch_size * config.train_seq_len
        before = step_seconds(config, "fp32")
        keep_freed_memory()
        for precision, rate in rates.items():
            took = step_seconds(config, precision)
            share = arithmetic(config, tokens) / took / rate
            line(
                f"{name}, {precision}", f"{tokens / took:,.0f} tokens/s", f"{share:.0%} of the {precision} matrix rate"
            )
            if precision == "fp32":
                note = f"{before / took:.2f} x faster than without (first preset only: it cannot be switched back)"
                line(f"{name}, fp32, freed memory kept", f"{took * 1000:.0f} ms", note if name == "first-run" else "")
    overheads()


def overheads() -> None:
    """Forward and backward of the full-size model, fresh weights, in turns with the plain backbone."""
    heading("Model: what pondering and memory cost, forward and backward, fp32")
    base = PRESETS["as-specified"].config
    kinds = {
        "plain backbone": PLAIN,
        "with memory": {"act_enabled": False},
        "with pondering": {"ltm_enabled": False},
        "with both": {},
    }
    models = {name: CognateModel(base.with_overrides(change)) for name, change in kinds.items()}
    ids = torch.randint(1, base.vocab_size, (base.batch_size, base.train_seq_len))
    best = dict.fromkeys(models, float("inf"))
    steps: dict[str, float | None] = dict.fromkeys(models)
    for _ in range(ROUNDS):
        for name, model in models.items():

            def step(name: str = name, model: CognateModel = model) -> None:
                output = model(ids, ids)
                output.loss.backward()
                model.zero_grad()
                if output.ponder_steps is not None:
                    steps[name] = float(output.ponder_steps.float().mean())

            best[name] = min(best[name], seconds(step, repeats=1, warmups=0))
    for name, took in best.items():
        ratio = f"{took / best['plain backbone']:.2f} x the plain backbone"
        mean = steps[name]
        limit = ", must be 1.5 x or less" if name == "with memory" else ""
        line(name, f"{took:.2f} s", ratio + limit + (f", {mean:.1f} ponder steps" if mean is not None else ""))
