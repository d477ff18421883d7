"""The settings of a training run: what each is, which contradict, how they are written, and the presets.

setting.py          what a setting declares beside its help
fields/             the settings, a file a section
training_config.py  all of them together
rules.py            what contradicts, and what will hardly do what was meant
text.py             TOML, as typed, and the sentences for what cannot be used
"""

from cognate_core.config.datasets import DATASETS, Dataset, dataset_id
from cognate_core.config.fields.checking import TRACKERS, TrackerName
from cognate_core.config.fields.model import SMALLEST_VOCABULARY
from cognate_core.config.fields.training import OPTIMIZERS
from cognate_core.config.setting import field_extra, field_range
from cognate_core.config.text import as_text
from cognate_core.config.training_config import TrainingConfig, fields_that, form_fields, parse_setting, used_fields

__all__ = [
    "DATASETS",
    "OPTIMIZERS",
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
