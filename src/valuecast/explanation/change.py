"""What would change it: the smallest thing a user could do that takes the score across a threshold.

Only what is still to come is changed: the past stays, and so does all that the shop knows of the user. Each change is
written into the user's history, within a window after the moment, and scored anew at the end of the window by the whole
predictor, beside the same window without anything. It says what the predictor would say, not what the change causes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Final, Literal

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.errors import ConfigError
from valuecast.events.log import EventLog
from valuecast.explanation import rewrite
from valuecast.models.predictor import Predictor
from valuecast.tasks import Task

WINDOW: Final = 14
"""Days within which something would have to happen."""
NOT_OURS: Final = frozenset({c.RETURN, "exposure"})
"""Types of event that are no act of a user which anybody would ask for."""
_KINDS: Final = 3  # of event beside purchases, the commonest
_QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)  # of what an order is worth in the shop
_PLACES: Final = (0.02, 0.5, 0.95)  # of the window, at which a change must hold
Direction = Literal["lower", "higher"]


@dataclass(frozen=True)
class Change:
    """Something that a user might do.

    Attributes:
        event: its type.
        count: how often.
        amount: worth each time, at least; None where amounts mean nothing.
    """

    event: str
    count: int
    amount: float | None


@dataclass(frozen=True)
class Trial:
    """A change that was tried.

    Attributes:
        change: what happens.
        score: at the end of the window, of the place in it at which it crosses least.
        crosses: whether it does there, too.
    """

    change: Change
    score: float
    crosses: bool


@dataclass(frozen=True)
class Counterfactual:
    """A threshold, and what takes a score across it.

    Attributes:
        target: of the task.
        threshold: to be crossed.
        direction: in which.
        days: within which the change happens; the score is that of their end.
        now: score at the moment.
        idle: score at the end of the window if nothing happens.
        change: the smallest that crosses wherever in the window it falls; None where none of those tried does.
        then: score with it at the end of the window; of all places in the window, and amounts from its own up, the one
            that crosses least. Without a change that crosses, that of the change that comes nearest.
        nearest: that change; None where none of those tried comes nearer than doing nothing.
        trials: all changes that were tried, the smallest first.
    """

    target: str
    threshold: float
    direction: Direction
    days: int
    now: float
    idle: float
    change: Change | None
    then: float
    nearest: Change | None
    trials: tuple[Trial, ...]


def better(task: Task) -> Direction:
    """Say which way a shop would have a score of a task move: less churn, more of everything else."""
    return "lower" if task.waiting == "stays_away" else "higher"


def aim(predictor: Predictor, target: str, score: float, threshold: float | None) -> tuple[float, Direction] | None:
    """Return what is to be crossed: the threshold, or the next tier in the better direction; None in the best tier.

    Raises:
        ConfigError: a probability has no such threshold.
    """
    if threshold is not None:
        if predictor.task.kind == "binary" and not 0 < threshold < 1:
            raise ConfigError(
                f"{threshold:g} is no probability",
                where="threshold",
                remedy=f"Give one between 0 and 1, such as {threshold / 100 if 1 < threshold < 100 else 0.5:g}.",
            )
        return threshold, "lower" if score >= threshold else "higher"
    low, high = predictor.heads[target].tiers
    direction = better(predictor.task)
    beyond = (
        [cut for cut in (high, low) if cut <= score]
        if direction == "lower"
        else [cut for cut in (low, high) if cut > score]
    )
    return (beyond[0], direction) if beyond else None


def counterfactual(
    predictor: Predictor,
    log: EventLog,
    user: str,
    at: datetime,
    *,
    target: str,
    now: float,
    threshold: float | None = None,
    days: int = WINDOW,
    events: Sequence[str] | None = None,
) -> Counterfactual | None:
    """Search for the smallest change that takes a user's score across a threshold.

    Args:
        predictor: whose score it is.
        log: known until ``at``.
        user: whose score it is.
        at: the moment.
        target: of the task.
        now: the score.
        threshold: to be crossed; by default the user's next tier in the better direction.
        days: within which something would have to happen.
        events: types of event that may happen; by default purchases and the commonest acts of users in the log.

    Returns:
        None where there is no better tier.

    Raises:
        ConfigError: the log has no such type of event, or the threshold is no probability.
    """
    found = aim(predictor, target, now, threshold)
    if found is None:
        return None
    (limit, direction) = found
    search = Search.of(predictor, log, user, at, days=days, events=events)
    changes = search.changes
    if not changes:  # a log of nothing that users do
        idle = float(search.scores([(None, 0.0)])[target][0])
        return Counterfactual(target, limit, direction, days, now, idle, None, idle, None, ())
    placed = [(None, 0.0), *product(changes, _PLACES)]
    scores = search.scores(placed)[target]
    idle, rest = float(scores[0]), scores[1:].reshape(len(changes), len(_PLACES))
    sign = 1.0 if direction == "higher" else -1.0
    worst = (sign * rest).min(axis=1) * sign
    crosses = worst >= limit if direction == "higher" else worst < limit
    # "of 30 or more" is true only if more crosses, too.
    siblings = [
        [j for j, other in enumerate(changes) if other == change or _more(other, than=change)] for change in changes
    ]
    holds = [all(crosses[j] for j in own) for own in siblings]
    least = [sign * min(sign * worst[j] for j in own) for own in siblings]
    best = next((i for i, held in enumerate(holds) if held), None)
    nearest = int(np.argmax(sign * np.array(least))) if best is None else best
    closer = sign * least[nearest] > sign * idle
    return Counterfactual(
        target,
        limit,
        direction,
        days,
        now,
        idle,
        None if best is None else changes[best],
        float(least[nearest]) if closer or best is not None else idle,
        changes[nearest] if closer or best is not None else None,
        tuple(Trial(change, float(worst[i]), bool(crosses[i])) for i, change in enumerate(changes)),
    )


def _more(change: Change, *, than: Change) -> bool:
    same = (change.event, change.count) == (than.event, than.count)
    return same and change.amount is not None and than.amount is not None and change.amount > than.amount


@dataclass(frozen=True, eq=False)
class Search:
    """The changes that are tried for a user, the smallest first, and how they are scored."""

    predictor: Predictor
    log: EventLog
    at: datetime
    days: int
    past: pl.DataFrame
    user: str
    changes: tuple[Change, ...]
    patterns: dict[str, pl.DataFrame]
    largest: float

    @classmethod
    def of(
        cls, predictor: Predictor, log: EventLog, user: str, at: datetime, *, days: int, events: Sequence[str] | None
    ) -> Search:
        """Look up what users of the shop do, and what orders are worth."""
        known = log.before(at)
        past = rewrite.past(log, [user], at)
        kinds = _kinds(known, events)
        orders = past.filter(pl.col(c.EVENT) == c.PURCHASE).group_by(c.TIME).agg(pl.col(c.AMOUNT).sum())[c.AMOUNT]
        own = [float(each) for each in orders if each is not None and np.isfinite(each) and each > 0]
        amounts, largest = _plausible(_amounts(known) if c.PURCHASE in kinds else (), own)
        patterns = {kind: _pattern(known, past, kind) for kind in kinds}
        return cls(predictor, log, at, days, past, user, tuple(_changes(kinds, amounts)), patterns, largest)

    def scores(self, placed: Sequence[tuple[Change | None, float]]) -> dict[str, np.ndarray]:
        """Return the scores at the end of the window, by target, of changes at some share of it."""
        until = self.at + timedelta(days=self.days)
        names = [f"v{number}" for number in range(len(placed))]
        tables = [self.past.join(pl.DataFrame({"_variant": names}), how="cross")]
        for name, (change, place) in zip(names, placed, strict=True):
            if change is not None:
                tables.append(self._event(change, place).with_columns(pl.lit(name).alias("_variant")))
        told = pl.concat([table.select(*self.past.columns, "_variant") for table in tables])
        told = told.drop(c.USER).rename({"_variant": c.USER})
        with rewrite.rewritten(self.log, told, dict.fromkeys(names, self.user), until=until) as log:
            return rewrite.scores(self.predictor, log, names, until)

    def _event(self, change: Change, place: float) -> pl.DataFrame:
        """Return the lines of a change: each time at a moment of its own, evenly up to the end of the window."""
        room = timedelta(days=self.days) * place
        step = (timedelta(days=self.days) - room) / change.count
        times = [self.at + room + step * number for number in range(change.count)]
        pattern = self.patterns[change.event]
        found = []
        for number, time in enumerate(times):
            amount = pl.lit(change.amount, dtype=pl.Float64).alias(c.AMOUNT) if change.amount is not None else c.AMOUNT
            order = pl.when(pl.col(c.ORDER).is_not_null()).then(pl.lit(f"change {number}")).alias(c.ORDER)
            when = pl.lit(time, dtype=pl.Datetime("us")).alias(c.TIME)
            found.append(pattern.with_columns(when, amount, order, pl.lit(f"change {number}").alias(c.ID)))
        return pl.concat(found)


def _kinds(log: EventLog, wanted: Sequence[str] | None) -> list[str]:
    counts = log.events.group_by(c.EVENT).aggregate(count=log.events.count())
    known = log.collect(counts).sort("count", c.EVENT, descending=[True, False])[c.EVENT].to_list()
    if wanted is not None:
        for kind in wanted:
            if kind not in known:
                raise ConfigError(
                    f"the log has no event '{kind}'", where="changes", remedy=f"Use of: {', '.join(known)}."
                )
        return list(wanted)
    acts = [kind for kind in known if kind not in NOT_OURS and kind != c.PURCHASE][:_KINDS]
    return [*acts, *([c.PURCHASE] if c.PURCHASE in known else [])]


def _amounts(log: EventLog) -> tuple[float, ...]:
    """What orders are worth, at a few quantiles, in round numbers; none where purchases have no amounts."""
    bought = log.events.filter((log.events[c.EVENT] == c.PURCHASE) & (log.events[c.AMOUNT] > 0))
    orders = bought.group_by([c.USER, c.TIME]).aggregate(worth=bought[c.AMOUNT].sum())
    worth = orders["worth"]
    found = log.collect(orders.aggregate(**{f"q{i}": worth.quantile(q) for i, q in enumerate(_QUANTILES)})).row(0)
    return tuple(sorted({_round(float(each)) for each in found if each is not None and np.isfinite(each)}))


def _plausible(usual: Sequence[float], own: Sequence[float]) -> tuple[tuple[float, ...], float]:
    """What a user's orders may be worth, and the most: as in the shop, and as the user's own middle one is.

    Nothing beyond both the user's largest order and the middle one of the shop is asked of anybody.
    """
    if not usual:
        return (), 0.0
    largest = max([usual[len(usual) // 2], *own])
    middle = [_round(float(np.median(own)))] if own else []
    return tuple(sorted({each for each in (*usual, *middle) if each <= largest})), largest


def _round(amount: float) -> float:
    """Two digits are enough for a proposal."""
    return float(f"{amount:.2g}")


def _changes(kinds: Sequence[str], amounts: Sequence[float]) -> Iterator[Change]:
    """All changes, the smallest first: an act that is no purchase, one order the smaller before the larger, two."""
    for kind in kinds:
        if kind != c.PURCHASE:
            yield Change(kind, 1, None)
    if c.PURCHASE in kinds:
        for count in (1, 2):
            for amount in amounts or (None,):
                yield Change(c.PURCHASE, count, amount)


def _pattern(log: EventLog, past: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return one line for an event of a kind to be like: the user's latest, or the latest of anybody."""
    own = past.filter(pl.col(c.EVENT) == kind).tail(1)
    if len(own):
        return own
    events = log.events.filter(log.events[c.EVENT] == kind)
    latest = log.collect(events.order_by([events[c.TIME].desc(), c.ID]).limit(1))
    return latest.select(past.columns)


def drawn(change: Change, largest: float, draw: np.random.Generator) -> tuple[Change, float]:
    """Draw a case that a change promises to hold for: some time in the window, and an amount not below its own."""
    place = float(draw.uniform(0.0, 0.99))
    if change.amount is None:
        return change, place
    return replace(change, amount=float(draw.uniform(change.amount, max(largest, change.amount)))), place
