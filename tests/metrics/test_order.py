import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from valuecast.metrics.order import TieGroups, bin_totals, doubled_midpoints

scores = st.lists(st.integers(-4, 4), min_size=1, max_size=40).map(lambda values: np.array(values, dtype=float))


def test_groups_are_numbered_from_the_highest_score() -> None:
    groups = TieGroups.descending(np.array([0.5, 2.0, 0.5, -0.0, 0.0]))
    assert groups.of_row.tolist() == [1, 0, 1, 2, 2]
    assert groups.total(np.array([1.0, 2.0, 3.0, 4.0, 5.0])).tolist() == [2, 4, 9]


@settings(deadline=None, max_examples=50)
@given(score=scores)
def test_midpoints_are_average_ranks(score: np.ndarray) -> None:
    groups = TieGroups.descending(score)
    midpoints = doubled_midpoints(groups.total(np.ones(len(score))))[groups.of_row]
    np.testing.assert_allclose(midpoints / 2 + 0.5, rankdata(-score))


@settings(deadline=None, max_examples=50)
@given(score=scores, bins=st.integers(1, 12))
def test_bins_follow_the_score_and_never_split_equal_scores(score: np.ndarray, bins: int) -> None:
    of_row = TieGroups.descending(score).bins(np.ones(len(score)), bins)
    assert of_row.min() >= 0
    assert of_row.max() < bins
    for one, its_bin in zip(score, of_row, strict=True):
        assert (of_row[score == one] == its_bin).all()
        assert (of_row[score > one] <= its_bin).all()


@pytest.mark.parametrize("each", [1, 2, 7])
@pytest.mark.parametrize("bins", [1, 3, 10])
def test_bins_without_ties_hold_equal_weight(each: int, bins: int) -> None:
    score = np.random.default_rng(0).permutation(each * bins).astype(float)
    assert np.bincount(TieGroups.descending(score).bins(np.ones(len(score)), bins)).tolist() == [each] * bins


@pytest.mark.parametrize("rows", [11, 99, 1003])
def test_bins_of_a_number_that_does_not_divide_differ_by_one(rows: int) -> None:
    counts = np.bincount(TieGroups.descending(np.arange(rows, dtype=float)).bins(np.ones(rows), 10), minlength=10)
    assert counts.sum() == rows
    assert counts.max() - counts.min() == 1


def test_a_group_goes_where_the_middle_of_its_weight_lies() -> None:
    score = np.array([9.0, 8, 5, 5, 5, 5, 5, 5, 2, 1])
    assert TieGroups.descending(score).bins(np.ones(10), 10).tolist() == [0, 1, 5, 5, 5, 5, 5, 5, 8, 9]


def test_weights_move_the_edges_and_rows_without_weight_do_not_count() -> None:
    mass, total = bin_totals(
        np.array([4.0, 3, 2, 1, 0]), np.array([2.0, 1, 1, 0, 0]), bins=2, values=(np.arange(1.0, 6.0),)
    )
    assert (mass.tolist(), total.tolist()) == ([2, 2], [2, 5])


def test_empty_bins_are_left_out() -> None:
    mass, _ = bin_totals(np.array([1.0, 1, 1, 0]), np.ones(4), bins=10, values=(np.ones(4),))
    assert mass.tolist() == [3, 1]


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="bins must be at least 1, not 0"):
        bin_totals(np.ones(2), np.ones(2), bins=0, values=())
