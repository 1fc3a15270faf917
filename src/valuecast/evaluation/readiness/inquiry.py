"""What is checked: a task, a log, a moment, and the labels that the log can give."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import TaskError
from valuecast.events.log import EventLog
from valuecast.moments import Moment, moment
from valuecast.tasks import Task
from valuecast.tasks.labels import check as check_task
from valuecast.tasks.labels import history, labels
from valuecast.tasks.resolve import Resolver
from valuecast.tasks.splits import TimeSplit


@dataclass(frozen=True)
class Inquiry:
    """A task asked of a log.

    Attributes:
        task: what is asked.
        log: everything that is known.
        at: the moment whose users are looked at; its horizon ends within the log.
        split: the split that fitting would use.
        cutoffs: every cutoff that fitting on the whole log would use; none where it would refuse.
        labelled: ``user, at`` and the targets of everyone eligible at these cutoffs and at ``at``.
    """

    task: Task
    log: EventLog
    at: datetime
    split: TimeSplit
    cutoffs: tuple[datetime, ...]
    labelled: pl.DataFrame

    @property
    def asked(self) -> pl.DataFrame:
        """The labels at ``at``."""
        return self.labelled.filter(pl.col(c.AT) == self.at)

    @cached_property
    def past(self) -> pl.DataFrame:
        """The task's own question, asked of the past of everyone eligible at ``at`` (see ``tasks.labels.history``)."""
        return history(self.task, self.log.before(self.at), self.asked)


def inquire(task: Task, log: EventLog, *, at: Moment | None = None) -> Inquiry | None:
    """Cut the labels that the checks look at; None where there is nobody to look at.

    Args:
        task: what is asked.
        log: everything that is known.
        at: the latest moment whose horizon ends by the end of the log, where none is given.

    Raises:
        TaskError: the log holds nothing that the task counts, a column does not exist, or the horizon does not fit
            behind the ``at`` that was given.
    """
    check_task(task, log)
    for condition in task.question.when:
        Resolver(log, task.name).events(condition.aggregate)
    latest = log.span.until - task.horizon
    when = latest if at is None else moment(at)
    if not log.span.start < when <= latest:
        if at is None:
            return None
        raise TaskError(
            f"the log ({log.span}) does not hold {moments.text(when)} and {task.horizon.days} days after it",
            where=f"task '{task.name}'",
            remedy="Take another moment, or a shorter horizon.",
        )
    split = TimeSplit()
    cutoffs = cutoffs_of(split, task, log)
    try:
        labelled = labels(task, log, sorted({*cutoffs, when}))
    except TaskError:  # columns were checked, and horizons end within the log: nobody is eligible
        return None
    return Inquiry(task, log, when, split, cutoffs, labelled)


def cutoffs_of(split: TimeSplit, task: Task, log: EventLog) -> tuple[datetime, ...]:
    """The cutoffs that fitting would use; none where the log is too short for the split."""
    try:
        return split.cutoffs(task, log)
    except TaskError:  # it has no other reason, and the check says it in both languages
        return ()
