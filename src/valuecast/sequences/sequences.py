"""All histories of a log as arrays, in memory or mapped from files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import artifact
from valuecast import columns as c
from valuecast.errors import ModelError
from valuecast.events import engine
from valuecast.events.log import EventLog
from valuecast.sequences import reading
from valuecast.sequences.encoding import Encoding

KIND: Final = "sequences"
USERS: Final = "users.parquet"
TEXTS: Final = "texts.parquet"

Arrays = dict[str, NDArray[Any]]
_TEXTS: Final = ("text_edges", "text_places", "text_weights")
"""The arrays of ``Texts``, in the order of its fields."""


@dataclass(frozen=True, eq=False)
class Texts:
    """What a language model reads of E events: S different texts; event ``e`` has those from ``edges[e]`` on.

    What is protected in a log is replaced before there is a log; so it is in no text either.

    Attributes:
        distinct: every different text once; shape (S,).
        edges: number of each event's first text; shape (E + 1,), int64.
        places: in ``distinct``, of the texts of all events one after the other; shape (T,), int32.
        weights: the share of the event's lines with a text in this column that have this one; shape (T,), float32.
    """

    distinct: pl.Series
    edges: NDArray[np.int64]
    places: NDArray[np.int32]
    weights: NDArray[np.float32]


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
        texts: what a language model reads, if the encoding has one and the log has texts.
    """

    encoding: Encoding
    users: pl.Series
    starts: NDArray[np.int64]
    time: NDArray[np.int64]
    numbers: NDArray[np.float32]
    edges: NDArray[np.int64]
    codes: NDArray[np.int32]
    weights: NDArray[np.float32]
    texts: Texts | None = None

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
        ConfigError: without a folder, the arrays are larger than the memory that there may be.
    """
    encoding.check(log)
    if folder is None:
        users, parts, book, size = [], [_start(encoding)], _Book(), 0
        for names, part in _parts(encoding, log, book):
            users.append(names)
            parts.append(part)
            size += sum(array.nbytes for array in part.values())
            engine.afford(2 * size, "histories", where=log.origin, remedy="Give a folder, from which they are read")
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return _sequences(encoding, _together(users), book.texts, whole)
    facts = {"log": log.fingerprint, "encoding": encoding.to_dict(), "code": artifact.code_digest()}
    if not _kept(folder, encoding, facts):
        artifact.save(folder, kind=KIND, facts=facts, write=lambda draft: _write(encoding, log, draft))
    # as plain arrays: what is picked from a mapped one would be called mapped too
    mapped = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _start(encoding)}
    texts = pl.read_parquet(folder / TEXTS)["text"] if encoding.told else None
    return _sequences(encoding, pl.read_parquet(folder / USERS)[c.USER], texts, mapped)


def _sequences(encoding: Encoding, users: pl.Series, distinct: pl.Series | None, arrays: Arrays) -> Sequences:
    """Put together what was read; the arrays of texts have names of their own."""
    own: dict[str, Any] = {name: values for name, values in arrays.items() if name not in _TEXTS}
    if not encoding.told or distinct is None:
        return Sequences(encoding, users, **own)
    return Sequences(encoding, users, **own, texts=Texts(distinct, *(arrays[name] for name in _TEXTS)))


def _start(encoding: Encoding) -> Arrays:
    """Return the arrays of no users; those of users follow on them."""
    texts: Arrays = {
        "text_edges": np.zeros(1, np.int64),
        "text_places": np.zeros(0, np.int32),
        "text_weights": np.zeros(0, np.float32),
    }
    return {
        "starts": np.zeros(1, np.int64),
        "time": np.zeros(0, np.int64),
        "numbers": np.zeros((0, len(encoding.numbers)), np.float32),
        "edges": np.zeros(1, np.int64),
        "codes": np.zeros(0, np.int32),
        "weights": np.zeros(0, np.float32),
        **(texts if encoding.told else {}),
    }


def _parts(encoding: Encoding, log: EventLog, book: _Book) -> Iterator[tuple[pl.Series, Arrays]]:
    """Yield some users at a time, and what follows on the arrays of those before."""
    events, codes, texts = 0, 0, 0
    for users, lines in reading.passes(log):
        found = reading.read(encoding, log, lines)
        starts, edges = events + np.cumsum(found.per_user), codes + np.cumsum(found.per_event)
        events, codes = int(starts[-1]), int(edges[-1])
        part: Arrays = {
            "starts": starts,
            "time": found.time,
            "numbers": found.numbers,
            "edges": edges,
            "codes": found.codes,
            "weights": found.weights,
        }
        if found.told:
            ends = texts + np.cumsum(found.told.per_event)
            texts = int(ends[-1])
            places = book.places(found.told.distinct)[found.told.texts]
            part |= {"text_edges": ends, "text_places": places, "text_weights": found.told.weights}
        yield users, part


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
    users, book = [], _Book()
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(_Growing(folder / f"{name}.npy", start))
            for name, start in _start(encoding).items()
        }
        for names, part in _parts(encoding, log, book):
            users.append(names)
            for name, file in files.items():
                file.append(part[name])
        for file in files.values():
            file.end()
    _together(users).to_frame().write_parquet(folder / USERS)
    if encoding.told:
        book.texts.to_frame().write_parquet(folder / TEXTS)


class _Book:
    """Every different text once, in the order in which they came."""

    def __init__(self) -> None:
        self.texts = pl.Series("text", [], pl.String)

    def places(self, texts: pl.Series) -> NDArray[np.int32]:
        """Return the places of different texts, and add those that are new."""
        own = texts.rename("text").to_frame()
        new = own.join(self.texts.to_frame(), on="text", how="anti", maintain_order="left")["text"]
        self.texts = pl.concat([self.texts, new])
        numbered = self.texts.to_frame().with_row_index("place")
        found: NDArray[np.int32] = (
            own.join(numbered, on="text", how="left", maintain_order="left")["place"].cast(pl.Int32).to_numpy()
        )
        return found


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

    def end(self) -> None:
        self._file.seek(0)
        self._header()
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of a disk that is full, which has been said; what was not ended does not count
            self._file.close()

    def _header(self) -> None:
        described = np.lib.format.header_data_from_array_1_0(self._like)
        described["shape"] = (self._rows, *self._like.shape[1:])
        np.lib.format.write_array_header_1_0(self._file, described)
