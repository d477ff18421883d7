"""ArithmeticModel: the small causal transformer of the GrokFast paper (arXiv 2405.20233; ironjr/grokfast, main.py).

It reads four tokens, `left operation right =`, and predicts the next. The same few tokens are repeated, and only the
answer matters: much of a plain transformer's work is saved without changing its function (see `_Block.forward`). This
module also has its loss and its evaluation. Models are saved as safetensors and JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cognate_core.config import TrainingConfig, fields_that
from cognate_core.seeded import seeded

if TYPE_CHECKING:
    from cognate_core.arithmetic.problems import Problems

SHAPE_FIELDS = tuple(fields_that("shapes_model", "arithmetic"))
_POSITIONS = 5  # the published model also has room for the answer, though it never reads it
_ROWS = 1024  # evaluated at once: they fit into a processor's cache


class _Attention(nn.Module):
    """The weights of multi-head attention, named and initialised as in torch.nn.MultiheadAttention."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d_model, d_model))  # query, key, value
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d_model))
        self.out_proj = nn.Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, asking: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """The queries of some rows (rows, heads, head_dim), keys and values of others (rows, 2, heads, head_dim)."""
        d_model = told.shape[1]
        weights = self.in_proj_weight.split_with_sizes((d_model, 2 * d_model))
        biases = self.in_proj_bias.split_with_sizes((d_model, 2 * d_model))
        query = F.linear(asking, weights[0], biases[0]).view(len(asking), self.n_heads, -1)
        return query, F.linear(told, weights[1], biases[1]).view(len(told), 2, self.n_heads, -1)


def _attend(query: Tensor, keys_values: list[Tensor]) -> Tensor:
    """Attention of one position to some. A single row stands for all.

    Four positions are too few for attention kernels: one multiplication each is faster.

    Args:
        query: (rows, heads, head_dim).
        keys_values: of each position attended to, (rows, 2, heads, head_dim).

    Returns:
        (rows, d_model)
    """
    query = query * query.shape[-1] ** -0.5
    pairs = [each.unbind(1) for each in keys_values]
    rows = max(len(query), *(len(each) for each in keys_values))
    scores = torch.stack([(query * key).sum(-1).expand(rows, -1) for key, _ in pairs])
    weights = scores.softmax(0).unsqueeze(-1).unbind()  # each (rows, heads, 1)
    heard = weights[0] * pairs[0][1]
    for weight, (_, value) in zip(weights[1:], pairs[1:], strict=True):
        heard = torch.addcmul(heard, weight, value)
    return heard.flatten(1)


