"""Users of whom little is known: how many, why, and how well they are answered; and users who are not asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation.comparison import sliced
from valuecast.evaluation.outcomes import TRUTH
from valuecast.evaluation.page.answers import Answer
from valuecast.evaluation.page.asked import condition_words
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.metrics.registry import measures
from valuecast.models.naming import format_of, unit
from valuecast.report.blocks import Block, Column, Paragraph, Section, Table
from valuecast.tasks import Task
from valuecast.tasks.labels import eligible
from valuecast.tasks.splits import UserSplit

GROUP: Final = "group"
NONE, ONCE, RECENT, KNOWN = "none", "once", "recent", "known"
_HOW: Final = Text(
    "Each user is in the first group that fits what was known before the moment. In a group of few users a metric says "
    "little; a dash: it is not defined.",
    "每位用户按该时点之前的已知信息归入第一个符合的组。用户很少的组，指标意义不大；短横线表示无定义。",
)
_ORDER: Final = (NONE, ONCE, RECENT, KNOWN)


def newcomers(answers: Sequence[Answer], log: EventLog) -> Section:
    """Show how well users are answered of whom little is known, and who is not asked about, at the last test cutoff."""
    tables: list[Block] = [_table(answer, log) for answer in answers]
    seen: list[tuple[object, ...]] = []
    for answer in answers:
        asked = (answer.task.question.when, answer.at)
        if asked not in seen:
            seen.append(asked)
            tables.append(_unscored_table(answer, unscored(answer, log)))
    return Section(
        Text("Cold start: users of whom little is known", "冷启动：了解不多的用户"), (Paragraph(_HOW), *tables)
    )


def groups(log: EventLog, keys: pl.DataFrame, *, days: int) -> pl.DataFrame:
    """Say how much is known of each user before the moment.

    Args:
        log: the log; only what is before a moment is read for it.
        keys: ``user, at``, of one moment.
        days: first seen less than so many days ago is recent.

    Returns:
        ``user, at, group``: the first that holds of ``none`` (no purchase yet), ``once`` (purchases on one day),
        ``recent`` and ``known``.
    """
    (at,) = keys[c.AT].unique()
    events = log.before(at).events
    bought = events[c.EVENT] == c.PURCHASE
    found = log.collect(
        events.group_by(c.USER).aggregate(
            first=events[c.TIME].min(), bought=events[c.TIME].date().nunique(where=bought)
        )
    )
    recent = pl.col("first") >= pl.lit(at - timedelta(days=days))
    group = (
        pl.when(pl.col("bought") == 0)
        .then(pl.lit(NONE))
        .when(pl.col("bought") == 1)
        .then(pl.lit(ONCE))
        .when(recent)
        .then(pl.lit(RECENT))
        .otherwise(pl.lit(KNOWN))
    )
    return (
        keys.select(c.KEY).join(found, on=c.USER, how="left", maintain_order="left").select(*c.KEY, group.alias(GROUP))
    )


def unscored(answer: Answer, log: EventLog) -> pl.DataFrame:
    """Count the users who are not scored at the last test cutoff, by reason.

    Returns:
        ``reason, users``: a reason is the text of the first condition that a user does not meet, ``training`` for who
        is in the training part of a split by users, or ``later`` for who is first seen within the horizon: nobody
        could have scored them.
    """
    at, known = answer.at, log.before(answer.at)
    everyone = log.collect(known.events.select(c.USER).distinct())
    left = everyone.join(answer.latest, on=c.USER, how="anti")
    rows = []
    for condition in answer.task.question.when:
        asked = Task(str(replace(answer.task.question, when=(condition,))), name=answer.task.name)
        met = eligible(asked, known, [at])
        rows.append((str(condition), len(left.join(met, on=c.USER, how="anti"))))
        left = left.join(met, on=c.USER, how="semi")
    if isinstance(answer.ladder.split, UserSplit):
        rows.append(("training", len(left)))
    coming = log.between(at, at + answer.task.horizon).events.select(c.USER).distinct()
    later = log.collect(coming).join(everyone, on=c.USER, how="anti")
    rows.append(("later", len(later)))
    return pl.DataFrame(rows, schema={"reason": pl.String, "users": pl.Int64}, orient="row")


def _table(answer: Answer, log: EventLog) -> Table:
    frame, kind = answer.latest, answer.task.kind
    values = groups(log, frame, days=answer.days)
    means = (
        frame.join(values, on=list(c.KEY))
        .group_by(GROUP)
        .agg(pl.mean(c.SCORE).alias("predicted"), pl.mean(TRUTH).alias("observed"))
    )
    shown = sliced({answer.rung: frame}, {GROUP: values.rename({GROUP: "value"})}, kind=kind).join(
        means, left_on="value", right_on=GROUP, how="left"
    )
    form = "percent" if kind == "binary" else unit(answer.task).format
    words = {
        NONE: Text("no purchase yet", "尚无购买"),
        ONCE: Text("purchases on one day only", "只在一天购买过"),
        RECENT: Text(f"first seen in the last {answer.days} days", f"最近{answer.days}天内首次出现"),
        KNOWN: Text("known for longer", "其他（了解较多）"),
    }
    return Table(
        shown.sort(pl.col("value").replace_strict({name: n for n, name in enumerate(_ORDER)})),
        (
            Column("value", Text("What is known", "了解程度"), words=words),
            Column("users", Text("Users", "用户数"), "integer"),
            Column("predicted", Text("Mean predicted", "平均预测"), form),
            Column("observed", Text("Mean true", "平均实际"), form),
            *(Column(each.name, each.label, format_of(each, answer.task)) for each in measures(kind)),
        ),
        Text(f"{answer.label.en}, by what is known", f"{answer.label.zh}（按了解程度）"),
        Text(f"Scored by {answer.rung_label.en}.", f"评分方法：{answer.rung_label.zh}。"),
    )


def _unscored_table(answer: Answer, counted: pl.DataFrame) -> Table:
    words = {
        "training": Text("learned from: the split is by users", "用于训练（按用户划分）"),
        "later": Text(
            f"first seen only in the {answer.task.horizon.days} days after the moment",
            f"在该时点之后{answer.task.horizon.days}天内才首次出现",
        ),
    }
    for condition in answer.task.question.when:
        words[str(condition)] = condition_words(condition, met=False)
    return Table(
        counted,
        (Column("reason", Text("Why", "原因"), words=words), Column("users", Text("Users", "用户数"), "integer")),
        Text(
            f"Not scored at {moments.text(answer.at)}: {answer.label.en}",
            f"{moments.text(answer.at)} 未评分的用户：{answer.label.zh}",
        ),
        Text(f"Scored: {len(answer.latest):,} users.", f"已评分用户：{len(answer.latest):,}。"),
    )
