"""Facts of what was sold, by hand."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from tests.logs import START
from valuecast.events.log import EventLog
from valuecast.events.sales import sales


def test_facts_by_hand() -> None:
    rows = [
        ("a", 0, "purchase", 10.0),
        ("a", 0.5, "purchase", 5.0),  # the same day
        ("b", 0, "purchase", 10.0),
        ("b", 3, "purchase", None),
        ("b", 4, "return", -5.0),
        ("c", 1, "view", None),
    ]
    frame = pl.DataFrame(
        [(user, START + timedelta(days=day), event, paid) for user, day, event, paid in rows],
        schema=["user", "time", "event", "amount"],
        orient="row",
    )
    found = {str(fact.label): (fact.value, str(fact.note)) for fact in sales(EventLog.from_frame(frame))}
    assert found["Users who bought"][0] == "2"
    assert found["Bought on two days or more"][0] == "50.0%"
    assert found["Purchases"][0] == "4"
    assert found["Revenue"][0] == "25.00"
    assert found["Returns"] == ("1", "20.0% of revenue")
    assert sales(EventLog.from_frame(frame.filter(pl.col("event") == "view"))) == ()
    unpriced = frame.filter(pl.col("event") != "return").with_columns(amount=pl.lit(None, pl.Float64))
    assert "Revenue" not in {str(fact.label) for fact in sales(EventLog.from_frame(unpriced))}
