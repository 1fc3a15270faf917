"""The rows that are asked for, as a table of the log's engine, and the events before each."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import ibis
import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c

ROW: Final = "row"
KNOWN: Final = "known"
TODAY: Final = "today"


def relation(keys: pl.DataFrame) -> ir.Table:
    """Return ``frame`` as a table for the engine."""
    return ibis.memtable(frame(keys))


def frame(keys: pl.DataFrame, *, windows: Iterable[int] = ()) -> pl.DataFrame:
    """Return the keys with what the queries compare to.

    Columns: ``row`` (0, 1, ... in the order of ``keys``), ``user``, ``at``, ``known`` (the last moment before ``at``),
    ``today`` (the date of ``at``), and the start of each window of so many days.
    """
    at = pl.col(c.AT)
    return keys.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW),
        c.USER,
        at,
        (at - timedelta(microseconds=1)).alias(KNOWN),
        at.dt.date().alias(TODAY),
        *((at - timedelta(days=days)).alias(start(days)) for days in windows),
    )


def start(days: int) -> str:
    """Name of the column that says where the window of so many days starts."""
    return f"from_{days}d"


def past(events: ir.Table, keys: ir.Table, *, time: str = c.TIME) -> ir.Table:
    """Put each event beside every key of its user that is later than it: one row for each such pair.

    The only place where events meet moments: whatever is computed from its result has not seen the future.
    """
    return events.join(keys, [events[c.USER] == keys[c.USER], events[time] < keys[c.AT]]).drop(f"{c.USER}_right")
