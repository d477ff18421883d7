"""The studio itself, its presets and estimates, and its trash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cognate_core.client.connection import WORK_SECONDS, Connection, Row, Settings


class StudioRoutes(Connection):
    """The studio as a whole."""

    def health(self) -> Row:
        """The studio's health."""
        return self._ask("GET", "/health")

    def link(self) -> str:
        """A login link: opens the studio's pages in one browser, once."""
        return self.url + str(self._ask("POST", "/links", body={})["path"])

    def coordination(self) -> Row:
        """Who manages the data directory, since when, and what is running."""
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
        """What a run with these settings needs: parameters, memory, disk. `settings` changes `config`."""
        body = {"config": config, "settings": settings or {}}
        return self._ask("POST", "/estimates", body=body, seconds=WORK_SECONDS)

    def time_estimate(self, config: Settings, settings: Mapping[str, Any] | None = None, models: int = 1) -> Row:
        """How long a run with these settings takes, measured on the studio's computer in about 20 seconds."""
        body = {"config": config, "settings": settings or {}, "models": models}
        return self._ask("POST", "/time-estimates", body=body, seconds=WORK_SECONDS)

    def find_rate(self, config: Settings, settings: Mapping[str, Any] | None = None) -> Row:
        """Start to search for a learning rate with these settings; `rate_search` shows its progress."""
        return self._ask("POST", "/learning-rates", body={"config": config, "settings": settings or {}})

    def rate_search(self) -> Row:
        """The latest search for a learning rate: its progress, curve and suggestion."""
        return self._ask("GET", "/learning-rates")

    def cancel_rate_search(self) -> Row:
        """Cancel the search for a learning rate."""
        return self._ask("DELETE", "/learning-rates")

    def trash(self) -> Iterator[Row]:
        """The entries of the trash, the newest first."""
        return self._pages("/trash")

    def restore(self, entry_id: str) -> Row:
        """Restore a run or model."""
        return self._ask("POST", "/trash/{}/restore", entry_id)

    def remove_for_good(self, entry_id: str) -> None:
        """Remove an entry of the trash for good."""
        self._ask("DELETE", "/trash/{}", entry_id)

    def empty_trash(self) -> int:
        """Empty the trash; returns the number of entries removed."""
        return int(self._ask("DELETE", "/trash", seconds=WORK_SECONDS)["removed"])
