"""Pooling: one difference over cells of several logs, with users drawn within each."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from valuecast.evaluation.comparison import compare
from valuecast.evaluation.pooling import Cell, pooled
from valuecast.metrics.amount import mae
from valuecast.metrics.ranking import auc


def cell(log: str, *, seed: int, users: int = 200, better: float = 1.0, unit: float = 1.0) -> Cell:
    """The first predictor has so many times less noise than the second."""
    draw = np.random.default_rng(seed)
    hidden = draw.normal(size=users)
    truth = (hidden + draw.normal(size=users) > 0).astype(float)
    first, second = (hidden + noise * draw.normal(size=users) for noise in (1 / better, 1.0))
    names = pl.Series([f"u{i:03}" for i in range(users)])
    return Cell(log, names, truth * unit, first * unit, second * unit)


def test_one_cell_is_the_difference_of_the_comparison() -> None:
    one = cell("a", seed=1, better=3)
    base = pl.DataFrame({"user": one.users, "truth": one.truth}).with_columns(at=pl.lit(datetime(2020, 1, 1)))
    frames = {
        name: base.with_columns(raw=values, score=1 / (1 + np.exp(-values)))
        for name, values in {"first": one.first, "second": one.second}.items()
    }
    compared = compare(frames, kind="binary", reference="second", replicates=50, seed=4)
    row = compared.filter(rung="first", metric="auc").row(0, named=True)
    found = pooled(auc, [one], replicates=50, seed=4)
    assert (found.value, found.low, found.high) == pytest.approx(
        tuple(row[f"difference{end}"] for end in ("", "_low", "_high"))
    )


def test_cells_count_the_same_whatever_their_size() -> None:
    cells = [cell("a", seed=1, better=5, users=900), cell("b", seed=2, users=60), cell("b", seed=3, users=60)]
    each = [auc(one.truth, one.first) - auc(one.truth, one.second) for one in cells]
    assert pooled(auc, cells, replicates=5).value == pytest.approx(np.mean(each))


def test_rows_of_one_user_are_drawn_together() -> None:
    """The same cell twice tells nothing new of the same users, but does of others."""
    one = cell("a", seed=1, better=2)
    alone = pooled(auc, [one], replicates=300)
    twice = pooled(auc, [one, one], replicates=300)
    others = pooled(auc, [one, Cell("b", one.users, one.truth, one.first, one.second)], replicates=300)
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high))
    assert others.high - others.low < 0.85 * (alone.high - alone.low)


def test_a_relative_difference_has_no_currency() -> None:
    pounds, yen = cell("a", seed=1, better=2), cell("a", seed=1, better=2, unit=190.0)
    one, other = (pooled(mae, [each], relative=True, replicates=50) for each in (pounds, yen))
    assert one.value < 0
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
