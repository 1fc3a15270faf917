"""Windows of histories, the rows they answer, and batches of them.

All of it is blind to the future: a row at ``at`` is placed on the last event strictly before ``at``, and what comes
after that event is in its window only for rows that are later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import LogError
from valuecast.sequences.batch import Batch, IntArray
from valuecast.sequences.clock import Past, calendar, clock
from valuecast.sequences.reading import DAY
from valuecast.sequences.sequences import Sequences

MANY: Final = 2**20
"""Up to so many windows, or texts, are shuffled one by one."""
_POOL: Final = 32  # batches
_BLOCK: Final = 64  # windows: of a few dozen events each, about as much as a disk reads at once
_POOL_OF_BLOCKS: Final = 256  # batches
_REMEDY = "Ask only about users with an event before the moment."


@dataclass(frozen=True, eq=False)
class Rows:
    """Moments of users that are asked about.

    Attributes:
        user: number of the user in ``Sequences.users``; shape (R,), int64.
        count: the user's events before ``at``, one or more; shape (R,), int64.
        at: microseconds since 1970; shape (R,), int64.
        row: number of the row in the table of keys; shape (R,), int64.
    """

    user: IntArray
    count: IntArray
    at: IntArray
    row: IntArray

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, chosen: IntArray) -> Rows:
        return Rows(self.user[chosen], self.count[chosen], self.at[chosen], self.row[chosen])


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of histories, and the rows that are answered in each; a window may have none.

    Attributes:
        user: number of the user; shape (W,), int64.
        start: number of the first event in the sequences; shape (W,), int64.
        end: number after the last event; shape (W,), int64.
        row_of: the window of each row, never falling; shape (R,), int64.
        rows: in the order of their windows.
    """

    user: IntArray
    start: IntArray
    end: IntArray
    row_of: IntArray
    rows: Rows

    def __len__(self) -> int:
        return len(self.user)


def rows_of(sequences: Sequences, keys: pl.DataFrame) -> Rows:
    """Place every key ``user, at`` behind the events strictly before it.

    Raises:
        LogError: a key has no event before it.
    """
    numbered = pl.DataFrame({c.USER: sequences.users}).with_row_index("number")
    found = keys.select(c.USER, pl.col(c.AT).cast(pl.Datetime("us"))).join(
        numbered, on=c.USER, how="left", maintain_order="left"
    )
    unknown = found["number"].is_null()
    if unknown.any():
        raise LogError(f"the user '{found.filter(unknown)[c.USER][0]}' has no events", remedy=_REMEDY)
    user, at = found["number"].cast(pl.Int64).to_numpy(), found[c.AT].dt.epoch("us").to_numpy()
    count = _before(sequences.time, sequences.starts[user], sequences.starts[user + 1], at) - sequences.starts[user]
    if len(count) and not count.min():
        first = found.row(int(count.argmin()), named=True)
        raise LogError(f"the user '{first[c.USER]}' has no event before {moments.text(first[c.AT])}", remedy=_REMEDY)
    return Rows(user, count, at, np.arange(len(user)))


