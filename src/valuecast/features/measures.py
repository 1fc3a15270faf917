"""What is counted on the log's engine: portable Ibis, one query for all moments.

Windows are nested, so a window is a union of *bands*: band 0 is the shortest window, band 1 what the next one adds,
and the last band is the rest of history. A sum is taken once for each band; adding the bands up gives every window
(``valuecast.features.compute``). So a log of many lines is passed once, not once for each window.

Lines of one user at one time are first added up to a moment: a moment is before ``at`` as a whole or not at all.

Amounts and fields are added as decimals with nine places: the sum of doubles depends on the order of addition,
which a parallel engine does not fix, and a feature must not change when the future does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import ibis
import ibis.expr.types as ir

from valuecast import columns as c
from valuecast.events.attributes import attributed
from valuecast.events.log import EventLog
from valuecast.features.catalogue import FeatureSet
from valuecast.features.feature import PURCHASE
from valuecast.features.keys import KNOWN, ROW, TODAY, past, start

BAND = "band"
EARLIER = "earlier_band"
COUNT = "count"
EXACT = "decimal(38, 9)"
LIMIT = 1e12
"""A number beyond it counts as the limit: it is a mistake in any currency, and sums must not overflow."""

_SQUARED = "decimal(18, 4)"
_DAY = "day"


def described(log: EventLog, events: ir.Table, names: Sequence[str]) -> ir.Table:
    """Return ``events`` with the item attributes among ``names`` (``items.x``), as they were known at the time."""
    wanted = [name.removeprefix("items.") for name in names if name.startswith("items.") and name not in events.columns]
    if not wanted or log.items is None:
        return events
    return attributed(events, log.items, wanted, by=c.TIME, prefix="items.")


def exact(value: ir.NumericValue) -> ir.DecimalValue:
    """Return a double as a decimal, null where it is not a number."""
    whole = value.abs() < LIMIT
    signed = ibis.cases((value >= LIMIT, LIMIT), (value <= -LIMIT, -LIMIT))
    return ibis.ifelse(value.isnan(), ibis.null("float64"), ibis.ifelse(whole, value, signed)).cast(EXACT)
