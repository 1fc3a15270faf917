"""Whether the base rate holds still: the labels' mean from cutoff to cutoff, against what chance alone would do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.evaluation.readiness.finding import Finding, Remark, together
from valuecast.evaluation.readiness.inquiry import Inquiry
from valuecast.language import Text
from valuecast.moments import DAY
from valuecast.report.blocks import Axis, Block, Column, Format, LineFigure, Series, Table
from valuecast.report.cells import EPOCH

TITLE: Final = Text("Steadiness of the base rate", "基准水平的稳定性")
SURPRISE: Final = 0.01
"""Less likely than this is not chance."""
LARGE: Final = 0.15
"""Moves beyond chance, as a share of the mean, that put a model of earlier cutoffs off by something that counts."""
FEWEST: Final = 20
"""Users at a cutoff; the mean of fewer says nothing."""
SHOWN: Final = 12
_Z: Final = 1.645
_LEAST_P: Final = 0.001

_STEADY: Final = Text(
    "{label}: the mean moves from {least} to {most} between cutoffs that share no day of their horizons ({count} of "
    "them), {spread:.0%} of the mean beyond chance ({p}).",
    "{label_zh}：在窗口互不重叠的 {count} 个时点之间，均值介于 {least} 与 {most}，"
    "超出随机波动的部分相当于均值的 {spread:.0%}（{p}）。",
)
_MOVES: Final = Text(
    "A model that learned from earlier cutoffs is off by as much, unless the season explains it. Test at several "
    "moments.",
    "若季节不能解释这种变化，基于较早时点的模型就会有同等幅度的偏差；请在多个时点检验。",
)
_TREND: Final = Text("The trend is {slope:+.0%} of the mean a year.", "趋势为每年 {slope:+.0%}（相对均值）。")
_OVERLAP: Final = Text(
    "Neighbouring cutoffs share part of their horizons, so they move together.",
    "相邻时点的窗口部分重叠，因此同向变化。",
)
_ONE: Final = Text(
    "{label}: fewer than three cutoffs share no day of their horizons, so nobody can tell whether the mean moves.",
    "{label_zh}：窗口互不重叠的时点不足三个，无法判断均值是否变化。",
)


@dataclass(frozen=True)
class Moves:
    """How the mean of the labels moves over cutoffs whose horizons do not overlap.

    Attributes:
        count: of such cutoffs.
        least: the lowest mean.
        most: the highest.
        p: how likely moves as large are if the means are all one (Cochran's Q against chi-squared).
        spread: the standard deviation of the means beyond chance, as a share of their mean (DerSimonian and Laird's
            estimate, 1986). The same users come again, which makes the means move less than Q assumes: no false alarm.
        slope: the change in a year, as a share of the mean.
    """

    count: int
    least: float
    most: float
    p: float
    spread: float
    slope: float


def drift(inquiry: Inquiry) -> Finding:
    """Follow the mean of every target over the cutoffs."""
    remarks: list[Remark] = []
    blocks: list[Block] = []
    for target in inquiry.task.targets:
        means = means_of(inquiry, target)
        remarks += _remarks(inquiry, target, moves(apart(means, days=inquiry.task.targets[target])))
        if len(means) > 1:
            blocks += [_figure(inquiry, target, means)]
            blocks += [_table(inquiry, target, apart(means, days=inquiry.task.targets[target]))]
    return Finding("drift", TITLE, tuple(remarks), tuple(blocks))


def means_of(inquiry: Inquiry, target: str) -> pl.DataFrame:
    """Return ``at, users, mean, error`` (a standard error) of every cutoff with users enough."""
    value = pl.col(target)
    # a rate of 0 or 1 has a variance too: half a case is added on either side, as in models.level
    rate = (value.sum() + 0.5) / (pl.len() + 1)
    variance = rate * (1 - rate) if inquiry.task.kind == "binary" else value.var()
    grouped = inquiry.labelled.group_by(c.AT).agg(
        pl.len().alias("users"), value.mean().alias("mean"), (variance / pl.len()).sqrt().alias("error")
    )
    return grouped.filter(pl.col("users") >= FEWEST, pl.col("error") > 0).sort(c.AT)


def apart(means: pl.DataFrame, *, days: int) -> pl.DataFrame:
    """Return the cutoffs, from the latest back, whose horizons share no day."""
    kept: list[datetime] = []
    for at in means[c.AT].sort(descending=True):
        if not kept or (kept[-1] - at) / DAY >= days:
            kept.append(at)
    return means.filter(pl.col(c.AT).is_in(kept))


def moves(means: pl.DataFrame) -> Moves | None:
    """Test whether the means are all one; None for fewer than three of them."""
    from scipy.stats import chi2  # noqa: PLC0415 - slow to import

    if len(means) < 3:
        return None
    mean, weight = means["mean"].to_numpy(), means["error"].to_numpy() ** -2
    centre = np.average(mean, weights=weight)
    q, free = float(weight @ (mean - centre) ** 2), len(mean) - 1
    between = max(0.0, (q - free) / float(weight.sum() - (weight**2).sum() / weight.sum()))
    days = means.select((pl.col(c.AT) - pl.col(c.AT).min()).dt.total_seconds() / 86_400).to_series().to_numpy()
    slope = float(np.polyfit(days, mean, 1, w=1 / means["error"].to_numpy())[0]) * 365.25
    scale = abs(float(centre)) or math.inf
    least, most = float(mean.min()), float(mean.max())
    return Moves(len(mean), least, most, float(chi2.sf(q, free)), math.sqrt(between) / scale, slope / scale)


def _remarks(inquiry: Inquiry, target: str, found: Moves | None) -> list[Remark]:
    label = inquiry.task.label(target)
    if found is None:
        return [Remark("weak", _ONE.format(label=label.en, label_zh=label.zh))]
    values = {
        "label": label.en,
        "label_zh": label.zh,
        "count": found.count,
        "p": f"p = {found.p:.2g}" if found.p >= _LEAST_P else f"p < {_LEAST_P}",
        "spread": found.spread,
    }
    form = "{:.1%}" if inquiry.task.kind == "binary" else "{:,.2f}"
    text = _STEADY.format(least=form.format(found.least), most=form.format(found.most), **values)
    weak = found.p < SURPRISE and found.spread > LARGE
    parts = (text, _MOVES) if weak else (text,)
    return [Remark("weak" if weak else "ok", together(*parts, _TREND.format(slope=found.slope)))]


def _format(inquiry: Inquiry) -> Format:
    return "percent" if inquiry.task.kind == "binary" else "money"


def _figure(inquiry: Inquiry, target: str, means: pl.DataFrame) -> LineFigure:
    days = tuple((at.date() - EPOCH).days for at in means[c.AT])
    mean, error = means["mean"].to_numpy(), means["error"].to_numpy()
    low, high = (tuple(map(float, mean + sign * _Z * error)) for sign in (-1, 1))
    label = inquiry.task.label(target)
    return LineFigure(
        Text("{label}: cutoff by cutoff", "{label_zh}：逐时点").format(label=label.en, label_zh=label.zh),
        Axis(Text("Cutoff", "时点"), "date"),
        Axis(Text("Mean of the labels, with its 90% interval", "标签均值及 90% 区间"), _format(inquiry)),
        (Series(label, days, tuple(map(float, mean)), low, high),),
        caption=_OVERLAP if inquiry.task.targets[target] > inquiry.split.every else None,
    )


def _table(inquiry: Inquiry, target: str, means: pl.DataFrame) -> Table:
    mean, half = pl.col("mean"), _Z * pl.col("error")
    columns = (
        Column(c.AT, Text("Cutoff", "时点")),
        Column("users", Text("Users", "用户数"), "integer"),
        Column("mean", Text("Mean", "均值"), _format(inquiry), interval=True),
    )
    label = inquiry.task.label(target)
    title = Text("{label}: cutoffs that share no day", "{label_zh}：窗口互不重叠的时点")
    return Table(
        means.tail(SHOWN).with_columns((mean - half).alias("mean_low"), (mean + half).alias("mean_high")),
        columns,
        title.format(label=label.en, label_zh=label.zh),
        Text("The latest {shown}, with 90% intervals.", "最近 {shown} 个，附 90% 区间。").format(
            shown=min(SHOWN, len(means))
        ),
    )
