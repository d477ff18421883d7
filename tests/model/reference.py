"""The whole model a second time: one text, token by token, in numpy and float64.

Written from the specification (ACT after Graves 2016, the memory after Memorizing Transformers), without the model's
code. Nothing here is gathered, batched or cut into chunks: a token simply goes through the layers as often as it needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cognate_core.model import CognateModel

Array = npt.NDArray[np.float64]

END = 0  # the end-of-text token
SAME, LEAST_NOVELTY, USAGE_KEPT, MAX_SURPRISE = 0.95, 1e-4, 0.9, 4.0  # as the specification says


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def unit(x: Array) -> Array:
    """x with length 1; what is zero stays zero."""
    return x / max(float(np.linalg.norm(x)), 1e-6)


def softmax(x: Array) -> Array:
    shares = np.exp(x - x.max())
    return shares / shares.sum()


@dataclass(frozen=True)
class Note:
    """One memory."""

    key: Array
    value: Array
    log_weight: float
    usage: float
    age: int
    position: int
    token: int


@dataclass
class TokenResult:
    """What one token came to.

    Attributes:
        cost: N + R of Graves.
        shares: for each layer that reads, the share of the attention by position of the note.
        null, gates: for each layer that reads.
    """

    logits: Array
    steps: int
    cost: float
    shares: list[dict[int, float]]
    null: list[float]
    gates: list[float]


@dataclass
class Reference:
    """Reads one text with the weights of a model.

    Attributes:
        closest: by how little the closest of all choices (halting, best notes, what is kept) was decided. Where that is
            next to nothing, fp32 may choose otherwise.
        evicted, merged, forgotten: how many notes were pushed out by others, joined another, went with their text.
    """

    model: CognateModel
    limit: int
    closest: float = math.inf
    evicted: int = 0
    merged: int = 0
    forgotten: int = 0
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = self.model.config
        self.weights = {name: tensor.double().numpy() for name, tensor in self.model.state_dict().items()}
        n_layers = self.config.n_layers
        quarter = (n_layers + 1) // 4
        self.prelude = range(quarter)
        self.core = range(quarter, n_layers - quarter)
        self.coda = range(n_layers - quarter, n_layers)
        self.reading = list(range(n_layers) if self.config.ltm_enabled else ())
        if self.config.ltm_enabled and self.config.mem_layers == "one":
            self.reading = [min(self.coda.start, n_layers - 1)]
        self.kept: list[list[list[tuple[Array, Array]]]] = [[] for _ in range(n_layers)]  # layer, position, ponder step
        self.position = 0
        self.segment: list[tuple[int, Array, Array, float]] = []  # token, context, state, surprise
        self.text_began = False  # in this segment
        self.document = 0  # where it began
        self.before: tuple[Array, Array] | None = None  # early state and logits of the token before

    def read_all(self, ids: list[int]) -> list[TokenResult]:
        return [self.read(token) for token in ids]

    def read(self, token: int) -> TokenResult:
        config, w = self.config, self.weights
        if token == END and self.position > 0:
            self.text_began = True
            self.document = self.position
        self.found: dict[int, tuple[dict[int, float], float, float]] = {}
        for layer in range(config.n_layers):
            self.kept[layer].append([])

        x = w["embedding.weight"][token]
        x = self._through(self.prelude, x, 0)
        early = x
        steps, cost = 0, 0.0
        if config.act_enabled:
            x, steps, cost = self._ponder(x)
        else:
            x = self._through(self.core, x, 0)
        x = self._through(self.coda, x, 0)
        logits = w["head.weight"] @ self._norm(x, "final_norm")

        if config.ltm_enabled:
            self._note_usage()
            surprise, context = math.nan, np.zeros(config.d_model)
            if self.before is not None:
                context, expected = self.before
                surprise = float(-np.log(softmax(expected)[token]))
            self.segment.append((token, context, early, surprise))
            self.before = (early, logits)
        self.position += 1
        if config.ltm_enabled and self.position % config.mem_segment == 0:
            self._write()
        reads = [self.found[layer] for layer in self.reading]
        shares, null, gates = [read[0] for read in reads], [read[1] for read in reads], [read[2] for read in reads]
        return TokenResult(logits, steps, cost, shares, null, gates)

    def _norm(self, x: Array, name: str) -> Array:
        return self.weights[f"{name}.weight"] * x / np.sqrt((x**2).mean() + np.finfo(np.float32).eps)

    def _decided_by(self, distance: float) -> None:
        self.closest = min(self.closest, abs(distance))

    # Pondering

    def _ponder(self, e: Array) -> tuple[Array, int, float]:
        """State sum p_n s_n, number of steps N, and N + R."""
        w = self.weights
        state, result, total = e, np.zeros_like(e), 0.0
        limit = min(self.limit, self.config.max_act_steps)
        for n in range(1, limit + 1):
            state = self._through(self.core, state + e + w["pondering.step_embedding"][n - 1], n - 1)
            normed = self._norm(state, "pondering.norm")
            halting = float(sigmoid(w["pondering.halting.weight"][0] @ normed + w["pondering.halting.bias"][0]))
            if n < limit:
                self._decided_by(total + halting - self.config.act_threshold)
            if n == limit or total + halting >= self.config.act_threshold:
                remainder = 1 - total
                return result + remainder * state, n, n + remainder
            result = result + halting * state
            total += halting
        raise AssertionError("never")

    # Layers

    def _through(self, layers: range, x: Array, step: int) -> Array:
        for layer in layers:
            x = x + self._attention(layer, x, step)
            if layer in self.reading:
                x = x + self._memory(layer, x)
            x = x + self._feed_forward(layer, x)
        return x

    def _turned(self, x: Array) -> Array:
        """Rotary position: features i and i + half as one complex number, turned by position * theta_i."""
        half = len(x) // 2
        turning = np.exp(1j * self.position * 10_000.0 ** (-np.arange(half) / half))
        turned = (x[:half] + 1j * x[half:]) * turning
        return np.concatenate([turned.real, turned.imag])

    def _attention(self, layer: int, x: Array, step: int) -> Array:
        name, heads = f"blocks.{layer}", self.config.n_heads
        normed = self._norm(x, f"{name}.attention_norm")
        queries, keys, values = (
            (part @ normed).reshape(heads, -1) for part in np.split(self.weights[f"{name}.attention.qkv.weight"], 3)
        )
        keys = np.stack([self._turned(key) for key in keys])
        self.kept[layer][self.position].append((keys, values))
        first = max(self.document, self.position - self.config.attention_window + 1)
        # A token that is at this ponder step, or what it had when it halted.
        cache = [own[min(step, len(own) - 1)] for own in self.kept[layer][first : self.position + 1]]
        mixed = []
        for head in range(heads):
            query = self._turned(queries[head])
            scores = np.array([keys[head] @ query for keys, _ in cache]) / math.sqrt(len(query))
            mixed.append(softmax(scores) @ np.stack([values[head] for _, values in cache]))
        return self.weights[f"{name}.attention.out.weight"] @ np.concatenate(mixed)

    def _feed_forward(self, layer: int, x: Array) -> Array:
        normed = self._norm(x, f"blocks.{layer}.feed_forward_norm")
        gate, up = np.split(self.weights[f"blocks.{layer}.feed_forward.gate_up.weight"] @ normed, 2)
        return self.weights[f"blocks.{layer}.feed_forward.down.weight"] @ (gate * sigmoid(gate) * up)

    # Memory

    def _memory(self, layer: int, x: Array) -> Array:
        part = {
            name.removeprefix(f"blocks.{layer}.memory."): weight
            for name, weight in self.weights.items()
            if name.startswith(f"blocks.{layer}.memory.")
        }
        normed = self._norm(x, f"blocks.{layer}.memory.norm")
        query, scale = unit(part["query.weight"] @ normed), math.exp(part["log_scale"])
        notes = [] if self.text_began else self.notes
        scores = [scale * float(query @ unit(part["key.weight"] @ note.key)) + note.log_weight for note in notes]
        best = sorted(range(len(notes)), key=lambda n: -scores[n])
        if len(best) > self.config.mem_topk:
            self._decided_by(scores[best[self.config.mem_topk - 1]] - scores[best[self.config.mem_topk]])
        best = best[: self.config.mem_topk]
        shares = softmax(np.array([*(scores[n] for n in best), scale * float(query @ unit(part["null_key"]))]))
        values = [*(notes[n].value for n in best), part["null_value"]]
        recalled = sum(share * value for share, value in zip(shares, values, strict=True))
        gate = sigmoid(part["gate.weight"] @ normed + part["gate.bias"])
        by_position = {notes[n].position: float(share) for n, share in zip(best, shares[:-1], strict=True)}
        self.found[layer] = (by_position, float(shares[-1]), float(gate.mean()))  # the last ponder step stays
        return gate * (part["out.weight"] @ (part["value.weight"] @ recalled))

    def _note_usage(self) -> None:
        for shares, _, _ in self.found.values():
            for n, note in enumerate(self.notes):
                self.notes[n] = replace(note, usage=note.usage + shares.get(note.position, 0.0))

    def _write(self) -> None:
        w, config = self.weights, self.config
        start = self.position - len(self.segment)
        ends = [n for n, (token, *_) in enumerate(self.segment) if token == END and start + n > 0]
        if ends:
            self.forgotten += len(self.notes)
            self.notes = []
        usage = [note.usage * USAGE_KEPT for note in self.notes]
        usual = max(1.0, sum(usage) / len(usage)) if usage else 1.0
        candidates = []
        for n, (token, context, state, surprise) in enumerate(self.segment):
            if token == END or (ends and n < ends[-1]) or math.isnan(surprise):
                continue
            key = unit(w["writer.key.weight"] @ self._norm(context, "writer.norm"))
            value = w["writer.value.weight"] @ self._norm(state, "writer.norm")
            spread = math.sqrt(float(w["writer.surprise_variance"]) + 1e-6)
            standard = (surprise - float(w["writer.surprise_mean"])) / spread
            standard = min(max(standard, -MAX_SURPRISE), MAX_SURPRISE)
            nearest = max((_likeness(key, value, note) for note in self.notes), default=-1.0)
            novelty = min(max(1 - nearest, LEAST_NOVELTY), 1.0)
            interest = sigmoid(np.asarray(w["writer.slope"] * standard + w["writer.offset"]))
            candidates.append(Note(key, value, math.log(float(interest) * novelty), usual, 0, start + n, token))
        candidates.sort(key=lambda note: -note.log_weight)
        for better, worse in pairwise(candidates[: config.mem_writes + 1]):
            self._decided_by(better.log_weight - worse.log_weight)
        older = [replace(note, usage=note.usage * USAGE_KEPT, age=note.age + 1) for note in self.notes]
        self.notes = self._evicting(self._merging(older, candidates[: config.mem_writes]))
        self.segment, self.text_began = [], False

    def _merging(self, older: list[Note], new: list[Note]) -> list[Note]:
        notes = [*older, *new]
        head = list(range(len(notes)))
        for n in range(len(older), len(notes)):
            like = [_likeness(notes[n].key, notes[n].value, notes[earlier]) for earlier in range(n)]
            for likeness in like:
                self._decided_by(likeness - SAME)
            if like and max(like) > SAME:
                head[n] = head[int(np.argmax(like))]
                others = [likeness for earlier, likeness in enumerate(like) if head[earlier] != head[n]]
                self._decided_by(max(like) - max(others, default=-1.0))
        self.merged += sum(own != n for n, own in enumerate(head))
        result = []
        for n in sorted(set(head)):
            joint = [note for note, own in zip(notes, head, strict=True) if own == n]
            weights = np.array([math.exp(note.log_weight) for note in joint])
            weights /= weights.sum()
            key = sum(weight * note.key for weight, note in zip(weights, joint, strict=True))
            value = sum(weight * note.value for weight, note in zip(weights, joint, strict=True))
            log_weight = max(note.log_weight for note in joint)
            result.append(replace(notes[n], key=unit(key), value=value, log_weight=log_weight))
        return result

    def _evicting(self, notes: list[Note]) -> list[Note]:
        worth = [math.log(note.usage) + note.log_weight for note in notes]
        best = sorted(range(len(notes)), key=lambda n: -worth[n])
        capacity = self.config.mem_capacity
        if len(notes) > capacity:
            self._decided_by(worth[best[capacity - 1]] - worth[best[capacity]])
            self.evicted += len(notes) - capacity
        return [notes[n] for n in sorted(best[:capacity])]


def _likeness(key: Array, value: Array, note: Note) -> float:
    """Mean of the cosines of the keys and of the values."""
    return float(key @ note.key + unit(value) @ unit(note.value)) / 2
