"""The nearest task that would do: other horizons, other conditions of activity, a gentler question."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from valuecast import columns as c
from valuecast.errors import TaskError
from valuecast.evaluation.readiness.finding import VERDICTS, Finding, worst
from valuecast.evaluation.readiness.history import history
from valuecast.evaluation.readiness.inquiry import Inquiry, cutoffs_of
from valuecast.evaluation.readiness.people import people
from valuecast.evaluation.readiness.rhythm import rhythm
from valuecast.events.log import EventLog
from valuecast.tasks import Task, parse
from valuecast.tasks.labels import labels
from valuecast.tasks.query import Aggregate, Comparison, Condition, Question
from valuecast.tasks.splits import TimeSplit

HORIZONS: Final = (7, 14, 30, 60, 90, 180, 365)
"""Days that are tried beside the task's own."""
ACTIVE: Final = (2, 4)
"""Conditions of activity that are tried beside the task's own, in horizons."""
MOST: Final = 24
"""So many candidates are looked at, the nearest first."""
OTHER_ACTIVITY: Final = 0.3
OTHER_QUESTION: Final = 1.5
"""How far away another window of activity (for each factor e) and another question are; of a horizon each e is 1."""

_ACTIVE: Final = Aggregate("count")
_BOUGHT: Final = Comparison(">", 0.0)


def mendable(task: Task, log: EventLog, at: datetime) -> tuple[Finding, ...]:
    """The checks that another task may pass on the same log, at one moment alone.

    Raises:
        TaskError: nobody is eligible.
    """
    split = TimeSplit()
    inquiry = Inquiry(task, log, at, split, cutoffs_of(split, task, log), labels(task, log, [at]))
    return people(inquiry), history(inquiry), rhythm(inquiry)


def nearest(task: Task, log: EventLog) -> str | None:
    """Return the nearest task that passes, as text for ``--task``; None where none of those looked at does."""
    tried = 0
    for candidate in candidates(task):
        at = log.span.until - candidate.horizon
        if at <= log.span.start or not cutoffs_of(TimeSplit(), candidate, log):
            continue
        tried += 1
        if tried > MOST:
            return None
        try:
            found = mendable(candidate, log, at)
        except TaskError:  # nobody is eligible
            continue
        if worst(finding.verdict for finding in found) == VERDICTS[0]:
            return written(candidate)
    return None


def candidates(task: Task) -> Iterator[Task]:
    """Tasks in the neighbourhood of ``task``, the nearest first, itself left out."""
    longest, active = max(task.question.days), active_days(task)
    found: dict[str, tuple[float, Task]] = {}
    for name, aggregate, comparison, apart in _questions(task):
        for days in sorted({longest, *HORIZONS, *task.question.days}):
            horizons = tuple(each for each in task.question.days if each <= days) or (days,)
            horizons = horizons if len(task.question.days) > 1 else (days,)
            for window in sorted({active, *(days * times for times in ACTIVE)}) if active else [None]:
                when = task.question.when if window is None else (Condition(_ACTIVE, window, _BOUGHT),)
                other = _task(name, Question(aggregate, horizons, comparison, when))
                cost = apart + abs(math.log(max(horizons) / longest))
                cost += OTHER_ACTIVITY * abs(math.log(window / active)) if window and active else 0.0
                if other.question != task.question:
                    found.setdefault(str(other), (cost, other))
    for _, other in sorted(found.values(), key=lambda pair: pair[0]):
        yield other


def active_days(task: Task) -> int | None:
    """Days of ``active=N``; None where eligibility is another condition, or none."""
    when = task.question.when
    plain = len(when) == 1 and when[0].aggregate == _ACTIVE and when[0].comparison == _BOUGHT
    return when[0].days if plain else None


def written(task: Task) -> str:
    """Write a task as briefly as it can be read back."""
    days, active = task.question.days, active_days(task)
    named = "value" if task.name == "net_value" else task.name
    arguments = [f"days={days[0] if len(days) == 1 else list(days)}"]
    arguments += ["net=true"] if task.name == "net_value" else []
    arguments += [f"active={active}"] if active else []
    brief = f"{named}({', '.join(arguments)})"
    try:
        same = parse(brief).question == task.question
    except TaskError:
        same = False
    return brief if same else str(task)


def _questions(task: Task) -> Iterator[tuple[str, Aggregate, Comparison | None, float]]:
    """The task's own question, and whether anything counted happens at all: more users do, and no sum is one user's."""
    asked = task.question
    yield task.name, asked.aggregate, asked.comparison, 0.0
    bought = replace(asked.aggregate, function="count", column=None, where=None, events=(c.PURCHASE,))
    if c.PURCHASE in asked.aggregate.events and (task.name == "churn" or task.kind == "amount"):
        yield "purchase", bought, _BOUGHT, OTHER_QUESTION


def _task(name: str, question: Question) -> Task:
    when = " and ".join(map(str, question.when))
    return Task(str(replace(question, when=())), when=when or None, name=name)
