"""The facts that carry an explanation: numbers of a user, and what they say in English and in Chinese."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl

from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.events.schema import Kind
from valuecast.features import compute as features
from valuecast.language import Text
from valuecast.models import drivers as d
from valuecast.models.drivers import DRIVERS

Known = Mapping[str, Any]
"""One row of ``facts``."""
_WANTED: Final = (
    "days_since_purchase",
    "days_since_event",
    "days_since_first_purchase",
    "days_since_first_event",
    "purchase_gap_mean",
    "purchase_gap_max",
    "activity_gap_mean",
    "purchases_all",
    "purchases_90d",
    "purchases_180d",
    "events_all",
    "spend_all",
    "purchase_value_all",
    "refunds_all",
    "purchase_items_all",
    "weekend_share",
)
_USERS: Final = "users."
_NAMED: Final = 4
_WEEKS_FROM: Final = 28
_MONTHS_FROM: Final = 150


def facts(material: pl.DataFrame, log: EventLog, at: datetime) -> pl.DataFrame:
    """Return ``user, at`` of a material and the numbers that are told, those that the log knows; null where unknown.

    Beside them ``profile`` and ``fields``, the names of what the shop itself knows of users and events.

    Features that the predictor reads are taken as they are; a predictor without features has them made from the log.
    """
    found = {name.rpartition("/")[2]: name for name in material.columns}
    if not {"days_since_purchase", "days_since_event"} & found.keys():
        known = log.before(at)
        material = features.compute(features.learn(known), known, material.select(c.KEY))
        found = {name: name for name in material.columns}
    numbers = {name: pl.col(found[name]) for name in _WANTED if name in found}
    names = [name.removeprefix(_USERS) for name in log.schema if name.startswith(_USERS)]
    fields = [name for name, kind in log.fields.items() if kind == Kind.NUMBER]
    return material.select(*c.KEY, **numbers, profile=pl.lit(_list(names)), fields=pl.lit(_list(fields)))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + ("…" if len(names) > _NAMED else "")


def told(code: str, known: Known, at: datetime) -> Text:
    """Say what a driver is about for one user, in a few words."""
    said = _TOLD[code](known, at) if code in _TOLD else None
    return said or DRIVERS[code].what


def span(days: float) -> Text:
    """Write a number of days as a person would: in weeks or months where they are many."""
    if days >= _MONTHS_FROM:
        return _plural(round(days / 30.44), "month", "个月")
    if days >= _WEEKS_FROM:
        return _plural(round(days / 7), "week", "周")
    return _plural(round(days), "day", "天")


def _plural(count: int, en: str, zh: str) -> Text:
    return Text(f"{count} {en}{'' if count == 1 else 's'}", f"{count}{zh}")


def _silence(known: Known, at: datetime) -> Text | None:
    days, gap = known.get("days_since_purchase"), known.get("purchase_gap_mean")
    if days is None:
        seen = known.get("days_since_event")
        if seen is None:
            return None
        return Text(f"no purchase yet, last seen {span(seen).en} ago", f"尚未购买，最近一次出现在{span(seen).zh}前")
    if round(days) < 1:
        return Text("bought within the last day", "最近一天内有购买")
    silent = Text(f"{span(days).en} without a purchase", f"已有{span(days).zh}未购买")
    if gap is None:
        return Text(f"{silent.en} since the only one", f"仅购买过一次，{silent.zh}")
    return Text(
        f"{silent.en}; before, one about every {span(gap).en}", f"{silent.zh}，此前平均约{span(gap).zh}购买一次"
    )


def _frequency(known: Known, at: datetime) -> Text | None:
    bought, since = known.get("purchases_all"), known.get("days_since_first_purchase")
    if bought is None or not bought:
        seen = known.get("events_all")
        return (
            None
            if seen is None
            else Text(f"no purchase, {seen:,.0f} other events", f"尚未购买，共{seen:,.0f}次其他行为")
        )
    count = _plural(round(bought), "purchase", "次购买")
    if since is None:
        return count
    return Text(f"{count.en} in {span(since).en}", f"{span(since).zh}内{count.zh}")


def _trend(known: Known, at: datetime) -> Text | None:
    late, both = known.get("purchases_90d"), known.get("purchases_180d")
    if late is None or both is None:
        return None
    return Text(
        f"{_plural(round(late), 'purchase', '').en} in the last 90 days, {both - late:.0f} in the 90 before",
        f"近90天购买{late:.0f}次，再往前90天{both - late:.0f}次",
    )


def _rhythm(known: Known, at: datetime) -> Text | None:
    mean, longest = known.get("purchase_gap_mean"), known.get("purchase_gap_max")
    if mean is None or longest is None:
        bought = known.get("purchases_all")
        return Text("too few purchases for a rhythm", "购买次数太少，尚无节奏可言") if bought is not None else None
    return Text(
        f"a purchase about every {span(mean).en}, the longest gap {span(longest).en}",
        f"平均约{span(mean).zh}购买一次，最长间隔{span(longest).zh}",
    )


def _money(known: Known, at: datetime) -> Text | None:
    spent, each = known.get("spend_all"), known.get("purchase_value_all")
    if spent is None:
        return None
    if each is None:
        return Text(f"{spent:,.0f} spent so far", f"累计消费{spent:,.0f}")
    return Text(f"{spent:,.0f} spent so far, {each:,.0f} a purchase", f"累计消费{spent:,.0f}，每次约{each:,.0f}")


def _returns(known: Known, at: datetime) -> Text | None:
    refunded = known.get("refunds_all")
    if refunded is None:
        return None
    return (
        Text(f"refunds of {refunded:,.0f}", f"退款{refunded:,.0f}")
        if refunded
        else Text("nothing returned", "没有退货")
    )


def _range(known: Known, at: datetime) -> Text | None:
    items = known.get("purchase_items_all")
    if items is None:
        return None
    return Text(f"{items:,.0f} different item{'' if round(items) == 1 else 's'} bought", f"购买过{items:,.0f}种商品")


def _tenure(known: Known, at: datetime) -> Text | None:
    since = known.get("days_since_first_purchase", known.get("days_since_first_event"))
    return None if since is None else Text(f"a customer for {span(since).en}", f"成为客户已{span(since).zh}")


def _habits(known: Known, at: datetime) -> Text | None:
    share = known.get("weekend_share")
    return None if share is None else Text(f"{share:.0%} of purchases at weekends", f"{share:.0%}的购买在周末")


def _profile(known: Known, at: datetime) -> Text | None:
    names = known.get("profile")
    return Text(f"what the shop knows of the user: {names}", f"店铺登记的用户属性：{names}") if names else None


def _fields(known: Known, at: datetime) -> Text | None:
    names = known.get("fields")
    return Text(f"the shop's own numbers: {names}", f"店铺自有字段：{names}") if names else None


def _season(known: Known, at: datetime) -> Text | None:
    return Text(f"the time of the year, {at:%B}", f"一年中的时间：{at.month}月")


_TOLD: Final[Mapping[str, Callable[[Known, datetime], Text | None]]] = {
    d.SILENCE: _silence,
    d.FREQUENCY: _frequency,
    d.TREND: _trend,
    d.RHYTHM: _rhythm,
    d.MONEY: _money,
    d.RETURNS: _returns,
    d.RANGE: _range,
    d.TENURE: _tenure,
    d.HABITS: _habits,
    d.PROFILE: _profile,
    d.FIELDS: _fields,
    d.SEASON: _season,
}
