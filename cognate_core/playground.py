"""The playground: a trained model's folder, opened to continue text. Knows files and text; no pages, no database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer

from cognate_core.data.tokenizer import END_OF_TEXT_ID, load_tokenizer
from cognate_core.errors import StorageError
from cognate_core.model import CognateModel

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # what a decoder shows for half a letter


class Playground:
    """A model and its tokenizer, ready to write."""

    def __init__(self, model: CognateModel, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def from_folder(cls, folder: Path) -> Playground:
        """Open what a trainer wrote.

        Raises:
            StorageError: a file is missing or damaged.
        """
        try:
            model = CognateModel.from_pretrained(folder)
        except Exception as error:  # a file can be damaged in any way
            raise StorageError(f"The model in {folder.name} cannot be opened ({error}).") from error
        try:
            tokenizer = load_tokenizer(folder / "tokenizer.json")
        except Exception as error:  # tokenizers raises plain Exception
            raise StorageError(f"The tokenizer in {folder.name} cannot be opened ({error}).") from error
        return cls(model, tokenizer)

    def stream(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 120,
        temperature: float = 0.7,
        top_p: float = 0.9,
        seed: int = 0,
    ) -> Iterator[str]:
        """What the model writes after `prompt`, piece by piece, up to its own end or max_new_tokens."""
        ids = [END_OF_TEXT_ID, *self.tokenizer.encode(prompt).ids]
        pending: list[int] = []
        for token in self.model.generate(
            torch.tensor([ids]),
            max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop_id=END_OF_TEXT_ID,
        ):
            pending.append(token)
            text = self.tokenizer.decode(pending)
            if not text.endswith(INCOMPLETE):  # a letter may need several tokens
                yield text
                pending = []
        if pending:
            yield self.tokenizer.decode(pending)


def problem_prompt(question: str) -> str:
    """A question in the layout of the training text."""
    return f"Problem: {question.strip()}\nSolution:"
