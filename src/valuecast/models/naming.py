"""What a person calls a rung, and the amounts of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from valuecast import columns as c
from valuecast.language import Text
from valuecast.metrics.registry import Measure
from valuecast.models.predictor import TIERS
from valuecast.models.registry import METHODS
from valuecast.report.blocks import Format
from valuecast.tasks import Task


@dataclass(frozen=True)
class Unit:
    """How the amounts of a task are written, and what they are called."""

    format: Format
    noun: Text


MONEY: Final = Unit("money", Text("amount", "金额"))
NUMBER: Final = Unit("number", Text("number", "数量"))
TIER_WORDS: Final = dict(zip(TIERS, (Text("low", "低"), Text("medium", "中"), Text("high", "高")), strict=True))


def unit(task: Task) -> Unit:
    """Return what a task counts in: money where it sums amounts, a plain number everywhere else."""
    return MONEY if sums_money(task) else NUMBER


def sums_money(task: Task) -> bool:
    """Whether an answer is an amount of money."""
    column = task.question.aggregate.column
    return (
        task.kind == "amount"
        and task.question.aggregate.function == "sum"
        and column is not None
        and (column.name, column.table) == (c.AMOUNT, None)
    )


def format_of(measure: Measure, task: Task) -> Format:
    """How a metric is written for a task: an error in money only where the task is about money."""
    return unit(task).format if measure.format == "money" else measure.format


def rung_label(name: str) -> Text:
    """What a person calls a rung; a model in a folder of its own goes by the folder's name."""
    return METHODS[name].label if name in METHODS else Text(name, name)
