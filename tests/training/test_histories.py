from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from tests.logs import frames, log_of
from tests.training.habits import habits
from valuecast.events.log import EventLog
from valuecast.sequences.learning import learn
from valuecast.sequences.reading import DAY
from valuecast.sequences.sequences import Sequences, encode
from valuecast.sequences.windows import Windows
from valuecast.training import histories
from valuecast.training.asking import COUNTS
from valuecast.training.histories import SLICES, Histories, following

LENGTH = 8


def micros(at: datetime) -> int:
    return int(np.datetime64(at, "us").astype(np.int64))


def sequences_of(log: EventLog) -> Sequences:
    return encode(learn(log), log)


@pytest.mark.parametrize("keys", [2**62, 1])
@given(frames)
@settings(deadline=None, max_examples=8)
def test_what_follows_is_counted(keys: int, frame: pl.DataFrame) -> None:
    log = log_of(frame)
    sequences, until = sequences_of(log), micros(log.span.until)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histories, "_KEYS", keys)  # a small one takes one user at a time
        found = following(sequences, until=until)
    types = sequences.encoding.vocabularies[0].values
    kinds = [types[int(sequences.codes[edge]) - 1] for edge in sequences.edges[:-1]]
    assert found.names[:2] == ("events_30d", "events_90d")
    assert (len(found.names) == 4) == (0 < kinds.count("purchase") < len(kinds))
    for user in range(len(sequences.users)):
        own = range(sequences.starts[user], sequences.starts[user + 1])
        for event in own:
            for column, name in enumerate(found.names):
                horizon = 30 * DAY if "30" in name else 90 * DAY
                time = sequences.time[event]
                later = [one for one in own if time < sequences.time[one] < time + horizon]
                count = sum(kinds[one] == "purchase" or "events" in name for one in later)
                known = time + horizon <= until
                wanted = max(place for place, least in enumerate(COUNTS) if least <= count) if known else -1
                assert found.classes[event, column] == wanted


@pytest.fixture(scope="module")
def sequences() -> Sequences:
    return sequences_of(habits(20))


def feeds(sequences: Sequences, *, sliced: bool) -> tuple[Histories, Histories]:
    """Training until day 150, and validation from then on."""
    span = micros(habits(1).span.until)
    judged = span - 50 * DAY
    after = following(sequences, until=span)
    parts = {"length": LENGTH, "events": 200, "seed": 3, "sliced": sliced}
    return (
        Histories(sequences, after, since=0, until=judged, **parts),  # type: ignore[arg-type]
        Histories(sequences, after, since=judged, until=span, once=True, **parts),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("sliced", [False, True])
def test_training_sees_nothing_of_what_is_judged(sequences: Sequences, sliced: bool) -> None:
    feed, _ = feeds(sequences, sliced=sliced)
    seen = set()
    for item in feed.plan(0):
        asked = feed.load(item)
        event = asked.tensors.event.numpy()
        assert (sequences.time[event[event >= 0]] < feed.until).all()
        place, column = np.nonzero(asked.counts.numpy()[event >= 0] >= 0)
        ends = sequences.time[event[event >= 0][place]] + feed.following.horizon[column]  # type: ignore[union-attr]
        assert (ends <= feed.until).all()
        assert (asked.tensors.mask == asked.target).all()
        assert asked.events == asked.tensors.events
        assert asked.tensors.mask.shape[1] <= LENGTH
        seen |= set(event[event >= 0].tolist())
    early = set(np.flatnonzero(sequences.time < feed.until).tolist())
    assert seen == early if not sliced else seen <= early and len(seen) > 0.5 * len(early)


@pytest.mark.parametrize("sliced", [False, True])
def test_what_is_counted_is_what_an_epoch_shows_of_some_users_after_the_other(
    sequences: Sequences, sliced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "NEIGHBOURS", 4)
    feed, _ = feeds(sequences, sliced=sliced)

    def spelled(items: Iterable[Windows]) -> list[tuple[int, int, int]]:
        columns = ((item.user.tolist(), item.start.tolist(), item.end.tolist()) for item in items)
        return [row for three in columns for row in zip(*three, strict=True)]

    ordered, every = spelled(feed.ordered()), sorted(spelled(feed.plan(0)))
    for low in range(0, len(every), 4):
        assert sorted(ordered[low : low + 4]) == every[low : low + 4]


def test_each_later_event_is_judged_once_with_half_a_window_before_it(sequences: Sequences) -> None:
    _, judge = feeds(sequences, sliced=False)
    targets, counted = [], []
    for item in judge.plan(0):
        asked = judge.load(item)
        event = asked.tensors.event.numpy()
        row, place = np.nonzero(asked.target.numpy())
        targets += event[row, place].tolist()
        assert asked.events == (asked.target | (asked.counts >= 0).any(dim=-1)).sum()
        user = asked.user.numpy()[row]
        assert (place >= np.minimum(LENGTH // 2, event[row, place] - sequences.starts[user])).all()
        counted += [(event[i, j], k) for i, j, k in zip(*np.nonzero(asked.counts.numpy() >= 0), strict=True)]
    assert sorted(targets) == np.flatnonzero(sequences.time >= judge.since).tolist()
    after = judge.following
    assert after is not None
    ends = sequences.time[:, None] + after.horizon
    wanted = (after.classes >= 0) & (ends > judge.since)
    assert sorted(counted) == [tuple(each) for each in np.argwhere(wanted).tolist()]


def test_slices_of_a_user_share_a_batch_and_are_drawn_anew_but_the_same_again(sequences: Sequences) -> None:
    feed, _ = feeds(sequences, sliced=True)
    plans = [
        [(item.user.tolist(), item.start.tolist(), item.end.tolist()) for item in feed.plan(epoch)]
        for epoch in (0, 1, 0)
    ]
    assert plans[0] == plans[2] != plans[1]
    for item in feed.plan(0):
        assert (np.unique(item.user, return_counts=True)[1] % SLICES == 0).all()
        assert (item.end > item.start).all()
        assert (item.start >= sequences.starts[item.user]).all()


def test_validation_takes_no_more_users_than_are_enough(sequences: Sequences) -> None:
    _, judge = feeds(sequences, sliced=False)
    every = sum(int((item.end - item.start).sum()) for item in judge.plan(0))
    for limit in (1, every // 3, 10 * every):
        few = replace(judge, limit=limit)
        seen = sum(int((item.end - item.start).sum()) for item in few.plan(0))
        assert 0 < seen <= every
        assert seen == every if limit > every else seen < every
