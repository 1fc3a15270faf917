"""Reads lines of a log and makes events of them: the log's engine sorts, polars codes, numpy adds up.

Nothing loops over events in Python. Lines are read for a range of users at a time, so that memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.events import engine, prepared
from valuecast.events.attributes import described
from valuecast.events.exact import LIMIT
from valuecast.events.log import EventLog, SideTable
from valuecast.sequences.encoding import Encoding, Shop, Vocabulary
from valuecast.sequences.words import cleaned, joined, words

LINES: Final = "lines"
GAP: Final = "gap_days"
MADE: Final = (LINES, GAP)
"""Numbers that are of an event, not of a line."""
DAY: Final = 86_400_000_000
"""Microseconds in a day."""
LINES_PER_PASS: Final = 1_000_000
"""Users are read so many at a time that they have about this many lines (see ``engine.scaled``)."""

_LINES, _ITEMS = "lines", "items"
_MOMENT: Final = (c.USER, c.TIME, c.EVENT, c.ORDER)


@dataclass(frozen=True)
class Told:
    """The texts of events.

    Attributes:
        distinct: every different text once, cleaned, sorted; shape (S,).
        per_event: number of texts of each event; shape (E,), int64.
        texts: their places in ``distinct``, of all events one after the other, column by column and rising; shape (T,),
            int32. So their order in an event depends on nothing but the event.
        weights: the share of the lines of the event that have a text in this column that have this text; shape (T,),
            float32.
    """

    distinct: pl.Series
    per_event: NDArray[np.int64]
    texts: NDArray[np.int32]
    weights: NDArray[np.float32]


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
        told: what a language model reads, if the encoding has one and there are texts.
    """

    per_user: NDArray[np.int64]
    time: NDArray[np.int64]
    numbers: NDArray[np.float32]
    per_event: NDArray[np.int64]
    codes: NDArray[np.int32]
    weights: NDArray[np.float32]
    told: Told | None


def passes(log: EventLog) -> Iterator[tuple[pl.Series, ir.Table]]:
    """Yield users in the order of their names, and their lines, in passes that bound the memory."""
    events = log.events
    counted = log.collect(events.group_by(c.USER).aggregate(count=events.count()).order_by(c.USER))
    number = (counted["count"].cum_sum() - 1) // engine.scaled(LINES_PER_PASS)
    for part in counted.with_columns(number.alias("pass")).partition_by("pass", maintain_order=True):
        users = part[c.USER]
        within = events if len(users) == len(counted) else events.filter(events[c.USER].between(users[0], users[-1]))
        yield users, within


def read(encoding: Encoding, log: EventLog, lines: ir.Table) -> Events:
    """Read ``lines`` of ``log`` as events."""
    coded = [vocabulary.column for vocabulary in encoding.vocabularies if not _worded(encoding, vocabulary)]
    columns = _Columns(
        texts=(*coded, *(encoding.shop.texts if encoding.shop else ())),
        numbers=tuple(number.name for number in encoding.numbers if number.name not in MADE),
        told=encoding.told,
        characters=encoding.reader.characters if encoding.reader else 0,
    )
    given = {_LINES: lines} if log.items is None else {_LINES: lines, _ITEMS: log.items.table}
    found, _ = prepared.collect(log, _ordered, columns, given)
    return _events(encoding, found[_LINES])


@dataclass(frozen=True)
class _Columns:
    """What is read of lines; of what is ``told``, so many ``characters``."""

    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    told: tuple[str, ...]
    characters: int


def _ordered(columns: _Columns, given: Mapping[str, ir.Table]) -> tuple[dict[str, ir.Table], None]:
    items = SideTable(given[_ITEMS], c.ITEM, {}) if _ITEMS in given else None
    texts, numbers = columns.texts, columns.numbers
    lines = described(items, given[_LINES], dict.fromkeys([*texts, *columns.told, *numbers]))
    types = {**dict.fromkeys((*_MOMENT, *texts), "string"), **dict.fromkeys(numbers, "float64"), c.TIME: "timestamp"}
    ordered = lines.order_by([*(ibis.asc(lines[name], nulls_first=False) for name in _MOMENT), c.ID])
    wanted = [ordered[name].cast(kind).name(name) for name, kind in types.items()]
    wanted += [ordered[name].substr(0, columns.characters).name(name) for name in columns.told if name not in types]
    return {_LINES: ordered.select(*wanted)}, None


def _events(encoding: Encoding, lines: pl.DataFrame) -> Events:
    new_user = changes(lines, [c.USER])
    new_event = changes(lines, list(_MOMENT)) if encoding.grouped else np.ones(len(lines), np.bool_)
    first = np.flatnonzero(new_event)
    opens = new_user[first]
    time = lines[c.TIME].dt.epoch("us").to_numpy()[first]
    numbers = np.empty((len(first), len(encoding.numbers)), np.float32)
    for i, number in enumerate(encoding.numbers):
        if number.name == LINES:
            numbers[:, i] = lengths(first, len(lines))
        elif number.name == GAP:
            numbers[:, i] = np.where(opens, np.nan, np.diff(time, prepend=time[:1]) / DAY)
        else:
            unit = encoding.shop.amount if encoding.shop and number.name == c.AMOUNT else 1.0
            numbers[:, i] = folded(lines[number.name], first, mean=number.name != c.AMOUNT) / unit
    coded = _coded(encoding, lines)
    event = np.cumsum(new_event) - 1
    if encoding.grouped:
        keys = (event[:, None] * encoding.codes + coded)[coded >= 0]
        if encoding.shop:
            line, word = _words(encoding, encoding.shop, lines)
            keys = np.append(keys, event[line] * encoding.codes + word)
        per_event, codes, weights = _shares(keys, len(first), encoding)
    else:
        known = coded >= 0
        per_event, codes = known.sum(axis=1, dtype=np.int64), coded[known]
        weights = np.ones(len(codes), np.float32)
    told = _told(encoding, lines, event, len(first)) if encoding.told else None
    return Events(lengths(np.flatnonzero(opens), len(first)), time, numbers, per_event, codes, weights, told)


