"""Cuts labels out of the log: for many cutoffs in one pass, on the log's own engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce

import ibis
import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import TaskError, suggest
from valuecast.events.exact import exact
from valuecast.events.log import EventLog
from valuecast.tasks.query import Aggregate
from valuecast.tasks.resolve import Resolver
from valuecast.tasks.task import Task


@dataclass(frozen=True)
class Window:
    """``[at + start, at + end)`` in days; without ``start`` it begins where the log does."""

    start: int | None
    end: int

    def bounds(self, at: datetime, log: EventLog) -> tuple[datetime, datetime]:
        """The window's two ends for one cutoff."""
        start = log.span.start if self.start is None else at + timedelta(days=self.start)
        return start, at + timedelta(days=self.end)


EVER = Window(None, 0)


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
    question = task.question
    windows = {name: Window(0, days) for name, days in task.targets.items()}
    joined = _beside(eligible(task, log, cutoffs), [_totals(question.aggregate, log, cutoffs, windows, task=task)])
    joined = joined.with_columns(pl.col(*windows).fill_null(0.0))
    if question.comparison:
        compared = (question.comparison.holds(pl.col(name)).cast(pl.Float64).alias(name) for name in windows)
        joined = joined.with_columns(compared)
    return joined


def history(task: Task, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
    """Ask the task's own question of the past: the same aggregate over windows as long, that end at ``at``.

    Returns:
        ``user, at`` of ``keys`` (sorted by ``at, user``), one Float64 column for each target, ``ever`` (over all
        history), ``silence`` (days since the last event that counts, null if none) and ``tenure`` (days since the
        user's first event of any type).
    """
    cutoffs = keys[c.AT].unique().sort().to_list()
    aggregate = task.question.aggregate
    windows = {name: Window(-days, 0) for name, days in task.targets.items()} | {"ever": EVER}
    past = _totals(aggregate, log, cutoffs, windows, task=task)
    counted = _paired(Resolver(log, task.name).events(aggregate), log, cutoffs, {"ever": EVER})
    last = log.collect(counted.group_by(list(c.KEY)).aggregate(last=counted[c.TIME].max()))
    every = _paired(log.events, log, cutoffs, {"ever": EVER})
    first = log.collect(every.group_by(list(c.KEY)).aggregate(first=every[c.TIME].min()))
    days = pl.duration(days=1)
    return _beside(keys.select(c.KEY), [past, last, first]).select(
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
    conditions = {f"condition_{i}": condition for i, condition in enumerate(task.question.when)}
    known = _totals(Aggregate("count"), log, cutoffs, {"ever": EVER}, task=task).drop("ever")
    totals = [
        _totals(condition.aggregate, log, cutoffs, {name: Window(-condition.days, 0)}, task=task)
        for name, condition in conditions.items()
    ]
    joined = _beside(known, totals)
    for name, condition in conditions.items():
        joined = joined.filter(condition.comparison.holds(pl.col(name).fill_null(0.0)))
    if joined.is_empty():
        when = " and ".join(str(condition) for condition in conditions.values()) or "at least one event before"
        raise TaskError(
            f"no user is eligible at {', '.join(map(moments.text, cutoffs[:3]))} ({when})",
            where=f"task '{task.name}'",
            remedy=f"The log covers {log.span}: use a moment inside it, or a longer 'active'.",
        )
    return joined.select(c.KEY)


def _totals(
    aggregate: Aggregate, log: EventLog, cutoffs: Sequence[datetime], windows: dict[str, Window], *, task: Task
) -> pl.DataFrame:
    """``user, at`` and the aggregate over each window; users without a single event that counts are absent."""
    paired = _paired(Resolver(log, task.name).events(aggregate), log, cutoffs, windows)
    totals = {}
    for name in windows:
        inside = (paired[c.TIME] >= paired[f"{name}_start"]) & (paired[c.TIME] < paired[f"{name}_end"])
        match aggregate.function:
            case "count":
                total = paired.count(where=inside)
            case "distinct":
                total = paired[Resolver.VALUE].nunique(where=inside)
            case "sum":
                total = exact(paired[Resolver.VALUE]).sum(where=inside)
        totals[name] = total.cast("float64")
    return log.collect(paired.group_by(list(c.KEY)).aggregate(**totals))


def _paired(events: ir.Table, log: EventLog, cutoffs: Sequence[datetime], windows: dict[str, Window]) -> ir.Table:
    """Each event beside each cutoff with a window that may hold it, and the bounds of the windows."""
    rows = []
    for at in cutoffs:
        bounds = {name: window.bounds(at, log) for name, window in windows.items()}
        ends = {
            f"{name}_{which}": bound
            for name, pair in bounds.items()
            for which, bound in zip(("start", "end"), pair, strict=True)
        }
        first, last = min(start for start, _ in bounds.values()), max(end for _, end in bounds.values())
        rows.append({c.AT: at, "_first": first, "_last": last, **ends})
    grid = ibis.memtable(pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.Datetime("us"))))
    return events.join(grid, [events[c.TIME] >= grid["_first"], events[c.TIME] < grid["_last"]])


def _beside(keys: pl.DataFrame, tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    joined = reduce(lambda left, right: left.join(right, on=list(c.KEY), how="left"), tables, keys)
    return joined.sort(c.AT, c.USER)
