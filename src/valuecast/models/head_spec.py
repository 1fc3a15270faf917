"""What a head is, in plain data: which distribution a task's labels have, and its constants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast.config.learning import HeadKind
from valuecast.errors import FitError
from valuecast.tasks import Task
from valuecast.tasks.labels import DAYS, KNOWN, SEEN

Family = Literal["bernoulli", "hazard", "spend", "normal", "categorical"]
Doubles = NDArray[np.float64]

INTERVALS: Final = 12
"""Into how many intervals the waits that were seen are cut, before horizons are added."""
STILL_WAITING: Final = 0.05
"""The last edge of a hazard: so many of the rows still wait there, or it is the longest horizon if that is later."""
NARROWEST: Final = 0.05
"""The least standard deviation: of the logarithm of an amount, or beside the spread of all labels."""


@dataclass(frozen=True)
class HeadSpec:
    """What a head is, in plain data.

    Attributes:
        kind: the distribution.
        targets: names, the shortest horizon first; categorical: of the classes.
        days: horizon of each target; categorical: none.
        start: the parameters that fit the training labels best without knowing anything of a row; where they begin.
        happens: hazard: whether a target is that the event happens, or that it stays away.
        edges: hazard: ends of the intervals in days, rising; each horizon is one of them.
        centre: normal: mean of each target's labels.
        scale: normal: standard deviation of each target's labels; spend: geometric mean of each positive increment.
        limits: spend: the largest increment that training labels have; no mean may be higher.
    """

    kind: Family
    targets: tuple[str, ...]
    days: tuple[int, ...]
    start: tuple[float, ...]
    happens: bool = True
    edges: tuple[int, ...] = ()
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> HeadSpec:
        """Read back what ``to_dict`` wrote, also after JSON has made lists of its tuples."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
        }
        return cls(**read)


def classes_of(labels: NDArray[np.float64], names: Sequence[str]) -> HeadSpec:
    """Return the head of a label that is one of several classes.

    Args:
        labels: of training rows: numbers of classes, from 0; shape (R,).
        names: of all classes.
    """
    counts = np.bincount(labels.astype(np.int64), minlength=len(names)) + 0.5
    return HeadSpec("categorical", tuple(names), (), start=_floats(np.log(counts / counts.sum())))


def needs_waits(task: Task, *, kind: HeadKind = "auto") -> bool:
    """Whether the head learns from ``tasks.labels.waits`` (a hazard), not from ``tasks.labels.labels``.

    Raises:
        FitError: the task cannot have such a head.
    """
    if kind == "hazard" and task.waiting is None:
        raise FitError(
            "a hazard is of a task that asks whether something happens",
            where=f"task '{task.name}'",
            remedy='Use head = "auto".',
        )
    if kind == "bernoulli" and task.kind != "binary":
        raise FitError(
            "a Bernoulli head is of a yes-or-no task", where=f"task '{task.name}'", remedy='Use head = "auto".'
        )
    return kind != "bernoulli" and task.waiting is not None


def spec_of(task: Task, labels: pl.DataFrame, *, kind: HeadKind = "auto") -> HeadSpec:
    """Choose a head for a task, and learn its constants from training labels.

    A waiting question has a hazard, any other yes-or-no question a Bernoulli. Amounts that only grow with the horizon
    have ``Spend``; if some label falls, because returns are taken off, they have ``Normal``.

    Args:
        task: what is asked.
        labels: of training rows: ``waits`` if ``needs_waits``, else ``labels`` (of ``valuecast.tasks.labels``).
        kind: what the user wants.

    Raises:
        FitError: the task cannot have such a head, or the labels do not tell its constants.
    """
    targets, days = tuple(task.targets), tuple(task.targets.values())
    if needs_waits(task, kind=kind):
        return _hazard(targets, days, labels, happens=task.waiting == "happens")
    values = _numbers(labels, targets)
    if task.kind == "binary":
        rate = (values.sum(axis=0) + 0.5) / (len(values) + 1)
        return HeadSpec("bernoulli", targets, days, start=_floats(np.log(rate / (1 - rate))))
    increments = np.diff(values, axis=1, prepend=0.0)
    if increments.min() < 0:
        spread = np.maximum(values.std(axis=0), 1e-6 * (1 + np.abs(values).max(axis=0)))
        start = (0.0, _softplus_inverse(1 - NARROWEST)) * len(targets)
        return HeadSpec("normal", targets, days, start, centre=_floats(values.mean(axis=0)), scale=_floats(spread))
    return _spend(targets, days, increments)


