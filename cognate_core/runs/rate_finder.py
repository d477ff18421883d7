"""Finding a learning rate: the studio's side of a short training with an increasing rate, one search at a time.

A separate process does the work (rate_worker.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.errors import RunError
from cognate_core.extras import require_installed
from cognate_core.runs.side_job import SideJob

NOT_IN_THE_LAB = (
    "A search looks only at the first training steps. In the Grokking lab they show how fast the model memorises the "
    "table, not when it finds the rule. Try several rates in full runs there."
)


@dataclass(frozen=True, slots=True)
class RateSearch:
    """The state of a search.

    Attributes:
        config: the settings that it is for; their learning rate is not used.
        rates, losses: the rates tried, and the training loss after a step with each, in nats per token.
        planned: the most rates that will be tried; 0: not known yet.
        now: what the search is doing. notes: where the data differ from what was asked for.
        seconds: time the steps have taken so far.
        exploded: whether it ended because the loss jumped. complete: whether it finished.
        problem: why it failed.
    """

    config: TrainingConfig
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    planned: int = 0
    now: str = "Starting"
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ended: bool = False
    exploded: bool = False
    complete: bool = False
    problem: str | None = None

    @property
    def suggestion(self) -> float | None:
        """The rate that the curve suggests; None: the search is not complete, or the loss did not clearly fall."""
        from cognate_core.insight.rate_finder import suggested_rate

        return suggested_rate(self.rates, self.losses) if self.complete else None

    def is_of(self, config: TrainingConfig) -> bool:
        """Whether the result is valid for these settings; learning rate and folder do not matter."""
        own = {"learning_rate": self.config.learning_rate, "output_dir": self.config.output_dir}
        return config.model_copy(update=own) == self.config


class RateFinder(SideJob[RateSearch]):
    """The single search that may run in this studio. Safe to use from any thread."""

    def __init__(self, home: Path) -> None:
        super().__init__("cognate_core.runs.rate_worker", "learning-rate search", fetches=True)
        self._home = home

    def start(self, config: TrainingConfig) -> None:
        """Start. It first prepares the data as a run does; later runs reuse them.

        Raises:
            RunError: another search is running, or the settings are for the Grokking lab.
            ConfigError: something that the settings need is not installed.
        """
        if config.task == "arithmetic":
            raise RunError(NOT_IN_THE_LAB)
        require_installed(config)
        self._begin(RateSearch(config), {"config": config.model_dump(mode="json"), "home": str(self._home)})
