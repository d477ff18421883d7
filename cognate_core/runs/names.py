"""What runs and models may be called."""

from __future__ import annotations

import unicodedata

from cognate_core.errors import ConfigError

MAX_MODELS = 20  # of one run, as page and command line offer it
MAX_NAME_LENGTH = 80
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols to Unicode, nothing to the eye
_TURNS_TEXT = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # would turn the text around it, too


def valid_name(name: str, of: str = "run") -> str:
    """The name of a run, or of what else `of` says, without surrounding space.

    Raises:
        ConfigError: it is empty, cannot be seen, is too long, or holds control characters.
    """
    return _valid(name, "name", "The name", f"Give the {of} a name, so that you find it again.")


def valid_tag(tag: str) -> str:
    """A model's tag without surrounding space. Raises ConfigError as `valid_name` does."""
    return _valid(tag, "tags", "The tag", "A tag is empty. Type a word, or take the tag away.")


def _valid(text: str, field: str, called: str, empty: str) -> str:
    stripped = text.strip()
    if not stripped:
        raise ConfigError({field: empty})
    if not any(unicodedata.category(letter)[0] in "LNPS" and letter not in _BLANK_LETTERS for letter in stripped):
        raise ConfigError({field: f"{called} has no letter that can be seen. Type another."})
    if len(stripped) > MAX_NAME_LENGTH:
        raise ConfigError({field: f"{called} has {len(stripped)} characters; {MAX_NAME_LENGTH} fit. Shorten it."})
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in _TURNS_TEXT for letter in stripped):
        raise ConfigError({field: f"{called} holds a character that cannot be shown. Type it again."})
    return stripped


def name_after(name: str, ending: str) -> str:
    """A name for what comes of the run called `name`, no longer than a name may be."""
    return name[: MAX_NAME_LENGTH - len(ending)] + ending


def numbered_names(name: str, count: int) -> list[str]:
    """The names of a run's models: the run's own for one, else numbered."""
    return [name] if count == 1 else [name_after(name, f" {number}") for number in range(1, count + 1)]
