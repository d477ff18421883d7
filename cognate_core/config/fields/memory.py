"""What the model notes and looks up (LTM)."""

from __future__ import annotations

from functools import partial
from typing import Literal

from cognate_core.config.setting import TEXT, Settings, setting

_setting = partial(setting, section="Memory", tasks=TEXT, branchable=False, shapes_model=True)


class MemorySettings(Settings):
    """What the model notes and looks up (LTM)."""

    ltm_enabled: bool = _setting(
        True,
        title="Long-term memory (LTM)",
        help="The model takes notes of what surprised it, segment by segment; its layers can look them up later in the "
        "same text (arXiv 2203.08913). Off: attention only.",
        simple=True,
    )
    d_mem: int = _setting(
        216,
        title="Memory width",
        help="How many numbers a note holds, and as many in the key that finds it.",
        ge=1,
        le=4096,
    )
    mem_capacity: int = _setting(
        4096,
        title="Memory size",
        help="How many notes of one text are kept. When memory is full, the least used note is dropped.",
        unit="notes",
        ge=1,
        le=1_000_000,
    )
    mem_topk: int = _setting(
        4,
        title="Notes a token reads",
        help="Each token reads this many best-matching notes at once, or none.",
        unit="notes",
        ge=1,
        le=256,
    )
    mem_segment: int = _setting(
        128,
        title="Segment",
        help="The model reads text in segments of this length. Later segments can read the notes of earlier ones. It "
        "should be shorter than the texts that the model learns from.",
        unit="tokens",
        ge=8,
        le=16384,
    )
    mem_layers: Literal["all", "one"] = _setting(
        "all",
        title="Layers that read the memory",
        help="all: every layer looks up notes. one: only the first layer after those that pondering repeats; all "
        "layers before it then read a text as a whole instead of by segments. This is faster, but the model learns "
        "recall later.",
    )
    mem_writes: int = _setting(
        16,
        title="Notes a segment writes",
        help="At most this many tokens of each segment are noted: the most surprising new ones.",
        unit="notes",
        ge=1,
        le=4096,
    )
