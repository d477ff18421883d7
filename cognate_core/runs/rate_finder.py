"""Finding a learning rate, as the studio sees it: a short training with a rate that grows, one search at a time.

The work is done in a process of its own (rate_worker.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cognate_core.config import TrainingConfig
from cognate_core.errors import RunError
from cognate_core.extras import require_installed
from cognate_core.runs.side_job import SideJob

NOT_IN_THE_LAB = (
    "A search looks at the first steps of a training. In the Grokking lab they only show how fast the table is learned "
    "by heart, and not when the rule is found. Try several rates in full runs there."
)


@dataclass(frozen=True, slots=True)
class RateSearch:
    """How far a search is.

    Attributes:
        config: the settings that it is for; their learning rate has no part in it.
        rates, losses: the training loss, in nats a token, after a step of each rate.
        planned: how many there will be at most; 0: not known yet.
        now: what is done while there are none. notes: what went otherwise than asked for with the data.
        seconds: that the steps took until now.
        exploded: the loss jumped, and the search ended with that. complete: it came to its end.
        problem: why it came to nothing.
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
        """The rate that the whole curve suggests; None: it is not whole, or the loss did not clearly fall."""
        from cognate_core.insight.rate_finder import suggested_rate

        return suggested_rate(self.rates, self.losses) if self.complete else None

    def is_of(self, config: TrainingConfig) -> bool:
        """Whether what was found holds for these settings, whatever their learning rate and folder."""
        own = {"learning_rate": self.config.learning_rate, "output_dir": self.config.output_dir}
        return config.model_copy(update=own) == self.config


class RateFinder(SideJob[RateSearch]):
    """The one search that may go on in this studio. Any thread may ask."""

    def __init__(self, home: Path) -> None:
        super().__init__("cognate_core.runs.rate_worker", "learning-rate search", fetches=True)
        self._home = home

    def start(self, config: TrainingConfig) -> None:
        """Begin. Its data are prepared first, as a run would, and a run finds them again.

        Raises:
            RunError: another one is going on, or the settings are of the Grokking lab.
            ConfigError: something that the settings need is not installed.
        """
        if config.task == "arithmetic":
            raise RunError(NOT_IN_THE_LAB)
        require_installed(config)
        self._begin(RateSearch(config), {"config": config.model_dump(mode="json"), "home": str(self._home)})
