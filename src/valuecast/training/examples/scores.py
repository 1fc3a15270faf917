"""How good answers about labelled texts are: one line of figures, and a report for each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast.config.examples import Kind
from valuecast.language import Text
from valuecast.metrics.amount import mae, rmse
from valuecast.metrics.probability import brier, log_loss
from valuecast.metrics.ranking import auc, pr_auc, spearman

FloatArray = NDArray[np.float64]
Said = FloatArray
"""What is said of rows: probabilities of the classes, shape (R, classes); or numbers, shape (R,)."""

MACRO: Final = "macro avg"
WEIGHTED: Final = "weighted avg"
LEAST: Final = 1e-6
"""No answer is taken to be surer than this, or a single mistake would cost without limit."""

_REPORT = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Figure:
    """A figure of the answers to all rows: its name in files, what people read, and which way is better."""

    name: str
    label: Text
    format: Literal["percent", "number"]
    kinds: tuple[Kind, ...]


_ANY: Final[tuple[Kind, ...]] = ("binary", "classes")
FIGURES: Final = (
    Figure("accuracy", Text("Accuracy", "准确率"), "percent", _ANY),
    Figure("macro_f1", Text("F1, mean of classes", "F1（各类平均）"), "number", _ANY),
    Figure("auc", Text("AUC", "AUC（ROC 曲线下面积）"), "number", _ANY),
    Figure("pr_auc", Text("PR-AUC", "PR-AUC（平均精确率）"), "number", ("binary",)),
    Figure("log_loss", Text("Log-loss", "对数损失"), "number", _ANY),
    Figure("brier", Text("Brier score", "Brier 分数"), "number", ("binary",)),
    Figure("mae", Text("Mean absolute error", "平均绝对误差"), "number", ("number",)),
    Figure("rmse", Text("Root mean squared error", "均方根误差"), "number", ("number",)),
    Figure("spearman", Text("Spearman correlation", "斯皮尔曼等级相关"), "number", ("number",)),
)


def figures(kind: Kind) -> tuple[Figure, ...]:
    """Return the figures of a kind of label, in the order of reports."""
    return tuple(each for each in FIGURES if kind in each.kinds)


def measured(kind: Kind, truth: FloatArray, said: Said) -> dict[str, float]:
    """Compute every figure; one that is undefined, such as the AUC where only one class occurs, is nan.

    Args:
        kind: of the labels.
        truth: numbers of classes, or numbers; shape (R,).
        said: see ``Said``.
    """
    if kind == "number":
        return {"mae": mae(truth, said), "rmse": rmse(truth, said), "spearman": spearman(truth, said)}
    from sklearn.metrics import f1_score  # noqa: PLC0415 - it takes a second to load

    codes, called = truth.astype(np.int64), said.argmax(axis=1)
    bounded = np.clip(said, LEAST, 1 - LEAST)
    found = {
        "accuracy": float((codes == called).mean()),
        "macro_f1": float(f1_score(codes, called, average="macro", labels=range(said.shape[1]), zero_division=0)),
    }
    if kind == "binary":
        own = said[:, 1]
        return found | {
            "auc": auc(truth, own),
            "pr_auc": pr_auc(truth, own),
            "log_loss": log_loss(truth, bounded[:, 1]),
            "brier": brier(truth, own),
        }
    # One class against all others, the mean over the classes that occur (Provost and Domingos 2000).
    each = [auc((codes == number).astype(np.float64), said[:, number]) for number in np.unique(codes)]
    each = [value for value in each if not math.isnan(value)]
    likelihood = np.log(bounded[np.arange(len(codes)), codes])
    return found | {"auc": float(np.mean(each)) if each else math.nan, "log_loss": float(-likelihood.mean())}


def by_class(truth: FloatArray, said: Said, classes: Sequence[str]) -> pl.DataFrame:
    """Return a classification report, as scikit-learn has it.

    A class is called by the highest probability. One never called has no precision, and one that never occurs has no
    recall: null, which counts as zero in the means.

    Returns:
        ``class, precision, recall, f1, support`` and ``called`` (how many rows were), for each class; then the mean of
        the classes, and their mean weighted by support.
    """
    from sklearn.metrics import precision_recall_fscore_support  # noqa: PLC0415 - it takes a second to load

    codes, called = truth.astype(np.int64), said.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        codes, called, labels=range(len(classes)), zero_division=0
    )
    counts = np.bincount(called, minlength=len(classes))
    found = np.stack([precision, recall, f1])
    means = np.stack([found.mean(axis=1), found @ support / support.sum()], axis=1)
    rows = np.concatenate([found, means], axis=1)
    rows[0, : len(classes)][counts == 0] = np.nan
    rows[1, : len(classes)][support == 0] = np.nan
    columns = {
        name: pl.Series(values, dtype=pl.Float64).fill_nan(None) for name, values in zip(_REPORT, rows, strict=True)
    }
    totals = {"support": support, "called": counts}
    return pl.DataFrame(
        {
            "class": [*classes, MACRO, WEIGHTED],
            **columns,
            **{name: [*each.tolist(), *[int(each.sum())] * 2] for name, each in totals.items()},
        },
        schema_overrides={"class": pl.String},
    )


def told(found: Mapping[str, float]) -> str:
    """Return figures as a line of progress has them."""
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


def plain(found: Mapping[str, float]) -> dict[str, Any]:
    """Return figures for a manifest, which holds no nan."""
    return {name: None if math.isnan(value) else value for name, value in found.items()}
