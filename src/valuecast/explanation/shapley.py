"""Shapley values by sampling: in which orders the parts of a user take the place of those of others.

The value of a set of parts is the score of a row that has these parts from the user and the rest from a reference: a
user like many. In a random order of the parts each takes its place after the other, and what the score moves by is its
effect; the mean over orders and references is the Shapley value. In every order the effects add up to the distance
from the reference's score to the user's, so they do on average, however few orders there are.

Sources: Shapley (1953), A value for n-person games; Strumbelj and Kononenko (2014), Explaining prediction models and
individual predictions with feature contributions (the sampling); Mitchell et al. (2022), Sampling permutations for
Shapley value estimation (each order with its reverse).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Plan:
    """Orders of K parts, and the reference that each starts from.

    Attributes:
        orders: shape (P, K); the part that takes its place first is first.
        reference: number of the reference of each order; shape (P,).
    """

    orders: IntArray
    reference: IntArray

    @classmethod
    def drawn(cls, parts: int, references: int, *, each: int, draw: np.random.Generator) -> Plan:
        """Draw ``each`` pairs of an order and its reverse for every reference."""
        found = np.stack([draw.permutation(parts) for _ in range(references * each)])
        both = np.stack([found, found[:, ::-1]], axis=1).reshape(-1, parts)
        return cls(both, np.repeat(np.arange(references), 2 * each))

    @property
    def coalitions(self) -> BoolArray:
        """Which parts are the user's after each step but the last; shape (P, K - 1, K)."""
        place = np.argsort(self.orders, axis=1)
        steps = np.arange(1, self.orders.shape[1])
        return place[:, None, :] < steps[None, :, None]

    def effects(self, between: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
        """Return the effect of each part in each order.

        Args:
            between: values of ``coalitions``; shape (P, K - 1, ...).
            start: values of the references, order by order; shape (P, ...).
            end: value of the user; shape (...).

        Returns:
            Shape (P, K, ...), by number of the part.
        """
        ends = np.broadcast_to(end, start.shape)
        path = np.concatenate([start[:, None], between, ends[:, None]], axis=1)
        place = np.argsort(self.orders, axis=1).reshape(*self.orders.shape, *(1,) * (path.ndim - 2))
        found: FloatArray = np.take_along_axis(np.diff(path, axis=1), place, axis=1)
        return found

    def summed(self, found: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the mean effects over orders and references, and their standard errors.

        An order and its reverse go together. The error is that of the mean for a user drawn with these weights: it also
        holds what the references differ by.

        Args:
            found: what ``effects`` returned; shape (P, K, ...).
            weights: of the references; they add up to one.

        Returns:
            Two arrays of shape (K, ...).
        """
        share = weights[self.reference] / np.bincount(self.reference)[self.reference]
        mean = np.tensordot(share, found, axes=1)
        pairs = found.reshape(-1, 2, *found.shape[1:]).mean(axis=1)
        spread = np.tensordot(share.reshape(-1, 2).sum(axis=1) ** 2, (pairs - mean) ** 2, axes=1)
        return mean, np.sqrt(spread)
