"""Preview what training would draw from several datasets: shares, passes, and a batch's text. Writes nothing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from cognate_core.config import TrainingConfig
from cognate_core.contracts import END_OF_TEXT_ID
from cognate_core.data.loader import encode, remove_near_duplicates, remove_overlap
from cognate_core.data.packing import Packed, pack
from cognate_core.data.prepared import Batches
from cognate_core.data.sources import SourceDocuments
from cognate_core.data.tokenizer import train_tokenizer

PieceKind = Literal["given", "target", "end", "padding"]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Training text as a run would pack it, with one tokenizer for all datasets."""

    tokenizer: Tokenizer
    packed: dict[str, Packed]  # dataset -> its sequences


@dataclass(frozen=True, slots=True)
class DatasetShare:
    """What one dataset contributes to a run. Shares are from 0 to 1."""

    name: str
    sequences: int
    of_sequences: float
    of_tokens: float  # of the tokens that count as targets
    passes: float  # how often the run goes through the dataset (epochs)
    left_out: int  # rows that do not fit the training length and are not cut


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring tokens of one kind: read only, also to be predicted, the end of a row, or padding."""

    kind: PieceKind
    tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class SampleSequence:
    """One sequence of a batch."""

    dataset: str
    pieces: list[Piece]

    def tokens(self, *kinds: PieceKind) -> int:
        """The number of its tokens of these kinds."""
        return sum(piece.tokens for piece in self.pieces if piece.kind in kinds)


def mix(sources: Sequence[SourceDocuments], config: TrainingConfig) -> Mixture:
    """Prepare the training rows as `MixtureLoader` does. `sources` are not changed."""
    copies = [dataclasses.replace(source, skipped=Counter(source.skipped)) for source in sources]
    for source in copies:
        remove_overlap(source)
        if config.near_duplicates == "remove":
            remove_near_duplicates(source)
    tokenizer = train_tokenizer((document.text for source in copies for document in source.train), config.vocab_size)
    return Mixture(
        tokenizer,
        {
            source.name: pack(
                encode(source.train, tokenizer),
                config.train_seq_len,
                answers_only=config.loss_on_answer_only,
                cut_rows=config.long_rows == "cut",
            )
            for source in copies
        },
    )


def shares(mixture: Mixture, config: TrainingConfig) -> list[DatasetShare]:
    """What each dataset contributes in the steps of `config`.

    Raises:
        DataError: no sequence can be drawn.
    """
    batches = Batches(mixture.packed, config.mixture_weights, config.batch_size, config.seed)
    of_sequences, of_tokens = batches.shares(), batches.token_shares()
    drawn = config.max_steps * config.gradient_accumulation_steps * config.batch_size
    return [
        DatasetShare(
            name=name,
            sequences=len(packed.tokens),
            of_sequences=of_sequences.get(name, 0.0),
            of_tokens=of_tokens.get(name, 0.0),
            passes=of_sequences[name] * drawn / len(packed.tokens) if name in of_sequences else 0.0,
            left_out=packed.skipped,
        )
        for name, packed in mixture.packed.items()
    ]


def sample_batch(mixture: Mixture, config: TrainingConfig, count: int) -> list[SampleSequence]:
    """The first `count` sequences that a run with `config.seed` would read.

    Raises:
        DataError: no sequence can be drawn.
    """
    drawn = Batches(mixture.packed, config.mixture_weights, config.batch_size, config.seed).next_sources(count)
    return [
        SampleSequence(
            name, _pieces(mixture.packed[name].tokens[index], mixture.packed[name].counted[index], mixture.tokenizer)
        )
        for name, index in drawn
    ]


def _pieces(tokens: npt.NDArray[np.uint16], counted: npt.NDArray[np.uint8], tokenizer: Tokenizer) -> list[Piece]:
    """The sequence without its opening end-of-text. Text that spells end-of-text has other ids."""
    first = 1 if tokens[0] == END_OF_TEXT_ID else 0  # a continued text: its token before the cut is only read
    kinds: list[PieceKind] = [
        ("end" if counts else "padding") if token == END_OF_TEXT_ID else ("target" if counts else "given")
        for token, counts in zip(tokens[first:].tolist(), counted[first:].tolist(), strict=True)
    ]
    pieces = []
    start = 0
    for place in range(1, len(kinds) + 1):
        if place == len(kinds) or kinds[place] != kinds[start] or kinds[place] == "end":
            ids = tokens[first + start : first + place].tolist()
            text = tokenizer.decode(ids) if kinds[start] in ("given", "target") else ""
            pieces.append(Piece(kinds[start], place - start, text))
            start = place
    return pieces
