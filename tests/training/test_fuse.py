"""Fusion: what is taken, what it is judged on, and what the manifest tells of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from tests.logs import START
from valuecast.models.blend import WEIGHED
from valuecast.models.column import Column
from valuecast.models.inputs import HistoryInputs
from valuecast.models.model import Choice
from valuecast.models.panel import Panel
from valuecast.models.predictor import Predictor
from valuecast.tasks import Task, churn, value
from valuecast.tasks.splits import TimeSplit
from valuecast.training.calibrate import Judged, Scored, calibrated
from valuecast.training.fitted import Fitted
from valuecast.training.fuse import fuse

CHURN, VALUE = churn(30), value(30)
USERS, ROUNDS = 150, 3
pytestmark = pytest.mark.usefixtures("few_resamples")


def keys_of(number: int) -> pl.DataFrame:
    """Everybody at one cutoff; rounds count back from the latest."""
    at = pl.Series([START + timedelta(days=300 - 30 * number)] * USERS, dtype=pl.Datetime("us"))
    return pl.DataFrame({"user": [f"u{user:03}" for user in range(USERS)], "at": at})


def fitted(task: Task, noise: float, *, seed: int, rounds: int = ROUNDS, flip: int | None = None) -> Fitted:
    """A part that knows the truth but for noise of its own; labels of all parts are the same.

    Args:
        task: of one target.
        noise: how much.
        seed: of the noise.
        rounds: how many there are.
        flip: the round in which a few users have the held-out labels of others.
    """
    (target, days), same, own = *task.targets.items(), np.random.default_rng(0), np.random.default_rng(seed)
    binary, scored = task.kind == "binary", []
    for number in range(ROUNDS + 1):
        knows = same.normal(0, 1.5, USERS)
        spent = np.exp(knows + 2) * (same.uniform(size=USERS) < 0.7)
        truth = (same.uniform(size=USERS) < expit(knows)).astype(float) if binary else spent
        raw = knows + own.normal(0, noise, USERS)
        truth = np.concatenate([truth[20::-1], truth[21:]]) if number == flip else truth
        scored.append(Scored(keys_of(number), raw if binary else np.exp(raw + 1), truth))
    judged = [Judged(scored[number + 1], scored[number]) for number in range(rounds)]
    model = Column(target, "log_odds" if binary else "amount")
    how: dict[str, Any] = {"model": model, "rounds": judged, "every": scored[0], "choice": Choice({}, ()), "seed": 0}
    facts = {"examples": USERS, "split": {"rounds": rounds}, "own": seed}
    split, before = TimeSplit(every=30), START + timedelta(days=330)
    made = Predictor(
        f"p{seed}", task, before, split, HistoryInputs(task), {target: calibrated(task, days, **how)}, facts
    )
    return Fitted(made, {target: judged}, {target: scored[0]}, seconds=float(seed))


def fused(task: Task, **parts: Fitted) -> Fitted:
    return fuse(task, parts, absent={}, seed=0)


def panel_of(found: Fitted) -> Panel:
    assert isinstance(found.predictor.inputs, Panel)
    return found.predictor.inputs


tasks = pytest.mark.parametrize("task", [CHURN, VALUE], ids=["churn", "value"])


@tasks
def test_parts_that_err_apart_are_mixed(task: Task) -> None:
    found = fused(task, one=fitted(task, 1, seed=1), two=fitted(task, 1, seed=2), poor=fitted(task, 9, seed=3))
    (head,) = found.predictor.heads.values()
    shares = head.facts["settings"]["parts"]
    assert head.facts["settings"]["blend"] == WEIGHED
    assert shares["one"] > 0.2 < shares["two"]
    assert shares.get("poor", 0) < 0.1
    assert set(panel_of(found).parts) == set(shares)  # nobody is asked in vain
    losses = {trial["blend"]: trial["loss"] for trial in head.facts["trials"]}
    assert min(losses, key=losses.__getitem__) == WEIGHED
    assert losses["poor"] == max(losses.values())
    (target,) = task.targets
    assert set(head.model.weights) == {f"{name}/{target}" for name in shares}  # type: ignore[attr-defined]


@tasks
def test_the_best_part_is_taken_alone_where_it_is_best(task: Task) -> None:
    best = fitted(task, 0.05, seed=1)
    found = fused(task, best=best, poor=fitted(task, 20, seed=2))
    (head,), (own,) = found.predictor.heads.values(), best.predictor.heads.values()
    settings = head.facts["settings"]
    if task.kind == "binary":
        assert settings == {"blend": "best", "parts": {"best": 1.0}}
        assert (head.level, head.shape, head.tiers) == (own.level, own.shape, own.tiers)
    assert settings["parts"]["best"] > 0.95
    alone = fused(task, best=best)
    assert alone.predictor.heads[next(iter(task.targets))].facts["settings"]["blend"] == "best"
    assert set(panel_of(alone).parts) == {"best"}


def test_the_manifest_tells_of_every_part() -> None:
    parts = {"best": fitted(CHURN, 0.1, seed=1), "poor": fitted(CHURN, 20, seed=2, rounds=2)}
    found = fuse(CHURN, parts, absent={"bgnbd": "knows no returns"}, seed=7)
    facts = found.predictor.facts
    assert found.predictor.name == "fused"
    assert facts["absent"] == {"bgnbd": "knows no returns"}
    assert {name: each["own"] for name, each in facts["parts"].items()} == {"best": 1, "poor": 2}
    assert (facts["examples"], facts["seed"], facts["seconds"]) == (USERS, 7, 3.0)
    assert facts["split"] == {"rounds": 2}  # those that were looked at
    assert found.seconds == 3.0


@tasks
def test_rounds_are_those_that_all_parts_have(task: Task) -> None:
    """A backbone may have seen the validation of the earliest rounds; the latest come first."""
    parts = {"one": fitted(task, 1, seed=1), "two": fitted(task, 1, seed=2, rounds=2)}
    found = fused(task, **parts)
    (judged,), (cut,) = (
        found.judged.values(),
        fused(task, one=fitted(task, 1, seed=1, rounds=2), two=parts["two"]).judged.values(),
    )
    assert [each.held.keys["at"][0] for each in judged] == [keys_of(number)["at"][0] for number in (0, 1)]
    for one, other in zip(judged, cut, strict=True):
        np.testing.assert_array_equal(one.held.raw, other.held.raw)


@tasks
@pytest.mark.parametrize("flip", [0, 2])
def test_a_held_out_row_has_no_say_in_its_own_score(task: Task, flip: int) -> None:
    """Other labels in one round move the shares with which other rounds are judged, and not its own."""

    def judged(flip: int | None) -> list[np.ndarray]:
        found = fused(task, one=fitted(task, 1, seed=1, flip=flip), two=fitted(task, 0.7, seed=2, flip=flip))
        (head,), (rounds,) = found.predictor.heads.values(), found.judged.values()
        assert head.facts["settings"]["blend"] == WEIGHED
        return [each.held.raw for each in rounds]

    one, other = judged(None), judged(flip)
    for number in range(ROUNDS):
        assert np.array_equal(one[number], other[number]) == (number == flip)


def test_parts_that_scored_other_rows_are_noticed() -> None:
    one = fitted(CHURN, 1, seed=1)
    (rows,) = one.every.values()
    for wrong in (replace(rows, keys=rows.keys.reverse()), replace(rows, truth=1 - rows.truth)):
        other = replace(fitted(CHURN, 1, seed=2), every={"churn_30d": wrong})
        with pytest.raises(AssertionError, match="'two' scored other rows"):
            fused(CHURN, one=one, two=other)


@tasks
def test_what_it_says_of_what_its_parts_learned_from(task: Task) -> None:
    """The refitted blend's weights, on the raw scores of its refitted parts; amounts have the true total."""
    parts = {"one": fitted(task, 1, seed=1), "two": fitted(task, 1, seed=2)}
    found = fused(task, **parts)
    (target,) = task.targets
    weights = found.predictor.heads[target].model.weights  # type: ignore[attr-defined]
    raw = sum(weights[f"{name}/{target}"] * each.every[target].raw for name, each in parts.items())
    np.testing.assert_allclose(found.every[target].raw, raw)
    if task.kind == "amount":
        held = [each.judged[target] for each in parts.values()]
        total = sum(
            (weights[f"{name}/{target}"] * each.held.raw).sum()
            for name, rounds in zip(parts, held, strict=True)
            for each in rounds
        )
        assert total == pytest.approx(sum(each.held.truth.sum() for each in held[0]))
