"""Where numbers stand among those of the training rows: what a network can read of features of any scale."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

POINTS: Final = 128
"""Quantiles between which a number's standing is interpolated."""
FURTHEST: Final = 2.0
"""Standard deviations beyond which nothing stands."""
_LARGEST: Final = 1e37  # numbers beyond it stand where it does: the difference of two must be finite in float32


class Standing(nn.Module):
    """Each number as the normal score of its rank among the training rows, and whether it is missing.

    The rank is that of ``numpy.interp`` through the quantiles, in the middle of ties; normal scores are those of van
    der Waerden (1952). A missing number stands in the middle; one that was never seen stands no further out than the
    last that was. The quantiles are part of the weights.

    Attributes:
        width: of what comes out: two for each number.
    """

    points: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.width = 2 * columns
        self.register_buffer("points", torch.zeros(columns, POINTS))

    @classmethod
    def of(cls, numbers: NDArray[np.float32]) -> Standing:
        """Learn the quantiles of the columns of training rows; shape (R, K), NaN where a number is missing."""
        found = cls(numbers.shape[1])
        levels = np.linspace(0, 1, POINTS)
        for column, values in enumerate(numbers.T):
            known = values[~np.isnan(values)].clip(-_LARGEST, _LARGEST).astype(np.float64)
            if len(known):
                found.points[column] = torch.from_numpy(np.quantile(known, levels).astype(np.float32))
        return found

    def forward(self, numbers: Tensor) -> Tensor:
        """Shape (R, K) in, (R, width) out."""
        missing = numbers.isnan()
        values = numbers.nan_to_num(0.0).T.clamp(self.points[:, :1], self.points[:, -1:]).contiguous()
        rank = self._rank(values)
        # Half a point from either end, so that no rank is certain; the middle where all training rows are alike.
        score = torch.special.ndtri((rank.clamp(0, POINTS - 1) + 0.5) / POINTS).clamp(-FURTHEST, FURTHEST)
        alike = self.points[:, :1] == self.points[:, -1:]
        standing = torch.where(missing, 0.0, torch.where(alike, 0.0, score).T)
        return torch.cat([standing, missing.to(standing.dtype)], dim=1)

    def _rank(self, values: Tensor) -> Tensor:
        """The place of values between the points, interpolated; in the middle of points that they are equal to."""
        first = torch.searchsorted(self.points, self.points)
        last = torch.searchsorted(self.points, self.points, right=True) - 1
        place = torch.searchsorted(self.points, values)  # of the first point that is not below; there is one
        high, low = self.points.gather(1, place), self.points.gather(1, (place - 1).clamp_min(0))
        between = place - 1 + (values - low) / (high - low)
        return torch.where(values == high, ((first + last) / 2).gather(1, place), between)
