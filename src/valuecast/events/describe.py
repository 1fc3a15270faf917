"""What a log holds, in numbers that show whether it was read as it was meant."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.events.log import EventLog, SideTable
from valuecast.events.protection.privacy import PSEUDONYM
from valuecast.events.sales import sales
from valuecast.events.schema import Kind
from valuecast.language import Text
from valuecast.report.blocks import Column, Fact, Notice, Report, Section, Table

_QUANTILES: Final = (0.5, 0.9, 0.99)
_TOP: Final = 3
END_NOT_STATED: Final = Notice(
    Text(
        "Nobody stated until when the log is known, so it ends just after its last event: quiet days at the end are "
        "not counted. Ingest with --until, or [span] until in the mapping.",
        "日志的已知终点未声明，取最后一个事件之后：末尾没有事件的日子不计入。"
        "摄取时请用 --until，或在映射文件中写 [span] until。",
    )
)


_EVENTS: Final = (
    Column(c.EVENT, Text("Event type", "事件类型")),
    Column("events", Text("Events", "事件数"), "integer"),
    Column("users", Text("Users", "用户数"), "integer"),
    Column(c.AMOUNT, Text("Amount", "金额"), "money"),
    Column("mean_amount", Text("Mean amount", "平均金额"), "money"),
    Column("first", Text("First", "最早")),
    Column("last", Text("Last", "最晚")),
)
_TYPES: Final = {
    Kind.STRING.value: Text("text", "文本"),
    Kind.NUMBER.value: Text("number", "数值"),
    Kind.BOOLEAN.value: Text("yes or no", "是/否"),
}
_FIELDS: Final = (
    Column("field", Text("Field", "字段")),
    Column("type", Text("Type", "类型"), words=_TYPES),
    Column("missing", Text("Missing", "缺失"), "percent"),
    Column("distinct", Text("Distinct", "不同取值"), "integer"),
    Column("values", Text("Values", "取值")),
)


def describe(log: EventLog) -> Report:
    """Describe a log, cut or whole.

    Returns:
        Facts, and a section with a table of event types and, where the log has fields or attributes, one of these.
        The frames of the tables: one row per event type (``event, events, users, amount, mean_amount, first, last``),
        and one per field (``field, type, missing``, a share, ``distinct, values``: the most frequent values with
        their shares, or the least, median and largest of a number).
    """
    tables = [event_types(log)]
    fields = _fields(log)
    if len(fields):
        caption = Text(
            "The most frequent values; for numbers least … median … largest.",
            "最常见的取值；数值为最小 … 中位数 … 最大。",
        )
        tables.append(Table(fields, _FIELDS, Text("Fields and attributes", "字段与属性"), caption=caption))
    return Report(
        title=Text(f"Log: {log.origin}", f"日志：{log.origin}"),
        subtitle=log.about,
        facts=tuple(_facts(log)),
        notices=() if log.span.stated else (END_NOT_STATED,),
        sections=(Section(Text("What it holds", "内容"), tuple(tables)),),
    )


def event_types(log: EventLog) -> Table:
    """Count the events of a log by type."""
    events = log.events
    found = log.collect(
        events.group_by(c.EVENT)
        .aggregate(
            events=events.count(),
            users=events[c.USER].nunique(),
            amount=events[c.AMOUNT].sum(),
            mean_amount=events[c.AMOUNT].mean(),
            first=events[c.TIME].min(),
            last=events[c.TIME].max(),
        )
        .order_by(ibis.desc("events"), c.EVENT)
    )
    caption = Text("First and last are in UTC.", "时间均为 UTC。")
    return Table(found, _EVENTS, Text("Event types", "事件类型"), caption=caption)


def _fields(log: EventLog) -> pl.DataFrame:
    found = [_field(log, log.events, name, kind, shown=name) for name, kind in log.fields.items()]
    for side, table in (("items", log.items), ("users", log.users)):
        if table is not None:
            found += [
                _field(log, table.table, name, kind, shown=f"{side}.{name}") for name, kind in table.attributes.items()
            ]
    schema = {"field": pl.String, "type": pl.String, "missing": pl.Float64, "distinct": pl.Int64, "values": pl.String}
    return pl.DataFrame(found, schema=schema, orient="row")


def _facts(log: EventLog) -> list[Fact]:
    events = log.events
    filled = {name: events[name].notnull().mean() for name in (c.ITEM, c.AMOUNT, c.ORDER)}
    total = log.collect(
        events.aggregate(
            events=events.count(),
            users=events[c.USER].nunique(),
            items=events[c.ITEM].nunique(),
            orders=events[c.ORDER].nunique(),
            **{f"with_{name}": share for name, share in filled.items()},
        )
    ).row(0, named=True)
    facts = [
        Fact(Text("Events", "事件数"), f"{total['events']:,}"),
        Fact(Text("Users", "用户数"), f"{total['users']:,}"),
        Fact(Text("Items", "商品数"), f"{total['items']:,}"),
        Fact(Text("Orders", "订单数"), f"{total['orders']:,}"),
        Fact(Text("Known from", "已知起点"), moments.text(log.span.start)),
        Fact(Text("Known until", "已知终点"), moments.text(log.span.until)),
        Fact(Text("Days", "天数"), f"{log.span.days:,.1f}"),
        *_gaps(log),
        *_per_user(log),
        *sales(log),
        *_treated(log),
    ]
    names = {c.ITEM: ("an item", "商品"), c.AMOUNT: ("an amount", "金额"), c.ORDER: ("an order", "订单")}
    for name, (en, zh) in names.items():
        facts.append(Fact(Text(f"Events with {en}", f"有{zh}的事件占比"), f"{total[f'with_{name}'] or 0:.1%}"))
    for text, side in (
        (Text("Users with attributes", "有属性的用户占比"), log.users),
        (Text("Items with attributes", "有属性的商品占比"), log.items),
    ):
        if side is not None:
            facts.append(Fact(text, f"{_covered(log, side):.1%}"))
    return facts


def _treated(log: EventLog) -> list[Fact]:
    """What was replaced at ingest, so that nobody looks for a customer's own id."""
    pseudonyms = [name for name, how in log.treatments.items() if how == PSEUDONYM]
    masks = [name for name in log.treatments if name not in pseudonyms]
    facts = []
    if pseudonyms:
        note = Text("`valuecast pseudonyms` finds the shop's own ids.", "可用 `valuecast pseudonyms` 对应回原编号。")
        facts.append(Fact(Text("Pseudonyms", "假名"), ", ".join(pseudonyms), note))
    if masks:
        note = Text("Only their first characters are kept.", "只保留开头几个字符。")
        facts.append(Fact(Text("Masked", "已脱敏"), ", ".join(masks), note))
    return facts


