"""Predictive intervals for amounts: conformal, by size of the score, calibrated on held-out cutoffs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from valuecast.models.calibration import LEVEL, Pairs
from valuecast.models.model import FloatArray

BINS = 10
_SMALLEST_BIN = 50


@dataclass(frozen=True)
class Interval:
    """Quantiles of ``(truth - score) / (score + floor)`` in bins of the score.

    Attributes:
        edges: upper edge of each bin but the last.
        low: lower quantile of each bin.
        high: upper quantile of each bin.
        floor: what is added to a score before dividing, so that scores near zero do not blow up.
        nonnegative: whether amounts cannot be below zero.
    """

    edges: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    floor: float
    nonnegative: bool

    def __call__(self, score: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the ends of a 90% interval for each score; the score itself is always inside."""
        bins = np.searchsorted(self.edges, score, side="left")
        scale = np.abs(score) + self.floor
        low = np.minimum(score + np.asarray(self.low)[bins] * scale, score)
        high = np.maximum(score + np.asarray(self.high)[bins] * scale, score)
        return (np.maximum(low, 0.0) if self.nonnegative else low), high

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Interval:
        """Read back what ``to_dict`` wrote."""
        lines = {name: tuple(found[name]) for name in ("edges", "low", "high")}
        return cls(**lines, floor=found["floor"], nonnegative=found["nonnegative"])


def fit(score: FloatArray, pairs: Pairs) -> Interval:
    """Find the quantiles, bin by bin; each cutoff weighs the same, however many users it has.

    Split conformal prediction with bins as classes: Vovk, Gammerman and Shafer (2005), Algorithmic learning in a
    random world, section 4.5 (Mondrian); the finite-sample correction is theirs.
    """
    nonnegative = bool(pairs.truth.min() >= 0)
    positive = np.abs(pairs.truth[pairs.truth != 0])
    floor = float(np.median(positive)) * 0.1 if len(positive) else 1.0
    residual = (pairs.truth - score) / (np.abs(score) + floor)
    share = 1.0 / np.bincount(pairs.group, minlength=int(pairs.group.max()) + 1)[pairs.group]
    bins = max(1, min(BINS, len(score) // _SMALLEST_BIN))
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(edges, score, side="left")
    ends = []
    for number in range(len(edges) + 1):
        inside = bin_of == number
        if not inside.any():  # ties can empty a bin; it takes what holds overall
            inside = np.ones_like(inside)
        beyond = (1 - LEVEL) / 2 * (1 - 1 / (inside.sum() + 1))
        ends.append(_quantiles(residual[inside], share[inside], (beyond, 1 - beyond)))
    low, high = zip(*ends, strict=True)
    return Interval(tuple(map(float, edges)), low, high, floor, nonnegative)


def _quantiles(values: FloatArray, weight: FloatArray, levels: tuple[float, float]) -> tuple[float, float]:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    low, high = (values[order][min(int(np.searchsorted(reached, level)), len(values) - 1)] for level in levels)
    return float(low), float(high)
