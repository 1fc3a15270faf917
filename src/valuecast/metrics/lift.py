"""How much of the truth a campaign reaches that goes to the highest predictions first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valuecast.metrics.amount import shares
from valuecast.metrics.metric import FloatArray, aligned, row_weights
from valuecast.metrics.order import bin_totals


@dataclass(frozen=True, eq=False)
class Lift:
    """Users and truth by bin, from the highest predictions to the lowest; each of shape (non-empty bins,).

    Attributes:
        share: share of the users.
        gain: share of the truth, nan where the true total is not positive.
    """

    share: FloatArray
    gain: FloatArray

    @property
    def lift(self) -> FloatArray:
        """Truth per user in the bin, relative to all users."""
        return self.gain / self.share

    @property
    def cumulative_share(self) -> FloatArray:
        """Share of the users in this bin and those above it."""
        return np.cumsum(self.share)

    @property
    def cumulative_gain(self) -> FloatArray:
        """Share of the truth in this bin and those above it."""
        return np.cumsum(self.gain)

    @property
    def cumulative_lift(self) -> FloatArray:
        """Truth per user in this bin and those above it, relative to all users."""
        return self.cumulative_gain / self.cumulative_share


def lift_curve(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, weight: npt.ArrayLike | None = None, *, bins: int = 10
) -> Lift:
    """Count users and truth, 0 and 1 or amounts, in bins of equal weight; equal predictions share a bin.

    Raises:
        ValueError: the shapes differ, a value is not finite, a weight is negative, or ``bins`` is less than 1.
    """
    truth, prediction = aligned(truth=truth, prediction=prediction)
    weights = row_weights(weight, rows=len(truth))
    users, found = bin_totals(prediction, weights, bins=bins, values=(truth,))
    return Lift(shares(users), shares(found))
