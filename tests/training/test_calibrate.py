"""Heads from held-out rounds: what is left out says what to expect, and levels that missed are doubted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.logs import START
from valuecast.models.model import Choice, FloatArray, Scale
from valuecast.models.predictor import Head
from valuecast.tasks import churn, value
from valuecast.training.calibrate import Judged, Scored, calibrated

USERS = 800


@dataclass(frozen=True)
class Known:
    """A model that is not asked."""

    scale: Scale

    def score(self, table: pl.DataFrame) -> FloatArray:
        return np.zeros(len(table))

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def scored(number: int, *, binary: bool, move: float = 0.0) -> Scored:
    """Users at the cutoff ``number``: raw scores that are right but for the level of the cutoff."""
    draw = np.random.default_rng(number)
    keys = pl.DataFrame({"user": [f"u{i}" for i in range(USERS)], "at": [START + timedelta(days=15 * number)] * USERS})
    raw = draw.normal(0, 1.5, USERS) if binary else draw.lognormal(3, 1, USERS)
    if binary:
        return Scored(keys, raw, (draw.uniform(size=USERS) < 1 / (1 + np.exp(-raw - move))).astype(float))
    return Scored(keys, raw, raw * np.exp(move) * draw.gamma(2, 0.5, USERS))


def joined(parts: list[Scored]) -> Scored:
    columns = ([part.raw for part in parts], [part.truth for part in parts])
    return Scored(pl.concat([part.keys for part in parts]), *(np.concatenate(column) for column in columns))


def head(*, binary: bool, moves: tuple[float, ...], rounds: int = 3) -> Head:
    cutoffs = [scored(number, binary=binary, move=move) for number, move in enumerate(moves)]
    judged = [
        Judged(joined(cutoffs[: len(moves) - 2 * back - 2]), joined(cutoffs[len(moves) - 2 * back - 2 :][:2]))
        for back in range(rounds)
    ]
    model, task = Known("log_odds" if binary else "amount"), churn(30) if binary else value(30)
    return calibrated(task, 30, model=model, rounds=judged, every=joined(cutoffs), choice=Choice({}), seed=0)


def test_what_was_left_out_is_held_as_often_as_intervals_say() -> None:
    rows = head(binary=False, moves=(0.2,) * 10).facts["left_out"]
    assert len({row["at"] for row in rows}) == 6
    assert all(row["users"] == USERS for row in rows)
    assert all(row["coverage"] == pytest.approx(0.9, abs=0.04) for row in rows)


def test_probabilities_that_were_left_out_are_nearly_true() -> None:
    rows = head(binary=True, moves=(0.2,) * 10).facts["left_out"]
    assert len(rows) == 6
    assert all(0 < row["calibration_error"] < 0.06 for row in rows)


def test_one_round_leaves_nothing_out() -> None:
    assert head(binary=False, moves=(0.0,) * 10, rounds=1).facts["left_out"] == []


def test_a_level_that_jumped_is_doubted_and_intervals_are_wider_for_it() -> None:
    steady, jumped = (head(binary=False, moves=(0.0,) * 8 + (move,) * 2) for move in (0.0, 1.0))
    assert steady.level.doubt == pytest.approx(1.0, abs=0.3)
    assert jumped.level.doubt > steady.level.doubt + 0.5
    at = START + timedelta(days=200)
    assert jumped.level.spread(at) > steady.level.spread(at)
