"""The engine in this process: its clock, and how much of the machine it may use.

``VALUECAST_MEMORY`` (such as ``6GB``; default: four fifths of the machine's) bounds the memory of each connection, and
``VALUECAST_THREADS`` its threads (default: all). What does not fit in memory goes to the folder for temporary files.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb

from valuecast.errors import ConfigError
from valuecast.events.schema import literal

_LIMITS: Final = {"VALUECAST_MEMORY": ("memory_limit", "6GB"), "VALUECAST_THREADS": ("threads", "2")}


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
    for variable, (setting, example) in _LIMITS.items():
        value = os.environ.get(variable)
        if not value:
            continue
        try:
            connection.execute(f"SET {setting} = {literal(value)}")
        except duckdb.Error:
            what = f"'{value}' is no limit"
            raise ConfigError(what, where=f"environment variable {variable}", remedy=f"Use {example}.") from None


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
            where="VALUECAST_MEMORY",
            remedy="Allow it more, or fewer threads (VALUECAST_THREADS=1), and see that there is room in TMPDIR.",
        ) from None
