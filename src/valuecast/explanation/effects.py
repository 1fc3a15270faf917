"""Which kinds of causes moved a score: Shapley values over what models read, on the score of the whole predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.explanation.shapley import FloatArray, IntArray, Plan
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
    scores = scored(predictor, material, typical.at)
    starts = {target: known[list(typical.rows)][plan.reference] for target, known in typical.scores.items()}
    values = {target: np.empty((len(material), len(mixer.drivers))) for target in scores}
    errors = {target: np.empty((len(material), len(mixer.drivers))) for target in scores}
    for first in range(0, len(material), USERS_AT_ONCE):
        part = slice(first, first + USERS_AT_ONCE)
        between = mixer.mixed(material[part], plan)
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
        self.drivers = tuple(code for code in DRIVERS if code in set(code_of.values()))
        self._columns = {code: [name for name, own in code_of.items() if own == code] for code in self.drivers}
        self._references = typical.sample[list(typical.rows)]

    def mixed(self, own: pl.DataFrame, plan: Plan) -> dict[str, FloatArray]:
        """Score each user with the coalitions of a plan; by target, shape (P, K - 1, users)."""
        among = plan.coalitions
        orders, steps, users = len(among), among.shape[1], len(own)
        both, user = pl.concat([own, self._references]), np.arange(users)
        found = {target: np.empty((orders, steps, users)) for target in self._predictor.heads}
        at_once = max(1, ROWS_AT_ONCE // max(1, steps * users))
        for first in range(0, orders if steps else 0, at_once):  # a predictor that reads one driver has no coalitions
            part = slice(first, first + at_once)
            other = users + plan.reference[part, None, None]
            rows = {
                code: np.where(among[part, :, place, None], user, other).ravel()
                for place, code in enumerate(self.drivers)
            }
            for target, score in self.scores(both, rows).items():
                found[target][part] = score.reshape(-1, steps, users)
        return found

    def scores(self, material: pl.DataFrame, rows: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        """Score users who have each driver from a row of a material, by target.

        Args:
            material: of the predictor's inputs.
            rows: by driver, the row that each user has it from; shape (users,).
        """
        found = [material.select(self._columns[code])[own] for code, own in rows.items()]
        moment = pl.lit(self._at, dtype=pl.Datetime("us")).alias(c.AT)
        keyed = pl.concat(found, how="horizontal").select(pl.lit("").alias(c.USER), moment, pl.all())
        return scored(self._predictor, keyed, self._at)
