"""Trackers: a run's figures in other programs' formats, beside the studio's own database.

The settings name a run's trackers. They work in threads of the studio's process, never in the run's. If one fails, it
is closed with a warning, and the run continues.
"""

from cognate_core.tracking.choice import TrackerPlace, tracker_places, tracking_of
from cognate_core.tracking.queues import Tracking
from cognate_core.tracking.tracker import Tracker

__all__ = ["Tracker", "TrackerPlace", "Tracking", "tracker_places", "tracking_of"]
