"""Writing: tokens a second and time to the first one, beside a loop that reads the whole text again for each token."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from cognate_core.config.presets import PRESETS
from cognate_core.model import CognateModel
from tests.bench.timing import heading, line

T = TypeVar("T")

PROMPTS = (20, 200, 400)
TOKENS = 16
AGAIN_TOKENS = 3  # read again, a long text takes most of a second for each
ROUNDS = 3


@torch.no_grad()
def reading_again(model: CognateModel, ids: Tensor) -> Iterator[int]:
    """Greedy writing without keys and values of the tokens before."""
    while True:
        token = model(ids).logits[0, -1].argmax()
        ids = torch.cat((ids, token.view(1, 1)), dim=1)
        yield int(token)


def timed(tokens: Iterable[T], count: int) -> tuple[float, float, list[T]]:
    """Seconds to the first token, seconds of each further one, and the tokens."""
    start = time.perf_counter()
    iterator = iter(tokens)
    written = [next(iterator)]
    first = time.perf_counter()
    written += [next(iterator) for _ in range(count - 1)]
    return first - start, (time.perf_counter() - first) / (count - 1), written


def main() -> None:
    threads = torch.get_num_threads()
    for preset in ("first-run", "cognate-25m"):
        heading(f"Writing, {preset}, fresh weights, best of {ROUNDS} in turns")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = CognateModel(PRESETS[preset].config).eval()
        for length in PROMPTS:
            ids = torch.randint(
                1, model.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(length)
            )
            best = {"cached": (9e9, 9e9), "one thread": (9e9, 9e9), "drawn": (9e9, 9e9), "again": (9e9, 9e9)}

            def took(way: str, first: float, each: float, best: dict[str, tuple[float, float]] = best) -> None:
                best[way] = (min(best[way][0], first), min(best[way][1], each))

            for _ in range(ROUNDS):
                first, each, tokens = timed(model.generate(ids, TOKENS, temperature=0), TOKENS)
                took("cached", first, each)
                first, each, again = timed(reading_again(model, ids), AGAIN_TOKENS)
                took("again", first, each)
                if [token.id for token in tokens[:AGAIN_TOKENS]] != again:
                    raise AssertionError(
                        f"With and without the cache, {tokens[:AGAIN_TOKENS]} and {again} were written."
                    )
                took("drawn", *timed(model.generate(ids, TOKENS, temperature=0.7, top_p=0.9), TOKENS)[:2])
                torch.set_num_threads(1)
                took("one thread", *timed(model.generate(ids, TOKENS, temperature=0), TOKENS)[:2])
                torch.set_num_threads(threads)
            first, each = best["cached"]
            line(
                f"prompt {length}: the first token",
                f"{first * 1000:.0f} ms",
                f"with one thread {best['one thread'][0] * 1000:.0f} ms",
            )
            line(
                f"prompt {length}: each further one",
                f"{1 / each:.0f} tokens/s",
                f"{best['again'][1] / each:.1f} x the whole text again; {1 / best['one thread'][1]:.0f} with one "
                f"thread; {1 / best['drawn'][1]:.0f} drawn from top_p 0.9",
            )
