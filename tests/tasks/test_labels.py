"""Labels, eligibility and history equal a naive loop, and see nothing they should not."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.logs import DAYS, START, cutoffs, frames, log_of, shop
from valuecast import tasks
from valuecast.errors import TaskError
from valuecast.tasks import Task
from valuecast.tasks.labels import eligible, history, labels, waits

BRAND = {"i0": "x", "i1": "y"}
Row = dict[str, object]


def churned(rows: list[Row]) -> float:
    return float(not any(row["event"] == "purchase" for row in rows))


def spent(rows: list[Row]) -> float:
    return sum(row["amount"] for row in rows if row["event"] == "purchase" and (row["amount"] or 0) > 0)


def bought_brand(rows: list[Row]) -> float:
    wanted = [
        row for row in rows if row["event"] == "purchase" and BRAND.get(row["item"]) == "x" and row["colour"] != "red"
    ]
    return float(any(row["colour"] is not None for row in wanted))


def different_items(rows: list[Row]) -> float:
    return float(len({row["item"] for row in rows if row["event"] in ("purchase", "view") and row["item"]}))


CASES = {
    "churn": (tasks.churn(7, active=10), churned),
    "value": (tasks.value(7, active=10), spent),
    "purchase": (tasks.purchase(7, where="brand = 'x' and colour != 'red'", active=10), bought_brand),
    "distinct": (
        Task("count(distinct item) of purchase, view over next 7 days", when="count(*) over last 10 days > 0"),
        different_items,
    ),
}


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None, max_examples=25)
@given(frame=frames, at=cutoffs)
def test_labels_equal_a_naive_loop(case: str, frame: pl.DataFrame, at: list[datetime]) -> None:
    task, answer = CASES[case]
    at = [moment for moment in at if moment + timedelta(days=7) <= START + timedelta(days=DAYS)]
    expected = {}
    rows = frame.rows(named=True)
    for moment in at:
        for user in {row["user"] for row in rows}:
            own = [row for row in rows if row["user"] == user]
            if any(moment - timedelta(days=10) <= row["time"] < moment for row in own):
                ahead = [row for row in own if moment <= row["time"] < moment + timedelta(days=7)]
                expected[user, moment] = answer(ahead)
    if not expected:
        if at:
            with pytest.raises(TaskError, match="no user is eligible"):
                labels(task, log_of(frame), at)
        return
    found = labels(task, log_of(frame), at)
    (target,) = task.targets
    assert found.columns == ["user", "at", target]
    assert {(user, moment): pytest.approx(value) for user, moment, value in found.rows()} == expected
    assert found.equals(found.sort("at", "user"))


@settings(deadline=None, max_examples=25)
@given(frame=frames, at=cutoffs, other=frames)
def test_eligibility_and_history_see_nothing_at_or_after_the_cutoff(
    frame: pl.DataFrame, at: list[datetime], other: pl.DataFrame
) -> None:
    task = tasks.value([3, 7], active=10)
    before = frame.filter(pl.col("time") < at[0])
    if before.is_empty():
        return
    corrupted = pl.concat([before, other.filter(pl.col("time") >= at[0])])
    try:
        keys = eligible(task, log_of(before), at[:1])
    except TaskError:
        return
    assert eligible(task, log_of(corrupted), at[:1]).equals(keys)
    assert history(task, log_of(corrupted), keys).equals(history(task, log_of(before), keys))


@settings(deadline=None, max_examples=25)
@given(frame=frames, at=cutoffs)
def test_waits_equal_a_naive_loop_and_agree_with_labels(frame: pl.DataFrame, at: list[datetime]) -> None:
    task, until = tasks.churn([3, 7], active=10), START + timedelta(days=DAYS)
    log, at = log_of(frame), [moment for moment in at if moment < until]
    try:
        keys = eligible(task, log, at)
    except TaskError:
        return
    bought = frame.filter(pl.col("event") == "purchase")
    expected, day = [], timedelta(days=1)
    for user, moment in keys.rows():
        ahead = bought.filter((pl.col("user") == user) & (pl.col("time") >= moment))["time"]
        end = until if ahead.is_empty() else ahead.min()
        expected.append((user, moment, (end - moment) / day, not ahead.is_empty(), (until - moment) / day))
    found = waits(task, log, at)
    assert found.columns == ["user", "at", "days", "seen", "known"]
    for row, own in zip(found.rows(), expected, strict=True):
        assert row[:2] + row[3:4] == own[:2] + own[3:4]
        assert row[2::2] == pytest.approx(own[2::2], rel=1e-12)
    whole = [moment for moment in at if moment + task.horizon <= until]
    if not keys.filter(pl.col("at").is_in(whole)).is_empty():
        both = labels(task, log, whole).join(found, on=["user", "at"])
        for target, days in task.targets.items():
            happened = (both["seen"] & (both["days"] < days)).cast(pl.Float64)
            assert both[target].to_list() == (1 - happened).to_list()


def test_portions_of_the_users_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log, task = shop(40, 200), tasks.churn([20, 30], active=60)
    at = [log.span.until - timedelta(days=days) for days in (60, 45, 30)]
    keys = eligible(task, log, at)
    ghost = pl.concat([keys, keys.head(1).with_columns(user=pl.lit("nobody"))])
    whole = (labels(task, log, at), waits(task, log, at), history(task, log, ghost))
    monkeypatch.setattr("valuecast.tasks.labels.PAIRS_AT_ONCE", 20)
    assert eligible(task, log, at).equals(keys)
    assert labels(task, log, at).equals(whole[0])
    assert waits(task, log, at).equals(whole[1])
    assert history(task, log, ghost).equals(whole[2])


def test_a_wait_counts_what_the_task_counts_and_ends_with_the_log() -> None:
    at = START + timedelta(days=10)
    times = [at - timedelta(days=1), at, at + timedelta(days=2), at + timedelta(days=5, hours=12)]
    frame = pl.DataFrame({"user": ["a"] * 4, "time": times, "item": ["i0", "i1", "i1", "i0"]})
    log = log_of(frame)
    brand = tasks.purchase([1, 400], where="brand = 'x'")
    assert waits(tasks.churn(1), log, [at]).row(0)[2:] == (0.0, True, 30.0)
    assert waits(brand, log, [at]).row(0)[2:] == (5.5, True, 30.0)
    assert waits(brand, log.before(at + timedelta(days=4)), [at]).row(0)[2:] == (4.0, False, 4.0)
    with pytest.raises(TaskError, match="nothing is known from"):
        waits(brand, log, [at, log.span.until])
    with pytest.raises(TaskError, match="does not ask whether something happens"):
        waits(tasks.value(3), log, [at])


def test_a_window_is_closed_at_its_start_and_open_at_its_end() -> None:
    at = START + timedelta(days=10)
    times = [at - timedelta(days=10), at, at + timedelta(days=7)]
    frame = pl.DataFrame({"user": ["a"] * 3, "time": times, "amount": [1.0, 2.0, 4.0]})
    log = log_of(frame)
    assert labels(tasks.value(7, active=10), log, [at])["value_7d"].to_list() == [2.0]
    assert labels(tasks.value(8, active=10), log, [at])["value_8d"].to_list() == [6.0]
    with pytest.raises(TaskError, match="no user is eligible"):
        labels(tasks.value(7, active=9), log, [at])


def test_history_asks_the_same_question_of_the_past() -> None:
    at = START + timedelta(days=20)
    times = [at - timedelta(days=15), at - timedelta(days=6), at - timedelta(days=2), at]
    frame = pl.DataFrame(
        {
            "user": ["a"] * 4,
            "time": times,
            "event": ["view", "purchase", "purchase", "purchase"],
            "amount": [9.0, 1.0, 2.0, 4.0],
        }
    )
    found = history(tasks.value([3, 7]), log_of(frame), pl.DataFrame({"user": ["a"], "at": [at]}))
    assert found.row(0, named=True) == {
        "user": "a",
        "at": at,
        "value_3d": 2.0,
        "value_7d": 3.0,
        "ever": 3.0,
        "silence": 2.0,
        "tenure": 15.0,
    }


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (Task("sum(amnt) of purchase over next 3 days"), "Did you mean 'amount'?"),
        (Task("sum(items.bran) of purchase over next 3 days"), "Did you mean 'items.brand'?"),
        (Task("sum(item) of purchase over next 3 days"), "'item' is a string column, used as a number"),
        (tasks.purchase(3, where="brand = 3"), "'brand' is a string column"),
        (tasks.purchase(3, where="amount in ('a')"), "'amount' is a number column"),
        (tasks.churn(39), "ends after the log"),
    ],
)
def test_a_task_that_does_not_fit_the_log_says_why(task: Task, says: str) -> None:
    frame = pl.DataFrame({"user": ["a"], "time": [START], "item": ["i0"], "amount": [1.0]})
    with pytest.raises(TaskError) as caught:
        labels(task, log_of(frame), [START + timedelta(days=2)])
    assert says in str(caught.value)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 1e9, -1e9]), min_size=1, max_size=20))
def test_attributes_that_change_hold_from_their_date_on(amounts: list[float]) -> None:
    from valuecast.events.log import EventLog

    at = START + timedelta(days=5)
    frame = pl.DataFrame(
        {"user": ["a"] * len(amounts), "time": [at] * len(amounts), "item": ["i"] * len(amounts), "amount": amounts}
    )
    dated = pl.DataFrame(
        {
            "item": ["i", "i", "i"],
            "valid_from": [START, at, at + timedelta(days=1)],
            "brand": ["old", "now", "later"],
        }
    )
    log = EventLog.from_frame(
        pl.concat([frame, frame.with_columns(pl.lit(START).alias("time"))]),
        until=START + timedelta(days=9),
        items=dated,
    )
    for brand, expected in (("old", 0.0), ("now", float(len(amounts))), ("later", 0.0)):
        found = labels(Task(f"count(*) of purchase where brand = '{brand}' over next 2 days"), log, [at])
        assert found["task_2d"].to_list() == [expected]
