"""Learns from one log what an event is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.errors import LogError
from valuecast.events import attributes
from valuecast.events.log import EventLog
from valuecast.events.schema import Kind
from valuecast.sequences import reading
from valuecast.sequences.encoding import Encoding, Number, Vocabulary

ITEMS: Final = 20_000
"""The commonest items have codes of their own."""
CATEGORIES: Final = 64
"""A column with no more different values than this is a category."""
VALUES: Final = 1_000
"""The commonest values of any other column have codes."""
MIN_LINES: Final = 2
"""A value is on this many lines, or it has no code."""
SAMPLE: Final = 1_000_000
"""All but types of event and items is learned from whole users, taken at random, with about this many lines."""
SHORTER: Final = 0.8
"""Order-level events are used where they are at most this share of the lines."""
YEAR: Final = 365
"""A log of so many days has seen every season."""
LEVELS: Final = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1)
"""Quantiles that become edges; closer together at the ends, where amounts are spread most."""


def learn(log: EventLog, *, items: int = ITEMS) -> Encoding:
    """Find out what ``log`` carries, and choose what of it an event is made of.

    Attributes of users are not used: they are of a user, not of an event.

    Args:
        log: the log for training, cut to what may be known by then.
        items: how many of the commonest items have a code.

    Raises:
        LogError: the log has no events, or a field has a name that is taken.
    """
    lines, finer = surveyed(log)
    for name in reading.MADE:
        if log.fields.get(name) == Kind.NUMBER:
            what = f"a sequence model counts '{name}' itself, and there is a field of that name"
            raise LogError(what, where=log.origin, remedy="Give the field another name in the mapping.")
    schema = {
        name: kind for name, kind in log.schema.items() if name in log.fields or name.startswith(attributes.ITEMS)
    }
    vocabularies = [Vocabulary(c.EVENT, _commonest(log, log.events, c.EVENT, limit=None, least=1))]
    vocabularies += [Vocabulary(c.ITEM, _commonest(log, log.events, c.ITEM, limit=items))]
    vocabularies += [
        Vocabulary(name, _categories(log, lines, name)) for name, kind in schema.items() if kind != Kind.NUMBER
    ]
    vocabularies = [vocabulary for vocabulary in vocabularies if vocabulary.values]
    draft = Encoding(
        grouped=_grouped(log, lines),
        vocabularies=(),
        numbers=tuple(Number(name, ()) for name in (c.AMOUNT, reading.LINES, reading.GAP, *_numeric(schema))),
        clock=finer,
        seasons=log.span.days >= YEAR,
        requires={},
    )
    numbers = _edges(draft, log, lines)
    used = {vocabulary.column for vocabulary in vocabularies} | {number.name for number in numbers}
    requires = {name: kind for name, kind in schema.items() if name in used}
    return replace(draft, vocabularies=tuple(vocabularies), numbers=numbers, requires=requires)


def surveyed(log: EventLog) -> tuple[ir.Table, bool]:
    """Return the lines to learn from, which are all or those of random users, and whether times are finer than days.

    Raises:
        LogError: the log has no events.
    """
    events = log.events
    finer = (events[c.TIME] != events[c.TIME].truncate("D")).any()
    count, clock = log.collect(events.aggregate(lines=events.count(), clock=finer)).row(0)
    if not count:
        raise LogError("the log has no events to learn sequences from", where=log.origin, remedy="Use a later moment.")
    return _sample(log, count), bool(clock)


def edges(values: NDArray[Any]) -> tuple[float, ...]:
    """Return the quantiles of some numbers, strictly rising; fewer than two where the numbers are all the same."""
    # a network computes in single precision: edges that are equal there are one
    found = np.unique(np.quantile(values, LEVELS).astype(np.float32)) if len(values) else values
    return tuple(map(float, found))


def _numeric(schema: dict[str, str]) -> list[str]:
    return [name for name, kind in schema.items() if kind == Kind.NUMBER]


def _sample(log: EventLog, lines: int) -> ir.Table:
    """Return the lines of whole user buckets, which are random, up to about ``SAMPLE`` of them."""
    events = log.events
    if lines <= SAMPLE:
        return events
    counts = log.collect(events.group_by(c.BUCKET).aggregate(count=events.count()).order_by(c.BUCKET))
    last = int((counts["count"].cum_sum() < SAMPLE).sum())
    return events.filter(events[c.BUCKET] <= int(counts[c.BUCKET][last]))


def _grouped(log: EventLog, lines: ir.Table) -> bool:
    """Whether lines of one user, time, type and order, taken as one, make the log a fifth shorter or more."""
    events = lines.group_by([c.USER, c.TIME, c.EVENT, c.ORDER]).aggregate(lines=lines.count())
    found = log.collect(events.aggregate(events=events.count(), lines=events["lines"].sum()))
    return bool(found["events"][0] <= SHORTER * found["lines"][0])


def _commonest(
    log: EventLog, lines: ir.Table, name: str, *, limit: int | None, least: int = MIN_LINES
) -> tuple[str, ...]:
    counts = lines.group_by(lines[name].cast("string").name("value")).aggregate(count=lines.count())
    counts = counts.filter(counts["value"].notnull(), counts["count"] >= least)
    ordered = counts.order_by([ibis.desc("count"), "value"])
    found = log.collect(ordered if limit is None else ordered.limit(limit))
    return tuple(found["value"].to_list())


def _categories(log: EventLog, lines: ir.Table, name: str) -> tuple[str, ...]:
    """Return the commonest values of a column; none where it is the same everywhere, or a name rather than a category.

    A name has many different values, and most lines have rare ones, or nearly every item has its own.
    """
    lines = attributes.described(log.items, lines, [name])
    counts = lines.group_by(lines[name].cast("string").name("value")).aggregate(
        count=lines.count(), items=lines[c.ITEM].nunique()
    )
    known = counts.filter(counts["value"].notnull())
    facts = log.collect(known.aggregate(values=known.count(), lines=known["count"].sum(), items=known["items"].sum()))
    values, total, items = facts.row(0)
    common = log.collect(
        known.filter(known["count"] >= MIN_LINES).order_by([ibis.desc("count"), "value"]).limit(VALUES)
    )
    if values > CATEGORIES:
        names_items = name.startswith(attributes.ITEMS) and 2 * values > items
        if names_items or 2 * common["count"].sum() < total:
            return ()
    everywhere = values == 1 and total == log.collect(lines.aggregate(all=lines.count())).item()
    return () if everywhere else tuple(common["value"].to_list())


def _edges(draft: Encoding, log: EventLog, lines: ir.Table) -> tuple[Number, ...]:
    """Return the numbers of ``draft`` that vary, with their quantiles over events."""
    numbers = reading.read(draft, log, lines).numbers
    found = []
    for number, values in zip(draft.numbers, numbers.T, strict=True):
        known = values[~np.isnan(values)].astype(np.float64)
        if len(ends := edges(known)) > 1:
            found.append(Number(number.name, ends))
    return tuple(found)
