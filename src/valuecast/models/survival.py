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

    At the task's own horizons the probabilities are the predictor's scores; at others they go through the calibration
    of the next longer horizon, or of the longest.

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
    """Put the chances of nothing by each day through the heads' calibration; shape (users, days), never rising."""
    sign = 1.0 if predictor.task.waiting == "stays_away" else -1.0
    heads = sorted(predictor.heads.values(), key=lambda head: head.days)
    levels = {head.days: np.full(len(none), head.level.at(at)) for head in heads}
    found = np.empty_like(none)
    for day in range(none.shape[1]):
        head = next((each for each in heads if each.days >= day), heads[-1])
        assert head.shape is not None
        odds = sign * logit(np.clip(none[:, day], _SMALL, 1 - _SMALL))
        found[:, day] = head.shape.probabilities(odds, levels[head.days])[0]
    chances = found if sign > 0 else 1 - found
    chances[:, 0] = 1.0
    falling: NDArray[np.float64] = np.minimum.accumulate(chances, axis=1)
    return falling


def _median(none: NDArray[np.float64]) -> NDArray[np.float64]:
    """When the chance of nothing passes one half, in days, between two of which it is linear; NaN where it does not."""
    over = none <= 0.5
    day, rows = over.argmax(axis=1), np.arange(len(none))  # never 0 where it passes: the chance starts at one
    before, after = none[rows, day - 1], none[rows, day]
    with np.errstate(divide="ignore", invalid="ignore"):
        days = day - 1 + (before - 0.5) / (before - after)
    return np.where(over.any(axis=1), days, np.nan)
