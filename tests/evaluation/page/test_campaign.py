"""Campaigns: the threshold is the best of all cuts, and the test is only a test."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.page.made import answer, outcomes
from valuecast.config.recipe import Campaign
from valuecast.errors import ConfigError
from valuecast.evaluation.page.campaign import chosen, reckoned, threshold, turned_out
from valuecast.evaluation.page.priority import check
from valuecast.report.blocks import LineFigure, Table
from valuecast.tasks import churn, purchase, value

CAMPAIGN = Campaign(contact_cost=2.0, save_rate=0.5, margin=0.2)


def frame_of(at_risk: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"value_at_risk": sorted(at_risk, reverse=True)}, schema={"value_at_risk": pl.Float64})


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.floats(0, 1000), min_size=1, max_size=12),
    st.floats(0, 20),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
)
def test_no_number_of_contacts_is_expected_to_earn_more(
    at_risk: list[float], cost: float, rate: float, margin: float
) -> None:
    campaign = Campaign(cost, rate, margin)
    found = chosen(frame_of(at_risk), campaign)
    earned = float(found.filter("contact")["expected_profit"].sum())
    ranked = found["value_at_risk"].to_list()
    brute = [sum(rate * margin * each - cost for each in ranked[:count]) for count in range(len(ranked) + 1)]
    assert earned == pytest.approx(max(brute), abs=1e-6)
    inside = found.filter("contact")["value_at_risk"]
    assert all(each >= threshold(campaign) * (1 - 1e-9) for each in inside)


def test_what_it_would_have_paid_by_hand() -> None:
    users = pl.DataFrame({"stopped": [1.0, 0.0], "value_if_stays": [100.0, 100.0]})
    assert list(turned_out(users, CAMPAIGN)) == pytest.approx([0.5 * 0.2 * 100 - 2, -2])
    assert threshold(CAMPAIGN) == pytest.approx(20)


def test_the_section_by_hand_and_the_threshold_blind_to_the_test() -> None:
    lost, spend = [0.5, 0.5, 0.1, 0.1], [40.0, 5.0, 90.0, 9.0]

    def table_of(truth: list[float]) -> tuple[LineFigure, Table]:
        paid = [0.0 if gone else amount for gone, amount in zip(truth, spend, strict=True)]
        answers = [
            answer(churn(30), outcomes("churn_30d", truth, lost)),
            answer(value(30), outcomes("value_30d", paid, spend, high=[1e6] * 4)),
        ]
        found = reckoned(answers, CAMPAIGN)
        assert found is not None
        section, headline = found
        assert str(headline.value) == "1"
        assert "expected profit 2.00; -2.40 if everybody" in str(headline.note)
        curve, table = section.blocks[2:4]
        assert isinstance(curve, LineFigure)
        assert isinstance(table, Table)
        return curve, table

    # at risk: 40, 5, 10, 1; only the first is worth 2 / (.5 x .2) = 20
    curve, table = table_of([1, 0, 0, 0])
    rows = {row["who"]: row for row in table.frame.iter_rows(named=True)}
    assert (rows["chosen"]["users"], rows["chosen"]["stopped"]) == (1, 1)
    assert rows["chosen"]["expected"] == pytest.approx(2)
    assert rows["chosen"]["paid"] == pytest.approx(0.1 * 80 - 2)
    assert rows["all"]["expected"] == pytest.approx(0.1 * 56 - 8)
    assert rows["all"]["paid"] == pytest.approx(0.1 * 80 - 8)
    assert (rows["nobody"]["users"], rows["nobody"]["paid"]) == (0, 0)
    assert curve.mark is not None
    assert curve.mark.value == 1
    expected = np.array(curve.series[0].y, dtype=float)
    assert curve.series[0].x[int(expected.argmax())] == curve.mark.value
    # another truth, the same choice
    _, other = table_of([0, 1, 1, 1])
    assert other.frame["users"].equals(table.frame["users"])
    assert other.frame["expected"].equals(table.frame["expected"])


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ((-1, 0.5, 0.5), "campaign: contact_cost: -1. Give 0 or more."),
        ((1, 0.0, 0.5), "campaign: save_rate: 0.0. Give a share above 0"),
        ((1, 0.5, 1.5), "campaign: margin: 1.5. Give a share"),
        ((float("nan"), 0.5, 0.5), "campaign: contact_cost: nan"),
    ],
)
def test_assumptions_that_cannot_be(given_: tuple[float, float, float], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Campaign(*given_)
    assert said in str(caught.value)


def test_a_campaign_wants_both_tasks() -> None:
    wanted = {"show_users": False, "campaign": CAMPAIGN}
    check([churn(30, active=60), value(30, active=60)], wanted=wanted)
    with pytest.raises(ConfigError, match=r"campaign: the page lists users only if it asks who stops buying"):
        check([churn(30, active=60), value(30)], wanted=wanted)
    check([churn(30, active=60), value(30)], wanted={"campaign": None})
    assert reckoned([answer(purchase(30), outcomes("purchase_30d", [1, 0], [0.5, 0.5]))], CAMPAIGN) is None
