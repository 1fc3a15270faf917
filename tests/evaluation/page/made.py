"""Answers made by hand: outcomes of one rung, for one target of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from tests.logs import START
from valuecast.evaluation.ladder import Ladder, Result
from valuecast.evaluation.page.answers import Answer
from valuecast.tasks import Task
from valuecast.tasks.splits import Split, TimeSplit


def outcomes(
    target: str, truth: Sequence[float], score: Sequence[float], *, at: datetime = START, **other: Sequence[Any]
) -> pl.DataFrame:
    """Outcomes of users u0, u1 and so on; ``other`` are columns to take the place of the usual ones."""
    rows = len(truth)
    columns: dict[str, Any] = {
        "user": [f"u{number}" for number in range(rows)],
        "at": [at] * rows,
        "target": [target] * rows,
        "raw": list(score),
        "score": list(score),
        "low": [0.0] * rows,
        "high": [10.0 * value + 1 for value in score],
        "tier": ["medium"] * rows,
        "truth": list(truth),
    }
    return pl.DataFrame(columns | other).with_columns(pl.col("truth", "score", "raw").cast(pl.Float64))


def answer(
    task: Task, frame: pl.DataFrame, *, facts: Mapping[str, Any] | None = None, split: Split | None = None, **head: Any
) -> Answer:
    """The answer of the rung ``bgnbd`` to the first target of ``task``."""
    target = next(iter(task.targets))
    results = tuple(
        Result("bgnbd", at, part, heads={target: {"settings": {}, "calibration": "", **head}}, facts=facts or {})
        for (at,), part in frame.group_by("at", maintain_order=True)
    )
    return Answer(Ladder(task, split or TimeSplit(), results), target, "bgnbd", frame)
