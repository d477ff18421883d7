"""Figures in words: durations, sizes, counts."""

from __future__ import annotations

from datetime import UTC, datetime


def duration(seconds: float | None) -> str:
    """About how long, such as "45 s", "3 min", "2 h 5 min"; "unknown" for None."""
    if seconds is None:
        return "unknown"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(hours / 24)} days"


def time_unit(longest: float) -> tuple[str, float]:
    """(unit, its seconds) for a list of times up to `longest` seconds."""
    return ("s", 1.0) if longest < 180 else ("min", 60.0) if longest < 180 * 60 else ("h", 3600.0)


def size(count: float) -> str:
    """Bytes in decimal units, such as "88.2 MB"."""
    for unit in ("bytes", "KB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB" if count < 999.5 else f"{count:,.0f} GB"


def layer_words(layer: str) -> str:
    """The name of a layer in `LayerFigures`, for people: "core 4" is "Layer 4 (core)"."""
    names = {"embedding": "Word table (embedding)", "halting": "When to stop (halting)"}
    part, _, number = layer.partition(" ")
    if not number:
        return names.get(layer, layer.capitalize())
    return f"Layer {number}" if part == "layer" else f"Layer {number} ({part})"


def compact(count: float) -> str:
    """A large count, such as "2.1 million"."""
    if count < 100_000:
        return f"{count:,.0f}"
    if count < 999_500:
        return f"{count / 1000:,.0f} thousand"
    if count < 999.5e6:
        return f"{count / 1e6:.3g} million"
    return f"{count / 1e9:.3g} billion" if count < 999.5e9 else f"{count / 1e9:,.0f} billion"


def ago(timestamp: str, now: datetime | None = None) -> str:
    """How long ago an ISO 8601 time was, such as "5 min ago"."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(timestamp)).total_seconds()
    return "just now" if seconds < 10 else f"{duration(seconds)} ago"
