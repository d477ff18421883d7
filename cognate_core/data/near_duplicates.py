"""Training rows that nearly repeat an earlier row: other capitals, other punctuation, or a few other words.

Context, question and answer are compared one by one, because another question about the same text is another row. Each
must be THRESHOLD alike, by the Jaccard similarity of the sets of runs of words (A. Z. Broder, On the resemblance and
containment of documents, 1997) and of the sets of numbers, because 24 apples are not 36 apples. Runs have two words in
texts shorter than LONG_TEXT, else three: one word may differ in 19; in fewer, only the first or last of at least 10.

MinHash with bands finds candidates, and may miss a pair that is barely alike enough. Each is then compared exactly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import numpy.typing as npt

from cognate_core.contracts.answers import QUESTION_MARK, SOLUTION_MARK
from cognate_core.data.documents import Document
from cognate_core.data.overlap import Words, runs, words

THRESHOLD = 0.8
LONG_TEXT = 30  # words
BANDS, HASHES = 20, 8  # at the threshold, a pair is found with probability 1 - (1 - 0.8**8)**20 = 0.97 or more
MOST_COMPARED = 20  # candidates of a row: rows made from one template would all be compared with each other
AT_ONCE = 256  # documents hashed together

Parts = tuple[Words, Words, Words]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A training row and what it nearly repeats: an earlier training row, or a held-out row."""

    row: int
    repeats: int
    of_heldout: bool
    similarity: float  # THRESHOLD to 1


def near_duplicates(
    train: Sequence[Document], heldout: Sequence[Document] = (), poll: Callable[[], object] = lambda: None
) -> list[NearDuplicate]:
    """The training rows that nearly repeat another, in order. A row is compared only with rows that are not listed.

    `poll` is called now and then, and may raise.
    """
    documents, held = [*heldout, *train], len(heldout)
    numbers: dict[str, int] = {}
    keys = np.zeros((len(documents), BANDS), dtype=np.uint64)
    for start in range(0, len(documents), AT_ONCE):
        poll()
        keys[start : start + AT_ONCE] = _keys(documents[start : start + AT_ONCE], numbers)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    shared = (counts > 1)[inverse].reshape(keys.shape)  # whether another document has the same key
    parts = lru_cache(maxsize=2048)(lambda number: parts_of(documents[number]))
    buckets: defaultdict[int, list[int]] = defaultdict(list)  # key -> rows that have it
    found = []
    for count, number in enumerate(np.flatnonzero(shared.any(axis=1)).tolist()):
        if count % AT_ONCE == 0:
            poll()
        own = [buckets[key] for key in keys[number, shared[number]].tolist()]
        candidates = Counter(chain.from_iterable(own)).most_common(MOST_COMPARED) if number >= held else []
        compared = ((other, similarity(parts(number), parts(other))) for other, _ in candidates)
        other, alike = next((pair for pair in compared if pair[1] >= THRESHOLD), (0, 0.0))
        if alike:
            found.append(NearDuplicate(number - held, other if other < held else other - held, other < held, alike))
            continue
        for bucket in own:
            if len(bucket) < MOST_COMPARED:
                bucket.append(number)
    return found


def parts_of(document: Document) -> Parts:
    """The words of the context (or earlier turns of a chat), the question and the answer. A plain text is an answer."""
    context, _, question = document.prompt.rpartition(QUESTION_MARK)
    return words(context), words(question.removesuffix(SOLUTION_MARK)), words(document.answer)


def similarity(first: Parts, second: Parts) -> float:
    """How alike two documents are, from 0 to 1: as much as the part in which they are least alike."""
    return min(map(_alike, first, second))


def _alike(first: Words, second: Words) -> float:
    n = 2 if min(len(first), len(second)) < LONG_TEXT else 3
    sets = (({*runs(text, n)} or {text}, {word for word in text if word[0].isdigit()}) for text in (first, second))
    return min(len(a & b) / len(a | b) if a or b else 1.0 for a, b in zip(*sets, strict=True))


def _keys(documents: Sequence[Document], numbers: dict[str, int]) -> Hashes:  # (documents, BANDS)
    """Rows that are alike have some keys in common. A key mixes the least hashes of the parts, one after another."""
    ids: list[int] = [0]  # 0 stands between two parts
    starts: list[int] = []
    first, count = [], []  # of each document: its first part, how many it has
    for document in documents:
        *asked, answer = parts_of(document)
        parts = [*filter(None, asked), answer]
        first.append(len(starts))
        count.append(len(parts))
        for part in parts:
            starts.append(len(ids) - 1)
            ids += [numbers.setdefault(word, len(numbers) + 1) for word in part]
            ids.append(0)
    hashed = _mixed(np.array(ids, dtype=np.uint64))
    pairs = _mixed(hashed[:-1] * _ODD + hashed[1:])
    keys = np.zeros((BANDS, len(documents)), dtype=np.uint64)
    for place, factor in enumerate(_FACTORS):
        least = np.minimum.reduceat(pairs * factor, starts)  # (parts of all documents,)
        key = keys[place // HASHES]
        key[:] = _mixed(key + least[np.array(first) + place % HASHES % np.array(count)])
    return keys.T


def _mixed(values: Hashes) -> Hashes:
    """Hashes of 64-bit numbers, the same on every computer (the finalizer of SplitMix64, Steele and others, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_ODD = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = _mixed(np.arange(1, BANDS * HASHES + 1, dtype=np.uint64) * _ODD) | np.uint64(1)
