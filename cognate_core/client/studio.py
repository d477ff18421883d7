"""What the studio is, its presets and estimates, and its trash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cognate_core.client.connection import WORK_SECONDS, Connection, Row, Settings


class StudioRoutes(Connection):
    """The studio as a whole."""

    def health(self) -> Row:
        """Whether the studio is well."""
        return self._ask("GET", "/health")

    def link(self) -> str:
        """An address that opens the studio's pages in one browser, once."""
        return self.url + str(self._ask("POST", "/links", body={})["path"])

    def coordination(self) -> Row:
        """Who manages the data directory, since when, and what is going on."""
        return self._ask("GET", "/coordination")

    def presets(self) -> list[Row]:
        """The ready-made settings."""
        return self._list("/presets")

    def preset(self, name: str) -> Row:
        """One preset, with its settings."""
        return self._ask("GET", "/presets/{}", name)

    def config_schema(self) -> Row:
        """JSON schema of the settings of a run."""
        return self._ask("GET", "/config/schema")

    def estimate(self, config: Settings, settings: Mapping[str, Any] | None = None) -> Row:
        """What a run with these settings needs: parameters, memory, disk. `settings`: what of `config` is changed."""
        body = {"config": config, "settings": settings or {}}
        return self._ask("POST", "/estimates", body=body, seconds=WORK_SECONDS)

    def time_estimate(self, config: Settings, settings: Mapping[str, Any] | None = None, models: int = 1) -> Row:
        """How long a run with these settings takes, measured on the studio's computer in about 20 seconds."""
        body = {"config": config, "settings": settings or {}, "models": models}
        return self._ask("POST", "/time-estimates", body=body, seconds=WORK_SECONDS)

    def find_rate(self, config: Settings, settings: Mapping[str, Any] | None = None) -> Row:
        """Begin to search for a learning rate with these settings; `rate_search` tells how far it is."""
        return self._ask("POST", "/learning-rates", body={"config": config, "settings": settings or {}})

    def rate_search(self) -> Row:
        """How far the last search for a learning rate is, its curve, and what it suggests."""
        return self._ask("GET", "/learning-rates")

    def cancel_rate_search(self) -> Row:
        """End the search for a learning rate."""
        return self._ask("DELETE", "/learning-rates")

    def trash(self) -> Iterator[Row]:
        """What was deleted, the newest first."""
        return self._pages("/trash")

    def restore(self, entry_id: str) -> Row:
        """Have something again as it was."""
        return self._ask("POST", "/trash/{}/restore", entry_id)

    def remove_for_good(self, entry_id: str) -> None:
        """Remove something from the trash."""
        self._ask("DELETE", "/trash/{}", entry_id)

    def empty_trash(self) -> int:
        """Remove everything from the trash; how many entries there were."""
        return int(self._ask("DELETE", "/trash", seconds=WORK_SECONDS)["removed"])
