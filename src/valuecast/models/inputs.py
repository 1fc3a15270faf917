"""What a model reads: a table keyed by ``(user, at)``, made from the log before ``at`` alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl

from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.features import compute as features
from valuecast.features import rfm
from valuecast.features.catalogue import Feature, FeatureSet
from valuecast.models import drivers
from valuecast.models.neural import require
from valuecast.tasks import Task
from valuecast.tasks.labels import history

_SILENCE: Final = "silence"


class Inputs(Protocol):
    """A recipe for the inputs of a model; equal recipes give equal tables."""

    def table(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """Return ``user, at`` of ``keys`` and the inputs, sorted by ``at, user``.

        Raises:
            ModelError: the log lacks a column that was there at fitting.
        """

    def material(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """Return what the inputs are made of, in parts that can be taken from one user and given to another.

        Returns:
            ``user, at`` of ``keys``, sorted by ``at, user``, and Float64 columns.
        """

    def made(self, material: pl.DataFrame) -> pl.DataFrame:
        """Return the inputs that a material makes: ``made(material(log, keys))`` is ``table(log, keys)``."""

    def drivers(self) -> Mapping[str, str]:
        """Say for each column of the material which driver it belongs to (see ``valuecast.models.drivers``)."""

    def engineered(self) -> Mapping[str, Feature]:
        """Return the columns of the material that are engineered features, and which."""

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data; ``from_dict`` reads it back."""

    def save(self, folder: Path) -> None:
        """Write what plain data cannot hold, such as weights, into a folder of files."""


@dataclass(frozen=True)
class FeatureInputs:
    """Engineered features."""

    features: FeatureSet

    def table(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """Compute every feature of the set."""
        return features.compute(self.features, log, keys)

    def material(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """The features themselves."""
        return self.table(log, keys)

    def made(self, material: pl.DataFrame) -> pl.DataFrame:
        """They are the inputs."""
        return material

    def drivers(self) -> Mapping[str, str]:
        """By family, mostly."""
        return {name: drivers.of_feature(feature) for name, feature in self.engineered().items()}

    def engineered(self) -> Mapping[str, Feature]:
        """All of them."""
        return {feature.name: feature for feature in self.features.features}

    def to_dict(self) -> dict[str, Any]:
        """The set as plain data."""
        return {"kind": "features", "features": self.features.to_dict()}

    def save(self, folder: Path) -> None:
        """The recipe says everything."""


@dataclass(frozen=True)
class HistoryInputs:
    """The task's own question asked of the past (see ``valuecast.tasks.labels.history``)."""

    task: Task

    def table(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """Ask it."""
        return history(self.task, log, keys)

    def material(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """The answers themselves."""
        return self.table(log, keys)

    def made(self, material: pl.DataFrame) -> pl.DataFrame:
        """They are the inputs."""
        return material

    def drivers(self) -> Mapping[str, str]:
        """What is counted or added up, how long ago it last happened, and since when the user is there."""
        sums = drivers.MONEY if self.task.question.aggregate.function == "sum" else drivers.FREQUENCY
        counted = dict.fromkeys((*self.task.targets, "ever"), sums)
        return {**counted, "silence": drivers.SILENCE, "tenure": drivers.TENURE}

    def engineered(self) -> Mapping[str, Feature]:
        """None of them."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """The kind and the question; at reading the manifest's task is the same."""
        return {"kind": "history", "task": str(self.task)}

    def save(self, folder: Path) -> None:
        """The recipe says everything."""


@dataclass(frozen=True)
class PurchaseInputs:
    """Frequency, recency and age of customer-base models, in weeks, and the mean value of a purchase day.

    Someone eligible who has not bought yet (a visitor, a return) counts as acquired at the first event, with no
    repeat purchase since.
    """

    def table(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """Count purchase days up to each ``at``."""
        found = rfm.summary(log, keys)
        if not found[rfm.AGE].null_count():
            return found
        newcomers = found.filter(pl.col(rfm.AGE).is_null()).select(c.KEY)
        first = rfm.first_seen(log, newcomers)
        return (
            found.join(first, on=list(c.KEY), how="left")
            .with_columns(
                pl.col(rfm.AGE).fill_null(pl.col(rfm.SINCE_FIRST)), pl.col(rfm.FREQUENCY, rfm.RECENCY).fill_null(0.0)
            )
            .drop(rfm.SINCE_FIRST)
            .sort(c.AT, c.USER)
        )

    def material(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """The silence in place of the recency: that of one user and the age of another are a history, too."""
        found = self.table(log, keys)
        return found.with_columns((pl.col(rfm.AGE) - pl.col(rfm.RECENCY)).alias(_SILENCE)).drop(rfm.RECENCY)

    def made(self, material: pl.DataFrame) -> pl.DataFrame:
        """Put the last purchase where the silence says, but not before the first; without a repeat it is the first."""
        recency = (pl.col(rfm.AGE) - pl.col(_SILENCE)).clip(lower_bound=0.0)
        repeated = pl.when(pl.col(rfm.FREQUENCY) > 0).then(recency).otherwise(0.0)
        return material.with_columns(repeated.alias(rfm.RECENCY)).drop(_SILENCE)

    def drivers(self) -> Mapping[str, str]:
        """One each."""
        return {
            rfm.FREQUENCY: drivers.FREQUENCY,
            _SILENCE: drivers.SILENCE,
            rfm.AGE: drivers.TENURE,
            rfm.MONETARY: drivers.MONEY,
        }

    def engineered(self) -> Mapping[str, Feature]:
        """None of them."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Nothing but the kind."""
        return {"kind": "purchases"}

    def save(self, folder: Path) -> None:
        """The recipe says everything."""


def from_dict(found: dict[str, Any], *, task: Task, folder: Path) -> Inputs:
    """Read back what ``to_dict`` and ``save`` wrote."""
    match found["kind"]:
        case "features":
            return FeatureInputs(FeatureSet.from_dict(found["features"]))
        case "history":
            return HistoryInputs(task)
        case "purchases":
            return PurchaseInputs()
        case "network":
            require("a fine-tuned backbone")
            from valuecast.models.finetuned import Answers  # noqa: PLC0415 - an extra, and slow to import

            return Answers.load(found, folder)
        case "panel":
            require("a fused model")
            from valuecast.models.panel import Panel  # noqa: PLC0415 - it builds on this file

            return Panel.load(found, folder, task=task)
    raise KeyError(found["kind"])
