"""Learns what to compute from one log, and computes it for any keys, on the log's engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.errors import LogError
from valuecast.events import engine, prepared
from valuecast.events.attributes import attributed, described
from valuecast.events.keys import asked, passes, read_keys
from valuecast.events.log import EventLog, SideTable
from valuecast.events.schema import Kind
from valuecast.features import families, measures
from valuecast.features import keys as key_tables
from valuecast.features.catalogue import FeatureSet, Vocabulary
from valuecast.features.families import YEAR

FloatArray = NDArray[np.float64]

_EVENTS, _KEYS, _ITEMS, _USERS = "events", "keys", "items", "users"
_BANDED, _DISTINCT = "banded", "distinct"

WINDOWS: Final = (7, 30, 90, 180, 365)
EVENT_TYPES: Final = 12
"""The commonest types of event get features of their own; purchases and returns always do."""
CODES: Final = 64
"""The commonest values of a user attribute get a code."""
MIN_SHARE: Final = 0.01
"""A value in less than this share of the rows gets neither a feature nor a code: a name is not a category."""
KEYS_PER_PASS: Final = 50_000
"""Keys are worked on in so many passes that about this many are in the engine at once (see ``engine.scaled``)."""
COPIES: Final = 3
"""A table in memory is there this many times over at the most, while something learns from it."""


def learn(log: EventLog, *, windows: Sequence[int] = WINDOWS, top: int = 8) -> FeatureSet:
    """Find out what to compute: what ``log`` carries, and its commonest values.

    Args:
        log: the log for training, cut to what may be known by then.
        windows: lengths in days; those not shorter than the span of the log are left out: they equal all history.
        top: how many values of each text or boolean column get shares.

    Raises:
        LogError: a window is not a positive whole number of days, or the log has no events.
    """
    if any(days < 1 or days != int(days) for days in windows):
        what = f"windows are whole days from 1 up, not {', '.join(map(str, windows))}"
        raise LogError(what, remedy="For example: 7, 30, 90.")
    events = log.events
    is_purchase, amount = events[c.EVENT] == c.PURCHASE, events[c.AMOUNT]
    facts = log.collect(
        events.aggregate(
            lines=events.count(),
            items=events[c.ITEM].notnull().any(),
            orders=(is_purchase & events[c.ORDER].notnull()).any(),
            spend=(is_purchase & (amount > 0) & ~amount.isnan()).any(),
            refunds=(amount < 0).any(),
            clock=(events[c.TIME] != events[c.TIME].truncate("D")).any(),
        )
    ).row(0, named=True)
    lines = facts.pop("lines")
    if not lines:
        raise LogError("the log has no events to learn features from", where=log.origin, remedy="Use a later moment.")
    schema = log.schema
    numeric = {name for name, kind in schema.items() if kind == Kind.NUMBER}
    of_users = [name for name in schema if name.startswith(measures.USERS)]
    texts = [name for name in schema if name not in numeric and name not in of_users]
    categories = _vocabularies(log, described(log.items, events, texts), texts, top=top)
    numbers = tuple(name for name in log.fields if name in numeric)
    user_codes = _vocabularies(log, _active_users(log), [name for name in of_users if name not in numeric], top=CODES)
    user_numbers = tuple(name for name in of_users if name in numeric)
    used = [*(vocabulary.column for vocabulary in (*categories, *user_codes)), *numbers, *user_numbers]
    return FeatureSet(
        windows=tuple(sorted({int(days) for days in windows if days < log.span.days})),
        events=_event_types(log),
        **{name: bool(found) for name, found in facts.items()},
        seasons=log.span.days >= YEAR,
        categories=categories,
        numbers=numbers,
        user_codes=user_codes,
        user_numbers=user_numbers,
        requires={name: schema[name] for name in used},
    )


def compute(spec: FeatureSet, log: EventLog, keys: Any) -> pl.DataFrame:
    """Return the features of every key, from events before its ``at`` alone.

    Args:
        spec: what to compute.
        log: the log; it may go on after ``at``, which changes nothing.
        keys: rows of ``user, at``: an Ibis table on the log's engine, or anything that speaks Arrow.

    Returns:
        ``user, at`` of ``keys``, sorted by ``at, user``, and one Float64 column for each of ``spec.features``.
        A count of nothing is zero; what does not exist is null. There is no NaN.

    Raises:
        ModelError: the log lacks a column that was there at learning, or it has another type.
        LogError: the keys are not keys, or a moment is later than the log is known.
        ConfigError: the table is larger than the memory that there may be; found before most of it is computed.
    """
    rows, parts = read_keys(log, keys), list[pl.DataFrame]()
    for part in stream(spec, log, rows):
        if not parts and len(part):
            engine.afford(
                COPIES * part.estimated_size() * len(rows) / len(part),
                f"features of {len(rows):,} rows",
                where=log.origin,
                remedy="Learn from fewer users (sample) or at fewer moments (every)",
            )
        parts.append(part)
    return pl.concat(parts).sort(c.AT, c.USER)


def stream(spec: FeatureSet, log: EventLog, keys: Any) -> Iterator[pl.DataFrame]:
    """Yield what ``compute`` returns in parts, each with all keys of some users, where the whole is more than memory.

    Raises:
        ModelError: the log lacks a column that was there at learning, or it has another type.
        LogError: the keys are not keys, or a moment is later than the log is known.
    """
    spec.check(log)
    rows = read_keys(log, keys).sort(c.AT, c.USER)
    wanted = [column.value.cast(pl.Float64).alias(column.feature.name) for column in families.columns(spec)]
    for known, part in passes(log, rows, at_once=KEYS_PER_PASS):
        yield _measured(spec, log, asked(known, part).events, part).select(*c.KEY, *wanted)


def _measured(spec: FeatureSet, log: EventLog, events: ir.Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Every measured quantity beside its key, in the order of ``rows``."""
    given = {
        _EVENTS: events.filter(events[c.TIME] < ibis.literal(rows[c.AT].max(), "timestamp")),
        _KEYS: key_tables.frame(rows, windows=spec.windows),
        **{name: side.table for name, side in ((_ITEMS, log.items), (_USERS, log.users)) if side is not None},
    }
    found, (names, entities) = prepared.collect(log, _queries, spec, given)
    banded, distinct = found.pop(_BANDED), found.pop(_DISTINCT)
    table = pl.DataFrame(
        {
            key_tables.ROW: np.arange(len(rows)),
            **_windows(spec, names.sums, _by_band(spec, banded, names.sums, len(rows))),
            **_windows(spec, entities, _distinct(spec, distinct, len(entities), len(rows))),
        }
    )
    extremes = banded.group_by(key_tables.ROW).agg(pl.col(names.lows).min(), pl.col(names.highs).max())
    for other in (extremes, *found.values()):
        table = table.join(other, on=key_tables.ROW, how="left", maintain_order="left")
    return pl.concat([rows, table], how="horizontal")


