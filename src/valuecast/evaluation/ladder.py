"""The ladder: every rung fitted anew at each origin, tested on the same users, kept on disk and resumed.

A rung that cannot fit is a row with its reason. Nothing is chosen on a test cutoff: the reference that
differences are taken to is the rung that did best on the validation cutoffs.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from valuecast import artifact, moments
from valuecast import columns as c
from valuecast.errors import ConfigError, FitError, ModelError
from valuecast.evaluation.outcomes import TRUTH, outcomes, truths
from valuecast.events.log import EventLog
from valuecast.metrics.registry import PRIMARY, Measure, measure
from valuecast.models.predictor import Predictor
from valuecast.moments import Moment, moment
from valuecast.tasks import Task
from valuecast.tasks.splits import Split, TimeSplit, UserSplit
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

KIND = "ladder result"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """One rung at one origin: what it scored, or why it could not.

    Attributes:
        rung: name of the method.
        at: the origin.
        outcomes: see ``valuecast.evaluation.outcomes``; None where the rung did not fit.
        reason: why it did not fit.
        seconds: what fitting and scoring took, or would have, had nothing been shared with other rungs.
        heads: for each target the settings and the metrics on validation.
        facts: of the predictor: log, split, numbers of examples.
    """

    rung: str
    at: datetime
    outcomes: pl.DataFrame | None
    reason: str | None = None
    seconds: float = 0.0
    heads: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ladder:
    """The results of one task, rung by rung and origin by origin; ``sample`` is the share of users learned from."""

    task: Task
    split: Split
    results: tuple[Result, ...]
    sample: float = 1.0

    @property
    def rungs(self) -> tuple[str, ...]:
        """Names of the rungs in their order."""
        return tuple(dict.fromkeys(result.rung for result in self.results))

    def fitted(self, target: str) -> dict[str, pl.DataFrame]:
        """Outcomes of the rungs that fitted at every origin, for one target."""
        found = {}
        for rung in self.rungs:
            parts = [result.outcomes for result in self.results if result.rung == rung]
            if all(part is not None for part in parts):
                every = pl.concat([part for part in parts if part is not None])
                found[rung] = every.filter(pl.col(c.TARGET) == target).sort(c.AT, c.USER)
        return found

    def primary(self, target: str) -> Measure:
        """The measure that puts the rungs in order; amounts that can be negative have no Gini."""
        truth = next(iter(self.fitted(target).values()), pl.DataFrame({TRUTH: [0.0]}))[TRUTH]
        signed = bool((truth < 0).any())
        return measure("spearman" if signed else PRIMARY[self.task.kind])

    def best(self, target: str) -> str:
        """The rung that did best on the validation cutoffs, on average over the origins.

        Raises:
            FitError: no rung fitted at every origin.
        """
        chosen = self.primary(target)
        merits = {}
        for rung in self.fitted(target):
            found = [result.heads[target]["validation"][chosen.name] for result in self.results if result.rung == rung]
            values = [math.nan if value is None else value for value in found]
            merits[rung] = chosen.merit(sum(values) / len(values))
        if not merits:
            reasons = "; ".join(f"{result.rung}: {result.reason}" for result in self.results if result.reason)
            raise FitError("no rung of the ladder fitted", where=f"task '{self.task.name}'", remedy=reasons)
        return max(merits, key=lambda rung: merits[rung])


def climb(
    task: Task,
    log: EventLog,
    *,
    rungs: Sequence[str],
    origins: Sequence[Moment] = (),
    split: Split | None = None,
    sample: float = 1.0,
    seed: int = 0,
    cache: Path | None = None,
    tables: Tables | None = None,
    workshop: Workshop | None = None,
    progress: Progress | None = None,
) -> Ladder:
    """Fit every rung at every origin and test it there.

    Args:
        task: what is asked.
        log: holds the horizons after the last origin.
        rungs: names of methods.
        origins: test cutoffs; a split by users has one of its own and takes none.
        split: ``TimeSplit()`` by default.
        sample: share of the users that is learned from; everyone is tested.
        seed: see ``fit``.
        cache: a folder that keeps each result; what is there for the same log, task, rung and code is not done again.
        tables: labels and inputs to share between tasks.
        workshop: where rungs are fitted; it says how sequence models learn, and which tasks share a trunk.
        progress: is told what is being done.
    """
    split, tables, say = split or TimeSplit(), tables or Tables(), progress or (lambda _: None)
    workshop = workshop or Workshop((task,))
    workshop.check(rungs)  # a name that does not exist is an error of the recipe, not a rung that does not fit
    if isinstance(split, UserSplit):
        if origins:
            raise ConfigError(
                "a split by users has one cutoff of its own", where="origins", remedy="Leave origins out."
            )
        origins = [split.at]
    elif not origins:
        raise ConfigError(
            "no test cutoff", where="origins", remedy='Give at least one, such as origins = ["2011-09-10"].'
        )
    results = []
    for at in [moment(origin, where="origins") for origin in origins]:
        truth = truths(task, log, at)
        known = (log if isinstance(split, UserSplit) else log.before(at)).sample(sample)
        for rung in rungs:
            say(f"{task.name} at {moments.text(at)}: {rung}")
            settings = workshop.settings(rung, task)
            asked = (known.fingerprint, log.fingerprint, str(task), rung, moments.text(at), repr(split), seed, settings)
            place = cache and cache / _digest(asked)
            result = _kept(place, rung, at) if place else None
            if result is None:
                fit = partial(workshop.fit, split=split, seed=seed, tables=tables, progress=say)
                result = _attempt(task, log, known, truth, rung=rung, at=at, fit=fit)
                if place:
                    _keep(result, place)
            results.append(result)
    return Ladder(task, split, tuple(results), sample)


def _attempt(
    task: Task,
    log: EventLog,
    known: EventLog,
    truth: pl.DataFrame,
    *,
    rung: str,
    at: datetime,
    fit: Callable[[str, Task, EventLog], Predictor],
) -> Result:
    start = time.perf_counter()
    try:
        predictor = fit(rung, task, known)
    except FitError as error:
        return Result(rung, at, None, reason=error.what)
    found = outcomes(predictor, log, at, truth=truth)
    # Parts of a fusion, and a trunk of two tasks, may have been there already: they took their time all the same.
    seconds = max(time.perf_counter() - start, predictor.facts.get("seconds", 0.0))
    return Result(rung, at, found, None, seconds, described(predictor, at), predictor.facts)


def described(predictor: Predictor, at: datetime) -> dict[str, Any]:
    """For each target: settings, metrics on validation, and how scores are calibrated at a moment."""
    return {target: {**head.facts, "calibration": head.calibration(at)} for target, head in predictor.heads.items()}


def _digest(asked: tuple[object, ...]) -> str:
    """A result is kept under what was asked, and of which code: another version does it again."""
    parts = (*asked, artifact.versions(), artifact.code_digest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _keep(result: Result, place: Path) -> None:
    def write(draft: Path) -> None:
        if result.outcomes is not None:
            result.outcomes.write_parquet(draft / "outcomes.parquet")

    shutil.rmtree(place, ignore_errors=True)  # what is there was asked for and found damaged
    facts = {name: getattr(result, name) for name in ("rung", "reason", "seconds", "heads", "facts")}
    artifact.save(place, kind=KIND, facts={"result": facts}, write=write)


def _kept(place: Path, rung: str, at: datetime) -> Result | None:
    try:
        found = artifact.load(place, kind=KIND)["result"]
    except ModelError:  # absent or half-written: it is done again
        return None
    path = place / "outcomes.parquet"
    return Result(at=at, outcomes=pl.read_parquet(path) if path.exists() else None, **found)
