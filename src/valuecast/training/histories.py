"""What pre-training reads: windows of histories, and which of their events are asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.models.event_texts import TextVectors
from valuecast.models.reading import tensors
from valuecast.sequences import windows as cut
from valuecast.sequences.batch import IntArray
from valuecast.sequences.reading import DAY
from valuecast.sequences.sequences import Sequences
from valuecast.sequences.windows import Rows, Windows
from valuecast.training.asking import COUNTS, Asked

HORIZONS: Final = (30, 90)
"""Days in which events that follow are counted."""
SLICES: Final = 4
"""Slices of a user in a batch."""

AT_ONCE: Final = 2**22
"""Events that are looked at together."""
COUNTED: Final = 2**16
"""Events, with padding, of a batch that is only counted."""
NEIGHBOURS: Final = 2**14
"""Windows that lie together in the files; of these, alike ones share such a batch."""

_KEYS: Final = 2**62  # numbers that a key of user and time may reach


@dataclass(frozen=True, eq=False)
class Following:
    """How many events follow each event, and how many purchases.

    Attributes:
        names: of the counts, such as ``events_30d``.
        horizon: of each, in microseconds; shape (F,).
        classes: of each event, see ``COUNTS``; -1 where its horizon is not known to its end; int8, shape (E, F).
    """

    names: tuple[str, ...]
    horizon: IntArray
    classes: NDArray[np.int8]


def following(sequences: Sequences, *, until: int) -> Following:
    """Count what follows each event of a log that is known until ``until`` (microseconds since 1970).

    Events at the very moment of an event do not follow it. Purchases are counted where there are other types of event,
    or may be elsewhere.
    """
    parts = (slice(low, low + AT_ONCE) for low in range(0, sequences.count, AT_ONCE))
    bought = sum(int(_purchases(sequences, part).sum()) for part in parts)
    kinds = ["events", "purchases"] if sequences.encoding.common or 0 < bought < sequences.count else ["events"]
    names = tuple(f"{kind}_{days}d" for kind in kinds for days in HORIZONS)
    found = np.full((sequences.count, len(names)), -1, np.int8)
    horizons = np.array(HORIZONS) * DAY
    for low, own in _parts(sequences, reach=int(horizons.max())):
        part = slice(low, low + len(own))
        counted = {"events": np.ones(len(own), np.bool_), "purchases": _purchases(sequences, part)}
        before = [np.append(0, np.cumsum(counted[kind])) for kind in kinds]
        after = np.searchsorted(own, own, side="right")
        for column, horizon in enumerate(horizons):
            end = np.searchsorted(own, own + horizon, side="left")
            known = sequences.time[part] + horizon <= until
            for number, count in enumerate(before):
                classes = np.searchsorted(COUNTS, count[end] - count[after], side="right") - 1
                found[part, number * len(horizons) + column] = np.where(known, classes, -1)
    return Following(names, np.tile(horizons, len(kinds)), found)


def _purchases(sequences: Sequences, part: slice) -> NDArray[np.bool_]:
    """Return which of some events are purchases: the first code of every event is that of its type."""
    values = sequences.encoding.vocabularies[0].values
    first = sequences.codes[sequences.edges[:-1][part]]
    if c.PURCHASE not in values:
        return np.zeros(len(first), np.bool_)
    found: NDArray[np.bool_] = first == 1 + values.index(c.PURCHASE)
    return found


def _parts(sequences: Sequences, *, reach: int) -> Iterator[tuple[int, IntArray]]:
    """Yield, for some users at a time, the number of their first event, and keys that rise over their events.

    A key is a time that starts anew for every user, more than ``reach`` after the last of the user before.
    """
    if not sequences.count:
        return
    start, width = int(sequences.time.min()), int(sequences.time.max() - sequences.time.min()) + reach + 1
    users = max(_KEYS // width, 1)
    for first in range(0, len(sequences.users), users):
        bounds = sequences.starts[first : first + users + 1]
        user = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        yield int(bounds[0]), sequences.time[bounds[0] : bounds[-1]] - start + user * width


@dataclass(frozen=True, eq=False)
class Histories:
    """A feed of windows; a plan's items are the windows of each batch.

    Attributes:
        sequences: of everybody.
        following: what follows each event; without it nothing of that is asked.
        since: events from here on are asked about, and counts whose horizon ends after it (microseconds since 1970).
        until: events from here on are not seen, nor counts whose horizon ends after it.
        length: of a window, at most.
        events: in a batch, padding included.
        seed: of the order, and of slices.
        sliced: whether windows are ``SLICES`` random slices of each user, drawn anew for every epoch, which share a
            batch; else they cover all that is asked about.
        once: whether windows that cover ask about each event only once, where they show at least half a window of what
            was before it, if there is so much. (In training, less before it is one more thing to learn from.)
        limit: so many events of random users are enough.
        texts: of the events, where any are read.
    """

    sequences: Sequences
    following: Following | None
    since: int
    until: int
    length: int
    events: int
    seed: int
    sliced: bool = False
    once: bool = False
    limit: int | None = None
    texts: TextVectors | None = None

    def plan(self, epoch: int) -> Sequence[Windows]:
        """Return the windows of each batch."""
        random = np.random.default_rng([self.seed, epoch])
        if self.sliced:
            return self._slices(random)
        windows = self._covering
        return [_chosen(windows, some) for some in cut.bucketed(windows, self.events, random)]

    def ordered(self) -> Iterator[Windows]:
        """Yield the windows of the first epoch, of some users after the other, in large batches.

        So files are read from front to back, where that is all that matters: to count what is asked.
        """
        items = self.plan(0)
        user, start, end = (
            np.concatenate([getattr(item, name) for item in items]) for name in ("user", "start", "end")
        )
        order = np.lexsort((end, start, user))
        for low in range(0, len(order), NEIGHBOURS):
            some = order[low : low + NEIGHBOURS]
            near = _windows(user[some], start[some], end[some])
            yield from (_chosen(near, alike) for alike in cut.bucketed(near, COUNTED))

    def load(self, item: Windows) -> Asked:
        """Read a batch, and what is asked about it."""
        batch = cut.batch(self.sequences, item, np.arange(len(item)))
        time = self.sequences.time[batch.event]
        asked = batch.mask
        if self.once and not self.sliced:
            whole = item.start == self.sequences.starts[item.user]
            asked = asked & (whole[:, None] | (np.arange(asked.shape[1]) >= self.length // 2))
        counts = np.full((*asked.shape, 0), -1)
        if self.following is not None:
            end = time[..., None] + self.following.horizon
            known = asked[..., None] & (end > self.since) & (end <= self.until)
            counts = np.where(known, self.following.classes[batch.event].astype(np.int64), -1)
        target = asked & (time >= self.since) & (time < self.until)
        return Asked(
            tensors(batch, self.texts),
            target=torch.from_numpy(target),
            counts=torch.from_numpy(counts),
            user=torch.from_numpy(item.user),
            events=int((target | (counts >= 0).any(axis=-1)).sum()),
        )

    @cached_property
    def _reach(self) -> int:
        """The first moment of an event about which something may be asked."""
        return self.since - (0 if self.following is None else int(self.following.horizon.max()))

    @cached_property
    def _end(self) -> IntArray:
        """Number after the last event of each user before ``until``; shape (U,)."""
        return self.sequences.starts[:-1] + _counted(self.sequences, self.sequences.time < self.until)

    @cached_property
    def _first(self) -> IntArray:
        """Number of the first event of each user about which something may be asked; shape (U,)."""
        return self.sequences.starts[:-1] + _counted(self.sequences, self.sequences.time < self._reach)

    @cached_property
    def _users(self) -> NDArray[np.bool_]:
        """Who has two events, the last of which may be asked about; shape (U,)."""
        size = self._end - self.sequences.starts[:-1]
        users = (size >= 2) & (self._first < self._end)
        if self.limit is not None:
            order = np.random.default_rng(self.seed).permutation(len(users))
            seen = np.minimum(self._end - self._first + self.length, size) * users
            users[order[np.cumsum(seen[order]) > max(self.limit, seen[order][users[order]][:1].sum())]] = False
        return users

    @cached_property
    def _covering(self) -> Windows:
        found = cut.covering(self.sequences, self.length, users=self._users)
        end = np.minimum(found.end, self._end[found.user])
        # a later window that its end has left with less shows nothing that the one before does not
        new = np.where(found.start == self.sequences.starts[found.user], 1, self.length // 2)
        kept = (end - found.start > new) & (end > self._first[found.user])
        return _windows(found.user[kept], found.start[kept], end[kept])

    def _slices(self, random: np.random.Generator) -> list[Windows]:
        """Draw slices: of each user ``SLICES`` for every ``length`` events that there are.

        A slice has at least a quarter of the events that it could have.
        """
        user = np.flatnonzero(self._users)
        low = np.maximum(self._first[user] - self.length // 2, self.sequences.starts[user])
        groups = -(-(self._end[user] - low) // self.length)
        user, low = np.repeat(user, groups), np.repeat(low, groups)
        have = (self._end[user] - low)[:, None]
        longest = np.minimum(have, self.length)
        size = random.integers(-(-longest // 4), longest + 1, (len(user), SLICES))
        start = low[:, None] + random.integers(0, have - size + 1)
        together = _windows(user, np.zeros_like(user), size.max(axis=1, initial=0))
        return [
            _windows(np.repeat(user[some], SLICES), start[some].ravel(), (start + size)[some].ravel())
            for some in cut.bucketed(together, max(self.events // SLICES, 1), random)
        ]


def _counted(sequences: Sequences, chosen: NDArray[np.bool_]) -> IntArray:
    """Return how many of each user's events are chosen; shape (U,)."""
    if not len(chosen):
        return np.zeros(len(sequences.users), np.int64)
    return np.add.reduceat(chosen, sequences.starts[:-1], dtype=np.int64)  # no user is without an event


def _windows(user: IntArray, start: IntArray, end: IntArray) -> Windows:
    none = np.zeros(0, np.int64)
    return Windows(user, start, end, none, Rows(none, none, none, none))


def _chosen(windows: Windows, some: IntArray) -> Windows:
    return _windows(windows.user[some], windows.start[some], windows.end[some])
