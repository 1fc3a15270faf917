"""What was sold, to how many, and how often they came back: facts of a log that has purchases."""

from __future__ import annotations

from valuecast import columns as c
from valuecast.events.exact import exact
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.report.blocks import Fact
from valuecast.report.cells import show


def sales(log: EventLog) -> tuple[Fact, ...]:
    """Return facts about purchases and returns; none where the log has no purchase.

    Revenue is the sum of positive amounts of purchases, before returns; who bought on two days or more bought again.
    """
    events = log.events.filter(log.events[c.EVENT] == c.PURCHASE)
    paid = exact(events[c.AMOUNT])
    users = events.group_by(c.USER).aggregate(
        n=events.count(), days=events[c.TIME].date().nunique(), spent=paid.sum(where=events[c.AMOUNT] > 0)
    )
    found = log.collect(
        users.aggregate(
            buyers=users.count(),
            again=users.count(where=users["days"] > 1),
            purchases=users["n"].sum(),
            revenue=users["spent"].sum().cast("float64"),
        )
    ).row(0, named=True)
    if not found["buyers"]:
        return ()
    facts = [
        Fact(Text("Users who bought", "有购买的用户"), f"{found['buyers']:,}"),
        Fact(
            Text("Bought on two days or more", "购买不止一天的用户占比"),
            f"{found['again'] / found['buyers']:.1%}",
            Text("of those who bought", "占有购买的用户"),
        ),
        Fact(Text("Purchases", "购买次数"), f"{found['purchases']:,}", Text("lines of the log", "日志中的行数")),
    ]
    if found["revenue"]:
        facts.append(
            Fact(Text("Revenue", "销售额"), show(found["revenue"], "money"), Text("before returns", "未扣除退货"))
        )
    return (*facts, *_returns(log, found["revenue"]))


def _returns(log: EventLog, revenue: float | None) -> tuple[Fact, ...]:
    events = log.events.filter(log.events[c.EVENT] == c.RETURN)
    found = log.collect(events.aggregate(n=events.count(), paid=exact(events[c.AMOUNT]).sum().cast("float64"))).row(
        0, named=True
    )
    if not found["n"]:
        return ()
    share = abs(found["paid"] or 0.0) / revenue if revenue else 0.0
    return (
        Fact(
            Text("Returns", "退货"),
            f"{found['n']:,}",
            Text(f"{share:.1%} of revenue", f"占销售额 {share:.1%}") if share else None,
        ),
    )
