"""Fuses what was fitted: the blend that foresees held-out rows best, chosen on validation, calibrated like any other.

The protocol is out of fold: a held-out row is scored by models that learned from labels known before it (or, in a split
by users, from other users). That is what the fused predictor meets in use: later rows of users it has learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from valuecast.models import blend
from valuecast.models.blend import Blend, Candidate
from valuecast.models.calibration import Pairs
from valuecast.models.model import Choice
from valuecast.models.panel import Panel, Part, column
from valuecast.models.predictor import Head
from valuecast.models.registry import FUSED
from valuecast.tasks import Task
from valuecast.training.calibrate import Judged, Scored, calibrated, pairs_of
from valuecast.training.fitted import Fitted

_COMMON = ("log", "span", "before", "split", "examples", "users")


def fuse(task: Task, parts: Mapping[str, Fitted], *, absent: Mapping[str, str], seed: int) -> Fitted:
    """Blend fitted predictors of one task into one.

    For each target every part alone, and a blend of all, are judged on held-out rows that had no say in the weights;
    the one with the least loss is taken. So a small log may get trees alone; the manifest tells what was tried.

    Args:
        task: what is asked.
        parts: what may be blended, by name; at least one.
        absent: what could not be fitted, and why, for the manifest.
        seed: of resampling.
    """
    mixes = {target: _Mix(target, parts) for target in task.targets}
    used = {name for mix in mixes.values() for name in mix.best.shares}
    # Its facts name the rounds that count: those that every part has.
    first = min(parts.values(), key=lambda each: sum(map(len, each.judged.values()))).predictor
    seconds = sum(each.seconds for each in parts.values())
    facts: dict[str, Any] = {name: value for name, value in first.facts.items() if name in _COMMON}
    facts |= {"seed": seed, "seconds": seconds, "absent": dict(absent)}
    facts["parts"] = {name: dict(each.predictor.facts) for name, each in parts.items()}
    predictor = replace(
        first,
        name=FUSED,
        inputs=Panel({name: Part.of(each.predictor) for name, each in parts.items() if name in used}),
        heads={target: mix.head(task, seed=seed) for target, mix in mixes.items()},
        facts=facts,
    )
    judged = {target: mix.judged for target, mix in mixes.items()}
    return Fitted(predictor, judged, {target: mix.every for target, mix in mixes.items()}, seconds)


@dataclass(frozen=True)
class _Mix:
    """The parts of one target, and the best of what can be made of them."""

    target: str
    parts: Mapping[str, Fitted]

    @cached_property
    def rounds(self) -> int:
        """How many rounds all parts have: a backbone may have seen the validation of the earliest ones."""
        return min(len(each.judged[self.target]) for each in self.parts.values())

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Each part alone, and all of them."""
        return blend.candidates(self._pairs(range(self.rounds)), scale=self._scale)

    @cached_property
    def best(self) -> Candidate:
        """The one with the least loss."""
        return min(self.candidates, key=lambda each: each.loss)

    @cached_property
    def judged(self) -> list[Judged]:
        """What the blend says of each round, with shares chosen on the others, where there are others."""
        every = range(self.rounds)
        return [self._judged(own, [each for each in every if each != own] or [own]) for own in every]

    @cached_property
    def every(self) -> Scored:
        """What it says of the rows that its parts learned from."""
        return self._mixed(self.model, {name: each.every[self.target] for name, each in self.parts.items()})

    @cached_property
    def model(self) -> Blend:
        """The blend itself."""
        return self._blend(self.best.shares, self._pairs(range(self.rounds)))

    def head(self, task: Task, *, seed: int) -> Head:
        """Calibrate it like any other model."""
        tried = tuple({"blend": each.name, "parts": dict(each.shares), "loss": each.loss} for each in self.candidates)
        choice = Choice({"blend": self.best.name, "parts": dict(self.best.shares)}, tried)
        days = task.targets[self.target]
        return calibrated(task, days, model=self.model, rounds=self.judged, every=self.every, choice=choice, seed=seed)

    @property
    def _scale(self) -> Any:
        return next(iter(self.parts.values())).predictor.heads[self.target].model.scale

    def _pairs(self, rounds: Sequence[int]) -> dict[str, Pairs]:
        return {
            name: pairs_of([each.judged[self.target][number].held for number in rounds])
            for name, each in self.parts.items()
        }

    def _judged(self, own: int, others: Sequence[int]) -> Judged:
        pairs, shares = self._pairs(others), self.best.shares
        if self.best.name == blend.WEIGHED:
            shares = blend.shares(pairs, scale=self._scale)
        model, parts = (
            self._blend(shares, pairs),
            {name: each.judged[self.target][own] for name, each in self.parts.items()},
        )
        return Judged(
            self._mixed(model, {name: each.learned for name, each in parts.items()}),
            self._mixed(model, {name: each.held for name, each in parts.items()}),
        )

    def _blend(self, shares: Mapping[str, float], pairs: Mapping[str, Pairs]) -> Blend:
        found = blend.blended(shares, pairs, scale=self._scale)
        return replace(found, weights={column(name, self.target): each for name, each in found.weights.items()})

    def _mixed(self, model: Blend, parts: Mapping[str, Scored]) -> Scored:
        """Put a blend's score beside labels, on the rows that all parts scored: one may have learned from fewer."""
        fewest = min(parts.values(), key=lambda each: len(each.keys)).keys
        parts = {name: each.among(fewest) for name, each in parts.items()}
        first = next(iter(parts.values()))
        for name, each in parts.items():
            if not each.keys.equals(fewest) or not np.array_equal(each.truth, first.truth):
                raise AssertionError(f"'{name}' scored other rows")
        table = first.keys.with_columns(**{column(name, self.target): each.raw for name, each in parts.items()})
        return Scored(first.keys, model.score(table), first.truth)
