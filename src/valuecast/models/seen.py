"""What a backbone has seen of a shop, by which the shop is known again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from valuecast import columns as c
from valuecast import moments
from valuecast.events.log import EventLog
from valuecast.moments import moment

SKETCH: Final = 1_024
"""Ids that are kept of a shop."""
ALIKE: Final = 0.02
"""Share of the ids that two shops may have in common by chance: users of one name who did the same at the same time."""


@dataclass(frozen=True)
class Seen:
    """A sketch of a log, and until when it was seen.

    Ids of events are digests of what they hold, so the smallest ones are a random sample of a log. The same lines that
    are ingested by another mapping have other ids: they are not known again.

    Attributes:
        before: nothing at or after this moment was read.
        sketch: the smallest ids.
    """

    before: datetime
    sketch: tuple[str, ...]

    @classmethod
    def of(cls, log: EventLog) -> Seen:
        """Sketch a log, all of which was read."""
        smallest = log.events.select(c.ID).order_by(c.ID).limit(SKETCH)
        return cls(log.span.until, tuple(log.collect(smallest)[c.ID]))

    def within(self, log: EventLog) -> bool:
        """Return whether another log holds more of it than chance, and so is of the same shop."""
        found = log.events.filter(log.events[c.ID].isin(self.sketch))
        shared = int(log.collect(found.aggregate(events=found.count()))["events"][0])
        return shared > ALIKE * len(self.sketch)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {"before": moments.text(self.before), "sketch": list(self.sketch)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Seen:
        """Read back what ``to_dict`` wrote."""
        return cls(moment(found["before"]), tuple(found["sketch"]))
