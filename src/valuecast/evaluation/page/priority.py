"""Who to look at first: what is expected to be lost, user by user, if those who will stop buying are left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import ConfigError
from valuecast.evaluation.outcomes import TRUTH
from valuecast.evaluation.page.answers import Answer
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.models.naming import TIER_WORDS, sums_money
from valuecast.moments import Moment
from valuecast.report.blocks import Column, Fact, Paragraph, Section, Table
from valuecast.report.masking import masked
from valuecast.tasks import Task
from valuecast.tasks.query import Aggregate, Comparison

CHURN: Final = "churn"
VALUE: Final = "value"
IF_STAYS: Final = "value_if_stays"
AT_RISK: Final = "value_at_risk"
LAST: Final = "last_purchase"
SHOWN: Final = 20
"""Users in the table of a page; the list that ``run`` writes has all of them."""

_MASKED: Final = Text(
    " Ids are masked; --show-users, or show_users = true under [report] in a recipe, shows them.",
    "用户编号已掩码；--show-users，或在配方的 [report] 中写 show_users = true，可显示完整编号。",
)


@dataclass(frozen=True)
class Pair:
    """Two tasks about the same users and the same days: who stops buying, and what each is worth."""

    churn: Task
    value: Task
    churn_target: str
    value_target: str


def pair(tasks: Sequence[Task]) -> Pair | None:
    """Find the first task that asks who will buy nothing, and one about the spend of the same users and days."""
    spends = [(task, target, days) for task in tasks if sums_money(task) for target, days in task.targets.items()]
    for task in filter(asks_who_stops, tasks):
        for target, days in task.targets.items():
            for value, value_target, other in spends:
                if other == days and set(value.question.when) == set(task.question.when):
                    return Pair(task, value, target, value_target)
    return None


def check(tasks: Sequence[Task], *, wanted: Mapping[str, object]) -> None:
    """Check that there is a pair where something is wanted of the list of users.

    Args:
        tasks: of the page.
        wanted: what is asked for, by name: a campaign, or ids; nothing where the value is false.

    Raises:
        ConfigError: no task asks who stops buying, or none for the spend of the same users over the same days.
    """
    asked = [name for name, value in wanted.items() if value]
    if asked and pair(tasks) is None:
        raise ConfigError(
            "the page lists users only if it asks who stops buying, and what the same users spend in the same days",
            where=asked[0],
            remedy='Ask both, such as "churn(days=30, active=90)" and "value(days=30, active=90)".',
        )


def asks_who_stops(task: Task) -> bool:
    """Whether a task holds of users without any purchase in its horizon."""
    asked = task.question
    return asked.aggregate == Aggregate("count", events=(c.PURCHASE,)) and asked.comparison == Comparison("=", 0.0)


def at_risk(churn: pl.DataFrame, value: pl.DataFrame) -> pl.DataFrame:
    """Return what is at risk with each user: the probability of churn times what the user spends if not lost.

    A predicted spend counts the chance of spending nothing. Over the same days nobody who churns spends, so
    ``E[spend] = P(stays) E[spend | stays]``, and what a user spends who stays is the prediction divided by the
    probability of staying. Two models made the two predictions, and where staying is unlikely their ratio is not to be
    relied on: it is no more than the upper end of the user's 90% interval, and never below zero.

    Args:
        churn: ``user, at, score, tier`` of one target.
        value: ``user, at, score, high`` of one target.

    Returns:
        ``user, at, churn, value, value_if_stays, value_at_risk, tier``, the most at risk first. The tier is of churn.
    """
    spend = value.select(*c.KEY, pl.col(c.SCORE).alias(VALUE), pl.col(c.HIGH).alias("_most"))
    joined = churn.select(*c.KEY, pl.col(c.SCORE).alias(CHURN), c.TIER).join(spend, on=list(c.KEY), how="inner")
    stays = 1 - pl.col(CHURN)
    ratio = pl.when(stays > 0).then(pl.col(VALUE) / stays).otherwise(pl.col("_most"))
    if_stays = pl.min_horizontal(ratio, "_most").clip(lower_bound=0.0)
    return (
        joined.with_columns(if_stays.alias(IF_STAYS))
        .with_columns((pl.col(CHURN) * pl.col(IF_STAYS)).alias(AT_RISK))
        .select(*c.KEY, CHURN, VALUE, IF_STAYS, AT_RISK, c.TIER)
        .sort(AT_RISK, c.USER, descending=[True, False])
    )


def last_purchases(log: EventLog, at: Moment) -> pl.DataFrame:
    """Return ``user, last_purchase``: when each user last bought before ``at``; users who never bought are absent."""
    events = log.before(at).events
    bought = events.filter(events[c.EVENT] == c.PURCHASE)
    return log.collect(bought.group_by(c.USER).aggregate(last_purchase=bought[c.TIME].max()))


def ranked(answers: Sequence[Answer]) -> tuple[Answer, Answer, pl.DataFrame] | None:
    """Return the answers of a pair and what ``at_risk`` makes of them at the last test cutoff, beside the truth.

    The frame also has ``stopped`` (1 where the user truly churned) and ``spent``.
    """
    found = pair([answer.task for answer in answers])
    if found is None:
        return None
    churn = next(a for a in answers if (a.task, a.target) == (found.churn, found.churn_target))
    value = next(a for a in answers if (a.task, a.target) == (found.value, found.value_target))
    truth = [
        each.latest.select(*c.KEY, pl.col(TRUTH).alias(name)) for each, name in ((churn, "stopped"), (value, "spent"))
    ]
    users = at_risk(churn.latest, value.latest)
    for each in truth:
        users = users.join(each, on=list(c.KEY), how="inner", maintain_order="left")
    return churn, value, users


def priority(answers: Sequence[Answer], log: EventLog, *, show_users: bool) -> tuple[Section, Fact] | None:
    """Show the users with the most value at risk at the last test cutoff; None without a pair of tasks.

    Args:
        answers: of the page.
        log: tells the last purchases before the cutoff.
        show_users: whether ids are shown as they are.

    Returns:
        A section, and the headline.
    """
    found = ranked(answers)
    if found is None:
        return None
    churn, value, users = found
    top = users.head(SHOWN).join(last_purchases(log, churn.at), on=c.USER, how="left", maintain_order="left")
    total, shown = float(users[AT_RISK].sum()), float(top[AT_RISK].sum())
    told = Text(
        f"If nobody is contacted, {total:,.0f} of spend is expected to be lost within {churn.days} days of "
        f"{moments.text(churn.at)}; {shown / total if total else 0:.0%} of it with the {len(top)} users below. Value "
        "at risk is the probability that a user buys nothing times what the user would spend if not lost.",
        f"若不采取行动，预计 {moments.text(churn.at)} 之后 {churn.days} 天内将损失消费 {total:,.0f}，"
        f"其中下表 {len(top)} 位用户占 {shown / total if total else 0:.0%}。"
        "风险价值 = 用户不再购买的概率 × 该用户若留下会消费的金额。",
    )
    headline = Fact(
        Text("Value at risk", "风险价值"),
        f"{total:,.0f}",
        Text(
            f"expected to be lost within {churn.days} days, of {users[VALUE].sum():,.0f} predicted to come in",
            f"{churn.days} 天内预计损失；同期预测消费 {users[VALUE].sum():,.0f}",
        ),
    )
    blocks = (Paragraph(told), _table(top, churn, value, show_users=show_users))
    return Section(Text("Who to look at first", "优先关注谁"), blocks), headline


def _table(top: pl.DataFrame, churn: Answer, value: Answer, *, show_users: bool) -> Table:
    happened = {"stayed": Text("bought", "再次购买"), "stopped": Text("nothing bought", "未再购买")}
    ids = top[c.USER] if show_users else pl.Series([masked(user) for user in top[c.USER]], dtype=pl.String)
    hidden = Text("", "") if show_users else _MASKED
    shown = top.with_columns(
        pl.int_range(1, pl.len() + 1).alias("rank"),
        ids.alias(c.USER),
        pl.col(LAST).dt.date(),
        pl.when(pl.col("stopped") > 0).then(pl.lit("stopped")).otherwise(pl.lit("stayed")).alias("happened"),
    )
    return Table(
        shown,
        (
            Column("rank", Text("Rank", "排名"), "integer"),
            Column(c.USER, Text("User", "用户")),
            Column(AT_RISK, Text("Value at risk", "风险价值"), "money"),
            Column(CHURN, Text("Buys nothing with", "不再购买的概率"), "percent"),
            Column(c.TIER, Text("Risk", "风险等级"), words=TIER_WORDS),
            Column(VALUE, Text("Predicted spend", "预测消费"), "money"),
            Column(IF_STAYS, Text("Spend if not lost", "若留下的消费"), "money"),
            Column(LAST, Text("Last purchase", "最近购买")),
            Column("happened", Text("What happened", "实际结果"), words=happened),
            Column("spent", Text("Spent", "实际消费"), "money"),
        ),
        Text(f"The {len(top)} users with the most value at risk", f"风险价值最高的 {len(top)} 位用户"),
        Text(
            f"Probabilities by {churn.rung_label.en}, spend by {value.rung_label.en}, at {moments.text(churn.at)}. "
            "Spend if not lost: the prediction divided by the probability of buying, at most the upper end of the "
            f"user's 90% interval. The last two columns were not known then.{hidden.en}",
            f"概率来自{churn.rung_label.zh}，消费来自{value.rung_label.zh}，时点 {moments.text(churn.at)}。"
            f"若留下的消费 = 预测消费 ÷ 购买概率，且不超过该用户 90% 区间的上限。最后两列当时并不可知。{hidden.zh}",
        ),
    )
