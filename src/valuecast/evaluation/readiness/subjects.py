"""What is said about users, and about items, as it was known before ``at``; and how it turned out for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import ibis
import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.evaluation.readiness.inquiry import Inquiry
from valuecast.evaluation.slices import value_of
from valuecast.events.attributes import attributed
from valuecast.events.log import SideTable
from valuecast.moments import DAY
from valuecast.tasks.resolve import Resolver

MOST: Final = 10_000
"""Users, or items, are drawn where there are more: their columns are judged as well by fewer."""
_KNOWN = "_known"
_VALUE = "_value"


@dataclass(frozen=True)
class Candidate:
    """A column that may know the future.

    Attributes:
        name: as a task would call it, such as ``users.income``; a type of event by its own name.
        undated: whether it is an attribute that nobody dated, declared static.
        values: one for each row of the subjects.
    """

    name: str
    undated: bool
    values: pl.Series


@dataclass(frozen=True)
class Subjects:
    """Users, or items.

    Attributes:
        outcome: of each, whether it came true after ``at``.
        past: what they did before ``at``, as plain numbers.
        candidates: what is said about them.
    """

    outcome: NDArray[np.bool_]
    past: pl.DataFrame
    candidates: tuple[Candidate, ...]


def users(inquiry: Inquiry) -> Subjects:
    """Everyone eligible at ``at``, with the outcome of the longest horizon; for an amount, whether it is a high one."""
    target = max(inquiry.task.targets, key=lambda name: inquiry.task.targets[name])
    labelled = inquiry.asked.select(*c.KEY, pl.col(target).alias(_VALUE))
    rows = _drawn(labelled.join(inquiry.past, on=list(c.KEY), how="left"))
    value, keys = rows[_VALUE].to_numpy(), rows.select(c.KEY)
    high = max(0.0, float(np.median(value))) if inquiry.task.kind == "amount" and len(value) else 0.0
    found = (*_attributes(inquiry, keys, inquiry.log.users), *_fields(inquiry, keys), *_event_types(inquiry, keys))
    return Subjects(value > high, rows.drop(*c.KEY, _VALUE), found)


def items(inquiry: Inquiry) -> Subjects | None:
    """Items that the task counted within a horizon before ``at``: whether it counted them within one after, too."""
    side, log, at, horizon = inquiry.log.items, inquiry.log, inquiry.at, inquiry.task.horizon
    if side is None or not side.attributes:
        return None
    events = Resolver(log, inquiry.task.name).events(inquiry.task.question.aggregate)
    events = events.filter(
        events[c.ITEM].notnull(),
        events[c.TIME] >= ibis.literal(at - horizon),
        events[c.TIME] < ibis.literal(at + horizon),
    )
    time, user = events[c.TIME], events[c.USER]
    before = time < ibis.literal(at)
    counts = events.group_by(c.ITEM).aggregate(
        (~before).sum().name(_VALUE),
        sold=before.sum(),
        users=user.nunique(where=before),
        last=time.max(where=before),
    )
    rows = _drawn(log.collect(counts.filter(counts["sold"] > 0)).sort(c.ITEM))
    rows = rows.with_columns(((pl.lit(at) - pl.col("last")) / DAY).alias("last"))
    keys = rows.select(c.ITEM, pl.lit(at).cast(pl.Datetime("us")).alias(c.AT))
    return Subjects(rows[_VALUE].to_numpy() > 0, rows.drop(c.ITEM, _VALUE), tuple(_attributes(inquiry, keys, side)))


def _drawn(rows: pl.DataFrame) -> pl.DataFrame:
    return rows if len(rows) <= MOST else rows.sample(MOST, seed=0)


def _attributes(inquiry: Inquiry, keys: pl.DataFrame, side: SideTable | None) -> Iterator[Candidate]:
    if side is None or not side.attributes:
        return
    # What is dated exactly `at` was not known before it.
    given = ibis.memtable(keys.with_columns((pl.col(c.AT) - timedelta(microseconds=1)).alias(_KNOWN)))
    names = list(side.attributes)
    table = attributed(given, side, names, by=_KNOWN, prefix="_of_", row=keys.columns)
    found = _beside(keys, inquiry.log.collect(table.select(side.key, *(f"_of_{name}" for name in names))), side.key)
    for name in names:
        yield Candidate(f"{side.key}s.{name}", not side.dated, found[f"_of_{name}"])


def _fields(inquiry: Inquiry, keys: pl.DataFrame) -> Iterator[Candidate]:
    """The last value before ``at`` of each of the shop's own fields."""
    for name in inquiry.log.fields:
        yield Candidate(name, False, value_of(inquiry.log, keys, name)["value"])


def _event_types(inquiry: Inquiry, keys: pl.DataFrame) -> Iterator[Candidate]:
    """How often each user had each type of event before ``at``."""
    events = inquiry.log.before(inquiry.at).events
    counts = inquiry.log.collect(events.group_by(c.USER, c.EVENT).aggregate(events.count().name(_VALUE)))
    for name in counts[c.EVENT].unique().sort():
        own = counts.filter(pl.col(c.EVENT) == name).select(c.USER, _VALUE)
        yield Candidate(name, False, _beside(keys, own, c.USER)[_VALUE].fill_null(0))


def _beside(keys: pl.DataFrame, found: pl.DataFrame, on: str) -> pl.DataFrame:
    return keys.select(on).join(found, on=on, how="left", maintain_order="left")
