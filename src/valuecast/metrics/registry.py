"""The metrics that are reported: what they are called, how they are printed, and which way is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from valuecast.errors import ConfigError, suggest
from valuecast.language import Text
from valuecast.metrics.amount import mae, rmse, total_bias
from valuecast.metrics.metric import LEVEL, FloatArray, Metric
from valuecast.metrics.probability import brier, calibration_error, log_loss
from valuecast.metrics.ranking import auc, gini, pr_auc, spearman

Kind = Literal["binary", "amount"]
Format = Literal["percent", "number", "money"]
Better = Literal["higher", "lower", "zero"]


@dataclass(frozen=True)
class Figure:
    """A number in a report: its name in files, its name for people, and how it is printed."""

    name: str
    label: Text
    format: Format


@dataclass(frozen=True)
class Measure(Figure):
    """A figure that compares a prediction with the truth.

    Attributes:
        metric: computes it.
        better: higher, lower, or closer to zero.
        kinds: the kinds of task it suits.
        ranks: whether it sees only the order of the predictions: it is then given raw scores, since calibration
            makes ties.
    """

    metric: Metric
    better: Better
    kinds: tuple[Kind, ...]
    ranks: bool = False

    def merit(self, value: float) -> float:
        """Return a number to choose the best by: the higher, the better ``value`` is; nan is the worst."""
        if math.isnan(value):
            return -math.inf
        return {"higher": value, "lower": -value, "zero": -abs(value)}[self.better]


_BINARY: Final[tuple[Kind, ...]] = ("binary",)
_AMOUNT: Final[tuple[Kind, ...]] = ("amount",)

MEASURES: Final = (
    Measure("auc", Text("AUC", "AUC（ROC 曲线下面积）"), "number", auc, "higher", _BINARY, ranks=True),
    Measure("pr_auc", Text("PR-AUC", "PR-AUC（平均精确率）"), "number", pr_auc, "higher", _BINARY, ranks=True),
    Measure("log_loss", Text("Log-loss", "对数损失"), "number", log_loss, "lower", _BINARY),
    Measure("brier", Text("Brier score", "Brier 分数"), "number", brier, "lower", _BINARY),
    Measure("calibration_error", Text("Calibration error", "校准误差"), "percent", calibration_error, "lower", _BINARY),
    Measure("gini", Text("Normalised Gini", "归一化基尼系数"), "number", gini, "higher", _AMOUNT, ranks=True),
    Measure(
        "spearman", Text("Spearman correlation", "斯皮尔曼等级相关"), "number", spearman, "higher", _AMOUNT, ranks=True
    ),
    Measure("mae", Text("Mean absolute error", "平均绝对误差"), "money", mae, "lower", _AMOUNT),
    Measure("rmse", Text("Root mean squared error", "均方根误差"), "money", rmse, "lower", _AMOUNT),
    Measure("total_bias", Text("Bias of the total", "总额偏差"), "percent", total_bias, "zero", _AMOUNT),
)

PRIMARY: Final[dict[Kind, str]] = {"binary": "auc", "amount": "gini"}
"""The measure by which the rungs of a ladder are put in order, for each kind of task."""

COVERAGE: Final = Figure(
    "coverage", Text("Coverage of the {level:.0%} interval", "{level:.0%} 区间覆盖率").format(level=LEVEL), "percent"
)
INTERVAL_WIDTH: Final = Figure("interval_width", Text("Mean width of the interval", "区间平均宽度"), "money")


def measures(kind: Kind) -> tuple[Measure, ...]:
    """Return the measures for a kind of task, in the order of reports."""
    return tuple(measure for measure in MEASURES if kind in measure.kinds)


def measure(name: str) -> Measure:
    """Return the measure called ``name``.

    Raises:
        ConfigError: there is no such measure.
    """
    known = {each.name: each for each in MEASURES}
    if name not in known:
        raise ConfigError(f"no metric '{name}'", remedy=suggest(name, known))
    return known[name]


def measured(kind: Kind, truth: FloatArray, *, raw: FloatArray, score: FloatArray) -> dict[str, float]:
    """Compute every measure of a kind of task: those that rank from raw scores, the others from scores."""
    return {each.name: each.metric(truth, raw if each.ranks else score) for each in measures(kind)}
