"""Customer-base models as methods: BG/NBD or Pareto/NBD for purchases, times Gamma-Gamma for amounts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.features import rfm
from valuecast.language import Text
from valuecast.models.baselines import bgnbd, gammagamma, paretonbd
from valuecast.models.inputs import Inputs, PurchaseInputs
from valuecast.models.model import Choice, Examples, FloatArray, Rounds, Scale, Settings
from valuecast.tasks import Task, churn, value

_PROCESSES: dict[str, ModuleType] = {"bgnbd": bgnbd, "paretonbd": paretonbd}
_READ: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "bgnbd": bgnbd.Parameters.from_dict,
    "paretonbd": paretonbd.from_dict,
}
WEEK = 7.0  # the models' unit of time, as in the papers


@dataclass(frozen=True)
class CustomerBaseModel:
    """A fitted process, and the values of purchase days where amounts are asked for."""

    process: str
    purchases: Any
    values: gammagamma.Parameters | None
    days: int
    fewer: bool

    @property
    def scale(self) -> Scale:
        """Log-odds for a binary task, else an amount."""
        return "amount" if self.values else "log_odds"

    def score(self, table: pl.DataFrame) -> FloatArray:
        """Log-odds of (no) purchase within the horizon, or the expected sum of amounts."""
        model = _PROCESSES[self.process]
        frequency, recency, age, mean = _arrays(table)
        if self.values:
            expected = model.expected_purchases(self.purchases, self.days / WEEK, frequency, recency, age)
            return np.asarray(expected * gammagamma.expected_value(self.values, frequency, mean), dtype=np.float64)
        nothing = model.probability_no_purchase(self.purchases, self.days / WEEK, frequency, recency, age)
        nothing = np.clip(nothing, 1e-9, 1 - 1e-9)
        odds = np.log(nothing) - np.log1p(-nothing)
        return np.asarray(odds if self.fewer else -odds, dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write the parameters."""
        found = {
            "process": self.process,
            "purchases": self.purchases.to_dict(),
            "values": self.values and self.values.to_dict(),
            "days": self.days,
            "fewer": self.fewer,
        }
        (folder / "parameters.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class CustomerBase:
    """A process fitted by maximum likelihood to the purchase days of every customer; it needs no labels."""

    name: str
    label: Text

    def objection(self, task: Task) -> str | None:
        """These models know when customers buy and for how much, nothing else."""
        asked = task.question
        buys = asked.aggregate == churn(1).question.aggregate and asked.comparison in _BUYS_OR_NOT
        spends = asked.aggregate == value(1).question.aggregate and not asked.comparison
        return None if buys or spends else f"'{self.name}' answers only whether customers buy and how much they spend"

    def inputs(self, task: Task, log: EventLog) -> Inputs:
        """Frequency, recency, age and mean value."""
        return PurchaseInputs()

    def choose(self, task: Task, rounds: Rounds, *, seed: int) -> Choice:
        """Maximum likelihood leaves nothing to choose."""
        return Choice({})

    def fit(self, task: Task, examples: Examples, settings: Settings, *, seed: int) -> CustomerBaseModel:
        """Fit to everyone who had bought by the end of ``examples.log``, eligible or not.

        Leaving out the silent ones would hide that customers leave.
        """
        known = rfm.customers(examples.log, examples.log.span.until)
        customers = rfm.summary(examples.log, known.filter(~pl.col(c.USER).is_in(list(examples.excluded))))
        frequency, recency, age, mean = _arrays(customers)
        purchases = _PROCESSES[self.name].fit(frequency, recency, age, seed=seed)
        values = None
        if task.kind == "amount":
            repeat = (frequency > 0) & (mean > 0)
            values = gammagamma.fit(frequency[repeat], mean[repeat])
        fewer = bool(task.question.comparison and task.question.comparison.holds(0.0))
        return CustomerBaseModel(self.name, purchases, values, examples.days, fewer)

    def load(self, folder: Path) -> CustomerBaseModel:
        """Read the parameters."""
        found = json.loads((folder / "parameters.json").read_text(encoding="utf-8"))
        values = gammagamma.Parameters.from_dict(found["values"]) if found["values"] else None
        return CustomerBaseModel(
            found["process"], _READ[found["process"]](found["purchases"]), values, found["days"], found["fewer"]
        )


_BUYS_OR_NOT = tuple(
    parsed.question.comparison
    for parsed in (Task(f"count(*) of purchase over next 1 days {sign}") for sign in ("= 0", "> 0", ">= 1", "< 1"))
)


def _arrays(table: pl.DataFrame) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Frequency, recency and age in weeks, and mean value (0 where there is no repeat purchase)."""
    frequency, recency, age = (
        table[name].to_numpy().astype(np.float64) for name in (rfm.FREQUENCY, rfm.RECENCY, rfm.AGE)
    )
    mean = table[rfm.MONETARY].fill_null(0.0).fill_nan(0.0).to_numpy().astype(np.float64)
    return frequency, recency / WEEK, age / WEEK, mean


BGNBD = CustomerBase("bgnbd", Text("BG/NBD × Gamma-Gamma", "BG/NBD × Gamma-Gamma"))
PARETONBD = CustomerBase("paretonbd", Text("Pareto/NBD × Gamma-Gamma", "Pareto/NBD × Gamma-Gamma"))
