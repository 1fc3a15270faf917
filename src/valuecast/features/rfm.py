"""Recency, frequency and value of purchases, as models of a customer base take them.

Frequency, recency and age are x, t_x and T of Fader, Hardie & Lee (2005), "RFM and CLV: Using Iso-Value Curves for
Customer Base Analysis", Journal of Marketing Research 42(4). Time is counted in whole days by date, and all that a
user buys on one date is one purchase.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import ibis
import polars as pl

from valuecast import columns as c
from valuecast.events.exact import exact
from valuecast.events.keys import asked, read_keys
from valuecast.events.log import EventLog
from valuecast.features import keys as key_tables
from valuecast.features.keys import ROW, TODAY
from valuecast.features.measures import stream
from valuecast.moments import Moment, moment

FREQUENCY: Final = "frequency"
RECENCY: Final = "recency"
AGE: Final = "age"
MONETARY: Final = "monetary"
SINCE_FIRST: Final = "since_first"

_DAY, _VALUE, _FIRST = "day", "value", "first_day"


def customers(log: EventLog, at: Moment) -> pl.DataFrame:
    """Return ``user, at`` of every user with a purchase before ``at``, sorted by user."""
    cutoff: datetime = moment(at)
    bought = stream(log.events, c.PURCHASE)
    users = log.collect(bought.filter(bought[c.TIME] < ibis.literal(cutoff)).select(c.USER).distinct())
    return users.sort(c.USER).with_columns(pl.lit(cutoff, dtype=pl.Datetime("us")).alias(c.AT))


def summary(log: EventLog, keys: Any) -> pl.DataFrame:
    """Count purchase days before each moment.

    Args:
        log: the log; what it holds at or after ``at`` changes nothing.
        keys: rows of ``user, at``: an Ibis table on the log's engine, or anything that speaks Arrow.

    Returns:
        ``user, at`` of ``keys``, sorted by ``at, user``, and as Float64: ``frequency``, the purchase days after the
        first; ``recency``, the days from the first purchase day to the last; ``age``, the days from the first purchase
        day to the date of ``at``; ``monetary``, the mean over the purchase days after the first of the day's positive
        amounts added up (a day without any counts as 0), null where there is no such day or none of them has an
        amount. All four are null for a user who has not bought before ``at``.

    Raises:
        LogError: the keys are not keys, or a moment is later than the log is known.
    """
    rows = read_keys(log, keys).sort(c.AT, c.USER)
    bought = stream(asked(log, rows).events, c.PURCHASE)
    gross = exact(bought[c.AMOUNT]).clip(lower=0)
    moments = bought.select(c.USER, c.TIME, gross.name(_VALUE)).group_by([c.USER, c.TIME])
    moments = moments.aggregate(lambda table: table[_VALUE].sum().name(_VALUE))
    seen = key_tables.past(moments, key_tables.relation(rows))
    days = seen.group_by([ROW, TODAY, seen[c.TIME].date().name(_DAY)]).aggregate(seen[_VALUE].sum().name(_VALUE))
    days = days.mutate(days[_DAY].min().over(ibis.window(group_by=ROW)).name(_FIRST))
    repeated = days[_DAY] > days[_FIRST]
    found = days.group_by([ROW]).aggregate(
        days.count(where=repeated).cast("float64").name(FREQUENCY),
        days[_DAY].max().delta(days[_FIRST].min(), unit="day").cast("float64").name(RECENCY),
        days[TODAY].min().delta(days[_FIRST].min(), unit="day").cast("float64").name(AGE),
        days[_VALUE].sum(where=repeated).cast("float64").name(MONETARY),
    )
    return _beside(rows, log.collect(found)).with_columns(pl.col(MONETARY) / pl.col(FREQUENCY))


def first_seen(log: EventLog, keys: Any) -> pl.DataFrame:
    """Return ``user, at`` of ``keys``, sorted by ``at, user``, and ``since_first``.

    That is the number of days from the date of the user's first event of any type to that of ``at``, as Float64; null
    for a user without an event before ``at``.

    Raises:
        LogError: the keys are not keys, or a moment is later than the log is known.
    """
    rows = read_keys(log, keys).sort(c.AT, c.USER)
    seen = key_tables.past(asked(log, rows).events.select(c.USER, c.TIME), key_tables.relation(rows))
    since = seen[TODAY].min().delta(seen[c.TIME].min().date(), unit="day")
    return _beside(rows, log.collect(seen.group_by([ROW]).aggregate(since.cast("float64").name(SINCE_FIRST))))


def _beside(rows: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    numbered = rows.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))
    return numbered.join(found, on=ROW, how="left", maintain_order="left").drop(ROW)
