"""From raw scores to a head: level, calibration or interval, tiers, and what the manifest tells of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.metrics.amount import coverage
from valuecast.metrics.probability import calibration_error
from valuecast.metrics.registry import measured
from valuecast.models import calibration, interval, level
from valuecast.models.calibration import Pairs, Shape
from valuecast.models.level import Level
from valuecast.models.model import Choice, FloatArray, Model
from valuecast.models.predictor import Head, tiers_of
from valuecast.tasks import Task

DOUBTLESS: Final = 2
"""Forecasts of the level count as good until so many held-out cutoffs, and more, have shown otherwise."""


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

    def among(self, keys: pl.DataFrame) -> Scored:
        """Return the rows that ``keys`` has too, in the order that they are in."""
        if self.keys.equals(keys):
            return self
        both = self.keys.with_columns(raw=self.raw, truth=self.truth).join(keys, on=list(c.KEY), how="semi")
        return Scored(both.select(c.KEY), both["raw"].to_numpy(), both["truth"].to_numpy())


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
    held = [each.held for each in rounds]
    pairs, binary = pairs_of(held), task.kind == "binary"
    shape = calibration.fit(pairs, scale=model.scale, seed=seed) if binary else None
    # Held-out rows are scored as a user's will be: at the level that was known when their model was fitted.
    known, truly = [_level(shape, each.learned) for each in rounds], [_level(shape, each) for each in held]
    score = _scores(shape, held, known)
    numbers = measured(task.kind, pairs.truth, raw=pairs.raw, score=score)
    return Head(
        days=days,
        model=model,
        level=replace(_level(shape, every), doubt=_doubt(known, truly)),
        shape=shape,
        interval=None if binary else interval.fit(_scores(None, held, truly), pairs),
        tiers=tiers_of(score),
        facts={
            "settings": choice.settings,
            "trials": choice.trials,
            "validation": {name: None if math.isnan(value) else value for name, value in numbers.items()},
            "backtest": _backtest(held, score),
            "left_out": _left_out(rounds, pairs, shape, known, truly),
        },
    )


def _score(shape: Shape | None, raw: FloatArray, levels: FloatArray) -> FloatArray:
    return shape.probabilities(raw, levels)[0] if shape else raw * np.exp(levels)


def _scores(shape: Shape | None, held: Sequence[Scored], levels: Sequence[Level]) -> FloatArray:
    pairs = zip(held, levels, strict=True)
    return np.concatenate([_score(shape, each.raw, level.of(each.keys[c.AT])[0]) for each, level in pairs])


def _doubt(known: Sequence[Level], truly: Sequence[Level]) -> float:
    """By how much levels missed held-out cutoffs, in units of what they themselves expected; 1 at least."""
    misses = []
    for before, after in zip(known, truly, strict=True):
        for day, value, noise in zip(after.days, after.values, after.noise, strict=True):
            at = after.first + timedelta(days=day)
            misses.append((value - before.at(at)) ** 2 / (before.spread(at) ** 2 + noise))
    return max(1.0, math.sqrt((DOUBTLESS + sum(misses)) / (DOUBTLESS + len(misses))))


def _left_out(
    rounds: Sequence[Judged], pairs: Pairs, shape: Shape | None, known: Sequence[Level], truly: Sequence[Level]
) -> list[dict[str, Any]]:
    """What to expect at a new cutoff: each held-out one, by a calibration that has seen nothing of its round.

    Coverage of 90% intervals for amounts, the calibration error for probabilities; empty where there is one round.
    Cutoffs of one round share most of their days, so that leaving out one of them alone would promise too much.
    """
    held = [each.held for each in rounds]
    number_of = np.repeat(np.arange(len(rounds)), [len(each.raw) for each in held])
    found: list[dict[str, Any]] = []
    for number, each in enumerate(rounds if len(rounds) > 1 else ()):
        others, truth = number_of != number, each.held.truth
        if shape:
            apart = calibration.shaped(pairs.only(others), shape.kind)
            score = _scores(apart, [each.held], [_level(apart, each.learned)])
        else:
            doubt = _doubt(*([level for i, level in enumerate(levels) if i != number] for levels in (known, truly)))
            level, spread = replace(known[number], doubt=doubt).of(each.held.keys[c.AT])
            amounts = interval.fit(_scores(None, held, truly)[others], pairs.only(others))
            low, high = amounts(_score(None, each.held.raw, level), spread)
        for at in each.held.keys[c.AT].unique().sort():
            own = (each.held.keys[c.AT] == at).to_numpy()
            if shape:
                name, value = "calibration_error", calibration_error(truth[own], score[own])
            else:
                name, value = "coverage", coverage(truth[own], low[own], high[own])
            found.append({c.AT: moments.text(at), "users": int(own.sum()), name: value})
    return found


def pairs_of(held: Sequence[Scored]) -> Pairs:
    """Raw scores of held-out rows by models that have not seen them; a group is one cutoff of one round."""
    numbered = [each.keys.select(*c.KEY, pl.lit(number).alias("round")) for number, each in enumerate(held)]
    table = pl.concat(numbered).with_columns(
        pl.struct("round", c.AT).rank("dense").alias("group"), (pl.col(c.USER).rank("dense") - 1).alias("code")
    )
    return Pairs(
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
