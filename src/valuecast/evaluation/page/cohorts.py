"""Who comes back: users by the month of their first purchase, and which share of them bought in each month after."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.moments import DAY
from valuecast.report.blocks import Column, Section, Table

COHORT: Final = "cohort"
SINCE: Final = "since"
USERS: Final = "users"
SHARE: Final = "share"

MOST_MONTHS: Final = 18
"""A log with more whole months is shown by quarters."""
_MONTHS = {1: Text("month", "月"), 3: Text("quarter", "季度")}


def cohorts(log: EventLog) -> Section | None:
    """Show retention by cohort; None where the log has no purchase in two whole months or more."""
    first, last = whole_months(log)
    size = 3 if last - first > MOST_MONTHS else 1
    found = retention(log, size=size)
    if found.is_empty():
        return None
    period = _MONTHS[size]
    wide = found.with_columns(pl.col(SINCE).cast(pl.String)).pivot(on=SINCE, index=[COHORT, USERS], values=SHARE)
    steps = sorted((name for name in wide.columns if name not in (COHORT, USERS)), key=int)
    names = {number: _name(number, size) for number in wide[COHORT]}
    table = Table(
        wide.sort(COHORT).with_columns(pl.col(COHORT).replace_strict(names, return_dtype=pl.String)),
        (
            Column(COHORT, Text("First purchase", "首购时间")),
            Column(USERS, Text("Users", "用户数"), "integer"),
            *(Column(step, Text(f"+{step}", f"+{step}"), "share", shaded=True) for step in steps),
        ),
        Text(
            f"Share of each cohort that bought, by {period.en}s since the first purchase",
            f"各批次用户在首购后第 n 个{period.zh}仍有购买的占比",
        ),
        Text(
            f"Whole {period.en}s only; empty: not known yet. Users of the first row may have bought before the log "
            "begins; the later ones are new to it.",
            f"只计完整的{period.zh}；空白表示尚不可知。首行用户可能在日志开始前就已购买，其余各行才是日志中的新用户。",
        ),
    )
    return Section(Text("Who comes back", "谁会回来"), (table,))


def retention(log: EventLog, *, size: int = 1) -> pl.DataFrame:
    """Count, for users by the period of their first purchase, which share bought in each later period.

    Who first bought in a period that the log knows only in part belongs to no cohort.

    Args:
        log: holds purchases.
        size: months of a period: 1 or 3.

    Returns:
        ``cohort, users, since, share``: the cohort's number (periods since the year 0), its users, the periods since
        then from 1 on, and the share of users with a purchase in that one, 0 where nobody bought. Periods that the
        log does not know to the end are absent. Empty where fewer than two whole periods are known.
    """
    start, end = whole_months(log)
    first, last = -(-start // size), end // size
    schema = {COHORT: pl.Int64, USERS: pl.Int64, SINCE: pl.Int64, SHARE: pl.Float64}
    if last - first < 2:
        return pl.DataFrame(schema=schema)
    known = log.before(_start_of(last * size)).events
    bought = known.filter(known[c.EVENT] == c.PURCHASE)
    periods = bought.select(c.USER, period=_period(bought[c.TIME], size)).distinct()
    firsts = periods.group_by(c.USER).aggregate(cohort=periods["period"].min())
    paired = periods.join(firsts, c.USER)
    counted = log.collect(
        paired.group_by([COHORT, (paired["period"] - paired[COHORT]).name(SINCE)]).aggregate(users=paired.count())
    )
    sizes = counted.filter(pl.col(SINCE) == 0, pl.col(COHORT) >= first).select(
        pl.col(COHORT).cast(pl.Int64), pl.col(USERS).alias("size")
    )
    grid = (
        sizes.select(COHORT, "size", pl.int_ranges(1, last - pl.col(COHORT)).alias(SINCE)).explode(SINCE).drop_nulls()
    )
    joined = grid.join(counted.cast({COHORT: pl.Int64, SINCE: pl.Int64}), on=[COHORT, SINCE], how="left")
    return joined.select(
        COHORT, pl.col("size").alias(USERS), SINCE, (pl.col(USERS).fill_null(0) / pl.col("size")).alias(SHARE)
    ).sort(COHORT, SINCE)


def whole_months(log: EventLog) -> tuple[int, int]:
    """Return the first month that the log knows whole and the month after the last one, counted from the year 0.

    Less than a day may be missing: the midnight of a shop is another than that of UTC.
    """
    almost = DAY - timedelta(microseconds=1)
    return _month(log.span.start - DAY) + 1, _month(log.span.until + almost)


def _month(at: datetime) -> int:
    return at.year * 12 + at.month - 1


def _start_of(month: int) -> datetime:
    return datetime(month // 12, month % 12 + 1, 1)  # noqa: DTZ001 - naive UTC


def _period(time: ir.TimestampColumn, size: int) -> ir.IntegerColumn:
    month = time.year().cast("int64") * 12 + time.month() - 1
    return month if size == 1 else (month / size).floor().cast("int64")


def _name(number: int, size: int) -> str:
    year, part = divmod(number, 12 // size)
    return f"{year}-{part + 1:02}" if size == 1 else f"{year} Q{part + 1}"
