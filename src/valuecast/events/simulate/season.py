"""The season: by how much purchase rates swing over the year and the week.

    s(t) = (1 + y cos(2 pi (t - t_y) / 365.25)) (1 + w cos(2 pi (t - t_w) / 7))

with y the seasonality, w half of it, t_y the first of December and t_w Saturday noon. Over the long run its mean
is 1. Its integral is known exactly, so expected numbers of purchases are exact too (see ``truth``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from valuecast.moments import DAY

Array = NDArray[np.float64]

_YEAR: Final = 2 * np.pi / 365.25
_WEEK: Final = 2 * np.pi / 7
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - moments are naive UTC
_DECEMBER: Final = 334.0
_SATURDAY: Final = 2.5  # 1970 began on a Thursday


@dataclass(frozen=True)
class Season:
    """The season of a shop; times are in days from ``start``."""

    strength: float
    start: datetime

    @property
    def most(self) -> float:
        """What the season never exceeds."""
        return (1 + self.strength) * (1 + self.strength / 2)

    def at(self, days: Array) -> Array:
        """Return s(t)."""
        year, week = self._angles(days)
        found: Array = (1 + self.strength * np.cos(year)) * (1 + self.strength / 2 * np.cos(week))
        return found

    def integral(self, days: Array) -> Array:
        """Return an antiderivative of s: only differences of it have a meaning.

        The product of the two cosines is half the sum of cosines of the sum and of the difference of their angles.
        """
        year, week = self._angles(days)
        y, w = self.strength, self.strength / 2
        both = np.sin(year + week) / (_YEAR + _WEEK) + np.sin(year - week) / (_YEAR - _WEEK)
        found: Array = days + y * np.sin(year) / _YEAR + w * np.sin(week) / _WEEK + y * w / 2 * both
        return found

    def _angles(self, days: Array) -> tuple[Array, Array]:
        since_epoch = days + (self.start - _EPOCH) / DAY
        return _YEAR * (since_epoch - _DECEMBER), _WEEK * (since_epoch - _SATURDAY)
