"""What pondering and memory add to a forward and backward pass: in turns within one process, against the plain model.

Measured in seconds of one thread's processor time, best of several, so that other work on the machine matters little.
Each token takes two ponder steps. Beside the time stands how many operations torch was asked for.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cognate_core.config.presets import PRESETS
from cognate_core.model import CognateModel
from cognate_core.training.hardware import keep_freed_memory
from tests.bench.timing import heading, line

ROUNDS = 7
ONE, ALL = {"mem_layers": "one"}, {"mem_layers": "all"}
NO_ACT, NO_LTM = {"act_enabled": False}, {"ltm_enabled": False}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # settings, and how the forward pass is asked for
    "plain": (NO_ACT | NO_LTM, {}),
    "pondering, each token halts by itself": (NO_LTM, {}),
    "pondering, all together": (NO_LTM, {"ponder_depth": 2}),
    "memory in all layers": (NO_ACT | ALL, {}),
    "memory in one layer": (NO_ACT | ONE, {}),
    "both, by itself, all layers": (ALL, {}),
    "both, together, all layers": (ALL, {"ponder_depth": 2}),
    "both, together, one layer": (ONE, {"ponder_depth": 2}),
}
STRAGGLERS = 0.016


class TwoSteps(nn.Module):
    """In place of the halting layer: every token asks for two steps, but for some that never halt."""

    def __init__(self, stragglers: float = 0.0) -> None:
        super().__init__()
        self.every = round(1 / stragglers) if stragglers else 0
        self.most = 0

    def forward(self, x: Tensor) -> Tensor:
        self.most = max(self.most, len(x))
        asked = x.new_full((len(x), 1), 0.5)  # 0.62 twice is more than 0.99
        if self.every:
            asked[:: self.every if len(x) > self.most / 2 else 1] = -9.0
        return asked


class Counting(TorchDispatchMode):
    """Counts the operations that torch is asked for, those of the backward pass, too."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def model_of(preset: str, change: dict[str, Any], stragglers: float = 0.0) -> CognateModel:
    torch.manual_seed(0)
    model = CognateModel(PRESETS[preset].config.with_overrides(change))
    if model.pondering is not None:
        model.pondering.halting = TwoSteps(stragglers)  # type: ignore[assignment]
    return model


def step(model: CognateModel, ids: Tensor, asked: dict[str, Any]) -> None:
    model(ids[:, :-1], ids[:, 1:], keep_logits=False, **asked).loss.backward()
    model.zero_grad()


def text_of(preset: str) -> Tensor:
    config = PRESETS[preset].config
    shape = (config.batch_size, config.train_seq_len)
    ids = torch.randint(1, config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    ids[:, [0, config.train_seq_len // 3]] = 0  # two documents a sequence
    return ids


def measured(preset: str, rounds: int = ROUNDS) -> None:
    heading(f"Step: forward and backward at two ponder steps, shape of {preset}, one thread, processor time")
    ids = text_of(preset)
    models = {name: model_of(preset, change) for name, (change, _) in VARIANTS.items()}
    best = dict.fromkeys(VARIANTS, float("inf"))
    for _ in range(rounds):
        for name, model in models.items():
            start = time.process_time()
            step(model, ids, VARIANTS[name][1])
            best[name] = min(best[name], time.process_time() - start)
    for name, took in best.items():
        with Counting() as counting:
            step(models[name], ids, VARIANTS[name][1])
        ratio = f"{took / best['plain']:.2f} x plain; {counting.count:,} operations"
        line(name, f"{took:.3f} s", ratio + ("; wanted 1.4 x" if name == "both, together, one layer" else ""))


def stragglers(preset: str, rounds: int = ROUNDS) -> None:
    heading(f"Step: {STRAGGLERS:.1%} of the tokens going on to the limit, forward alone, each token halting by itself")
    ids = text_of(preset)
    for change in (ALL, ONE):
        models = {share: model_of(preset, change, share).eval() for share in (0.0, STRAGGLERS)}
        best = dict.fromkeys(models, float("inf"))
        for _ in range(rounds):
            for share, model in models.items():
                with torch.no_grad():
                    start = time.process_time()
                    model(ids[:, :-1], ids[:, 1:], keep_logits=False, max_ponder_steps=8)
                    best[share] = min(best[share], time.process_time() - start)
        ratio = best[STRAGGLERS] / best[0.0]
        line(f"layers that read the memory: {change['mem_layers']}", f"{ratio:.2f} x", f"{best[0.0]:.3f} s without")


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    measured("first-run")
    stragglers("first-run")
    measured("cognate-25m", 3)
    stragglers("cognate-25m", 3)
