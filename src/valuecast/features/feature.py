"""What a feature is called, in which unit it is, and the words that labels are composed of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from valuecast import columns as c
from valuecast.language import Text

ACTIVITY: Final = "activity"

UNITS: Final[dict[str, Text]] = {
    "orders": Text("orders", "次"),
    "lines": Text("lines", "行"),
    "items": Text("items", "件"),
    "events": Text("events", "次"),
    "days": Text("days", "天"),
    "currency": Text("in the log's currency", "货币金额"),
    "share": Text("share, 0 to 1", "占比（0 到 1）"),
    "ratio": Text("ratio", "比值"),
    "change": Text("-1 (all before) to 1 (all recent)", "-1（全在此前）到 1（全在近期）"),
    "cycle": Text("-1 to 1, once round a year", "-1 到 1，一年一周期"),
    "value": Text("in the field's own unit", "字段自身单位"),
    "code": Text("code of a category", "类别编码"),
}
"""Every unit a feature can have, in words."""

EVENT_WORDS: Final[dict[str, Text]] = {
    c.PURCHASE: Text("Lines bought", "购买明细行数"),
    c.RETURN: Text("Lines returned", "退货明细行数"),
    "view": Text("Views", "浏览次数"),
    "cart": Text("Additions to the cart", "加购次数"),
    "review": Text("Reviews", "评价次数"),
    "search": Text("Searches", "搜索次数"),
    "exposure": Text("Exposures to a campaign", "营销触达次数"),
}
WEEKDAYS: Final = tuple(
    Text(en, zh)
    for en, zh in zip(
        ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays"),
        ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
        strict=True,
    )
)
DAYPARTS: Final = tuple(
    Text(f"between {start:02}:00 and {start + 6:02}:00 UTC", f"UTC {start}至{start + 6}点") for start in (0, 6, 12, 18)
)


@dataclass(frozen=True)
class Feature:
    """One column of the feature table.

    Attributes:
        name: its column; letters, digits and underscores only.
        unit: a key of ``UNITS``.
        label: what a person reads.
        group: the family it belongs to, for tables of importance.
    """

    name: str
    unit: str
    label: Text
    group: str


@dataclass(frozen=True)
class Column:
    """A feature and how it follows from the measured quantities (see ``valuecast.features.measures``)."""

    feature: Feature
    value: pl.Expr


@dataclass(frozen=True)
class Window:
    """The last ``days`` days before ``at``; all history where ``days`` is None.

    A window longer than the history known before ``at`` holds that shorter history.
    """

    days: int | None

    @property
    def key(self) -> str:
        """Ending of the names of columns."""
        return "all" if self.days is None else f"{self.days}d"

    @property
    def text(self) -> Text:
        """How a label says it."""
        if self.days is None:
            return Text("so far", "历史")
        return Text(f"in the last {self.days} days", f"近{self.days}天")


ALL: Final = Window(None)


def windows(days: Iterable[int]) -> tuple[Window, ...]:
    """Return nested windows, the shortest first and all history last."""
    return (*(Window(length) for length in days), ALL)


def phrase(en: str, zh: str, **parts: Text | str | int) -> Text:
    """Fill ``parts`` into both sentences, each in its own language."""
    return Text(
        en.format(**{name: part.en if isinstance(part, Text) else part for name, part in parts.items()}),
        zh.format(**{name: part.zh if isinstance(part, Text) else part for name, part in parts.items()}),
    )


def event_words(event: str) -> Text:
    """Return what events of one type are called."""
    return EVENT_WORDS.get(event, Text(f"Events of type '{event}'", f"“{event}”事件次数"))


def event_measure(event: str, index: int) -> str:
    """Return the name of the sum that counts the events of one type, the ``index``-th of a feature set.

    A name cannot be made of the type itself: names of columns ignore case, types of event do not.
    """
    return f"{event}_lines" if event in (c.PURCHASE, c.RETURN) else f"event_{index}"


def slug(text: str) -> str:
    """Return ``text`` as part of a name: its letters and digits, in any script, joined by underscores."""
    return re.sub(r"\W+", "_", text).strip("_") or "blank"


def distinctly(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Number the names that meet, case aside: two values of a field may differ only in punctuation."""
    seen: set[str] = set()
    renamed = []
    for column in columns:
        name, count = column.feature.name, 1
        while name.casefold() in seen:
            count += 1
            name = f"{column.feature.name}_{count}"
        seen.add(name.casefold())
        renamed.append(replace(column, feature=replace(column.feature, name=name)))
    return tuple(renamed)
