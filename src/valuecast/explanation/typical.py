"""The base rate at a moment, and the few users whom everybody is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import brentq

from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.explanation.shapley import FloatArray
from valuecast.models.predictor import Predictor
from valuecast.tasks.labels import eligible

ASKED: Final = 500
"""Users, drawn at random, whose mean score is the base rate; all of them where there are fewer."""
REFERENCES: Final = 24
_STEEPEST: Final = 700.0  # of a tilt: beyond it an exponential overflows


@dataclass(frozen=True, eq=False)
class Typical:
    """What everybody scores at a moment, and references that stand for them.

    Attributes:
        at: the moment.
        eligible: how many users the task asks about then.
        sample: ``user, at`` of those whose scores are known, sorted, and the columns of the material of the predictor.
        scores: of the sample, by target.
        base: mean score, by target.
        rows: the references: their places in the sample, by rising score.
        weights: of the references, by target; they add up to one, and the weighted mean of their scores is the base.
    """

    at: datetime
    eligible: int
    sample: pl.DataFrame = field(repr=False)
    scores: Mapping[str, FloatArray]
    base: Mapping[str, float]
    rows: tuple[int, ...]
    weights: Mapping[str, FloatArray]

    def again(self, seed: int) -> Typical:
        """Return the same with as many other references, drawn at random from equal parts of the ranking."""
        scores = list(self.scores.values())[-1]
        rows = _strata(scores, np.arange(len(scores)), len(self.rows), np.random.default_rng(seed))
        return replace(self, rows=rows, weights=_weights(self.scores, self.base, rows))

    @property
    def references(self) -> list[str]:
        """The users that the references are."""
        return self.sample[c.USER].gather(list(self.rows)).to_list()


def typical(
    predictor: Predictor,
    log: EventLog,
    at: datetime,
    *,
    asked: int = ASKED,
    references: int = REFERENCES,
    without: frozenset[str] = frozenset(),
    seed: int = 0,
) -> Typical:
    """Draw users at random, score them, and choose references evenly over their scores.

    References stand at the middles of as many equal parts of the ranking. Their weights differ as little from each
    other as they can, in relative entropy, for their mean to be that of the sample; that is calibration weighting:
    Deville and Sarndal (1992), Calibration estimators in survey sampling.

    Args:
        predictor: is asked.
        log: known until ``at``.
        at: the moment.
        asked: how many to score.
        references: how many to compare with.
        without: users who are not to be references.
        seed: of the draw.
    """
    keys = predictor.allowed(eligible(predictor.task, log.before(at), [at]), at)
    drawn = keys.sample(min(asked, len(keys)), seed=seed).sort(c.USER)
    sample = predictor.inputs.material(log.before(at), drawn)
    scores = scored(predictor, sample, at)
    base = {target: float(own.mean()) for target, own in scores.items()}
    may = np.flatnonzero(~sample[c.USER].is_in(list(without)).to_numpy())
    rows = _strata(list(scores.values())[-1], may, references, None)
    return Typical(at, len(keys), sample, scores, base, rows, _weights(scores, base, rows))


def scored(predictor: Predictor, material: pl.DataFrame, at: datetime) -> dict[str, FloatArray]:
    """Return the scores that a material makes, by target."""
    table = predictor.inputs.made(material)
    return {target: head.point(table, at) for target, head in predictor.heads.items()}


def _strata(
    scores: FloatArray, may: NDArray[np.int64], count: int, draw: np.random.Generator | None
) -> tuple[int, ...]:
    """Choose rows evenly over the ranking of those that may be chosen: the middles of its parts, or any row of each."""
    order = may[np.argsort(scores[may], kind="stable")]
    parts = min(count, len(order))
    inside = np.full(parts, 0.5) if draw is None else draw.random(parts)
    return tuple(int(row) for row in order[((np.arange(parts) + inside) / parts * len(order)).astype(np.int64)])


def _weights(
    scores: Mapping[str, FloatArray], base: Mapping[str, float], rows: tuple[int, ...]
) -> dict[str, FloatArray]:
    return {target: _tilted(own[list(rows)], base[target]) for target, own in scores.items()}


def _tilted(scores: FloatArray, mean: float) -> FloatArray:
    """Return weights next to equal ones with which scores have a mean; equal ones where none have it."""
    apart = scores - mean
    if not apart.min() < 0 < apart.max():
        return np.full(len(scores), 1 / len(scores))
    apart = apart / np.abs(apart).max()

    def weights(slope: float) -> FloatArray:
        found = np.exp(slope * apart - (slope * apart).max())
        return np.asarray(found / found.sum(), dtype=np.float64)

    slope = float(brentq(lambda slope: float(weights(slope) @ apart), -_STEEPEST, _STEEPEST, xtol=1e-14))
    return weights(slope)
