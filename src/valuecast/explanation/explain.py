"""Explains one score: what moved it from the base rate, which stretches of the past, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import TaskError, suggest
from valuecast.events.log import EventLog
from valuecast.explanation import facts
from valuecast.explanation.change import WINDOW, Counterfactual, counterfactual
from valuecast.explanation.effects import effects
from valuecast.explanation.shapley import FloatArray
from valuecast.explanation.timeline import Timeline, timeline
from valuecast.explanation.typical import Typical, typical
from valuecast.language import Text
from valuecast.models.predictor import Predictor
from valuecast.moments import Moment
from valuecast.report.blocks import Fact, Report
from valuecast.tasks import Task
from valuecast.tasks.labels import eligible


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a user has a score.

    Attributes:
        task: what was asked.
        target: of the task.
        user: who was asked about.
        at: the moment.
        score: of the predictor, with ``low, high, tier``; one row as ``Predictor.predict`` gives it.
        asked: how many users the task asks about at the moment.
        drawn: how many of them were drawn at random for the base; all, where they are few.
        base: the mean score of those.
        drivers: ``driver, effect, error`` and the facts ``en, zh``, the strongest first; the effects and the base add
            up to the score.
        timeline: the stretches of the past and their effects, which add up likewise.
        counterfactual: what would take the score across a threshold; None where the user is in the best tier.
    """

    task: Task
    target: str
    user: str
    at: datetime
    score: Mapping[str, object]
    asked: int
    drawn: int
    base: float
    drivers: pl.DataFrame
    timeline: Timeline
    counterfactual: Counterfactual | None

    @property
    def sentences(self) -> tuple[Text, ...]:
        """What it says in three sentences: the score, what moved it, and what would change it."""
        from valuecast.explanation.page.sentences import sentences  # noqa: PLC0415 - it builds on this file

        return sentences(self)

    def report(self, *, made: Sequence[Fact] = ()) -> Report:
        """Make a page of it."""
        from valuecast.explanation.page.user import user_report  # noqa: PLC0415 - it builds on this file

        return user_report(self, made=made)

    def __str__(self) -> str:
        return str(self.report())

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def explain(
    predictor: Predictor,
    log: EventLog,
    *,
    user: str,
    at: Moment,
    target: str | None = None,
    threshold: float | None = None,
    days: int = WINDOW,
    changes: Sequence[str] | None = None,
    compared: Typical | None = None,
    seed: int = 0,
) -> Explanation:
    """Explain a user's score at a moment.

    Args:
        predictor: whose score it is; any will do.
        log: known until ``at``.
        user: who is asked about.
        at: the moment; not earlier than the predictor's ``before``.
        target: of the task; by default the longest horizon.
        threshold: that a change is to take the score across; by default the next tier in the better direction.
        days: within which something would have to happen.
        changes: types of event that may happen; by default purchases and the commonest acts of users in the log.
        compared: the users to compare with, where they are known from an earlier call at the same moment.
        seed: of the draw of users to compare with, and of the orders in which parts take effect.

    Raises:
        TaskError: there is no such user, target, or past; or the task does not ask about the user then.
        ModelError: ``at`` is earlier than ``before``.
        LogError: the log is not known until ``at``.
    """
    when = log.asked(at)
    known = log.before(when)
    aim = _target(predictor, target)
    _check_user(predictor, known, user, when)
    keys = pl.DataFrame({c.USER: [user]}).with_columns(pl.lit(when, dtype=pl.Datetime("us")).alias(c.AT))
    if predictor.allowed(keys, when).is_empty():
        raise TaskError(
            f"the model has learned what user '{user}' did after {moments.text(when)}",
            where=f"model '{predictor.name}'",
            remedy="In a split by users only those held out can be asked about.",
        )
    compared = compared or typical(predictor, known, when, without=frozenset({user}), seed=seed)
    material = predictor.inputs.material(known, keys)
    answered = predictor.answered(predictor.inputs.made(material)).filter(pl.col(c.TARGET) == aim)
    why = effects(predictor, material, compared, seed=seed)
    said = facts.facts(material, known, when).row(0, named=True)
    score = float(answered[c.SCORE][0])
    past = timeline(predictor, known, user, compared, {aim: score}, seed=seed)
    change = counterfactual(
        predictor, known, user, when, target=aim, now=score, threshold=threshold, days=days, events=changes
    )
    return Explanation(
        predictor.task,
        aim,
        user,
        when,
        answered.row(0, named=True),
        compared.eligible,
        len(compared.sample),
        compared.base[aim],
        _drivers(why.drivers, why.values[aim][0], why.errors[aim][0], said, when),
        past,
        change,
    )


def _drivers(
    codes: Sequence[str], values: FloatArray, errors: FloatArray, said: facts.Known, at: datetime
) -> pl.DataFrame:
    order = np.argsort(-np.abs(values), kind="stable")
    texts = [facts.told(codes[number], said, at) for number in order]
    return pl.DataFrame(
        {
            "driver": [codes[number] for number in order],
            "effect": values[order],
            "error": errors[order],
            "en": [text.en for text in texts],
            "zh": [text.zh for text in texts],
        }
    )


def _target(predictor: Predictor, target: str | None) -> str:
    targets = predictor.task.targets
    if target is None:
        return max(targets, key=lambda name: targets[name])
    if target not in targets:
        where = f"task '{predictor.task.name}'"
        raise TaskError(f"no target '{target}'", where=where, remedy=suggest(target, list(targets)))
    return target


def _check_user(predictor: Predictor, log: EventLog, user: str, at: datetime) -> None:
    """Say why there is nothing to explain, where there is not.

    Raises:
        TaskError: no such user, no event before the moment, or the task does not ask about the user.
    """
    times = log.collect(log.events.filter(log.events[c.USER] == user).select(c.TIME))[c.TIME]
    if times.is_empty():
        users = log.collect(log.events.select(c.USER).distinct().order_by(c.USER).limit(3))[c.USER].to_list()
        raise TaskError(
            f"no event of user '{user}' before {moments.text(at)}",
            where=log.origin,
            remedy=f"Ids are such as {', '.join(users)}. If the user came later, ask about a later moment.",
        )
    own = log.events.filter(log.events[c.USER] == user)
    try:
        asked = eligible(predictor.task, replace(log, events=own), [at])
    except TaskError:
        asked = None
    if asked is None or asked.is_empty():
        conditions = " and ".join(map(str, predictor.task.question.when))
        last = times.max()
        raise TaskError(
            f"the task does not ask about user '{user}' at {moments.text(at)}: it asks about those with {conditions}, "
            f"and the user's last event was on {moments.text(last)}",  # type: ignore[arg-type]
            where=f"task '{predictor.task.name}'",
            remedy="Ask about an earlier moment, or use a model of a task with a longer 'active'.",
        )
