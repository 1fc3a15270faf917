"""The horizon against the rhythm of the shop: a churn horizon shorter than the usual gap calls customers lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import ibis
import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation.readiness.finding import Finding, Remark
from valuecast.evaluation.readiness.inquiry import Inquiry
from valuecast.language import Text
from valuecast.report.blocks import Column, Table
from valuecast.tasks.resolve import Resolver

TITLE: Final = Text("Horizon against the rhythm of the shop", "预测窗口与购买节奏")
ENOUGH: Final = 0.8
"""A horizon that holds the usual gap of this share of users."""
LEAST: Final = 30
"""With fewer users who came back, a rhythm is hearsay."""

FEWER: Final = ("=", "<", "<=")
_UNKNOWN: Final = Text(
    "Only {users} users did twice what the task counts: their rhythm is not known.",
    "只有 {users} 位用户重复发生过任务所计的行为，节奏无从得知。",
)
_HELD: Final = Text(
    "The usual gap is {half:,.0f} days for half of the users, and {most:,.0f} days or less for 80%; the horizon is "
    "{horizon} days.",
    "用户通常的间隔：半数不超过 {half:,.0f} 天，80% 不超过 {most:,.0f} 天；预测窗口为 {horizon} 天。",
)
_TOO_SHORT: Final = Text(
    "The horizon of {horizon} days is shorter than the usual gap of half of the users ({half:,.0f} days): customers "
    "who buy as always are called lost. {most:,.0f} days hold the gap of 80%.",
    "{horizon} 天的预测窗口短于半数用户的通常间隔（{half:,.0f} 天）：照常购买的顾客会被判为流失。"
    "要覆盖 80% 用户的间隔，需要 {most:,.0f} 天。",
)
_CAME_BACK: Final = Text(
    "Of those whom the first cutoff, {at}, calls lost, {share:.0%} came back later in the log.",
    "在首个时点 {at} 判为流失的用户中，{share:.0%} 后来又回来了。",
)


def rhythm(inquiry: Inquiry) -> Finding:
    """Measure each user's usual gap: the median of days between days on which something counted happened."""
    gaps = usual_gaps(inquiry)
    days = min(inquiry.task.question.days)
    if len(gaps) < LEAST:
        return Finding("rhythm", TITLE, (Remark("ok", _UNKNOWN.format(users=len(gaps))),))
    half, most = (float(gaps.quantile(share, "linear") or 0.0) for share in (0.5, ENOUGH))
    values = {"half": half, "most": most, "horizon": days}
    lost = counts_silence(inquiry)
    remarks = [
        Remark("weak", _TOO_SHORT.format(**values)) if lost and days < half else Remark("ok", _HELD.format(**values))
    ]
    if lost and (share := _came_back(inquiry)) is not None:
        first = moments.text(inquiry.labelled[c.AT][0])
        remarks.append(Remark("ok", _CAME_BACK.format(at=first, share=share)))
    return Finding("rhythm", TITLE, tuple(remarks), (_table(gaps),))


def counts_silence(inquiry: Inquiry) -> bool:
    """Whether the task holds where little happens, as churn does."""
    comparison = inquiry.task.question.comparison
    return comparison is not None and comparison.sign in FEWER


def usual_gaps(inquiry: Inquiry) -> pl.Series:
    """Return the usual gap in days of each user who did at least twice what the task counts."""
    events = _counted(inquiry)
    days = events.select(c.USER, day=events[c.TIME].date()).distinct()
    earlier = days["day"].lag().over(ibis.window(group_by=c.USER, order_by="day"))
    gaps = days.mutate(gap=days["day"].delta(earlier, unit="day")).filter(lambda table: table["gap"].notnull())
    usual = gaps.group_by(c.USER).aggregate(gap=gaps["gap"].median().cast("float64"))
    return inquiry.log.collect(usual)["gap"].sort()


def _came_back(inquiry: Inquiry) -> float | None:
    """The share of those called lost at the first cutoff who did it again later; None where the log ends too soon."""
    first = inquiry.labelled[c.AT][0]
    target, days = next(iter(inquiry.task.targets.items()))
    lost = inquiry.labelled.filter(pl.col(c.AT) == first, pl.col(target) == 1)[c.USER]
    end = first + timedelta(days=days)
    if lost.is_empty() or inquiry.log.span.until - end < end - first:  # hardly any time to come back in
        return None
    events = _counted(inquiry)
    later = events.filter(events[c.TIME] >= ibis.literal(end))
    found = inquiry.log.collect(later.select(c.USER).distinct())[c.USER]
    return len(lost.filter(lost.is_in(found.implode()))) / len(lost)


def _counted(inquiry: Inquiry) -> ir.Table:
    return Resolver(inquiry.log, inquiry.task.name).events(inquiry.task.question.aggregate)


def _table(gaps: pl.Series) -> Table:
    shares = (0.25, 0.5, 0.8, 0.9)
    frame = pl.DataFrame({"share": shares, "days": [gaps.quantile(share, "linear") for share in shares]})
    columns = (
        Column("share", Text("Share of users who came back", "有复购的用户占比"), "percent"),
        Column("days", Text("Usual gap at most, days", "通常间隔不超过（天）"), "number"),
    )
    caption = Text(
        "A user's usual gap is the median of the days between days on which something happened that the task counts; "
        "{users:,} users have one.",
        "用户的通常间隔：任务所计行为发生日之间相隔天数的中位数；共 {users:,} 位用户可计算。",
    )
    return Table(frame, columns, Text("How long users usually wait", "用户通常隔多久"), caption.format(users=len(gaps)))
