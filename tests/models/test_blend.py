"""Blends: weights that are shares, that held-out rows determine, and that none of a group's own labels moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from valuecast.models import blend
from valuecast.models.blend import MATTERS, WEIGHED, Blend
from valuecast.models.calibration import Pairs
from valuecast.models.model import Scale
from valuecast.models.registry import FUSIONS

Parts = dict[str, Pairs]


def drawn(kind: str, *, rows: int = 600, groups: int = 3, seed: int = 0, **noise: float) -> Parts:
    """Parts that know the truth but for noise of their own; by default a good one, a fair one and one that knows less.

    Args:
        kind: ``log_odds``, ``amount``, or ``net`` for amounts that may be negative.
        rows: of each group.
        groups: how many.
        seed: of everything.
        noise: of each part.
    """
    draw, count = np.random.default_rng(seed), rows * groups
    own = draw.normal(0, 1.5, count)
    group, user = np.repeat(np.arange(groups), rows), np.tile(np.arange(rows), groups)
    noisy = {part: own + draw.normal(0, far, count) for part, far in (noise or {"a": 0.5, "b": 1.0, "c": 2.0}).items()}
    if kind == "log_odds":
        truth = (draw.uniform(size=count) < expit(own)).astype(float)
    elif kind == "amount":
        truth = np.exp(own + 1) * (draw.uniform(size=count) < 0.6)
        noisy = {part: 3 * np.exp(raw) for part, raw in noisy.items()}
    else:
        truth = 20 * own + draw.normal(0, 10, count)
        noisy = {part: 20 * raw for part, raw in noisy.items()}
    return {part: Pairs(raw, truth, group, user) for part, raw in noisy.items()}


def scale_of(kind: str) -> Scale:
    return "log_odds" if kind == "log_odds" else "amount"


kinds = pytest.mark.parametrize("kind", ["log_odds", "amount", "net"])


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["log_odds", "amount", "net"]),
    st.lists(st.floats(0.01, 30), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(2, 40),
    st.integers(0, 99),
)
def test_shares_are_shares(kind: str, noise: list[float], groups: int, rows: int, seed: int) -> None:
    parts = drawn(kind, rows=rows, groups=groups, seed=seed, **{f"p{i}": far for i, far in enumerate(noise)})
    every = blend.candidates(parts, scale=scale_of(kind))
    assert [each.name for each in every] == [*parts, *([WEIGHED] if len(parts) > 1 else [])]
    for found in (*(each.shares for each in every), blend.shares(parts, scale=scale_of(kind))):
        assert sum(found.values()) == pytest.approx(1)
        assert min(found.values()) >= MATTERS
        assert set(found) <= set(parts)
    assert all(np.isfinite(each.loss) for each in every)


@kinds
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 99))
def test_the_gradient_is_that_of_the_loss(kind: str, seed: int) -> None:
    held = blend._Held.of(list(drawn(kind, rows=15, seed=seed).values()), scale_of(kind))
    at = np.random.default_rng(seed).dirichlet(np.ones(3))
    _, gradient = held._objective(at)
    step = 1e-5
    moved = np.eye(3) * step
    numeric = [(held._objective(at + each)[0] - held._objective(at - each)[0]) / (2 * step) for each in moved]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)


@kinds
def test_the_shares_found_are_the_best(kind: str) -> None:
    held = blend._Held.of(list(drawn(kind).values()), scale_of(kind))
    found = held.shares()
    least = held._objective(found)[0]
    others = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    near = 0.97 * found + 0.03 * others
    assert all(held._objective(other)[0] > least - 1e-7 for other in (*others, *near))


@kinds
def test_noise_is_left_out(kind: str) -> None:
    parts = drawn(kind, good=0.1, fair=0.1)  # so good that a net amount gains nothing from shrinking
    rest = parts["good"]
    parts["noise"] = replace(rest, raw=np.random.default_rng(7).permutation(rest.raw))
    found = blend.shares(parts, scale=scale_of(kind))
    assert set(found) == {"good", "fair"}
    assert found["good"] == pytest.approx(0.5, abs=0.1)


@kinds
def test_two_parts_that_say_the_same_share(kind: str) -> None:
    parts = drawn(kind, one=0.8)
    parts["other"] = parts["one"]
    assert blend.shares(parts, scale=scale_of(kind)) == pytest.approx({"one": 0.5, "other": 0.5}, abs=1e-3)


@kinds
def test_parts_that_err_apart_are_better_together(kind: str) -> None:
    every = {each.name: each for each in blend.candidates(drawn(kind, one=1.0, other=1.0), scale=scale_of(kind))}
    assert every[WEIGHED].loss < min(every["one"].loss, every["other"].loss)
    assert min(every[WEIGHED].shares.values()) > 0.2


@kinds
def test_better_parts_have_larger_shares(kind: str) -> None:
    found = blend.shares(drawn(kind), scale=scale_of(kind))
    assert found["a"] > found["b"] > found.get("c", 0.0)


@kinds
def test_one_part_is_taken_whole(kind: str) -> None:
    parts = drawn(kind, only=5.0)
    (found,) = blend.candidates(parts, scale=scale_of(kind))
    assert (found.name, found.shares) == ("only", {"only": 1.0})
    assert blend.shares(parts, scale=scale_of(kind)) == {"only": 1.0}


@kinds
def test_labels_of_a_group_do_not_move_the_shares_it_is_judged_with(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other labels in one group, the shares that the others give it stay, and those it helps to find do not."""
    asked: list[tuple[tuple[int, ...], np.ndarray]] = []
    find = blend._Held.shares

    def watched(held: blend._Held) -> np.ndarray:
        found = find(held)
        asked.append((tuple(int(rows[0]) for rows in held.groups), found))
        return found

    monkeypatch.setattr(blend._Held, "shares", watched)
    parts = drawn(kind, rows=200)

    def shares_by_groups(truth: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
        asked.clear()
        blend.candidates({name: replace(each, truth=truth) for name, each in parts.items()}, scale=scale_of(kind))
        return dict(asked)

    truth = parts["a"].truth
    other = truth.copy()
    other[:200] = np.random.default_rng(3).permutation(truth[:200])
    one, changed = shares_by_groups(truth), shares_by_groups(other)
    assert one.keys() == changed.keys() == {(200, 400), (0, 400), (0, 200), (0, 200, 400)}
    assert one[200, 400].tolist() == changed[200, 400].tolist()
    for groups in one.keys() - {(200, 400)}:
        assert np.abs(one[groups] - changed[groups]).max() > 0.01


def test_one_group_judges_itself() -> None:
    *alone, weighed = blend.candidates(drawn("log_odds", groups=1), scale="log_odds")
    assert weighed.loss <= min(each.loss for each in alone) + 1e-3


@pytest.mark.parametrize("kind", ["log_odds", "amount"])
def test_the_level_of_a_group_is_not_the_business_of_shares(kind: str) -> None:
    parts = drawn(kind)
    moved = {
        name: replace(each, raw=each.raw + each.group if kind == "log_odds" else each.raw * (1 + each.group))
        for name, each in parts.items()
    }
    one, other = (blend.shares(each, scale=scale_of(kind)) for each in (parts, moved))
    assert one == pytest.approx(other, abs=1e-3)


def table_of(parts: Parts) -> pl.DataFrame:
    return pl.DataFrame({name: each.raw for name, each in parts.items()})


def test_amounts_have_the_true_total() -> None:
    parts = drawn("amount")
    parts["b"] = replace(parts["b"], raw=parts["b"].raw * 100)  # a part whose own level is far off
    found = blend.shares(parts, scale="amount")
    made = blend.blended(found, parts, scale="amount")
    score = made.score(table_of(parts))
    assert score.sum() == pytest.approx(parts["a"].truth.sum())
    assert made.weights["b"] < made.weights["a"] / 50


def test_net_amounts_and_log_odds_are_weighed_as_they_are() -> None:
    shares = {"a": 0.25, "c": 0.75}
    odds = drawn("log_odds")
    assert blend.blended(shares, odds, scale="log_odds").weights == shares
    net = drawn("net")
    negative = {name: replace(each, raw=each.raw - 100) for name, each in net.items()}
    assert blend.blended(shares, negative, scale="amount").weights == shares
    np.testing.assert_allclose(Blend(shares, "amount").score(table_of(net)), 0.25 * net["a"].raw + 0.75 * net["c"].raw)


def test_it_is_saved(tmp_path: Path) -> None:
    made = Blend({"lightgbm/value_30d": 0.1 + 0.2, "joint/value_30d": 1 / 3}, "amount")
    made.save(tmp_path)
    read = FUSIONS["fused"].load(tmp_path)
    assert read == made
    asked = pl.DataFrame({"joint/value_30d": [1.0, 2.0], "other": [9.0, 9.0], "lightgbm/value_30d": [3.0, -4.0]})
    np.testing.assert_array_equal(read.score(asked), made.score(asked))
    assert made.score(asked).tolist() == pytest.approx([0.9 + 1 / 3, -1.2 + 2 / 3])