def shared(rows: Rows, sequences: Sequences, length: int) -> Windows:
    """Cut overlapping windows of at most ``length`` events that serve many rows each (a trunk that looks back only).

    Windows start every ``length // 2`` events. Each row is in exactly one window, and it sees there at least
    ``length // 2`` events before its last one, or all that there are. A window ends with the last event of
    its last row.
    """
    stride = _stride(length)
    number = np.maximum(-(-(rows.count - length) // stride), 0)
    order = np.lexsort((rows.count, number, rows.user))
    user, number, count = rows.user[order], number[order], rows.count[order]
    return _windows(sequences, rows[order], number * stride, same=_same(user, number), end=count)


def latest(rows: Rows, sequences: Sequences, length: int) -> Windows:
    """Give every row the last ``length`` events before it (prediction, and a trunk that looks both ways).

    Rows of one user with no event between them share a window.
    """
    order = np.lexsort((rows.count, rows.user))
    user, count = rows.user[order], rows.count[order]
    start = np.maximum(count - length, 0)
    return _windows(sequences, rows[order], start, same=_same(user, count), end=count)


def covering(sequences: Sequences, length: int, *, users: NDArray[np.bool_] | None = None) -> Windows:
    """Cover the histories of all users with two events or more by overlapping windows without rows (pre-training).

    Args:
        sequences: of all users.
        length: windows have at most so many events, and start every ``length // 2``.
        users: which users; shape (U,).
    """
    stride = _stride(length)
    events = np.diff(sequences.starts)
    number = np.where(events < 2, 0, 1 + np.maximum(-(-(events - length) // stride), 0))
    if users is not None:
        number = np.where(users, number, 0)
    user = np.repeat(np.arange(len(events)), number)
    start = ranges(np.zeros_like(number), number) * stride
    end = np.minimum(start + length, events[user])
    none = np.zeros(0, np.int64)
    return Windows(user, sequences.starts[user] + start, sequences.starts[user] + end, none, Rows(*[none] * 4))


def bucketed(windows: Windows, events: int, rng: np.random.Generator | None = None) -> list[IntArray]:
    """Put windows of similar length together in batches.

    Args:
        windows: all of them.
        events: of a batch, padding included, at most; a window that is longer is alone.
        rng: see ``by_length``.

    Returns:
        Numbers of windows, each in exactly one batch.
    """
    return by_length(windows.end - windows.start, events, rng)


def by_length(length: IntArray, total: int, rng: np.random.Generator | None = None) -> list[IntArray]:
    """Put what is of similar length together in batches, which are padded to the longest in each.

    Args:
        length: of each, one or more; shape (N,), int64.
        total: length of a batch, padding included, at most; what is longer is alone.
        rng: shuffles them, of which so many as fill 32 batches are then sorted by length, and the order of batches;
            None: all are sorted, the longest come first. More than ``MANY`` are shuffled in blocks of neighbours, of
            which those that fill 256 batches are read in one go: they lie in files that memory may not hold.

    Returns:
        Their numbers, each in exactly one batch.
    """
    if rng is None:
        return _alike(np.arange(len(length)), length, total)
    if len(length) <= MANY:
        pools = _pools(rng.permutation(len(length)), length, total, batches=_POOL)
        return _shuffled([batch for pool in pools for batch in _alike(pool, length, total)], rng)
    blocks = np.split(np.arange(len(length)), np.arange(_BLOCK, len(length), _BLOCK))
    order = np.concatenate(_shuffled(blocks, rng))
    pools = _pools(order, length, total, batches=_POOL_OF_BLOCKS)
    return [batch for pool in pools for batch in _shuffled(_alike(rng.permutation(pool), length, total), rng)]


def _shuffled(parts: list[IntArray], rng: np.random.Generator) -> list[IntArray]:
    return [parts[i] for i in rng.permutation(len(parts))]


def _alike(pool: IntArray, length: IntArray, total: int) -> list[IntArray]:
    """Put those of a pool in batches, the longest first."""
    order, done, batches = pool[np.argsort(-length[pool], kind="stable")], 0, []
    while done < len(order):
        size = max(total // int(length[order[done]]), 1)
        batches.append(order[done : done + size])
        done += size
    return batches


def batch(sequences: Sequences, windows: Windows, chosen: IntArray) -> Batch:
    """Read the ``chosen`` windows, and the rows they answer, as one padded batch."""
    encoding = sequences.encoding
    start = windows.start[chosen]
    length = windows.end[chosen] - start
    columns = np.arange(int(length.max()))
    mask = columns < length[:, None]
    event = np.where(mask, start[:, None] + columns, -1)
    real = event[mask]
    time = sequences.time[start[:, None] + np.minimum(columns, length[:, None] - 1)]
    numbers = np.full((*mask.shape, len(encoding.numbers)), np.nan, np.float32)
    numbers[mask] = sequences.numbers[real]
    dates = calendar(encoding, time)
    dates[~mask] = 0
    first = sequences.edges[real]
    size = np.zeros(mask.shape, np.int64)
    size[mask] = sequences.edges[real + 1] - first
    places = ranges(first, size[mask])
    per_window = np.searchsorted(windows.row_of, chosen)
    answered = np.searchsorted(windows.row_of, chosen, side="right") - per_window
    rows = windows.rows[ranges(per_window, answered)]
    row_window = np.repeat(np.arange(len(chosen)), answered)
    row_last = sequences.starts[rows.user] + rows.count - 1
    return Batch(
        codes=sequences.codes[places].astype(np.int64),
        weights=sequences.weights[places],
        offsets=np.cumsum(size.ravel()) - size.ravel(),
        numbers=numbers,
        calendar=dates,
        days=((time - time[:, :1]) / DAY).astype(np.float32),
        mask=mask,
        row_window=row_window,
        row_position=row_last - start[row_window],
        clock=clock(encoding, rows.at, past(sequences, rows)),
        row=rows.row,
        event=event,
        texts=event,
        users=tuple(sequences.users[windows.user[chosen]].to_list()),
    )


def past(sequences: Sequences, rows: Rows) -> Past:
    """What lies behind each row, however far: not only the events of its window."""
    start = sequences.starts[rows.user]
    end, first = start + rows.count, sequences.time[start]
    kinds = len(sequences.of_kind)
    last_of, count_of = np.repeat(first[:, None], kinds, axis=1), np.zeros((len(rows), kinds), np.int64)
    for kind, events in enumerate(sequences.of_kind):
        low, high = np.searchsorted(events, start), np.searchsorted(events, end)
        count_of[:, kind] = high - low
        some = high > low
        last_of[some, kind] = sequences.time[events[high[some] - 1]]
    return Past(first, sequences.time[end - 1], rows.count, last_of, count_of)


def _pools(order: IntArray, length: IntArray, total: int, *, batches: int) -> list[IntArray]:
    """What comes by chance in pools of about so many batches.

    Sorting all would put those with the shortest histories into batches of their own, whose gradients pull
    towards customers of one kind.
    """
    pool = np.cumsum(length[order]) // (batches * total)
    return np.split(order, np.flatnonzero(np.diff(pool)) + 1)


def _stride(length: int) -> int:
    return max(length // 2, 1)


def _before(time: IntArray, low: IntArray, high: IntArray, at: IntArray) -> IntArray:
    """Return for each row the first place in ``[low, high)`` of the rising times that is not before ``at``."""
    while (open_ := low < high).any():
        middle = (low + high) // 2
        earlier = open_ & (time[np.minimum(middle, len(time) - 1)] < at)
        low, high = np.where(earlier, middle + 1, low), np.where(earlier | ~open_, high, middle)
    return low


def _same(*columns: IntArray) -> NDArray[np.bool_]:
    """Return where sorted rows agree with the row before in all columns; the first does not."""
    same = np.ones(len(columns[0]), np.bool_)
    same[:1] = False
    for values in columns:
        same[1:] &= values[1:] == values[:-1]
    return same


def _windows(sequences: Sequences, rows: Rows, start: IntArray, *, same: NDArray[np.bool_], end: IntArray) -> Windows:
    """Make one window of each run of rows that agree; ``start`` and ``end`` are events of the user."""
    row_of = np.cumsum(~same) - 1
    first = np.flatnonzero(~same)
    last = np.append(first, len(same))[1:] - 1
    user = rows.user[first]
    found = Windows(user, sequences.starts[user] + start[first], sequences.starts[user] + end[last], row_of, rows)
    place = sequences.starts[rows.user] + rows.count - 1
    assert len(row_of) == len(rows)
    assert (found.start[row_of] <= place).all()
    assert (place < found.end[row_of]).all()
    return found


def ranges(start: IntArray, size: IntArray) -> IntArray:
    """Return ``start[0], start[0] + 1, ...``, ``size[0]`` of them, then those of the next, and so on."""
    ends = np.cumsum(size)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - ends + size, size)
