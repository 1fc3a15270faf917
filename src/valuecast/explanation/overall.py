"""What matters to a predictor at a moment: overall, by tier, in which direction, and together with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import combinations
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from valuecast.events.log import EventLog
from valuecast.explanation import facts
from valuecast.explanation.effects import Effects, Mixer, effects
from valuecast.explanation.shapley import FloatArray
from valuecast.explanation.typical import Typical, scored, typical
from valuecast.features.catalogue import Feature
from valuecast.language import Text
from valuecast.models.drivers import of_feature
from valuecast.models.predictor import TIERS, Predictor
from valuecast.moments import Moment

SEEDS: Final = 5
"""So often typical users and orders are drawn anew, and the users that are averaged over with replacement."""
REFERENCES: Final = 12
USERS: Final = 200
GROUP: Final = "group"
CURVES: Final = 4
BINS: Final = 10
_PAIRS_OF: Final = 5  # strongest drivers, each of which is tried with each other
_CONTEXTS: Final = 8  # of a pair
_LEVELS: Final = 3  # different values, at least, for a direction
_TOLD: Final = 2


@dataclass(frozen=True)
class Curve:
    """The accumulated local effects of one feature.

    Apley and Zhu (2020), Visualizing the effects of predictor variables in black box supervised learning models: users
    are moved to the ends of their own bin only, so nobody is given a value that such a user could not have.

    Attributes:
        name: of the feature.
        label: what a person calls it.
        values: ends of the bins.
        effects: mean score there, less the mean of the whole curve.
    """

    name: str
    label: Text
    values: tuple[float, ...]
    effects: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Overall:
    """What moves the scores of one target at a moment.

    Attributes:
        target: of the task.
        at: the moment.
        users: how many were explained.
        asked: how many the task asks about.
        base: their mean score.
        importance: ``driver``; ``mean``, the mean absolute effect, and ``low, high``, its range over single seeds;
            ``stable``, whether its rank is the same at every seed; ``direction``, from -1 to 1: how far a higher
            ``feature`` of the driver goes with a higher score (Spearman); the most important first.
        tiers: ``group`` (the tier), ``users, score`` and the mean effect of each driver.
        segments: the same by the values of each field, by its name.
        interactions: ``one, other, strength, mean``: the size of the part of a joint effect that neither has alone, and
            its mean; the strongest first.
        curves: of the features that move scores most.
        labels: what a person calls each feature of ``importance``, by its name.
        typical: ``tier, user, score`` and the facts ``en, zh`` of the user in the middle of each tier.
    """

    target: str
    at: datetime
    users: int
    asked: int
    base: float
    importance: pl.DataFrame = field(repr=False)
    tiers: pl.DataFrame = field(repr=False)
    segments: Mapping[str, pl.DataFrame] = field(repr=False)
    interactions: pl.DataFrame = field(repr=False)
    curves: tuple[Curve, ...]
    typical: pl.DataFrame = field(repr=False)
    labels: Mapping[str, Text] = field(repr=False)


def overall(
    predictor: Predictor,
    log: EventLog,
    *,
    at: Moment,
    target: str | None = None,
    segments: Mapping[str, pl.DataFrame] | None = None,
    users: int = USERS,
    seeds: int = SEEDS,
) -> Overall:
    """Explain many scores of a moment together.

    Args:
        predictor: whose scores they are.
        log: known until ``at``.
        at: the moment.
        target: of the task; by default the longest horizon.
        segments: fields to break effects down by: ``user, value``, by the name of the field.
        users: how many to explain.
        seeds: how often to draw.
    """
    when = log.asked(at)
    aim = target or max(predictor.task.targets, key=lambda name: predictor.task.targets[name])
    first = typical(predictor, log, when, asked=users, references=REFERENCES)
    found = [effects(predictor, first.sample, first.again(seed), seed=seed) for seed in range(seeds)]
    why = _averaged(found)
    importance = _importance(why, found, first.sample, predictor.inputs.engineered(), aim)
    strongest = importance["driver"].head(_PAIRS_OF).to_list()
    leads = importance["feature"].drop_nulls().head(CURVES).to_list()
    return Overall(
        aim,
        when,
        len(first.sample),
        first.eligible,
        first.base[aim],
        importance,
        _tiers(predictor, why, aim),
        {name: _segment(why, aim, first.sample, values) for name, values in (segments or {}).items()},
        _interactions(predictor, first, aim, strongest),
        _curves(predictor, first, aim, leads),
        _typical(predictor, first, why, aim, log.before(when)),
        {feature.name: feature.label for feature in predictor.inputs.engineered().values()},
    )


def _averaged(found: Sequence[Effects]) -> Effects:
    """The effects over all seeds together: what a table says, and what a figure, are then one."""
    first, count = found[0], len(found)
    values = {
        name: sum((each.values[name] for each in found), np.zeros_like(own)) / count
        for name, own in first.values.items()
    }
    return replace(first, values=values)


def _importance(
    why: Effects,
    found: Sequence[Effects],
    sample: pl.DataFrame,
    engineered: Mapping[str, Feature],
    target: str,
) -> pl.DataFrame:
    mean = np.abs(why.values[target]).mean(axis=0)
    rows = (np.random.default_rng(seed).integers(len(sample), size=len(sample)) for seed in range(len(found)))
    means = np.stack([np.abs(each.values[target][own]).mean(axis=0) for each, own in zip(found, rows, strict=True)])
    ranks = rankdata(-means, axis=1, method="min")
    columns = {feature.name: (of_feature(feature), sample[name]) for name, feature in engineered.items()}
    leads = [_lead(code, why.values[target][:, number], columns) for number, code in enumerate(why.drivers)]
    return pl.DataFrame(
        {
            "driver": why.drivers,
            "mean": mean,
            "low": np.minimum(means.min(axis=0), mean),
            "high": np.maximum(means.max(axis=0), mean),
            "stable": (ranks == ranks[0]).all(axis=0),
            "feature": [name for name, _ in leads],
            "direction": [way for _, way in leads],
        },
        schema_overrides={"feature": pl.String, "direction": pl.Float64},
    ).sort("mean", descending=True)


def _lead(
    code: str, values: FloatArray, columns: Mapping[str, tuple[str, pl.Series]]
) -> tuple[str | None, float | None]:
    """Return the feature of a driver whose order goes with the driver's effect most, and how; None without any."""
    ways = {}
    for name, (own, column) in columns.items():
        if own == code:
            number = column.fill_null(float("nan")).to_numpy()
            known = ~np.isnan(number)
            if known.sum() >= len(number) / 2 and len(np.unique(number[known])) >= _LEVELS and values[known].std() > 0:
                ways[name] = float(np.corrcoef(rankdata(number[known]), rankdata(values[known]))[0, 1])
    lead = max(ways, key=lambda name: abs(ways[name]), default=None)
    return (None, None) if lead is None else (lead, ways[lead])


