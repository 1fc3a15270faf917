"""One file, sheet or table, open for reading: a relation of the engine, and its columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from valuecast.errors import SourceError
from valuecast.events.sources.survey import Survey


class Format(StrEnum):
    """Kinds of sources."""

    CSV = "CSV"
    JSON = "JSON lines"
    PARQUET = "Parquet"
    WORKBOOK = "a workbook"
    DATABASE = "a database"


Stream = Callable[[Sequence[str]], AbstractContextManager[Any]]
"""Gives the rows of some columns as Arrow, while they are read."""

RENAME: Final = "Rename one, or give header = false, skip = 1 and names = [...] in a mapping."
_LEVEL: Final = re.compile(r"(?:Error|ERROR|FATAL): +")
_PASSED_ON: Final = re.compile(r".*get_next failed\(\): (?:\w+: )*")


@dataclass(frozen=True)
class Shard:
    """One file, sheet or table.

    Attributes:
        place: what it is called in messages and in ``rejected.parquet``.
        scan: SQL relation of its rows, or the name that ``rows`` gives to those of ``stream``.
        columns: SQL of each column over ``scan``, and its engine type.
        errors: SQL of what a cell of a column holds where that is no value: ``#N/A``, or bytes.
        fault: what such a cell is, for messages.
        broken: SQL that says over ``scan`` that a row has no columns at all.
        stream: the rows, where the engine does not read them itself.
        rejects: table where the engine puts lines that it cannot take apart, for CSV.
        survey: what the bytes said, for text files.
        preamble: lines before the first row.
    """

    place: str
    format: Format
    scan: str
    columns: Mapping[str, tuple[str, str]]
    errors: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""
    broken: str = "false"
    stream: Stream | None = None
    rejects: str = ""
    survey: Survey | None = None
    preamble: int = 0

    @property
    def name(self) -> str:
        """Short name for messages."""
        return self.place.rpartition("/")[2]

    @contextmanager
    def rows(self, connection: Any, wanted: Sequence[str]) -> Iterator[str]:
        """Give SQL of the relation of its rows, with the ``wanted`` columns at least, while they are read."""
        if self.stream is None:
            yield self.scan
            return
        with self.stream(wanted) as found:
            connection.register(self.scan, found)
            try:
                yield self.scan
            finally:
                connection.unregister(self.scan)


def check_names(names: Sequence[str], *, place: str, remedy: str) -> None:
    """Refuse two columns of one name.

    Raises:
        SourceError: there are.
    """
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise SourceError(f"two columns are called '{name}'", where=place, remedy=remedy)


def reason(error: Exception) -> str:
    """Return what an engine or a database says of an error, in one line."""
    first = _LEVEL.split(str(error).strip().splitlines()[0])[-1]
    return _PASSED_ON.sub("", first).partition(". Detail: ")[0].strip()
