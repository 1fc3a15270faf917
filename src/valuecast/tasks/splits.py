"""Splits by time, and by users where time cannot be split: choose on validation, then refit on everything.

A training example is ``(user, at)`` with a label from ``[at, at + horizon)``. By time, nothing at or after
``before`` is read; validation cutoffs are the latest whose horizon ends by ``before``, and training
cutoffs' horizons end by the first of them. After the choice the model is refitted on all cutoffs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from valuecast import moments
from valuecast.errors import TaskError
from valuecast.events.log import EventLog
from valuecast.moments import Moment, moment
from valuecast.tasks.task import Task

EVERY = 15
"""Days between cutoffs."""
SHARES = 10_000


@dataclass(frozen=True)
class Round:
    """One choice: learn from ``train``, judge on ``validation``.

    By time these are cutoffs and ``users`` is empty; by users there is one cutoff, and ``users`` says which
    folds are judged. A model may read the log up to ``known``.
    """

    train: tuple[datetime, ...]
    validation: tuple[datetime, ...]
    fold: int | None = None

    @property
    def known(self) -> datetime:
        """What a model that is judged may know of the log: all before the first moment it is judged at."""
        return self.validation[0]


@dataclass(frozen=True)
class TimeSplit:
    """Cutoffs on a grid, all of whose horizons end by ``before``.

    Attributes:
        every: days between cutoffs.
        validation: how many of the latest cutoffs are for validation.
        rounds: how many times, going back in time, a model is judged on cutoffs later than all it learned
            from. Settings are chosen on the latest; all of them calibrate.
    """

    every: int = EVERY
    validation: int = 2
    rounds: int = 3

    def cutoffs(self, task: Task, log: EventLog) -> tuple[datetime, ...]:
        """Every cutoff that the log can label, the earliest first.

        Raises:
            TaskError: the log is too short to train, choose and refit.
        """
        last = log.span.until - task.horizon
        first = min(log.span.start + task.history, last)
        count = max(0, (last - first) // timedelta(days=self.every)) + 1
        cutoffs = tuple(last - timedelta(days=self.every) * i for i in reversed(range(count)))
        if last <= log.span.start or not self._round(cutoffs, task, 0):
            wanted = 2 * task.horizon + task.history + timedelta(days=self.every * self.validation)
            raise TaskError(
                f"a horizon of {task.horizon.days} days is too long for a log of {log.span.days:.0f} days ({log.span})",
                where=f"task '{task.name}'",
                remedy=f"Choosing and refitting wants about {wanted.days} days: shorten it, or split by users.",
            )
        return cutoffs

    def choices(self, task: Task, log: EventLog) -> tuple[Round, ...]:
        """The rounds, the latest first; fewer than asked for where the log is short."""
        cutoffs = self.cutoffs(task, log)
        found = (self._round(cutoffs, task, i) for i in range(self.rounds))
        return tuple(choice for choice in found if choice)

    def _round(self, cutoffs: tuple[datetime, ...], task: Task, back: int) -> Round | None:
        end = len(cutoffs) - back * self.validation
        validation = cutoffs[max(end - self.validation, 0) : max(end, 0)]
        train = tuple(at for at in cutoffs if validation and at + task.horizon <= validation[0])
        return Round(train, validation) if train and len(validation) == self.validation else None

    def holds(self, user: str) -> bool:
        """Whether a user is held out of training: by time nobody is."""
        return False

    def fold(self, user: str) -> int | None:
        """By time users have no fold."""
        return None

    def describe(self, task: Task, log: EventLog, choices: Sequence[Round]) -> dict[str, object]:
        """What the manifest says of the split and of the rounds that were run."""
        return {
            "by": "time",
            "every": self.every,
            "refitted_on": [moments.text(at) for at in self.cutoffs(task, log)],
            "chosen_on": [moments.text(at) for at in choices[0].validation],
            "calibrated_on": [moments.text(at) for choice in choices for at in choice.validation],
        }


@dataclass(frozen=True)
class UserSplit:
    """One cutoff, and users held out: for a log with one cohort and one season. Never mixed with time splits.

    Attributes:
        at: the cutoff.
        holdout: share of the users that are held out of training, by a digest of their name.
        folds: number of folds of the training users that choose and calibrate.
    """

    at: Moment
    holdout: float = 0.3
    folds: int = 4

    def cutoffs(self, task: Task, log: EventLog) -> tuple[datetime, ...]:
        """The one cutoff.

        Raises:
            TaskError: its horizon ends after the log.
        """
        at = moment(self.at)
        if not log.span.start < at <= log.span.until - task.horizon:
            raise TaskError(
                f"the log ({log.span}) does not hold {moments.text(at)} and {task.horizon.days} days after it",
                where=f"task '{task.name}'",
                remedy="Take another moment or a shorter horizon.",
            )
        return (at,)

    def choices(self, task: Task, log: EventLog) -> tuple[Round, ...]:
        """One round for each fold of the training users."""
        cutoffs = self.cutoffs(task, log)
        return tuple(Round(cutoffs, cutoffs, fold) for fold in range(self.folds))

    def holds(self, user: str) -> bool:
        """Whether a user is held out of training."""
        return _share(user, "holdout") < self.holdout * SHARES

    def fold(self, user: str) -> int | None:
        """The fold of a training user."""
        return _share(user, "fold") * self.folds // SHARES

    def describe(self, task: Task, log: EventLog, choices: Sequence[Round]) -> dict[str, object]:
        """What the manifest says of the split and of the rounds that were run."""
        at = moments.text(self.cutoffs(task, log)[0])
        return {"by": "users", "at": at, "holdout": self.holdout, "folds": len(choices), "refitted_on": [at]}


Split = TimeSplit | UserSplit


def _share(user: str, purpose: str) -> int:
    digest = hashlib.md5(f"{purpose}:{user}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") % SHARES
