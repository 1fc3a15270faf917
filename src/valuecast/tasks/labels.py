"""Cuts labels out of the log: for many cutoffs in one pass, on the log's own engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Final

import ibis
import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import TaskError, suggest
from valuecast.events.exact import exact
from valuecast.events.keys import passes, portions
from valuecast.events.log import EventLog
from valuecast.tasks.query import Aggregate
from valuecast.tasks.resolve import Resolver
from valuecast.tasks.task import Task


@dataclass(frozen=True)
class Window:
    """``[at + start, at + end)`` in days; without ``start`` or ``end`` it begins or ends where the log does."""

    start: int | None
    end: int | None

    def bounds(self, at: datetime, log: EventLog) -> tuple[datetime, datetime]:
        """The window's two ends for one cutoff."""
        start = log.span.start if self.start is None else at + timedelta(days=self.start)
        return start, log.span.until if self.end is None else at + timedelta(days=self.end)


EVER = Window(None, 0)
AHEAD = Window(0, None)
DAYS, SEEN, KNOWN = "days", "seen", "known"
"""Columns of ``waits``."""
PAIRS_AT_ONCE: Final = 4_000_000
"""Users are worked on in portions that have about this many pairs of a user and a cutoff (see ``engine.scaled``)."""
Measure = Callable[[ir.Table, ir.BooleanValue], ir.Scalar]
"""A number of those events of a table for which a condition holds."""


def check(task: Task, log: EventLog) -> None:
    """Check that the log holds something that the task counts: else every label would be zero, and look perfect.

    Raises:
        TaskError: it has no such event, no value in the column that is summed, or nothing for which ``where`` holds.
    """
    asked, where = task.question.aggregate, f"task '{task.name}'"
    types = log.collect(log.events.select(c.EVENT).distinct())[c.EVENT].to_list()
    if asked.events and not set(asked.events) & set(types):
        name = asked.events[0]
        raise TaskError(f"the log has no event '{name}'", where=where, remedy=suggest(name, types))
    resolver = Resolver(log, task.name)
    events = resolver.events(replace(asked, where=None))
    if asked.column and not log.collect(events.aggregate(n=events[Resolver.VALUE].count())).item():
        remedy = "Ingest the column that holds it, or ask for something else."
        raise TaskError(f"no event that counts has a value in '{asked.column}'", where=where, remedy=remedy)
    if not log.collect(resolver.events(asked).count().as_table()).item():
        raise TaskError(f"no event is such that {asked.where}", where=where, remedy="Check names and values in where.")


def labels(task: Task, log: EventLog, cutoffs: Sequence[datetime]) -> pl.DataFrame:
    """Return the labels of everyone eligible at each cutoff.

    Returns:
        ``user, at`` and one Float64 column for each target (0 or 1 for a binary task), sorted by ``at, user``.
        A horizon covers ``[at, at + days)``.

    Raises:
        TaskError: a horizon ends after the log does, a column does not exist, or nobody is eligible.
    """
    for at in cutoffs:
        if at + task.horizon > log.span.until:
            raise TaskError(
                f"a horizon of {task.horizon.days} days from {moments.text(at)} ends after the log, "
                f"which is known until {moments.text(log.span.until)}",
                where=f"task '{task.name}'",
                remedy=f"Use a moment up to {moments.text(log.span.until - task.horizon)}, or a shorter horizon.",
            )
    windows = {name: Window(0, days) for name, days in task.targets.items()}

    def cut(part: EventLog) -> pl.DataFrame:
        totals = _totals(task.question.aggregate, part, cutoffs, windows, task=task)
        joined = _beside(_asked_about(task, part, cutoffs), [totals])
        joined = joined.with_columns(pl.col(*windows).fill_null(0.0))
        if comparison := task.question.comparison:
            compared = (comparison.holds(pl.col(name)).cast(pl.Float64).alias(name) for name in windows)
            joined = joined.with_columns(compared)
        return joined

    return _somebody(_in_portions(cut, log, cutoffs), task, log, cutoffs)


