"""Reading times: in which format a column is written, in which zone, and the moment that it means.

Every moment becomes a naive UTC TIMESTAMP. Where the clocks of a zone change, the engine decides what
a skipped or doubled local time means.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any, Final

import duckdb

from valuecast.errors import SourceError
from valuecast.events import cells
from valuecast.events.schema import literal

UNITS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Units of a time that is a number, in microseconds."""

EARLIEST, LATEST = "1900-01-01", "2200-01-01"
"""Times outside are placeholders, or numbers read in the wrong unit."""

UTC: Final = "UTC"
_STATE_IT: Final = "State the format (--format FORMAT, or {column = ..., format = FORMAT} in a mapping), such as"
_DAY: Final = r"\d{4}-\d{1,2}-\d{1,2}"
_CLOCK: Final = r"[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
_NAIVE: Final = literal(f"{_DAY}({_CLOCK})?")
_ZONED: Final = literal(f"{_DAY}{_CLOCK} ?(Z|z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)")
_NUMBER: Final = literal(r"[+-]?\d+(\.\d*)?")

_CLOCKS: Final = (" %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_DAYS: Final = (
    *("%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *(f"%{a}{mark}%{b}{mark}%{year}" for mark, year, a, b in product("/.-", "Yy", "dm", "dm") if a != b),
)
PATTERNS: Final = (
    *(day + clock for day, clock in product(_DAYS, ("", *_CLOCKS))),
    *("%Y年%m月%d日" + clock for clock in ("%H:%M", "%H:%M:%S")),
    *("%Y年%m月%d日" + clock for clock in ("%H时%M分", "%H时%M分%S秒", " %H时%M分", " %H时%M分%S秒")),
    *("%Y%m%d" + clock for clock in _CLOCKS),
)
"""Formats that are recognised beside ISO 8601. Bare digits never are: they could be a count of seconds."""
_NUMERIC: Final = re.compile("%[YymdHMSfI]")


@dataclass(frozen=True)
class Format:
    """One way to write a time. ``sql(cell, zone)`` is naive UTC, or NULL where the cell is written otherwise."""

    label: str
    sql: Callable[[str, str], str]


@dataclass(frozen=True)
class Reading:
    """How one column of times is read. ``assumed`` says that nobody stated the zone of times without offset."""

    format: Format
    zone: str
    assumed: bool

    @property
    def label(self) -> str:
        """The format, for messages."""
        return self.format.label

    def sql(self, cell: str) -> str:
        """Return SQL of the moment in a cell."""
        return self.format.sql(cell, self.zone)

    def as_written(self, cell: str) -> str:
        """Return SQL of the time as the file writes it: only an offset in the text moves it."""
        return self.format.sql(cell, UTC)


@dataclass(frozen=True)
class Column:
    """A column of times to be read: SQL of its cells and their type, and the relations that hold them."""

    cell: str
    type: str
    sample: str
    whole: str
    where: str


def reading(
    connection: Any,
    column: Column,
    *,
    format: str | None = None,  # noqa: A002
    zone: str | None = None,
    unit: str | None = None,
) -> Reading:
    """Find how a column of times is read; what is stated is taken, the rest is inferred.

    Raises:
        SourceError: nothing or too much is stated, no one format reads the column, or two do and disagree.
    """
    given = [key for key, value in (("format", format), ("unit", unit)) if value is not None]
    if len(given) > 1:
        raise SourceError("both format and unit are given", where=column.where, remedy="Keep one of them.")
    if column.type in cells.TIMES or column.type == cells.ZONED:
        if given:
            what = f"the file holds times, so {given[0]} has no meaning"
            raise SourceError(what, where=column.where, remedy="Remove it.")
        return _native(column, zone)
    if unit is not None:
        if zone is not None:
            remedy = "Remove zone: such a number counts from 1970 in UTC."
            raise SourceError("both unit and zone are given", where=column.where, remedy=remedy)
        return Reading(Format(f"{unit} since 1970", partial(_counted, column.type, unit)), UTC, assumed=False)
    if format is not None:
        return _stated(connection, column, format, zone)
    if column.type != cells.TEXT:
        raise _bare_number(column, "")
    return _inferred(connection, column, zone)


@cache
def zones() -> frozenset[str]:
    """Return the names of all zones that the engine knows."""
    with duckdb.connect() as connection:
        return frozenset(name for (name,) in connection.sql("select name from pg_timezone_names()").fetchall())


def check_zone(zone: object, *, where: str) -> None:
    """Check the name of a zone.

    Raises:
        SourceError: there is none of this name.
    """
    if zone not in zones():
        near = difflib.get_close_matches(str(zone), zones(), n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        remedy = f"{hint}Use an IANA name such as Asia/Shanghai or UTC."
        raise SourceError(f"no zone '{zone}'", where=where, remedy=remedy)


def _native(column: Column, zone: str | None) -> Reading:
    if column.type == cells.ZONED:
        if zone is not None:
            raise SourceError("its times have a zone already", where=column.where, remedy="Remove zone.")
        return Reading(Format("a time", lambda cell, _: f"timezone('UTC', {cell})"), UTC, assumed=False)
    native = Format("a time", lambda cell, zone: _utc(f"{cell}::TIMESTAMP", zone))
    return Reading(native, zone or UTC, assumed=zone is None)


def _stated(connection: Any, column: Column, pattern: str, zone: str | None) -> Reading:
    try:
        (kind,) = connection.sql(f"select typeof(try_strptime('', {literal(pattern)}))").fetchone()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rpartition("Error: ")[2]
        remedy = "Write it in the letters of strptime, such as %d/%m/%Y %H:%M."
        raise SourceError(f"format '{pattern}': {reason}", where=column.where, remedy=remedy) from None
    zoned = kind == cells.ZONED
    if zoned and zone is not None:
        what = "its times carry an offset, so zone has no meaning"
        raise SourceError(what, where=column.where, remedy="Remove zone.")
    return Reading(_patterned(pattern, column.type, zoned=zoned), zone or UTC, assumed=zone is None and not zoned)


def recognised(connection: Any, column: Column) -> Reading | None:
    """Return how a column of texts is read as times, or None if most of its cells are none.

    Raises:
        SourceError: two formats read it and disagree.
    """
    found = _find(connection, column)
    return found if isinstance(found, Reading) else None


def _inferred(connection: Any, column: Column, zone: str | None) -> Reading:
    found = _find(connection, column)
    if isinstance(found, SourceError):
        raise found
    return replace(found, zone=zone or UTC, assumed=found.assumed and zone is None)


def _find(connection: Any, column: Column) -> Reading | SourceError:
    """Infer the format of a column, or return the error that says why there is none."""
    formats = [Format("ISO 8601", _iso), *(_patterned(pattern) for pattern in _of_that_shape(connection, column))]
    total, numbers, naive, example, counts = _counts(connection, column, column.sample, formats)
    if total == 0:
        return Reading(formats[0], UTC, assumed=False)
    if numbers * 2 > total:
        return _bare_number(column, f" such as '{example}'")
    if max(counts) * 2 < total:
        remedy = f"{_STATE_IT} %d/%m/%Y %H:%M."
        return SourceError(f"times such as '{example}' are in no known format", where=column.where, remedy=remedy)
    tied = [each for each, count in zip(formats, counts, strict=True) if count == max(counts)]
    if len(tied) > 1:  # the sample leaves it open: perhaps a day above 12 further on decides
        *_, counts = _counts(connection, column, column.whole, tied)
        tied = [each for each, count in zip(tied, counts, strict=True) if count == max(counts)]
    for other in tied[1:]:
        _refuse_if_different(connection, column, tied[0], other)
    return Reading(tied[0], UTC, assumed=naive > 0)


def _of_that_shape(connection: Any, column: Column) -> list[str]:
    """Return the patterns that look like some cell, digits and letters aside: the engine is slow to plan them all."""
    text = cells.trimmed(column.cell)
    plain = f"regexp_replace(regexp_replace({text}, '[0-9]+', '0', 'g'), '[A-Za-z]+', 'a', 'g')"
    found = connection.sql(f"select distinct regexp_replace({plain}, ' +', ' ', 'g') from {column.sample}").fetchall()
    shapes = {shape for (shape,) in found}
    return [pattern for pattern in PATTERNS if _shape(pattern) in shapes]


def _shape(pattern: str) -> str:
    return re.sub("0+", "0", re.sub("%[bBp]", "a", _NUMERIC.sub("0", pattern)))


def _counts(
    connection: Any, column: Column, relation: str, formats: list[Format]
) -> tuple[int, int, int, str | None, list[int]]:
    """Count the cells, those that are bare numbers, those without an offset, and those that each format reads."""
    read = ", ".join(f"coalesce(sum(n) filter ({_sane(each.sql('v', UTC))}), 0)::BIGINT" for each in formats)
    total, numbers, zoned, example, *counts = connection.sql(
        f"""
        select coalesce(sum(n), 0)::BIGINT, coalesce(sum(n) filter (regexp_full_match(v, {_NUMBER})), 0)::BIGINT,
            coalesce(sum(n) filter (regexp_full_match(v, {_ZONED})), 0)::BIGINT, min(v), {read}
        from (
            select {cells.trimmed(column.cell)} as v, count(*) as n from {relation}
            where not {cells.missing(column.cell, column.type)} group by v
        )
        """
    ).fetchone()
    return total, numbers, total - zoned, example, counts


def _refuse_if_different(connection: Any, column: Column, first: Format, other: Format) -> None:
    one, two = (each.sql(column.cell, UTC) for each in (first, other))
    query = f"select {column.cell}, {one}, {two} from {column.whole} where {one} != {two} limit 1"
    found = connection.sql(query).fetchone()
    if found is None:
        return
    cell, a, b = found
    raise SourceError(
        f"'{cell}' can be {a:%Y-%m-%d} ({first.label}) or {b:%Y-%m-%d} ({other.label}), and no row decides",
        where=column.where,
        remedy=f"{_STATE_IT} {first.label}.",
    )


def _bare_number(column: Column, example: str) -> SourceError:
    remedy = 'State unit = "s", "ms" or "us" since 1970 (--unit s), or format = "%Y%m%d" (--format %Y%m%d).'
    return SourceError(f"whole numbers{example} do not say how they count time", where=column.where, remedy=remedy)


def _patterned(pattern: str, type: str = cells.TEXT, *, zoned: bool = False) -> Format:  # noqa: A002
    def sql(cell: str, zone: str) -> str:
        parsed = f"try_strptime({cells.trimmed(cells.as_text(cell, type))}, {literal(pattern)})"
        return f"timezone('UTC', {parsed})" if zoned else _utc(parsed, zone)

    return Format(pattern, sql)


def _iso(cell: str, zone: str) -> str:
    text = cells.trimmed(cell)
    # the engine wants no blank before an offset, and seconds before it
    joined = f"regexp_replace(upper({text}), ' ?([Z+-][0-9:]*)$', '\\1')"
    complete = f"regexp_replace({joined}, '([T ][0-9]+:[0-9]+)([Z+-])', '\\1:00\\2')"
    # A cast to TIMESTAMP would drop an offset without a word, so the text decides between two casts.
    return f"""(case
        when regexp_full_match({text}, {_ZONED}) then timezone('UTC', try_cast({complete} as TIMESTAMPTZ))
        when regexp_full_match({text}, {_NAIVE}) then {_utc(f"try_cast({text} as TIMESTAMP)", zone)}
    end)"""


def _counted(type: str, unit: str, cell: str, zone: str) -> str:  # noqa: A002 - the clock of 1970 is UTC
    number = f"{cells.as_number(cell, type)} * {UNITS[unit]}"
    within = f"{number} between {_microseconds(EARLIEST)} and {_microseconds(LATEST)}"
    return f"(case when {within} then make_timestamp(round({number})::BIGINT) end)"


def _microseconds(day: str) -> str:
    return f"epoch_us(TIMESTAMP '{day}')"


def _utc(time: str, zone: str) -> str:
    return time if zone == UTC else f"timezone('UTC', timezone({literal(zone)}, {time}))"


def _sane(time: str) -> str:
    return f"{time} between TIMESTAMP '{EARLIEST}' and TIMESTAMP '{LATEST}'"
