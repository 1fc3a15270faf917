"""Value at risk: which tasks belong together, who comes first, and what a page says of them."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.page.made import answer, outcomes
from tests.logs import START
from valuecast.evaluation.page.priority import at_risk, last_purchases, pair, priority, ranked
from valuecast.events.log import EventLog
from valuecast.report.blocks import Table
from valuecast.tasks import Task, churn, purchase, value

CHURN = outcomes("churn_30d", [1, 0, 0, 1], [0.5, 0.9, 0.1, 1.0])
VALUE = outcomes("value_30d", [0, 20, 100, 0], [40, 10, 90, 0], high=[1000.0, 50.0, 1000.0, 8.0])


def test_value_at_risk_by_hand_the_most_first() -> None:
    found = at_risk(CHURN, VALUE)
    # u0: .5 x 40/.5; u1: .9 x min(10/.1, 50); u2: .1 x 90/.9; u3 is sure to leave: 1 x 8
    assert found["user"].to_list() == ["u1", "u0", "u2", "u3"]
    assert found["value_at_risk"].to_list() == pytest.approx([45, 40, 10, 8])
    assert found["value_if_stays"].to_list() == pytest.approx([50, 80, 100, 8])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-10, 1e6)), min_size=1, max_size=30))
def test_value_at_risk_is_ordered_and_bounded(rows: list[tuple[float, float]]) -> None:
    lost, spend = zip(*rows, strict=True)
    high = [amount + 100 for amount in spend]
    found = at_risk(
        outcomes("churn_30d", [0] * len(rows), lost), outcomes("value_30d", [0] * len(rows), spend, high=high)
    )
    assert len(found) == len(rows)
    assert found["value_at_risk"].is_sorted(descending=True)
    bound = found.join(pl.DataFrame({"user": [f"u{n}" for n in range(len(rows))], "high": high}), on="user")
    assert (bound["value_at_risk"] >= 0).all()
    assert (bound["value_if_stays"] <= bound["high"].clip(lower_bound=0)).all()


def test_a_pair_asks_of_the_same_users_and_days() -> None:
    several = value([30, 90], active=60)
    found = pair([purchase(30), churn(90, active=60), several])
    assert found is not None
    assert (found.churn_target, found.value_target) == ("churn_90d", "value_90d")
    for other in (
        value(30, active=60),
        value(90, active=30),
        Task("count(*) of purchase over next 90 days", when="count(*) over last 60 days > 0"),
    ):
        assert pair([churn(90, active=60), other]) is None
    assert pair([purchase(90, active=60), several]) is None


def test_last_purchases_are_before_the_moment() -> None:
    days = {"a": [0, 5, 10], "b": [10]}
    rows = [(user, START + timedelta(days=day)) for user, found in days.items() for day in found]
    log = EventLog.from_frame(pl.DataFrame(rows, schema=["user", "time"], orient="row"))
    assert last_purchases(log, START + timedelta(days=10)).rows() == [("a", START + timedelta(days=5))]


def section_table(*, show_users: bool) -> Table:
    rows = [("u0", START - timedelta(days=3)), ("u9", START)]
    log = EventLog.from_frame(pl.DataFrame(rows, schema=["user", "time"], orient="row"))
    answers = [answer(churn(30), CHURN), answer(value(30), VALUE)]
    found = priority(answers, log, show_users=show_users)
    assert found is not None
    section, headline = found
    assert headline.value == "103"
    table = section.blocks[1]
    assert isinstance(table, Table)
    return table


def test_the_table_says_what_really_happened_and_hides_ids() -> None:
    table = section_table(show_users=True)
    assert table.frame["user"].to_list() == ["u1", "u0", "u2", "u3"]
    assert table.frame["happened"].to_list() == ["stayed", "stopped", "stayed", "stopped"]
    assert table.frame["last_purchase"].to_list()[:2] == [None, (START - timedelta(days=3)).date()]
    hidden = section_table(show_users=False)
    assert set(hidden.frame["user"]).isdisjoint(table.frame["user"])
    assert "--show-users" in str(hidden.caption)


def test_without_a_pair_there_is_no_list() -> None:
    log = EventLog.from_frame(pl.DataFrame({"user": ["u0"], "time": [START]}))
    assert ranked([answer(churn(30), CHURN)]) is None
    assert priority([answer(churn(30), CHURN)], log, show_users=True) is None
