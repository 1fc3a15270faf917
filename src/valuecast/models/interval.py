"""Predictive intervals for amounts: conformal, by size of the score, calibrated on held-out cutoffs.

How far amounts lie from scores at a right level is learned from held-out cutoffs. How wrong the level may be at the
next cutoff is known for each moment (``valuecast.models.level``): intervals are tabulated for several spreads of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from valuecast.models.calibration import LEVEL, Pairs
from valuecast.models.model import FloatArray

BINS = 10
SPREADS: Final = (0.0, 0.1, 0.2, 0.4, 0.8)
"""Standard deviations of the logarithm of the level for which there are intervals; in between they are interpolated,
and beyond the last they are no wider than there."""
_SMALLEST_BIN = 50
_NODES = 7  # of the Gauss-Hermite rule that averages over levels


@dataclass(frozen=True)
class Interval:
    """Quantiles of ``(truth - score) / (score + floor)`` in bins of the score, for each of ``SPREADS``.

    Attributes:
        edges: upper edge of each bin but the last.
        low: lower quantile of each bin, one line for each spread.
        high: upper quantile of each bin, likewise.
        floor: what is added to a score before dividing, so that scores near zero do not blow up.
        nonnegative: whether amounts cannot be below zero.
    """

    edges: tuple[float, ...]
    low: tuple[tuple[float, ...], ...]
    high: tuple[tuple[float, ...], ...]
    floor: float
    nonnegative: bool

    def __call__(self, score: FloatArray, spreads: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the ends of a 90% interval for each score; the score itself is always inside.

        Args:
            score: amounts.
            spreads: how uncertain the level of each is: the standard deviation of its logarithm.
        """
        bins = np.searchsorted(self.edges, score, side="left")
        place = np.interp(spreads, SPREADS, np.arange(len(SPREADS)))
        line = np.minimum(place.astype(np.int64), len(SPREADS) - 2)
        part, scale = place - line, np.abs(score) + self.floor
        low, high = (
            score + scale * (table[line, bins] * (1 - part) + table[line + 1, bins] * part)
            for table in (np.asarray(self.low), np.asarray(self.high))
        )
        low, high = np.minimum(low, score), np.maximum(high, score)
        return (np.maximum(low, 0.0) if self.nonnegative else low), high

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Interval:
        """Read back what ``to_dict`` wrote."""
        low, high = (tuple(tuple(line) for line in found[name]) for name in ("low", "high"))
        return cls(tuple(found["edges"]), low, high, floor=found["floor"], nonnegative=found["nonnegative"])


def fit(score: FloatArray, pairs: Pairs) -> Interval:
    """Find the quantiles, bin by bin; each cutoff weighs the same, however many users it has.

    Split conformal prediction with bins as classes: Vovk, Gammerman and Shafer (2005), Algorithmic learning in a
    random world, section 4.5 (Mondrian); the finite-sample correction is theirs. For a spread, the same rows stand at
    scores that are too high or too low by as much as a level of that spread would make them.

    Args:
        score: of held-out rows, at the level that was right at their cutoff.
        pairs: their truths and cutoffs.
    """
    nonnegative = bool(pairs.truth.min() >= 0)
    positive = np.abs(pairs.truth[pairs.truth != 0])
    floor = float(np.median(positive)) * 0.1 if len(positive) else 1.0
    share = 1.0 / np.bincount(pairs.group, minlength=int(pairs.group.max()) + 1)[pairs.group]
    bins = max(1, min(BINS, len(score) // _SMALLEST_BIN))
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1]))
    node, often = np.polynomial.hermite_e.hermegauss(_NODES)
    tables = []
    for spread in SPREADS:
        moves, weights = (np.exp(spread * node), often) if spread else (np.ones(1), np.ones(1))
        given = np.concatenate([score * move for move in moves])
        residual = (np.tile(pairs.truth, len(moves)) - given) / (np.abs(given) + floor)
        weight = np.concatenate([share * each for each in weights])
        bin_of = np.searchsorted(edges, given, side="left")
        ends = []
        for number in range(len(edges) + 1):
            inside = bin_of == number
            if not inside.any():  # ties can empty a bin; it takes what holds overall
                inside = np.ones_like(inside)
            beyond = (1 - LEVEL) / 2 * (1 - 1 / (inside.sum() / len(moves) + 1))
            ends.append(_quantiles(residual[inside], weight[inside], (beyond, 1 - beyond)))
        tables.append(tuple(zip(*ends, strict=True)))
    low, high = zip(*tables, strict=True)
    return Interval(tuple(map(float, edges)), low, high, floor, nonnegative)


def _quantiles(values: FloatArray, weight: FloatArray, levels: tuple[float, float]) -> tuple[float, float]:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    low, high = (values[order][min(int(np.searchsorted(reached, level)), len(values) - 1)] for level in levels)
    return float(low), float(high)
