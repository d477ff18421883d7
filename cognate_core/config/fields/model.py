"""The size of the model."""

from __future__ import annotations

from functools import partial

from cognate_core.config.setting import BOTH, TEXT, Settings, setting

SMALLEST_VOCABULARY = 257
"""The ids that every tokenizer has: end-of-text and the 256 bytes."""

_setting = partial(setting, section="Model", tasks=TEXT, branchable=False, shapes_model=True)


class ModelSettings(Settings):
    """The size of the model."""

    d_model: int = _setting(
        216,
        title="Width",
        help="How many numbers describe one token inside the model (d_model). Must be a multiple of twice the heads.",
        simple=True,
        ge=8,
        le=4096,
        tasks=BOTH,
    )
    n_layers: int = _setting(
        11,
        title="Layers",
        help="How many blocks of attention and feed-forward the text passes through.",
        simple=True,
        ge=1,
        le=96,
        tasks=BOTH,
    )
    n_heads: int = _setting(
        4,
        title="Attention heads",
        help="How many independent views each layer's attention is split into.",
        ge=1,
        le=64,
        tasks=BOTH,
    )
    vocab_size: int = _setting(
        32000,
        title="Vocabulary",
        help="The most different tokens (word pieces) that the model can know. A short text yields fewer; the model "
        "then has only these.",
        unit="tokens",
        ge=SMALLEST_VOCABULARY,
        le=65536,
        prepares_data="tokens",
    )
    max_seq_len: int = _setting(
        4096,
        title="Longest text",
        help="The longest text that the finished model can read at once.",
        unit="tokens",
        ge=16,
        le=65536,
    )

    attention_window: int = _setting(
        512,
        title="Attention window",
        help="How far back each layer looks directly. Longer takes more time; long-term memory covers what is further "
        "back.",
        unit="tokens",
        ge=16,
        le=65536,
    )
