"""Pack documents into sequences of one length. A row with an answer is never cut, unless that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognate_core.contracts import END_OF_TEXT_ID

OPEN_SEQUENCES = 64  # sequences that still take documents; more would pack tighter but search longer


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """Token ids of one document; the first `prompt_length` belong to the prompt."""

    ids: Sequence[int]
    prompt_length: int


@dataclass(frozen=True, slots=True)
class Packed:
    """tokens: (sequences, length + 1) uint16; counted: same shape, 1 where a token counts as a target."""

    tokens: npt.NDArray[np.uint16]
    counted: npt.NDArray[np.uint8]
    skipped: int  # documents that do not fit into a sequence and are left out
    cut: int = 0  # documents that do not fit into a sequence and continue in further ones


def pack(documents: Iterable[EncodedDocument], length: int, *, answers_only: bool, cut_rows: bool = False) -> Packed:
    """Put documents one after the other into sequences of length + 1 tokens.

    A sequence begins with end-of-text, each document ends with it, and the rest is padding that does not count. A
    document goes into the fullest open sequence that has room. One that is too long is cut over several sequences if it
    is plain text (no prompt) or `cut_rows` is on, else it is skipped. All pieces but the first begin with the token
    before the cut. Every token then counts once, and end-of-text appears only where the text ends. With `answers_only`,
    a piece that lies wholly in a prompt is left out: nothing in it counts.
    """
    room = length  # after the token that a sequence begins with
    open_sequences: list[_Sequence] = []
    closed: list[_Sequence] = []
    skipped = cut = 0

    def take_in(sequence: _Sequence) -> None:
        """Keep a new sequence open while it has room."""
        if sequence.used >= room:
            closed.append(sequence)
            return
        if len(open_sequences) == OPEN_SEQUENCES:
            fullest = max(range(len(open_sequences)), key=lambda n: open_sequences[n].used)
            closed.append(open_sequences.pop(fullest))
        open_sequences.append(sequence)

    for document in documents:
        size = len(document.ids) + 1
        if size <= room:
            fits = [sequence for sequence in open_sequences if sequence.used + size <= room]
            if fits:
                max(fits, key=lambda sequence: sequence.used).add(document)
            else:
                take_in(_Sequence(END_OF_TEXT_ID, [document], size))
        elif document.prompt_length and not cut_rows:
            skipped += 1
        else:
            cut += 1
            for start in range(0, size, room):
                piece = document.ids[start : start + room]
                before = document.ids[start - 1] if start else END_OF_TEXT_ID
                given = min(max(document.prompt_length - start, 0), len(piece))
                if not answers_only or given < room:
                    take_in(_Sequence(before, [EncodedDocument(piece, given)], len(piece) + 1))
    sequences = closed + open_sequences
    tokens = np.full((len(sequences), length + 1), END_OF_TEXT_ID, dtype=np.uint16)
    counted = np.zeros((len(sequences), length + 1), dtype=np.uint8)
    for n, sequence in enumerate(sequences):
        tokens[n, 0] = sequence.before
        start = 1
        for document in sequence.documents:
            end = start + len(document.ids)
            tokens[n, start:end] = document.ids
            counted[n, start + (document.prompt_length if answers_only else 0) : end + 1] = 1
            start = end + 1
    return Packed(tokens, counted, skipped, cut)


@dataclass(slots=True)
class _Sequence:
    """Documents of one sequence, after the token `before`; `used`: places taken by them and their ends."""

    before: int
    documents: list[EncodedDocument]
    used: int

    def add(self, document: EncodedDocument) -> None:
        self.documents.append(document)
        self.used += len(document.ids) + 1


def holds_a_part(tokens: Sequence[int]) -> bool:
    """Whether a packed sequence holds part of a text that is longer than one sequence."""
    return tokens[0] != END_OF_TEXT_ID or tokens[-1] != END_OF_TEXT_ID


def documents_in(tokens: Iterable[int]) -> list[list[int]]:
    """The documents of a packed sequence, split at end-of-text.

    The first may be the rest of a text, beginning with the last token of the piece before; the last may continue
    elsewhere.
    """
    documents: list[list[int]] = []
    begins = True
    for token in tokens:
        if token == END_OF_TEXT_ID:
            begins = True
        elif begins:
            documents.append([token])
            begins = False
        else:
            documents[-1].append(token)
    return documents


def whole_documents_in(tokens: Sequence[int]) -> list[list[int]]:
    """The documents of a packed sequence, without the pieces of one that was cut."""
    documents = documents_in(tokens)
    continues = tokens[-1] != END_OF_TEXT_ID
    return documents[int(tokens[0] != END_OF_TEXT_ID) : len(documents) - continues]
