"""A predictor: an answer to a task, for any log of the same shop, at any moment after it was fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from valuecast import artifact, moments
from valuecast import columns as c
from valuecast.errors import ModelError
from valuecast.events.keys import passes
from valuecast.events.log import EventLog
from valuecast.models import inputs as inputs_module
from valuecast.models import registry
from valuecast.models.calibration import Shape
from valuecast.models.inputs import Inputs
from valuecast.models.interval import Interval
from valuecast.models.level import Level
from valuecast.models.model import FloatArray, Model
from valuecast.models.neural import require
from valuecast.moments import Moment, moment
from valuecast.tasks import Task
from valuecast.tasks.labels import eligible, nobody
from valuecast.tasks.splits import Split, TimeSplit, UserSplit

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

KIND: Final = "predictor"
RAW: Final = "raw"
USERS_AT_ONCE: Final = 100_000
"""The base is scored in parts of about so many users: what models read of all need not fit in memory."""
TIERS: Final = ("low", "medium", "high")
TIER_QUANTILES: Final = (0.5, 0.8)
"""A score in the top fifth of the held-out scores at fitting is ``high``, in the lower half ``low``."""


@dataclass(frozen=True)
class Head:
    """The fitted answer for one target: a model, and how its raw score becomes a score with an interval.

    Attributes:
        days: horizon.
        model: gives raw scores.
        level: of the scores, by season.
        shape: from raw scores to log-odds, for a probability; None for an amount.
        interval: for an amount; None for a probability.
        tiers: scores from which a user is ``medium`` and ``high``.
        facts: settings chosen, trials, metrics on validation.
    """

    days: int
    model: Model
    level: Level
    shape: Shape | None
    interval: Interval | None
    tiers: tuple[float, float]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def calibration(self, at: datetime) -> str:
        """How a raw score becomes a score at a moment, in a word."""
        level = self.level.at(at)
        return f"{self.shape.kind}, log-odds {level:+.2f}" if self.shape else f"times {math.exp(level):.3f}"

    def score(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return ``raw, score, low, high, tier`` for each row of the inputs."""
        raw = self.model.score(table)
        level, spread = self.level.of(table[c.AT])
        if self.shape:
            score, low, high = self.shape.probabilities(raw, level, spread)
        elif self.interval:
            score = _amounts(raw, level)
            low, high = self.interval(score, spread)
        else:
            raise ValueError("a head has a shape or an interval")
        tier = np.searchsorted(self.tiers, score, side="right")
        named = pl.Series(tier).replace_strict(dict(enumerate(TIERS)), return_dtype=pl.String)
        return pl.DataFrame({RAW: raw, c.SCORE: score, c.LOW: low, c.HIGH: high, c.TIER: named})

    def point(self, table: pl.DataFrame, at: datetime) -> FloatArray:
        """Return the scores alone, of rows that are all of one moment."""
        raw, level = self.model.score(table), self.level.at(at)
        if self.shape:
            return self.shape.probabilities(raw, np.full(len(raw), level))[0]
        return _amounts(raw, np.full(len(raw), level))


def _amounts(raw: FloatArray, level: FloatArray) -> FloatArray:
    return np.asarray(raw * np.exp(level), dtype=np.float64)


def tiers_of(score: FloatArray) -> tuple[float, float]:
    """Cut points of the tiers from the scores of held-out users at fitting."""
    low, high = (float(cut) for cut in np.quantile(score, TIER_QUANTILES))
    return low, high


