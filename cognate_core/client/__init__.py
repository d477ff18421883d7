"""The API from Python: `Client("http://127.0.0.1:8501").runs()`. Thin: a method for each route, named as the route.

What comes back is the JSON of the route, whose fields the studio's OpenAPI page describes (`/api/v1/`). What goes
wrong comes as the same CognateError, with the same sentence, as within the studio.
"""

from cognate_core.client.connection import Row, Settings
from cognate_core.client.data import DataRoutes
from cognate_core.client.events import EventRoutes
from cognate_core.client.models import ModelRoutes
from cognate_core.client.runs import rests
from cognate_core.client.studio import StudioRoutes

__all__ = ["Client", "Row", "Settings", "rests"]


class Client(StudioRoutes, EventRoutes, ModelRoutes, DataRoutes):
    """What a studio does, asked of it over the network.

    Args:
        url: where it is, such as `http://127.0.0.1:8501`.
        token: what its `cognate token` prints. Default: COGNATE_TOKEN; else, for the studio that is open on this
            computer's data directory and for no other, the one that lies there.

    Raises:
        ConfigError: the address cannot be used. Each method raises a CognateError: Unreachable when no studio answers,
            else what the studio says.
    """
