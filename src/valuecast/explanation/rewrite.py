"""Histories that nobody had: variants of users, written as users of a small log that any predictor can read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import ibis
import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c
from valuecast.events.carried import Carried
from valuecast.events.log import EventLog, SideTable
from valuecast.explanation.shapley import FloatArray
from valuecast.models.predictor import Predictor


def past(log: EventLog, users: Sequence[str], at: datetime) -> pl.DataFrame:
    """Return all columns of the events of some users before a moment, in order."""
    events = log.before(at).events
    return log.collect(events.filter(events[c.USER].isin(list(users)))).sort(c.USER, c.TIME, c.ID)


@contextmanager
def rewritten(
    log: EventLog, events: pl.DataFrame, profiles: Mapping[str, str], *, until: datetime
) -> Iterator[EventLog]:
    """Give a log of variants as long as it is asked: on the engine of a log, or in this process where that is Spark.

    Args:
        log: whose items, and whose users' attributes, are theirs too.
        events: of the variants, with the columns of the log's events; those of one variant under a name of its own.
        profiles: the user whose attributes a variant has, by the name of the variant.
        until: the log is known until then.
    """
    told = events.with_columns(
        pl.concat_str(c.ID, pl.lit("@"), c.USER).alias(c.ID), pl.lit(0, dtype=pl.Int16).alias(c.BUCKET)
    )
    span = replace(log.span, until=until, stated=True)
    if log.engine == "spark":
        tables = {"events": told}
        if log.items is not None:
            named = log.items.table[log.items.key].isin(told[c.ITEM].drop_nulls().unique().to_list())
            tables["items"] = log.collect(log.items.table.filter(named))
        if log.users is not None:
            tables["users"] = _profiles(log, log.users, profiles)
        yield replace(Carried.of(log), span=span).log({name: rows.to_arrow() for name, rows in tables.items()})
        return
    with _table(log, log.events.schema(), told) as table:
        if log.users is None:
            yield replace(log, events=table, span=span)
            return
        side = log.users
        with _table(log, side.table.schema(), _profiles(log, side, profiles)) as users:
            yield replace(log, events=table, users=replace(side, table=users), span=span)


def _profiles(log: EventLog, side: SideTable, profiles: Mapping[str, str]) -> pl.DataFrame:
    """Return the rows of a side table under the names of those who have them."""
    wanted = side.table.filter(side.table[side.key].isin(sorted(set(profiles.values()))))
    renamed = pl.DataFrame({"_variant": list(profiles), side.key: list(profiles.values())})
    rows = renamed.join(log.collect(wanted), on=side.key, how="inner").drop(side.key)
    return rows.rename({"_variant": side.key}).select(side.table.columns)


@contextmanager
def _table(log: EventLog, schema: ibis.Schema, rows: pl.DataFrame) -> Iterator[ir.Table]:
    backend = log.events._find_backend()
    name = f"variants_{uuid.uuid4().hex}"
    typed = ibis.memtable(rows.select(schema.names).to_arrow(), schema=schema)
    try:
        yield backend.create_table(name, typed, temp=True)
    finally:
        backend.drop_table(name, force=True)


def scores(predictor: Predictor, log: EventLog, variants: Sequence[str], at: datetime) -> dict[str, FloatArray]:
    """Score variants at a moment, by target, in their order; whether a task would ask about them does not matter."""
    keys = pl.DataFrame({c.USER: variants}, schema={c.USER: pl.String})
    keys = keys.with_columns(pl.lit(at, dtype=pl.Datetime("us")).alias(c.AT))
    table = predictor.inputs.table(log.before(at), keys)
    place = (
        keys.select(c.USER)
        .with_row_index("_row")
        .join(table.select(c.USER).with_row_index("_found"), on=c.USER, how="left", maintain_order="left")["_found"]
        .to_numpy()
    )
    return {target: head.point(table, at)[place] for target, head in predictor.heads.items()}
