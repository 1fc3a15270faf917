"""What a fitted model of one target is, what it learns from, and how a method makes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.models.inputs import Inputs
from valuecast.tasks import Task

FloatArray = NDArray[np.float64]
Scale = Literal["rank", "log_odds", "amount"]
"""What a raw score is: an order and no more, the logarithm of the odds, or an amount."""

Settings = Mapping[str, Any]


class Model(Protocol):
    """A fitted model of one target: a raw score for each row of its inputs, higher for more."""

    @property
    def scale(self) -> Scale:
        """What the raw scores are."""

    def score(self, table: pl.DataFrame) -> FloatArray:
        """Return one raw score for each row of ``table``, on the model's ``scale``."""

    def save(self, folder: Path) -> None:
        """Write the model as text, Parquet or safetensors into an existing, empty folder."""


@dataclass(frozen=True)
class Examples:
    """What a model of one target may learn from, or is judged on.

    Attributes:
        log: the log up to the moment that is known.
        table: the inputs, one row for each ``(user, at)``.
        truth: the label of each row; float64, 0 or 1 for a binary task.
        days: the target's horizon.
        excluded: whether a user's history may not be read: held out, or in the fold that is judged.
    """

    log: EventLog
    table: pl.DataFrame
    truth: FloatArray
    days: int
    excluded: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if len(self.table) != len(self.truth):
            raise ValueError(f"{len(self.table)} rows of inputs and {len(self.truth)} labels")


@dataclass(frozen=True)
class Choice:
    """Settings chosen on validation, and every setting that was tried with its loss there."""

    settings: Settings
    trials: tuple[Settings, ...] = ()


Rounds = Sequence[tuple[Examples, Examples]]


class Method(Protocol):
    """A way to make a model: a rung of the ladder."""

    @property
    def name(self) -> str:
        """What ``valuecast fit`` calls it."""

    @property
    def label(self) -> Text:
        """What a person calls it."""

    def objection(self, task: Task) -> str | None:
        """Say why this method cannot answer ``task``; None where it can."""

    def inputs(self, task: Task, log: EventLog) -> Inputs:
        """Return what the models read, learned from ``log`` where there is something to learn."""

    def choose(self, task: Task, rounds: Rounds, *, seed: int) -> Choice:
        """Choose settings: in each round learn from the first examples and judge on the second, held out and later."""

    def fit(self, task: Task, examples: Examples, settings: Settings, *, seed: int) -> Model:
        """Fit one model.

        Raises:
            FitError: these data do not determine it; the error says what would.
        """

    def load(self, folder: Path) -> Model:
        """Read a model that ``Model.save`` wrote."""
