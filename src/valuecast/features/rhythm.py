"""Features of when and how often a user acts: recency, frequency, trend, gaps and habits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

from valuecast import columns as c
from valuecast.features.feature import (
    ACTIVITY,
    ALL,
    DAYPARTS,
    WEEKDAYS,
    Column,
    Window,
    event_measure,
    event_words,
    phrase,
    slug,
)
from valuecast.features.formula import column, days_since, ratio, spread, total, within
from valuecast.language import Text

if TYPE_CHECKING:
    from valuecast.features.catalogue import FeatureSet


class Counted(NamedTuple):
    """A sum that is a feature in every window; ``needs`` names what the log must carry (``FeatureSet.carries``)."""

    name: str
    unit: str
    words: Text
    needs: frozenset[str] = frozenset()


COUNTED: Final = (
    Counted("purchases", "orders", Text("Purchases", "购买次数"), frozenset({"purchase"})),
    Counted("purchase_days", "days", Text("Days with a purchase", "有购买的天数"), frozenset({"purchase"})),
    Counted(
        "purchase_items", "items", Text("Different items bought", "购买商品种数"), frozenset({"purchase", "items"})
    ),
    Counted("spend", "currency", Text("Spend", "消费金额"), frozenset({"spend"})),
    Counted("refunds", "currency", Text("Amount refunded", "退款金额"), frozenset({"refunds"})),
    Counted("activity_days", "days", Text("Active days", "活跃天数"), frozenset({"activity"})),
    Counted("activity_items", "items", Text("Different items", "涉及商品种数"), frozenset({"activity", "items"})),
    Counted("events", "events", Text("Events of any type", "所有事件数"), frozenset({"activity", "types"})),
)
_STREAM_WORDS: Final = {c.PURCHASE: Text("purchase", "购买"), ACTIVITY: Text("active", "活跃")}
_HABIT_WORDS: Final = {c.PURCHASE: Text("purchases", "购买"), ACTIVITY: Text("activity", "活动")}


def recency(spec: FeatureSet) -> Iterator[Column]:
    """How long ago, and since when. A first event is the first in the log: who came before it starts looks newer."""
    if "purchase" in spec.carries:
        yield _since("last_purchase_lines", "purchase", Text("the last purchase", "最近一次购买"))
        yield _since("first_purchase", "first_purchase", Text("the first purchase", "首次购买"))
        months = pl.max_horizontal(days_since("first_purchase"), pl.lit(1.0)) / 30
        rate = pl.when(pl.col("first_purchase").is_not_null()).then(total("purchase_days", ALL) / months)
        label = Text("Days with a purchase per 30 days since the first", "首次购买以来每30天的购买天数")
        yield column("purchase_rate", "days", label, "recency", rate)
    if "activity" in spec.carries:
        yield _since("last", "event", Text("the last event of any type", "最近一次事件"))
        yield _since("first", "first_event", Text("the first event of any type", "首次事件"))
        for i, event in enumerate(spec.events):
            if event != c.PURCHASE:
                words = phrase("the last event '{event}'", "最近一次“{event}”事件", event=event)
                yield _since(f"last_{event_measure(event, i)}", slug(event), words)


def frequency(spec: FeatureSet) -> Iterator[Column]:
    """How often and how much, in each window."""
    for i, event in enumerate(spec.events):
        unit = "lines" if event in (c.PURCHASE, c.RETURN) else "events"
        for window in spec.nested:
            label, value = within(event_words(event), window), total(event_measure(event, i), window)
            yield column(f"{slug(event)}_{unit}_{window.key}", unit, label, "frequency", value)
    for name, unit, words, needs in COUNTED:
        for window in spec.nested if needs <= spec.carries else ():
            yield column(f"{name}_{window.key}", unit, within(words, window), "frequency", total(name, window))


def trend(spec: FeatureSet) -> Iterator[Column]:
    """Whether the rate rises or falls: a window against the part of the next one that precedes it.

    The value is ``(a - b) / (a + b)`` for the rates per day ``a`` in the window and ``b`` before it.
    """
    followed = [counted for counted in COUNTED if counted.name in ("purchases", "spend", "events")]
    for name, _, words, needs in followed:
        for days, longer in pairwise(spec.windows) if needs <= spec.carries else ():
            inside = total(name, Window(days))
            before = (total(name, Window(longer)) - inside) / (longer - days)
            label = phrase(
                "{words}: change from the {before} days before to the last {days} days",
                "{words}变化：近{days}天对比此前{before}天",
                words=words,
                days=days,
                before=longer - days,
            )
            value = ratio(inside / days - before, inside / days + before)
            yield column(f"{name}_change_{days}d_{longer}d", "change", label, "trend", value)


def gaps(spec: FeatureSet) -> Iterator[Column]:
    """Days between active days, and where the current silence stands among them."""
    for stream in spec.streams:
        names = ("silence", "gaps", "gap_sum", "gap_square", "gap_max", "gap_last", "gap_recent", "shorter")
        silence, count, days, square, longest, last, recent, shorter = (pl.col(f"{stream}_{name}") for name in names)
        rows = (
            ("silence", "days", "Days since the last {words} day", "距最近{words}日的天数", silence),
            ("gap_mean", "days", "Mean gap between {words} days", "{words}日平均间隔", ratio(days, count)),
            ("gap_std", "days", "Spread of {words} day gaps", "{words}日间隔标准差", spread(count, days, square)),
            ("gap_max", "days", "Longest gap between {words} days", "{words}日最长间隔", longest),
            ("gap_last", "days", "Last gap between {words} days", "{words}日最近间隔", last),
            ("gap_recent", "days", "Mean of the last three {words} day gaps", "{words}日最近三次间隔均值", recent / 3),
            (
                "silence_rank",
                "share",
                "Share of gaps between {words} days shorter than the current silence",
                "短于当前沉默期的{words}日间隔占比",
                ratio(shorter, count),
            ),
            (
                "silence_ratio",
                "ratio",
                "Current silence over the mean gap between {words} days",
                "当前沉默期与{words}日平均间隔之比",
                ratio(silence * count, days),
            ),
        )
        for name, unit, en, zh, value in rows:
            label = phrase(en, zh, words=_STREAM_WORDS[stream])
            yield column(f"{stream}_{name}", unit, label, "gaps", value)


def habits(spec: FeatureSet) -> Iterator[Column]:
    """On which weekdays and at what time of day the moments of the main stream fall (UTC), over all history."""
    words, visits = _HABIT_WORDS[spec.streams[0]], total("visits", ALL)
    weekdays = [total(f"weekday_{i}", ALL) for i in range(len(WEEKDAYS))]
    parts = [("weekend", Text("at weekends", "周末"), weekdays[5] + weekdays[6])]
    parts += [(f"weekday_{i + 1}", phrase("on {day}", "{day}", day=day), weekdays[i]) for i, day in enumerate(WEEKDAYS)]
    if spec.clock:
        parts += [(f"daypart_{i + 1}", part, total(f"daypart_{i}", ALL)) for i, part in enumerate(DAYPARTS)]
    for name, when, value in parts:
        label = phrase("Share of {words} {when}", "{when}{words}占比", words=words, when=when)
        yield column(f"{name}_share", "share", label, "habits", ratio(value, visits))


def _since(moment: str, name: str, words: Text) -> Column:
    label = phrase("Days since {words}", "距{words}的天数", words=words)
    return column(f"days_since_{name}", "days", label, "recency", days_since(moment))
