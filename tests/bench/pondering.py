"""Adaptive computation: what it costs, what it saves, and whether a fixed depth would do as well.

Small models on real rows when this workplace has them, else on built-in word problems; all trained in this run.
"""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from cognate_core.config import TrainingConfig
from cognate_core.data.loader import MixtureLoader
from cognate_core.data.prepared import Batches, PreparedData
from cognate_core.model import IGNORED_TARGET, CognateModel
from cognate_core.training.hardware import keep_freed_memory
from cognate_core.training.ponder_depth import PonderDepth
from cognate_core.training.process_group import ALONE
from cognate_core.training.text_loop import ponder_limit, ponder_weight_at
from tests.bench.timing import heading, line, seconds

ROWS = Path(__file__).parents[3] / "shared" / "data"
STEPS = 400
CONFIG = TrainingConfig(
    dataset_sources=["GSM8K"] if "COGNATE_DATASETS_DIR" in os.environ or ROWS.is_dir() else ["Synthetic"],
    train_seq_len=256,
    max_seq_len=256,
    d_model=96,
    n_layers=6,
    n_heads=4,
    vocab_size=1024,
    batch_size=8,
    learning_rate=2e-3,
    max_steps=STEPS,
    ltm_enabled=False,
    max_act_steps=12,
    act_inference_steps=6,
)


def prepared(folder: Path) -> PreparedData:
    """The rows as batches."""
    if ROWS.is_dir():
        os.environ.setdefault("COGNATE_DATASETS_DIR", str(ROWS))

    async def run() -> str:
        loader = MixtureLoader(CONFIG, folder, lambda record: None, lambda message: None)
        await loader.download_dataset(CONFIG.dataset_sources[0], "")
        return await loader.create_mixed_training_data()

    return PreparedData(Path(asyncio.run(run())))


def fix_depth(model: CognateModel) -> None:
    """Make every token take as many steps as the limit says, and count the last state alone."""
    assert model.pondering is not None
    model.pondering.threshold = math.inf
    torch.nn.init.zeros_(model.pondering.halting.weight)
    torch.nn.init.constant_(model.pondering.halting.bias, -1e4)
    model.pondering.halting.requires_grad_(False)


