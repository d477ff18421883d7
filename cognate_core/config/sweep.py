"""A sweep: runs with different settings, from a grid of values or draws from ranges.

It knows only settings: the resulting runs, their contradictions, and their names. A RunManager starts them as runs of
one group.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cognate_core.config.setting import Task, field_extra
from cognate_core.config.text import as_text
from cognate_core.config.training_config import TrainingConfig, fields_that, parse_setting
from cognate_core.errors import ConfigError

MAX_RUNS = 50  # of one sweep, including contradictory ones
LOG_FROM = 10  # by default, a range that ends at this many times its start or more is drawn by the logarithm
DIGITS = 3  # significant digits of a drawn number: more make no difference
TRIES = 100  # per draw, to find one that was not drawn before
NAME_KEPT = 24  # minimum characters of a sweep's name in the names of its runs

_SWITCHES = {"Pondering": "act_enabled", "Memory": "ltm_enabled", "GrokFast": "grokfast_enabled"}
_OF_ONE_FILTER = {"grokfast_alpha": "ema", "grokfast_window": "ma"}
_RANGE = re.compile(r"(\S+?)\s*(?:\bto\b|\.\.|\u2013)\s*(\S+)")
_GROUPED = re.compile(r"\d{1,3}(,\d{3})+")

Changes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; whole numbers for whole-number settings.

    `log`: drawn evenly by the logarithm, which suits rates. None: only if `high` is ten times `low` or more.
    """

    low: Any
    high: Any
    log: bool | None = None

    @property
    def by_logarithm(self) -> bool:
        """Whether draws are even by the logarithm."""
        return self.low > 0 and self.high >= LOG_FROM * self.low if self.log is None else self.log


class Sweep:
    """Runs that differ from `base` in a few settings: each combination of the grid with each draw from the ranges.

    Args:
        grid: the values of each setting: typed, as text, or all in one text as a person types it ("0.001, 0.002").
        ranges: for each setting, a Range ("1e-4 to 1e-2" as text), or values; each draw chooses one.
        draws: how many different draws to make from the ranges.
        seed: of the draws. The same seed draws the same values.
        leave_out: whether to leave out contradictory combinations; otherwise `configs` raises an error.

    Raises:
        ConfigError: a sentence for each setting that cannot be varied like this; "draws" and "sweep" concern the whole.
    """

    def __init__(
        self,
        base: TrainingConfig,
        grid: Mapping[str, Sequence[Any] | str] | None = None,
        ranges: Mapping[str, Range | Sequence[Any] | str] | None = None,
        draws: int = 0,
        seed: int = 0,
        *,
        leave_out: bool = False,
    ) -> None:
        self.base, self.draws, self.seed, self.leave_out = base, draws, seed, leave_out
        self.grid: dict[str, list[Any]] = {}
        self.ranges: dict[str, Range | list[Any]] = {}
        problems: dict[str, str] = {}
        for name, values in (grid or {}).items():
            try:
                field = self._new_field(name)
                self.grid[field] = _values(name, values)
            except ConfigError as error:
                problems |= error.problems
        for name, wanted in (ranges or {}).items():
            try:
                field = self._new_field(name)
                self.ranges[field] = _range_or_values(name, wanted)
            except ConfigError as error:
                problems |= error.problems
        if not problems:
            problems = self._too_few_or_many()
        if problems:
            raise ConfigError(problems)
        self.runs: list[tuple[Changes, TrainingConfig]] = []
        """(changes from `base`, settings) of each run that can be trained."""
        self.contradictions: list[tuple[Changes, str]] = []
        """(changes, reason) of each combination that cannot be trained or would repeat another."""
        self._combine()

    @property
    def fields(self) -> list[str]:
        """The varied settings."""
        return [*self.grid, *self.ranges]

    def configs(self) -> list[tuple[Changes, TrainingConfig]]:
        """(changes from `base`, settings) of each run.

        Raises:
            ConfigError: some combinations contradict and `leave_out` is off, or all contradict.
        """
        if self.contradictions and not self.leave_out:
            changes, sentence = self.contradictions[0]
            count, every = len(self.contradictions), len(self.contradictions) + len(self.runs)
            raise ConfigError(
                {
                    "sweep": f"{count} of {every} combinations cannot be trained, such as {changes_text(changes)}: "
                    f"{sentence} Leave them out, or choose other values."
                }
            )
        if not self.runs:
            raise ConfigError({"sweep": f"No combination can be trained. {self.contradictions[0][1]}"})
        return list(self.runs)

    def names(self, name: str, longest: int) -> list[str]:
        """A unique name for each of `configs`, such as "rates learning_rate=0.001, n_layers=4".

        Args:
            longest: maximum characters of a name, at least 40.
        """
        endings = [f" {changes_text(changes)}" for changes, _ in self.runs]
        room = longest - min(len(name), NAME_KEPT)
        if max(map(len, endings), default=0) > room or len(set(endings)) < len(endings):
            numbers = [f"\u2026 ({number})" for number in range(1, len(endings) + 1)]
            endings = [e[: room - len(number)] + number for e, number in zip(endings, numbers, strict=True)]
        return [name[: longest - len(ending)].rstrip() + ending for ending in endings]

    def _new_field(self, name: str) -> str:
        field = _sweepable(name, self.base.task)
        if field in self.fields:
            raise ConfigError({name: f"{_title(field)} is varied in two ways. Choose one."})
        return field

    def _too_few_or_many(self) -> dict[str, str]:
        count = math.prod(map(len, self.grid.values())) * (self.draws if self.ranges else 1)
        if not self.fields:
            return {"sweep": "Choose at least one setting to vary."}
        if self.ranges and self.draws < 1:
            return {"draws": f"Give a number of draws from 1 to {MAX_RUNS}; got {self.draws}."}
        if count > MAX_RUNS:
            where = "draws" if self.ranges else "sweep"
            return {where: f"This makes {count:,} runs; a sweep can have at most {MAX_RUNS}. Choose fewer."}
        if count < 2:
            where = "draws" if self.ranges else "sweep"
            return {where: "This makes only one run. Add a second value to compare with."}
        return {}

    def _combine(self) -> None:
        trained: dict[str, Changes] = {}
        for values in itertools.product(*self.grid.values()):
            for drawn in self._drawn() if self.ranges else [{}]:
                changes = dict(zip(self.grid, values, strict=True)) | drawn
                try:
                    config = self.base.with_overrides(changes)
                except ConfigError as error:
                    self.contradictions.append((changes, str(error)))
                    continue
                same = trained.setdefault(repr(_what_counts(config)), changes)
                if same is changes:
                    self.runs.append((changes, config))
                else:
                    sentence = f"It trains the same as {changes_text(same)}: settings of disabled parts change nothing."
                    self.contradictions.append((changes, sentence))

    def _drawn(self) -> list[Changes]:
        """The draws; the same at each call."""
        source = random.Random(self.seed)
        drawn: dict[str, Changes] = {}
        for _ in range(TRIES * self.draws):
            changes = {name: _draw(source, wanted) for name, wanted in self.ranges.items()}
            drawn.setdefault(repr(changes), changes)
            if len(drawn) == self.draws:
                return list(drawn.values())
        raise ConfigError(
            {"draws": f"These values allow only {len(drawn)} different draws. Choose fewer draws, or wider ranges."}
        )


