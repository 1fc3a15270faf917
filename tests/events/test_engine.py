"""What the engine may use, and what is said where it is not enough."""

from __future__ import annotations

import os

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
    assert found == ("572.2 MiB", 1)  # 0.6 GB: the rest is for what is beside it
    assert engine.beside() == 400_000_000


@pytest.mark.parametrize(("budget", "rows"), [("800MB", 100), ("8GB", 1_000), ("80GB", 1_000)])
def test_parts_are_smaller_where_there_is_less_memory(budget: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUECAST_MEMORY", budget)
    assert engine.scaled(1_000) == rows


def test_without_a_word_the_budget_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VALUECAST_MEMORY", raising=False)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < engine.budget() < machine


def test_processes_of_one_command_share_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUECAST_MEMORY", "4GB")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert engine.budget() == 2_000_000_000
    with pytest.raises(ConfigError, match=r"states want 0.9 GB .* 0.8 GB are for them.* 4GB now, for 2 processes\."):
        engine.afford(0.9e9, "states", where="here", remedy="Take fewer")


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
