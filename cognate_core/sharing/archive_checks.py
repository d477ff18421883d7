"""Checks of a foreign run archive: its list, its rows, its models. Nothing in it is trusted.

Any error raised here refuses the file; the caller turns it into a sentence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from safetensors import safe_open

from cognate_core.config import SMALLEST_VOCABULARY, TrainingConfig
from cognate_core.contracts import (
    ARTIFACT_FILES,
    DataReport,
    Evaluation,
    Event,
    LayerFigures,
    ModelArtifacts,
    PonderHistogram,
    RunStatus,
    Sample,
    StepMetrics,
)
from cognate_core.contracts.json_lines import read_records
from cognate_core.contracts.records import MAGNITUDES
from cognate_core.runs.names import MAX_MODELS, valid_name
from cognate_core.storage.rows import Row, check_rows

MODEL_FOLDER = r"[a-z0-9][a-z0-9-]{0,59}"
"""How a trainer names a model's folder; no such name leads to another folder."""

TABLES = ("runs", "models", "artifacts")
"""The tables that `export_run` returns."""

LONGEST_TEXT = 4_000_000  # characters of one value
LONGEST_LINE = 4_000_000  # bytes of a log
LARGEST_NUMBER = 2**62  # within what SQLite can store
MOST_STEPS = 10_000_000  # as in the settings
HEADER_BYTES = 1_000_000  # of a weights file, at most

_ID = re.compile(r"[0-9a-f]{12}")
_Word = Annotated[str, Field(max_length=200)]
_Count = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]


class _Strict(BaseModel):
    """Ignores unknown fields: within one format, a newer studio only adds information."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class Member(_Strict):
    """A file of a run archive."""

    bytes: _Count
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ArchiveModel(_Strict):
    """A model of a run archive. `content_hash`: of the data that it was trained on."""

    name: _Word
    folder: str = Field(pattern=f"^{MODEL_FOLDER}$")
    content_hash: _Word | None


class Manifest(_Strict):
    """archive.json."""

    format: int = Field(ge=1)
    made_at: _Word
    versions: dict[_Word, _Word]
    machine: dict[_Word, _Word | int]
    data: dict[str, Any] | None
    models: list[ArchiveModel] = Field(min_length=1, max_length=MAX_MODELS)
    members: dict[str, Member]


class _Stats(_Strict):
    """The part of a model's training_stats that pages show."""

    steps: _Count
    planned_steps: _Count
    weights_step: _Count = 0
    ended_early: Annotated[str, Field(max_length=1000)] = ""
    tokens: _Count
    seconds: float
    tokens_per_second: float
    heldout_loss: dict[str, float]
    heldout_bits_per_byte: dict[str, float] = {}
    heldout_accuracy: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    epochs: dict[str, float]
    precision: _Word
    threads: _Count
    seed: _Count


_DETAILS, _REPORT = TypeAdapter(ModelArtifacts), TypeAdapter(DataReport)
_RECORDS: dict[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (StepMetrics, PonderHistogram, LayerFigures, Evaluation, Sample, Event)
}


