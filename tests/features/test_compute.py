"""Features equal a plain loop over a user's past events, and nothing at or after ``at`` changes a bit of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import ibis
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.errors import ConfigError, LogError, ModelError
from valuecast.events import engine
from valuecast.events.log import EventLog
from valuecast.features import compute as compute_module
from valuecast.features.catalogue import FeatureSet, Vocabulary
from valuecast.features.compute import compute, learn, stream
from valuecast.moments import moment

Row = dict[str, Any]

START = moment("2020-02-20")
DAYS = 60
WINDOWS = (3, 10, 30)
SCHEMA = {
    "user": pl.String,
    "time": pl.Datetime("us"),
    "event": pl.String,
    "item": pl.String,
    "amount": pl.Float64,
    "order": pl.String,
    "colour": pl.String,
    "gift": pl.Boolean,
    "discount": pl.Float64,
}
BRANDS = {"i0": "x", "i1": "y"}
ITEMS = pl.DataFrame({"item": [*BRANDS, "i2"], "brand": [*BRANDS.values(), None]})
AGES = {"a": 31, "b": 47}
USERS = pl.DataFrame({"user": list(AGES), "age": list(AGES.values()), "plan": ["gold", "free"]})
STORES = (["purchase"], ["purchase", "return"], ["view", "cart"], ["view"], ["purchase", "return", "view", "odd type"])


def _moment(day: int, within: timedelta) -> datetime:
    return START + timedelta(days=day) + within


# Few times, so that ties, days with several moments, and events at exactly a cutoff or an edge of a window are common.
WITHIN = [timedelta(0), timedelta(hours=6), timedelta(hours=12, minutes=30), timedelta(days=1, microseconds=-1)]
SOME_DAYS = [0, 1, 3, 4, 10, 11, 20, 29, 30, 33, 40]
times = st.builds(_moment, st.sampled_from(SOME_DAYS), st.sampled_from(WITHIN))
cutoffs = st.lists(times.filter(lambda when: when > START), min_size=1, max_size=3, unique=True)


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    row = st.fixed_dictionaries(
        {
            "user": st.sampled_from(["a", "b", "c"]),
            "time": times,
            "event": st.sampled_from(draw(st.sampled_from(STORES))),
            "item": st.sampled_from(["i0", "i1", "i2", "i9", None]),
            "amount": st.sampled_from([0.0, 1.1, 2.5, 10.25, 99.99, -3.3, None]),
            "order": st.sampled_from(["o0", "o1", None]),
            "colour": st.sampled_from(["red", "blue", None]),
            "gift": st.sampled_from([True, False, None]),
            "discount": st.sampled_from([0.0, 0.15, 2.0, None]),
        }
    )
    return pl.DataFrame(draw(st.lists(row, min_size=1, max_size=30)), schema=SCHEMA)


def log_of(frame: pl.DataFrame, *, items: pl.DataFrame = ITEMS, users: pl.DataFrame = USERS) -> EventLog:
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=DAYS), items=items, users=users)


def keys_of(users: Sequence[str], at: Sequence[datetime]) -> pl.DataFrame:
    pairs = [{"user": user, "at": moment} for moment in at for user in users]
    return pl.DataFrame(pairs, schema={"user": pl.String, "at": pl.Datetime("us")})


def same_bits(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    numbers = [frame.drop("user", "at").to_numpy().tobytes() for frame in (one, other)]
    return one.equals(other) and numbers[0] == numbers[1]


# --- the plain loop ---------------------------------------------------------------------------------------------------


def over(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def since(at: datetime, times: Sequence[datetime], pick: Any) -> float | None:
    return (at - pick(times)) / timedelta(days=1) if times else None


def gross(row: Row) -> float:
    return row["amount"] if row["event"] == "purchase" and (row["amount"] or 0) > 0 else 0.0


def refunds(rows: Sequence[Row]) -> float:
    return -sum(row["amount"] for row in rows if (row["amount"] or 0) < 0)


def naive(spec: FeatureSet, rows: Sequence[Row], user: str, at: datetime) -> dict[str, float | None]:
    """Every feature of one key, in no particular order."""
    past = [row for row in rows if row["user"] == user and row["time"] < at]
    bought = [row for row in past if row["event"] == "purchase"]
    starts = {f"{days}d": at - timedelta(days=days) for days in spec.windows} | {"all": START}
    inside = {key: [row for row in past if row["time"] >= start] for key, start in starts.items()}
    found: dict[str, float | None] = {}
    for key, own in inside.items():
        found |= _counts(spec, own, key) | _totals(spec, own, key)
    for key in (f"{spec.windows[-1]}d", "all"):
        found |= _ratios(spec, inside[key], key) | _shares(spec, inside[key], key) | _numbers(inside[key], key)
    found |= _trends(spec, found) | _recency(spec, past, at) | _baskets(spec, bought)
    for name, rows_of in (("purchase", bought), ("activity", past)):
        if name in spec.streams:
            found |= _gaps(name, rows_of, at)
    if "purchase" in spec.events:
        first = found["days_since_first_purchase"]
        found["purchase_rate"] = None if first is None else 30 * found["purchase_days_all"] / max(first, 1)
    found |= _habits(spec, bought if "purchase" in spec.events else past) | _calendar(at)
    found["user_age"] = AGES.get(user)
    for vocabulary in spec.user_codes:
        plan = {"a": "gold", "b": "free"}.get(user)
        found["user_plan"] = vocabulary.values.index(plan) if plan in vocabulary.values else None
    return found


def _counts(spec: FeatureSet, own: Sequence[Row], key: str) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for event in spec.events:
        unit = "lines" if event in ("purchase", "return") else "events"
        found[f"{event.replace(' ', '_')}_{unit}_{key}"] = sum(row["event"] == event for row in own)
    bought = [row for row in own if row["event"] == "purchase"]
    for name, rows in (("purchase", bought), ("activity", own)):
        if name in spec.streams:
            found[f"{name}_days_{key}"] = len({row["time"].date() for row in rows})
            if spec.items:
                found[f"{name}_items_{key}"] = len({row["item"] for row in rows if row["item"]})
    if "purchase" in spec.events:
        found[f"purchases_{key}"] = _purchases(spec, bought)
    if len(spec.events) > 1:
        found[f"events_{key}"] = len(own)
    return found


def _totals(spec: FeatureSet, own: Sequence[Row], key: str) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    if spec.spend:
        found[f"spend_{key}"] = sum(map(gross, own))
    if spec.refunds:
        found[f"refunds_{key}"] = refunds(own)
    return found


def _ratios(spec: FeatureSet, own: Sequence[Row], key: str) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    bought = [row for row in own if row["event"] == "purchase"]
    spend, orders = sum(map(gross, own)), _purchases(spec, bought)
    if "purchase" in spec.events:
        found[f"lines_per_purchase_{key}"] = over(len(bought), orders)
        if "return" in spec.events:
            found[f"return_ratio_{key}"] = over(sum(row["event"] == "return" for row in own), len(bought))
    if spec.spend:
        found[f"purchase_value_{key}"] = over(spend, orders)
        found[f"line_value_{key}"] = over(spend, sum(gross(row) > 0 for row in bought))
        if spec.refunds:
            found[f"refund_ratio_{key}"] = over(refunds(own), spend)
    return found


def _recency(spec: FeatureSet, past: Sequence[Row], at: datetime) -> dict[str, float | None]:
    times = {event: [row["time"] for row in past if row["event"] == event] for event in spec.events}
    everything = [row["time"] for row in past]
    found = {}
    if "purchase" in spec.events:
        found["days_since_purchase"] = since(at, times["purchase"], max)
        found["days_since_first_purchase"] = since(at, times["purchase"], min)
    if "activity" in spec.streams:
        found["days_since_event"] = since(at, everything, max)
        found["days_since_first_event"] = since(at, everything, min)
        for event in spec.events:
            if event != "purchase":
                found[f"days_since_{event.replace(' ', '_')}"] = since(at, times[event], max)
    return found


def _baskets(spec: FeatureSet, bought: Sequence[Row]) -> dict[str, float | None]:
    if not spec.spend:
        return {}
    moments = {row["time"] for row in bought}
    spent = [sum(gross(row) for row in bought if row["time"] == moment) for moment in moments]
    spent = [value for value in spent if value > 0]
    spread = statistics.stdev(spent) if len(spent) > 1 else None
    return {"basket_max": max(spent, default=None), "basket_std": spread}


def _purchases(spec: FeatureSet, bought: Sequence[Row]) -> int:
    return len({(spec.orders and row["order"]) or row["time"] for row in bought})


def _shares(spec: FeatureSet, own: Sequence[Row], key: str) -> dict[str, float | None]:
    def weight(rows: Sequence[Row]) -> float:
        return sum(map(gross, rows)) if spec.spend else len(rows)

    found = {}
    for vocabulary in spec.categories:
        field = vocabulary.column.removeprefix("items.")
        for value in vocabulary.values:
            having = [row for row in own if _texts(row)[field] == value]
            found[f"share_{field}_{value}_{key}"] = over(weight(having), weight(own))
    return found


def _texts(row: Row) -> dict[str, str | None]:
    gift = None if row["gift"] is None else str(row["gift"]).lower()
    return {"colour": row["colour"], "gift": gift, "brand": BRANDS.get(row["item"])}


def _numbers(own: Sequence[Row], key: str) -> dict[str, float | None]:
    values = [row["discount"] for row in own if row["discount"] is not None]
    return {
        f"discount_mean_{key}": over(sum(values), len(values)),
        f"discount_sum_{key}": sum(values),
        f"discount_used_{key}": over(sum(value != 0 for value in values), len(values)),
    }


def _trends(spec: FeatureSet, found: dict[str, float | None]) -> dict[str, float | None]:
    changes = {}
    for days, longer in pairwise(spec.windows):
        for name in ("purchases", "spend", "events"):
            if f"{name}_{days}d" in found:
                inside, both = found[f"{name}_{days}d"], found[f"{name}_{longer}d"]
                now, before = inside / days, (both - inside) / (longer - days)
                changes[f"{name}_change_{days}d_{longer}d"] = over(now - before, now + before)
    return changes


def _gaps(name: str, rows: Sequence[Row], at: datetime) -> dict[str, float | None]:
    days = sorted({row["time"].date() for row in rows})
    between = [(later - earlier).days for earlier, later in pairwise(days)]
    silence = (at.date() - days[-1]).days if days else None
    found = {
        "silence": silence,
        "gap_mean": statistics.mean(between) if between else None,
        "gap_std": statistics.stdev(between) if len(between) > 1 else None,
        "gap_max": max(between, default=None),
        "gap_last": between[-1] if between else None,
        "gap_recent": statistics.mean(between[-3:]) if len(between) >= 3 else None,
        "silence_rank": sum(gap < silence for gap in between) / len(between) if between else None,
        "silence_ratio": silence / statistics.mean(between) if between else None,
    }
    return {f"{name}_{key}": value for key, value in found.items()}


def _habits(spec: FeatureSet, rows: Sequence[Row]) -> dict[str, float | None]:
    moments = {row["time"] for row in rows}
    found = {"weekend_share": over(sum(moment.isoweekday() > 5 for moment in moments), len(moments))}
    for day in range(1, 8):
        found[f"weekday_{day}_share"] = over(sum(moment.isoweekday() == day for moment in moments), len(moments))
    for part in range(1, 5) if spec.clock else ():
        found[f"daypart_{part}_share"] = over(sum(moment.hour // 6 + 1 == part for moment in moments), len(moments))
    return found


def _calendar(at: datetime) -> dict[str, float | None]:
    turn = 2 * math.pi * (at.timetuple().tm_yday - 1) / 365.25
    return {"season_sin": math.sin(turn), "season_cos": math.cos(turn)}


# --- the tests --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(frame=frames(), at=cutoffs)
def test_every_feature_equals_a_plain_loop(frame: pl.DataFrame, at: list[datetime]) -> None:
    log = log_of(frame)
    spec = replace(learn(log, windows=WINDOWS), seasons=True)
    found = compute(spec, log, keys_of(["a", "b", "c", "ghost"], at))
    rows = frame.rows(named=True)
    for row in found.rows(named=True):
        expected = naive(spec, rows, row["user"], row["at"])
        assert expected.keys() == row.keys() - {"user", "at"}
        for name, value in expected.items():
            assert row[name] == (value if value is None else pytest.approx(value, abs=1e-6)), name


@settings(deadline=None, max_examples=6)
@given(frame=frames(), future=frames(), at=cutoffs)
def test_nothing_at_or_after_a_moment_changes_its_features(
    frame: pl.DataFrame, future: pl.DataFrame, at: list[datetime]
) -> None:
    at = sorted(at)
    cut, users = at[0], ["a", "b", "c"]
    log = log_of(frame)
    spec = replace(learn(log, windows=WINDOWS), seasons=True)
    alone = compute(spec, log, keys_of(users, [cut]))
    absurd = (
        pl.when(pl.col("amount") > 2)
        .then(1e300)
        .when(pl.col("amount") > 1)
        .then(float("nan"))
        .otherwise(pl.col("amount"))
        .alias("amount")
    )
    # The other future starts at the very moment, with everything that was drawn for a time before it.
    when = pl.max_horizontal("time", pl.lit(cut)).cast(pl.Datetime("us"))
    another = pl.concat([frame.filter(pl.col("time") < cut), future.with_columns(absurd, when.alias("time"))])
    found = {
        "many moments": compute(spec, log, keys_of(users, at)),
        "the log before": compute(spec, log.before(cut), keys_of(users, [cut])),
        "another future": compute(spec, log_of(another), keys_of(users, at)),
    }
    for name, features in found.items():
        assert same_bits(features.filter(pl.col("at") == cut), alone), name


@pytest.fixture(scope="module")
def busy() -> pl.DataFrame:
    """20,000 lines whose amounts have no exact sum in floating point."""
    draw = np.random.default_rng(0)
    lines = 20_000
    return pl.DataFrame(
        {
            "user": draw.integers(0, 40, lines).astype(str),
            "time": [START + timedelta(seconds=int(second)) for second in draw.integers(0, DAYS * 86_400, lines)],
            "item": draw.integers(0, 300, lines).astype(str),
            "amount": draw.lognormal(2, 2, lines),
            "order": draw.integers(0, 4000, lines).astype(str),
            "colour": draw.choice(["red", "blue", "green"], lines),
            "discount": draw.uniform(0, 3, lines),
        }
    )


def test_threads_and_the_order_of_rows_change_no_bit(busy: pl.DataFrame) -> None:
    log, shuffled = log_of(busy), log_of(busy.sample(fraction=1, shuffle=True, seed=1))
    keys = keys_of(busy["user"].unique().to_list(), [START + timedelta(days=day) for day in (20, 40, 60)])
    spec = learn(log)
    tables = []
    for threads, each in ((1, log), (4, log), (4, shuffled)):
        each.events._find_backend().raw_sql(f"SET threads={threads}")
        tables.append(compute(spec, each, keys))
    assert same_bits(tables[0], tables[1])
    assert same_bits(tables[0], tables[2])


def test_passes_by_user_bucket_change_no_bit(busy: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(busy)
    keys = keys_of([*busy["user"].unique(), "ghost"], [START + timedelta(days=day) for day in (20, 40)])
    spec = learn(log)
    whole = compute(spec, log, keys)
    monkeypatch.setattr(compute_module, "KEYS_PER_PASS", 10)
    assert same_bits(compute(spec, log, keys), whole)


def test_a_table_that_does_not_fit_is_refused_by_its_first_part(
    busy: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, users = log_of(busy), busy["user"].unique()
    spec, keys = learn(log), keys_of(users, [START + timedelta(days=day) for day in (20, 40)])
    size = compute(spec, log, keys).estimated_size()
    monkeypatch.setattr(compute_module, "KEYS_PER_PASS", 10)
    monkeypatch.setattr(engine, "beside", lambda: size)
    with pytest.raises(ConfigError, match=r"features of [\d,]+ rows want .* or allow more: VALUECAST_MEMORY is"):
        compute(spec, log, keys)
    assert sum(map(len, stream(spec, log, keys))) == len(keys)  # which nobody holds at once


def test_numbers_of_many_digits_keep_them() -> None:
    amounts = [0.1, 0.2, 1_234_567.89, 1e-9]
    times = [START + timedelta(days=day) for day in range(4)]
    log = log_of(pl.DataFrame({"user": "a", "time": times, "amount": amounts}))
    found = compute(learn(log), log, keys_of(["a"], [START + timedelta(days=5)]))
    assert found["spend_all"].item() == 1_234_568.190000001
    assert found["basket_max"].item() == 1_234_567.89


def test_equal_baskets_have_no_spread() -> None:
    times = [START + timedelta(days=day) for day in range(3)]
    log = log_of(pl.DataFrame({"user": "a", "time": times, "amount": 123_456.7891}))
    found = compute(learn(log), log, keys_of(["a"], [START + timedelta(days=5)]))
    assert found["basket_std"].item() == 0.0


def test_a_silence_as_long_as_a_gap_is_not_longer() -> None:
    log = log_of(pl.DataFrame({"user": "a", "time": [START + timedelta(days=day) for day in (0, 5, 6)]}))
    found = compute(learn(log), log, keys_of(["a"], [START + timedelta(days=day, hours=12) for day in (6, 11, 12)]))
    assert found["purchase_silence"].to_list() == [0.0, 5.0, 6.0]
    assert found["purchase_silence_rank"].to_list() == [0.0, 0.5, 1.0]


def test_a_log_of_a_few_days_has_features_of_all_history() -> None:
    frame = pl.DataFrame({"user": "a", "time": [START, START, START + timedelta(hours=30)], "event": "view"})
    log = EventLog.from_frame(frame)
    spec = learn(log)
    assert spec.windows == ()
    found = compute(spec, log, keys_of(["a"], [START + timedelta(days=1), START + timedelta(days=3)]))
    assert found["view_events_all"].to_list() == [2.0, 3.0]
    assert found["activity_days_all"].to_list() == [1.0, 2.0]


def test_rows_are_the_keys_sorted_by_moment_then_user() -> None:
    log = log_of(pl.DataFrame({"user": ["b", "a"], "time": [START, START]}))
    days = [START + timedelta(days=2), START + timedelta(days=1)]
    keys = keys_of(["ghost", "b", "a"], days)
    found = compute(learn(log), log, keys)
    assert found.select("user", "at").equals(keys.sort("at", "user"))
    assert found.schema == {"user": pl.String, "at": pl.Datetime("us")} | dict.fromkeys(found.columns[2:], pl.Float64)
    assert found.columns[2:] == [feature.name for feature in learn(log).features]
    assert compute(learn(log), log, keys[:0]).schema == found.schema


def test_keys_may_be_a_table_of_the_engine_or_speak_arrow() -> None:
    log = log_of(pl.DataFrame({"user": ["b", "a"], "time": [START, START]}))
    keys = keys_of(["a", "b"], [START + timedelta(days=1)])
    spec = learn(log)
    expected = compute(spec, log, keys)
    on_engine = log.events.select("user").mutate(at=ibis.literal(START + timedelta(days=1)))
    dates = keys.with_columns(pl.col("at").dt.date())
    zoned = keys.with_columns(pl.col("at").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Shanghai"))
    for other in (on_engine, keys.to_arrow(), dates, zoned):
        assert same_bits(compute(spec, log, other), expected)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        (pl.DataFrame({"user": ["a"]}), "the keys have no 'at'"),
        (pl.DataFrame({"user": [None], "at": [START]}), "a key has no 'user'"),
        (pl.DataFrame({"user": ["a"], "at": ["2020-03-01"]}), "'at' holds String"),
        (pl.DataFrame({"user": ["a"], "at": [START + timedelta(days=DAYS + 1)]}), "the log is known until 2020-04-20"),
    ],
)
def test_keys_that_are_none_are_refused(keys: pl.DataFrame, what: str) -> None:
    log = log_of(pl.DataFrame({"user": ["a"], "time": [START]}))
    with pytest.raises(LogError, match=what):
        compute(learn(log), log, keys)


def test_attributes_are_those_known_before_the_moment() -> None:
    early, change = START - timedelta(days=1), START + timedelta(days=10)
    frame = pl.DataFrame(
        {"user": "a", "time": [START, change, change + timedelta(days=1), START + timedelta(days=30)], "item": "i0"}
    )
    items = pl.DataFrame({"item": "i0", "valid_from": [early, change], "brand": ["old", "new"]})
    users = pl.DataFrame({"user": "a", "valid_from": [early, change], "age": [30, 31], "plan": ["free", "gold"]})
    log = log_of(frame, items=items, users=users)
    spec = FeatureSet(**{**vars(learn(log)), "user_codes": (Vocabulary("users.plan", ("free", "gold")),)})
    found = compute(spec, log, keys_of(["a"], [change, change + timedelta(days=2)]))
    assert found["user_age"].to_list() == [30.0, 31.0]
    assert found["user_plan"].to_list() == [0.0, 1.0]
    assert found["share_brand_old_all"].to_list() == [1.0, pytest.approx(1 / 3)]


def test_a_log_with_another_schema_is_refused() -> None:
    frame = pl.DataFrame(
        {"user": ["a", "b"], "time": [START, START], "colour": ["red", "blue"], "discount": [1.0, 2.0]}
    )
    spec, keys = learn(log_of(frame)), keys_of(["a"], [START + timedelta(days=1)])
    with pytest.raises(ModelError, match=r"no column 'colour'.*Did you mean 'color'") as caught:
        compute(spec, log_of(frame.rename({"colour": "color"})), keys)
    assert "the features need" in str(caught.value)
    with pytest.raises(ModelError, match="holds a string; the features learned it as a number"):
        compute(spec, log_of(frame.with_columns(pl.col("discount").cast(pl.String))), keys)
    with pytest.raises(ModelError, match=r"no column 'users\.plan'"):
        compute(spec, EventLog.from_frame(frame), keys)


def test_learning_takes_windows_shorter_than_the_log_and_values_that_are_common() -> None:
    lines = 300
    frame = pl.DataFrame(
        {
            "user": "a",
            "time": [START + timedelta(hours=hour) for hour in range(lines)],
            "serial": [str(number) for number in range(lines)],
            "colour": ["red"] * 200 + ["blue"] * 98 + ["rare"] * 2,
            "same": "everywhere",
            "nothing": pl.Series([None] * lines, dtype=pl.String),
        }
    )
    spec = learn(log_of(frame), top=8)
    assert spec.windows == (7, 30)
    assert spec.categories == (Vocabulary("colour", ("red", "blue")),)
    assert learn(log_of(frame), windows=(9, 5), top=1).windows == (5, 9)
    assert learn(log_of(frame), top=1).categories == (Vocabulary("colour", ("red",)),)
    assert spec.carries == {"purchase", "clock"}
    with pytest.raises(LogError, match="windows are whole days"):
        learn(log_of(frame), windows=(0,))
    with pytest.raises(LogError, match="no events"):
        learn(log_of(frame).between(START + timedelta(days=40), START + timedelta(days=50)))
