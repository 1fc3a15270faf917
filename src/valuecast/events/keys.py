"""What a log is asked about: tables keyed by ``(user, at)``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import ibis
import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import LogError
from valuecast.events import engine
from valuecast.events.log import EventLog, drawn
from valuecast.events.schema import BUCKETS


def read_keys(log: EventLog, keys: Any) -> pl.DataFrame:
    """Return ``user, at`` of ``keys``, in their order; the times are naive UTC in microseconds.

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
    frame = frame.select(pl.col(c.USER).cast(pl.String), pl.col(c.AT).cast(pl.Datetime("us")))
    latest: Any = frame[c.AT].max()
    if log.span.stated and latest is not None and latest > log.span.until:
        what = f"the log is known until {moments.text(log.span.until)}, not until {moments.text(latest)}"
        raise LogError(what, where=log.origin, remedy="Ask about an earlier moment, or ingest what happened since.")
    return frame


def asked(log: EventLog, keys: pl.DataFrame) -> EventLog:
    """Return a log with the events of the users of some keys alone: those of the others need not be looked at."""
    users = ibis.memtable(keys.select(pl.col(c.USER).unique(maintain_order=True)))
    return replace(log, events=log.events.semi_join(users, c.USER))


def portions(log: EventLog, *, users: int) -> Iterator[EventLog]:
    """Yield the log of about so many users at a time, all together everyone's (see ``engine.scaled``)."""
    bucket = log.events[c.BUCKET]
    known = log.events.aggregate(users=log.events[c.USER].nunique(), first=bucket.min(), last=bucket.max())
    there, first, last = log.collect(known).row(0)
    count = -(-there // engine.scaled(users))
    if count <= 1:
        yield log
        return
    low, high = first / BUCKETS, (last + 1) / BUCKETS  # a sample has users in some buckets alone
    edges = [low + (high - low) * number / count for number in range(count + 1)]
    for own in pairwise(edges):
        yield replace(log, events=drawn(log.events, *own))


def passes(log: EventLog, keys: pl.DataFrame, *, at_once: int) -> Iterator[tuple[EventLog, pl.DataFrame]]:
    """Split work into parts, so that memory is bounded however many keys there are.

    Args:
        log: is asked.
        keys: ``user, at``; those of one user stay together.
        at_once: about how many of them a part has (see ``engine.scaled``).

    Yields:
        The part of the log that holds the users of some keys, which lie together on disk, and these keys in their
        order: some buckets, or some users of one.
    """
    at_once = engine.scaled(at_once)
    parts = min(BUCKETS, -(-len(keys) // at_once))
    if parts <= 1:
        yield log, keys
        return
    buckets = log.collect(asked(log, keys).events.select(c.USER, c.BUCKET).distinct())
    placed = keys.join(buckets, on=c.USER, how="left", maintain_order="left").with_columns(
        pl.col(c.BUCKET).fill_null(0)
    )
    edges = [BUCKETS * i // parts for i in range(parts + 1)]
    for first, end in pairwise(edges):
        part = placed.filter(pl.col(c.BUCKET).is_between(first, end - 1)).drop(c.BUCKET)
        within = log.events.filter(log.events[c.BUCKET].between(first, end - 1))
        for users in _runs(part, at_once=at_once if len(part) > 2 * at_once else len(part)):
            low, high = users[0], users[-1]
            theirs = (
                within if len(users) == part[c.USER].n_unique() else within.filter(within[c.USER].between(low, high))
            )
            yield replace(log, events=theirs), part.filter(pl.col(c.USER).is_between(pl.lit(low), pl.lit(high)))


def _runs(keys: pl.DataFrame, *, at_once: int) -> list[pl.Series]:
    """Return the users of some keys, sorted, in runs with about so many keys."""
    counted = keys.group_by(c.USER).len("count").sort(c.USER)
    run = (pl.col("count").cum_sum() - 1) // max(at_once, 1)
    return [part[c.USER] for part in counted.with_columns(run.alias("run")).partition_by("run", maintain_order=True)]
