"""The figures and decile tables of a report on one target."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from valuecast import columns as c
from valuecast.evaluation.comparison import METRIC, RUNG
from valuecast.evaluation.outcomes import TRUTH
from valuecast.language import Text
from valuecast.metrics.amount import deciles as amount_deciles
from valuecast.metrics.lift import lift_curve
from valuecast.metrics.probability import calibration_curve
from valuecast.metrics.registry import Measure
from valuecast.models.naming import Unit
from valuecast.models.predictor import RAW
from valuecast.report.blocks import (
    Axis,
    BarFigure,
    Bars,
    Column,
    Estimate,
    IntervalFigure,
    LineFigure,
    Series,
    Table,
)

_DECILE = Column("decile", Text("Tenth of users, highest scores first", "用户十分位（分数从高到低）"), "integer")


def ranking(compared: pl.DataFrame, primary: Measure, best: str, labels: Mapping[str, Text]) -> IntervalFigure:
    """The rungs by their primary metric, with intervals."""
    rows = compared.filter(pl.col(METRIC) == primary.name).iter_rows(named=True)
    return IntervalFigure(
        Text("{metric} by rung", "各方法的{metric_zh}").format(metric=primary.label.en, metric_zh=primary.label.zh),
        Axis(primary.label),
        tuple(
            Estimate(labels[row[RUNG]], row["value"], row["value_low"], row["value_high"], baseline=row[RUNG] == best)
            for row in rows
        ),
    )


def runner_up(compared: pl.DataFrame, primary: Measure, best: str) -> str:
    """The rung beside which the best is drawn: the next on the test's primary metric; nothing depends on it."""
    rows = compared.filter(pl.col(METRIC) == primary.name, pl.col(RUNG) != best).sort("value", descending=True)
    return str(rows[RUNG][0]) if len(rows) else best


def calibration(rungs: Mapping[str, pl.DataFrame], labels: Mapping[str, Text]) -> LineFigure:
    """Predicted probabilities against observed rates."""
    series = []
    for name, frame in rungs.items():
        curve = calibration_curve(frame[TRUTH].to_numpy(), frame[c.SCORE].to_numpy())
        lines = (curve.predicted, curve.observed, curve.low, curve.high)
        x, y, low, high = (tuple(map(float, line)) for line in lines)
        series.append(Series(labels[name], x, y, low, high))
    return LineFigure(
        Text("Is a predicted 30% really 30%?", "预测的 30% 真的是 30% 吗？"),
        Axis(Text("Predicted probability", "预测概率"), "percent", low=0.0),
        Axis(Text("Share of users for whom it came true", "实际发生的比例"), "percent", low=0.0),
        tuple(series),
        diagonal=Text("as predicted", "与预测一致"),
    )


def gains(rungs: Mapping[str, pl.DataFrame], labels: Mapping[str, Text]) -> LineFigure:
    """What share of the outcome is found when the highest scores are contacted first."""
    series = []
    for name, frame in rungs.items():
        lift = lift_curve(frame[TRUTH].to_numpy(), frame[RAW].to_numpy(), bins=20)
        x = (0.0, *map(float, lift.cumulative_share))
        series.append(Series(labels[name], x, (0.0, *map(float, lift.cumulative_gain))))
    return LineFigure(
        Text("How much is reached by contacting the highest scores first", "按分数从高到低触达，能覆盖多少结果"),
        Axis(Text("Share of users contacted", "触达用户占比"), "percent", low=0.0, high=1.0),
        Axis(Text("Share of the outcome reached", "覆盖的结果占比"), "percent", low=0.0, high=1.0),
        tuple(series),
        diagonal=Text("at random", "随机触达"),
    )


def deciles(frame: pl.DataFrame, label: Text, unit: Unit) -> BarFigure:
    """Mean predicted and true amount by tenth of users."""
    found = amount_deciles(frame[TRUTH].to_numpy(), frame[c.SCORE].to_numpy())
    names = tuple(Text(str(i + 1), str(i + 1)) for i in range(len(found.users)))
    return BarFigure(
        Text(f"Predicted and true {unit.noun.en} per user: {label.en}", f"人均预测与实际{unit.noun.zh}：{label.zh}"),
        _DECILE.label,
        Axis(Text(f"Mean {unit.noun.en}", f"人均{unit.noun.zh}"), unit.format),
        names,
        (
            Bars(Text("predicted", "预测"), tuple(map(float, found.predicted))),
            Bars(Text("true", "实际"), tuple(map(float, found.observed))),
        ),
    )


def decile_table(frame: pl.DataFrame, label: Text, unit: Unit) -> Table:
    """Deciles of amounts as numbers."""
    found = amount_deciles(frame[TRUTH].to_numpy(), frame[c.SCORE].to_numpy())
    lift = lift_curve(frame[TRUTH].to_numpy(), frame[c.SCORE].to_numpy())
    return Table(
        pl.DataFrame(
            {
                "decile": range(1, len(found.users) + 1),
                "users": found.users,
                "predicted": found.predicted,
                "observed": found.observed,
                "share": found.share,
                "gain": lift.cumulative_gain,
            }
        ),
        (
            _DECILE,
            Column("users", Text("Rows", "行数"), "integer"),
            Column("predicted", Text("Mean predicted", "平均预测"), unit.format),
            Column("observed", Text("Mean true", "平均实际"), unit.format),
            Column("share", Text("Share of the total", "占总额"), "percent"),
            Column("gain", Text("Cumulated", "累计"), "percent"),
        ),
        Text("Tenth by tenth: {rung}", "逐十分位：{rung_zh}").format(rung=label.en, rung_zh=label.zh),
    )


def lift_table(frame: pl.DataFrame, label: Text) -> Table:
    """Lift and gain by decile as numbers."""
    lift = lift_curve(frame[TRUTH].to_numpy(), frame[RAW].to_numpy())
    return Table(
        pl.DataFrame(
            {
                "decile": range(1, len(lift.share) + 1),
                "share": lift.share,
                "gain": lift.gain,
                "cumulated": lift.cumulative_gain,
                "lift": lift.lift,
                "overall": lift.cumulative_lift,
            }
        ),
        (
            _DECILE,
            Column("share", Text("Share of users", "用户占比"), "percent"),
            Column("gain", Text("Share of the outcome", "结果占比"), "percent"),
            Column("cumulated", Text("Cumulated", "累计"), "percent"),
            Column("lift", Text("Lift", "提升度"), "number"),
            Column("overall", Text("Lift so far", "累计提升度"), "number"),
        ),
        Text("Lift and gain: {rung}", "提升与覆盖：{rung_zh}").format(rung=label.en, rung_zh=label.zh),
    )
