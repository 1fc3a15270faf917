"""Heuristics: what a CRM team does without a model. Every other rung must beat them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.models.inputs import HistoryInputs, Inputs
from valuecast.models.model import Choice, Examples, FloatArray, Rounds, Scale, Settings
from valuecast.tasks import Task

_FEWER = ("=", "<", "<=")  # the task holds where little happens (churn: count = 0)
_NEVER = 100_000.0  # days of silence of someone for whom the event never happened; only its rank matters


@dataclass(frozen=True)
class Rule:
    """A column of ``HistoryInputs`` read as a score."""

    name: str
    scale: Scale
    fewer: bool
    days: int
    target: str

    def score(self, table: pl.DataFrame) -> FloatArray:
        """Amounts as they are; for a binary task, the logarithm of a count, turned so that higher means likelier."""
        match self.name:
            case "recency":
                more = -np.log1p(table["silence"].fill_null(_NEVER).to_numpy())
            case "last_period":
                more = table[self.target].to_numpy()
            case _:
                rate = pl.col("ever") / pl.max_horizontal(pl.col("tenure"), float(self.days)) * self.days
                more = table.select(rate).to_series().to_numpy()
        if self.scale == "amount":
            return np.asarray(more, dtype=np.float64)
        steady = more if self.name == "recency" else np.log1p(np.maximum(more, 0.0))
        return np.asarray(-steady if self.fewer else steady, dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write the rule."""
        (folder / "rule.json").write_text(pl.DataFrame([self.__dict__]).write_json(), encoding="utf-8")


@dataclass(frozen=True)
class Heuristic:
    """A method without parameters; only its calibration learns from labels."""

    name: str
    label: Text
    amounts: bool = True

    def objection(self, task: Task) -> str | None:
        """The time since the last purchase says nothing about an amount."""
        return None if self.amounts or task.kind == "binary" else f"'{self.name}' ranks, it knows no amounts"

    def inputs(self, task: Task, log: EventLog) -> Inputs:
        """The task's own question, asked of the past."""
        return HistoryInputs(task)

    def choose(self, task: Task, rounds: Rounds, *, seed: int) -> Choice:
        """There is nothing to choose."""
        return Choice({})

    def fit(self, task: Task, examples: Examples, settings: Settings, *, seed: int) -> Rule:
        """Write down the rule."""
        comparison = task.question.comparison
        target = next(name for name, days in task.targets.items() if days == examples.days)
        fewer = comparison is not None and comparison.sign in _FEWER
        return Rule(self.name, "rank" if comparison else "amount", fewer, examples.days, target)

    def load(self, folder: Path) -> Rule:
        """Read the rule."""
        return Rule(**pl.read_json(folder / "rule.json").row(0, named=True))


RECENCY = Heuristic("recency", Text("Days since the last purchase", "距上次购买天数"), amounts=False)
LAST_PERIOD = Heuristic("last_period", Text("Same as the last period", "与上一周期相同"))
MEAN_RATE = Heuristic("mean_rate", Text("Average rate so far", "历史平均速率"))