def trained(
    data: PreparedData, fixed_steps: int | None = None, *, seed: int = CONFIG.seed, together: bool = False
) -> CognateModel:
    """A model after STEPS steps of AdamW.

    Args:
        fixed_steps: the control, where each token takes so many.
        together: all tokens of a batch go as many steps, as in the studio's training; else each halts by itself.
    """
    torch.manual_seed(seed)
    depths = PonderDepth(CONFIG.max_act_steps)
    model = CognateModel(CONFIG)
    if fixed_steps is not None:
        fix_depth(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=CONFIG.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    batches = Batches({name: data.packed(name, "train") for name in data.sources}, {}, CONFIG.batch_size, seed)
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:  # warm-up, then a cosine to a tenth
            done = max(0.0, step / STEPS - 0.05)
            group["lr"] = CONFIG.learning_rate * min(
                step / (0.05 * STEPS), 0.55 + 0.45 * math.cos(math.pi * done / 0.95)
            )
        inputs, targets = _pair(*(torch.from_numpy(each) for each in batches.next()))
        limit = fixed_steps or ponder_limit(CONFIG, step, 0)
        depth = depths.drawn(limit, (seed, step, 0, 1)) if together else None
        output = model(
            inputs,
            targets,
            max_ponder_steps=limit,
            ponder_depth=depth,
            ponder_weight=0.0 if fixed_steps else ponder_weight_at(step, CONFIG),
        )
        output.loss.backward()
        if depth is not None:
            depths.forget()
            depths.add(output.ponder_asked[targets != IGNORED_TARGET], depth)
            depths.follow(ALONE)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def measured(model: CognateModel, data: PreparedData, limit: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """For each held-out token: its loss in nats, and its ponder steps."""
    packed = data.packed(data.sources[0], "heldout")
    losses, steps = [], []
    for start in range(0, min(len(packed.tokens), 96), 16):
        rows = slice(start, start + 16)
        inputs, targets = _pair(*(torch.from_numpy(x[rows].astype("int64")) for x in (packed.tokens, packed.counted)))
        output = model(inputs, targets, max_ponder_steps=limit)
        counted = targets != IGNORED_TARGET
        losses.append(F.cross_entropy(output.logits[counted], targets[counted], reduction="none"))
        steps.append(output.ponder_steps[counted])
    return torch.cat(losses), torch.cat(steps)


def _pair(tokens: torch.Tensor, counted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return tokens[:, :-1], tokens[:, 1:].where(counted[:, 1:].bool(), IGNORED_TARGET)


@torch.no_grad()
def saving(model: CognateModel, inputs: torch.Tensor, limit: int) -> tuple[float, float]:
    """Tokens a second with the learned halting, over those with `limit` steps for each; and the ratio of steps."""
    assert model.pondering is not None
    learned_steps = float(model(inputs).ponder_steps.float().mean())
    threshold, learned, fixed = model.pondering.threshold, [], []
    for _ in range(5):
        model.pondering.threshold = threshold
        learned.append(seconds(lambda: model(inputs), repeats=1, warmups=0))
        model.pondering.threshold = math.inf
        fixed.append(seconds(lambda: model(inputs), repeats=1, warmups=0))
    model.pondering.threshold = threshold
    return min(fixed) / min(learned), limit / learned_steps


def cost() -> None:
    """Forward and backward of the full-size model against a plain one with as many layers as tokens go through."""
    base = TrainingConfig(ltm_enabled=False)
    model = CognateModel(base)
    ids = torch.randint(1, base.vocab_size, (base.batch_size, base.train_seq_len))
    mean = float(model(ids).ponder_steps.float().mean())
    outer = base.n_layers - len(model.core)
    passes = outer + mean * len(model.core)
    took: dict[int | None, list[float]] = {}
    around = [math.floor(passes), math.ceil(passes)]
    models: dict[int | None, CognateModel] = {None: model}
    for layers in around:
        models[layers] = CognateModel(base.with_overrides({"act_enabled": False, "n_layers": layers}))
    for _ in range(4):
        for name, each in models.items():

            def step(each: CognateModel = each) -> None:
                each(ids, ids).loss.backward()
                each.zero_grad()

            took.setdefault(name, []).append(seconds(step, repeats=1, warmups=0))
    low, high = (min(took[layers][1:]) for layers in around)
    plain = low + (high - low) * (passes - around[0])
    line("pondering, 25M, fresh weights", f"{mean:.2f} steps", f"{passes:.1f} layers a token")
    line("forward and backward", f"{min(took[None][1:]):.2f} s")
    ratio = f"{min(took[None][1:]) / plain:.2f} x, must be 1.1 x or less"
    line("a plain model with as many layers", f"{plain:.2f} s", ratio)


def depths_of_batches(data: PreparedData) -> None:
    """Does it cost loss that in training all tokens of a batch go as many steps? Held out, each halts by itself."""
    heading(f"Pondering: one depth a batch in training, against each token halting by itself, {STEPS} steps")
    for together in (False, True):
        name = "one depth a batch" if together else "each token by itself"
        for seed in (0, 1, 2):
            losses, steps = measured(trained(data, seed=seed, together=together), data)
            line(f"{name}, seed {seed}", f"{losses.mean():.3f} nats", f"{steps.float().mean():.2f} steps held out")


def main() -> None:
    heading("Pondering: cost")
    keep_freed_memory()
    cost()
    heading(
        f"Pondering: {STEPS} steps on {CONFIG.dataset_sources[0]}, d_model {CONFIG.d_model}, {CONFIG.n_layers} layers"
    )
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(Path(folder))
        model = trained(data)
        losses, steps = measured(model, data)
        mean = float(steps.float().mean())
        line("learned halting, held-out loss", f"{losses.mean():.3f} nats", f"{mean:.2f} steps a token on average")
        for n in steps.unique().tolist():
            own = steps == n
            line(f"  tokens that took {n}", f"{own.float().mean():.1%}", f"their loss {losses[own].mean():.2f} nats")
        for depth in sorted({math.floor(mean), math.ceil(mean)}):
            control = measured(trained(data, depth), data, limit=depth)[0].mean()
            worse = f"{control - losses.mean():+.3f}; learned halting must not be worse"
            line(f"control, {depth} steps for each token", f"{control:.3f} nats", worse)
        depths_of_batches(data)
        packed = data.packed(data.sources[0], "heldout").tokens[:16, :-1]
        speed, ratio = saving(model, torch.from_numpy(packed.astype("int64")), CONFIG.act_inference_steps)
        line(
            "tokens a second, against the limit's steps for each",
            f"{speed:.2f} x",
            f"steps {ratio:.2f} x; must be {0.7 * ratio:.2f} x or more",
        )
