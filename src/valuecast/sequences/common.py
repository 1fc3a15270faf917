"""One encoding for many shops: fields are matched by kind, items by the words that describe them.

A shop's own columns, item ids and currency mean nothing elsewhere. What every shop has is a type for each event, by
its canonical name, texts or categories of items, amounts, lines and gaps: of these an event is made. The rest is left
out, and ``Shop.left_out`` names it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import ibis.expr.types as ir
import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.events import attributes
from valuecast.events.log import EventLog
from valuecast.events.schema import Kind
from valuecast.sequences import reading
from valuecast.sequences.encoding import Encoding, Number, Shop, TextReader, Vocabulary
from valuecast.sequences.learning import CATEGORIES, MIN_LINES, YEAR, edges, surveyed
from valuecast.sequences.words import joined, words

TYPES: Final = (c.PURCHASE, c.RETURN, "view", "cart", "search", "review", "exposure")
"""Types of event that shops have in common, by their canonical names; any other is unknown."""
WORDS: Final = 4_000
"""The commonest words of all shops have codes."""
AGREEMENT: Final = 0.8
"""Fleiss' kappa from which on lines of one item agree on a text, so that it is the item's."""

_DRAFT: Final = Encoding(
    grouped=True,  # where no lines belong together it changes nothing
    vocabularies=(Vocabulary(c.EVENT, TYPES), Vocabulary(c.ITEM, ())),
    numbers=tuple(Number(name, ()) for name in (c.AMOUNT, reading.LINES, reading.GAP)),
    clock=True,
    seasons=True,
    requires={},
    common=True,
)
_GRID: Final = np.linspace(0, 1, 1_001)


def learn_common(
    logs: Sequence[EventLog], *, limit: int = WORDS, reader: TextReader | None = None
) -> tuple[Encoding, ...]:
    """Learn one encoding from several shops, and what it must know of each; every shop counts the same.

    Args:
        logs: one of each shop, cut to what may be known.
        limit: how many of the commonest words have a code.
        reader: makes vectors of the texts of each shop; None: nothing is made of them but words.

    Returns:
        The encoding as each shop reads it; they differ in ``shop`` and ``requires`` alone.

    Raises:
        LogError: a log has no events.
    """
    shops = [shop_of(log, told=reader is not None) for log in logs]
    parts = [map(_spread, _numbers(shop, log)) for shop, log in zip(shops, logs, strict=True)]
    pooled = [edges(np.concatenate(values)) for values in zip(*parts, strict=True)]
    numbers = (Number(number.name, ends) for number, ends in zip(_DRAFT.numbers, pooled, strict=True) if len(ends) > 1)
    types, _ = _DRAFT.vocabularies
    items = Vocabulary(c.ITEM, _commonest(shops, logs, limit))
    encoding = replace(_DRAFT, vocabularies=(types, items), numbers=tuple(numbers), reader=reader)
    return tuple(placed(encoding, shop) for shop in shops)


def placed(encoding: Encoding, shop: Shop | None) -> Encoding:
    """Return a common encoding as a shop reads it, with the same codes and numbers; None: of no shop."""
    columns = [name for name in (*shop.texts, *shop.told) if name != c.ITEM] if shop else []
    return replace(encoding, shop=shop, requires=dict.fromkeys(columns, Kind.STRING.value))


def shop_of(log: EventLog, *, told: bool = False) -> Shop:
    """Learn what a common encoding must know of a shop.

    Args:
        log: of the shop, cut to what may be known.
        told: whether a language model reads its texts.

    Raises:
        LogError: the log has no events.
    """
    lines, finer = surveyed(log)
    schema = {name: kind for name, kind in log.schema.items() if name in log.fields or _of_items(name)}
    texts = describing(log, lines)
    read = readable(log, lines) if told else ()
    left_out = tuple(name for name in schema if name not in texts and name not in read)
    shop = Shop(texts, 1.0, finer, log.span.days >= YEAR, left_out, read)
    amounts, *_ = _numbers(shop, log)
    sizes = np.abs(amounts[amounts != 0])
    return replace(shop, amount=float(np.median(sizes)) if len(sizes) else 1.0)


def describing(log: EventLog, lines: ir.Table) -> tuple[str, ...]:
    """Return the text columns that say in words what items are."""
    return tuple(name for name in _texts(log) if _describes(log, lines, name))


def readable(log: EventLog, lines: ir.Table) -> tuple[str, ...]:
    """Return the columns whose texts say what events were about: names, descriptions, queries, reviews, categories.

    They are those that describe items, the item's own name only where there is no other; and fields of events that have
    words, and too many values for categories.
    """
    items = describing(log, lines)
    named = tuple(name for name in items if name != c.ITEM) or items
    fields = [name for name in _texts(log) if name in log.fields and name not in items]
    found = {name: _worded(log, lines, name) for name in fields}
    return (*named, *(name for name, (values, worded) in found.items() if values > CATEGORIES and 2 * worded > values))


def _texts(log: EventLog) -> list[str]:
    """Return the item's own name, and the columns of events and items that hold texts."""
    schema = {name: kind for name, kind in log.schema.items() if name in log.fields or _of_items(name)}
    return [c.ITEM, *(name for name, kind in schema.items() if kind == Kind.STRING)]


