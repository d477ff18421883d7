"""Events as they happen, over a WebSocket that reconnects when it breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from time import sleep
from urllib.parse import quote

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from cognate_core.client.connection import CONNECT_SECONDS, SERVED_BELOW, Row
from cognate_core.client.runs import RunRoutes, rests
from cognate_core.errors import CognateError, NotFound, RunError

RECONNECT_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)  # waits before reconnecting; then it gives up
CLOSED_FOR_GOOD: dict[int, type[CognateError]] = {1008: RunError, 4400: RunError, 4404: NotFound, 4409: RunError}
"""Close codes after which reconnecting would not help."""


class EventRoutes(RunRoutes):
    """Events of runs."""

    def events(self, run_id: str | None = None, after: int | None = None) -> Iterator[Row]:
        """Events of one run or of all runs, as they happen. After a break it continues where it stopped.

        For one run it ends when the run is paused or has ended; for all runs it never ends.

        Args:
            after: the id of the last known event; newer ones come first. Without it, the current state comes first.

        Raises:
            NotFound: there is no such run.
            RunError: the studio refuses to send events.
            Unreachable: the studio is gone, and does not come back within half a minute.
        """
        failed = 0
        while True:
            try:
                for event in self._heard(run_id, after):
                    failed, after = 0, event["id"]
                    yield event
                    if run_id is not None and rests(event) and rests(self.run(run_id)):
                        return
                why: Exception = ConnectionError("It was closed.")
            except InvalidStatus as error:
                if error.response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise RunError(
                        f"The studio at {self.url} sends events only with its token. `cognate token` prints it on the "
                        "studio's computer; set COGNATE_TOKEN to it."
                    ) from error
                why = error
            except (WebSocketException, OSError) as error:
                why = error
            if failed == len(RECONNECT_SECONDS):
                raise self._unreachable(why) from why
            sleep(RECONNECT_SECONDS[failed])
            failed += 1

    def _heard(self, run_id: str | None, after: int | None) -> Iterator[Row]:
        """The events of one connection."""
        address = "ws" + self.url.removeprefix("http") + SERVED_BELOW
        address += f"/runs/{quote(run_id, safe='')}/events" if run_id is not None else "/events"
        with connect(
            address if after is None else f"{address}?after={after}",
            additional_headers=self._headers,
            proxy=None if self._own else True,
            open_timeout=CONNECT_SECONDS,
        ) as socket:
            for message in socket:
                event = json.loads(message)
                if event["type"] == "closing":
                    if event["code"] in CLOSED_FOR_GOOD:
                        raise CLOSED_FOR_GOOD[event["code"]](event["message"])
                    return
                yield event