@dataclass(frozen=True)
class Predictor:
    """An answer to a task.

    Attributes:
        name: the method's name.
        task: what is asked.
        before: nothing at or after this moment was read in training.
        split: how it was chosen; a split by users keeps some users out, and reads labels after its cutoff.
        inputs: what the models read.
        heads: one for each target of the task.
        facts: log fingerprint, cutoffs, numbers of examples, and what else the manifest tells.
    """

    name: str
    task: Task
    before: datetime
    split: Split
    inputs: Inputs
    heads: Mapping[str, Head]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def predict(
        self, log: EventLog, *, at: Moment, users: Sequence[str] | None = None, states: str | Path | None = None
    ) -> pl.DataFrame:
        """Score everyone whom the task asks about at ``at``; nothing at or after ``at`` is read.

        Args:
            log: a log with the columns that were there at fitting.
            at: the moment; not earlier than ``before``.
            users: score only these, those of them whom the task asks about.
            states: a folder for what the model's networks make of each history. It holds until the user's next event:
                asked again at a later moment, only users with new events are read anew. Scores are the same but for
                the last bits. It is made where it does not exist. All states are in memory at once.

        Returns:
            ``user, at, target, score, low, high, tier``, one row for each user and target. A score is the probability
            of what the task names, or an amount; ``low`` and ``high`` are the ends of a 90% interval.

        Raises:
            ModelError: ``at`` is earlier than ``before``, the log lacks a column, or ``states`` are those of another
                model, or there is no network that has any.
            ConfigError: there is no room for all states.
            LogError: the log is not known until ``at``.
            TaskError: nobody is eligible, or none of ``users`` is.
        """
        return self.raw(log, at=at, users=users, states=states).drop(RAW)

    def raw(
        self, log: EventLog, *, at: Moment, users: Sequence[str] | None = None, states: str | Path | None = None
    ) -> pl.DataFrame:
        """``predict``, and the raw score that ranking metrics use in the column ``raw``."""
        at = log.asked(at)
        if log.engine == "spark":
            if states is not None:
                remedy = "Leave the states out, or ask the log on DuckDB."
                raise ModelError("executors of Spark keep no states", where=str(states), remedy=remedy)
            return self._from_executors(log, at, users)
        keys = eligible(self.task, log.before(at), [at])
        if users is not None:
            keys = keys.filter(pl.col(c.USER).is_in(list(users)))
        keys = self.allowed(keys, at)
        if keys.is_empty():
            raise nobody(self.task, log, [at], among=users)
        with ExitStack() as stack:
            inputs = self.inputs if states is None else self._remembering(Path(states), stack, users=len(keys))
            parts = passes(log.before(at), keys, at_once=USERS_AT_ONCE)
            found = pl.concat([self.answered(inputs.table(known, part)) for known, part in parts])
        return self._ordered(found)

    def _remembering(self, folder: Path, stack: ExitStack, *, users: int) -> Inputs:
        require("a model that keeps states")
        from valuecast.models import memory  # noqa: PLC0415 - an extra, and slow to import

        return memory.remembering(self.inputs, folder, stack, users=users)

    def predict_on_spark(self, log: EventLog, *, at: Moment, users: Sequence[str] | None = None) -> DataFrame:
        """Return what ``predict`` does as a table on Spark, for more scores than should come here.

        It is in no order, is computed each time that it is asked for, and has no rows where nobody is eligible.

        Args:
            log: on Spark, with the columns that were there at fitting.
            at: the moment; not earlier than ``before``.
            users: score only these, those of them whom the task asks about.

        Raises:
            ModelError: ``at`` is earlier than ``before``, the log lacks a column, or it is not on Spark.
            LogError: the log is not known until ``at``.
        """
        from valuecast.models import executors  # noqa: PLC0415 - it builds on this file

        if log.engine != "spark":
            raise ModelError("the log is not on Spark", where=log.origin, remedy="Open it there, or use predict.")
        return executors.raw(self, log, log.asked(at), users=users).drop(RAW)

    def _from_executors(self, log: EventLog, at: datetime, users: Sequence[str] | None) -> pl.DataFrame:
        from valuecast.events import spark  # noqa: PLC0415 - an extra, and slow to import
        from valuecast.models import executors  # noqa: PLC0415 - it builds on this file

        found = spark.collect(executors.raw(self, log, at, users=users))
        if found.is_empty():
            raise nobody(self.task, log, [at], among=users)
        return self._ordered(found)

    def _ordered(self, found: pl.DataFrame) -> pl.DataFrame:
        targets = pl.Enum(list(self.heads))
        return found.sort(pl.col(c.TARGET).cast(targets), c.AT, c.USER)

    def answered(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return what ``raw`` does of a table of inputs."""
        found = [
            pl.concat([table.select(c.KEY), head.score(table)], how="horizontal").with_columns(
                pl.lit(target).alias(c.TARGET)
            )
            for target, head in self.heads.items()
        ]
        return pl.concat(found).select(*c.KEY, c.TARGET, RAW, c.SCORE, c.LOW, c.HIGH, c.TIER)

    def allowed(self, keys: pl.DataFrame, at: datetime) -> pl.DataFrame:
        """Return the keys that training has not seen the outcome of.

        Raises:
            ModelError: training has read what happened at or after ``at``.
        """
        if isinstance(self.split, UserSplit) and at == moment(self.split.at):
            return keys.filter(pl.Series([self.split.holds(user) for user in keys[c.USER]], dtype=pl.Boolean))
        if at < self.before:
            raise ModelError(
                f"asked about {moments.text(at)}, but this model was fitted on what happened before "
                f"{moments.text(self.before)} and has seen the answer",
                where=f"model '{self.name}'",
                remedy=f"Ask about {moments.text(self.before)} or later, or fit with an earlier --before.",
            )
        return keys

    def save(self, folder: str | Path) -> None:
        """Write the predictor: a manifest, and the models as text, Parquet or safetensors.

        Raises:
            ModelError: the folder holds something that is not a predictor.
        """

        def write(draft: Path) -> None:
            self.inputs.save(draft)
            for target, head in self.heads.items():
                (draft / target).mkdir()
                head.model.save(draft / target)

        facts = {
            "name": self.name,
            "task": {"text": self.task.text, "when": self.task.when, "name": self.task.name},
            "before": moments.text(self.before),
            "split": {"by": "time", **asdict(self.split)} if isinstance(self.split, TimeSplit) else _users(self.split),
            "inputs": self.inputs.to_dict(),
            "heads": {target: _described(head) for target, head in self.heads.items()},
            "facts": dict(self.facts),
        }
        artifact.save(Path(folder), kind=KIND, facts=facts, write=write)

    @classmethod
    def load(cls, folder: str | Path) -> Predictor:
        """Read a predictor.

        Raises:
            ModelError: the folder is not a predictor, or it is damaged.
        """
        folder = Path(folder)
        found = artifact.load(folder, kind=KIND)
        try:
            return _read(found, folder)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the manifest does not describe a predictor ({error!r})",
                where=str(folder),
                remedy="Fit the model again.",
            ) from error


def _users(split: UserSplit) -> dict[str, Any]:
    return {"by": "users", **asdict(split), "at": moments.text(moment(split.at))}


def _described(head: Head) -> dict[str, Any]:
    return {
        "days": head.days,
        "level": head.level.to_dict(),
        "shape": head.shape and head.shape.to_dict(),
        "interval": head.interval and head.interval.to_dict(),
        "tiers": head.tiers,
        "facts": dict(head.facts),
    }


def _read(found: dict[str, Any], folder: Path) -> Predictor:
    task = Task(**found["task"])
    how = dict(found["split"])
    split: Split = TimeSplit(**how) if how.pop("by") == "time" else UserSplit(**how)
    heads = {
        target: Head(
            days=head["days"],
            model=registry.load(found["name"], folder / target),
            level=Level.from_dict(head["level"]),
            shape=Shape.from_dict(head["shape"]) if head["shape"] else None,
            interval=Interval.from_dict(head["interval"]) if head["interval"] else None,
            tiers=tuple(head["tiers"]),
            facts=head["facts"],
        )
        for target, head in found["heads"].items()
    }
    inputs = inputs_module.from_dict(found["inputs"], task=task, folder=folder)
    return Predictor(found["name"], task, moment(found["before"]), split, inputs, heads, found["facts"])
