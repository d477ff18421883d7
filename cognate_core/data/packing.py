"""Packing documents into sequences of one length, without cutting a row inside its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cognate_core.contracts import END_OF_TEXT_ID

OPEN_SEQUENCES = 64  # sequences that still take documents; more packs tighter and searches longer


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
    skipped: int  # documents with a prompt that do not fit a sequence


def pack(documents: Iterable[EncodedDocument], length: int, *, answers_only: bool) -> Packed:
    """Lay documents one after the other into sequences of length + 1 tokens.

    A sequence begins with end-of-text, each document ends with it, the rest is padding that does not count. A document
    goes into the fullest open sequence that has room. One that is too long is skipped, except plain text (no prompt),
    which may be cut anywhere.
    """
    room = length  # after the first end-of-text
    open_sequences: list[list[EncodedDocument]] = []
    used: list[int] = []
    closed: list[list[EncodedDocument]] = []
    skipped = 0
    for document in _fitting(documents, room):
        if document is None:
            skipped += 1
            continue
        size = len(document.ids) + 1
        fits = [n for n, taken in enumerate(used) if taken + size <= room]
        if fits:
            chosen = max(fits, key=used.__getitem__)
            open_sequences[chosen].append(document)
            used[chosen] += size
            continue
        if len(open_sequences) == OPEN_SEQUENCES:
            fullest = max(range(len(used)), key=used.__getitem__)
            closed.append(open_sequences.pop(fullest))
            used.pop(fullest)
        open_sequences.append([document])
        used.append(size)
    sequences = closed + open_sequences
    tokens = np.full((len(sequences), length + 1), END_OF_TEXT_ID, dtype=np.uint16)
    counted = np.zeros((len(sequences), length + 1), dtype=np.uint8)
    for n, sequence in enumerate(sequences):
        start = 1
        for document in sequence:
            end = start + len(document.ids)
            tokens[n, start:end] = document.ids
            counted[n, start + (document.prompt_length if answers_only else 0) : end + 1] = 1
            start = end + 1
    return Packed(tokens, counted, skipped)


def documents_in(tokens: Iterable[int]) -> list[list[int]]:
    """The documents of a packed sequence: what stands between end-of-text."""
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


def _fitting(documents: Iterable[EncodedDocument], room: int) -> Iterable[EncodedDocument | None]:
    """Each document, or its pieces when it may be cut, or None when it does not fit."""
    for document in documents:
        if len(document.ids) + 1 <= room:
            yield document
        elif document.prompt_length:
            yield None
        else:
            for start in range(0, len(document.ids), room - 1):
                yield EncodedDocument(document.ids[start : start + room - 1], 0)
