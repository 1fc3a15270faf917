"""The page of one user."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Final

import polars as pl

from valuecast import moments
from valuecast.explanation.explain import Explanation
from valuecast.explanation.facts import span
from valuecast.explanation.page.sentences import changed, doing, sentences
from valuecast.explanation.page.units import form, how, scale, shown, suffix
from valuecast.explanation.timeline import Stretch
from valuecast.language import Text
from valuecast.models.drivers import DRIVERS
from valuecast.models.naming import TIER_WORDS
from valuecast.report.blocks import (
    Axis,
    Block,
    Column,
    Fact,
    Notice,
    Paragraph,
    Report,
    Section,
    Span,
    SpanFigure,
    Table,
)
from valuecast.report.cells import EPOCH
from valuecast.tasks import Task

_CHANGED: Final = Text(
    "A counterfactual is written into the user's history and scored anew: it says what the model would say then, not "
    "that a campaign which brings it about has the same effect on every user.",
    "上述假设情形会被写入该用户的行为记录并重新计算分数：它说明届时模型会怎样判断，并不表示促成这一行为的营销活动对每位用户都有同样效果。",
)


def user_report(found: Explanation, *, made: Sequence[Fact] = ()) -> Report:
    """Make the page of one user."""
    score, base = shown(found.task, float(found.score["score"])), shown(found.task, found.base)  # type: ignore[arg-type]
    low, high = (shown(found.task, float(found.score[end])) for end in ("low", "high"))  # type: ignore[arg-type]
    tier = TIER_WORDS[str(found.score["tier"])]
    facts = (
        Fact(
            found.task.label(found.target),
            score,
            Text(f"90% interval {low} to {high}; tier: {tier.en}", f"90% 区间 {low} 至 {high}；等级：{tier.zh}"),
        ),
        Fact(
            Text("Average", "平均水平"),
            base,
            Text(f"of all {found.asked:,} users asked about", f"全部 {found.asked:,} 位符合条件的用户")
            if found.drawn == found.asked
            else Text(
                f"of {found.drawn:,} drawn at random from the {found.asked:,} users asked about",
                f"从 {found.asked:,} 位符合条件的用户中随机抽取 {found.drawn:,} 位",
            ),
        ),
    )
    blocks = tuple(Paragraph(sentence) for sentence in sentences(found))
    return Report(
        title=Text(f"Why user {found.user} scores {score}", f"用户 {found.user} 的分数为何是 {score}"),
        subtitle=Text(
            f"{found.task.label(found.target).en}, asked at {moments.text(found.at)}",
            f"{found.task.label(found.target).zh}，时点 {moments.text(found.at)}",
        ),
        facts=facts,
        notices=_notices(found),
        sections=(
            Section(Text("In short", "简而言之"), blocks),
            Section(Text("What moved the score", "哪些因素影响了分数"), (*_drivers(found), Paragraph(how(found.task)))),
            Section(Text("When it moved", "分数何时变化"), _timeline(found)),
            Section(Text("What would change it", "怎样会改变分数"), _change(found)),
        ),
        made=tuple(made),
    )


def _notices(found: Explanation) -> tuple[Notice, ...]:
    if sum(part.days for part in found.timeline.stretches) > 1:
        return ()
    return (
        Notice(
            Text(
                "Only one day of this user is known: the score says more of others like this user than of the user.",
                "该用户只有一天的记录：分数更多反映的是类似的其他用户。",
            )
        ),
    )


def _drivers(found: Explanation) -> tuple[Block, ...]:
    rows = found.drivers
    told = {row["driver"]: Text(row["en"], row["zh"]) for row in rows.iter_rows(named=True)}
    table = Table(
        rows.select(
            "driver", pl.col("driver").alias("fact"), _scaled(found.task, "effect"), _scaled(found.task, "error")
        ),
        (
            Column("driver", Text("Driver", "因素"), words={code: driver.label for code, driver in DRIVERS.items()}),
            Column("fact", Text("Facts", "事实"), words=told),
            Column("effect", _effect_label(found.task), "signed", alike=True),
            Column("error", Text("Standard error", "标准误"), "number", alike=True),
        ),
        Text("What moved the score from the average", "使分数偏离平均水平的因素"),
        _total(found),
    )
    return (table,)


def _timeline(found: Explanation) -> tuple[Block, ...]:
    values = found.timeline.values[found.target]
    times = scale(found.task)
    parts = list(zip(found.timeline.stretches, values, found.timeline.errors[found.target], strict=True))
    figure = SpanFigure(
        Text("Effect of each stretch of the past", "各时间段的影响"),
        Axis(Text("Date", "日期"), "date"),
        Axis(_effect_label(found.task), "signed"),
        tuple(
            Span(_day(part.start), _day(part.end), float(value) * times)
            for part, value, _ in parts
            if part.kind != "profile"
        ),
        higher=Text("raises the score", "推高分数"),
        lower=Text("lowers the score", "拉低分数"),
    )
    words = [_stretch(part) for part, _, _ in parts]
    frame = pl.DataFrame(
        {
            "when": [_when(part) for part, _, _ in parts],
            "what": [text.en for text in words],
            "effect": [float(value) * times for _, value, _ in parts],
            "error": [float(error) * times for *_, error in parts],
        }
    ).reverse()
    table = Table(
        frame,
        (
            Column("when", Text("When", "时间")),
            Column("what", Text("What happened", "发生了什么"), words={text.en: text for text in words}),
            Column("effect", _effect_label(found.task), "signed", alike=True),
            Column("error", Text("Standard error", "标准误"), "number", alike=True),
        ),
        Text("The past, the latest first", "历史记录（由近及远）"),
        Text(
            "A stretch is compared with what typical users did in the same days; one without a purchase counts too.",
            "每个时间段都与典型用户同期的行为比较；没有购买的时间段同样计入。",
        ),
    )
    return (figure, table)


def _change(found: Explanation) -> tuple[Block, ...]:
    change = found.counterfactual
    if change is None or not change.trials:
        return (Paragraph(changed(change, found.task)),)
    idle, limit = shown(found.task, change.idle), shown(found.task, change.threshold)
    texts = [doing(trial.change) for trial in change.trials]
    crosses = {"yes": Text("yes", "是"), "no": Text("no", "否")}
    frame = pl.DataFrame(
        {
            "change": [text.en for text in texts],
            "score": [trial.score for trial in change.trials],
            "crosses": ["yes" if trial.crosses else "no" for trial in change.trials],
            "told": [trial.change == change.change for trial in change.trials],
        }
    )
    table = Table(
        frame,
        (
            Column("change", Text("If there is", "若发生"), words={text.en: text for text in texts}),
            Column("score", Text(f"Score {change.days} days on", f"{change.days}天后的分数"), form(found.task)),
            Column("crosses", Text(f"Crosses {limit}", f"越过 {limit}"), words=crosses),
        ),
        Text("What was tried", "尝试过的变化"),
        Text(
            f"Each at three times within the {change.days} days; the score is that of the worst. Without any: {idle}.",
            f"每种变化都放在这{change.days}天内的三个时间，取最不利的分数。若什么都不做：{idle}。",
        ),
        emphasise=pl.col("told"),
    )
    return (table, Notice(_CHANGED))


def _stretch(part: Stretch) -> Text:
    # A silence counts from the day of the last purchase, which belongs to the stretch before.
    length = (part.end - part.start) / moments.DAY + (part.kind == "silence")
    days = span(length)
    others = (
        Text(f", {part.others} other event{'s' if part.others != 1 else ''}", f"，另有{part.others}次其他行为")
        if part.others
        else Text("", "")
    )
    money = Text(f", {part.amount:,.2f}", f"，{part.amount:,.2f}") if part.amount else Text("", "")
    match part.kind:
        case "profile":
            return Text("what the shop knows of the user", "店铺登记的用户属性")
        case "before":
            return Text(f"not a customer yet ({days.en}{others.en})", f"尚未成为客户（{days.zh}{others.zh}）")
        case "silence":
            return Text(f"nothing bought for {days.en}{others.en}", f"{days.zh}未购买{others.zh}")
        case "order":
            lines = Text(f"{part.lines} line{'s' if part.lines != 1 else ''}", f"{part.lines}行")
            after = Text("", "") if length <= 1 else Text(f" after {days.en}", f"（间隔{days.zh}）")
            return Text(
                f"a purchase of {lines.en}{money.en}{after.en}{others.en}",
                f"购买{lines.zh}{money.zh}{after.zh}{others.zh}",
            )
        case "orders":
            return Text(
                f"purchases on {part.days} days{money.en} within {days.en}{others.en}",
                f"{days.zh}内有{part.days}天购买{money.zh}{others.zh}",
            )


def _when(part: Stretch) -> str:
    last = (part.end - timedelta(microseconds=1)).date()
    if part.kind == "profile":
        return ""
    return f"{part.start.date()}" if part.start.date() == last else f"{part.start.date()} – {last}"


def _day(moment: datetime) -> float:
    return (moment - datetime.combine(EPOCH, time.min)) / moments.DAY


def _total(found: Explanation) -> Text:
    total = shown(found.task, found.score["score"])
    return Text(
        f"The average, {shown(found.task, found.base)}, and all effects add up to {total}.",
        f"平均水平 {shown(found.task, found.base)} 加上所有影响等于 {total}。",
    )


def _effect_label(task: Task) -> Text:
    return Text(f"Effect{suffix(task).en}", f"影响{suffix(task).zh}")


def _scaled(task: Task, name: str) -> pl.Expr:
    return pl.col(name) * scale(task)