def waits(task: Task, log: EventLog, cutoffs: Sequence[datetime]) -> pl.DataFrame:
    """Return how long everyone eligible at each cutoff waits for the first event that counts.

    A horizon that ends after the log does not lose the row: it is known that nothing happened until then.

    Returns:
        ``user, at, days`` (Float64: from ``at`` to the first event that counts, or else to the end of the log),
        ``seen`` (whether there was one) and ``known`` (Float64: days from ``at`` to the end of the log), sorted by
        ``at, user``.

    Raises:
        TaskError: the question is not about a wait, a cutoff is not inside the log, a column does not exist, or
            nobody is eligible.
    """
    if task.waiting is None:
        remedy = "Ask whether something happens, such as purchase(days=30) or churn(days=[30, 90])."
        raise TaskError("it does not ask whether something happens", where=f"task '{task.name}'", remedy=remedy)
    for at in cutoffs:
        if at >= log.span.until:
            raise TaskError(
                f"nothing is known from {moments.text(at)} on; the log is known until {moments.text(log.span.until)}",
                where=f"task '{task.name}'",
                remedy="Use an earlier moment.",
            )
    day, until = pl.duration(days=1), pl.lit(log.span.until, dtype=pl.Datetime("us"))

    def cut(part: EventLog) -> pl.DataFrame:
        counted = Resolver(part, task.name).events(task.question.aggregate)
        first = _measured(part, counted, cutoffs, {"first": (AHEAD, _first)})
        return _beside(_asked_about(task, part, cutoffs), [first]).select(
            *c.KEY,
            ((pl.coalesce("first", until) - pl.col(c.AT)) / day).alias(DAYS),
            pl.col("first").is_not_null().alias(SEEN),
            ((until - pl.col(c.AT)) / day).alias(KNOWN),
        )

    return _somebody(_in_portions(cut, log, cutoffs), task, log, cutoffs)