def bounded_json(content: bytes) -> Any:
    """JSON without NaN, lone surrogates, and values too large for the database."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number")

    value = json.loads(content.decode("utf-8"), parse_constant=refuse)
    _require_bounded(value)
    return value


def _require_bounded(value: Any) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _require_bounded(name)
            _require_bounded(inner)
    elif isinstance(value, list):
        for inner in value:
            _require_bounded(inner)
    elif isinstance(value, str):
        value.encode("utf-8")  # fails for a lone surrogate
        if len(value) > LONGEST_TEXT:
            raise ValueError("a text is too long")
    elif isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= LARGEST_NUMBER):
        raise ValueError("a number is too large")


def checked_rows(
    rows: Any, manifest: Manifest, columns: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, list[Row]], TrainingConfig]:
    """The rows of a run archive for a database with these columns, and the run's settings.

    Columns that the database does not have are left out, for example those of another version.
    """
    known = {
        table: [
            {name: _of_column(row[name], declared) for name, declared in columns[table].items() if name in row}
            for row in rows[table]
        ]
        for table in TABLES
    }
    check_rows(known)
    (run,) = known["runs"]
    names = [valid_name(name) for name in json.loads(run["model_names"])]
    if (
        run["name"] != valid_name(run["name"])
        or not _ID.fullmatch(run["id"])
        or not len(set(names)) == len(names) <= MAX_MODELS
    ):
        raise ValueError("its id or a name is not valid")
    status = RunStatus(run["status"])
    if not (status.is_terminal or status is RunStatus.PAUSED):
        raise ValueError(f"a run that is {status} has no archive")
    steps = (run["step"] or 0, run["total_steps"] or 0)
    if not 0 <= run["progress"] <= 1 or min(steps) < 0 or max(steps) > MOST_STEPS:
        raise ValueError("its progress is not valid")
    for name in ("created_at", "started_at", "finished_at"):
        if run[name] is not None:
            _require_moment(run[name])
    for name in ("phase", "message"):
        if not isinstance(run[name], str):
            raise ValueError(f"it has no {name}")
    group_id, group_name = run.get("group_id"), run.get("group_name")
    if (group_id, group_name) != (None, None) and (
        not _ID.fullmatch(group_id or "") or group_name != valid_name(group_name or "")
    ):
        raise ValueError("its sweep is not valid")
    config = TrainingConfig.from_values(json.loads(run["config"]))
    report = json.loads(run["data_report"]) if run["data_report"] else None
    if report != manifest.data:
        raise ValueError("its data is described in two ways")
    if report is not None:
        bounded_json(run["data_report"].encode())
        _REPORT.validate_json(run["data_report"], strict=True)
        if config.fitted(report).vocab_size not in range(SMALLEST_VOCABULARY, config.vocab_size + 1):
            raise ValueError("its vocabulary does not fit its settings")
    _require_moment(manifest.made_at)
    for name in ("cognate-studio", "torch", "python"):
        manifest.versions[name]
    for name in ("processor", "cores"):
        manifest.machine[name]
    content_hash = report["content_hash"] if report else None
    of_models = {model.name: model for model in manifest.models}
    finished = [row["name"] for row in known["models"]]
    if (
        not set(finished) <= set(names)
        or sorted(of_models) != sorted(finished)
        or len(of_models) != len(manifest.models)
    ):
        raise ValueError("its models are described in two ways")
    if len({model.folder for model in manifest.models}) != len(manifest.models):
        raise ValueError("two models share a folder")
    if any(model.content_hash != content_hash for model in manifest.models):
        raise ValueError("its data is described in two ways")
    for row in known["models"]:
        _require_model(row, run["id"])
    if len({row["id"] for row in known["models"]}) != len(known["models"]):
        raise ValueError("two models share an id")
    by_id = {row["id"]: row["name"] for row in known["models"]}
    for row in known["artifacts"]:  # the files count; the rows must only not contradict them
        member = manifest.members[f"{of_models[by_id[row['model_id']]].folder}/{ARTIFACT_FILES[row['kind']]}"]
        if row["kind"] == "weights" and row["sha256"] != member.sha256:
            raise ValueError("its weights are described in two ways")
    return known, config


def _of_column(value: Any, declared: str) -> Any:
    """`value`, if a column of this type can hold it. Raises ValueError otherwise."""
    kinds: dict[str, tuple[type, ...]] = {
        "TEXT": (str,),
        "INTEGER": (int,),
        "FLOAT": (int, float),
        "REAL": (int, float),
    }
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds[declared])):
        raise ValueError(f"{value!r} is not of type {declared}"[:100])
    return value


def _require_model(row: Row, run_id: str) -> None:
    if row["run_id"] != run_id or not _ID.fullmatch(row["id"]) or row["status"] not in ("completed", "stopped"):
        raise ValueError("a model does not belong to this run")
    _require_moment(row["created_at"])
    bounded_json(row["details"].encode())
    known = _DETAILS.validate_json(row["details"], strict=True)
    _Stats.model_validate(known.training_stats)
    if (known.model_name, known.parameter_count) != (row["name"], row["parameter_count"]) or row["parameter_count"] < 0:
        raise ValueError("a model is described in two ways")


def _require_moment(text: str) -> None:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text!r} is not a time with a time zone")


def largest_weights(config: TrainingConfig) -> int:
    """The most bytes that the weights of a model with these settings can take."""
    return 4 * sum(math.prod(shape) for shape in _tensor_shapes(config).values()) + HEADER_BYTES


def _tensor_shapes(config: TrainingConfig) -> dict[str, tuple[int, ...]]:
    """Each tensor of a model with these settings, and its shape."""
    import torch

    from cognate_core.arithmetic import ArithmeticModel
    from cognate_core.model import tensor_shapes

    if config.task == "text":
        return tensor_shapes(config)
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in ArithmeticModel(config).state_dict().items()}


def require_sound_model(folder: Path, name: str, config: TrainingConfig) -> None:
    """Refuse a model's folder that could break a page: checks shape, weights, tokenizer, settings and log."""
    if not _has_shape(folder, config):
        raise ValueError(f"{name} does not have the shape in its settings")
    with safe_open(folder / ARTIFACT_FILES["weights"], framework="np") as weights:
        parts = {key: weights.get_slice(key) for key in weights.keys()}  # noqa: SIM118  (it is not a mapping)
        if {key: tuple(part.get_shape()) for key, part in parts.items()} != _tensor_shapes(config):
            raise ValueError(f"the weights of {name} do not fit its settings")
        if any(part.get_dtype() != "F32" for part in parts.values()):
            raise ValueError(f"the weights of {name} are not 32 bit numbers")
    if config.task == "arithmetic":
        _require_words(folder / ARTIFACT_FILES["tokenizer"], config)
    else:
        _require_tokenizer(folder / ARTIFACT_FILES["tokenizer"], config)
    TrainingConfig.from_toml((folder / ARTIFACT_FILES["training_config"]).read_text(encoding="utf-8"))
    (folder / ARTIFACT_FILES["model_card"]).read_text(encoding="utf-8")
    _require_log(folder / ARTIFACT_FILES["training_log"], name, config)


