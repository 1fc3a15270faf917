"""A log becomes labelled texts: what users did before a cutoff, in words, and what they did after it as the label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.config.examples import Shares
from valuecast.errors import ConfigError, TaskError
from valuecast.events.log import EventLog
from valuecast.language import Language
from valuecast.moments import moment
from valuecast.sequences.textify import phrases
from valuecast.tasks import Task
from valuecast.tasks.labels import labels
from valuecast.training.examples.table import SPLIT, TEXT, drawn


def make(
    log: EventLog,
    task: Task,
    at: Sequence[str],
    *,
    language: Language = "en",
    users: int | None = None,
    events: int = 32,
    seed: int = 0,
) -> pl.DataFrame:
    """Write a log as labelled texts.

    With one cutoff the rows have no split, and are split by users where they are read. With several the last one is the
    test; of two, a share of the users of the first one are for validation; of more, the last but one is. No horizon of
    one split reaches into the next, so nobody is tested on what was learned from.

    Args:
        log: the log.
        task: of one target: its label is 1 or 0, or an amount.
        at: cutoffs, the earliest first.
        language: of the texts.
        users: of each cutoff at most, drawn by a digest.
        events: that a text tells of at most.
        seed: of whom is drawn.

    Returns:
        ``user, at, text, label`` and, with several cutoffs, ``split``; sorted by ``at, user``. Labels are texts, as in
        a file.

    Raises:
        ConfigError: cutoffs are out of order or too near each other.
        TaskError: the task has several targets, or the log cannot label a cutoff.
    """
    if len(task.targets) > 1:
        remedy = "Ask about one horizon, such as churn(days=30)."
        raise TaskError(
            "a text has one label, and the task several horizons", where=f"task '{task.name}'", remedy=remedy
        )
    cutoffs = [moment(each, where="at") for each in at]
    _check_cutoffs(cutoffs, task)
    (target,) = task.targets
    found = labels(task, log, cutoffs)
    if users is not None:
        chance = pl.Series([drawn(user, seed, purpose="who") for user in found[c.USER]], dtype=pl.Float64)
        rank = found.select(c.AT, chance.alias("chance")).select(pl.col("chance").rank("ordinal").over(c.AT))
        found = found.filter(rank.to_series() <= users)
    told = phrases(log, found.select(c.KEY), language=language, events=events)
    value = pl.col(target).cast(pl.Int64) if task.kind == "binary" else pl.col(target)
    made = found.select(
        *c.KEY,
        pl.Series(TEXT, [told.text(row) for row in range(len(found))], dtype=pl.String),
        value.cast(pl.String).alias(c.LABEL),
    )
    if len(cutoffs) == 1:
        return made
    late = [drawn(user, seed) >= 1 - Shares().validation for user in made[c.USER]]
    held = pl.Series(late, dtype=pl.Boolean) if len(cutoffs) == 2 else pl.col(c.AT) == cutoffs[-2]
    split = pl.when(pl.col(c.AT) == cutoffs[-1]).then(pl.lit("test")).when(held).then(pl.lit("validation"))
    return made.with_columns(split.otherwise(pl.lit("train")).alias(SPLIT))


def taught_by(at: Sequence[str]) -> datetime:
    """Return the last cutoff whose rows ``make`` gives for training."""
    return moment(at[max(0, len(at) - 3)])


def written(made: pl.DataFrame) -> pl.DataFrame:
    """Return the same as a file has it: moments as texts."""
    return made.with_columns(pl.Series(c.AT, [moments.text(at) for at in made[c.AT]], dtype=pl.String))


def digest(made: pl.DataFrame) -> str:
    """Return what tells labelled texts from others."""
    return hashlib.sha256(written(made).write_csv().encode()).hexdigest()[:12]


def _check_cutoffs(cutoffs: Sequence[datetime], task: Task) -> None:
    if not cutoffs:
        raise ConfigError("no cutoff", where="at", remedy="Give one moment or more.")
    if sorted(set(cutoffs)) != list(cutoffs):
        raise ConfigError("cutoffs are not in order", where="at", remedy="Give the earliest first, and each once.")
    for before, after in list(pairwise(cutoffs))[-2:]:
        if before + task.horizon > after:
            latest = moments.text(after - task.horizon)
            raise ConfigError(
                f"the {task.horizon.days} days after {moments.text(before)} reach beyond {moments.text(after)}, which "
                "is of another split",
                where="at",
                remedy=f"Give {latest} or an earlier moment in its place.",
            )
