"""One predictor against another over many cells: the tasks and moments of several logs, as one difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from valuecast.metrics.bootstrap import REPLICATES, Estimate, Replicates, resample
from valuecast.metrics.metric import FloatArray, Metric, Weighted


@dataclass(frozen=True, eq=False)
class Cell:
    """What two predictors say of the same rows.

    Attributes:
        log: cells with the same one are of the same users.
        users: of each row.
        truth: shape (rows,).
        first: predictions, shape (rows,).
        second: those they are compared with, shape (rows,).
    """

    log: str
    users: pl.Series
    truth: FloatArray
    first: FloatArray
    second: FloatArray


def pooled(
    metric: Metric,
    cells: Sequence[Cell],
    *,
    relative: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate:
    """Return the metric of the first predictor minus that of the second, on average over cells, with its interval.

    Every cell counts the same. A resample draws users within each log, and takes all rows of a user together, whichever
    cells they are in; logs are drawn apart.

    Args:
        metric: of each predictor in each cell.
        cells: one or more.
        relative: whether each difference is a share of the second predictor's metric, as for amounts in unlike
            currencies.
        replicates: number of resamples.
        seed: of the resamples.
    """
    logs: dict[str, list[Cell]] = {}
    for cell in cells:
        logs.setdefault(cell.log, []).append(cell)
    values, draws = 0.0, np.zeros(replicates)
    for number, own in enumerate(logs.values()):
        gaps = [_gap(metric, cell, relative=relative) for cell in own]
        users = (pl.concat([cell.users for cell in own]).rank("dense") - 1).to_numpy().astype(np.int64)
        edges = np.cumsum([len(cell.users) for cell in own])[:-1]
        values += _sum(gaps, np.split(np.ones(len(users)), edges))
        for draw, weight in enumerate(resample(users, replicates=replicates, seed=seed + number)):
            draws[draw] += _sum(gaps, np.split(weight, edges))
    key, count = (metric.name, "pooled"), len(cells)
    return Replicates({key: values / count}, {key: draws / count}).interval(*key)


def _sum(gaps: Sequence[Weighted], weights: Sequence[FloatArray]) -> float:
    return sum(gap(weight) for gap, weight in zip(gaps, weights, strict=True))


def _gap(metric: Metric, cell: Cell, *, relative: bool) -> Weighted:
    first, second = (metric.prepare(cell.truth, each) for each in (cell.first, cell.second))

    def gap(weight: FloatArray) -> float:
        reference = second(weight)
        return (first(weight) - reference) / (reference if relative else 1.0)

    return gap
