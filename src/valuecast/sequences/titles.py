"""What events were about: which columns say it, and how it is said in a few words.

Nothing is learned beforehand. Which column holds titles and which categories is decided for each moment by what was on
events before it, so that a text is as future-blind as its events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import ibis
import ibis.expr.types as ir
import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.events.attributes import ITEMS, described
from valuecast.events.log import EventLog
from valuecast.events.schema import Kind
from valuecast.language import Language, Text
from valuecast.sequences.learning import CATEGORIES
from valuecast.sequences.words import CHARACTERS, EDGES, UNSPACED, cleaned

ABOUTS: Final = 2
"""So many columns of categories are told."""
ABOUT_WORDS: Final = 4
"""Of each of them, this many words."""
_UNIT: Final = rf"(?:[{UNSPACED}]{{1,2}}|[^ {UNSPACED}]{{1,16}}) ?"
"""What counts as a word: two characters of a script without spaces; a long run of letters is several."""
_WORDED: Final = rf"[{UNSPACED}]|\b[\p{{L}}\p{{M}}]{{2,}}\b"


@dataclass(frozen=True)
class Roles:
    """Which columns say what an event was about.

    Attributes:
        title: the attribute that names items.
        text: the field with a text of its own on most lines, such as a description or a query.
        abouts: columns of categories, those with more values first.
    """

    title: str | None = None
    text: str | None = None
    abouts: tuple[str, ...] = ()

    @property
    def said(self) -> tuple[tuple[str, ...], ...]:
        """What is said of items: of each entry the first that a line has.

        An id stands in for a title that is missing. Where nothing names items but categories or a text, it is left out:
        it would take half of a language model's tokens, and means nothing to it.
        """
        text = ((self.text,),) if self.text else ()
        if self.title is not None:
            return ((self.title, c.ITEM), *text)
        known = text or any(name.startswith(ITEMS) for name in self.abouts)
        return text if known else ((c.ITEM,),)


def candidates(log: EventLog) -> tuple[str, ...]:
    """Return the columns that may say something: texts and truth values of events and of items."""
    return tuple(
        name
        for name, kind in log.schema.items()
        if kind != Kind.NUMBER and (name in log.fields or name.startswith(ITEMS))
    )


def texts(lines: ir.Table, names: Sequence[str], kinds: dict[str, str], language: Language) -> list[ir.Value]:
    """Return the beginnings of the columns ``names`` of described lines as texts; a truth is its name, or not."""
    no = Text("no ", "非").to(language)
    return [
        (
            ibis.cases((lines[name], _short(name)), (~lines[name], no + _short(name)))
            if kinds.get(name) == Kind.BOOLEAN
            else lines[name].cast("string").substr(0, CHARACTERS)
        ).name(name)
        for name in names
    ]


def _short(name: str) -> str:
    return name.removeprefix(ITEMS).replace("_", " ")


def roles(log: EventLog, moments: NDArray[np.int64]) -> list[Roles]:
    """Return which columns say what, as far as events before each moment tell.

    Args:
        log: the log.
        moments: microseconds since 1970, rising; shape (M,).
    """
    names = candidates(log)
    items, _ = _seen(log, c.ITEM, moments)
    seen = {name: _seen(log, name, moments) for name in names}
    return [
        _chosen({name: (int(a[i]), int(b[i])) for name, (a, b) in seen.items()}, int(n)) for i, n in enumerate(items)
    ]


def _seen(log: EventLog, name: str, moments: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many different values there were before each moment, and how many of them had words."""
    lines = described(log.items, log.events, [name])
    (value,) = texts(lines, [name], log.schema, "en")
    table = lines.select(value.name("value"), lines[c.TIME])
    found = log.collect(table.filter(table["value"].notnull()).group_by("value").aggregate(first=table[c.TIME].min()))
    first, worded = found["first"].dt.epoch("us").to_numpy(), found["value"].str.contains(_WORDED).to_numpy()
    return np.searchsorted(np.sort(first), moments), np.searchsorted(np.sort(first[worded]), moments)


