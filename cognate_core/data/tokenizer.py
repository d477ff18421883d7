"""The byte-level BPE tokenizer, trained on the training text alone."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from cognate_core.contracts import END_OF_TEXT_ID

END_OF_TEXT = "<|endoftext|>"
_ALPHABET = set(pre_tokenizers.ByteLevel.alphabet())
# The byte-level alphabet: a byte is spelled by its own character if that is printable, the others by those from 256 on.
_OTHERS = [byte for byte in range(256) if chr(byte) not in _ALPHABET]
_BYTES = {chr(byte): byte for byte in range(256) if chr(byte) in _ALPHABET} | {
    chr(256 + place): byte for place, byte in enumerate(_OTHERS)
}


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer with at most `vocab_size` ids that can spell any text. END_OF_TEXT has id END_OF_TEXT_ID.

    Each digit is a token: numbers are read digit by digit.
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
    """Bytes that each token spells, (ids,): one per letter of the byte-level alphabet, none for END_OF_TEXT.

    Their sum over the tokens of a text is the text's length in UTF-8.
    """
    spelled = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for word, token in tokenizer.get_vocab().items():
        spelled[token] = len(word)
    spelled[END_OF_TEXT_ID] = 0
    return spelled


def texts_of_tokens(ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """What each token adds to the text. A letter of several tokens is added by its last one, the others add ""."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(bytes(_BYTES[sign] for sign in tokenizer.id_to_token(each) or "")) for each in ids]


def _without_special_spelling(tokenizer: Tokenizer) -> Tokenizer:
    """Treat <|endoftext|> in a person's text as ordinary text. The file format does not store this setting."""
    tokenizer.encode_special_tokens = True
    return tokenizer
