"""Sums that are the same in any order.

An engine adds floating-point numbers in whatever order its threads come to them, so that two runs differ in the last
bits. Where the same past must give the same bytes, amounts are added as decimals.
"""

from __future__ import annotations

from typing import Final

import ibis
import ibis.expr.types as ir

DECIMAL: Final = "decimal(38, 9)"
LIMIT: Final = 1e18
"""Numbers beyond it, which no shop has, count as it: a decimal holds no more."""


def exact(number: ir.NumericValue) -> ir.DecimalValue:
    """Return a number as a decimal with nine places; null where it is not a number."""
    value = number.cast("float64")
    unlike = value.isnan()
    above, below = value >= LIMIT, value <= -LIMIT
    return ibis.cases((unlike, ibis.null("float64")), (above, LIMIT), (below, -LIMIT), else_=value).cast(DECIMAL)
