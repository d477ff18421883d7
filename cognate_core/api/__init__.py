"""REST and WebSocket: what the pages can do, for other programs. The `Guard` checks every request first."""

from cognate_core.api.application import SERVED_BELOW, create_api, served
from cognate_core.api.security.guard import OWN_HOSTS, Guard, Policy, is_loopback
from cognate_core.api.security.login import Links, root_of

__all__ = ["OWN_HOSTS", "SERVED_BELOW", "Guard", "Links", "Policy", "create_api", "is_loopback", "root_of", "served"]
