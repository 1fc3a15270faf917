"""A blend: the raw scores of several models, weighed so that held-out rows are foreseen best.

Log-odds are averaged as log-odds, amounts as amounts. No weight is negative: a part may be left out, and none is bet
against, which is what Breiman (1996), Stacked regressions, found to generalise; for probabilities see Ting and Witten
(1999), Issues in stacked generalization.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from scipy.optimize import minimize
from scipy.special import expit

from valuecast.language import Text
from valuecast.metrics.loss import SMALLEST_AMOUNT, loss_of
from valuecast.models.calibration import Pairs
from valuecast.models.level import offset
from valuecast.models.model import FloatArray, Scale
from valuecast.tasks import Task

TOWARDS_EQUAL: Final = 0.01
"""Times the squared distance from equal weights is added to the loss: where rows cannot tell parts apart, all count."""
MATTERS: Final = 0.01
"""A part with a smaller share is left out, and need not be reckoned for every user."""
WEIGHED: Final = "weighed"


@dataclass(frozen=True)
class Blend:
    """The model of one target: a weighted sum of columns of the inputs.

    Attributes:
        weights: of each column, which is the raw score of one part.
        scale: of the raw scores, and of their sum.
    """

    weights: Mapping[str, float]
    scale: Scale

    def score(self, table: pl.DataFrame) -> FloatArray:
        """Add up the parts."""
        columns = table.select(tuple(self.weights)).to_numpy().astype(np.float64)
        total: FloatArray = columns @ np.array(list(self.weights.values()))
        return total

    def save(self, folder: Path) -> None:
        """Write the weights."""
        (folder / "blend.json").write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


@dataclass(frozen=True)
class Blended:
    """The rung that blends others: `fuse` makes it, not `fit`."""

    name: str
    label: Text

    def objection(self, task: Task) -> str | None:
        """Some part answers every task."""
        return None

    def load(self, folder: Path) -> Blend:
        """Read what ``Blend.save`` wrote."""
        return Blend(**json.loads((folder / "blend.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Candidate:
    """One way to blend.

    Attributes:
        name: that of the only part, or ``WEIGHED``.
        shares: of each part; none is negative, and they add up to one.
        loss: the mean over groups of held-out rows, each with shares that were found on the other groups.
    """

    name: str
    shares: Mapping[str, float]
    loss: float


def candidates(parts: Mapping[str, Pairs], *, scale: Scale) -> tuple[Candidate, ...]:
    """Return every part alone, and all of them with the shares of least loss.

    The loss is the log-loss of probabilities, or the deviance of amounts. Each group is taken at its own best level:
    how much is bought in all at a time of the year is the business of ``valuecast.models.level``.

    Args:
        parts: by name, the raw scores of each for the same held-out rows.
        scale: of all of them.
    """
    names, held = list(parts), _Held.of(list(parts.values()), scale)
    found = [Candidate(name, {name: 1.0}, held.loss(_alone(place, names))) for place, name in enumerate(names)]
    if len(names) > 1:
        found.append(Candidate(WEIGHED, _kept(names, held.shares()), held.left_out_loss()))
    return tuple(found)


def shares(parts: Mapping[str, Pairs], *, scale: Scale) -> dict[str, float]:
    """Return the shares of least loss, without the parts that hardly matter."""
    return _kept(list(parts), _Held.of(list(parts.values()), scale).shares())


def blended(shares: Mapping[str, float], parts: Mapping[str, Pairs], *, scale: Scale) -> Blend:
    """Return the blend with some shares: amounts of a part are brought to the true total of the held-out rows first."""
    totals = {name: parts[name].raw.sum() for name in shares}
    amounts = scale == "amount" and min(totals.values()) > 0
    true = next(iter(parts.values())).truth.sum()
    return Blend({name: share * (true / totals[name] if amounts else 1.0) for name, share in shares.items()}, scale)


@dataclass(frozen=True)
class _Held:
    """Held-out rows, and the raw score of each part at the group's level.

    Attributes:
        raw: shape (rows, parts).
        truth: shape (rows,).
        groups: the rows of each group.
        scale: of the raw scores.
        falls: whether amounts may be negative.
    """

    raw: FloatArray
    truth: FloatArray
    groups: tuple[np.ndarray, ...]
    scale: Scale
    falls: bool

    @classmethod
    def of(cls, parts: list[Pairs], scale: Scale) -> _Held:
        first = parts[0]
        groups = tuple(np.flatnonzero(first.group == group) for group in np.unique(first.group))
        raw, falls = np.stack([pairs.raw for pairs in parts], axis=1), bool(first.truth.min() < 0)
        if scale == "amount" and not falls:  # every part, and so every blend, has the group's true total
            for rows in groups:
                raw[rows] *= first.truth[rows].sum() / np.maximum(raw[rows].sum(axis=0), SMALLEST_AMOUNT)
        return cls(raw, first.truth, groups, scale, falls)

    def loss(self, shares: FloatArray) -> float:
        """The mean over groups."""
        judge = loss_of("amount" if self.scale == "amount" else "binary", falls=self.falls)
        return float(np.mean([judge(self.truth[rows], self._levelled(shares, rows)) for rows in self.groups]))

    def left_out_loss(self) -> float:
        """The same, each group with the shares of the others; with one group there are no others."""
        if len(self.groups) == 1:
            return self.loss(self.shares())
        every = range(len(self.groups))
        return float(
            np.mean([self._only([own]).loss(self._only([i for i in every if i != own]).shares()) for own in every])
        )

    def shares(self) -> FloatArray:
        """Minimise the loss over shares that add up to one."""
        count = self.raw.shape[1]
        found = minimize(
            self._objective,
            np.full(count, 1 / count),
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * count,
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1, "jac": lambda x: np.ones(count)},
        )
        return np.asarray(found.x, dtype=np.float64)

    def _objective(self, shares: FloatArray) -> tuple[float, FloatArray]:
        """The loss in its usual size of about one, with the pull towards equal shares; and its gradient."""
        slope = np.mean([self.raw[rows].T @ self._slope(shares, rows) / len(rows) for rows in self.groups], axis=0)
        apart = shares - 1 / len(shares)
        unit = self._unit
        pull = TOWARDS_EQUAL * float(apart @ apart)
        return self.loss(shares) / unit + pull, slope / unit + 2 * TOWARDS_EQUAL * apart

    @property
    def _unit(self) -> float:
        if self.scale != "amount":
            return 1.0
        return float(np.var(self.truth) if self.falls else np.sqrt(np.mean(self.truth))) or 1.0

    def _slope(self, shares: FloatArray, rows: np.ndarray) -> FloatArray:
        """The derivative of each row's loss by its score, and so by the level that the score moves."""
        score, truth = self._levelled(shares, rows), self.truth[rows]
        if self.scale != "amount":
            chance = expit(score)
            moved = chance * (1 - chance)  # the level follows, so that the mean of the chances stays
            return np.asarray(chance - truth - moved * (chance - truth).sum() / moved.sum(), dtype=np.float64)
        mean = np.maximum(score, SMALLEST_AMOUNT)
        slope: FloatArray = 2 * (score - truth) if self.falls else 2 * (mean - truth) / mean**1.5
        return slope

    def _levelled(self, shares: FloatArray, rows: np.ndarray) -> FloatArray:
        score: FloatArray = self.raw[rows] @ shares
        return score if self.scale == "amount" else score + offset(score, self.truth[rows])

    def _only(self, groups: list[int]) -> _Held:
        return _Held(self.raw, self.truth, tuple(self.groups[i] for i in groups), self.scale, self.falls)


def _alone(place: int, names: list[str]) -> FloatArray:
    alone: FloatArray = np.eye(len(names))[place]
    return alone


def _kept(names: list[str], shares: FloatArray) -> dict[str, float]:
    kept = {name: float(share) for name, share in zip(names, shares, strict=True) if share >= MATTERS}
    return {name: share / sum(kept.values()) for name, share in kept.items()}
