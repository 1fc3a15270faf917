"""What networks of one fine-tuning learn from, stage by stage: rounds that choose and calibrate, and the last one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.config.learning import Finetuning
from valuecast.errors import ModelError, TaskError
from valuecast.events.log import EventLog
from valuecast.models.foundation import Foundation
from valuecast.models.head_spec import needs_waits
from valuecast.tasks import Task
from valuecast.tasks.labels import DAYS, KNOWN, SEEN, check
from valuecast.tasks.splits import Round, Split
from valuecast.training.calibrate import Scored
from valuecast.training.fit import peopled
from valuecast.training.tables import Tables


def rounds_for(
    base: Foundation, tasks: Sequence[Task], log: EventLog, split: Split, *, tables: Tables
) -> tuple[Round, ...]:
    """Return the rounds, the latest first, whose validation a backbone has not seen.

    Raises:
        ModelError: it has seen that of all of them; the message names the latest moment that would do.
        TaskError: the log is too short, or the tasks have different cutoffs.
    """
    every = []
    for task in tasks:
        check(task, log)
        every.append(peopled(split.choices(task, log), tables.labelled(task, log, split), task))
    if any(other != every[0] for other in every):
        raise TaskError(
            f"{' and '.join(map(str, tasks))} have different cutoffs",
            where="tasks of one trunk",
            remedy="Fine-tune tasks of another horizon or another 'active' apart: a label of one would tell of the "
            "validation of the other.",
        )
    seen = base.seen_before(log)
    rounds = tuple(choice for choice in every[0] if seen is None or seen <= choice.known)
    if seen is not None and not rounds:
        latest, best = moments.text(every[0][0].known), moments.text(every[0][-1].known)
        raise ModelError(
            f"the backbone was pre-trained on what happened before {moments.text(seen)}, and has seen what "
            f"choices would be made by: the first validation cutoff is {latest}",
            where="backbone",
            remedy=f"Pre-train with --before {latest} at the latest; with {best} every round can calibrate.",
        )
    return rounds


@dataclass(frozen=True)
class TaskRows:
    """A task of the trunk: who is asked about when, and what happened.

    Attributes:
        task: what is asked.
        labelled: ``user, at`` and targets.
        truths: what the head learns from, row for row: the same, or waits.
        settings: may say which head.
    """

    task: Task
    labelled: pl.DataFrame
    truths: pl.DataFrame
    settings: Finetuning

    @classmethod
    def of(cls, task: Task, log: EventLog, split: Split, *, tables: Tables, settings: Finetuning) -> TaskRows:
        """Label a task's training examples."""
        labelled = tables.labelled(task, log, split)
        waiting = needs_waits(task, kind=settings.head)
        return cls(task, labelled, tables.waits(task, log, split) if waiting else labelled, settings)

    def known(self, rows: pl.Series, until: datetime | None) -> pl.DataFrame:
        """What was known of some rows at a moment: a wait that was not over by then is censored there."""
        kept = self.truths.filter(rows)
        if until is None or DAYS not in kept.columns:
            return kept
        days = (pl.lit(until, dtype=pl.Datetime("us")) - pl.col(c.AT)) / pl.duration(days=1)
        return kept.with_columns(
            pl.min_horizontal(DAYS, days).alias(DAYS),
            (pl.col(SEEN) & (pl.col(DAYS) < days)).alias(SEEN),
            days.alias(KNOWN),
        )

    def scored(self, raw: pl.DataFrame, rows: pl.Series, target: str) -> Scored:
        """Put raw scores beside the labels of some rows."""
        truth = self.labelled.filter(rows).select(*c.KEY, pl.col(target).alias("truth"))
        beside = truth.join(raw.select(*c.KEY, pl.col(target).alias("raw")), on=list(c.KEY), maintain_order="left")
        if len(beside) != len(truth):
            raise AssertionError(f"{len(truth)} labels and {len(beside)} scores")
        return Scored(beside.select(c.KEY), beside["raw"].to_numpy(), beside["truth"].to_numpy())


@dataclass(frozen=True)
class Stage:
    """One network: which rows of each part it learns from, which it is judged on, and what may be known.

    ``scored`` are the rows whose totals say at which level it answers: those that it learned from, and more where it
    learned from few.
    """

    name: str
    learned: tuple[pl.Series, ...]
    scored: tuple[pl.Series, ...]
    held: tuple[pl.Series, ...] | None = None
    until: datetime | None = None
