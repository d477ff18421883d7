"""Answers to many questions at once: what a model writes when it always takes the likeliest token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.model import CognateModel, CognateState


@torch.inference_mode()
def answers(
    model: CognateModel, prompts: Sequence[list[int]], most: int, poll: Callable[[], None] = lambda: None
) -> list[list[int]]:
    """What `model` writes behind each prompt, up to the end of its text, `most` tokens, or all that it can read.

    Prompts of one length go through the model together: none needs padding, so each answer is the one that the prompt
    has alone. `poll` is called before each token and may raise.
    """
    written: list[list[int]] = [[] for _ in prompts]
    places: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(len(prompt), []).append(place)
    for length, together in places.items():
        state, pending = CognateState(), torch.tensor([prompts[place] for place in together])
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
