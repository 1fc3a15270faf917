"""Standing: numbers of any scale as normal scores, whatever training rows were like and whatever comes later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from valuecast.models.standing import FURTHEST, POINTS, Standing

MAX = float(np.finfo(np.float32).max)
floats = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 1e-40, 3.0, MAX, -MAX, float("inf"), -float("inf")]),
    st.floats(width=32, allow_nan=False),
)
columns = st.lists(floats, min_size=1, max_size=40)
gaps = st.lists(st.one_of(floats, st.just(float("nan"))), min_size=1, max_size=40)

# Columns are of extremes: what overflows on the way is meant.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered")


def column(values: list[float] | np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)[:, None]


def scores(standing: Standing, values: list[float] | np.ndarray) -> np.ndarray:
    """Where values of the only column stand, without the mark."""
    found: np.ndarray = standing(torch.from_numpy(column(values)))[:, 0].numpy()
    return found


@settings(deadline=None, max_examples=150)
@given(columns, columns)
def test_larger_numbers_stand_no_lower(known: list[float], asked: list[float]) -> None:
    found = scores(Standing.of(column(known)), sorted(asked))
    assert (np.diff(found) >= 0).all()


@settings(deadline=None, max_examples=150)
@given(gaps, gaps)
def test_nothing_stands_too_far_out_and_what_is_missing_is_marked(known: list[float], asked: list[float]) -> None:
    found = Standing.of(column(known))(torch.from_numpy(column(asked))).numpy()
    assert found.shape == (len(asked), 2)
    assert np.isfinite(found).all()
    assert np.abs(found[:, 0]).max() <= FURTHEST
    missing = np.isnan(column(asked)[:, 0])
    assert found[:, 1].tolist() == missing.astype(float).tolist()
    assert not found[missing, 0].any()


@settings(deadline=None, max_examples=100)
@given(columns, floats)
def test_what_was_never_seen_stands_no_further_out(known: list[float], asked: float) -> None:
    standing = Standing.of(column(known))
    least, most = scores(standing, [min(known), max(known)])
    assert least <= scores(standing, [asked])[0] <= most


@settings(deadline=None, max_examples=50)
@given(floats, st.integers(1, 5), floats)
def test_a_column_that_never_differs_says_nothing(value: float, count: int, asked: float) -> None:
    assert not scores(Standing.of(column([value] * count)), [value, asked]).any()


def test_training_rows_stand_as_a_normal_distribution() -> None:
    draw = np.random.default_rng(0)
    for values in (draw.normal(5, 2, 5000), draw.lognormal(0, 2, 5000), draw.uniform(-1, 0, 5000)):
        found = scores(Standing.of(column(values)), values)
        assert found.mean() == pytest.approx(0, abs=0.01)
        assert found.std() == pytest.approx(0.95, abs=0.01)  # its ends are cut
        assert np.corrcoef(np.argsort(np.argsort(found)), np.argsort(np.argsort(values)))[0, 1] > 0.999


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_ties_stand_in_their_middle(share: float) -> None:
    """Either way round: the ends of the quantiles are ends of ties as well."""
    ones = round(1000 * share)
    values = [0.0] * (1000 - ones) + [1.0] * ones
    low, high = scores(Standing.of(column(values)), [0.0, 1.0])
    normal = torch.special.ndtri
    assert low == pytest.approx(float(normal(torch.tensor((1 - share) / 2))), abs=0.02)
    assert high == pytest.approx(float(normal(torch.tensor(1 - share / 2))), abs=0.02)
    turned = scores(Standing.of(column([-value for value in values])), [-1.0, 0.0])
    assert turned.tolist() == pytest.approx([-high, -low], abs=1e-5)


def test_a_column_without_numbers_and_one_without_rows() -> None:
    empty = Standing.of(np.full((4, 1), np.nan, dtype=np.float32))
    assert empty(torch.tensor([[3.0], [float("nan")]])).tolist() == [[0.0, 0.0], [0.0, 1.0]]
    assert Standing.of(np.zeros((0, 2), dtype=np.float32))(torch.ones(1, 2)).tolist() == [[0.0] * 4]


def test_columns_do_not_mix() -> None:
    draw = np.random.default_rng(1)
    both = draw.normal(size=(200, 2)).astype(np.float32) * [1, 1e6]
    together = Standing.of(both.astype(np.float32))(torch.from_numpy(both.astype(np.float32)))
    for place in (0, 1):
        assert (
            together[:, place].numpy().tolist() == scores(Standing.of(column(both[:, place])), both[:, place]).tolist()
        )


def test_it_is_saved_with_the_weights(tmp_path: Path) -> None:
    values = np.random.default_rng(2).lognormal(size=(50, 3)).astype(np.float32)
    standing = Standing.of(values)
    assert not list(standing.parameters())  # no gradient moves it
    save_file(standing.state_dict(), tmp_path / "w.safetensors")
    read = Standing(3)
    assert read.points.shape == (3, POINTS)
    read.load_state_dict(load_file(tmp_path / "w.safetensors"))
    asked = torch.from_numpy(values * 1.1)
    assert torch.equal(read(asked), standing(asked))
    assert read.width == standing.width == 6
