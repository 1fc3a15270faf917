"""Scores beside what happened: one row for each user, moment and target."""

from __future__ import annotations

from typing import Final

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import TaskError
from valuecast.events.log import EventLog
from valuecast.models.predictor import Predictor
from valuecast.moments import Moment, moment
from valuecast.tasks import Task
from valuecast.tasks.labels import labels

TRUTH: Final = "truth"


def truths(task: Task, log: EventLog, at: Moment) -> pl.DataFrame:
    """Return ``user, at, target, truth`` of everyone eligible at ``at``.

    Raises:
        TaskError: the log does not hold the whole horizon.
    """
    wide = labels(task, log, [moment(at)])
    return wide.unpivot(on=list(task.targets), index=list(c.KEY), variable_name=c.TARGET, value_name=TRUTH)


def outcomes(predictor: Predictor, log: EventLog, at: Moment, *, truth: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return ``user, at, target, raw, score, low, high, tier, truth`` of everyone whom the predictor may be tested on.

    Args:
        predictor: is asked about ``at`` and reads nothing after it.
        log: holds the horizon after ``at`` too.
        at: the test cutoff.
        truth: what ``truths`` gives, where it is known already.

    Raises:
        ModelError: ``at`` is earlier than the predictor's own ``before``.
        TaskError: the log does not hold the whole horizon, or nobody is left to test on.
    """
    scored = predictor.raw(log, at=at)
    found = scored.join(truths(predictor.task, log, at) if truth is None else truth, on=[*c.KEY, c.TARGET], how="inner")
    if len(found) != len(scored):
        raise AssertionError(f"{len(scored)} scores and {len(found)} labels")
    if found.is_empty():
        raise TaskError(
            f"no user is left to test on at {moments.text(moment(at))}",
            where=f"task '{predictor.task.name}'",
            remedy="Take another moment, or hold out more users.",
        )
    return found.sort(c.TARGET, c.AT, c.USER)
