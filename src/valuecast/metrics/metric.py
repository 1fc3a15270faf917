"""What a metric is: a number computed from truth, prediction and the weights of the rows.

Every metric is written once, in two steps: what depends on truth and prediction alone (an order, a
loss per row) is computed first, and the weights are applied to that. One call does both steps; a
bootstrap does the first once and the second for each of its resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Weighted = Callable[[FloatArray], float]
"""A metric of one truth and one prediction, still to be given the weights of the rows."""

LEVEL: Final = 0.9
"""Level of every interval: 5% of the error on either side."""


class Metric:
    """A metric, made by decorating the function that carries out its first step.

    A weight counts how often its row was seen: an integer weight is the same as repeating the row,
    zero the same as leaving it out. Without any weight the metric is nan.
    """

    def __init__(self, define: Callable[[FloatArray, FloatArray], Weighted]) -> None:
        self._define = define
        self.name = define.__name__
        self.__doc__ = define.__doc__

    def __repr__(self) -> str:
        return f"<metric {self.name}>"

    def __call__(self, truth: npt.ArrayLike, prediction: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
        """Compute the metric of arrays of shape (rows,); no weight means ones.

        Returns:
            The metric; nan where it is undefined.

        Raises:
            ValueError: the shapes differ, a value is not finite or out of the metric's range, a weight is negative.
        """
        evaluate = self.prepare(truth, prediction)
        return evaluate(row_weights(weight, rows=np.size(truth)))

    def prepare(self, truth: npt.ArrayLike, prediction: npt.ArrayLike) -> Weighted:
        """Carry out the first step; the result may be called with many weights of shape (rows,).

        Raises:
            ValueError: the shapes differ, or a value is not finite or out of the metric's range.
        """
        compute = self._define(*aligned(truth=truth, prediction=prediction))

        def evaluate(weight: FloatArray) -> float:
            return compute(weight) if weight.any() else math.nan

        return evaluate


def aligned(**arrays: npt.ArrayLike) -> tuple[FloatArray, ...]:
    """Return the arrays as float64 of one shape (rows,).

    Raises:
        ValueError: an array has more dimensions, another length than the first, or a value that is not finite.
    """
    checked: dict[str, FloatArray] = {}
    for name, values in arrays.items():
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 1:
            raise ValueError(f"{name} has {array.ndim} dimensions, not 1")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds a value that is not a finite number")
        for other, first in checked.items():
            if len(first) != len(array):
                raise ValueError(f"{name} has {len(array)} rows, {other} has {len(first)}")
        checked[name] = array
    return tuple(checked.values())


def row_weights(weight: npt.ArrayLike | None, *, rows: int) -> FloatArray:
    """Return the weights as float64 of shape (rows,), ones where there are none.

    Raises:
        ValueError: there is not one weight per row, or one is negative or not finite.
    """
    if weight is None:
        return np.ones(rows)
    (array,) = aligned(weight=weight)
    if len(array) != rows:
        raise ValueError(f"weight has {len(array)} rows, truth has {rows}")
    if (array < 0).any():
        raise ValueError("weight holds a negative value")
    return array


def weighted_mean(values: FloatArray) -> Weighted:
    """Return the mean of ``values``, still to be weighted."""
    return lambda weight: float(weight @ values / weight.sum())


def require(condition: npt.NDArray[np.bool_], what: str) -> None:
    """Refuse rows that are not in the range of a metric.

    Raises:
        ValueError: the condition fails in any row.
    """
    if not condition.all():
        raise ValueError(f"{what}; {int((~condition).sum())} of {condition.size} rows are not")
