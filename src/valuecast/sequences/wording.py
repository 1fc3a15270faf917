"""The sentences of the text view of a log, in English and in Chinese. Templates are filled column by column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.language import Language, Text
from valuecast.sequences.numerals import gaps, numbers, sizes
from valuecast.sequences.titles import shortened
from valuecast.sequences.words import cleaned

KIND_WORDS: Final = 4
"""No more words of a type of event."""
KINDS: Final = {
    c.PURCHASE: (Text("purchase", "购买"), "purchases"),
    c.RETURN: (Text("return", "退货"), "returns"),
    "view": (Text("view", "浏览"), "views"),
    "cart": (Text("cart", "加购"), "carts"),
    "search": (Text("search", "搜索"), "searches"),
    "review": (Text("review", "评价"), "reviews"),
    "exposure": (Text("exposure", "曝光"), "exposures"),
}
"""Types of event by their canonical names, and their English plurals; any other is called what it is."""
MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def kinds(types: pl.Series, language: Language) -> pl.Series:
    """Return what types of event are called."""
    short = shortened(cleaned(types.str.replace_all("_", " ")), KIND_WORDS).fill_null(
        Text("event", "行为").to(language)
    )
    named = types.replace_strict({name: text.to(language) for name, (text, _) in KINDS.items()}, default=short)
    return named.cast(pl.String)


def counted(table: pl.DataFrame, language: Language) -> pl.Series:
    """Write how many events there are of a type.

    Args:
        table: ``type, kind, count``: the type, what it is called, and the size of their number.
        language: to write in.
    """
    count = numbers(table["count"].to_numpy(), language)
    if language == "zh":
        return count + "次" + table["kind"]
    plurals = {name: plural for name, (_, plural) in KINDS.items()}
    several = pl.coalesce(pl.col("type").replace_strict(plurals, default=None, return_dtype=pl.String), "kind")
    return count + " " + table.select(pl.when(count == "1").then("kind").otherwise(several)).to_series()


def heads(table: pl.DataFrame, language: Language) -> pl.Series:
    """Write what is known of a user at a moment, whatever the events that are told.

    Args:
        table: ``month`` of the moment (1 to 12); the sizes of the spans since the first event (``tenure``), the last
            one (``idle``) and the last purchase (``bought``); the size of what was spent (``spent``); ``counts``, how
            many events there are of each type. All but the month are null where there are none.
        language: to write in.
    """
    month = Text("{month}", "{month}月").to(language)
    months = {i + 1: Text(name, str(i + 1)).to(language) for i, name in enumerate(MONTHS)}
    comma, stop = _comma(language), Text(".", "。").to(language)
    before, after = month.split("{month}")
    told = {name: _filled(table[name], gaps, language) for name in ("tenure", "idle", "bought")}
    written = table.select("idle", month=pl.col("month").replace_strict(months, return_dtype=pl.String))
    written = written.with_columns(
        counts=table["counts"],
        spent=_filled(table["spent"], numbers, language),
        same=table["idle"] == table["bought"],
        **told,
    )
    known, spent, last, bought = (
        text.to(language).split("{}")
        for text in (
            Text("known for {}", "来店{}"),
            Text("spent {}", "共消费{}"),
            Text("last event {} ago", "最近一次行为在{}前"),
            Text("last purchase {} ago", "最近一次购买在{}前"),
        )
    )

    def around(words: list[str], name: str) -> pl.Expr:
        return pl.lit(words[0]) + pl.col(name) + pl.lit(words[1])

    last_event = pl.when(pl.col("same").fill_null(value=False)).then(None).otherwise(around(last, "idle"))
    parts = [around([before, after], "month"), around(known, "tenure"), pl.col("counts"), around(spent, "spent")]
    parts += [last_event, around(bought, "bought")]
    parts += [pl.when(pl.col("tenure").is_null()).then(pl.lit(Text("nothing yet", "尚无记录").to(language)))]
    return written.select(pl.concat_str(parts, separator=comma, ignore_nulls=True) + stop).to_series()


def events(table: pl.DataFrame, language: Language) -> pl.Series:
    """Write events.

    Args:
        table: ``newest`` (whether no later one is known); the size of the ``gap`` to what comes after it; ``kind``
            (what its type is called, null where that need not be said); the sizes of the number of ``lines`` and of
            the ``amount`` (null: not known); ``about`` and ``said``, what is said of the event and of its items, or
            null.
        language: to write in.
    """
    comma, stop, colon = _comma(language), Text(".", "。").to(language), Text(": ", "：").to(language)
    written = table.select(
        "newest",
        "kind",
        "about",
        "said",
        at_once=pl.col("gap") == 0,
        several=pl.col("lines") != sizes(np.ones(1))[0],
        gap=gaps(table["gap"].to_numpy(), language),
        lines=numbers(table["lines"].to_numpy(), language),
        amount=_filled(table["amount"], numbers, language),
    )
    gap, newest, at_once, kind = (pl.col(name) for name in ("gap", "newest", "at_once", "kind"))
    items = pl.col("lines") + Text(" items", "项").to(language)
    if language == "zh":
        moment, together = pl.when(newest).then(gap + "前").otherwise("再早" + gap), kind + items
    else:
        moment, together = (
            gap + pl.when(newest).then(pl.lit(" ago")).otherwise(pl.lit(" earlier")),
            kind + " of " + items,
        )
    instant = pl.when(newest).then(pl.lit(Text("just now", "刚刚").to(language)))
    moment = pl.when(at_once).then(instant.otherwise(pl.lit(Text("same time", "同时").to(language)))).otherwise(moment)
    what = pl.when("several").then(pl.coalesce(together, items)).otherwise(kind)
    text = pl.concat_str([moment, what, "amount", "about"], separator=comma, ignore_nulls=True)
    return written.select(pl.concat_str([text, colon + pl.col("said")], ignore_nulls=True) + stop).to_series()


def _comma(language: Language) -> str:
    return Text(", ", "，").to(language)


def _filled(
    size: pl.Series, write: Callable[[NDArray[np.int64], Language], pl.Series], language: Language
) -> pl.Series:
    """Write sizes where they are known; null elsewhere."""
    written = write(size.fill_null(0).to_numpy(), language)
    return pl.select(pl.when(size.is_not_null()).then(written)).to_series()
