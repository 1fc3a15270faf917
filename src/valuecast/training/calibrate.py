"""From raw scores to a head: level, calibration or interval, tiers, and what the manifest tells of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.metrics.registry import measured
from valuecast.models import calibration, interval, level
from valuecast.models.calibration import Shape
from valuecast.models.level import Level
from valuecast.models.model import Choice, FloatArray, Model
from valuecast.models.predictor import Head, tiers_of
from valuecast.tasks import Task


@dataclass(frozen=True)
class Scored:
    """Rows with a raw score and a label.

    Attributes:
        keys: ``user, at``.
        raw: by one model.
        truth: labels.
    """

    keys: pl.DataFrame
    raw: FloatArray
    truth: FloatArray


@dataclass(frozen=True)
class Judged:
    """What one model of one round says of the rows it learned from, and of later or other ones."""

    learned: Scored
    held: Scored


def calibrated(
    task: Task, days: int, *, model: Model, rounds: Sequence[Judged], every: Scored, choice: Choice, seed: int
) -> Head:
    """Make the head of one target.

    Args:
        task: what is asked.
        days: horizon of the target.
        model: refitted on everything.
        rounds: models fitted to less, and what they say of rows they have not seen.
        every: what ``model`` says of all rows it learned from.
        choice: settings that were chosen, and those that were tried.
        seed: of resampling.
    """
    pairs = _pairs([each.held for each in rounds])
    binary = task.kind == "binary"
    shape = calibration.fit(pairs, scale=model.scale, seed=seed) if binary else None
    # Held-out rows are scored as a user's will be: at the level that was known when their model was fitted.
    levels = np.concatenate([_level(shape, each.learned).of(each.held.keys[c.AT]) for each in rounds])
    score = shape.probabilities(pairs.raw, levels)[0] if shape else pairs.raw * levels
    numbers = measured(task.kind, pairs.truth, raw=pairs.raw, score=score)
    return Head(
        days=days,
        model=model,
        level=_level(shape, every),
        shape=shape,
        interval=None if binary else interval.fit(score, pairs),
        tiers=tiers_of(score),
        facts={
            "settings": choice.settings,
            "trials": choice.trials,
            "validation": {name: None if math.isnan(value) else value for name, value in numbers.items()},
            "backtest": _backtest([each.held for each in rounds], score),
        },
    )


def _pairs(held: Sequence[Scored]) -> calibration.Pairs:
    """Raw scores of held-out rows by models that have not seen them; a group is one cutoff of one round."""
    numbered = [each.keys.select(*c.KEY, pl.lit(number).alias("round")) for number, each in enumerate(held)]
    table = pl.concat(numbered).with_columns(
        pl.struct("round", c.AT).rank("dense").alias("group"), (pl.col(c.USER).rank("dense") - 1).alias("code")
    )
    return calibration.Pairs(
        np.concatenate([each.raw for each in held]),
        np.concatenate([each.truth for each in held]),
        table["group"].to_numpy().astype(np.int64),
        table["code"].to_numpy().astype(np.int64),
    )


def _backtest(held: Sequence[Scored], score: FloatArray) -> list[dict[str, Any]]:
    """Mean score and mean truth at each cutoff that some model was judged on before the refit."""
    rows = [each.keys.select(c.AT).with_columns(observed=each.truth) for each in held]
    means = pl.concat(rows).with_columns(predicted=score).group_by(c.AT).agg(pl.len().alias("users"), pl.all().mean())
    return [row | {c.AT: moments.text(row[c.AT])} for row in means.sort(c.AT).iter_rows(named=True)]


def _level(shape: Shape | None, rows: Scored) -> Level:
    if shape:
        return level.offsets(shape(rows.raw), rows.truth, rows.keys[c.AT])
    return level.factors(rows.raw, rows.truth, rows.keys[c.AT])
