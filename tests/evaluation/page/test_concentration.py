"""Concentration: shares of the top users by hand, and histograms that lose nobody."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.evaluation.page.made import answer, outcomes
from valuecast.evaluation.page.concentration import binned, concentration, edges_of, top_share
from valuecast.report.blocks import BarFigure, LineFigure, Table
from valuecast.tasks import Task, value

AMOUNTS = arrays.arrays(np.float64, st.integers(2, 60), elements=st.floats(0, 1e6)).filter(lambda x: x.max() > 1)


def test_shares_of_the_top_by_hand() -> None:
    spent = np.array([60.0, 25.0, 10.0, 5.0])
    predicted = np.array([1.0, 2.0, 0.5, 0.1])
    share = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    assert top_share(spent, spent, share) == pytest.approx([0, 0.6, 0.85, 0.95, 1])
    assert top_share(spent, predicted, share) == pytest.approx([0, 0.25, 0.85, 0.95, 1])
    # equals share what they hold, whatever their order
    alike = np.array([1.0, 1.0, 1.0, 0.1])
    assert top_share(spent, alike, share) == pytest.approx([0, 0.95 / 3, 0.95 * 2 / 3, 0.95, 1])
    # within a user the curve is straight
    assert top_share(spent, spent, np.array([0.125])) == pytest.approx([0.3])


@settings(deadline=None, max_examples=60)
@given(AMOUNTS)
def test_no_order_reaches_more_than_the_true_one(spent: np.ndarray) -> None:
    share = np.linspace(0, 1, 11)
    order = np.random.default_rng(len(spent)).permutation(len(spent)).astype(float)
    best = top_share(spent, spent, share)
    assert (best >= top_share(spent, order, share) - 1e-9).all()
    assert (best >= share - 1e-9).all()


@settings(deadline=None, max_examples=60)
@given(AMOUNTS)
def test_a_histogram_counts_everyone_between_few_rising_edges(spent: np.ndarray) -> None:
    edges = edges_of(spent)
    assert 1 <= len(edges) <= 7
    assert (np.diff(edges) > 0).all()
    found = binned(spent, edges)
    assert len(found) == len(edges) + 2
    assert found.sum() == pytest.approx(1)
    assert found[0] == pytest.approx((spent == 0).mean())


def test_an_edge_belongs_to_the_bin_that_it_ends() -> None:
    assert list(binned(np.array([0.0, 1.0, 1.5, 2.0, 2.1]), np.array([1.0, 2.0]))) == pytest.approx(
        [0.2, 0.2, 0.4, 0.2]
    )


def test_the_section_and_a_task_that_counts() -> None:
    frame = outcomes("value_30d", [60, 25, 10, 5, 0], [50, 30, 10, 5, 1])
    section = concentration(answer(value(30), frame))
    assert section is not None
    bars, lines, table = section.blocks
    assert isinstance(bars, BarFigure)
    assert isinstance(lines, LineFigure)
    assert isinstance(table, Table)
    assert table.frame["truly"][3] == pytest.approx(0.6)
    counted = Task("count(*) of purchase over next 30 days", name="orders")
    section = concentration(answer(counted, frame.with_columns(target=pl.lit("orders_30d"))))
    assert section is not None
    assert "Number" in section.blocks[0].x.en  # type: ignore[union-attr]
    assert concentration(answer(value(30), outcomes("value_30d", [0, 0], [1, 1]))) is None
