"""All histories of a log as arrays, in memory or mapped from files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import artifact
from valuecast import columns as c
from valuecast.errors import ModelError
from valuecast.events.log import EventLog
from valuecast.sequences import reading
from valuecast.sequences.encoding import Encoding

KIND: Final = "sequences"
USERS: Final = "users.parquet"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Sequences:
    """The events of U users, E in all, with C codes; those of user ``u`` are ``starts[u]`` to ``starts[u + 1]``.

    Attributes:
        encoding: what an event is made of.
        users: their names, sorted; shape (U,).
        starts: number of each user's first event; shape (U + 1,), int64.
        time: microseconds since 1970, rising within a user; shape (E,), int64.
        numbers: in the order of ``encoding.numbers``, missing ones NaN; shape (E, K), float32.
        edges: number of each event's first code; shape (E + 1,), int64.
        codes: of all events, one after the other; shape (C,), int32.
        weights: the share of the event's known values of this column that have this code; shape (C,), float32.
    """

    encoding: Encoding
    users: pl.Series
    starts: NDArray[np.int64]
    time: NDArray[np.int64]
    numbers: NDArray[np.float32]
    edges: NDArray[np.int64]
    codes: NDArray[np.int32]
    weights: NDArray[np.float32]

    @property
    def count(self) -> int:
        """Number of events."""
        return len(self.time)

    @cached_property
    def of_kind(self) -> tuple[NDArray[np.int64], ...]:
        """The numbers of the events of each of the encoding's kinds."""
        owner = np.repeat(np.arange(self.count), np.diff(self.edges)) if self.encoding.kinds else None
        return tuple(owner[self.codes == kind] for kind in self.encoding.kinds) if owner is not None else ()


def encode(encoding: Encoding, log: EventLog, *, folder: Path | None = None) -> Sequences:
    """Make sequences of all events of a log.

    Args:
        encoding: what an event is made of.
        log: the log.
        folder: where the arrays are kept and mapped from, so that they need not fit in memory. Sequences of the same
            events and the same encoding that are there already are used as they are; others are replaced.

    Raises:
        ModelError: the log lacks a column that was there at learning, or it has another type; or ``folder`` holds
            something else.
    """
    encoding.check(log)
    if folder is None:
        users, parts = [], [_start(encoding)]
        for names, part in _parts(encoding, log):
            users.append(names)
            parts.append(part)
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Sequences(encoding, _together(users), **whole)
    facts = {"log": log.fingerprint, "encoding": encoding.to_dict(), "code": artifact.code_digest()}
    if not _kept(folder, encoding, facts):
        artifact.save(folder, kind=KIND, facts=facts, write=lambda draft: _write(encoding, log, draft))
    # as plain arrays: what is picked from a mapped one would be called mapped too
    mapped = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _start(encoding)}
    return Sequences(encoding, pl.read_parquet(folder / USERS)[c.USER], **mapped)


def _start(encoding: Encoding) -> Arrays:
    """Return the arrays of no users; those of users follow on them."""
    return {
        "starts": np.zeros(1, np.int64),
        "time": np.zeros(0, np.int64),
        "numbers": np.zeros((0, len(encoding.numbers)), np.float32),
        "edges": np.zeros(1, np.int64),
        "codes": np.zeros(0, np.int32),
        "weights": np.zeros(0, np.float32),
    }


def _parts(encoding: Encoding, log: EventLog) -> Iterator[tuple[pl.Series, Arrays]]:
    """Yield some users at a time, and what follows on the arrays of those before."""
    events, codes = 0, 0
    for users, lines in reading.passes(log):
        found = reading.read(encoding, log, lines)
        starts, edges = events + np.cumsum(found.per_user), codes + np.cumsum(found.per_event)
        events, codes = int(starts[-1]), int(edges[-1])
        yield (
            users,
            {
                "starts": starts,
                "time": found.time,
                "numbers": found.numbers,
                "edges": edges,
                "codes": found.codes,
                "weights": found.weights,
            },
        )


def _together(users: list[pl.Series]) -> pl.Series:
    return pl.concat([pl.Series(c.USER, [], pl.String), *users])


def _kept(folder: Path, encoding: Encoding, facts: artifact.Facts) -> bool:
    """Whether the folder holds whole sequences that were made of the same."""
    try:
        found = artifact.load(folder, kind=KIND)
        same = Encoding.from_dict(found["encoding"]) == encoding
    except ModelError:
        return False
    return same and all(found[name] == facts[name] for name in ("log", "code"))


def _write(encoding: Encoding, log: EventLog, folder: Path) -> None:
    """Append the arrays part by part to ``.npy`` files."""
    files = {name: _Growing(folder / f"{name}.npy", start) for name, start in _start(encoding).items()}
    users = []
    try:
        for names, part in _parts(encoding, log):
            users.append(names)
            for name, file in files.items():
                file.append(part[name])
    finally:
        for file in files.values():
            file.close()
    _together(users).to_frame().write_parquet(folder / USERS)


class _Growing:
    """A ``.npy`` file that rows are appended to; numpy leaves room in its header for their final number."""

    def __init__(self, path: Path, start: NDArray[Any]) -> None:
        self._file = path.open("wb")
        self._like, self._rows = start[:0], 0
        self._header()
        self.append(start)

    def append(self, rows: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(rows, self._like.dtype).data)
        self._rows += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._header()
        self._file.close()

    def _header(self) -> None:
        described = np.lib.format.header_data_from_array_1_0(self._like)
        described["shape"] = (self._rows, *self._like.shape[1:])
        np.lib.format.write_array_header_1_0(self._file, described)