def labels_of(spec: HeadSpec, labels: pl.DataFrame) -> NDArray[np.float32]:
    """Return what ``Head.loss`` reads, row for row: float32, shape (R, ...).

    Bernoulli and normal: the label of each target. Spend: its increment over the next shorter horizon. Hazard: for
    each interval the part of it in which the event could have been seen (0 after it was), then for each interval
    whether it was seen there; both are found in float64, so that an event just before a horizon stays before it.

    Raises:
        FitError: a label is missing or not a finite number, or an amount falls where the head knows only rising ones.
    """
    if spec.kind == "hazard":
        return np.concatenate(_exposed(spec.edges, labels), axis=1).astype(np.float32)
    values = _numbers(labels, spec.targets)
    if spec.kind != "spend":
        return values.astype(np.float32)
    increments = np.diff(values, axis=1, prepend=0.0)
    if increments.size and increments.min() < 0:
        raise FitError(
            "a label falls with the horizon, or is negative; in the labels the head was made for none does",
            where=f"target '{spec.targets[int(increments.min(axis=0).argmin())]}'",
            remedy="Make the head from labels that include such users.",
        )
    return increments.astype(np.float32)


def _hazard(targets: tuple[str, ...], days: tuple[int, ...], waits: pl.DataFrame, *, happens: bool) -> HeadSpec:
    """Cut the waits that were seen into equal parts at whole days, and at every horizon."""
    known, wait = _numbers(waits, (KNOWN, DAYS)).T
    if known.max() < days[-1]:
        raise FitError(
            f"no row is known for {days[-1]} days", where=f"target '{targets[-1]}'", remedy="Use earlier cutoffs."
        )
    last = max(days[-1], math.floor(np.quantile(wait, 1 - STILL_WAITING)))
    seen = wait[waits[SEEN].to_numpy()]
    shares = np.linspace(0, 1, INTERVALS + 1)[1:]
    cuts = {math.ceil(each) for each in np.quantile(seen, shares)} if len(seen) else set()
    edges = tuple(sorted({*days, last, *(each for each in cuts if 0 < each < last)}))
    part, event = _exposed(edges, waits)
    rate = (event.sum(axis=0) + 0.5) / (part.sum(axis=0) + 1)
    return HeadSpec("hazard", targets, days, _floats(_softplus_inverse(rate)), happens=happens, edges=edges)


def _exposed(edges: Sequence[int], waits: pl.DataFrame) -> tuple[Doubles, Doubles]:
    """Of each row and interval: the part of it that is known and was reached, and whether the event came in it."""
    known, wait = _numbers(waits, (KNOWN, DAYS)).T
    own = np.searchsorted(edges, wait, side="right")[:, None]  # an event at an edge comes after it
    number, seen = np.arange(len(edges)), waits[SEEN].to_numpy()[:, None]
    return np.where(seen & (number > own), 0.0, parts_before(edges, known)), (seen & (number == own)).astype(np.float64)


def parts_before(edges: Sequence[int], days: Any) -> Doubles:
    """The part of each interval that lies before each of some moments, shape (moments, intervals)."""
    ends = np.asarray(edges, dtype=np.float64)
    starts = np.concatenate(([0.0], ends[:-1]))
    found: Doubles = np.clip((np.asarray(days, dtype=np.float64)[:, None] - starts) / (ends - starts), 0.0, 1.0)
    return found


def _spend(targets: tuple[str, ...], days: tuple[int, ...], increments: Doubles) -> HeadSpec:
    start: list[float] = []
    scale, limits = [], []
    for column in increments.T:
        logs = np.log(column[column > 0])
        rate = (len(logs) + 0.5) / (len(column) + 1)
        spread = float(logs.std()) if len(logs) > 1 else 1.0
        start += [math.log(rate / (1 - rate)), 0.0, float(_softplus_inverse(max(spread - NARROWEST, NARROWEST)))]
        scale.append(float(np.exp(logs.mean())) if len(logs) else 1.0)
        limits.append(float(column.max()) if len(logs) else 1.0)
    return HeadSpec("spend", targets, days, tuple(start), scale=tuple(scale), limits=tuple(limits))


def _numbers(labels: pl.DataFrame, names: Sequence[str]) -> Doubles:
    """Columns of labels, shape (R, names); every one must be a number."""
    values: Doubles = labels.select(pl.col(*names).cast(pl.Float64)).to_numpy().astype(np.float64)
    for name, wrong in zip(names, (~np.isfinite(values)).sum(axis=0), strict=True):
        if wrong:
            raise FitError(f"{wrong} labels are no finite numbers", where=f"'{name}'", remedy="Check the amounts.")
    return values


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in values)


def _softplus_inverse(value: Any) -> Any:
    return value + np.log(-np.expm1(-value))
