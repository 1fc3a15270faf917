"""The engine in this process: its clock, and how much of the machine it and everything beside it may use.

``VALUECAST_MEMORY`` (such as ``8GB``; default: four fifths of the machine's, or of its container's) is the budget of a
command; processes that ``torchrun`` started here have equal shares of it. The engine is given the larger part, and puts
what does not fit in the folder for temporary files; tables beside it are made in parts that fit in the rest, or are
refused. ``VALUECAST_THREADS`` bounds the engine's threads (default: all).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import duckdb

from valuecast.errors import ConfigError
from valuecast.events.schema import literal

MEMORY: Final = "VALUECAST_MEMORY"
THREADS: Final = "VALUECAST_THREADS"
ENGINE_SHARE: Final = 0.6
"""Of the budget; the engine goes a little beyond its limit, and an interpreter with torch takes half a GB."""
USUAL: Final = 8_000_000_000
"""The budget, in bytes, for which the sizes of parts are stated."""


def prepare(connection: Any, *, spill: Path | None = None) -> None:
    """Set up a connection of DuckDB.

    Args:
        connection: to a database in memory.
        spill: the folder for what does not fit in memory; without it, one among the temporary files.

    Raises:
        ConfigError: a limit in the environment is not understood.
    """
    folder = spill or Path(tempfile.gettempdir()) / f"valuecast-{os.getpid()}"
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("PRAGMA disable_progress_bar")
    connection.execute(f"SET temp_directory = {literal(str(folder))}")
    limits = {"memory_limit": f"{int(ENGINE_SHARE * budget())}B"}
    if threads := os.environ.get(THREADS):
        limits["threads"] = threads
    for setting, value in limits.items():
        try:
            connection.execute(f"SET {setting} = {literal(value)}")
        except duckdb.Error:
            raise _no_limit(value, THREADS, "2") from None


def budget() -> int:
    """Return how many bytes of memory this process may take.

    Raises:
        ConfigError: ``VALUECAST_MEMORY`` is not understood.
    """
    return _bytes(os.environ.get(MEMORY)) // _processes()


def _processes() -> int:
    """Return how many processes share this command on this machine, as ``torchrun`` says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@lru_cache(maxsize=8)
def _bytes(asked: str | None) -> int:
    with duckdb.connect() as connection:
        # without a word of ours the engine takes four fifths of what the machine, or its container, has
        (text,) = connection.sql("select current_setting('memory_limit')").fetchall()[0]
        try:
            ((found,),) = connection.execute("select parse_formatted_bytes(?)", [asked or text]).fetchall()
        except duckdb.Error:
            found = 0
    if not found:
        raise _no_limit(str(asked), MEMORY, "8GB")
    return int(found)


def beside() -> int:
    """Return how many bytes of the budget are not the engine's."""
    return int((1 - ENGINE_SHARE) * budget())


def scaled(count: int) -> int:
    """Return how large a part may be that has ``count`` rows, or users, where the budget is 8 GB or more."""
    return max(1, int(count * min(1.0, budget() / USUAL)))


def afford(wanted: float, what: str, *, where: str, remedy: str) -> None:
    """Refuse what would have to be in memory at once, and does not fit beside the engine.

    Args:
        wanted: bytes.
        what: they are for.
        where: it is made.
        remedy: what else can be done than to allow more.

    Raises:
        ConfigError: it does not fit.
    """
    if wanted > beside():
        shared = f", for {_processes()} processes" if _processes() > 1 else ""
        raise ConfigError(
            f"{what} want {wanted / 1e9:,.1f} GB of memory, and {beside() / 1e9:,.1f} GB are for them",
            where=where,
            remedy=f"{remedy}, or allow more: {MEMORY} is {budget() * _processes() / 1e9:,.0f}GB now{shared}.",
        )


def _no_limit(value: str, variable: str, example: str) -> ConfigError:
    return ConfigError(f"'{value}' is no limit", where=f"environment variable {variable}", remedy=f"Use {example}.")


@contextmanager
def within_limits() -> Iterator[None]:
    """Say what to do where the engine runs out of memory.

    Raises:
        ConfigError: it did.
    """
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise ConfigError(
            f"the engine ran out of memory: {str(error).splitlines()[0]}",
            where=MEMORY,
            remedy=f"Allow it more, or fewer threads ({THREADS}=1), and see that there is room in TMPDIR.",
        ) from None