def _queries(
    spec: FeatureSet, given: Mapping[str, ir.Table]
) -> tuple[dict[str, ir.Table], tuple[measures.Banded, list[str]]]:
    """Build all that is asked of the engine, and tell what is banded, and the entities that are counted once.

    Beside what is banded and what is distinct, each table has one row for each key.
    """
    events, keys = given[_EVENTS], given[_KEYS]
    items, users = (
        SideTable(given[name], key, {}) if name in given else None for name, key in ((_ITEMS, c.ITEM), (_USERS, c.USER))
    )
    banded, entities = measures.banded(spec, events, keys, items=items), measures.entities(spec, events)
    made = {_BANDED: banded.query, _DISTINCT: measures.distinct(spec, entities.values(), keys)}
    for name in spec.streams:
        gaps = measures.gaps(measures.stream(events, name), keys)
        made[name] = gaps.rename({f"{name}_{column}": column for column in gaps.columns if column != key_tables.ROW})
    attributes = measures.user_attributes(spec, keys, users)
    if attributes is not None:
        made[_USERS] = attributes
    return made, (banded, list(entities))


def _by_band(spec: FeatureSet, found: pl.DataFrame, sums: Sequence[str], rows: int) -> FloatArray:
    """Lay out sums as ``(band, sum, row)``."""
    laid = np.zeros((len(spec.nested), len(sums), rows))
    laid[found[measures.BAND].to_numpy(), :, found[key_tables.ROW].to_numpy()] = found.select(sums).to_numpy()
    return laid


def _distinct(spec: FeatureSet, found: pl.DataFrame, entities: int, rows: int) -> FloatArray:
    """Lay out what each band adds to the number of each entity as ``(band, entity, row)``."""
    laid = np.zeros((len(spec.nested), entities, rows))
    for part, band, sign in ((found, measures.BAND, 1), (found.drop_nulls(measures.EARLIER), measures.EARLIER, -1)):
        place = tuple(part[name].to_numpy() for name in (band, measures.ENTITY, key_tables.ROW))
        np.add.at(laid, place, sign * part[measures.COUNT].to_numpy())
    return laid


def _windows(spec: FeatureSet, names: Sequence[str], laid: FloatArray) -> dict[str, FloatArray]:
    """Add bands up to windows: every quantity of ``names`` in every window, under the name ``quantity@window``."""
    totals = np.cumsum(laid, axis=0)
    return {
        f"{name}@{window.key}": totals[i, j] for i, window in enumerate(spec.nested) for j, name in enumerate(names)
    }


def _event_types(log: EventLog) -> tuple[str, ...]:
    counts = log.events.group_by(c.EVENT).aggregate(count=log.events.count())
    ordered = log.collect(counts.order_by([ibis.desc("count"), c.EVENT]))[c.EVENT].to_list()
    return tuple(event for i, event in enumerate(ordered) if i < EVENT_TYPES or event in (c.PURCHASE, c.RETURN))


def _vocabularies(log: EventLog, table: ir.Table, columns: Sequence[str], *, top: int) -> tuple[Vocabulary, ...]:
    """The commonest values of each column, in that order; a column with none, or with one everywhere, is left out."""
    total = log.collect(table.aggregate(total=table.count())).item()
    found = []
    for name in columns:
        counts = table.group_by(table[name].cast("string").name("value")).aggregate(count=table.count())
        counts = counts.filter(counts["value"].notnull(), counts["count"] >= MIN_SHARE * total)
        common = log.collect(counts.order_by([ibis.desc("count"), "value"]).limit(top))
        if not common.is_empty() and common["count"][0] < total:
            found.append(Vocabulary(name, tuple(common["value"].to_list())))
    return tuple(found)


def _active_users(log: EventLog) -> ir.Table:
    """The users with events, and their attributes as they are known at the end of the log."""
    users = log.events.select(c.USER).distinct()
    if log.users is None:
        return users
    known = key_tables.KNOWN
    users = users.mutate(ibis.literal(log.span.until - timedelta(microseconds=1), "timestamp").name(known))
    return attributed(users, log.users, list(log.users.attributes), by=known, prefix=measures.USERS, row=[c.USER])