class _Block(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(d_model)
        self.ln_2 = nn.LayerNorm(d_model)
        self.attn = _Attention(d_model, n_heads)
        self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def forward(self, states: list[Tensor], left: Tensor, right: Tensor | None, last: bool) -> list[Tensor]:
        """The states of the four positions after this block; after the `last`, only that of "=".

        Each different state is computed once. Attention is causal: the first two positions know only the left number,
        so they have one row per number, not per problem. Before the first block, the others also know only their own
        token.

        Args:
            states: of each position, (rows, d_model): one row per number, one per problem, or one for all.
            left: the left number of each problem (problems,).
            right: the right one, while the third position has one row per number; after that None.
        """
        # The residual stream continues from the normalised state, as published.
        x = self.ln_1(torch.cat(states))
        sizes = [len(state) for state in states]
        residuals = list(x.split_with_sizes(sizes))
        # The first position attends only to itself: it needs no query.
        query, told = self.attn.project(residuals[3] if last else x[sizes[0] :], x)
        first, second, third, fourth = told.split_with_sizes(sizes)
        each_first = first.index_select(0, left)
        each_second = second if len(second) == 1 else second.index_select(0, left)
        each_third = third if right is None else third.index_select(0, right)
        if last:
            heard = [_attend(query, [each_first, each_second, each_third, fourth])]
            residuals = residuals[3:]
        else:
            second_query, third_query, fourth_query = query.split_with_sizes(sizes[1:])
            if right is not None:
                third_query = third_query.index_select(0, right)
                residuals[2] = residuals[2].index_select(0, right)
            heard = [
                first.unbind(1)[1].flatten(1),
                _attend(second_query, [first, second]),
                _attend(third_query, [each_first, each_second, each_third]),
                _attend(fourth_query, [each_first, each_second, each_third, fourth]),
            ]
        sizes = [len(each) for each in heard]
        moved = self.attn.out_proj(torch.cat(heard)).split_with_sizes(sizes)
        x = torch.cat([residual + move for residual, move in zip(residuals, moved, strict=True)])
        return list((x + self.mlp(self.ln_2(x))).split_with_sizes(sizes))


class ArithmeticModel(nn.Module):
    """Reads `left operation right =` and predicts the answer's token.

    Tokens: numbers below the modulus are their own ids, "=" has the modulus as its id, the operation the next id.
    """

    def __init__(self, config: TrainingConfig) -> None:
        """Draws the weights from the global generator, in the published order."""
        super().__init__()
        self.config = config
        tokens = config.arithmetic_modulus + 2
        self.token_embeddings = nn.Embedding(tokens, config.d_model)
        self.position_embeddings = nn.Embedding(_POSITIONS, config.d_model)
        self.layers = nn.ModuleList(_Block(config.d_model, config.n_heads) for _ in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, tokens, bias=False)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Logits of the answer, (n, modulus + 2), from numbers below the modulus, each (n,)."""
        modulus = self.config.arithmetic_modulus
        numbers, equals, operation = self.token_embeddings.weight.split_with_sizes((modulus, 1, 1))
        tokens = (numbers, operation, numbers, equals)
        states = [token + self.position_embeddings.weight[position] for position, token in enumerate(tokens)]
        for number, block in enumerate(self.layers, 1):
            states = block(states, left, right if number == 1 else None, last=number == len(self.layers))
        return cast(Tensor, self.head(self.ln_f(states[-1])))

    def save_pretrained(self, folder: Path) -> None:
        """Write model.safetensors and config.json into an existing folder."""
        weights = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        shape = {name: getattr(self.config, name) for name in SHAPE_FIELDS}
        text = json.dumps({"model": "arithmetic", **shape}, indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: Path) -> ArithmeticModel:
        """The model that `save_pretrained` wrote.

        Raises:
            OSError: a file is missing.
            ValueError, KeyError, ConfigError: config.json is damaged, or of another kind of model.
            RuntimeError, SafetensorError: the weights are damaged or do not fit the config.
        """
        shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if shape["model"] != "arithmetic":
            raise ValueError(f"{folder} has a model of the kind {shape['model']!r}, not an arithmetic one.")
        values = {name: shape[name] for name in SHAPE_FIELDS}
        with seeded():
            model = cls(TrainingConfig.from_values({"task": "arithmetic", **values}))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model


def answer_loss(logits: Tensor, answers: Tensor, stable_max: bool) -> Tensor:
    """Mean cross-entropy in nats, of softmax or of StableMax, which uses s(x) instead of exp(x) (arXiv 2501.04697).

    s(x) = x + 1 for x >= 0 and 1 / (1 - x) below, computed in fp64 as published.

    Args:
        logits: (n, tokens).
        answers: (n,).
    """
    if not stable_max:
        return F.cross_entropy(logits, answers)
    logits = logits.double()
    # The clamps keep the logarithm on the unused side from being nan, which the gradient would spread.
    log_s = torch.where(logits < 0, -torch.log1p(-logits.clamp(max=0)), torch.log1p(logits.clamp(min=0)))
    return F.cross_entropy(log_s, answers)  # exp(log s) = s


@torch.no_grad()
def evaluate(model: ArithmeticModel, problems: Problems, indices: Tensor) -> tuple[float, float]:
    """Mean cross-entropy (of softmax, nats) and share of right answers over the problems at `indices`."""
    loss, right = 0.0, 0
    for rows in torch.split(indices, _ROWS):
        logits = model(problems.left[rows], problems.right[rows])
        answers = problems.answer[rows]
        loss += float(F.cross_entropy(logits, answers, reduction="sum"))
        right += int((logits.argmax(-1) == answers).sum())
    return loss / len(indices), right / len(indices)