def changes(lines: pl.DataFrame, names: list[str]) -> NDArray[np.bool_]:
    """Return where a line differs from the one before it; the first one does."""
    differs = [pl.col(name).ne_missing(pl.col(name).shift()) for name in names]
    changed: NDArray[np.bool_] = lines.select(pl.any_horizontal(differs)).to_series().to_numpy(writable=True)
    changed[:1] = True
    return changed


def lengths(first: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Return the lengths of runs from where each begins, of so many in all."""
    return np.diff(first, append=total)


def folded(values: pl.Series, first: NDArray[np.int64], *, mean: bool) -> NDArray[np.float64]:
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


def _worded(encoding: Encoding, vocabulary: Vocabulary) -> bool:
    """Whether the values of a vocabulary are words, of which a line may have many."""
    return encoding.common and vocabulary.column == c.ITEM


def _coded(encoding: Encoding, lines: pl.DataFrame) -> NDArray[np.int32]:
    """Return the code of each line in each vocabulary, -1 where the value is missing or is words."""
    coded = np.full((len(lines), len(encoding.vocabularies)), -1, np.int32)
    start = 0
    for i, vocabulary in enumerate(encoding.vocabularies):
        if not _worded(encoding, vocabulary):
            values = lines[vocabulary.column]
            coded[:, i] = _codes(vocabulary, start, values).to_numpy()
            coded[values.is_null().to_numpy(), i] = -1
        start += 1 + len(vocabulary.values)
    return coded


def _codes(vocabulary: Vocabulary, start: int, values: pl.Series) -> pl.Series:
    """Return the code of each value, ``start`` where it is not known."""
    place = values.cast(pl.Enum(vocabulary.values), strict=False).to_physical().cast(pl.Int32)
    return (place + (start + 1)).fill_null(start)


def _words(encoding: Encoding, shop: Shop, lines: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which line has which word: numbers of lines, and codes, each once for a line."""
    (vocabulary,) = (each for each in encoding.vocabularies if _worded(encoding, each))
    start, _ = encoding.span(vocabulary.column) or (0, 0)
    text = joined(lines, shop.texts)
    distinct = text.unique(maintain_order=True)
    found = words(distinct)
    found = found.select("row", _codes(vocabulary, start, found["word"]).alias("code")).unique()
    owner = (
        text.to_frame("text").with_row_index("line").join(distinct.to_frame("text").with_row_index("row"), on="text")
    )
    both = owner.join(found, on="row").select(pl.col("line", "code").cast(pl.Int64))
    return both["line"].to_numpy(), both["code"].to_numpy()


def _shares(
    key: NDArray[np.int64], events: int, encoding: Encoding
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Return the number of different codes of each event, the codes, and their shares of their columns.

    Args:
        key: for every code of every line, the number of its event times ``encoding.codes``, plus the code.
        events: how many there are.
        encoding: whose codes they are.
    """
    key, count = np.unique(key, return_counts=True)
    owner, code = np.divmod(key, encoding.codes)
    slot = owner * len(encoding.vocabularies) + encoding.columns_of_codes()[code]
    total: NDArray[Any] = np.bincount(slot, weights=count)
    per_event = np.bincount(owner, minlength=events)
    return per_event, code.astype(np.int32), (count / total[slot]).astype(np.float32)


def _told(encoding: Encoding, lines: pl.DataFrame, event: NDArray[np.int64], events: int) -> Told:
    """Return what a language model reads of events.

    Args:
        encoding: has one.
        lines: of the events.
        event: the number of each line's event; shape (L,).
        events: how many there are.
    """
    assert encoding.reader is not None
    columns = [lines[name] for name in encoding.told]
    raw = pl.concat([column.unique() for column in columns]).unique().drop_nulls()
    clean = pl.DataFrame({"raw": raw, "text": cleaned(raw, characters=encoding.reader.characters)}).drop_nulls()
    distinct = clean["text"].unique().sort()
    numbered = clean.join(distinct.to_frame().with_row_index("number"), on="text")
    keys = []
    for place, column in enumerate(columns):
        number = column.rename("raw").to_frame().join(numbered, on="raw", how="left", maintain_order="left")["number"]
        known = number.is_not_null().to_numpy()
        slot = event[known] * len(columns) + place
        keys.append(slot * len(distinct) + number.drop_nulls().cast(pl.Int64).to_numpy())
    key, count = np.unique(np.concatenate(keys), return_counts=True)
    slots, texts = np.divmod(key, max(len(distinct), 1))
    total: NDArray[Any] = np.bincount(slots, weights=count)
    per_event = np.bincount(slots // len(columns), minlength=events)
    return Told(distinct, per_event, texts.astype(np.int32), (count / total[slots]).astype(np.float32))