def history(task: Task, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
    """Ask the task's own question of the past: the same aggregate over windows as long, that end at ``at``.

    Returns:
        ``user, at`` of ``keys`` (sorted by ``at, user``), one Float64 column for each target, ``ever`` (over all
        history), ``silence`` (days since the last event that counts, null if none) and ``tenure`` (days since the
        user's first event of any type).
    """
    found = [_history(task, known, part) for known, part in passes(log, keys, at_once=PAIRS_AT_ONCE)]
    return found[0] if len(found) == 1 else pl.concat(found).sort(c.AT, c.USER)


def _history(task: Task, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
    cutoffs = keys[c.AT].unique().sort().to_list()
    aggregate = task.question.aggregate
    windows = {name: Window(-days, 0) for name, days in task.targets.items()} | {"ever": EVER}
    counted = Resolver(log, task.name).events(aggregate)
    totals = {name: (window, _total(aggregate)) for name, window in windows.items()}
    past = _measured(log, counted, cutoffs, totals | {"last": (EVER, _last)})
    first = _measured(log, log.events, cutoffs, {"first": (EVER, _first)})
    days = pl.duration(days=1)
    return _beside(keys.select(c.KEY), [past, first]).select(
        *c.KEY,
        pl.col(*windows).fill_null(0.0),
        ((pl.col(c.AT) - pl.col("last")) / days).alias("silence"),
        ((pl.col(c.AT) - pl.col("first")) / days).alias("tenure"),
    )


def eligible(task: Task, log: EventLog, cutoffs: Sequence[datetime]) -> pl.DataFrame:
    """Return ``user, at`` of everyone the task asks about at each cutoff, sorted by ``at, user``.

    Raises:
        TaskError: nobody is eligible at any of the cutoffs.
    """
    return _somebody(asked_about(task, log, cutoffs), task, log, cutoffs)


def _somebody(found: pl.DataFrame, task: Task, log: EventLog, cutoffs: Sequence[datetime]) -> pl.DataFrame:
    if found.is_empty():
        raise nobody(task, log, cutoffs)
    return found


def _in_portions(work: Callable[[EventLog], pl.DataFrame], log: EventLog, cutoffs: Sequence[datetime]) -> pl.DataFrame:
    """Do for some users at a time what needs every pair of a user and a cutoff; sorted by ``at, user``."""
    found = [work(part) for part in portions(log, users=max(1, PAIRS_AT_ONCE // max(1, len(cutoffs))))]
    return found[0] if len(found) == 1 else pl.concat(found).sort(c.AT, c.USER)


def asked_about(task: Task, log: EventLog, cutoffs: Sequence[datetime]) -> pl.DataFrame:
    """Return what ``eligible`` does, or no rows where nobody is eligible."""
    return _in_portions(lambda part: _asked_about(task, part, cutoffs), log, cutoffs)


def _asked_about(task: Task, log: EventLog, cutoffs: Sequence[datetime]) -> pl.DataFrame:
    conditions = {f"condition_{i}": condition for i, condition in enumerate(task.question.when)}
    first = log.collect(log.events.group_by(c.USER).aggregate(first=log.events[c.TIME].min()))
    moments_of = pl.DataFrame({c.AT: cutoffs}, schema={c.AT: pl.Datetime("us")})
    known = first.join(moments_of, how="cross").filter(pl.col("first") < pl.col(c.AT)).drop("first")
    totals = [
        _totals(condition.aggregate, log, cutoffs, {name: Window(-condition.days, 0)}, task=task)
        for name, condition in conditions.items()
    ]
    joined = _beside(known, totals)
    for name, condition in conditions.items():
        joined = joined.filter(condition.comparison.holds(pl.col(name).fill_null(0.0)))
    return joined.select(c.KEY)


def nobody(
    task: Task, log: EventLog, cutoffs: Sequence[datetime], *, among: Collection[str] | None = None
) -> TaskError:
    """Say that nobody is eligible at any of some cutoffs, or nobody ``among`` some users."""
    when = " and ".join(str(condition) for condition in task.question.when) or "at least one event before"
    who = "no user" if among is None else f"none of the {len(among):,} users asked about"
    return TaskError(
        f"{who} is eligible at {', '.join(map(moments.text, cutoffs[:3]))} ({when})",
        where=f"task '{task.name}'",
        remedy=f"The log covers {log.span}: use a moment inside it, or a longer 'active'.",
    )


def _totals(
    aggregate: Aggregate, log: EventLog, cutoffs: Sequence[datetime], windows: Mapping[str, Window], *, task: Task
) -> pl.DataFrame:
    """``user, at`` and the aggregate over each window; users without a single event that counts are absent."""
    events = Resolver(log, task.name).events(aggregate)
    measure = _total(aggregate)
    return _measured(log, events, cutoffs, {name: (window, measure) for name, window in windows.items()})


def _total(aggregate: Aggregate) -> Measure:
    """The aggregate of the task over the events for which a condition holds."""

    def total(events: ir.Table, inside: ir.BooleanValue) -> ir.Scalar:
        match aggregate.function:
            case "count":
                found = events.count(where=inside)
            case "distinct":
                found = events[Resolver.VALUE].nunique(where=inside)
            case "sum":
                found = exact(events[Resolver.VALUE]).sum(where=inside)
        return found.cast("float64")

    return total


def _first(events: ir.Table, inside: ir.BooleanValue) -> ir.Scalar:
    return events[c.TIME].min(where=inside)


def _last(events: ir.Table, inside: ir.BooleanValue) -> ir.Scalar:
    return events[c.TIME].max(where=inside)


def _measured(
    log: EventLog, events: ir.Table, cutoffs: Sequence[datetime], wanted: Mapping[str, tuple[Window, Measure]]
) -> pl.DataFrame:
    """``user, at`` and each measure over its window, for every user with an event in any of the windows.

    Each measure at each cutoff is a column of one aggregation: the events are read once, and none is put beside a
    cutoff, so the work does not grow with the pairs.
    """
    bounds = {
        (name, place): window.bounds(at, log)
        for place, at in enumerate(cutoffs)
        for name, (window, _) in wanted.items()
    }
    first, last = min(start for start, _ in bounds.values()), max(end for _, end in bounds.values())
    events = events.filter(events[c.TIME] >= ibis.literal(first), events[c.TIME] < ibis.literal(last))
    columns = {}
    for (name, place), (start, end) in bounds.items():
        inside = (events[c.TIME] >= ibis.literal(start)) & (events[c.TIME] < ibis.literal(end))
        columns[f"{name}_{place}"] = wanted[name][1](events, inside)
    wide = log.collect(events.group_by(c.USER).aggregate(**columns))
    return pl.concat(
        wide.select(
            c.USER,
            pl.lit(at, dtype=pl.Datetime("us")).alias(c.AT),
            *(pl.col(f"{name}_{place}").alias(name) for name in wanted),
        )
        for place, at in enumerate(cutoffs)
    )


def _beside(keys: pl.DataFrame, tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    joined = reduce(lambda left, right: left.join(right, on=list(c.KEY), how="left"), tables, keys)
    return joined.sort(c.AT, c.USER)
