"""How good predicted probabilities are as probabilities: ``truth`` is 0 or 1, ``prediction`` in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from valuecast.metrics.metric import (
    LEVEL,
    FloatArray,
    Metric,
    Weighted,
    aligned,
    require,
    row_weights,
    weighted_mean,
)
from valuecast.metrics.order import TieGroups, bin_totals, sums

BINS: Final = 10

SMALLEST: Final = 1e-6
"""Probabilities are kept this far from 0 and 1 in the log-loss.

A model stored in 32 bits rounds anything within 6e-8 of 1 to 1, where a single miss would make the mean infinite.
With this limit a miss costs at most 13.8, so that one user cannot decide a comparison of thousands.
"""


@Metric
def log_loss(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Mean negative log-likelihood in nats, of predictions clipped to [1e-6, 1 - 1e-6] (see ``SMALLEST``)."""
    _require_probabilities(truth, prediction)
    clipped = np.clip(prediction, SMALLEST, 1 - SMALLEST)
    return weighted_mean(-np.where(truth == 1, np.log(clipped), np.log1p(-clipped)))


@Metric
def brier(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Mean squared difference between probability and outcome (Brier, 1950)."""
    _require_probabilities(truth, prediction)
    return weighted_mean((prediction - truth) ** 2)


@Metric
def calibration_error(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Expected calibration error: mean distance of predicted from observed rate, over ten bins of equal weight.

    (Naeini, Cooper and Hauskrecht, 2015, with equal-mass bins; equal predictions share a bin.)
    Chance alone makes it positive, the more so in small samples and once more in each resample: a
    bootstrap interval of it tends to lie too high and may miss the value itself.
    """
    _require_probabilities(truth, prediction)
    groups = TieGroups.descending(prediction)
    excess = prediction - truth

    def error(weight: FloatArray) -> float:
        gaps = sums(groups.bins(weight, BINS), weight * excess, count=BINS)
        return float(np.abs(gaps).sum() / weight.sum())

    return error


@dataclass(frozen=True, eq=False)
class Curve:
    """Predicted against observed rates, from the lowest bin to the highest; each of shape (non-empty bins,).

    Attributes:
        predicted: mean prediction.
        observed: mean truth.
        weight: sum of weights.
        low: lower end of the 90% interval of the observed rate.
        high: its upper end.
    """

    predicted: FloatArray
    observed: FloatArray
    weight: FloatArray
    low: FloatArray
    high: FloatArray


def calibration_curve(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, bins: int = BINS
) -> Curve:
    """Compare predicted and observed rates in bins of equal weight; equal predictions share a bin.

    The interval is Wilson's (1927), at ``LEVEL``, and takes the weight of a bin as its number of independent rows: with
    several rows per user it is too narrow.

    Raises:
        ValueError: the shapes differ, a value is out of range, or ``bins`` is less than 1.
    """
    truth, prediction = aligned(truth=truth, prediction=prediction)
    _require_probabilities(truth, prediction)
    weights = row_weights(weight, rows=len(truth))
    mass, predicted, observed = (
        totals[::-1] for totals in bin_totals(prediction, weights, bins=bins, values=(prediction, truth))
    )
    low, high = _wilson(observed / mass, mass)
    return Curve(predicted / mass, observed / mass, mass, low, high)


def _wilson(rate: FloatArray, trials: FloatArray) -> tuple[FloatArray, FloatArray]:
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    shrink = 1 + z**2 / trials
    centre = (rate + z**2 / (2 * trials)) / shrink
    half = z / shrink * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    # at a rate of 0 or 1 rounding would put the end of the interval past the rate by 1e-17
    return np.clip(centre - half, 0, rate), np.clip(centre + half, rate, 1)


def _require_probabilities(truth: FloatArray, prediction: FloatArray) -> None:
    require(np.isin(truth, (0, 1)), "truth must be 0 or 1")
    require((prediction >= 0) & (prediction <= 1), "prediction must be in [0, 1]")
