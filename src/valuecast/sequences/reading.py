"""Reads lines of a log and makes events of them: the log's engine sorts, polars codes, numpy adds up.

Nothing loops over events in Python. Lines are read for a range of users at a time, so that memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.events.attributes import described
from valuecast.events.exact import LIMIT
from valuecast.events.log import EventLog
from valuecast.sequences.encoding import Encoding, Vocabulary

LINES: Final = "lines"
GAP: Final = "gap_days"
MADE: Final = (LINES, GAP)
"""Numbers that are of an event, not of a line."""
DAY: Final = 86_400_000_000
"""Microseconds in a day."""
LINES_PER_PASS: Final = 1_000_000
"""Users are read so many at a time that they have about this many lines."""

_MOMENT: Final = (c.USER, c.TIME, c.EVENT, c.ORDER)


@dataclass(frozen=True)
class Events:
    """Events in the order of user, time, type, order and id.

    Attributes:
        per_user: number of events of each user, none of which is zero; shape (U,), int64.
        time: microseconds since 1970; shape (E,), int64.
        numbers: in the order of ``Encoding.numbers``, missing ones NaN; shape (E, K), float32.
        per_event: number of codes of each event; shape (E,), int64.
        codes: of all events one after the other, rising within an event; shape (C,), int32.
        weights: the share of the event's known values of this column that have this code; shape (C,), float32.
    """

    per_user: NDArray[np.int64]
    time: NDArray[np.int64]
    numbers: NDArray[np.float32]
    per_event: NDArray[np.int64]
    codes: NDArray[np.int32]
    weights: NDArray[np.float32]


def passes(log: EventLog) -> Iterator[tuple[pl.Series, ir.Table]]:
    """Yield users in the order of their names, and their lines, in passes that bound the memory."""
    events = log.events
    counted = log.collect(events.group_by(c.USER).aggregate(count=events.count()).order_by(c.USER))
    number = (counted["count"].cum_sum() - 1) // LINES_PER_PASS
    for part in counted.with_columns(number.alias("pass")).partition_by("pass", maintain_order=True):
        users = part[c.USER]
        within = events if len(users) == len(counted) else events.filter(events[c.USER].between(users[0], users[-1]))
        yield users, within


def read(encoding: Encoding, log: EventLog, lines: ir.Table) -> Events:
    """Read ``lines`` of ``log`` as events."""
    texts = [vocabulary.column for vocabulary in encoding.vocabularies]
    numbers = [number.name for number in encoding.numbers if number.name not in MADE]
    lines = described(log, lines, [*texts, *numbers])
    types = {**dict.fromkeys((*_MOMENT, *texts), "string"), **dict.fromkeys(numbers, "float64"), c.TIME: "timestamp"}
    ordered = lines.order_by([*(ibis.asc(lines[name], nulls_first=False) for name in _MOMENT), c.ID])
    wanted = ordered.select(*(ordered[name].cast(kind).name(name) for name, kind in types.items()))
    return _events(encoding, log.collect(wanted))


def _events(encoding: Encoding, lines: pl.DataFrame) -> Events:
    new_user = _changes(lines, [c.USER])
    new_event = _changes(lines, list(_MOMENT)) if encoding.grouped else np.ones(len(lines), np.bool_)
    first = np.flatnonzero(new_event)
    opens = new_user[first]
    time = lines[c.TIME].dt.epoch("us").to_numpy()[first]
    numbers = np.empty((len(first), len(encoding.numbers)), np.float32)
    for i, number in enumerate(encoding.numbers):
        if number.name == LINES:
            numbers[:, i] = _lengths(first, len(lines))
        elif number.name == GAP:
            numbers[:, i] = np.where(opens, np.nan, np.diff(time, prepend=time[:1]) / DAY)
        else:
            numbers[:, i] = _folded(lines[number.name], first, mean=number.name != c.AMOUNT)
    coded = _coded(encoding.vocabularies, lines)
    if encoding.grouped:
        per_event, codes, weights = _shares(coded, np.cumsum(new_event) - 1, len(first), encoding)
    else:
        known = coded >= 0
        per_event, codes = known.sum(axis=1, dtype=np.int64), coded[known]
        weights = np.ones(len(codes), np.float32)
    return Events(_lengths(np.flatnonzero(opens), len(first)), time, numbers, per_event, codes, weights)


def _changes(lines: pl.DataFrame, names: list[str]) -> NDArray[np.bool_]:
    """Return where a line differs from the one before it; the first one does."""
    differs = [pl.col(name).ne_missing(pl.col(name).shift()) for name in names]
    changed: NDArray[np.bool_] = lines.select(pl.any_horizontal(differs)).to_series().to_numpy(writable=True)
    changed[:1] = True
    return changed


def _lengths(first: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    return np.diff(first, append=total)


def _folded(values: pl.Series, first: NDArray[np.int64], *, mean: bool) -> NDArray[np.float64]:
    """Add up, or average, the known values of the lines of each event; NaN where none is known.

    What is beyond the largest exact number counts as it (see ``valuecast.events.exact``). Lines are in a fixed order,
    so the sums are the same in any pass.
    """
    line = values.fill_nan(None).clip(-LIMIT, LIMIT)
    if len(first) == len(line):
        return line.fill_null(np.nan).to_numpy()
    known = np.add.reduceat(line.is_not_null().to_numpy().astype(np.float64), first)
    total = np.add.reduceat(line.fill_null(0.0).to_numpy(), first)
    divisor = np.where(known > 0, known if mean else 1.0, np.nan)
    folded: NDArray[np.float64] = total / divisor
    return folded


def _coded(vocabularies: tuple[Vocabulary, ...], lines: pl.DataFrame) -> NDArray[np.int32]:
    """Return the code of each line in each vocabulary, -1 where the value is missing."""
    coded = np.empty((len(lines), len(vocabularies)), np.int32)
    start = 0
    for i, vocabulary in enumerate(vocabularies):
        values = lines[vocabulary.column]
        place = values.cast(pl.Enum(vocabulary.values), strict=False).to_physical().cast(pl.Int32) + (start + 1)
        coded[:, i] = place.fill_null(start).to_numpy()
        coded[values.is_null().to_numpy(), i] = -1
        start += 1 + len(vocabulary.values)
    return coded


def _shares(
    coded: NDArray[np.int32], event: NDArray[np.int64], events: int, encoding: Encoding
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Return the number of different codes of each event, the codes, and their shares of their columns."""
    key = (event[:, None] * encoding.codes + coded)[coded >= 0]
    key, count = np.unique(key, return_counts=True)
    owner, code = np.divmod(key, encoding.codes)
    slot = owner * len(encoding.vocabularies) + encoding.columns_of_codes()[code]
    total: NDArray[Any] = np.bincount(slot, weights=count)
    per_event = np.bincount(owner, minlength=events)
    return per_event, code.astype(np.int32), (count / total[slot]).astype(np.float32)
