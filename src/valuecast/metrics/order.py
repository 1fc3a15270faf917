"""Rows ordered by score, with equal scores kept together.

Nothing that is computed from an order here depends on the order in which the rows arrived: rows of
equal score form one group, which is ranked, binned and counted as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuecast.metrics.metric import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class TieGroups:
    """Groups of rows with one score, numbered from the highest score down.

    Attributes:
        of_row: number of the group of each row, shape (rows,).
        count: how many groups there are.
    """

    of_row: IntArray
    count: int

    @classmethod
    def descending(cls, score: FloatArray) -> TieGroups:
        """Group rows by ``score``, shape (rows,)."""
        distinct, of_row = np.unique(-score, return_inverse=True)
        return cls(of_row, len(distinct))

    def total(self, values: FloatArray) -> FloatArray:
        """Sum the values of the rows, shape (rows,), in each group, shape (count,)."""
        return sums(self.of_row, values, count=self.count)

    def bins(self, weight: FloatArray, count: int) -> IntArray:
        """Cut the rows into ``count`` bins of equal weight, numbered from the top; shape (rows,).

        A group goes as a whole into the bin where the middle of its weight lies. Large groups
        therefore leave some bins empty.
        """
        mass = self.total(weight)
        # twice and ``count`` times over, so that whole weights give whole numbers and no rounding at the edges
        position = count * doubled_midpoints(mass)
        edges = np.searchsorted(position, 2 * mass.sum() * np.arange(1, count))
        of_group = np.repeat(np.arange(count), np.diff(edges, prepend=0, append=self.count))
        return of_group[self.of_row]


def sums(code: IntArray, values: FloatArray, *, count: int) -> FloatArray:
    """Sum the values of the rows with each code, 0 to ``count`` - 1; shape (count,)."""
    return np.bincount(code, values, minlength=count).astype(np.float64, copy=False)


def doubled_midpoints(mass: FloatArray) -> FloatArray:
    """Return twice the cumulative weight at the middle of each group; both of shape (groups,).

    But for a constant, half of it is the average rank of the group's rows.
    """
    return 2 * np.cumsum(mass) - mass


def bin_totals(
    score: FloatArray, weight: FloatArray, *, bins: int, values: tuple[FloatArray, ...]
) -> tuple[FloatArray, ...]:
    """Sum weights and weighted values by bin of ``score``, the highest scores first.

    Returns:
        The weight of each bin and the weighted sum of each of ``values``, shape (non-empty bins,).

    Raises:
        ValueError: ``bins`` is less than 1.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    of_row = TieGroups.descending(score).bins(weight, bins)
    mass = sums(of_row, weight, count=bins)
    used = mass > 0
    return mass[used], *(sums(of_row, weight * column, count=bins)[used] for column in values)
