"""Breaks results down by a field: an attribute of the user, or the last value of an event's field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import ibis
import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.errors import LogError, suggest
from valuecast.evaluation.ladder import Ladder
from valuecast.events.attributes import attributed
from valuecast.events.log import EventLog
from valuecast.events.schema import Kind

MOST_VALUES = 8
OTHER = "(other)"
NONE = "(none)"


def slices_of(log: EventLog, ladders: Iterable[Ladder], fields: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Return the values of each field for everyone who was tested, at the moments of the tests."""
    tested = [result.outcomes for ladder in ladders for result in ladder.results if result.outcomes is not None]
    if not tested or not fields:
        return {}
    keys = pl.concat([frame.select(c.KEY) for frame in tested]).unique().sort(c.AT, c.USER)
    return {field: slice_of(log, keys, field) for field in fields}


def check_fields(log: EventLog, fields: Sequence[str]) -> None:
    """Check that results can be broken down by each field.

    Raises:
        LogError: the log has no such field.
    """
    schema = {name for name in log.schema if not name.startswith("items.")}
    for field in fields:
        if field not in schema:
            raise LogError(f"no field '{field}' to slice by", where=log.origin, remedy=suggest(field, schema))


def slice_of(log: EventLog, keys: pl.DataFrame, field: str) -> pl.DataFrame:
    """Return the value of ``field`` of each user as it was known before ``at``.

    Args:
        log: the log.
        keys: ``user, at``.
        field: ``users.x``, or a field of events: then it is the value at the user's last event that has one.

    Returns:
        ``user, at, value``: text. The rarest values beyond the first eight are ``(other)``; unknown is ``(none)``;
        numbers are cut at their quartiles.

    Raises:
        LogError: the log has no such field.
    """
    check_fields(log, [field])
    known = value_of(log, keys, field)
    return known.with_columns(_grouped(known["value"], Kind(log.schema[field])).alias("value"))


def value_of(log: EventLog, keys: pl.DataFrame, field: str) -> pl.DataFrame:
    """Return ``user, at, value`` of ``keys``, row for row: what ``field`` held before ``at``; null where unknown."""
    # What is dated exactly `at` was not known before it.
    given = ibis.memtable(keys.select(*c.KEY, (pl.col(c.AT) - timedelta(microseconds=1)).alias("_known")))
    if field.startswith("users.") and log.users is not None:
        table = attributed(given, log.users, [field.removeprefix("users.")], by="_known", row=c.KEY)
        found = log.collect(table.select(*c.KEY, table[field.removeprefix("users.")].name("value")))
    else:
        events = log.events.filter(log.events[field].notnull())
        events = events.select(events[c.USER].name("_user"), c.TIME, c.ID, events[field].name("value"))
        paired = given.join(events, [given[c.USER] == events["_user"], events[c.TIME] < given[c.AT]])
        latest = ibis.window(group_by=list(c.KEY), order_by=[ibis.desc(c.TIME), ibis.desc(c.ID)])
        ranked = paired.mutate(_rank=ibis.row_number().over(latest))
        found = log.collect(ranked.filter(ranked["_rank"] == 0).select(*c.KEY, "value"))
    return keys.select(c.KEY).join(found, on=list(c.KEY), how="left", maintain_order="left")


def _grouped(values: pl.Series, kind: Kind) -> pl.Series:
    if kind is Kind.NUMBER and values.n_unique() > MOST_VALUES:
        edges = sorted({edge for edge in (values.quantile(share) for share in (0.25, 0.5, 0.75)) if edge is not None})
        texts = [f"≤ {edge:g}" for edge in edges] + [f"> {edges[-1]:g}"]
        part = np.searchsorted(edges, values.fill_null(0.0).to_numpy(), side="left")
        named = pl.Series(values.name, [texts[number] for number in part])
        return pl.select(pl.when(values.is_null()).then(pl.lit(NONE)).otherwise(named)).to_series()
    text = values.cast(pl.String)
    common = text.drop_nulls().value_counts(sort=True).head(MOST_VALUES)[text.name]
    return pl.select(
        pl.when(text.is_null())
        .then(pl.lit(NONE))
        .when(text.is_in(common.to_list()))
        .then(text)
        .otherwise(pl.lit(OTHER))
    ).to_series()
