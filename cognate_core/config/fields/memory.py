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
        help="The model takes notes of what surprised it, segment by segment, and its layers can look them up later "
        "in the same text (arXiv 2203.08913). Off: it has its attention alone.",
        simple=True,
    )
    d_mem: int = _setting(
        216,
        title="Memory width",
        help="How many numbers one note holds, and as many by which it is found.",
        ge=1,
        le=4096,
    )
    mem_capacity: int = _setting(
        4096,
        title="Memory size",
        help="How many notes are kept of one text. When it is full, what was used least goes.",
        unit="notes",
        ge=1,
        le=1_000_000,
    )
    mem_topk: int = _setting(
        4,
        title="Notes a token reads",
        help="Each token looks at this many of the best matching notes at once, or at none of them.",
        unit="notes",
        ge=1,
        le=256,
    )
    mem_segment: int = _setting(
        128,
        title="Segment",
        help="Text is read in segments of this length. What one segment noted, later ones can read. It should be "
        "shorter than the texts that the model learns from.",
        unit="tokens",
        ge=8,
        le=16384,
    )
    mem_layers: Literal["all", "one"] = _setting(
        "all",
        title="Layers that read the memory",
        help="all: every layer looks notes up. one: only the first layer behind those that pondering repeats, so that "
        "all layers before it read a text as a whole instead of by segments. Faster, but recall is learned later.",
    )
    mem_writes: int = _setting(
        16,
        title="Notes a segment writes",
        help="Of each segment, at most this many tokens are noted: those that were most surprising and new.",
        unit="notes",
        ge=1,
        le=4096,
    )