def _of_items(name: str) -> bool:
    return name.startswith(attributes.ITEMS)


def _describes(log: EventLog, lines: ir.Table, name: str) -> bool:
    """Whether a text column says in words what an item is.

    Attributes of items do, and the item's own name where it is no code. A field of events does where it depends on the
    item: where two lines of one item agree much more often than any two lines do. So a description counts, and a
    country that most customers share does not. Of the different values of a column most must have words.
    """
    if not (_of_items(name) or name == c.ITEM or _agreed(log, lines, name)):
        return False
    values, worded = _worded(log, lines, name)
    return 2 * worded > values


def _worded(log: EventLog, lines: ir.Table, name: str) -> tuple[int, int]:
    """Return how many different values a column has, and how many of them have words."""
    lines = attributes.described(log.items, lines, [name])
    values = log.collect(lines.filter(lines[name].notnull()).select(lines[name].name("value")).distinct())["value"]
    return len(values), words(values)["row"].n_unique()


def _agreed(log: EventLog, lines: ir.Table, name: str) -> bool:
    """Whether lines of one item agree on a field beyond chance.

    Fleiss (1971), Measuring nominal scale agreement among many raters: the lines of an item are its raters.
    """
    known = lines.filter(lines[c.ITEM].notnull(), lines[name].notnull())
    cells = known.group_by(known[c.ITEM], known[name].name("value")).aggregate(lines=known.count())
    pairs = cells["lines"] * (cells["lines"] - 1)
    items = cells.group_by(c.ITEM).aggregate(lines=cells["lines"].sum(), pairs=pairs.sum())
    items = items.filter(items["lines"] > 1)
    within = items.aggregate(agree=(items["pairs"] / (items["lines"] - 1)).sum(), lines=items["lines"].sum())
    agree, among = log.collect(within).row(0)
    if not among:
        return False
    values = cells.group_by("value").aggregate(lines=cells["lines"].sum())
    alike = (values["lines"] * (values["lines"] - 1)).sum()
    same, total = log.collect(values.aggregate(same=alike, lines=values["lines"].sum())).row(0)
    chance = same / (total * (total - 1))
    return bool(chance < 1 and agree / among - chance >= AGREEMENT * (1 - chance))


def _numbers(shop: Shop, log: EventLog) -> list[NDArray[np.float64]]:
    """Return the known values of each of the numbers of an event."""
    found = reading.read(placed(_DRAFT, replace(shop, texts=())), log, surveyed(log)[0]).numbers
    return [column[~np.isnan(column)].astype(np.float64) for column in found.T]


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return as many quantiles of every shop's numbers; none of no numbers."""
    return np.quantile(values, _GRID) if len(values) else values


def _commonest(shops: Sequence[Shop], logs: Sequence[EventLog], limit: int) -> tuple[str, ...]:
    """Return the words with the largest shares of lines, summed over shops."""
    shares: dict[str, list[float]] = defaultdict(list)
    for shop, log in zip(shops, logs, strict=True):
        if not shop.texts:
            continue
        for word, share in _shares(shop, log).iter_rows():
            shares[word].append(share)
    # an exact sum: the order of the shops is of no account
    return tuple(sorted(shares, key=lambda word: (-math.fsum(shares[word]), word))[:limit])


def _shares(shop: Shop, log: EventLog) -> pl.DataFrame:
    """Return ``word, share``: of the lines of a shop, those that have the word."""
    lines = attributes.described(log.items, surveyed(log)[0], shop.texts)
    texts = {name: str(number) for number, name in enumerate(shop.texts)}
    table = lines.select(*(lines[name].name(short) for name, short in texts.items()))
    counted = log.collect(table.group_by([*texts.values()]).aggregate(lines=table.count()))
    row = words(joined(counted, [*texts.values()])).join(counted["lines"].to_frame().with_row_index("row"), on="row")
    found = row.group_by("word").agg(pl.col("lines").sum())
    return found.filter(pl.col("lines") >= MIN_LINES).select("word", share=pl.col("lines") / counted["lines"].sum())