def changes_text(changes: Mapping[str, Any]) -> str:
    """Settings in the format of the command line, such as "learning_rate=0.001, n_layers=4"."""
    return ", ".join(f"{name}={as_text(value)}" for name, value in changes.items())


def _sweepable(name: str, task: Task) -> str:
    """The field that `name` stands for. Raises ConfigError if a sweep cannot vary it."""
    field = _field(name)
    if field in fields_that("sweepable", task):
        return field
    if field not in TrainingConfig.model_fields:
        parse_setting(name, None)  # raises, and names the list of settings
    raise ConfigError({name: f"{_title(field)} cannot be varied: it does not affect training here."})


def _field(name: str) -> str:
    return "act_threshold" if name == "act_epsilon" else name


def _title(field: str) -> str:
    return str(TrainingConfig.model_fields[field].title or field)


def _values(name: str, wanted: Sequence[Any] | str) -> list[Any]:
    """The values of a setting, each valid by itself."""
    if isinstance(wanted, str):
        parts: Sequence[Any] = _split(name, wanted)
    else:
        parts = wanted if isinstance(wanted, Sequence) else [wanted]
    title = _title(_field(name))
    if not parts:
        raise ConfigError({name: f"{title} needs values to try, such as two numbers separated by a comma."})
    values = [parse_setting(name, part)[1] for part in parts]
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ConfigError({name: f"{title} has {as_text(value)} twice. Give each value once."})
    return values


def _split(name: str, text: str) -> list[str]:
    """The values in a person's text, separated by commas or semicolons; values that are lists only by semicolons."""
    info = TrainingConfig.model_fields[_field(name)]
    between = ";" if isinstance(info.get_default(call_default_factory=True), list | dict) else r";|,\s+|,$"
    parts = [part.strip() for part in re.split(between, text.strip()) if part.strip()]
    if len(parts) == 1 and _GROUPED.fullmatch(parts[0]):
        raise ConfigError(
            {name: f"{parts[0]} may be one number or several. Put a space after each comma that separates two values."}
        )
    if between == ";":
        return parts
    return [piece for part in parts for piece in ([part] if _GROUPED.fullmatch(part) else part.split(","))]


def _range_or_values(name: str, wanted: Range | Sequence[Any] | str) -> Range | list[Any]:
    if isinstance(wanted, str) and (found := _RANGE.fullmatch(wanted.strip())):
        wanted = Range(found[1], found[2])
    if not isinstance(wanted, Range):
        return _values(name, wanted)
    field = _field(name)
    title = _title(field)
    if TrainingConfig.model_fields[field].annotation not in (int, float):
        raise ConfigError({name: f"{title} is not a number. Give values to choose from, separated by commas."})
    low, high = (parse_setting(name, end)[1] for end in (wanted.low, wanted.high))
    if name != field:  # epsilon is 1 - threshold: the order is reversed
        low, high = high, low
    if not low < high:
        raise ConfigError({name: f"The range of {title} starts at {as_text(low)} and must end above that."})
    if wanted.log and low <= 0:
        raise ConfigError({name: f"The range of {title} must start above 0 to be drawn by the logarithm."})
    return Range(low, high, wanted.log)


def _draw(source: random.Random, wanted: Range | list[Any]) -> Any:
    if isinstance(wanted, list):
        return source.choice(wanted)
    low, high = wanted.low, wanted.high
    whole = isinstance(low, int)
    if not wanted.by_logarithm:
        value = source.randint(low, high) if whole else source.uniform(low, high)
    else:
        value = math.exp(source.uniform(math.log(low), math.log(high)))
    value = round(value) if whole else float(f"{value:.{DIGITS}g}")
    return min(max(value, low), high)


def _what_counts(config: TrainingConfig) -> Changes:
    """The settings that affect training, without those of disabled parts."""
    off = {section for section, switch in _SWITCHES.items() if not getattr(config, switch)}
    return {
        name: getattr(config, name)
        for name, info in fields_that("sweepable", config.task).items()
        if (name in _SWITCHES.values() or field_extra(info)["section"] not in off)
        and _OF_ONE_FILTER.get(name, config.grokfast_method) == config.grokfast_method
    }
