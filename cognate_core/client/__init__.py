"""The API from Python: `Client("http://127.0.0.1:8501").runs()`. Thin: a method for each route, named as the route.

Each method returns the route's JSON; the studio's OpenAPI page describes its fields (`/api/v1/`). An error is raised
as the same CognateError, with the same sentence, as inside the studio.
"""

from cognate_core.client.connection import Row, Settings
from cognate_core.client.data import DataRoutes
from cognate_core.client.events import EventRoutes
from cognate_core.client.models import ModelRoutes
from cognate_core.client.runs import rests
from cognate_core.client.studio import StudioRoutes

__all__ = ["Client", "Row", "Settings", "rests"]


class Client(StudioRoutes, EventRoutes, ModelRoutes, DataRoutes):
    """A studio, used over the network.

    Args:
        url: its address, such as `http://127.0.0.1:8501`.
        token: the one that its `cognate token` prints. Default: COGNATE_TOKEN; without it, the token in this
            computer's data directory, but only for the studio that is open on it.

    Raises:
        ConfigError: the address cannot be used. Each method raises a CognateError: Unreachable if no studio answers,
            otherwise the studio's own error.
    """
