"""Features of how much and of what: price level, returns, baskets, categories and the shop's numeric fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

from valuecast.features.feature import ALL, Column, phrase, slug
from valuecast.features.formula import (
    column,
    longest_and_all,
    ratio,
    short_and_all,
    short_longest_and_all,
    spread,
    total,
    within,
)
from valuecast.language import Text

if TYPE_CHECKING:
    from valuecast.features.catalogue import FeatureSet


class Ratio(NamedTuple):
    """Two sums of the same window, one over the other."""

    name: str
    unit: str
    group: str
    words: Text
    part: str
    whole: str
    needs: frozenset[str]


RATIOS: Final = (
    Ratio(
        "lines_per_purchase",
        "ratio",
        "price",
        Text("Lines per purchase", "单次购买平均行数"),
        "purchase_lines",
        "purchases",
        frozenset({"purchase"}),
    ),
    Ratio(
        "purchase_value",
        "currency",
        "price",
        Text("Mean value of a purchase", "单次购买平均金额"),
        "spend",
        "purchases",
        frozenset({"spend"}),
    ),
    Ratio(
        "line_value",
        "currency",
        "price",
        Text("Mean amount of a line", "每行平均金额"),
        "spend",
        "spend_lines",
        frozenset({"spend"}),
    ),
    Ratio(
        "return_ratio",
        "ratio",
        "returns",
        Text("Lines returned per line bought", "退货与购买行数之比"),
        "return_lines",
        "purchase_lines",
        frozenset({"purchase", "return"}),
    ),
    Ratio(
        "refund_ratio",
        "ratio",
        "returns",
        Text("Amount refunded per amount spent", "退款与消费金额之比"),
        "refunds",
        "spend",
        frozenset({"spend", "refunds"}),
    ),
)


def ratios(spec: FeatureSet) -> Iterator[Column]:
    """Price level and returns in three windows."""
    for name, unit, group, words, part, whole, needs in RATIOS:
        for window in short_longest_and_all(spec) if needs <= spec.carries else ():
            value = ratio(total(part, window), total(whole, window))
            yield column(f"{name}_{window.key}", unit, within(words, window), group, value)


def baskets(spec: FeatureSet) -> Iterator[Column]:
    """What is spent at one moment: the largest amount and the spread."""
    if not spec.spend:
        return
    largest, smallest = pl.col("basket_max"), pl.col("basket_min")
    count, spent, square = (total(name, ALL) for name in ("baskets", "spend", "basket_square"))
    # Where every basket is worth the same, rounding must not make a spread out of nothing.
    deviation = pl.when((smallest == largest) & (count >= 2)).then(0.0).otherwise(spread(count, spent, square))
    yield column("basket_max", "currency", Text("Most spent at one moment", "单次最高消费金额"), "price", largest)
    label = Text("Spread of the amounts spent at one moment", "单次消费金额标准差")
    yield column("basket_std", "currency", label, "price", deviation)


def categories(spec: FeatureSet) -> Iterator[Column]:
    """Shares of the commonest values of each field: of spend, or of events where nothing is spent."""
    whole, words = ("spend", Text("spend", "消费金额")) if spec.spend else ("events", Text("events", "事件"))
    for i, vocabulary in enumerate(spec.categories):
        field = vocabulary.column.removeprefix("items.")
        for j, value in enumerate(vocabulary.values):
            share = phrase(
                "Share of {words} with {field} = {value}",
                "{words}中 {field} = {value} 的占比",
                words=words,
                field=field,
                value=value or "''",
            )
            for window in longest_and_all(spec):
                name = f"share_{slug(field)}_{slug(value)}_{window.key}"
                quotient = ratio(total(f"category_{i}_{j}", window), total(whole, window))
                yield column(name, "share", within(share, window), "categories", quotient)


def numbers(spec: FeatureSet) -> Iterator[Column]:
    """Mean, sum and use of the shop's numeric fields. A discount is one of them; none is guessed from its name."""
    for i, name in enumerate(spec.numbers):
        for window in short_and_all(spec):
            added, known, used = (total(f"{sums}_{i}", window) for sums in ("number", "number_known", "number_used"))
            rows = (
                ("mean", "value", "Mean of '{name}'", "“{name}”均值", ratio(added, known)),
                ("sum", "value", "Sum of '{name}'", "“{name}”合计", added),
                ("used", "share", "Share of '{name}' other than 0", "“{name}”非零占比", ratio(used, known)),
            )
            for kind, unit, en, zh, value in rows:
                label = within(phrase(en, zh, name=name), window)
                yield column(f"{slug(name)}_{kind}_{window.key}", unit, label, "fields", value)
