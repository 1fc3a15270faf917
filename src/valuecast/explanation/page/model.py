"""What matters to a model: a section of its page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from valuecast import moments
from valuecast.events.log import EventLog
from valuecast.explanation.overall import GROUP, SEEDS, Curve, Overall, overall
from valuecast.explanation.page.units import form, how, scale, suffix
from valuecast.language import Text
from valuecast.models.drivers import DRIVERS
from valuecast.models.naming import TIER_WORDS
from valuecast.models.predictor import Predictor
from valuecast.report.blocks import Axis, BarFigure, Bars, Block, Column, LineFigure, Paragraph, Section, Series, Table
from valuecast.report.masking import masked
from valuecast.tasks import Task

_IN_TABLE: Final = 6
_CLEAR: Final = 0.3  # a rank correlation nearer to zero is no direction
_LABELS: Final = {code: driver.label for code, driver in DRIVERS.items()}


def explained(
    predictor: Predictor,
    log: EventLog,
    *,
    at: datetime,
    target: str,
    segments: Mapping[str, pl.DataFrame],
    show_users: bool,
) -> Section:
    """Say what matters to a predictor at a moment, for the page of a model (see ``overall``)."""
    found = overall(predictor, log, at=at, target=target, segments=segments)
    return overall_section(found, predictor.task, show_users=show_users)


def overall_section(found: Overall, task: Task, *, show_users: bool = False) -> Section:
    """Say what was found."""
    label = task.label(found.target)
    blocks: list[Block] = [
        Paragraph(_told(found, label, task)),
        _importance(found, task),
        _directions(found, task),
        _groups(found.tiers, found, task, Text("Tier", "等级"), Text("Mean effects by tier", "各等级的平均影响")),
        *(
            _groups(rows, found, task, Text(name, name), Text(f"Mean effects by {name}", f"按 {name} 的平均影响"))
            for name, rows in found.segments.items()
        ),
    ]
    if len(found.interactions):
        blocks.append(_interactions(found, task))
    blocks += [_curve(curve, task) for curve in found.curves]
    blocks.append(_typical(found, task, show_users=show_users))
    title = Text(f"Why: {label.en}", f"为什么：{label.zh}")
    return Section(title, tuple(blocks))


def _told(found: Overall, label: Text, task: Task) -> Text:
    whom = (
        Text(f"all {found.users:,} users asked about", f"全部 {found.users:,} 位符合条件的用户")
        if found.users == found.asked
        else Text(
            f"{found.users:,} users drawn at random from {found.asked:,}",
            f"从 {found.asked:,} 位中随机抽取的 {found.users:,} 位用户",
        )
    )
    return Text(
        f"{label.en}: the effects of each kind of cause on {whom.en} at {moments.text(found.at)}, averaged over "
        f"{SEEDS} seeds. {how(task).en}",
        f"{label.zh}：{moments.text(found.at)} 时，各类因素对{whom.zh}的影响，"
        f"取 {SEEDS} 个随机种子的平均。{how(task).zh}",
    )


def _importance(found: Overall, task: Task) -> BarFigure:
    rows = found.importance
    low, mean, high = (tuple((rows[name] * scale(task)).to_list()) for name in ("low", "mean", "high"))
    return BarFigure(
        Text("What moves the score", "哪些因素影响分数"),
        Text("Driver", "因素"),
        Axis(Text(f"Mean absolute effect{suffix(task).en}", f"平均绝对影响{suffix(task).zh}")),
        tuple(_LABELS[code] for code in rows["driver"]),
        (
            Bars(
                Text("mean absolute effect", "平均绝对影响"),
                mean,
                low,
                high,
            ),
        ),
        caption=Text("Lines: the range over single seeds.", "线段：单个随机种子之间的范围。"),
    )


def _directions(found: Overall, task: Task) -> Table:
    way = pl.col("direction")
    frame = found.importance.with_columns(
        pl.when(way > _CLEAR)
        .then(pl.lit("higher"))
        .when(way < -_CLEAR)
        .then(pl.lit("lower"))
        .when(way.is_not_null())
        .then(pl.lit("mixed"))
        .alias("way"),
        pl.when("stable").then(pl.lit("stable")).otherwise(pl.lit("moves")).alias("rank"),
        pl.col("mean") * scale(task),
    )
    ways = {
        "higher": Text("a higher score", "分数更高"),
        "lower": Text("a lower score", "分数更低"),
        "mixed": Text("no one direction", "没有单一方向"),
    }
    stable = {
        "stable": Text("the same at every seed", "各随机种子下相同"),
        "moves": Text("differs between seeds", "随机种子之间有变化"),
    }
    return Table(
        frame,
        (
            Column("driver", Text("Driver", "因素"), words=_LABELS),
            Column(
                "mean",
                Text(f"Mean absolute effect{suffix(task).en}", f"平均绝对影响{suffix(task).zh}"),
                "number",
                alike=True,
            ),
            Column("feature", Text("Feature", "特征"), words=dict(found.labels)),
            Column("way", Text("More of it goes with", "此项更大时"), words=ways),
            Column("rank", Text("Rank", "名次"), words=stable),
        ),
        Text("In which direction, and how sure", "影响方向与稳定性"),
        Text(
            "Of each driver, the feature that its effect follows most closely. A rank that differs between seeds is "
            "not to be relied on.",
            "取每个因素中影响随之变化最明显的特征。名次在随机种子之间有变化的，不宜作为依据。",
        ),
    )


def _groups(rows: pl.DataFrame, found: Overall, task: Task, heading: Text, title: Text) -> Table:
    drivers = found.importance["driver"].head(_IN_TABLE).to_list()
    return Table(
        rows.with_columns(pl.col(drivers) * scale(task)),
        (
            Column(GROUP, heading, words=TIER_WORDS if rows is found.tiers else {}),
            Column("users", Text("Users", "用户数"), "integer"),
            Column("score", Text("Mean score", "平均分数"), form(task)),
            *(Column(code, _LABELS[code], "signed", alike=True) for code in drivers),
        ),
        title,
        Text(
            f"Effects{suffix(task).en}, of the strongest drivers; those of all, and the average, add up to the score.",
            f"最强的几个因素的影响{suffix(task).zh}；全部因素的影响与平均水平之和等于分数。",
        ),
    )


def _interactions(found: Overall, task: Task) -> Table:
    return Table(
        found.interactions.head(_IN_TABLE).with_columns(pl.col("strength", "mean") * scale(task)),
        (
            Column("one", Text("Driver", "因素"), words=_LABELS),
            Column("other", Text("together with", "与之共同作用"), words=_LABELS),
            Column(
                "strength", Text(f"Joint effect{suffix(task).en}", f"共同影响{suffix(task).zh}"), "number", alike=True
            ),
            Column("mean", Text("Mean", "平均"), "signed", alike=True),
        ),
        Text("What works together", "相互作用"),
        Text(
            "What two drivers do together beyond what each does alone: how large it is, and its mean with sign.",
            "两个因素共同作用、超出各自单独作用之和的部分：平均大小，以及带符号的平均值。",
        ),
    )


def _curve(curve: Curve, task: Task) -> LineFigure:
    values = tuple(value * scale(task) for value in curve.effects)
    return LineFigure(
        Text(f"Score by: {curve.label.en}", f"分数随此变化：{curve.label.zh}"),
        Axis(curve.label),
        Axis(Text(f"Accumulated local effect{suffix(task).en}", f"累积局部效应{suffix(task).zh}"), "signed"),
        (Series(curve.label, curve.values, values),),
        caption=Text(
            "How the score moves where this number alone does; numbers that say nearly the same stay as they are.",
            "仅此一项变化时分数如何变化；含义相近的其他数值保持不变。",
        ),
    )


def _typical(found: Overall, task: Task, *, show_users: bool) -> Table:
    rows = found.typical
    users = rows["user"] if show_users else pl.Series([masked(user) for user in rows["user"]], dtype=pl.String)
    told = {row["en"]: Text(row["en"], row["zh"]) for row in rows.iter_rows(named=True)}
    return Table(
        rows.with_columns(users.alias("user")),
        (
            Column("tier", Text("Tier", "等级"), words=TIER_WORDS),
            Column("user", Text("User", "用户")),
            Column("score", Text("Score", "分数"), form(task)),
            Column("en", Text("What moves it most", "主要影响因素"), words=told),
        ),
        Text("A typical user of each tier", "各等级的典型用户"),
        Text("The one whose effects are nearest to the median of the tier.", "其各项影响最接近该等级的中位数。"),
    )
