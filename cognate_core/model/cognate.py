"""CognateModel: the decoder that reads tokens and predicts the next one.

It knows tensors only. Saving and loading go through safetensors and JSON; nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cognate_core.config import TrainingConfig
from cognate_core.model.layers import Block, KeyValueCache, rotary_angles

IGNORED_TARGET = -100
"""A target with this value does not count in the loss (padding, prompt tokens)."""

ARCHITECTURE_FIELDS = ("d_model", "n_layers", "n_heads", "vocab_size", "max_seq_len")
"""The settings of TrainingConfig that decide the shape of the model: what `config.json` holds."""


@dataclass(frozen=True, slots=True)
class CognateOutput:
    """logits: (batch, time, vocab_size). loss: scalar, mean cross-entropy in nats a counted target, or None."""

    logits: Tensor
    loss: Tensor | None


class CognateModel(nn.Module):
    """A pre-norm decoder with rotary positions, SwiGLU and an untied head.

    Weights start from N(0, 0.02^2), those that write into the residual stream from N(0, 0.02^2 / (2 n_layers)),
    as in GPT-2.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config.d_model, config.n_heads) for _ in range(config.n_layers))
        self.final_norm = nn.RMSNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.cos: Tensor  # (max_seq_len, head_dim / 2)
        self.sin: Tensor
        angles = rotary_angles(config.max_seq_len, config.d_model // config.n_heads)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        residual_std = 0.02 / (2 * self.config.n_layers) ** 0.5
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                writes_residual = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
                nn.init.normal_(weight, std=residual_std if writes_residual else 0.02)

    def forward(
        self,
        input_ids: Tensor,
        targets: Tensor | None = None,
        caches: list[KeyValueCache] | None = None,
    ) -> CognateOutput:
        """Predict the token after each position.

        Args:
            input_ids: (batch, time) token ids.
            targets: (batch, time) the id that should follow each position, already shifted;
                IGNORED_TARGET does not count.
            caches: one per layer, when input_ids continue what they have seen.

        Raises:
            ValueError: the text is longer than max_seq_len.
        """
        start = caches[0].length if caches else 0
        end = start + input_ids.shape[1]
        if end > self.config.max_seq_len:
            raise ValueError(
                f"The text has {end} tokens; this model reads {self.config.max_seq_len} at most. Shorten it."
            )
        x = self.embedding(input_ids)  # (batch, time, d_model)
        cos, sin = self.cos[start:end].to(x.dtype), self.sin[start:end].to(x.dtype)
        for index, block in enumerate(self.blocks):
            x = block(x, cos, sin, caches[index] if caches else None)
        logits = self.head(self.final_norm(x))  # (batch, time, vocab_size)
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED_TARGET)
        return CognateOutput(logits, loss)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        stop_id: int | None = None,
    ) -> Iterator[int]:
        """Continue one text, token by token.

        Args:
            input_ids: (1, time) at least one token; only the last ones that fit are read.
            max_new_tokens: at most this many are given.
            temperature: 0 always takes the likeliest token; higher is more adventurous.
            top_p: choose among the likeliest tokens that together have this probability (arXiv 1904.09751).
            seed: the same seed gives the same text.
            stop_id: generation ends before this token.
        """
        if temperature < 0:
            raise ValueError(f"The temperature must be 0 or more; got {temperature}.")
        limit = self.config.max_seq_len
        generator = torch.Generator(device=input_ids.device).manual_seed(seed)
        caches: list[KeyValueCache] = []
        pending = input_ids[:, -limit:]
        text = pending
        for _ in range(max_new_tokens):
            if not caches or caches[0].length + pending.shape[1] > limit:
                # Positions are absolute, so a full window starts again from its newer half.
                pending = text[:, -limit:] if not caches else text[:, -(limit // 2) :]
                caches = [KeyValueCache(limit) for _ in self.blocks]
            logits = self(pending, caches=caches).logits[0, -1].float()  # (vocab_size,)
            token = _choose(logits, temperature, top_p, generator)
            if token == stop_id:
                return
            pending = torch.tensor([[token]], device=input_ids.device)
            text = torch.cat((text, pending), dim=1)
            yield token

    def save_pretrained(self, folder: Path) -> None:
        """Write model.safetensors and config.json into an existing folder."""
        weights = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        shape = {name: getattr(self.config, name) for name in ARCHITECTURE_FIELDS}
        text = json.dumps({"model_type": "cognate", **shape}, indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: Path) -> CognateModel:
        """The model that `save_pretrained` wrote, in evaluation mode.

        Raises:
            OSError: a file is missing.
            RuntimeError: the weights do not fit the config.
        """
        shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config_of_shape({name: shape[name] for name in ARCHITECTURE_FIELDS})
        model = cls(config)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model.eval()


def config_of_shape(shape: dict[str, int]) -> TrainingConfig:
    """A config with these architecture fields and everything else at its default."""
    return TrainingConfig.from_values({**shape, "train_seq_len": min(512, shape["max_seq_len"])})


def _choose(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    probabilities = F.softmax(logits / temperature, dim=-1)
    if top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        # Keep a token while the ones before it have less than top_p together, and the likeliest always.
        left_out = ordered.cumsum(0) - ordered >= top_p
        left_out[0] = False
        ordered[left_out] = 0
        probabilities = torch.zeros_like(probabilities).scatter(0, order, ordered)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def count_parameters(config: TrainingConfig) -> dict[str, int]:
    """Parameters by component, and "total": counted from the model itself, built without memory ("meta" device)."""
    with torch.device("meta"):
        model = CognateModel(config)
    components = {
        "embedding": "embedding.",
        "attention": "attention.",
        "feed_forward": "feed_forward.",
        "norms": "norm.",
        "head": "head.",
    }
    counts = dict.fromkeys(components, 0)
    for name, weight in model.named_parameters():
        owner = next(part for part, marker in components.items() if marker in name)
        counts[owner] += weight.numel()
    counts["total"] = sum(weight.numel() for weight in model.parameters())
    return counts
