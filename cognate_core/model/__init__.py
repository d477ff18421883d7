"""The Cognate model. Importing this loads torch."""

from cognate_core.model.cognate import (
    ARCHITECTURE_FIELDS,
    IGNORED_TARGET,
    CognateModel,
    CognateOutput,
    count_parameters,
)
from cognate_core.model.layers import KeyValueCache

__all__ = [
    "ARCHITECTURE_FIELDS",
    "IGNORED_TARGET",
    "CognateModel",
    "CognateOutput",
    "KeyValueCache",
    "count_parameters",
]
