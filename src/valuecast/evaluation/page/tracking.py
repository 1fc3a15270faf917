"""Predicted against actual over time: from cutoff to cutoff, and day by day within the last horizon."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation.outcomes import TRUTH
from valuecast.evaluation.page.answers import Answer
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.models.naming import unit
from valuecast.moments import moment
from valuecast.report.blocks import (
    Axis,
    Block,
    Column,
    Format,
    LineFigure,
    Paragraph,
    Reference,
    Section,
    Series,
    Table,
)
from valuecast.report.cells import EPOCH
from valuecast.tasks import Task
from valuecast.tasks.labels import labels
from valuecast.tasks.splits import UserSplit

PREDICTED: Final = "predicted"
OBSERVED: Final = "observed"
USERS: Final = "users"
TESTED: Final = "tested"
POINTS: Final = 30
"""Most days of a horizon at which what happened so far is counted."""

_LABELS: Final = {PREDICTED: Text("predicted", "预测"), OBSERVED: Text("true", "实际")}
_HOW: Final = Text(
    "From cutoff to cutoff: mean prediction and mean truth, before the line at validation cutoffs, answered by models "
    "that were fitted earlier still. Day by day: what had come true so far, beside what was predicted at the start.",
    "逐时点：平均预测与平均实际；竖线之前为验证时点，由更早拟合的模型作答。逐日：截至当日的实际结果，与起点时的预测对照。",
)
_TEST, _VALIDATION = Text("test", "测试"), Text("validation", "验证")


def tracking(answers: tuple[Answer, ...], log: EventLog) -> Section:
    """Show predicted against actual over time: every target from cutoff to cutoff, every task within its horizon."""
    figures: list[Block] = []
    tables: list[Block] = []
    for answer in answers:
        table = over_cutoffs(answer)
        if len(table) > 1:
            figures.append(_cutoff_figure(answer, table))
            tables.append(_cutoff_table(answer, table))
        own = [other for other in answers if other.ladder is answer.ladder]
        if answer is own[-1]:
            figures.append(_within_figure(own, within_horizon(answer, log)))
    return Section(Text("Predicted and true over time", "预测与实际的时间走势"), (Paragraph(_HOW), *figures, *tables))


def over_cutoffs(answer: Answer) -> pl.DataFrame:
    """Gather mean prediction and mean truth at every cutoff where the answer can be checked.

    Returns:
        ``at, users, predicted, observed, tested``, sorted by ``at``: the test cutoffs, and before the first of them
        the validation cutoffs, where the rung's models answered that had not seen them. A split by users has one
        moment, and no course of time.
    """
    test = (
        answer.outcomes.group_by(c.AT)
        .agg(pl.len().cast(pl.Int64).alias(USERS), pl.mean(c.SCORE).alias(PREDICTED), pl.mean(TRUTH).alias(OBSERVED))
        .with_columns(pl.lit(value=True).alias(TESTED))
    )
    if isinstance(answer.ladder.split, UserSplit):
        return test
    before = [row | {c.AT: moment(row[c.AT]), TESTED: False} for row in answer.backtest()]
    earlier = pl.DataFrame(before, schema=test.schema) if before else test.clear()
    return pl.concat([earlier, test]).sort(c.AT)


def within_horizon(answer: Answer, log: EventLog) -> pl.DataFrame:
    """Count what had happened some days into the horizon of the last test cutoff.

    Returns:
        ``day, observed``: the mean over the tested users of the task's own answer over that many days.
    """
    days = _days(answer.task)
    horizons = replace(answer.task.question, days=days)
    asked = Task(str(horizons), name=answer.task.name)
    found = labels(asked, log, [answer.at]).join(answer.latest.select(c.KEY), on=list(c.KEY), how="semi")
    means = [float(found[target].to_numpy().mean()) for target in asked.targets]
    return pl.DataFrame({"day": days, OBSERVED: means})


def _days(task: Task) -> tuple[int, ...]:
    last = max(task.targets.values())
    spread = np.linspace(1, last, min(last, POINTS)).round().astype(int)
    return tuple(sorted({*map(int, spread), *task.targets.values()}))


def _cutoff_figure(answer: Answer, table: pl.DataFrame) -> LineFigure:
    x = tuple(float(_day(at)) for at in table[c.AT])
    first = table.filter(pl.col(TESTED))[c.AT][0]
    return LineFigure(
        Text(f"From cutoff to cutoff: {answer.label.en}", f"逐时点对照：{answer.label.zh}"),
        Axis(Text("Cutoff", "时点"), "date"),
        _axis(answer, table.select(PREDICTED, OBSERVED)),
        tuple(Series(label, x, tuple(map(float, table[name]))) for name, label in _LABELS.items()),
        mark=Reference(float(_day(first)), Text("the test begins", "测试起点")),
    )


def _within_figure(answers: list[Answer], course: pl.DataFrame) -> LineFigure:
    last, since = answers[-1], moments.text(answers[-1].at)
    ends = [(float(answer.days), float(answer.latest[c.SCORE].to_numpy().mean())) for answer in answers]
    x, y = zip(*ends, strict=True)
    observed = Series(
        Text("true so far", "至今实际"), tuple(map(float, course["day"])), tuple(map(float, course[OBSERVED]))
    )
    return LineFigure(
        Text(f"Day by day: {last.label.en}", f"逐日走势：{last.label.zh}"),
        Axis(Text(f"Days since {since}", f"{since} 之后的天数"), "integer", low=0.0),
        _axis(last, course.select(OBSERVED)),
        (observed, Series(Text("predicted at the start", "起点时的预测"), x, y)),
    )


def _cutoff_table(answer: Answer, table: pl.DataFrame) -> Table:
    form = _format(answer)
    words = {text.en: text for text in (_TEST, _VALIDATION)}
    apart = pl.col(PREDICTED) - pl.col(OBSERVED)
    shown = table.with_columns(
        pl.when(TESTED).then(pl.lit(_TEST.en)).otherwise(pl.lit(_VALIDATION.en)).alias("part"),
        pl.when(pl.col(OBSERVED) != 0).then((apart / pl.col(OBSERVED)).round(3)).alias("apart"),
    )
    return Table(
        shown,
        (
            Column(c.AT, Text("Cutoff", "时点")),
            Column("part", Text("Part", "用途"), words=words),
            Column(USERS, Text("Users", "用户数"), "integer"),
            Column(PREDICTED, Text("Mean predicted", "平均预测"), form),
            Column(OBSERVED, Text("Mean true", "平均实际"), form),
            Column("apart", Text("Predicted over true", "预测相对实际"), "percent"),
        ),
        Text(f"Predicted and true: {answer.label.en}", f"预测与实际：{answer.label.zh}"),
        emphasise=pl.col(TESTED),
    )


def _axis(answer: Answer, shown: pl.DataFrame) -> Axis:
    low = 0.0 if bool(shown.select(pl.all_horizontal(pl.all() >= 0).all()).item()) else None
    if answer.task.kind == "binary":
        return Axis(Text("Share of users", "用户占比"), "percent", low=low)
    noun = unit(answer.task).noun
    return Axis(Text(f"Mean {noun.en} per user", f"人均{noun.zh}"), unit(answer.task).format, low=low)


def _format(answer: Answer) -> Format:
    return "percent" if answer.task.kind == "binary" else unit(answer.task).format


def _day(at: datetime) -> float:
    return (at.date() - EPOCH).days + (at.hour / 24)
