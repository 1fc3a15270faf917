"""A log on Spark: of files that were ingested and of tables that Spark knows; and what is said where it cannot be."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from tests import engines
from tests.ingested import run
from valuecast.errors import ConfigError, MissingExtraError, SourceError
from valuecast.events.log import EventLog

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

START = datetime(2020, 1, 1)
ROWS = [("a", START), ("a", START), ("b", START + timedelta(days=1))]

spark_only = pytest.mark.spark
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of PySpark


@pytest.fixture
def session() -> SparkSession:
    return engines.session()


def table(
    session: SparkSession, select: str = "user, time", rows: list[tuple[str | None, datetime]] = ROWS
) -> DataFrame:
    session.createDataFrame(rows, "user string, time timestamp").createOrReplaceTempView("raw")
    return session.sql(f"select {select} from raw")


def test_without_the_extra_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, {"path": str(_csv(tmp_path))})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r'pip install "valuecast\[spark\]"'):
        EventLog.read(tmp_path / "log", engine="spark")


def test_another_engine_is_refused(tmp_path: Path) -> None:
    run(tmp_path, {"path": str(_csv(tmp_path))})
    with pytest.raises(ConfigError, match=r"no engine 'sparc'.*spark"):
        EventLog.read(tmp_path / "log", engine="sparc")  # type: ignore[arg-type]


def _csv(folder: Path) -> Path:
    path = folder / "s.csv"
    path.write_text("user,time\na,2020-01-01\nb,2020-01-02\n", encoding="utf-8")
    return path


@spark_only
def test_tables_become_a_log(session: SparkSession) -> None:
    events = table(session, "user, time, 2 as amount, 'x.y' as `a.b`, user = 'a' as known")
    items = session.createDataFrame([("i", "tea")], "item string, category string")
    log = EventLog.on_spark(events, until="2020-02-01", items=items)
    assert log.engine == "spark"
    assert log.schema == {"a.b": "string", "known": "boolean", "items.category": "string"}
    assert (log.span.start, log.span.until, log.span.stated) == (START, datetime(2020, 2, 1), True)
    found = log.collect(log.events).sort("user")
    like = EventLog.from_frame(pl.DataFrame({"user": ["a", "a", "b"], "time": [time for _, time in ROWS]}))
    expected = like.collect(like.events).sort("user")
    assert found["bucket"].to_list() == expected["bucket"].to_list()  # as ingest would make it
    assert found["id"].n_unique() == 3  # identical rows stay, and have ids of their own
    assert found["time"].to_list() == expected["time"].to_list()
    assert found["event"].unique().to_list() == ["purchase"]
    assert found["amount"].to_list() == [2.0] * 3


@spark_only
def test_a_log_is_told_from_another(session: SparkSession) -> None:
    same, again = (EventLog.on_spark(table(session)).fingerprint for _ in range(2))
    other = EventLog.on_spark(table(session, rows=ROWS[1:])).fingerprint
    assert same == again != other


@spark_only
def test_a_table_is_found_by_its_name(session: SparkSession) -> None:
    table(session)
    assert EventLog.on_spark("raw").count_users() == 2
    with pytest.raises(SourceError, match="no table 'raws'"):
        EventLog.on_spark("raws")


@spark_only
@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("time", "no column 'user'"),
        ("user, time, array(1) as tags", "field 'tags' holds array<int>"),
        ("if(user = 'a', null, user) as user, time", "2 rows have no user"),
        ("user, time, nullif('x', 'x') as event", "3 rows have no event"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(session: SparkSession, select: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        EventLog.on_spark(table(session, select))


@spark_only
def test_two_rows_for_one_user_are_refused(session: SparkSession) -> None:
    users = session.createDataFrame([("a", 1), ("a", 2)], "user string, tier int")
    with pytest.raises(SourceError, match="two rows for one user"):
        EventLog.on_spark(table(session), users=users)


@spark_only
def test_no_rows_are_no_log(session: SparkSession) -> None:
    with pytest.raises(SourceError, match="no events"):
        EventLog.on_spark(table(session).limit(0))


@spark_only
def test_another_clock_is_refused_and_left_alone(session: SparkSession) -> None:
    zone = "spark.sql.session.timeZone"
    session.conf.set(zone, "Asia/Shanghai")
    try:
        with pytest.raises(ConfigError, match="time zone is Asia/Shanghai"):
            EventLog.on_spark(table(session))
        assert session.conf.get(zone) == "Asia/Shanghai"
    finally:
        session.conf.set(zone, "UTC")


def _apart(code: str, **environment: str) -> str:
    """Run a program in a process of its own, since a session cannot be had twice; return what it said."""
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return found.stdout + found.stderr


@spark_only
@pytest.mark.parametrize("end", ["session.stop()", "kill(session)"])
def test_a_lost_session_is_said_to_be_lost(tmp_path: Path, end: str) -> None:
    run(tmp_path, {"path": str(_csv(tmp_path))})
    code = f"""
import os
from tests import engines
from valuecast.errors import LogError
from valuecast.events.log import EventLog

def kill(session):
    session.sparkContext._gateway.proc.kill()
    session.sparkContext._gateway.proc.wait()

session = engines.session()
log = EventLog.read({str(tmp_path / "log")!r}, engine="spark")
print(log.count_users(), "users")
{end}
try:
    log.count_users()
except LogError as error:
    print("SAID", error)
"""
    said = _apart(code, **_environment())
    assert "2 users" in said
    assert "SAID Spark: the Spark session is gone" in said, said


@spark_only
def test_without_java_it_is_said_how_it_comes(tmp_path: Path) -> None:
    code = """
from valuecast.errors import ConfigError
from valuecast.events import spark
try:
    spark.session()
except ConfigError as error:
    print("SAID", error)
"""
    said = _apart(code, **(_environment() | {"PATH": str(tmp_path), "JAVA_HOME": ""}))
    assert "SAID Spark: there is no Java" in said, said
    assert "apt-get install" in said


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
