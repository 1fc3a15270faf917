"""Fits a method to a log: choose on validation cutoffs, calibrate on held-out ones, refit on all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import FitError, TaskError
from valuecast.events.log import EventLog
from valuecast.models.model import Examples, Method, Model
from valuecast.models.predictor import Head, Predictor
from valuecast.models.registry import baseline
from valuecast.tasks import Task
from valuecast.tasks.labels import check
from valuecast.tasks.splits import Round, Split, TimeSplit, UserSplit
from valuecast.training.calibrate import Judged, Scored, calibrated
from valuecast.training.fitted import Fitted
from valuecast.training.tables import Tables

Progress = Callable[[str], None]


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
        TaskError: the log is too short for the task, or holds nothing that it counts.
    """
    return fitted(name, task, log, split=split, seed=seed, tables=tables, progress=progress).predictor


def fitted(
    name: str,
    task: Task,
    log: EventLog,
    *,
    split: Split | None = None,
    seed: int = 0,
    tables: Tables | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """``fit``, and what its rounds said of rows that they had not seen."""
    start = time.perf_counter()
    method, split, tables = baseline(name), split or TimeSplit(), tables or Tables()
    if objection := method.objection(task):
        raise FitError(objection, where=f"task '{task.name}'", remedy="Use another model for it, such as lightgbm.")
    check(task, log)
    say = progress or (lambda _: None)
    say(f"{name}: labels and inputs")
    labelled = tables.labelled(task, log, split)
    choices = peopled(split.choices(task, log), labelled, task)
    cutoffs = split.cutoffs(task, log)
    # Vocabularies are learned from what training cutoffs know, never from validation.
    inputs = method.inputs(task, log.before(choices[0].known))
    table = tables.inputs(inputs, log.before(cutoffs[-1]), labelled)
    bench = _Bench(method, task, log, split, labelled, table, seed)
    made, judged, every = dict[str, Head](), dict[str, list[Judged]](), dict[str, Scored]()
    for target, days in task.targets.items():
        say(f"{name}: {target}")
        made[target], judged[target], every[target] = bench.head(target, days, choices)
    facts = {
        "log": log.fingerprint,
        "span": str(log.span),
        "before": moments.text(log.span.until),
        "split": split.describe(task, log, choices),
        "examples": len(labelled),
        "users": labelled[c.USER].n_unique(),
        "seed": seed,
    }
    predictor = Predictor(method.name, task, log.span.until, split, inputs, made, facts)
    return Fitted(predictor, judged, every, time.perf_counter() - start)


def peopled(choices: Sequence[Round], labelled: pl.DataFrame, task: Task) -> tuple[Round, ...]:
    """Return the rounds with somebody to learn from and somebody to judge on."""
    known = set(labelled[c.AT])
    kept = tuple(choice for choice in choices if known & set(choice.train) and known & set(choice.validation))
    if not kept:
        at = ", ".join(moments.text(each) for each in choices[0].validation)
        raise TaskError(
            f"nobody is eligible both at the validation cutoffs ({at}) and at those before them",
            where=f"task '{task.name}'",
            remedy="Ask about more users, or take a log in which such users occur for longer.",
        )
    return kept


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

    def head(self, target: str, days: int, choices: tuple[Round, ...]) -> tuple[Head, list[Judged], Scored]:
        rounds = [self._examples(target, days, choice) for choice in choices]
        choice = self.method.choose(self.task, rounds, seed=self.seed)
        judged = []
        for train, validation in rounds:
            model = self.method.fit(self.task, train, choice.settings, seed=self.seed)
            judged.append(Judged(_scored(model, train), _scored(model, validation)))
        every = self._every(target, days)
        model = self.method.fit(self.task, every, choice.settings, seed=self.seed)
        told = _scored(model, every)
        head = calibrated(self.task, days, model=model, rounds=judged, every=told, choice=choice, seed=self.seed)
        return head, judged, told

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


def _scored(model: Model, examples: Examples) -> Scored:
    return Scored(examples.table.select(c.KEY), model.score(examples.table), examples.truth)
