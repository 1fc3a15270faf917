"""Sampled Shapley values: they add up whatever is drawn, and are the exact ones where every order is drawn."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from valuecast.explanation.shapley import FloatArray, Plan


def values(kept: FloatArray, other: FloatArray, own: FloatArray) -> FloatArray:
    """A score with an interaction, of rows that have some parts of ``own`` and the rest of ``other``."""
    mixed = np.where(kept, own, other)
    return np.asarray(mixed.sum(axis=-1) + mixed[..., 0] * mixed[..., -1])


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(0, 10))
def test_effects_add_up_in_every_order(parts: int, references: int, each: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    plan = Plan.drawn(parts, references, each=each, draw=draw)
    assert plan.orders.shape == (2 * references * each, parts)
    own, others = draw.normal(size=parts), draw.normal(size=(references, parts))
    other = others[plan.reference]
    start, end = values(np.zeros(parts, bool), other, own), values(np.ones(parts, bool), own, own)
    between = values(plan.coalitions, other[:, None], own)
    found = plan.effects(between, start, np.asarray(end))
    np.testing.assert_allclose(found.sum(axis=1), end - start)
    weights = draw.dirichlet(np.ones(references))
    mean, error = plan.summed(found, weights)
    base = weights @ values(np.zeros(parts, bool), others, own)
    np.testing.assert_allclose(mean.sum(), end - base)
    assert (error >= 0).all()


def test_with_every_order_they_are_exact() -> None:
    orders = np.array(list(permutations(range(3))))
    plan = Plan(orders, np.zeros(len(orders), dtype=np.int64))
    own, other = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    start, end = np.zeros(len(orders)), np.asarray(values(np.ones(3, bool), other, own))
    found = plan.effects(values(plan.coalitions, other, own), start, end)
    # the product of the first and the last is shared by them
    np.testing.assert_allclose(found.mean(axis=0), [1 + 1.5, 2, 3 + 1.5])


def test_an_order_has_its_reverse_beside_it() -> None:
    plan = Plan.drawn(5, 3, each=2, draw=np.random.default_rng(0))
    np.testing.assert_array_equal(plan.orders[0::2], plan.orders[1::2, ::-1])
    assert plan.reference.tolist() == [0] * 4 + [1] * 4 + [2] * 4
