"""The playground: open a trained model to continue text and to show how the text came about.

Handles files and text; no pages, no database.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

from cognate_core.contracts import CHECKPOINT_MANIFEST, END_OF_TEXT_ID
from cognate_core.contracts.answers import QUESTION_MARK, SOLUTION_MARK
from cognate_core.data.tokenizer import load_tokenizer
from cognate_core.errors import RunError, StorageError
from cognate_core.inference.attention import attention_weights
from cognate_core.model import CognateModel, CognateState, MemoryBank, MemoryReads, kept_notes, load_memory, save_memory

__all__ = [
    "Explanation",
    "Piece",
    "Playground",
    "Reading",
    "RecalledNote",
    "ShownWord",
    "kept_notes",
    "load_memory",
    "opened",
    "problem_prompt",
    "save_memory",
]

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # what a decoder shows for half a letter
SHOWN_NOTES = 4  # the most that are shown of those a token read
MOST_OPEN = 3  # models that are kept open
MOST_ATTENDED = 512  # tokens whose attention is shown: its size grows with their square


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of written text: whole letters, and the tokens that spell them."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RecalledNote:
    """A note that was read. `word` wrote it; `place` is its index in the shown text, None: from an earlier text."""

    word: str
    place: int | None
    share: float


@dataclass(frozen=True, slots=True)
class ShownWord:
    """A stretch of text (a token, or the few tokens of one letter) and how the model came to expect it.

    Attributes:
        probability: the model's probability for it, 0 to 1.
        expected: the model's likeliest token in its place, which may be part of a letter; empty: the end of the text.
        expected_probability: its probability.
        ponder_steps: how often the previous token went through the core to choose this one; None without pondering.
        recall: how far the layers opened to the memory's notes: mean of gate times the notes' share, 0 to 1; None
            without a memory. It is not a share of the answer.
        notes: the most-read notes, over all layers.
    """

    text: str
    written: bool
    probability: float
    expected: str
    expected_probability: float
    ponder_steps: int | None
    recall: float | None
    notes: list[RecalledNote]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a text came about.

    Attributes:
        words: the text; if it is longer than the model can read at once, its end.
        shortened: whether the beginning is missing.
        bank: the memory that these words left for the next text; None without a memory.
    """

    words: list[ShownWord]
    shortened: bool
    bank: MemoryBank | None


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model reads a text that it did not write.

    Attributes:
        words: the text.
        tokens: how many it has.
        loss: their mean loss in nats.
        bits_per_byte: their loss in bits, divided by the text's bytes in UTF-8. The end of the text does not count.
    """

    words: list[ShownWord]
    tokens: int
    loss: float
    bits_per_byte: float


@contextmanager
def checkpoint_file(folder: Path, step: int) -> Iterator[Path]:
    """The file with the weights of a trained model after a step, for as long as it is read.

    Raises:
        StorageError: the checkpoint is gone or damaged.
    """
    checkpoint = folder / "checkpoints" / f"step-{step:08d}"
    try:
        checksums = json.loads((checkpoint / CHECKPOINT_MANIFEST).read_text(encoding="utf-8"))
        with (checkpoint / "model.safetensors").open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not isinstance(checksums, dict) or found != checksums.get("model.safetensors"):
            raise StorageError(f"The checkpoint of step {step:,} is damaged. Choose another step.")
        yield checkpoint / "model.safetensors"
    except FileNotFoundError as error:  # training removes old ones at any time
        raise StorageError(f"The checkpoint of step {step:,} is no longer there. Choose another step.") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"The checkpoint of step {step:,} cannot be read ({error}).") from error


def checkpoint_weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """Those weights, by name. Raises StorageError as `checkpoint_file` does."""
    with checkpoint_file(folder, step) as file:
        return load_file(file, backend="pread")


class Playground:
    """A model and its tokenizer, ready to write."""

    def __init__(self, model: CognateModel, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def from_folder(cls, folder: Path) -> Playground:
        """Open a model that a trainer wrote.

        Raises:
            StorageError: a file is missing or damaged.
        """
        return cls._opened(folder, None)

    @classmethod
    def from_checkpoint(cls, folder: Path, step: int) -> Playground:
        """Open a trained model as it was after a step, if its checkpoint still exists.

        Raises:
            StorageError: the checkpoint or a file of the model is gone or damaged.
        """
        return cls._opened(folder, checkpoint_weights(folder, step))

    @classmethod
    def _opened(cls, folder: Path, weights: Mapping[str, torch.Tensor] | None) -> Playground:
        try:
            model = CognateModel.from_pretrained(folder, weights)
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
        bank: MemoryBank | None = None,
    ) -> Iterator[Piece]:
        """What the model writes after `prompt`, piece by piece, until it ends the text or reaches max_new_tokens.

        `bank` is the memory of earlier texts.
        """
        pending: list[int] = []
        for token in self.model.generate(
            torch.tensor([self._ids(prompt)]),
            max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop_id=END_OF_TEXT_ID,
            bank=bank,
        ):
            pending.append(token.id)
            text = self.tokenizer.decode(pending)
            if not text.endswith(INCOMPLETE):  # a letter may need several tokens
                yield Piece(text, tuple(pending))
                pending = []
        if pending:
            yield Piece(self.tokenizer.decode(pending), tuple(pending))

    @torch.no_grad()
    def explain(self, prompt: str, written: Sequence[int], bank: MemoryBank | None = None) -> Explanation:
        """How the model came to expect each word of a text, found by reading the whole text again.

        Args:
            written: the tokens that came after the prompt.
            bank: the memory of earlier texts.
        """
        whole = [*self._ids(prompt), *written]
        ids, written_ids = whole[-self.model.config.max_seq_len :], list(written)
        first_written = len(ids) - len(written_ids)
        state = CognateState(bank=bank)
        output = self.model(torch.tensor([ids]), state=state)
        self.model.end_segment(state)
        following = torch.tensor(ids[1:], dtype=torch.long)
        logits = output.logits[0, :-1].float()  # (time - 1, vocab_size)
        surprise = F.cross_entropy(logits, following, reduction="none")  # (time - 1,), nats
        highest, likeliest = logits.max(-1)
        # log p(likeliest), without all the other probabilities: the two logits differ as the two logarithms do.
        expected = (highest - logits.gather(1, following[:, None])[:, 0] - surprise).exp()
        steps, reads = output.ponder_steps, output.memory_reads
        groups = self._whole_letters(ids[1:])  # token n of ids[1:] was chosen at position n of ids
        texts = [self.tokenizer.decode([ids[1 + n] for n in group]) for group in groups]
        words = [
            ShownWord(
                text=text,
                written=group[0] + 1 >= first_written,
                probability=math.exp(-float(surprise[group].sum())),
                expected=self.tokenizer.decode([int(likeliest[group[0]])]),
                expected_probability=float(expected[group[0]]),
                ponder_steps=None if steps is None else int(steps[0, group].max()),
                recall=None if reads is None else float((reads.gate * (1 - reads.null))[0, group[0]].mean()),
                notes=[] if reads is None else self._notes(reads, group[0], groups, texts),
            )
            for group, text in zip(groups, texts, strict=True)
        ]
        return Explanation(words, len(ids) < len(whole), None if state.bank is None else state.bank.carried())

    def read(self, text: str) -> Reading:
        """How the model comes to expect each word of a text.

        Raises:
            RunError: the text is empty, or longer than the model can read at once.
        """
        ids = self._whole_text(text)
        words = self.explain("", ids).words
        nats = -sum(math.log(word.probability) for word in words)
        return Reading(words, len(ids), nats / len(ids), nats / math.log(2) / len(text.encode()))

    def attention(self, text: str) -> npt.NDArray[np.float16]:
        """Where the model looks while it predicts each word of a text, (layers, words, 1 + words).

        The words are those of `read`. Entry [:, n, 0] is the share of attention that goes to the beginning of the text
        when word n is predicted, [:, n, 1 + m] the share that goes to word m. Each row adds up to 1.

        Raises:
            RunError: the text is empty, or too long.
        """
        ids = self._whole_text(text)
        if len(ids) > MOST_ATTENDED:
            raise RunError(
                f"The text has {len(ids):,} tokens; where a model looks is shown for at most {MOST_ATTENDED:,}. "
                "Shorten it."
            )
        groups = self._whole_letters(ids)  # token n stands at position n + 1: the end of the text before is at 0
        weights = attention_weights(self.model, [END_OF_TEXT_ID, *ids])[:, [group[0] for group in groups]]
        columns = [weights[..., :1], *(weights[..., 1 + group[0] : 2 + group[-1]].sum(-1, True) for group in groups)]
        return torch.cat(columns, dim=-1).half().numpy()

    def _whole_text(self, text: str) -> list[int]:
        """The tokens of a text that is read as a whole. Raises RunError if it is empty or too long."""
        ids, most = self.tokenizer.encode(text).ids, self.model.config.max_seq_len - 1
        if not ids:
            raise RunError("The text is empty, so there is nothing to read. Type or paste one.")
        if len(ids) > most:
            raise RunError(f"The text has {len(ids):,} tokens; this model reads at most {most:,} at once. Shorten it.")
        return ids

    def unread(self, prompt: str) -> int:
        """How many tokens at the beginning of a prompt are not read, because the model reads only so many at once."""
        return max(0, len(self.tokenizer.encode(prompt).ids) - self.model.config.max_seq_len)

    def _ids(self, prompt: str) -> list[int]:
        return [END_OF_TEXT_ID, *self.tokenizer.encode(prompt).ids]

    def _whole_letters(self, ids: list[int]) -> list[list[int]]:
        """Indices of ids in groups that each spell whole letters."""
        groups: list[list[int]] = []
        pending: list[int] = []
        for index in range(len(ids)):
            pending.append(index)
            if not self.tokenizer.decode([ids[each] for each in pending]).endswith(INCOMPLETE):
                groups.append(pending)
                pending = []
        return [*groups, pending] if pending else groups

    def _notes(self, reads: MemoryReads, time: int, groups: list[list[int]], texts: list[str]) -> list[RecalledNote]:
        """The notes read at one position, merged over the layers, most read first."""
        place_of = {n + 1: place for place, group in enumerate(groups) for n in group}  # position in the text -> word
        notes = []
        for source in reads.sources(0, time, gated=False)[:SHOWN_NOTES]:
            place = place_of.get(source.position)
            word = self.tokenizer.decode([source.token]) if place is None else texts[place]
            notes.append(RecalledNote(word, place, source.share))
        return notes


@functools.lru_cache(maxsize=MOST_OPEN)
def opened(folder: Path, weights_sha256: str, step: int | None) -> Playground:
    """A model, kept open for later requests. The arguments are the cache key: changed weights are another entry.

    Raises:
        StorageError: the model or its checkpoint is gone or damaged.
    """
    return Playground.from_folder(folder) if step is None else Playground.from_checkpoint(folder, step)


def problem_prompt(question: str) -> str:
    """A question in the layout of the training text."""
    return f"{QUESTION_MARK}{question.strip()}{SOLUTION_MARK}"
