"""Fine-tunes a backbone for one task, or for several that share a trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

from valuecast.events.log import EventLog
from valuecast.models.foundation import Foundation
from valuecast.models.predictor import Predictor
from valuecast.models.registry import FUSED
from valuecast.tasks import Task
from valuecast.tasks.splits import TimeSplit
from valuecast.training.course import Options, check_options, prepare
from valuecast.training.stages import rounds_for
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop


def finetune(base: Foundation, task: Task, log: EventLog, **options: Unpack[Options]) -> Predictor:
    """Fine-tune a backbone on a log; cut the log first (``log.before(...)``): all of it is read.

    How many epochs are trained is chosen on the latest validation cutoffs. Networks of earlier rounds, trained as long,
    give held-out scores to calibrate on; the one that is returned is trained on all cutoffs. What is fused, and with
    which weights, is chosen on the same held-out scores.

    Args:
        base: the backbone; it is left as it is.
        task: what is asked.
        log: everything that may be known.
        options: see ``Options``.

    Raises:
        ModelError: the backbone has seen the validation horizon, or the log lacks a column.
        FitError: the method does not go with the trunk, a loss is not finite, or no part of a fusion can be fitted.
        TaskError: the log is too short for the task, or holds nothing that it counts.
        ConfigError: an option that the method would ignore.
    """
    return finetune_together(base, (task,), log, **options)[0]


def finetune_together(
    base: Foundation, tasks: Sequence[Task], log: EventLog, **options: Unpack[Options]
) -> tuple[Predictor, ...]:
    """Fine-tune one trunk for several tasks, as ``finetune`` does; each gets a predictor of its own.

    Raises:
        TaskError: the tasks do not share their cutoffs, or two of them have one name; and what ``finetune`` raises.
    """
    options.setdefault("method", FUSED)
    check_options(options, base)
    if options["method"] != FUSED:
        return tuple(fitted.predictor for fitted in prepare(base, tasks, log, **options).run())
    tables, split = options.get("tables", Tables()), options.get("split", TimeSplit())
    rounds_for(base, tasks, log, split, tables=tables)
    workshop = Workshop(tuple(tasks), base=base, folder=options.get("folder"))
    if "fusion" in options:
        workshop = replace(workshop, fusion=options["fusion"])
    workshop.check((FUSED,))
    seed, say = options.get("seed", 0), options.get("progress")
    return tuple(workshop.fit(FUSED, task, log, split=split, seed=seed, tables=tables, progress=say) for task in tasks)
