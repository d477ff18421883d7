"""Answers to many questions at once, always taking the likeliest token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.model import CognateModel, CognateState

PADDED_TO = 32  # tokens


@torch.inference_mode()
def answers(
    model: CognateModel, prompts: Sequence[list[int]], most: int, poll: Callable[[], None] = lambda: None
) -> list[list[int]]:
    """What `model` writes after each prompt, up to end-of-text, `most` tokens, or the longest text that it can read.

    Prompts of about the same length go through the model together. Shorter ones are padded in front with end-of-text,
    which does not change their answers. A memory writes at fixed places: with one, only prompts of exactly the same
    length go together. `poll` is called before each token and may raise.
    """
    written: list[list[int]] = [[] for _ in prompts]
    places: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        padded = -(-len(prompt) // PADDED_TO) * PADDED_TO
        fits = model.writer is None and prompt[:1] == [END_OF_TEXT_ID] and padded + most <= model.config.max_seq_len
        places.setdefault(padded if fits else len(prompt), []).append(place)
    for length, together in places.items():
        rows = [[END_OF_TEXT_ID] * (length - len(prompts[place])) + prompts[place] for place in together]
        state, pending = CognateState(), torch.tensor(rows)
        ended: set[int] = set()
        for _ in range(min(most, model.config.max_seq_len - length)):
            poll()
            tokens = model(pending, state=state).logits[:, -1].argmax(-1)
            for place, token in zip(together, tokens.tolist(), strict=True):
                if token == END_OF_TEXT_ID:
                    ended.add(place)
                elif place not in ended:
                    written[place].append(token)
            if len(ended) == len(together):
                break
            pending = tokens[:, None]
    return written
