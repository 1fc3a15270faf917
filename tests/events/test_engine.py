"""What the engine may use, and what is said where it is not enough."""

from __future__ import annotations

import duckdb
import pytest

from valuecast.errors import ConfigError
from valuecast.events import engine


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUECAST_MEMORY", "1GB")
    monkeypatch.setenv("VALUECAST_THREADS", "1")
    with duckdb.connect() as connection:
        engine.prepare(connection)
        found = connection.sql("select current_setting('memory_limit'), current_setting('threads')").fetchone()
    assert found == ("953.6 MiB", 1)


@pytest.mark.parametrize(("variable", "value"), [("VALUECAST_MEMORY", "much"), ("VALUECAST_THREADS", "-1")])
def test_a_limit_that_is_none(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with (
        duckdb.connect() as connection,
        pytest.raises(ConfigError, match=f"environment variable {variable}: '{value}'"),
    ):
        engine.prepare(connection)


def test_too_little_memory_is_said_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="ran out of memory") as caught, engine.within_limits():
        raise duckdb.OutOfMemoryException("Out of Memory Error: failed")
    assert "VALUECAST_THREADS=1" in str(caught.value)
