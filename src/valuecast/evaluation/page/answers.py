"""What a page is about: each target, as the rung that did best on validation answered it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from valuecast import columns as c
from valuecast.evaluation.ladder import Ladder, Result
from valuecast.language import Text
from valuecast.models.naming import rung_label
from valuecast.tasks import Task


@dataclass(frozen=True, eq=False)
class Answer:
    """One target and the outcomes of one rung.

    Attributes:
        ladder: where they are from.
        target: name of the target.
        rung: the rung that did best on validation.
        outcomes: of that rung at every test cutoff (see ``valuecast.evaluation.outcomes``).
    """

    ladder: Ladder
    target: str
    rung: str
    outcomes: pl.DataFrame = field(repr=False)

    @property
    def task(self) -> Task:
        """What is asked."""
        return self.ladder.task

    @property
    def days(self) -> int:
        """The horizon."""
        return self.task.targets[self.target]

    @property
    def label(self) -> Text:
        """What a person calls the target."""
        return self.task.label(self.target)

    @property
    def rung_label(self) -> Text:
        """What a person calls the rung."""
        return rung_label(self.rung)

    @property
    def at(self) -> datetime:
        """The last test cutoff."""
        found = self.outcomes[c.AT].max()
        assert isinstance(found, datetime)
        return found

    @property
    def latest(self) -> pl.DataFrame:
        """Outcomes at the last test cutoff."""
        return self.outcomes.filter(pl.col(c.AT) == self.at)

    @property
    def results(self) -> tuple[Result, ...]:
        """The results of the rung, one for each test cutoff."""
        return tuple(result for result in self.ladder.results if result.rung == self.rung)

    def backtest(self) -> list[dict[str, Any]]:
        """``at, users, predicted, observed`` (means) at the validation cutoffs before the first test cutoff."""
        first = min(self.results, key=lambda result: result.at)
        # a predictor that an earlier version saved kept none
        found: list[dict[str, Any]] = first.heads[self.target].get("backtest", [])
        return found


def answers(ladders: Sequence[Ladder]) -> tuple[Answer, ...]:
    """Return the answers to all targets of some ladders.

    Raises:
        FitError: no rung of a ladder fitted at every origin.
    """
    return tuple(
        Answer(ladder, target, best, ladder.fitted(target)[best])
        for ladder in ladders
        for target in ladder.task.targets
        for best in [ladder.best(target)]
    )