def _has_shape(folder: Path, config: TrainingConfig) -> bool:
    """Whether config.json agrees with the settings."""
    from cognate_core.arithmetic.model import SHAPE_FIELDS
    from cognate_core.model import ARCHITECTURE_FIELDS, read_shape

    if config.task == "arithmetic":
        told = bounded_json((folder / ARTIFACT_FILES["config"]).read_bytes())
        return bool(told == {"model": "arithmetic"} | {field: getattr(config, field) for field in SHAPE_FIELDS})
    shape = read_shape(folder)
    return all(getattr(shape, field) == getattr(config, field) for field in ARCHITECTURE_FIELDS)


def _require_words(path: Path, config: TrainingConfig) -> None:
    """Require the tokenizer of these problems."""
    parts = bounded_json(path.read_bytes())
    words = [*map(str, range(config.arithmetic_modulus)), "=", config.arithmetic_operation]
    if parts["model"]["type"] != "WordLevel" or parts["model"]["vocab"] != {word: n for n, word in enumerate(words)}:
        raise ValueError("its tokenizer is of another kind")


def _require_tokenizer(path: Path, config: TrainingConfig) -> None:
    """Require the kind of tokenizer that the studio trains: others could be slow or need missing parts."""
    from cognate_core.data.tokenizer import load_tokenizer

    parts = bounded_json(path.read_bytes())
    splitters = [part["type"] for part in parts["pre_tokenizer"]["pretokenizers"]]
    if (parts["model"]["type"], splitters, parts["decoder"]["type"]) != ("BPE", ["Digits", "ByteLevel"], "ByteLevel"):
        raise ValueError("its tokenizer is of another kind")
    if parts["normalizer"] is not None or parts["post_processor"] is not None:
        raise ValueError("its tokenizer is of another kind")
    if max(load_tokenizer(path).get_vocab().values()) >= config.vocab_size:
        raise ValueError("its tokenizer has more tokens than the model")


def _require_layers(record: LayerFigures) -> None:
    figures = (record.weights, record.gradients, record.updates)
    if any(len(each) != len(record.layers) for each in (*figures, record.magnitudes)):
        raise ValueError("a layer in its log is not whole")
    if any(len(each) != MAGNITUDES for each in record.magnitudes):
        raise ValueError("a histogram of weights in its log is of another length")
    if any(not 0 <= value <= LARGEST_NUMBER for each in figures for value in each if value is not None):
        raise ValueError("a figure of a layer in its log is not valid")


def _require_log(path: Path, name: str, config: TrainingConfig) -> None:
    """Require records in a model's log that the database and the charts can handle."""
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise ValueError("a line of its log is too long")
    for record in read_records(path):
        values = asdict(record)
        as_json = json.dumps(values, ensure_ascii=False).encode(errors="replace")  # a lone surrogate becomes "?"
        _RECORDS[type(record)].validate_json(as_json, strict=True)
        counts = [*values.values(), *values.get("counts", ())]
        if isinstance(record, LayerFigures):
            _require_layers(record)
            counts += [count for each in record.magnitudes for count in each]
        if any(isinstance(value, int) and not 0 <= value <= LARGEST_NUMBER for value in counts):
            raise ValueError("a count in its log is not valid")
        if not 0 <= (values["step"] or 0) <= MOST_STEPS or values["model_name"] != name:
            raise ValueError("its log is of another model")
        if not 0 <= (values.get("accuracy") or 0) <= 1:
            raise ValueError("a share of right answers in its log is not valid")
        if not 0 <= (values.get("weight") or 0) <= 1:
            raise ValueError("a weight of a dataset in its log is not valid")
        if isinstance(record, PonderHistogram) and len(record.counts) > config.max_act_steps + 1:
            raise ValueError("a histogram in its log is too long")
        if isinstance(record, Event):
            _require_moment(record.created_at)
