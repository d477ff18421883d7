"""The byte-level BPE tokenizer, trained on the training text alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from cognate_core.contracts import END_OF_TEXT_ID

END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer with at most `vocab_size` ids, which can spell any text. END_OF_TEXT has id END_OF_TEXT_ID.

    Digits stand alone, so that numbers are read digit by digit.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _without_special_spelling(tokenizer)


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json."""
    return _without_special_spelling(Tokenizer.from_file(str(path)))


def token_bytes(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """How many bytes each token spells, (ids,): each letter of the byte-level alphabet is one. END_OF_TEXT spells none.

    Over the tokens of any text they add up to its length in UTF-8.
    """
    spelled = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for word, token in tokenizer.get_vocab().items():
        spelled[token] = len(word)
    spelled[END_OF_TEXT_ID] = 0
    return spelled


def _without_special_spelling(tokenizer: Tokenizer) -> Tokenizer:
    """A person's text that spells <|endoftext|> is text. The file format does not keep this setting."""
    tokenizer.encode_special_tokens = True
    return tokenizer