def _chosen(seen: dict[str, tuple[int, int]], items: int) -> Roles:
    """Choose by how many values each column has had, and how many of those have words.

    A title is nearly every item's own, and a text has many values; of several, the one with most is taken. Codes, and
    what has always been the same, say nothing.
    """
    own: dict[str, int] = {}
    text: dict[str, int] = {}
    abouts: dict[str, int] = {}
    for name, (values, worded) in seen.items():
        of_items, own_values = name.startswith(ITEMS), 2 * values > items
        if own_values and (values > CATEGORIES or of_items):
            if 2 * worded > values:
                (own if of_items else text)[name] = values
        elif values > 1 and (values <= CATEGORIES or 2 * worded > values):
            abouts[name] = values
    ordered = sorted(abouts, key=lambda name: (-abouts[name], name))
    return Roles(_most(own), _most(text), tuple(ordered[:ABOUTS]))


def _most(values: dict[str, int]) -> str | None:
    return min(values, key=lambda name: (-values[name], name), default=None)


def shortened(values: pl.Series, words: int) -> pl.Series:
    """Return the first words of clean texts."""
    return values.str.extract_all(_UNIT).list.head(words).list.join("").str.strip_chars(EDGES)


def told(lines: pl.DataFrame, columns: Sequence[Sequence[str]], *, words: int, language: Language) -> pl.DataFrame:
    """Say in a few words what the lines of each event name, the dearest first and each once.

    Args:
        lines: ``event``, ``size`` (how dear a line is, or null), and the columns.
        columns: each entry gives a line one text: that of the first of its columns that has one.
        words: no more of them are said of an event; of several texts none has more than half.
        language: whose separator stands between texts.

    Returns:
        ``event, told``, sorted by event; events of which nothing is said are left out.
    """
    empty = pl.DataFrame(schema={"event": pl.Int64, "told": pl.String})
    if not columns or not words or lines.is_empty():
        return empty
    parts = [
        lines.select("event", "size", place=pl.lit(i), raw=pl.coalesce(pl.col(entry)).cast(pl.String))
        for i, entry in enumerate(columns)
    ]
    found = pl.concat(parts).drop_nulls("raw")
    raw = found["raw"].unique(maintain_order=True)
    clean = (
        pl.DataFrame({"raw": raw, "text": cleaned(raw)})
        .drop_nulls()
        .with_columns(units=pl.col("text").str.count_matches(_UNIT).cast(pl.Int64))
    )
    each = found.join(clean, on="raw").group_by("event", "text").agg(pl.max("size"), pl.min("place"), pl.first("units"))
    each = each.sort("event", "size", "place", "text", descending=[False, True, False, False], nulls_last=True)
    limit = pl.when(pl.len().over("event") > 1).then((words + 1) // 2).otherwise(words)
    each = each.with_columns(take=pl.min_horizontal("units", limit))
    before = pl.col("take").cum_sum().over("event") - pl.col("take")
    each = each.with_columns(before=before, take=pl.min_horizontal("take", words - before))
    # one word of a longer title that the rest of the budget would hold says little
    each = each.filter(pl.col("take") > 0, (pl.col("take") > 1) | (pl.col("units") == 1) | (pl.col("before") == 0))
    pairs = each.select("text", "take").unique(maintain_order=True)
    short = [
        part.with_columns(short=shortened(part["text"], int(part["take"][0])))
        for part in pairs.partition_by("take", maintain_order=True)
    ]
    if not short:
        return empty
    joined = each.join(pl.concat(short), on=["text", "take"], how="left", maintain_order="left")
    separator = Text("; ", "、").to(language)
    return joined.group_by("event", maintain_order=True).agg(
        told=pl.col("short").unique(maintain_order=True).str.join(separator)
    )
