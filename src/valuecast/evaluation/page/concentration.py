"""How an amount is spread over users: how many spend how much, and how much the top few bring."""

from __future__ import annotations

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation.outcomes import TRUTH
from valuecast.evaluation.page.answers import Answer
from valuecast.language import Text
from valuecast.metrics.metric import FloatArray
from valuecast.models.naming import unit
from valuecast.report.blocks import Axis, BarFigure, Bars, Column, LineFigure, Section, Series, Table

TOP = (0.01, 0.05, 0.1, 0.2)
MOST_EDGES = 7
_POINTS = 51
_STEPS = ((1, 2, 5), (1, 3), (1,))

PREDICTED, TRUE = Text("predicted", "预测"), Text("true", "实际")


def concentration(answer: Answer) -> Section | None:
    """Show the distribution and the concentration of one amount at the last test cutoff; None if there was nothing."""
    frame = answer.latest
    truth, score = frame[TRUTH].to_numpy(), frame[c.SCORE].to_numpy()
    if truth.sum() <= 0 or score.sum() <= 0:
        return None
    at = moments.text(answer.at)
    title = Text(f"Who brings the total: {answer.label.en}", f"总额由谁贡献：{answer.label.zh}")
    return Section(title, (_histogram(answer, truth, score, at), _lorenz(truth, score), _table(answer, truth, score)))


def top_share(amounts: FloatArray, order: FloatArray, share: FloatArray) -> FloatArray:
    """Return which share of the total the top users hold: one minus the Lorenz curve, read from the other end.

    Args:
        amounts: shape (users,); their sum is positive.
        order: shape (users,); who is on top, the largest first; equals share what they hold together.
        share: of the users, shape (shares,); between users the curve is straight.
    """
    _, group = np.unique(order, return_inverse=True)
    alike = np.bincount(group, weights=amounts) / np.bincount(group)
    ranked = alike[group][np.argsort(-order, kind="stable")]
    reached = np.concatenate([[0.0], np.cumsum(ranked)]) / amounts.sum()
    found: FloatArray = np.interp(share, np.linspace(0, 1, len(reached)), reached)
    return found


def edges_of(amounts: FloatArray) -> FloatArray:
    """Return round numbers that part positive amounts: 1, 2, 5, 10 and so on, coarser where they span much."""
    positive = amounts[amounts > 0]
    low, high = np.quantile(positive, (0.05, 0.99))
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in _STEPS:
        round_ones = np.array([step * 10.0**decade for decade in decades for step in steps])
        inside = round_ones[(round_ones >= low) & (round_ones <= high)]
        if len(inside) <= MOST_EDGES:
            break
    return inside[:: -(-len(inside) // MOST_EDGES)] if len(inside) else np.array([high])


def binned(amounts: FloatArray, edges: FloatArray) -> FloatArray:
    """Return the share of amounts that are zero or less, up to each edge, and beyond the last."""
    place = np.where(amounts <= 0, 0, 1 + np.searchsorted(edges, amounts, side="left"))
    return np.bincount(place, minlength=len(edges) + 2) / len(amounts)


def _histogram(answer: Answer, truth: FloatArray, score: FloatArray, at: str) -> BarFigure:
    noun = unit(answer.task).noun
    edges = edges_of(np.concatenate([truth, score]))
    names = ("0" if truth.min() >= 0 else "≤0", *map(_short, edges), f">{_short(edges[-1])}")
    return BarFigure(
        Text("How many users spend how much", "不同金额的用户各占多少")
        if noun.en == "amount"
        else Text("How many users reach which number", "不同数量的用户各占多少"),
        Text(f"{noun.en.capitalize()} per user, up to", f"人均{noun.zh}（上限）"),
        Axis(Text(f"Share of users at {at}", f"用户占比（{at}）"), "percent", low=0.0),
        names,
        tuple(
            Bars(label, tuple(map(float, binned(values, edges))))
            for label, values in ((PREDICTED, score), (TRUE, truth))
        ),
        caption=Text(
            "A prediction is a mean: hardly ever exactly 0, and less different between users than the truth.",
            "预测值是均值：几乎不会恰好为 0，用户之间的差异也小于实际值。",
        ),
    )


def _lorenz(truth: FloatArray, score: FloatArray) -> LineFigure:
    share = np.linspace(0, 1, _POINTS)
    lines = (
        (Text("truly the highest first", "按实际值从高到低"), truth),
        (Text("predicted the highest first", "按预测值从高到低"), score),
    )
    return LineFigure(
        Text("How much of the total the top users bring", "头部用户贡献了多少总额"),
        Axis(Text("Share of users, from the top", "用户占比（从高到低）"), "percent", low=0.0, high=1.0),
        Axis(Text("Share of the true total", "占实际总额"), "percent", low=0.0, high=1.0),
        tuple(
            Series(label, tuple(map(float, share)), tuple(map(float, top_share(truth, order, share))))
            for label, order in lines
        ),
        diagonal=Text("if all were alike", "若人人相同"),
    )


def _table(answer: Answer, truth: FloatArray, score: FloatArray) -> Table:
    share = np.array(TOP)
    return Table(
        pl.DataFrame(
            {
                "top": [f"{each:.0%}" for each in TOP],
                "users": np.round(share * len(truth)).astype(int),
                "truly": top_share(truth, truth, share),
                "found": top_share(truth, score, share),
                "expected": top_share(score, score, share),
            }
        ),
        (
            Column("top", Text("Top", "头部")),
            Column("users", Text("Users", "用户数"), "integer"),
            Column("truly", Text("Brought by the true top", "实际头部的贡献"), "percent"),
            Column("found", Text("Brought by the predicted top", "预测头部的实际贡献"), "percent"),
            Column("expected", Text("Expected of the predicted top", "预测头部的预测贡献"), "percent"),
        ),
        Text("Share of the total by top users", "头部用户占总额的份额"),
        Text(
            f"By {answer.rung_label.en}. The second column needs to know the future; the third is what following the "
            "predictions reaches, the last what they promised.",
            f"方法：{answer.rung_label.zh}。“实际头部”需要预知未来；“预测头部的实际贡献”是按预测行事所能达到的；"
            "最后一列是预测所承诺的。",
        ),
    )


def _short(edge: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if edge >= size:
            return f"{edge / size:g}{letter}"
    return f"{edge:g}"
