"""Valid names of runs and models."""

from __future__ import annotations

import unicodedata

from cognate_core.errors import ConfigError

MAX_MODELS = 20  # of one run, on the page and the command line
MAX_NAME_LENGTH = 80
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols in Unicode, but invisible
_TURNS_TEXT = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # would reverse the text around it, too


def valid_name(name: str, of: str = "run") -> str:
    """The name of a run (or of what `of` says) without surrounding space.

    Raises:
        ConfigError: it is empty, invisible or too long, or contains control characters.
    """
    return _valid(name, "name", "The name", f"Give the {of} a name, so that you can find it again.")


def valid_tag(tag: str) -> str:
    """A tag of a run or model without surrounding space. Raises ConfigError as `valid_name` does."""
    return _valid(tag, "tags", "The tag", "A tag is empty. Type a word or remove the tag.")


def _valid(text: str, field: str, called: str, empty: str) -> str:
    stripped = text.strip()
    if not stripped:
        raise ConfigError({field: empty})
    if not any(unicodedata.category(letter)[0] in "LNPS" and letter not in _BLANK_LETTERS for letter in stripped):
        raise ConfigError({field: f"{called} has no visible characters. Type another."})
    if len(stripped) > MAX_NAME_LENGTH:
        raise ConfigError({field: f"{called} has {len(stripped)} characters; at most {MAX_NAME_LENGTH} fit."})
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in _TURNS_TEXT for letter in stripped):
        raise ConfigError({field: f"{called} contains a character that cannot be shown. Type it again."})
    return stripped


def name_after(name: str, ending: str) -> str:
    """The name of a run derived from `name`, cut to the longest length allowed."""
    return name[: MAX_NAME_LENGTH - len(ending)] + ending


def numbered_names(name: str, count: int) -> list[str]:
    """The names of a run's models: the run's name, numbered if there are several."""
    return [name] if count == 1 else [name_after(name, f" {number}") for number in range(1, count + 1)]
