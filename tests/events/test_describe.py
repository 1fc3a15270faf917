"""What `describe` says of a log."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from valuecast.events.describe import describe
from valuecast.events.log import EventLog

START = datetime(2020, 1, 1)


def _log() -> EventLog:
    days = [0, 0, 1, 2, 9, 10]
    frame = pl.DataFrame(
        {
            "user": ["a", "a", "a", "b", "b", "c"],
            "time": [START + timedelta(days=day, hours=3) for day in days],
            "event": ["purchase", "purchase", "return", "view", "purchase", "purchase"],
            "item": ["i", "j", "i", None, "i", "k"],
            "amount": [1.0, 2.0, -1.0, None, 5.0, 4.0],
            "colour": ["red", "red", "blue", None, "red", "green"],
            "size": [1, 2, 3, 4, 10, None],
        }
    )
    users = pl.DataFrame({"user": ["a", "b"], "tier": ["gold", "gold"]})
    return EventLog.from_frame(frame, until=START + timedelta(days=12), since=START, users=users)


def test_the_facts_of_a_log() -> None:
    found = describe(_log())
    facts = {name.en: value for name, value in found.facts}
    assert all(name.zh != name.en for name, _ in found.facts)
    expected = {
        "Events": "6",
        "Users": "3",
        "Items": "3",
        "Days": "12.0",
        "Days without any event": "7 / 12",
        "Longest gap": "2020-01-04 – 2020-01-09 (6)",
        "Events per user, mean": "2.0",
        "Events with an item": "83.3%",
        "Events with an order": "0.0%",
        "Users with attributes": "66.7%",
    }
    assert {name: facts[name] for name in expected} == expected
    assert facts["Events per user, quantiles"].startswith("50%: 2")


def test_event_types_and_fields() -> None:
    found = describe(_log())
    purchases = found.events.row(0, named=True)
    assert (purchases["event"], purchases["events"], purchases["users"], purchases["amount"]) == (
        "purchase",
        4,
        3,
        12.0,
    )
    assert found.events["event"].to_list() == ["purchase", "return", "view"]
    fields = {row["field"]: row for row in found.fields.iter_rows(named=True)}
    assert fields["colour"]["values"] == "red (60.0%), blue (20.0%), green (20.0%)"
    assert fields["colour"]["missing"] == 1 / 6
    assert (fields["size"]["values"], fields["size"]["type"]) == ("1 … 3 … 10", "number")
    assert (fields["users.tier"]["distinct"], fields["users.tier"]["values"]) == (1, "gold (100.0%)")


def test_a_cut_log_is_described_as_cut_and_an_empty_cut_too() -> None:
    log = _log()
    facts = {name.en: value for name, value in describe(log.before("2020-01-03")).facts}
    assert (facts["Events"], facts["Days without any event"]) == ("3", "0 / 2")
    empty = describe(log.between("2020-01-05", "2020-01-06"))
    assert {name.en: value for name, value in empty.facts}["Events"] == "0"
    assert empty.events.is_empty()
