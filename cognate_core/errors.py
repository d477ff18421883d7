"""Every error that Cognate Studio raises on purpose.

    CognateError
    ├── ConfigError            a setting is missing, unknown, out of range or contradicts another
    ├── DataError              training text is missing or cannot be used
    │   └── DatasetUnavailable   one named dataset could not be reached (others may still be)
    │       └── HubUnreachable     no dataset can be fetched, because there is no connection to the hub
    ├── TrainingError          a model could not be trained
    │   ├── Diverged             the loss is no longer a number
    │   └── OutOfMemory          the computer has too little memory
    ├── StorageError           the disk or the database failed
    │   ├── DiskFull             there is no room left
    │   └── UnusableFile         a file from elsewhere is not what it should be
    ├── PublishError           a model could not be published
    │   └── NoHubToken           this computer has no usable token
    ├── RunError               a run or model cannot do what was asked now
    │   └── NotFound             it does not exist, or no longer exists
    └── Unreachable            no studio answers at the address

Each message is a sentence for the person at the screen: what happened, why, and what to do.

Three more are requests, not errors: a progress callback raises them in a trainer or loader because the person wants
it to end. They are outside the tree, so that error handlers do not catch them.

    Interruption
    ├── PauseRequested         write a checkpoint, then end: the run can continue later
    ├── StopRequested          save the model as it is, then end
    └── CancelRequested        end without saving
"""

from __future__ import annotations

import errno
from collections.abc import Mapping


class CognateError(Exception):
    """Base of the tree: catch this to catch everything that Cognate Studio raises on purpose."""


class ConfigError(CognateError):
    """One or more settings cannot be used.

    `problems` maps the field's name to the sentence about it, so that a form can show each at its field.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__(" ".join(self.problems.values()))


class DataError(CognateError):
    """Training text is missing or cannot be used."""


class DatasetUnavailable(DataError):
    """One named dataset could not be reached."""


class HubUnreachable(DatasetUnavailable):
    """A dataset could not be reached, because there is no connection to the hub. `why` is half a sentence."""

    def __init__(self, message: str, why: str) -> None:
        self.why = why
        super().__init__(message)


class TrainingError(CognateError):
    """A model could not be trained."""


class Diverged(TrainingError):
    """The loss stopped being a number."""


class OutOfMemory(TrainingError):
    """The computer has too little memory for training."""


class StorageError(CognateError):
    """The disk or the database failed."""


class DiskFull(StorageError):
    """There is no room left on the disk."""


class UnusableFile(StorageError):
    """A file from elsewhere is not what it should be."""


class PublishError(CognateError):
    """A model could not be published."""


class RunError(CognateError):
    """A run or model does not exist, or cannot do what was asked of it now."""


class NoHubToken(PublishError):
    """This computer has no token that can publish a model."""


class NotFound(RunError):
    """It does not exist, or no longer exists."""


class Unreachable(CognateError):
    """No studio answers at the address."""


class Interruption(Exception):
    """A person asked for the work to end."""


class PauseRequested(Interruption):
    """Write a checkpoint, then end: the run can continue later."""


class StopRequested(Interruption):
    """Save the model as it is, then end."""


class CancelRequested(Interruption):
    """End without saving."""


DISK_FULL = "The disk is full. Free some space, then resume the run."
OUT_OF_MEMORY = "The computer ran out of memory. Choose a smaller batch size, sequence length or model."
_NO_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")  # from torch's allocators


def plain_sentence(error: BaseException) -> str:
    """What a person should read about `error`: our own sentence, or a plain one for a system error."""
    if isinstance(error, CognateError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return f"Something unexpected went wrong: {type(error).__name__}: {error}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` or one of its causes is a lack of memory. Torch raises a RuntimeError with its own words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError | OutOfMemory):
            return True
        if isinstance(cause, RuntimeError) and any(words in str(cause) for words in _NO_MEMORY_WORDS):
            return True
        cause = cause.__context__
    return False
