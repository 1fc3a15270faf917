"""When will it happen: the chance that nothing has by any day, and the expected date, from one fitted hazard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import logit

from valuecast import columns as c
from valuecast.errors import ModelError
from valuecast.events.log import EventLog
from valuecast.models.predictor import Predictor
from valuecast.moments import Moment
from valuecast.tasks.labels import eligible

if TYPE_CHECKING:
    from valuecast.models.finetuned import Answers

_SMALL = 1e-7


def survival(predictor: Predictor, log: EventLog, *, at: Moment, days: Sequence[int] = (30, 60, 90)) -> pl.DataFrame:
    """Say when what the task asks about will next happen to each user; nothing at or after ``at`` is read.

    At the task's own horizons the probabilities are the predictor's scores; on other days they follow the user's
    hazard, brought to those scores.

    Args:
        predictor: fine-tuned for a task of whether something happens, with a hazard.
        log: a log with the columns that were there at fitting.
        at: the moment; not earlier than the predictor's ``before``.
        days: horizons, whole days.

    Returns:
        ``user, at``; for each horizon ``none_by_30d``, the probability that nothing happens in the first 30 days;
        ``median_date``, by which it has happened to half of such users, null where that is later than the last day
        that the model knows; ``expected_days``, the restricted mean wait: one longer than that day counts as that day.

    Raises:
        ModelError: the predictor has no hazard, or a horizon is longer than training data showed.
        LogError: the log is not known until ``at``.
        TaskError: nobody is eligible.
    """
    when = log.asked(at)
    inputs: Answers = predictor.inputs  # type: ignore[assignment]
    if not hasattr(inputs, "hazard"):
        raise ModelError(
            f"'{predictor.name}' says whether, not when",
            where="survival",
            remedy="Fine-tune a backbone with a method that trains one network, such as `--method frozen`.",
        )
    last = inputs.hazard.spec.edges[-1]
    for each in days:
        if not 0 < each <= last:
            raise ModelError(f"{each} days", where="horizon", remedy=f"The model knows waits of 1 to {last} days.")
    known = log.before(when)
    keys = predictor.allowed(eligible(predictor.task, known, [when]), when)
    grid = np.arange(last + 1)
    none = _calibrated(predictor, inputs.survival(known, keys, list(map(float, grid))), at=when)
    micros = pl.Series(_median(none) * 86_400e6, nan_to_null=True).round().cast(pl.Int64).cast(pl.Duration("us"))
    return keys.with_columns(
        *(pl.Series(f"none_by_{each}d", none[:, each]) for each in days),
        (pl.col(c.AT) + micros).alias("median_date"),
        pl.Series("expected_days", np.trapezoid(none, axis=1)),
    )


def _calibrated(predictor: Predictor, none: NDArray[np.float64], *, at: datetime) -> NDArray[np.float64]:
    """Bring the chances of nothing by each day to the predictor's scores at its horizons; shape (users, days).

    Between two horizons, and beyond the last, a user's hazard is multiplied by what makes it right where it is known
    to be: its shape is the network's. Calibration of a horizon is not asked about other days: how a score moves from
    user to user there says nothing of how it moves with the days.
    """
    sign = 1.0 if predictor.task.waiting == "stays_away" else -1.0
    hazard = -np.log(np.clip(none, _SMALL, 1.0))
    found, done, reached = np.zeros_like(hazard), 0, np.zeros(len(none))
    for head in sorted(predictor.heads.values(), key=lambda each: each.days):
        assert head.shape is not None
        odds = sign * logit(np.clip(none[:, head.days], _SMALL, 1 - _SMALL))
        score = head.shape.probabilities(odds, np.full(len(none), head.level.at(at)))[0]
        target = np.maximum(-np.log(score if sign > 0 else 1 - score), reached)
        part = _parts(hazard, done, head.days)
        found[:, done : head.days + 1] = reached[:, None] + (target - reached)[:, None] * part
        done, reached = head.days, target
    ratio = reached / np.maximum(hazard[:, done], _SMALL)
    found[:, done:] = reached[:, None] + ratio[:, None] * (hazard[:, done:] - hazard[:, [done]])
    return np.exp(-found)


def _parts(hazard: NDArray[np.float64], begin: int, end: int) -> NDArray[np.float64]:
    """Which part of the hazard from one day to another is behind by each day between; evenly where there is none."""
    within = hazard[:, begin : end + 1] - hazard[:, [begin]]
    whole = within[:, [-1]]
    evenly = np.linspace(0.0, 1.0, end - begin + 1)
    return np.where(whole > _SMALL, within / np.maximum(whole, _SMALL), evenly)


def _median(none: NDArray[np.float64]) -> NDArray[np.float64]:
    """When the chance of nothing passes one half, in days, between two of which it is linear; NaN where it does not."""
    over = none <= 0.5
    day, rows = over.argmax(axis=1), np.arange(len(none))  # never 0 where it passes: the chance starts at one
    before, after = none[rows, day - 1], none[rows, day]
    with np.errstate(divide="ignore", invalid="ignore"):
        days = day - 1 + (before - 0.5) / (before - after)
    return np.where(over.any(axis=1), days, np.nan)
