"""What is counted on the log's engine: portable Ibis, one query of each kind for all moments.

Windows are nested, so a window is a union of *bands*: band 0 is the shortest window, band 1 what the next one adds,
and the last band is the rest of history. A sum is taken once for each band, and ``valuecast.features.compute`` adds
the bands up to windows. So a pair of an event and a moment is looked at once, not once for each window.

Lines of one user at one time are first added up to a *moment*: it is before ``at`` as a whole or not at all.

Amounts and fields are added as decimals with nine places. The sum of doubles depends on the order of addition, which
an engine with threads does not fix, and a feature must not change, in any bit, when the future does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import ibis
import ibis.expr.types as ir

from valuecast import columns as c
from valuecast.events.attributes import attributed, described
from valuecast.events.exact import DECIMAL, exact
from valuecast.events.log import SideTable
from valuecast.features.catalogue import FeatureSet
from valuecast.features.feature import DAYPARTS, WEEKDAYS, event_measure
from valuecast.features.keys import KNOWN, ROW, TODAY, past, start

BAND: Final = "band"
EARLIER: Final = "earlier_band"
COUNT: Final = "count"
ENTITY: Final = "entity"
USERS: Final = "users."
# What is squared has a limit of its own, and is of 18 and of 19 digits: with fewer, DuckDB multiplies in 64 bits and
# overflows; with more, Spark drops decimal places.
_SQUARE_LIMIT = 1e12
_SQUARABLE = ("decimal(18, 4)", "decimal(19, 4)")
_DAY = "day"
_IDENTITY = ("text", "when")
_NO_TEXT, _NO_TIME = ibis.null("string"), ibis.null("timestamp")


def user_attributes(spec: FeatureSet, keys: ir.Table, users: SideTable | None) -> ir.Table | None:
    """Return ``row`` and the user attributes that were known before ``at``; None where there are none to return."""
    codes = [vocabulary.column for vocabulary in spec.user_codes]
    names = [*codes, *spec.user_numbers]
    if users is None or not names:
        return None
    own = [name.removeprefix(USERS) for name in names]
    found = attributed(keys, users, own, by=KNOWN, prefix=USERS, row=[ROW])
    texts = {name: found[name].cast("string") for name in codes}
    return found.select(ROW, **texts, **{name: found[name].cast("float64") for name in spec.user_numbers})


def stream(events: ir.Table, name: str) -> ir.Table:
    """Return the events of a stream (see ``FeatureSet.streams``)."""
    return events.filter(events[c.EVENT] == c.PURCHASE) if name == c.PURCHASE else events


@dataclass(frozen=True)
class Banded:
    """A query with one row for each ``row`` and ``band``, and the names of its sums, smallest and largest values."""

    query: ir.Table
    sums: list[str]
    lows: list[str]
    highs: list[str]


def banded(spec: FeatureSet, events: ir.Table, keys: ir.Table, *, items: SideTable | None) -> Banded:
    """Add up moments: all that is a sum, a smallest or a largest value of lines or moments."""
    lines = described(items, events, [vocabulary.column for vocabulary in spec.categories])
    moments = _moments(lines, _of_lines(spec, lines))
    of_moments = _of_moments(spec, moments)
    sums = [name for name in (*moments.columns, *of_moments) if name not in (c.USER, c.TIME)]
    seen = past(moments.mutate(**of_moments), keys)
    seen = seen.mutate(_band(seen, c.TIME, spec.windows).name(BAND))
    totals = {name: seen[name].sum().cast("float64") for name in sums}
    lows, highs = _extremes(spec, seen)
    query = seen.group_by([ROW, BAND]).aggregate(**totals, **lows, **highs)
    return Banded(query, sums, list(lows), list(highs))


def entities(spec: FeatureSet, events: ir.Table) -> dict[str, ir.Table]:
    """Return what is counted once however often it occurs: ``user``, ``time``, and the text or time it is known by."""
    found = {}
    for name in spec.streams:
        own = stream(events, name)
        if name == c.PURCHASE:
            order = own[c.ORDER] if spec.orders else _NO_TEXT
            found["purchases"] = _occurrences(own, text=order, when=ibis.ifelse(order.isnull(), own[c.TIME], _NO_TIME))
        found[f"{name}_days"] = _occurrences(own, text=_NO_TEXT, when=own[c.TIME].truncate("D"))
        if spec.items:
            found[f"{name}_items"] = _occurrences(own.filter(own[c.ITEM].notnull()), text=own[c.ITEM], when=_NO_TIME)
    return found


def distinct(spec: FeatureSet, tables: Iterable[ir.Table], keys: ir.Table) -> ir.Table:
    """Count the different entities of each table without holding any set of them.

    An entity is new in a window where it has no earlier occurrence there: it adds one from the band of this occurrence
    on, and takes it back from the band of the occurrence before on, for the two are one in every window that long.

    Returns:
        ``entity`` (the number of the table), ``row``, ``band``, ``earlier_band`` (null: there is none) and ``count``.
    """
    numbered = [table.mutate(ibis.literal(i, "int64").name(ENTITY)) for i, table in enumerate(tables)]
    occurrences = ibis.union(*numbered).distinct()
    in_turn = ibis.window(group_by=[ENTITY, c.USER, *_IDENTITY], order_by=c.TIME)
    seen = past(occurrences.mutate(before=occurrences[c.TIME].lag().over(in_turn)), keys)
    earlier = ibis.ifelse(seen["before"].isnull(), ibis.null("int64"), _band(seen, "before", spec.windows))
    seen = seen.mutate(_band(seen, c.TIME, spec.windows).name(BAND), earlier.name(EARLIER))
    return seen.group_by([ENTITY, ROW, BAND, EARLIER]).aggregate(seen.count().name(COUNT))


def gaps(events: ir.Table, keys: ir.Table) -> ir.Table:
    """Measure the days between active days, and where the silence since the last one stands among them.

    Days are dates; a gap is known from the first event of its later day on, and the silence is the number of days from
    the last active date to that of ``at``: the least that the next gap can be.

    Returns:
        ``row``, and as float64 ``silence``, ``gaps`` (how many), ``gap_sum``, ``gap_square`` (sum of squares),
        ``gap_max``, ``gap_last``, ``gap_recent`` (sum of the last three) and ``shorter`` (gaps below the silence).
    """
    days = events.group_by([c.USER, events[c.TIME].date().name(_DAY)]).aggregate(events[c.TIME].min().name(c.TIME))
    in_turn = ibis.window(group_by=c.USER, order_by=_DAY)
    days = days.mutate(
        gap=days[_DAY].delta(days[_DAY].lag().over(in_turn), unit="day"),
        recent=days[_DAY].delta(days[_DAY].lag(3).over(in_turn), unit="day"),
    )
    seen = past(days, keys)
    seen = seen.mutate(last=seen[_DAY].max().over(ibis.window(group_by=ROW)))
    seen = seen.mutate(silence=seen[TODAY].delta(seen["last"], unit="day"))
    measured = {
        "silence": seen["silence"].max(),
        "gaps": seen["gap"].count(),
        "gap_sum": seen["gap"].sum(),
        "gap_square": (seen["gap"] * seen["gap"]).sum(),
        "gap_max": seen["gap"].max(),
        "gap_last": seen["gap"].max(where=seen[_DAY] == seen["last"]),
        "gap_recent": seen["recent"].max(where=seen[_DAY] == seen["last"]),
        "shorter": seen.count(where=seen["gap"] < seen["silence"]),
    }
    return seen.group_by(ROW).aggregate(**{name: value.cast("float64") for name, value in measured.items()})


def _occurrences(events: ir.Table, *, text: ir.StringValue, when: ir.TimestampValue) -> ir.Table:
    """Return when each entity occurred; it is known by a text, or by a time where it has none."""
    identity = (text.cast("string"), when.cast("timestamp"))
    return events.select(c.USER, c.TIME, *(value.name(name) for value, name in zip(identity, _IDENTITY, strict=True)))


def _of_lines(spec: FeatureSet, lines: ir.Table) -> dict[str, ir.Value]:
    """What each line adds to the sums: whole numbers and decimals, never null."""
    nothing, one = ibis.literal(0).cast(DECIMAL), ibis.literal(1, "int64")
    amount, kind = exact(lines[c.AMOUNT]), lines[c.EVENT]
    found: dict[str, ir.Value] = {"events": one}
    found |= {event_measure(event, i): _flag(kind == event) for i, event in enumerate(spec.events)}
    gross = (kind == c.PURCHASE) & (amount > 0)
    if spec.spend:
        found |= {"spend": ibis.ifelse(gross, amount, nothing), "spend_lines": _flag(gross)}
    if spec.refunds:
        found["refunds"] = ibis.ifelse(amount < 0, -amount, nothing)
    for i, vocabulary in enumerate(spec.categories):
        for j, value in enumerate(vocabulary.values):
            inside = lines[vocabulary.column].cast("string") == value
            found[f"category_{i}_{j}"] = ibis.ifelse(inside & gross, amount, nothing) if spec.spend else _flag(inside)
    for i, name in enumerate(spec.numbers):
        number = exact(lines[name])
        found[f"number_{i}"] = number.coalesce(nothing)
        found[f"number_known_{i}"] = _flag(number.notnull())
        found[f"number_used_{i}"] = _flag(number != 0)
    return found


def _moments(lines: ir.Table, measures: Mapping[str, ir.Value]) -> ir.Table:
    measured = lines.select(c.USER, c.TIME, **measures)
    return measured.group_by([c.USER, c.TIME]).aggregate(**{name: measured[name].sum() for name in measures})


def _of_moments(spec: FeatureSet, moments: ir.Table) -> dict[str, ir.Value]:
    """What each moment adds on top: when users of the main stream are active, and how baskets spread."""
    visit = moments["purchase_lines" if spec.streams[0] == c.PURCHASE else "events"] > 0
    weekday, hour = moments[c.TIME].day_of_week.index(), moments[c.TIME].hour()
    found: dict[str, ir.Value] = {"visits": _flag(visit)}
    found |= {f"weekday_{i}": _flag(visit & (weekday == i)) for i in range(len(WEEKDAYS))}
    if spec.clock:
        length = 24 // len(DAYPARTS)
        inside = (hour.between(i * length, (i + 1) * length - 1) for i in range(len(DAYPARTS)))
        found |= {f"daypart_{i}": _flag(visit & within) for i, within in enumerate(inside)}
    if spec.spend:
        limit = ibis.literal(_SQUARE_LIMIT).cast(DECIMAL)
        basket = ibis.ifelse(moments["spend"] < limit, moments["spend"], limit)
        one, other = (basket.cast(kind) for kind in _SQUARABLE)
        found |= {"baskets": _flag(moments["spend"] > 0), "basket_square": one * other}
    return found


def _extremes(spec: FeatureSet, seen: ir.Table) -> tuple[dict[str, ir.Value], dict[str, ir.Value]]:
    time = seen[c.TIME]
    lows: dict[str, ir.Value] = {"first": time.min()}
    highs: dict[str, ir.Value] = {"last": time.max()}
    counts = [event_measure(event, i) for i, event in enumerate(spec.events)]
    highs |= {f"last_{name}": time.max(where=seen[name] > 0) for name in counts}
    if c.PURCHASE in spec.events:
        lows["first_purchase"] = time.min(where=seen["purchase_lines"] > 0)
    if spec.spend:
        basket = seen["spend"]
        lows["basket_min"] = basket.min(where=basket > 0).cast("float64")
        highs["basket_max"] = basket.max(where=basket > 0).cast("float64")
    return lows, highs


def _flag(condition: ir.BooleanValue) -> ir.IntegerValue:
    return ibis.ifelse(condition, 1, 0).cast("int64")


def _band(seen: ir.Table, time: str, windows: Sequence[int]) -> ir.IntegerValue:
    """Number of the first window that holds ``time``; the last number is that of all history."""
    inside = [(seen[time] >= seen[start(days)], ibis.literal(i, "int64")) for i, days in enumerate(windows)]
    rest = ibis.literal(len(windows), "int64")
    return ibis.cases(*inside, else_=rest) if inside else rest
