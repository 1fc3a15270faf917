"""How close predicted amounts are, user by user, in the upper deciles and in total."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valuecast.metrics.metric import FloatArray, Metric, Weighted, aligned, require, row_weights, weighted_mean
from valuecast.metrics.order import bin_totals


@Metric
def mae(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Mean absolute error, in the currency of the amounts."""
    return weighted_mean(np.abs(prediction - truth))


@Metric
def rmse(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Root of the mean squared error, in the currency of the amounts."""
    mean_square = weighted_mean((prediction - truth) ** 2)
    return lambda weight: math.sqrt(mean_square(weight))


@Metric
def total_bias(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Predicted total over true total, minus 1: 0.1 is 10% too much. Undefined where the true total is not positive."""

    def bias(weight: FloatArray) -> float:
        total = weight @ truth
        return float(weight @ prediction / total - 1) if total > 0 else math.nan

    return bias


@dataclass(frozen=True, eq=False)
class Deciles:
    """Predicted against true amounts, from the highest predictions to the lowest; each of shape (non-empty bins,).

    Attributes:
        predicted: mean prediction.
        observed: mean truth.
        share: share of the true total, nan where that is not positive.
        users: sum of weights.
    """

    predicted: FloatArray
    observed: FloatArray
    share: FloatArray
    users: FloatArray


def deciles(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, bins: int = 10
) -> Deciles:
    """Compare predicted and true amounts in bins of equal weight, by prediction; equal predictions share a bin.

    Raises:
        ValueError: the shapes differ, a value is not finite, a weight is negative, or ``bins`` is less than 1.
    """
    truth, prediction = aligned(truth=truth, prediction=prediction)
    weights = row_weights(weight, rows=len(truth))
    users, predicted, observed = bin_totals(prediction, weights, bins=bins, values=(prediction, truth))
    return Deciles(predicted / users, observed / users, shares(observed), users)


def shares(amounts: FloatArray) -> FloatArray:
    """Return each amount's share of their sum, nan where the sum is not positive."""
    total = amounts.sum()
    return amounts / total if total > 0 else np.full_like(amounts, math.nan)


def coverage(
    truth: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, weight: npt.ArrayLike | None = None
) -> float:
    """Return the share of users whose truth lies in ``[low, high]``; nan without any weight.

    Raises:
        ValueError: the shapes differ, a value is not finite, a weight is negative, or an interval is upside down.
    """
    truth, low, high = aligned(truth=truth, low=low, high=high)
    require(low <= high, "low must not exceed high")
    return _mean((low <= truth) & (truth <= high), weight)


def interval_width(low: npt.ArrayLike, high: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Return the mean width of the intervals ``[low, high]``; nan without any weight.

    Raises:
        ValueError: the shapes differ, a value is not finite, a weight is negative, or an interval is upside down.
    """
    low, high = aligned(low=low, high=high)
    require(low <= high, "low must not exceed high")
    return _mean(high - low, weight)


def _mean(values: FloatArray | npt.NDArray[np.bool_], weight: npt.ArrayLike | None) -> float:
    weights = row_weights(weight, rows=len(values))
    return weighted_mean(values.astype(np.float64))(weights) if weights.any() else math.nan
