"""The settings of a training run: their definitions, contradictions, text formats, and the presets.

setting.py          what a setting declares besides its help
fields/             the settings, one file for each section
training_config.py  all of them together
rules.py            contradictions, and settings that are probably not intended
text.py             TOML, settings as typed, and the sentences for invalid settings
"""

from cognate_core.config.datasets import DATASETS, Dataset, dataset_id
from cognate_core.config.fields.checking import TRACKERS, TrackerName
from cognate_core.config.fields.data import READ_BY
from cognate_core.config.fields.model import SMALLEST_VOCABULARY
from cognate_core.config.fields.training import OPTIMIZERS
from cognate_core.config.setting import field_extra, field_range
from cognate_core.config.text import as_text
from cognate_core.config.training_config import TrainingConfig, fields_that, form_fields, parse_setting, used_fields

__all__ = [
    "DATASETS",
    "OPTIMIZERS",
    "READ_BY",
    "SMALLEST_VOCABULARY",
    "TRACKERS",
    "Dataset",
    "TrackerName",
    "TrainingConfig",
    "as_text",
    "dataset_id",
    "field_extra",
    "field_range",
    "fields_that",
    "form_fields",
    "parse_setting",
    "used_fields",
]
