"""The event log in memory: made from a frame, cut in time, and told apart by its content."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.errors import ConfigError, LogError, SourceError
from valuecast.events.log import EventLog

START = datetime(2020, 1, 1)
FRAME = pl.DataFrame(
    {
        "user": ["a", "a", "b", "c"],
        "time": [START, START, START + timedelta(days=1), START + timedelta(days=3)],
        "amount": [1, 1, 2, 3],
        "colour": ["red", "red", "", None],
    }
)
TIERS = pl.DataFrame(
    {"user": ["a", "a", "b"], "valid_from": [START, START + timedelta(days=2), START], "tier": [1, 2, 1]}
)


def _users(log: EventLog) -> list[str]:
    return sorted(log.collect(log.events)["user"].to_list())


def test_identical_rows_stay_and_have_ids_of_their_own() -> None:
    log = EventLog.from_frame(FRAME)
    events = log.collect(log.events)
    assert events["id"].n_unique() == 4
    assert events["event"].unique().to_list() == ["purchase"]
    assert events["bucket"].n_unique() <= 3
    assert log.schema == {"colour": "string"}


def test_before_leaves_out_the_moment_itself() -> None:
    log = EventLog.from_frame(FRAME, until="2020-02-01", users=TIERS)
    cut = log.before(START + timedelta(days=1))
    assert _users(cut) == ["a", "a"]
    assert (cut.span.start, cut.span.until, cut.span.stated) == (START, START + timedelta(days=1), True)
    assert cut.users is not None
    assert sorted(cut.collect(cut.users.table)["tier"].to_list()) == [1, 1]
    assert _users(log) == ["a", "a", "b", "c"]  # nothing is mutated
    assert cut.fingerprint != log.fingerprint


def test_between_is_never_wider_than_what_is_known() -> None:
    log = EventLog.from_frame(FRAME, until="2020-01-10")
    cut = log.between("2019-01-01", "2021-01-01")
    assert (cut.span, cut.fingerprint) == (log.span, log.fingerprint)
    assert _users(log.between("2020-01-02", "2020-01-03")) == ["b"]
    with pytest.raises(LogError, match="nothing is known from 2020-02-01 on"):
        log.between("2020-02-01", "2020-03-01")


def test_the_end_of_the_span_is_stated_or_just_after_the_last_event() -> None:
    log = EventLog.from_frame(FRAME)
    assert (log.span.until, log.span.stated) == (START + timedelta(days=3, microseconds=1), False)
    assert log.before("2020-01-02").span.stated  # that day is over, whoever says so
    cut = EventLog.from_frame(FRAME, since="2020-01-02", until="2020-01-03")
    assert _users(cut) == ["b"]


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(4)), st.integers(0, 4), st.integers(0, 4))
def test_cuts_compose_and_the_order_of_rows_does_not_matter(order: list[int], a: int, b: int) -> None:
    log = EventLog.from_frame(FRAME[order], until="2020-02-01")
    assert log.digest == EventLog.from_frame(FRAME, until="2020-02-01").digest
    early, late = (START + timedelta(days=1 + at) for at in sorted((a, b)))
    twice, once = log.before(late).before(early), log.before(early)
    assert (_users(twice), twice.fingerprint) == (_users(once), once.fingerprint)


def test_the_digest_knows_values_and_names() -> None:
    base = EventLog.from_frame(FRAME).digest
    assert EventLog.from_frame(FRAME.with_columns(colour=pl.lit("red"))).digest != base
    assert EventLog.from_frame(FRAME.rename({"colour": "color"})).digest != base
    assert EventLog.from_frame(FRAME, users=TIERS).digest != base


def test_times_with_a_zone_and_dates_become_utc() -> None:
    east = timezone(timedelta(hours=8))
    moments = [datetime(2020, 1, 1, 4, tzinfo=east).astimezone(UTC)]
    log = EventLog.from_frame(pl.DataFrame({"user": ["a"], "time": moments}))
    assert log.collect(log.events)["time"].to_list() == [datetime(2019, 12, 31, 20)]
    log = EventLog.from_frame(pl.DataFrame({"user": ["a"], "time": [date(2020, 1, 1)]}))
    assert log.collect(log.events)["time"].to_list() == [START]


WRONG: list[tuple[pl.DataFrame, dict[str, Any], str]] = [
    (FRAME.drop("user"), {}, "no column 'user'"),
    (FRAME.drop("time"), {}, "no column 'time'"),
    (FRAME.clear(), {}, "no events"),
    (FRAME.with_columns(time=pl.lit("2020-01-01")), {}, "'time' holds String"),
    (FRAME.with_columns(user=pl.Series(["a", None, "b", "c"])), {}, "row 2 has no user"),
    (FRAME.with_columns(event=pl.Series(["x", "y", "z", None])), {}, "row 4 has no event"),
    (FRAME.with_columns(tags=pl.Series([[1]] * 4)), {}, "field 'tags' holds List"),
    (FRAME.with_columns(at=pl.lit(1)), {}, "a field cannot be called 'at'"),
    (FRAME, {"users": pl.DataFrame({"id": ["a"]})}, "users: no column 'user'"),
    (FRAME, {"users": pl.DataFrame({"user": ["a", "a"], "tier": [1, 2]})}, "two rows for one user"),
]


@pytest.mark.parametrize(("frame", "more", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_a_frame_that_is_no_log_is_one_message(frame: pl.DataFrame, more: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError) as caught:
        EventLog.from_frame(frame, **more)
    assert said in str(caught.value)


MANY = EventLog.from_frame({"user": [f"u{number % 2_000}" for number in range(4_000)], "time": [START] * 4_000})


@given(st.floats(0.001, 1), st.floats(0.001, 1))
@settings(deadline=None, max_examples=20)
def test_a_sample_is_all_of_some_users_and_within_a_larger_one(one: float, other: float) -> None:
    small, large = (_users(MANY.sample(share)) for share in sorted((one, other)))
    assert set(small) <= set(large)
    assert len(small) == 2 * len(set(small))
    assert abs(len(set(small)) / 2_000 - min(one, other)) < 0.05


def test_a_sample_is_another_log_and_the_same_one_at_any_moment() -> None:
    tenth = MANY.sample(0.1)
    assert MANY.sample(1) is MANY
    assert tenth.fingerprint != MANY.fingerprint
    assert tenth.before(START + timedelta(days=1)).digest == MANY.before(START + timedelta(days=1)).sample(0.1).digest


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_sample_is_a_share(share: float) -> None:
    with pytest.raises(ConfigError, match=r"sample: .* Give a share above 0"):
        MANY.sample(share)
