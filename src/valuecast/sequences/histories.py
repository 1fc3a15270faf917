"""What users did, as tables of events, and what of it lies before a moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.events import keys
from valuecast.events.attributes import described
from valuecast.events.log import EventLog
from valuecast.language import Language, Text
from valuecast.sequences import numerals, reading, titles, wording

COUNTED: Final = 3
"""A summary counts the events of this many types, the commonest."""
_MOMENT: Final = (c.USER, c.TIME, c.EVENT, c.ORDER)
NO_FACTS: Final = pl.DataFrame(
    schema={
        "row": pl.Int64,
        **dict.fromkeys(("tenure", "idle", "bought", "spent"), pl.Int64),
        "counts": pl.String,
        "types": pl.Int64,
    }
)


@dataclass(frozen=True)
class Histories:
    """Events of some users as a table, and the lines they are made of.

    Attributes:
        events: ``time`` (microseconds), ``type``, what it is called (``kind``), the size of the number of ``lines`` and
            of the ``amount``, and what was ``spent`` on purchases up to here, in the order of user and time.
        owner: number of each event's user; shape (E,), rising.
        starts: number of the first event of each user; shape (U + 1,).
        lines: ``size`` (how dear), ``item`` and the candidates for titles by their numbers; sorted as events are.
        event: number of each line's event; shape (L,).
        names: the candidates.
    """

    events: pl.DataFrame
    owner: NDArray[np.int64]
    starts: NDArray[np.int64]
    lines: pl.DataFrame
    event: NDArray[np.int64]
    names: tuple[str, ...]

    def column(self, name: str) -> str:
        """Return the column of ``lines`` that a candidate is in: a shop may call it like one of ours."""
        return str(self.names.index(name))


def parts(log: EventLog, asked: pl.DataFrame, language: Language) -> Iterator[tuple[pl.DataFrame, Histories]]:
    """Yield the keys of some users at a time, with the numbers of their users, and what those did."""
    if asked.is_empty():
        return
    latest: Any = asked[c.AT].max()
    theirs = keys.asked(log, asked)
    events = theirs.events.filter(theirs.events[c.TIME] < ibis.literal(latest))
    for _, lines in reading.passes(replace(theirs, events=events)):
        found = log.collect(_ordered(log, lines, language))
        past = _past(found, titles.candidates(log), language)
        owners = found[c.USER].unique(maintain_order=True).to_frame().with_row_index("owner")
        yield asked.join(owners.with_columns(pl.col("owner").cast(pl.Int64)), on=c.USER, maintain_order="left"), past


def _ordered(log: EventLog, lines: ir.Table, language: Language) -> ir.Table:
    """Return what is read of lines, in the order of user, time, type, order and id."""
    names = titles.candidates(log)
    lines = described(log.items, lines, names)
    ordered = lines.order_by([*(ibis.asc(lines[name], nulls_first=False) for name in _MOMENT), c.ID])
    columns = [*(ordered[name].name(name) for name in _MOMENT), ordered[c.AMOUNT].cast("float64").name(c.AMOUNT)]
    values = titles.texts(ordered, [c.ITEM, *names], log.schema, language)
    numbered = [value.name(str(i - 1) if i else c.ITEM) for i, value in enumerate(values)]
    return ordered.select(*columns, *numbered)


def _past(lines: pl.DataFrame, names: tuple[str, ...], language: Language) -> Histories:
    new_user = reading.changes(lines, [c.USER])
    new_event = reading.changes(lines, list(_MOMENT))
    first = np.flatnonzero(new_event)
    owner = np.cumsum(new_user)[first] - 1
    paid = pl.when(pl.col(c.EVENT) == c.PURCHASE, pl.col(c.AMOUNT) > 0).then(c.AMOUNT)
    spent = reading.folded(lines.select(paid).to_series(), first, mean=False)
    events = pl.DataFrame(
        {
            "owner": owner,
            "time": lines[c.TIME].dt.epoch("us").gather(first),
            "type": lines[c.EVENT].gather(first),
            "lines": numerals.sizes(reading.lengths(first, len(lines))),
            "amount": _sized(reading.folded(lines[c.AMOUNT], first, mean=False)),
            "spent": pl.Series(spent, nan_to_null=True),
        }
    )
    # the sum of each user by itself, one purchase after the other: later ones and other users change no bit of it
    spent_so_far = pl.col("spent").fill_null(0.0).cum_sum().over("owner")
    known = pl.col("spent").is_not_null().cast(pl.Int64).cum_sum().over("owner") > 0
    types = events["type"].unique(maintain_order=True)
    named = pl.DataFrame({"type": types, "kind": wording.kinds(types, language)})
    events = events.with_columns(spent=pl.when(known).then(spent_so_far)).join(named, on="type", maintain_order="left")
    starts = np.append(np.flatnonzero(new_user[first]), len(first))
    size = pl.Series("size", lines[c.AMOUNT].abs().fill_nan(None))
    kept = lines.drop(*_MOMENT, c.AMOUNT).with_columns(size)
    return Histories(events, owner, starts, kept, np.cumsum(new_event) - 1, names)


def _sized(values: NDArray[np.float64]) -> pl.Series:
    """Return the sizes of numbers, null where they are NaN."""
    known = ~np.isnan(values)
    size = pl.Series(numerals.sizes(np.where(known, values, 0.0)))
    return pl.select(pl.when(pl.Series(known)).then(size)).to_series()


def earlier(
    owner: NDArray[np.int64], time: NDArray[np.int64], asked: NDArray[np.int64], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many events come before each moment of an owner: those of owners before it, and its own earlier ones.

    Args:
        owner: of each event; shape (E,).
        time: of each event; shape (E,).
        asked: the owner of each moment; shape (R,).
        at: moments; shape (R,).
    """
    is_event = np.repeat([True, False], [len(owner), len(asked)])
    # a moment sorts before the events at it: those are not in its past
    order = np.lexsort((is_event, np.append(time, at), np.append(owner, asked)))
    counted = np.cumsum(is_event[order])
    found = np.empty(len(order), np.int64)
    found[order] = counted
    return found[len(owner) :]


