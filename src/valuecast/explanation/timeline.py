"""Which stretches of the past moved a score: each in turn is put in the place of what typical users did then.

A stretch ends with a purchase, or holds the silence since the last one: so both what was done and what was not have an
effect. All of it is scored anew by the whole predictor, whatever it is made of; see ``shapley`` for how it adds up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.explanation import rewrite
from valuecast.explanation.shapley import BoolArray, FloatArray, Plan
from valuecast.explanation.typical import Typical
from valuecast.models.drivers import PROFILE
from valuecast.models.predictor import Predictor

LATEST: Final = 7
"""So many of the latest days with a purchase have a stretch of their own."""
EARLIER: Final = 3
"""Those before them share so many."""
Kind = Literal["silence", "order", "orders", "before", "profile"]
_STRETCH: Final = "_stretch"
_VARIANT: Final = "_variant"


@dataclass(frozen=True)
class Stretch:
    """Part of the past of a user.

    Attributes:
        kind: ``silence`` since the last purchase, up to one ``order`` or several ``orders``, ``before`` the first of
            them, or no time at all but the user's ``profile``. Without purchases any event counts as one.
        start: its first moment; the one before it ends there.
        end: where it ends.
        days: with a purchase.
        amount: spent, in the log's currency.
        lines: events on those days.
        others: events beside them, such as visits.
    """

    kind: Kind
    start: datetime
    end: datetime
    days: int = 0
    amount: float = 0.0
    lines: int = 0
    others: int = 0


@dataclass(frozen=True, eq=False)
class Timeline:
    """The stretches of a user's past, and by how much each moved the score.

    Attributes:
        stretches: the oldest first; the profile, if the predictor reads any, comes last.
        scores: of the user, by target.
        base: mean score at the moment, by target.
        values: by target; with the base they add up to the score; shape (stretches,).
        errors: standard errors of the values by the draw of orders, likewise.
    """

    stretches: tuple[Stretch, ...]
    scores: Mapping[str, float]
    base: Mapping[str, float]
    values: Mapping[str, FloatArray]
    errors: Mapping[str, FloatArray] = field(default_factory=dict)


def stretches(events: pl.DataFrame, span_start: datetime, at: datetime, *, profile: bool) -> tuple[Stretch, ...]:
    """Cut a user's past.

    Args:
        events: of the user, before ``at``.
        span_start: since when the log is known.
        at: the moment.
        profile: whether the user's attributes are a part of their own.
    """
    bought = events.filter(pl.col(c.EVENT) == c.PURCHASE)
    counted = bought if len(bought) else events
    days = counted[c.TIME].dt.truncate("1d").unique().sort().to_list()
    single = days[-LATEST:]
    older = days[: len(days) - len(single)]
    groups = [list(part) for part in np.array_split(np.array(older, dtype=object), EARLIER) if len(part)]
    groups += [[day] for day in single]
    first: datetime = days[0]
    edges = [span_start, *([first] if first > span_start else [])]
    kinds: list[Kind] = ["before"] if first > span_start else []
    for group in groups:
        edges.append(min(group[-1] + timedelta(days=1), at))
        kinds.append("order" if len(group) == 1 else "orders")
    if edges[-1] < at:
        edges.append(at)
        kinds.append("silence")
    found = []
    for kind, (start, end) in zip(kinds, pairwise(edges), strict=True):
        inside = events.filter(pl.col(c.TIME) >= start, pl.col(c.TIME) < end)
        lines = inside.filter(pl.col(c.EVENT) == c.PURCHASE) if len(bought) else inside
        paid = lines.filter(pl.col(c.AMOUNT) > 0, ~pl.col(c.AMOUNT).is_nan())[c.AMOUNT].sum()
        found.append(
            Stretch(
                kind,
                start,
                end,
                days=lines[c.TIME].dt.truncate("1d").n_unique(),
                amount=float(paid),
                lines=len(lines),
                others=len(inside) - len(lines),
            )
        )
    return (*found, *([Stretch("profile", at, at)] if profile else []))


@dataclass(frozen=True, eq=False)
class Splicer:
    """Makes histories that have some stretches from a user and the rest from typical users, and scores them.

    Attributes:
        predictor: is asked.
        log: that all are users of.
        at: the moment.
        user: whose past is cut.
        parts: how it is cut.
        others: the typical users.
        events: of all of them before ``at``, with the number of the stretch each falls into.
    """

    predictor: Predictor
    log: EventLog
    at: datetime
    user: str
    parts: tuple[Stretch, ...]
    others: tuple[str, ...]
    events: pl.DataFrame = field(repr=False)

    @classmethod
    def of(cls, predictor: Predictor, log: EventLog, at: datetime, user: str, others: Sequence[str]) -> Splicer:
        """Read the pasts of a user and of typical users."""
        events = rewrite.past(log, [user, *others], at)
        profile = PROFILE in set(predictor.inputs.drivers().values()) and log.users is not None
        parts = stretches(events.filter(pl.col(c.USER) == user), log.span.start, at, profile=profile)
        edges = pl.Series([part.end for part in parts if part.kind != "profile"][:-1], dtype=pl.Datetime("us"))
        placed = events.with_columns(edges.search_sorted(events[c.TIME], side="right").cast(pl.Int64).alias(_STRETCH))
        return cls(predictor, log, at, user, parts, tuple(others), placed)

    def scores(self, kept: BoolArray, reference: Sequence[int]) -> dict[str, FloatArray]:
        """Return the scores of splices, by target.

        A splice without any event keeps the last event of the typical user: nobody asks about a user without a past.

        Args:
            kept: which stretches are the user's; shape (V, parts).
            reference: the number of the typical user whose the rest is; shape (V,).
        """
        names = [f"v{number}" for number in range(len(kept))]
        other = [self.others[number] for number in reference]
        number = np.nonzero(np.ones_like(kept))
        wanted = pl.DataFrame(
            {
                _VARIANT: pl.Series(names).gather(number[0]),
                _STRETCH: number[1],
                c.USER: np.where(kept, self.user, np.array(other, dtype=object)[:, None]).reshape(-1).tolist(),
            }
        )
        events = wanted.join(self.events, on=[c.USER, _STRETCH], how="inner")
        empty = pl.DataFrame({_VARIANT: names, c.USER: other}).join(events, on=_VARIANT, how="anti")
        last = self.events.group_by(c.USER, maintain_order=True).last()
        events = pl.concat([events, empty.join(last, on=c.USER).select(events.columns)])
        attributes = [part.kind == "profile" for part in self.parts]
        own: list[bool] = (
            np.logical_or.reduce(kept[:, attributes], axis=1).tolist() if any(attributes) else [True] * len(kept)
        )
        profiles = {name: self.user if mine else theirs for name, mine, theirs in zip(names, own, other, strict=True)}
        told = events.drop(c.USER, _STRETCH).rename({_VARIANT: c.USER})
        with rewrite.rewritten(self.log, told, profiles, until=self.at) as log:
            return rewrite.scores(self.predictor, log, names, self.at)


def timeline(
    predictor: Predictor,
    log: EventLog,
    user: str,
    known: Typical,
    scores: Mapping[str, float],
    *,
    each: int = 1,
    seed: int = 0,
) -> Timeline:
    """Explain a user's scores by the stretches of the past.

    Args:
        predictor: whose scores they are.
        log: known until the moment.
        user: who is asked about.
        known: whom to compare with, and when.
        scores: of the user, by target.
        each: pairs of orders for each reference.
        seed: of the orders.
    """
    splicer = Splicer.of(predictor, log, known.at, user, known.references)
    count = len(splicer.parts)
    plan = Plan.drawn(count, len(known.rows), each=each, draw=np.random.default_rng(seed))
    among = plan.coalitions
    kept = among.reshape(-1, count)
    reference = np.repeat(plan.reference, count - 1)
    between = splicer.scores(kept, reference.tolist()) if len(kept) else {}
    values, errors = {}, {}
    for target, score in scores.items():
        start = known.scores[target][list(known.rows)][plan.reference]
        path = between[target].reshape(among.shape[:2]) if len(kept) else np.empty((len(start), 0))
        found = plan.effects(path, start, np.asarray(score))
        values[target], errors[target] = plan.summed(found, known.weights[target])
    return Timeline(splicer.parts, dict(scores), known.base, values, errors)
