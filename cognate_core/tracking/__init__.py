"""Trackers: a run's figures in other programs' formats, beside the studio's own database.

Which ones a run has stands in its settings. They work in threads of the studio's process, never in the run's own; one
that fails is closed and told, and the run goes on.
"""

from cognate_core.tracking.choice import TrackerPlace, tracker_places, tracking_of
from cognate_core.tracking.queues import Tracking
from cognate_core.tracking.tracker import Tracker

__all__ = ["Tracker", "TrackerPlace", "Tracking", "tracker_places", "tracking_of"]