def facts(part: pl.DataFrame, past: Histories, language: Language) -> pl.DataFrame:
    """Return what the head says of each key that has a past, and of how many ``types`` its events are."""
    time = past.events["time"].to_numpy()
    owner, at = part["owner"].to_numpy(), part[c.AT].dt.epoch("us").to_numpy()
    last = earlier(past.owner, time, owner, at) - 1
    has = last >= past.starts[owner]
    row, owner, at, last = part["row"].to_numpy()[has], owner[has], at[has], last[has]
    purchase = (past.events["type"] == c.PURCHASE).to_numpy()
    bought = np.maximum.accumulate(np.where(purchase, np.arange(len(time)), -1))[last] if len(time) else last
    ever = bought >= past.starts[owner]
    spent = past.events["spent"].gather(last)
    found = pl.DataFrame(
        {
            "row": row,
            "tenure": numerals.spans(at - time[past.starts[owner]]),
            "idle": numerals.spans(at - time[last]),
            "bought": pl.Series(np.where(ever, numerals.spans(at - time[bought]), -1)).replace(-1, None),
            "spent": _sized(spent.fill_null(np.nan).to_numpy()),
        },
    )
    counts = _counts(pl.DataFrame({"row": row, "owner": owner, "at": at}), past, language)
    return found.join(counts, on="row", maintain_order="left").select(*NO_FACTS.columns).cast(NO_FACTS.schema)


def _counts(asked: pl.DataFrame, past: Histories, language: Language) -> pl.DataFrame:
    """Return ``row, counts, types``: how many events there are of the commonest types, in words; how many types."""
    pairs = past.events.select("owner", "type", "kind").unique(maintain_order=True).with_row_index("pair")
    pairs = pairs.with_columns(pl.col("pair").cast(pl.Int64))
    events = past.events.join(pairs, on=["owner", "type"], maintain_order="left").sort("pair", "time")
    start = np.searchsorted(events["pair"].to_numpy(), np.arange(len(pairs)))
    each = asked.join(pairs, on="owner", maintain_order="left")
    pair = each["pair"].to_numpy()
    count = earlier(events["pair"].to_numpy(), events["time"].to_numpy(), pair, each["at"].to_numpy()) - start[pair]
    each = each.with_columns(exactly=pl.Series(count)).filter(pl.col("exactly") > 0)
    each = each.sort("row", "exactly", "type", descending=[False, True, False])
    each = each.with_columns(types=pl.len().over("row"), rank=pl.int_range(pl.len()).over("row"))
    each = each.filter(pl.col("rank") < COUNTED)
    size = pl.Series("count", numerals.sizes(each["exactly"].to_numpy()))
    each = each.with_columns(said=wording.counted(each.with_columns(size), language))
    comma = Text(", ", "，").to(language)
    return each.group_by("row", maintain_order=True).agg(
        pl.col("said").str.join(comma).alias("counts"), pl.first("types")
    )
