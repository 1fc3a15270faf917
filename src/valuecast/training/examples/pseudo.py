"""Pseudo-labels: what a model is sure of about texts without a label teaches the next model.

Lee (2013), Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks; every model
begins anew from the language model, as in Xie et al. (2020), Self-training with noisy student.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.config.examples import Pseudo
from valuecast.errors import ConfigError, FitError
from valuecast.training.examples.cells import ROW
from valuecast.training.examples.fit import Fitted, Progress
from valuecast.training.examples.scores import Said
from valuecast.training.examples.table import TEXT, Labelled

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Round:
    """What one round did.

    Attributes:
        pool: texts without a label.
        sure: of them, those of whose likeliest class the model was as sure as the floor asks.
        taken: of these, those that the next model learned from, by class.
        right: share of the taken labels that were right, where the truth is known.
        loss: of the next model on validation; None if it was not made, as nothing was taken.
    """

    pool: int
    sure: int
    taken: dict[str, int]
    right: float | None
    loss: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {**vars(self), "taken": dict(self.taken)}


@dataclass(frozen=True)
class Taught:
    """What came of it.

    Attributes:
        fitted: the model with the lowest loss on validation, with pseudo-labels or without.
        last: the last model that learned from some, whether it is better or not; None where none was made.
        rounds: one after the other.
        used: the number of the round, from 1, that made ``fitted``; 0: it learned from no pseudo-label.
    """

    fitted: Fitted
    last: Fitted | None
    rounds: tuple[Round, ...]
    used: int


def teach(
    first: Fitted,
    table: Labelled,
    fit: Callable[[Labelled, str], Fitted],
    *,
    how: Pseudo | None = None,
    truth: pl.DataFrame | None = None,
    progress: Progress | None = None,
) -> Taught:
    """Let unlabelled texts teach, and keep the model with the lowest loss on the validation rows.

    Args:
        first: the model that has learned from the labels alone.
        table: the same labels, and a pool without any.
        fit: makes a model of a table, from the beginning; it is told the name of the round.
        how: floor, rounds, balance.
        truth: ``__row__`` and ``label`` of rows of the pool, where they are known all the same: they are counted, and
            nothing is learned from them.
        progress: is told how it goes.

    Raises:
        ConfigError: labels are numbers, of which no model says how sure it is.
        FitError: there is no pool.
    """
    how, say = how or Pseudo(), progress or (lambda _: None)
    if table.kind == "number":
        raise ConfigError("labels are numbers: no class is sure", where="pseudo", remedy="Leave [pseudo] out.")
    pool = table.pool
    if pool.is_empty():
        remedy = "Add rows without a label (of no split, or of train), or leave [pseudo] out."
        raise FitError("no row is without a label", where=table.where, remedy=remedy)
    shares = np.bincount(table.numbers("train").astype(np.int64), minlength=len(table.classes)) / len(table.of("train"))
    best, last, used, teacher = first, None, 0, first
    rounds: list[Round] = []
    for number in range(1, how.rounds + 1):
        said = teacher.predictor.said(teacher.predictor.states(pool[TEXT].to_list()))
        rows, labels = chosen(said, shares, how)
        named = {name: int((labels == place).sum()) for place, name in enumerate(table.classes)}
        given = pool.select(ROW)[rows].with_columns(pl.Series(c.LABEL, labels, dtype=pl.Float64))
        right = _right(given, truth)
        sure = int((said.max(axis=1) >= how.floor).sum())
        correct = "" if right is None else f", {right:.1%} of them right"
        say(f"pseudo-labels, round {number}: {sure:,} of {len(pool):,} texts are sure, {len(rows):,} taken{correct}")
        if not len(rows):
            rounds.append(Round(len(pool), sure, named, None, None))
            break
        teacher = last = fit(table.with_labels(given), f"pseudo-{number}")
        loss = lowest(teacher)
        rounds.append(Round(len(pool), sure, named, right, loss))
        if loss < lowest(best):
            best, used = teacher, number
    return Taught(best, last, tuple(rounds), used)


def chosen(said: Said, shares: NDArray[np.float64], how: Pseudo) -> tuple[IntArray, IntArray]:
    """Return numbers of the texts that are taken, and their classes.

    Without balance every sure text is taken. With it, of each class only the surest, so many that classes have the
    shares of the training labels: a model that is sure of one class alone would else teach that there is no other.
    If it is sure of no text of some class, nothing is taken.

    Args:
        said: probabilities; shape (R, classes).
        shares: of the classes among the training labels; shape (classes,).
        how: floor and balance.
    """
    confidence, called = said.max(axis=1), said.argmax(axis=1)
    sure = np.flatnonzero(confidence >= how.floor)
    if how.balance:
        counts = np.bincount(called[sure], minlength=len(shares))
        possible = min(count / share for count, share in zip(counts, shares, strict=True) if share > 0)
        most = np.floor(possible * shares + 1e-9).astype(np.int64)
        order = sure[np.argsort(-confidence[sure], kind="stable")]
        parts = [order[called[order] == number][: most[number]] for number in range(len(shares))]
        sure = np.sort(np.concatenate(parts))
    return sure, called[sure].astype(np.int64)


def lowest(fitted: Fitted) -> float:
    """Return the loss on validation of the epoch whose weights a model has."""
    return sum(fitted.history.epochs[fitted.history.best_epoch - 1].validation.values())


def _right(given: pl.DataFrame, truth: pl.DataFrame | None) -> float | None:
    if truth is None:
        return None
    both = given.join(truth.select(ROW, known=c.LABEL), on=ROW, how="inner")
    return None if both.is_empty() else float((both[c.LABEL] == both["known"]).mean())  # type: ignore[arg-type]
