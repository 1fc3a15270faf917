"""Which kinds of causes moved a score: Shapley values over what models read, on the score of the whole predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.explanation.shapley import BoolArray, FloatArray, Plan
from valuecast.explanation.typical import Typical, scored
from valuecast.models.drivers import DRIVERS
from valuecast.models.predictor import Predictor

ROWS_AT_ONCE: Final = 32_768
USERS_AT_ONCE: Final = 2_048


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects of drivers on the scores of users; with the base they add up to the scores.

    Attributes:
        drivers: codes, in the order of the second axis.
        scores: by target; shape (users,).
        values: by target; shape (users, drivers).
        errors: standard errors of the values by the draw of orders and references, likewise.
        base: by target.
    """

    drivers: tuple[str, ...]
    scores: Mapping[str, FloatArray]
    values: Mapping[str, FloatArray]
    errors: Mapping[str, FloatArray]
    base: Mapping[str, float]


def effects(predictor: Predictor, material: pl.DataFrame, typical: Typical, *, each: int = 1, seed: int = 0) -> Effects:
    """Explain the scores of all rows of a material.

    Args:
        predictor: whose scores they are.
        material: of the predictor's inputs, at the moment of ``typical``.
        typical: whom to compare with.
        each: pairs of orders for each reference.
        seed: of the orders.
    """
    mixer = Mixer(predictor, typical)
    plan = Plan.drawn(len(mixer.drivers), len(typical.rows), each=each, draw=np.random.default_rng(seed))
    own = mixer.matrix(material)
    scores = scored(predictor, material, typical.at)
    starts = {target: known[list(typical.rows)][plan.reference] for target, known in typical.scores.items()}
    values = {target: np.empty((len(own), len(mixer.drivers))) for target in scores}
    errors = {target: np.empty((len(own), len(mixer.drivers))) for target in scores}
    for first in range(0, len(own), USERS_AT_ONCE):
        part = slice(first, first + USERS_AT_ONCE)
        between = mixer.mixed(own[part], plan)
        for target, mixed in between.items():
            start = np.repeat(starts[target][:, None], mixed.shape[-1], axis=1)
            found = plan.effects(mixed, start, scores[target][part])
            mean, error = plan.summed(found, typical.weights[target])
            values[target][part], errors[target][part] = mean.T, error.T
    return Effects(mixer.drivers, scores, values, errors, typical.base)


class Mixer:
    """Makes rows that have some drivers from one user and the rest from another, and scores them.

    Attributes:
        drivers: the codes of those that the predictor reads.
    """

    def __init__(self, predictor: Predictor, typical: Typical) -> None:
        self._predictor, self._at = predictor, typical.at
        code_of = predictor.inputs.drivers()
        self._columns = list(code_of)
        self.drivers = tuple(code for code in DRIVERS if code in set(code_of.values()))
        place = {code: number for number, code in enumerate(self.drivers)}
        self._driver = np.array([place[code_of[name]] for name in self._columns])
        self._references = self.matrix(typical.sample)[list(typical.rows)]

    def matrix(self, material: pl.DataFrame) -> FloatArray:
        """Return the columns of a material; shape (rows, columns), NaN where nothing is known."""
        found: FloatArray = material.select(pl.col(self._columns).fill_null(float("nan"))).to_numpy()
        return found

    def mixed(self, own: FloatArray, plan: Plan) -> dict[str, FloatArray]:
        """Score each user with the coalitions of a plan; by target, shape (P, K - 1, users)."""
        among = plan.coalitions
        orders, steps, users = len(among), among.shape[1], len(own)
        found = {target: np.empty((orders, steps, users)) for target in self._predictor.heads}
        at_once = max(1, ROWS_AT_ONCE // max(1, steps * users))
        for first in range(0, orders if steps else 0, at_once):  # a predictor that reads one driver has no coalitions
            part = slice(first, first + at_once)
            others = self._references[plan.reference[part]][:, None, None, :]
            kept = self._kept(among[part])[:, :, None, :]
            rows = np.where(kept, own[None, None], others).reshape(-1, own.shape[1])
            for target, score in self.scores(rows).items():
                found[target][part] = score.reshape(-1, steps, users)
        return found

    def swapped(self, own: FloatArray, other: FloatArray, codes: tuple[str, ...]) -> FloatArray:
        """Return rows that have some drivers from ``other``."""
        taken = np.isin(self._driver, [self.drivers.index(code) for code in codes])
        return np.where(taken, other, own)

    def scores(self, rows: FloatArray) -> dict[str, FloatArray]:
        """Return the scores of rows, by target."""
        frame = pl.DataFrame(rows, schema=self._columns, orient="row").fill_nan(None)
        moment = pl.lit(self._at, dtype=pl.Datetime("us")).alias(c.AT)
        keyed = frame.select(pl.lit("").alias(c.USER), moment, pl.all())
        return scored(self._predictor, keyed, self._at)

    def _kept(self, coalitions: BoolArray) -> BoolArray:
        found: BoolArray = coalitions[..., self._driver]
        return found