def _tier(predictor: Predictor, scores: FloatArray, target: str) -> NDArray[np.int64]:
    return np.asarray(np.searchsorted(predictor.heads[target].tiers, scores, side="right"), dtype=np.int64)


def _means(why: Effects, target: str, groups: pl.Series) -> pl.DataFrame:
    """Return the number of users, the mean score and the mean effects of each group, the largest group first."""
    values = pl.DataFrame(why.values[target], schema=list(why.drivers), orient="row")
    found = values.with_columns(groups.alias(GROUP), pl.Series("score", why.scores[target]))
    return (
        found.group_by(GROUP)
        .agg(pl.len().alias("users"), pl.col("score", *why.drivers).mean())
        .sort("users", GROUP, descending=[True, False])
    )


def _tiers(predictor: Predictor, why: Effects, target: str) -> pl.DataFrame:
    names = pl.Series([TIERS[number] for number in _tier(predictor, why.scores[target], target)], dtype=pl.String)
    found = _means(why, target, names)
    return pl.DataFrame({GROUP: TIERS}).join(found, on=GROUP, how="inner", maintain_order="left")


def _segment(why: Effects, target: str, sample: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    known = sample.select("user").join(values.select("user", "value"), on="user", how="left", maintain_order="left")
    return _means(why, target, known["value"])


def _interactions(predictor: Predictor, known: Typical, target: str, codes: Sequence[str]) -> pl.DataFrame:
    """Mean joint effects: of two drivers together, less that of each alone, among random ones of the others.

    That is the interaction index of Grabisch and Roubens (1999), with coalitions drawn evenly.
    """
    mixer, draw = Mixer(predictor, known), np.random.default_rng(0)
    users = np.arange(len(known.sample))
    rows = []
    for one, other in combinations(codes, 2):
        rest = [code for code in mixer.drivers if code not in (one, other)]
        joint = np.zeros(len(users))
        sets: tuple[tuple[str, ...], ...] = ((), (one,), (other,), (one, other))
        for _ in range(_CONTEXTS):
            from_other = {code for code in rest if draw.random() < 1 / 2}
            beside = draw.choice(known.rows, size=len(users))
            taken = {
                code: np.concatenate([beside if code in {*from_other, *each} else users for each in sets])
                for code in mixer.drivers
            }
            both, without_one, without_other, neither = mixer.scores(known.sample, taken)[target].reshape(4, -1)
            joint += (both - without_one - without_other + neither) / _CONTEXTS
        rows.append({"one": one, "other": other, "strength": float(np.abs(joint).mean()), "mean": float(joint.mean())})
    schema = {"one": pl.String, "other": pl.String, "strength": pl.Float64, "mean": pl.Float64}
    return pl.DataFrame(rows, schema=schema).sort("strength", descending=True)


def _curves(predictor: Predictor, known: Typical, target: str, names: Sequence[str]) -> tuple[Curve, ...]:
    engineered = predictor.inputs.engineered()
    found = []
    for name in names:
        columns = [column for column, feature in engineered.items() if feature.name == name]
        label = engineered[columns[0]].label
        values = known.sample[columns[0]].fill_null(float("nan")).to_numpy()
        kept = ~np.isnan(values)
        edges = np.unique(np.quantile(values[kept], np.linspace(0, 1, BINS + 1)))
        if len(edges) < _LEVELS:
            continue
        place = np.clip(np.searchsorted(edges, values[kept], side="left"), 1, len(edges) - 1)
        sample = known.sample.filter(kept)
        ends = [
            scored(predictor, sample.with_columns(pl.Series(column, edges[end]) for column in columns), known.at)[
                target
            ]
            for end in (place - 1, place)
        ]
        moved, count = (
            np.bincount(place - 1, weights=weights, minlength=len(edges) - 1) for weights in (ends[1] - ends[0], None)
        )
        steps = np.divide(moved, count, out=np.zeros(len(moved)), where=count > 0)
        curve = np.concatenate([[0.0], np.cumsum(steps)])
        middle = np.average((curve[1:] + curve[:-1]) / 2, weights=count)
        found.append(Curve(name, label, tuple(map(float, edges)), tuple(map(float, curve - middle))))
    return tuple(found)


def _typical(predictor: Predictor, known: Typical, why: Effects, target: str, log: EventLog) -> pl.DataFrame:
    """Return the user in the middle of each tier: nearest to the median effects of all in it."""
    tier, values = _tier(predictor, why.scores[target], target), why.values[target]
    middle = []
    for number in range(len(TIERS)):
        inside = np.flatnonzero(tier == number)
        if len(inside):
            apart = np.abs(values[inside] - np.median(values[inside], axis=0)).sum(axis=1)
            middle.append(int(inside[np.argmin(apart)]))
    said = facts.facts(known.sample[middle], log, known.at)
    rows = []
    for row, numbers in zip(middle, said.iter_rows(named=True), strict=True):
        strongest = np.argsort(-np.abs(values[row]), kind="stable")[:_TOLD]
        texts = [facts.told(why.drivers[number], numbers, known.at) for number in strongest]
        rows.append(
            {
                "tier": TIERS[tier[row]],
                "user": known.sample["user"][row],
                "score": float(why.scores[target][row]),
                "en": "; ".join(text.en for text in texts),
                "zh": "；".join(text.zh for text in texts),
            }
        )
    return pl.DataFrame(rows)
