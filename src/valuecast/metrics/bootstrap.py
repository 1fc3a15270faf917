"""How far a metric would move with other users: the bootstrap over users.

A resample draws as many users as there are, with replacement, and takes all rows of a user together:
rows of one user at several cutoffs are not independent, and an interval over rows would be too
narrow (Field and Welsh, 2007). It is held as weights, so that an order or a loss is
computed once per prediction, and all metrics of all predictions see the same resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from valuecast.metrics.metric import LEVEL, FloatArray, IntArray, Metric

REPLICATES: Final = 500


@dataclass(frozen=True)
class Estimate:
    """A value and its percentile interval (Efron and Tibshirani, 1993, chapter 13).

    Attributes:
        value: the metric, or difference of metrics, on the users themselves.
        low: lower end of the interval, nan where ``value`` is.
        high: its upper end.
        dropped: resamples in which the metric was undefined and which the interval leaves out.
    """

    value: float
    low: float
    high: float
    dropped: int = 0


@dataclass(frozen=True, eq=False)
class Replicates:
    """Metrics of several predictions, on the users and on resamples that all of them share.

    Attributes:
        values: the metrics on the users themselves, by (metric, prediction).
        draws: the same on each resample, shape (replicates,).
    """

    values: Mapping[tuple[str, str], float]
    draws: Mapping[tuple[str, str], FloatArray]

    def interval(self, metric: str, prediction: str, *, level: float = LEVEL) -> Estimate:
        """Return one metric of one prediction with its interval."""
        key = metric, prediction
        return _percentile(self.values[key], self.draws[key], level=level)

    def difference(self, metric: str, first: str, second: str, *, level: float = LEVEL) -> Estimate:
        """Return the metric of ``first`` minus that of ``second``, paired: both on the same resamples."""
        one, other = (metric, first), (metric, second)
        value = self.values[one] - self.values[other]
        return _percentile(value, self.draws[one] - self.draws[other], level=level)


def resample(users: npt.ArrayLike, *, replicates: int = REPLICATES, seed: int = 0) -> Iterator[FloatArray]:
    """Yield the weights of each row, shape (rows,), in resamples of the users.

    Args:
        users: a whole number for each row, the same for all rows of one user, shape (rows,).
        replicates: how many resamples.
        seed: the same users and seed give each user the same weights, whatever the order of the rows.
    """
    distinct, of_row = np.unique(np.asarray(users), return_inverse=True)
    count = len(distinct)
    generator = np.random.default_rng(seed)
    for _ in range(replicates):
        drawn = np.bincount(generator.integers(count, size=count), minlength=count)
        yield drawn[of_row].astype(np.float64)


def bootstrap(
    metrics: Mapping[str, Metric],
    truth: npt.ArrayLike,
    predictions: Mapping[str, npt.ArrayLike],
    users: IntArray,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Replicates:
    """Compute all metrics of all predictions on the users and on the same resamples of them.

    Args:
        metrics: metrics by name.
        truth: shape (rows,).
        predictions: predictions by name, each of shape (rows,).
        users: a whole number for each row, the same for all rows of one user, shape (rows,).
        replicates: how many resamples.
        seed: of the resamples.

    Raises:
        ValueError: the shapes differ, or a value is not finite or out of the range of a metric.
    """
    if np.shape(users) != np.shape(truth):
        raise ValueError(f"users have the shape {np.shape(users)}, truth has {np.shape(truth)}")
    prepared = {
        (metric, prediction): function.prepare(truth, scores)
        for prediction, scores in predictions.items()
        for metric, function in metrics.items()
    }
    whole = np.ones(np.size(truth))
    draws = {key: np.empty(replicates) for key in prepared}
    for number, weight in enumerate(resample(users, replicates=replicates, seed=seed)):
        for key, evaluate in prepared.items():
            draws[key][number] = evaluate(weight)
    return Replicates({key: evaluate(whole) for key, evaluate in prepared.items()}, draws)


def interval(
    metric: Metric,
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    users: IntArray,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """Return one metric of one prediction with its interval; see ``bootstrap``."""
    named = {"prediction": prediction}
    drawn = bootstrap({metric.name: metric}, truth, named, users, replicates=replicates, seed=seed)
    return drawn.interval(metric.name, "prediction", level=level)


def paired_difference(
    metric: Metric,
    truth: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    users: IntArray,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """Return the metric of ``first`` minus that of ``second`` with its interval; see ``bootstrap``."""
    named = {"first": first, "second": second}
    drawn = bootstrap({metric.name: metric}, truth, named, users, replicates=replicates, seed=seed)
    return drawn.difference(metric.name, "first", "second", level=level)


def _percentile(value: float, draws: FloatArray, *, level: float) -> Estimate:
    defined = draws[~np.isnan(draws)]
    dropped = len(draws) - len(defined)
    if math.isnan(value) or not len(defined):
        return Estimate(value, math.nan, math.nan, dropped)
    low, high = np.quantile(defined, ((1 - level) / 2, (1 + level) / 2))
    return Estimate(value, float(low), float(high), dropped)
