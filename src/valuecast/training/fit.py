"""Fits a method to a log: choose on validation cutoffs, calibrate on held-out ones, refit on all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.errors import FitError
from valuecast.events.log import EventLog
from valuecast.metrics.registry import measured
from valuecast.models import calibration, interval
from valuecast.models.model import Examples, Method
from valuecast.models.predictor import Head, Predictor, tiers_of
from valuecast.models.registry import method as method_called
from valuecast.tasks import Task
from valuecast.tasks.splits import Round, Split, TimeSplit, UserSplit
from valuecast.training.tables import Tables

Progress = Callable[[str], None]
SEASONS = timedelta(days=365)


def fit(
    name: str,
    task: Task,
    log: EventLog,
    *,
    split: Split | None = None,
    seed: int = 0,
    tables: Tables | None = None,
    progress: Progress | None = None,
) -> Predictor:
    """Fit the method ``name`` to a log; cut the log first (``log.before(...)``): all of it is read.

    Args:
        name: a name of ``valuecast.models.registry``.
        task: what is asked.
        log: everything that may be known.
        split: ``TimeSplit()`` by default; ``UserSplit(at=...)`` for one cohort and one season.
        seed: of searches, samples and trees.
        tables: labels and inputs to share with other fits of the same log.
        progress: is told what is being done.

    Raises:
        ConfigError: no such method.
        FitError: the method cannot answer the task, or the data do not determine the model.
        TaskError: the log is too short for the task.
    """
    method, split, tables = method_called(name), split or TimeSplit(), tables or Tables()
    if objection := method.objection(task):
        raise FitError(objection, where=f"task '{task.name}'", remedy="Use another model for it, such as lightgbm.")
    say = progress or (lambda _: None)
    say(f"{name}: labels and inputs")
    labelled = tables.labelled(task, log, split)
    choices = split.choices(task, log)
    cutoffs = split.cutoffs(task, log)
    # Vocabularies are learned from what training cutoffs know, never from validation.
    inputs = method.inputs(task, log.before(choices[0].known))
    table = tables.inputs(inputs, log.before(cutoffs[-1]), labelled)
    bench = _Bench(method, task, log, split, labelled, table, seed)
    heads = {}
    for target, days in task.targets.items():
        say(f"{name}: {target}")
        heads[target] = bench.head(target, days, choices)
    facts = {
        "log": log.fingerprint,
        "span": str(log.span),
        "split": split.describe(task, log),
        "examples": len(labelled),
        "users": labelled[c.USER].n_unique(),
        "seed": seed,
    }
    return Predictor(method.name, task, log.span.until, split, inputs, heads, facts)


@dataclass(frozen=True)
class _Bench:
    """Everything that the heads of one predictor are made from."""

    method: Method
    task: Task
    log: EventLog
    split: Split
    labelled: pl.DataFrame
    table: pl.DataFrame
    seed: int

    def head(self, target: str, days: int, choices: tuple[Round, ...]) -> Head:
        train, validation = self._examples(target, days, choices[0])
        choice = self.method.choose(self.task, train, validation, seed=self.seed)
        held_out = [self._judged(target, days, each, choice.settings, number) for number, each in enumerate(choices)]
        model = self.method.fit(self.task, self._every(target, days), choice.settings, seed=self.seed)
        pairs = calibration.Pairs(*(np.concatenate(column) for column in zip(*held_out, strict=True)))
        # By users, held-out folds share the cutoff of the test; by time they tell its level only if they span the seasons.
        judged = [at for each in choices for at in each.validation]
        levelled = isinstance(self.split, UserSplit) or max(judged) - min(judged) >= SEASONS
        facts: dict[str, Any] = {"settings": choice.settings, "trials": choice.trials}
        if self.task.kind == "binary":
            calibrator = calibration.fit(pairs, scale=model.scale, levelled=levelled, seed=self.seed)
            score, _, _ = calibrator(pairs.raw)
            level = band = None
        else:
            calibrator, level = None, interval.fit_level(pairs, levelled=levelled)
            score = level(pairs.raw)
            band = interval.fit(score, pairs)
        facts["validation"] = measured(self.task.kind, pairs.truth, raw=pairs.raw, score=score)
        return Head(days, model, calibrator, level, band, tiers_of(score), facts)

    def _examples(self, target: str, days: int, choice: Round) -> tuple[Examples, Examples]:
        at, fold = pl.col(c.AT), self._folds
        train, validation = at.is_in(choice.train), at.is_in(choice.validation)
        if choice.fold is not None:
            train, validation = fold != choice.fold, fold == choice.fold
        return self._part(target, days, train, choice), self._part(target, days, validation, choice)

    @property
    def _folds(self) -> pl.Expr:
        return pl.lit(pl.Series([self.split.fold(user) for user in self.labelled[c.USER]], dtype=pl.Int64))

    def _part(self, target: str, days: int, rows: pl.Expr, choice: Round) -> Examples:
        kept = self.labelled.select(rows.alias("kept"))["kept"]
        truth = self.labelled[target].filter(kept).to_numpy()
        return Examples(
            self.log.before(choice.known), self.table.filter(kept), truth, days, self._excluded(choice.fold)
        )

    def _every(self, target: str, days: int) -> Examples:
        known = self.log
        if isinstance(self.split, UserSplit):  # what held-out users do after the cutoff is the test
            known = self.log.before(self.split.at)
        return Examples(known, self.table, self.labelled[target].to_numpy(), days, self._excluded(None))

    def _excluded(self, fold: int | None) -> frozenset[str]:
        if not isinstance(self.split, UserSplit):
            return frozenset()
        users = self.log.collect(self.log.events.select(c.USER).distinct())[c.USER]
        return frozenset(
            user for user in users if self.split.holds(user) or (fold is not None and self.split.fold(user) == fold)
        )

    def _judged(self, target: str, days: int, choice: Round, settings: Any, number: int) -> tuple[Any, Any, Any, Any]:
        """Raw scores of a round's validation rows by a model that has not seen them; truth, group and user."""
        train, validation = self._examples(target, days, choice)
        raw = self.method.fit(self.task, train, settings, seed=self.seed).score(validation.table)
        user = self.labelled[c.USER].cast(pl.Categorical).to_physical()
        at = validation.table[c.AT].rank("dense").to_numpy().astype(np.int64)
        codes = dict(zip(self.labelled[c.USER], user, strict=True))
        users = np.array([codes[name] for name in validation.table[c.USER]], dtype=np.int64)
        return raw, validation.truth, number * 1_000 + at, users