def _gaps(log: EventLog) -> list[Fact]:
    """Days of the span without any event, and the longest run of them: an export with a hole shows here."""
    seen = set(log.collect(log.events.select(day=log.events[c.TIME].date()).distinct())["day"].to_list())
    first, last = log.span.start.date(), (log.span.until - timedelta(microseconds=1)).date()
    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    empty = [day for day in days if day not in seen]
    facts = [Fact(Text("Days without any event", "没有任何事件的天数"), f"{len(empty):,} / {len(days):,}")]
    start, length = _longest_run(empty)
    if start is not None and length > 1:
        end = start + timedelta(days=length - 1)
        facts.append(Fact(Text("Longest gap", "最长空档"), f"{start} – {end} ({length:,})"))
    return facts


def _longest_run(days: list[date]) -> tuple[date | None, int]:
    best: tuple[date | None, int] = (None, 0)
    start, length = None, 0
    for at, day in enumerate(days):
        follows = at > 0 and day - days[at - 1] == timedelta(days=1)
        start, length = (start, length + 1) if follows else (day, 1)
        if length > best[1]:
            best = (start, length)
    return best


def _per_user(log: EventLog) -> list[Fact]:
    counts = log.events.group_by(c.USER).aggregate(n=log.events.count())
    found = log.collect(
        counts.aggregate(
            **{f"q{share}": counts["n"].quantile(share) for share in _QUANTILES},
            mean=counts["n"].mean(),
            most=counts["n"].max(),
        )
    ).row(0, named=True)
    if found["most"] is None:
        return []
    quantiles = ", ".join(f"{share:.0%}: {found[f'q{share}']:,.0f}" for share in _QUANTILES)
    return [
        Fact(Text("Events per user, mean", "每用户事件数，均值"), f"{found['mean']:,.1f}"),
        Fact(Text("Events per user, quantiles", "每用户事件数，分位数"), f"{quantiles}, max: {found['most']:,}"),
    ]


def _covered(log: EventLog, side: SideTable) -> float:
    keys = log.events.select(side.key).filter(lambda table: table[side.key].notnull()).distinct()
    known = side.table.select(side.key).distinct()
    found = log.collect(keys.aggregate(every=keys.count())).item()
    met = log.collect(keys.semi_join(known, side.key).count().as_table()).item()
    return float(met) / found if found else 0.0


def _field(log: EventLog, table: ir.Table, name: str, kind: Kind, *, shown: str) -> tuple[Any, ...]:
    column = table[name]
    rows, missing, distinct = log.collect(
        table.aggregate(n=table.count(), missing=column.isnull().sum(), distinct=column.nunique())
    ).row(0)
    share = (missing or 0) / rows if rows else 0.0
    return shown, kind.value, share, distinct, _values(log, table, name, kind) if distinct else ""


def _values(log: EventLog, table: ir.Table, name: str, kind: Kind) -> str:
    given = table.filter(table[name].notnull())
    column = given[name]
    if kind is Kind.NUMBER:
        least, median, most = log.collect(given.aggregate(a=column.min(), b=column.quantile(0.5), c=column.max())).row(
            0
        )
        return f"{least:g} … {median:g} … {most:g}"
    counts = given.group_by(name).aggregate(n=given.count())
    shares = counts.mutate(share=counts["n"] / counts["n"].sum())
    top = log.collect(shares.order_by(ibis.desc("n"), name).limit(_TOP))
    return ", ".join(f"{row[name]} ({row['share']:.1%})" for row in top.iter_rows(named=True))
