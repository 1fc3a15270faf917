"""What `describe` says of a log."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from valuecast.events.describe import describe
from valuecast.events.log import EventLog
from valuecast.report.blocks import Table
from valuecast.report.terminal import to_text

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


def _facts(log: EventLog) -> dict[str, object]:
    return {fact.label.en: fact.value for fact in describe(log).facts}


def _tables(log: EventLog) -> list[Table]:
    (section,) = describe(log).sections
    return [block for block in section.blocks if isinstance(block, Table)]


def test_the_facts_of_a_log() -> None:
    facts = _facts(_log())
    expected = {
        "Events": "6",
        "Users": "3",
        "Items": "3",
        "Known from": "2020-01-01",
        "Known until": "2020-01-13",
        "Days": "12.0",
        "Days without any event": "7 / 12",
        "Longest gap": "2020-01-04 – 2020-01-09 (6)",
        "Events per user, mean": "2.0",
        "Events with an item": "83.3%",
        "Events with an order": "0.0%",
        "Users with attributes": "66.7%",
    }
    assert {name: facts[name] for name in expected} == expected
    assert str(facts["Events per user, quantiles"]).startswith("50%: 2")


def test_event_types_and_fields() -> None:
    events, fields = (table.frame for table in _tables(_log()))
    purchases = events.row(0, named=True)
    assert (purchases["event"], purchases["events"], purchases["users"], purchases["amount"]) == (
        "purchase",
        4,
        3,
        12.0,
    )
    assert events["event"].to_list() == ["purchase", "return", "view"]
    by_name = {row["field"]: row for row in fields.iter_rows(named=True)}
    assert by_name["colour"]["values"] == "red (60.0%), blue (20.0%), green (20.0%)"
    assert by_name["colour"]["missing"] == 1 / 6
    assert (by_name["size"]["values"], by_name["size"]["type"]) == ("1 … 3 … 10", "number")
    assert (by_name["users.tier"]["distinct"], by_name["users.tier"]["values"]) == (1, "gold (100.0%)")


def test_a_cut_log_is_described_as_cut_and_an_empty_cut_too() -> None:
    log = _log()
    facts = _facts(log.before("2020-01-03"))
    assert (facts["Events"], facts["Days without any event"]) == ("3", "0 / 2")
    empty = log.between("2020-01-05", "2020-01-06")
    assert _facts(empty)["Events"] == "0"
    assert _tables(empty)[0].frame.is_empty()
    assert "Event type" in to_text(describe(empty))


def test_everything_is_said_in_both_languages() -> None:
    log = _log()
    report = describe(log)
    labels = [fact.label for fact in report.facts] + [
        column.label for table in _tables(log) for column in table.columns
    ]
    assert all(label.zh != label.en for label in labels)
    shown = to_text(report, language="zh", width=160)
    assert "事件类型" in shown
    assert "数值" in shown
    assert "Events" not in shown


def test_a_log_whose_end_nobody_stated_says_so() -> None:
    frame = pl.DataFrame({"user": ["a", "b"], "time": [START, START + timedelta(days=3)]})
    assert [notice.text.en for notice in describe(EventLog.from_frame(frame)).notices if "--until" in notice.text.en]
    assert not describe(EventLog.from_frame(frame, until="2020-02-01")).notices
    # no field, no attribute: no table of them
    assert len(_tables(EventLog.from_frame(frame))) == 1
