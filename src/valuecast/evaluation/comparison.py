"""Several predictors on the same users at the same moments: metrics, intervals, paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.evaluation.outcomes import TRUTH
from valuecast.metrics.amount import coverage, interval_width, total_bias
from valuecast.metrics.bootstrap import REPLICATES, Replicates, bootstrap
from valuecast.metrics.metric import FloatArray, IntArray, Metric, Weighted
from valuecast.metrics.probability import calibration_error
from valuecast.metrics.registry import Kind, measures
from valuecast.models.predictor import RAW

RUNG: Final = "rung"
METRIC: Final = "metric"


def compare(
    rungs: Mapping[str, pl.DataFrame], *, kind: Kind, reference: str, replicates: int = REPLICATES, seed: int = 0
) -> pl.DataFrame:
    """Compute every metric of every rung, with intervals from a bootstrap over users.

    A metric over several moments is the mean of the metric at each; a resample takes all rows of a user together,
    whichever moments they are of, and all rungs see the same resamples.

    Args:
        rungs: the outcomes of each for one target, row for row the same users and moments.
        kind: of the task.
        reference: the rung that differences are taken to.
        replicates: number of resamples.
        seed: of the resamples.

    Returns:
        ``rung, metric, value, value_low, value_high, difference, difference_low, difference_high``.
    """
    first = next(iter(rungs.values()))
    for name, frame in rungs.items():
        if not frame.select(c.KEY).equals(first.select(c.KEY)):
            raise AssertionError(f"'{name}' was tested on other users or moments")
    truth = first[TRUTH].to_numpy()
    users, moments_of = _codes(first[c.USER]), _codes(first[c.AT])
    drawn = []
    for column, ranks in ((RAW, True), (c.SCORE, False)):
        chosen = {m.name: _averaged(m.metric, moments_of) for m in measures(kind) if m.ranks == ranks}
        predictions = {name: frame[column].to_numpy() for name, frame in rungs.items()}
        drawn.append(bootstrap(chosen, truth, predictions, users, replicates=replicates, seed=seed))
    both = Replicates(
        {key: value for part in drawn for key, value in part.values.items()},
        {key: value for part in drawn for key, value in part.draws.items()},
    )
    rows = []
    for name in rungs:
        for measure in measures(kind):
            own, apart = both.interval(measure.name, name), both.difference(measure.name, name, reference)
            numbers = {"value": own, "difference": apart}
            rows.append(
                {RUNG: name, METRIC: measure.name}
                | {
                    key + ending: getattr(estimate, part)
                    for key, estimate in numbers.items()
                    for ending, part in (("", "value"), ("_low", "low"), ("_high", "high"))
                }
            )
    return pl.DataFrame(rows)


def intervals(rungs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return how often predictive intervals of amounts hold the truth, for each rung and moment, the worst first.

    Returns:
        ``rung, at, users, coverage, width, total_bias``; the bias is a share of the true total.
    """
    rows = [
        {
            RUNG: name,
            c.AT: at,
            "users": len(part),
            "coverage": coverage(*(part[column].to_numpy() for column in (TRUTH, c.LOW, c.HIGH))),
            "width": interval_width(*(part[column].to_numpy() for column in (c.LOW, c.HIGH))),
            "total_bias": total_bias(part[TRUTH].to_numpy(), part[c.SCORE].to_numpy()),
        }
        for name, frame in rungs.items()
        for (at,), part in frame.group_by(c.AT, maintain_order=True)
    ]
    return pl.DataFrame(rows).sort(c.AT, RUNG).sort("coverage", maintain_order=True)


def calibrations(rungs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return how far probabilities are from what happened, for each rung and moment, the worst first.

    Returns:
        ``rung, at, users, calibration_error, bias``; the bias is the mean probability less the observed rate.
    """
    rows = [
        {
            RUNG: name,
            c.AT: at,
            "users": len(part),
            "calibration_error": calibration_error(part[TRUTH].to_numpy(), part[c.SCORE].to_numpy()),
            "bias": float((part[c.SCORE] - part[TRUTH]).to_numpy().mean()),
        }
        for name, frame in rungs.items()
        for (at,), part in frame.group_by(c.AT, maintain_order=True)
    ]
    ordered = pl.DataFrame(rows).sort(c.AT, RUNG)
    return ordered.sort("calibration_error", descending=True, maintain_order=True)


def sliced(rungs: Mapping[str, pl.DataFrame], slices: Mapping[str, pl.DataFrame], *, kind: Kind) -> pl.DataFrame:
    """Compute the metrics of every rung within each value of each slice.

    Args:
        rungs: the outcomes of each for one target.
        slices: for each field ``user, at, value`` (see ``valuecast.evaluation.slices``).
        kind: of the task.

    Returns:
        ``field, value, users, rung`` and one column for each metric; null where it is undefined.
    """
    rows = []
    for field, values in slices.items():
        for name, frame in rungs.items():
            joined = frame.join(values, on=list(c.KEY), how="left")
            for (value,), part in joined.group_by("value"):
                numbers = {
                    m.name: m.metric(part[TRUTH].to_numpy(), part[RAW if m.ranks else c.SCORE].to_numpy())
                    for m in measures(kind)
                }
                rows.append({"field": field, "value": value, "users": part[c.USER].n_unique(), RUNG: name, **numbers})
    return pl.DataFrame(rows, infer_schema_length=None).sort(["field", "users", RUNG], descending=[False, True, False])


def _averaged(metric: Metric, group: IntArray) -> Metric:
    """The mean of a metric over groups of rows."""
    if group.max() == 0:
        return metric

    def define(truth: FloatArray, prediction: FloatArray) -> Weighted:
        rows = [np.flatnonzero(group == number) for number in range(int(group.max()) + 1)]
        parts = [metric.prepare(truth[own], prediction[own]) for own in rows]
        return lambda weight: float(np.mean([part(weight[own]) for part, own in zip(parts, rows, strict=True)]))

    define.__name__ = metric.name
    return Metric(define)


def _codes(column: pl.Series) -> IntArray:
    return (column.rank("dense") - 1).to_numpy().astype(np.int64)
