"""The Cognate model. Importing this loads torch."""

from cognate_core.model.cognate import IGNORED_TARGET, CognateModel, count_parameters, loss_counts_of, tensor_shapes
from cognate_core.model.generation import GeneratedToken
from cognate_core.model.memory import NOTHING, MemoryBank, MemoryReads, Source
from cognate_core.model.memory_file import kept_notes, load_memory, save_memory
from cognate_core.model.shape import ARCHITECTURE_FIELDS, core_layers, read_shape, reading_layers
from cognate_core.model.state import CognateOutput, CognateState, LossCounts

__all__ = [
    "ARCHITECTURE_FIELDS",
    "IGNORED_TARGET",
    "NOTHING",
    "CognateModel",
    "CognateOutput",
    "CognateState",
    "GeneratedToken",
    "LossCounts",
    "MemoryBank",
    "MemoryReads",
    "Source",
    "core_layers",
    "count_parameters",
    "kept_notes",
    "load_memory",
    "loss_counts_of",
    "read_shape",
    "reading_layers",
    "save_memory",
    "tensor_shapes",
]
