"""The rows that are asked for: tables keyed by ``(user, at)``, read, ordered and sent to the log's engine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import LogError
from valuecast.events.log import EventLog

ROW: Final = "row"
KNOWN: Final = "known"
TODAY: Final = "today"


def read(log: EventLog, keys: Any) -> pl.DataFrame:
    """Return ``user, at`` of ``keys``, sorted by ``at, user``; the times are naive UTC in microseconds.

    Args:
        log: the log that will be asked.
        keys: an Ibis table on the log's engine, or anything that speaks Arrow.

    Raises:
        LogError: a column is missing or holds something else, or a moment is later than the log is known.
    """
    frame = log.collect(keys.select(c.KEY)) if isinstance(keys, ir.Table) else pl.DataFrame(keys)
    for name in c.KEY:
        if name not in frame.columns or frame[name].null_count():
            what = f"the keys have no '{name}'" if name not in frame.columns else f"a key has no '{name}'"
            raise LogError(what, remedy="Give one row for each user and moment, with the columns 'user' and 'at'.")
    kind = frame.schema[c.AT]
    if not (isinstance(kind, pl.Datetime) or kind == pl.Date):
        raise LogError(f"'at' holds {kind}", remedy="Give datetimes or dates.")
    if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
        frame = frame.with_columns(pl.col(c.AT).dt.convert_time_zone("UTC").dt.replace_time_zone(None))
    frame = frame.select(pl.col(c.USER).cast(pl.String), pl.col(c.AT).cast(pl.Datetime("us"))).sort(c.AT, c.USER)
    if log.span.stated and not frame.is_empty() and frame[c.AT][-1] > log.span.until:
        what = f"the log is known until {moments.text(log.span.until)}, not until {moments.text(frame[c.AT][-1])}"
        raise LogError(what, where=log.origin, remedy="Ask about an earlier moment, or ingest what happened since.")
    return frame


def relation(keys: pl.DataFrame, *, windows: Iterable[int] = ()) -> ir.Table:
    """Return the keys as a table for the engine, with what the queries compare to.

    Columns: ``row`` (0, 1, ... in the order of ``keys``), ``user``, ``at``, ``known`` (the last moment before ``at``),
    ``today`` (the date of ``at``), and the start of each window of so many days.
    """
    at = pl.col(c.AT)
    return ibis.memtable(
        keys.select(
            pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW),
            c.USER,
            at,
            (at - timedelta(microseconds=1)).alias(KNOWN),
            at.dt.date().alias(TODAY),
            *((at - timedelta(days=days)).alias(start(days)) for days in windows),
        )
    )


def start(days: int) -> str:
    """Name of the column that says where the window of so many days starts."""
    return f"from_{days}d"


def past(events: ir.Table, keys: ir.Table, *, time: str = c.TIME) -> ir.Table:
    """Put each event beside every key of its user that is later than it: one row for each such pair.

    The only place where events meet moments: whatever is computed from its result has not seen the future.
    """
    return events.join(keys, [events[c.USER] == keys[c.USER], events[time] < keys[c.AT]]).drop(f"{c.USER}_right")
