"""What was asked, in words, and the data it was asked of."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from tests.evaluation.page.made import answer, outcomes
from tests.logs import START
from valuecast.evaluation.page.asked import asked, data, who
from valuecast.events.log import EventLog
from valuecast.report.blocks import Facts, Table
from valuecast.report.cells import rows
from valuecast.tasks import Task, churn, value


@pytest.mark.parametrize(
    ("task", "en", "zh"),
    [
        (churn(30), "every user with an event before the moment", "此前有过事件的所有用户"),
        (churn(30, active=60), "users with an event in the 60 days before", "此前60天内有事件的用户"),
        (
            Task("sum(amount) of purchase over next 9 days", when="count(*) of view over last 5 days > 0"),
            "users with an event (view) in the 5 days before",
            "此前5天内有事件 (view)的用户",
        ),
        (
            Task("sum(amount) of purchase over next 9 days", when="count(*) over last 5 days > 3"),
            "users with count(*) over last 5 days > 3",
            "满足 count(*) over last 5 days > 3的用户",
        ),
    ],
)
def test_who_is_asked_about(task: Task, en: str, zh: str) -> None:
    assert (who(task).en, who(task).zh) == (en, zh)


def test_every_question_is_a_row_with_its_answer() -> None:
    counted = Task("count(*) of purchase over next 9 days", name="orders")
    section = asked(
        [
            answer(churn(9), outcomes("churn_9d", [1, 0, 0, 0], [0.5] * 4)),
            answer(value(9), outcomes("value_9d", [1.5, 2], [1, 1])),
            answer(counted, outcomes("orders_9d", [1, 2], [1, 1])),
        ]
    )
    table = section.blocks[1]
    assert isinstance(table, Table)
    told = [[cell.text for cell in row.cells] for row in rows(table, "en")]
    assert [row[4] for row in told] == ["a probability", "an amount", "a number"]
    assert [row[6] for row in told] == ["true for 25.0%", "1.75 per user", "1.50 per user"]
    assert rows(table, "zh")[0].cells[0].text == "未来9天内不购买（流失）"


def test_the_data_of_a_shop_and_of_a_log_without_purchases() -> None:
    events = pl.DataFrame(
        {
            "user": ["a", "a", "b", "b"],
            "time": [START, START + timedelta(days=2), START, START + timedelta(hours=3)],
            "event": ["purchase", "purchase", "purchase", "return"],
            "amount": [10.0, 20.0, 10.0, -4.0],
        }
    )
    block = data(EventLog.from_frame(events)).blocks[0]
    assert isinstance(block, Facts)
    found = {str(fact.label): fact for fact in block.facts}
    assert found["Users who bought"].value == "2"
    assert found["Bought on two days or more"].value == "50.0%"
    assert found["Revenue"].value == "40.00"
    assert str(found["Returns"].note) == "10.0% of revenue"
    block = data(EventLog.from_frame(events.with_columns(event=pl.lit("view")))).blocks[0]
    assert isinstance(block, Facts)
    assert [str(fact.label) for fact in block.facts] == ["Known for", "Users"]
