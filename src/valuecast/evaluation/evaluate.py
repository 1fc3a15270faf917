"""Tests predictors at one moment and reports what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from valuecast import moments
from valuecast.config.recipe import Campaign
from valuecast.errors import ConfigError
from valuecast.evaluation.ladder import Ladder, Result, described
from valuecast.evaluation.outcomes import outcomes, truths
from valuecast.evaluation.page.page import page
from valuecast.evaluation.page.priority import check
from valuecast.evaluation.slices import check_fields, slices_of
from valuecast.events.log import EventLog
from valuecast.explanation.page.model import explained
from valuecast.language import Text
from valuecast.models.predictor import Predictor
from valuecast.moments import Moment, moment
from valuecast.report.blocks import Fact, Report
from valuecast.tasks import Task


def evaluate(
    models: Predictor | Sequence[Predictor] | Mapping[str, Predictor],
    log: EventLog,
    *,
    at: Moment,
    slices: Sequence[str] = (),
    campaign: Campaign | None = None,
    show_users: bool = False,
    made: Sequence[Fact] = (),
    seed: int = 0,
) -> Report:
    """Test predictors on what happened from ``at`` on; those of the same task are compared on the same users.

    Args:
        models: one, several, or several by name.
        log: holds the horizon after ``at`` too; no model reads it beyond ``at``.
        at: the test cutoff; not earlier than any model's own ``before``.
        slices: fields to break the results down by: ``users.x`` or a field of events.
        campaign: what is assumed about contacting users, to say whom; wants a model of churn and one of value.
        show_users: whether ids of users are shown as they are.
        made: how the report came about, for its foot.
        seed: of the bootstrap.

    Raises:
        ConfigError: no model, or a campaign or ids without the two tasks that they want.
        ModelError: ``at`` is earlier than a model's own ``before``.
        TaskError: the log does not hold the whole horizon.
    """
    when = moment(at)
    if isinstance(models, Predictor):
        models = [models]
    named = list(models.items()) if isinstance(models, Mapping) else _named(models)
    if not named:
        raise ConfigError("no model to test", remedy="Give at least one.")
    check_fields(log, slices)
    check([model.task for _, model in named], wanted={"campaign": campaign, "show_users": show_users})
    by_task: dict[Task, list[Result]] = {}
    for name, model in named:
        known = by_task.setdefault(model.task, [])
        found = outcomes(model, log, when, truth=truths(model.task, log, when))
        known.append(Result(name, when, found, heads=described(model, when), facts=model.facts))
    ladders = [Ladder(task, named[0][1].split, tuple(results)) for task, results in by_task.items()]
    title = Text("Evaluation at {at}", "{at} 的评估").format(at=moments.text(when))
    cut = slices_of(log, ladders, slices)
    best = [(ladder.task, target, ladder.best(target)) for ladder in ladders for target in ladder.task.targets]
    models_of = {(model.task, name): model for name, model in named}
    why = [
        explained(models_of[task, rung], log, at=when, target=target, segments=cut, show_users=show_users)
        for task, target, rung in best
    ]
    return page(
        ladders,
        title=title,
        log=log,
        slices=cut,
        campaign=campaign,
        why=why,
        show_users=show_users,
        made=made,
        seed=seed,
    )


def _named(models: Sequence[Predictor]) -> list[tuple[str, Predictor]]:
    """Name each model after its method, and number those of one method that answer the same task."""
    made = [(model.task, model.name) for model in models]
    return [
        (model.name if made.count(own) == 1 else f"{model.name} {made[: i + 1].count(own)}", model)
        for i, (own, model) in enumerate(zip(made, models, strict=True))
    ]
