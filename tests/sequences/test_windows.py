"""Windows, rows and batches."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sequences.test_encoding import ENCODING
from valuecast.errors import LogError
from valuecast.sequences import windows as w
from valuecast.sequences.batch import Batch
from valuecast.sequences.clock import calendar
from valuecast.sequences.reading import DAY
from valuecast.sequences.sequences import Sequences

EPOCH = datetime(1970, 1, 1)
Keys = list[tuple[int, int]]


def histories(times: list[list[int]], *, seed: int = 0) -> Sequences:
    """Sequences with events at these days of each user; users with none are not in a log."""
    draw = np.random.default_rng(seed)
    events = sum(map(len, times))
    edges = np.cumsum([0, *draw.integers(0, 4, events)])
    return Sequences(
        encoding=replace(ENCODING, seasons=True),
        users=pl.Series("user", [f"u{u:03}" for u in range(len(times))], pl.String),
        starts=np.cumsum([0, *map(len, times)]),
        time=np.array([day * DAY for user in times for day in sorted(user)], np.int64),
        numbers=draw.normal(size=(events, 2)).astype(np.float32),
        edges=edges,
        codes=draw.integers(0, ENCODING.codes, edges[-1]).astype(np.int32),
        weights=draw.random(edges[-1]).astype(np.float32),
    )


def keys_of(keys: Keys) -> pl.DataFrame:
    return pl.DataFrame(
        [(f"u{user:03}", EPOCH + timedelta(days=day)) for user, day in keys],
        schema={"user": pl.String, "at": pl.Datetime("us")},
        orient="row",
    )


many_times = st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=30), min_size=1, max_size=5)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Sequences, Keys]:
    """Histories, and moments with an event before them, in any order, some twice."""
    times = draw(many_times)
    users = draw(st.lists(st.integers(0, len(times) - 1), min_size=1, max_size=25))
    keys = [(user, draw(st.integers(min(times[user]) + 1, 45))) for user in users]
    return histories(times), keys


def earlier(sequences: Sequences, user: int, day: int) -> list[int]:
    """Numbers of the events of a user before a day."""
    own = range(sequences.starts[user], sequences.starts[user + 1])
    return [event for event in own if sequences.time[event] < day * DAY]


def answers(found: Batch) -> dict[int, list[int]]:
    """For each row of a batch, the events of its window up to its place."""
    return {
        int(row): found.event[window, : place + 1].tolist()
        for row, window, place in zip(found.row, found.row_window, found.row_position, strict=True)
    }


@settings(deadline=None, max_examples=60)
@given(asked())
def test_rows_count_the_events_strictly_before_their_moment(given_: tuple[Sequences, Keys]) -> None:
    sequences, keys = given_
    rows = w.rows_of(sequences, keys_of(keys))
    assert rows.row.tolist() == list(range(len(keys)))
    assert rows.count.tolist() == [len(earlier(sequences, user, day)) for user, day in keys]
    assert rows.user.tolist() == [user for user, _ in keys]
    assert rows.at.tolist() == [day * DAY for _, day in keys]


def test_a_key_without_an_event_before_it_is_named() -> None:
    sequences = histories([[3], [5]])
    with pytest.raises(LogError, match="'u001' has no event before 1970-01-06"):
        w.rows_of(sequences, keys_of([(0, 4), (1, 5)]))
    with pytest.raises(LogError, match="'u007' has no events"):
        w.rows_of(sequences, keys_of([(0, 4), (7, 5)]))


@settings(deadline=None, max_examples=60)
@given(asked(), st.integers(1, 12), st.sampled_from([w.shared, w.latest]), st.integers(1, 60))
def test_each_row_is_answered_once_from_the_latest_events_before_it(
    given_: tuple[Sequences, Keys], length: int, cut: type[w.Windows], events: int
) -> None:
    sequences, keys = given_
    windows = cut(w.rows_of(sequences, keys_of(keys)), sequences, length)  # type: ignore[call-arg, arg-type]
    assert ((windows.end - windows.start) <= length).all()
    found: dict[int, list[int]] = {}
    for chosen in w.bucketed(windows, events, np.random.default_rng(0)):
        part = answers(w.batch(sequences, windows, chosen))
        assert not set(part) & set(found)
        found |= part
    assert sorted(found) == list(range(len(keys)))
    for row, (user, day) in enumerate(keys):
        past = earlier(sequences, user, day)
        least = length if cut is w.latest else length // 2 + 1
        assert found[row] == past[-len(found[row]) :]
        assert len(found[row]) >= min(least, len(past))


def test_rows_share_windows() -> None:
    sequences = histories([list(range(100))])
    rows = w.rows_of(sequences, keys_of([(0, day) for day in range(1, 101)]))
    assert len(w.shared(rows, sequences, 20)) == 9
    assert len(w.latest(rows, sequences, 20)) == 100
    still = w.rows_of(sequences, keys_of([(0, 100), (0, 150), (0, 200)]))
    assert len(w.latest(still, sequences, 20)) == 1


@settings(deadline=None, max_examples=40)
@given(asked(), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_later_events_change_nothing_that_a_row_sees(given_: tuple[Sequences, Keys], length: int, seed: int) -> None:
    sequences, keys = given_
    day = min(day for _, day in keys)
    asks = [(user, day) for user, _ in keys if earlier(sequences, user, day)]
    if not asks:
        return
    future = sequences.time >= day * DAY
    coded = np.repeat(future, np.diff(sequences.edges))
    other = histories([[0]] * len(sequences.users), seed=seed)
    draw = np.random.default_rng(seed)
    changed = replace(
        sequences,
        time=sequences.time + np.where(future, 7 * DAY, 0),
        numbers=np.where(future[:, None], np.float32(9), sequences.numbers),
        codes=np.where(coded, draw.integers(0, other.encoding.codes, len(coded)), sequences.codes).astype(np.int32),
        weights=np.where(coded, np.float32(3), sequences.weights),
    )
    one, two = (_seen(each, asks, length) for each in (sequences, changed))
    assert one == two


def _seen(sequences: Sequences, keys: Keys, length: int) -> dict[int, tuple[bytes, ...]]:
    """All that a causal trunk and a head read for each row, as bytes."""
    windows = w.shared(w.rows_of(sequences, keys_of(keys)), sequences, length)
    found = w.batch(sequences, windows, np.arange(len(windows)))
    seen = {}
    ends = np.append(found.offsets, len(found.codes))
    for i, row in enumerate(found.row):
        b, last = found.row_window[i], found.row_position[i]
        first = b * found.mask.shape[1]
        inside = slice(ends[first], ends[first + last + 1])
        parts = [each[b, : last + 1] for each in (found.numbers, found.calendar, found.days, found.mask)]
        parts += [found.codes[inside], found.weights[inside], np.diff(ends[first : first + last + 2]), found.clock[i]]
        seen[int(row)] = tuple(part.tobytes() for part in parts)
    return seen


@settings(deadline=None, max_examples=40)
@given(asked(), st.integers(1, 8), st.randoms(use_true_random=False))
def test_a_batch_is_what_a_loop_over_events_makes(given_: tuple[Sequences, Keys], length: int, random: object) -> None:
    sequences, keys = given_
    windows = w.shared(w.rows_of(sequences, keys_of(keys)), sequences, length)
    chosen = np.arange(len(windows))
    random.shuffle(chosen)  # type: ignore[attr-defined]
    found = w.batch(sequences, windows, chosen)
    codes, weights = [], []
    for b, window in enumerate(chosen):
        for position in range(found.mask.shape[1]):
            event = windows.start[window] + position
            assert found.offsets[b * found.mask.shape[1] + position] == len(codes)
            if event >= windows.end[window]:
                assert not found.mask[b, position]
                assert found.event[b, position] == -1
                assert np.isnan(found.numbers[b, position]).all()
                assert not found.calendar[b, position].any()
                assert found.days[b, position] == found.days[b, position - 1]
                continue
            assert found.mask[b, position]
            assert found.event[b, position] == event
            inside = slice(sequences.edges[event], sequences.edges[event + 1])
            codes += sequences.codes[inside].tolist()
            weights += sequences.weights[inside].tolist()
            assert found.numbers[b, position].tobytes() == sequences.numbers[event].tobytes()
            days = (sequences.time[event] - sequences.time[windows.start[window]]) / DAY
            assert found.days[b, position] == np.float32(days)
            date = calendar(sequences.encoding, sequences.time[event : event + 1])[0]
            assert found.calendar[b, position].tobytes() == date.tobytes()
        assert found.users[b] == sequences.users[int(windows.user[window])]
    assert found.codes.tolist() == codes
    assert found.weights.tolist() == weights
    assert found.events == sum((windows.end - windows.start)[chosen])
    for row, clock in zip(found.row, found.clock, strict=True):
        user, day = keys[row]
        past = sequences.time[earlier(sequences, user, day)] / DAY
        expected = np.log1p([day - past[-1], day - past[0], len(past)])
        np.testing.assert_allclose(clock[:3], expected, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(many_times, st.integers(1, 12), st.data())
def test_pretraining_windows_cover_every_event_of_users_with_two(
    times: list[list[int]], length: int, data: st.DataObject
) -> None:
    sequences = histories(times)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times))))
    windows = w.covering(sequences, length, users=mask)
    covered = {event for start, end in zip(windows.start, windows.end, strict=True) for event in range(start, end)}
    wanted = [u for u, own in enumerate(times) if len(own) > 1 and mask[u]]
    assert covered == {e for u in wanted for e in range(sequences.starts[u], sequences.starts[u + 1])}
    assert ((windows.end - windows.start) <= length).all()
    assert (windows.start >= sequences.starts[windows.user]).all()
    assert (windows.end <= sequences.starts[windows.user + 1]).all()
    same = windows.user[1:] == windows.user[:-1]
    assert (np.diff(windows.start)[same] == max(length // 2, 1)).all()
    if len(windows):
        assert w.batch(sequences, windows, np.arange(len(windows))).row.tolist() == []
    if mask.all():
        assert len(w.covering(sequences, length)) == len(windows)


@settings(deadline=None, max_examples=60)
@given(many_times, st.integers(1, 60), st.one_of(st.none(), st.integers(0, 9)), st.sampled_from([0, w.MANY]))
def test_batches_hold_each_window_once_within_their_size(
    times: list[list[int]], events: int, seed: int | None, many: int
) -> None:
    sequences = histories(times)
    windows = w.covering(sequences, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(w, "MANY", many)
        batches = w.bucketed(windows, events, None if seed is None else np.random.default_rng(seed))
    assert sorted(window for chosen in batches for window in chosen) == list(range(len(windows)))
    for chosen in batches:
        longest = (windows.end - windows.start)[chosen].max()
        assert len(chosen) == 1 or len(chosen) * longest <= events


def test_very_many_windows_are_read_near_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(w, "MANY", 10_000)
    windows = w.covering(histories([list(range(8))] * 20_000), 8)
    batches = w.bucketed(windows, 64, np.random.default_rng(0))
    assert sorted(np.concatenate(batches)) == list(range(20_000))
    pool = np.concatenate(batches[:256])
    blocks = np.unique(pool // 64)
    assert len(blocks) <= len(pool) / 64 + 2  # whole blocks, but for two
    assert len(np.unique(batches[0] // 64)) > 4  # of which each batch has many
    assert np.abs(np.diff(blocks)).max() > 1


def test_shuffling_is_of_the_generator_alone() -> None:
    windows = w.covering(histories([list(range(40)) for _ in range(50)]), 8)
    one, same, other = (
        [chosen.tolist() for chosen in w.bucketed(windows, 64, np.random.default_rng(seed))] for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other
    longest = [(windows.end - windows.start)[chosen].max() for chosen in w.bucketed(windows, 64)]
    assert longest == sorted(longest, reverse=True)


def test_one_user_with_20_000_events() -> None:
    sequences = histories([list(range(20_000)), [0]])
    keys = [(0, day) for day in range(1, 20_001, 15)] + [(1, 9)]
    windows = w.shared(w.rows_of(sequences, keys_of(keys)), sequences, 512)
    assert len(windows) == 1 + 78
    assert len(w.covering(sequences, 512)) == 78
    assert (windows.end - windows.start).max() == 512
    assert sum(len(w.batch(sequences, windows, chosen).row) for chosen in w.bucketed(windows, 8_192)) == len(keys)


def test_all_events_at_one_instant() -> None:
    sequences = histories([[3] * 10])
    windows = w.latest(w.rows_of(sequences, keys_of([(0, 4)])), sequences, 4)
    found = w.batch(sequences, windows, np.arange(1))
    assert found.days.tolist() == [[0, 0, 0, 0]]
    assert found.event.tolist() == [[6, 7, 8, 9]]
    np.testing.assert_allclose(found.clock[0, :3], np.log1p([1, 1, 10]))
