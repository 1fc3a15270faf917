"""Spark for tests: one session for all of them, on the cores of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from valuecast.events.log import EventLog

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CODEGEN = "spark.sql.codegen.wholeStage"
"""Of programs that are compiled for each query: for logs as small as those of tests that takes most of the time."""


def session() -> SparkSession:
    """Start a session, or return the one that is there."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    found = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.memory", "2g")
        .getOrCreate()
    )
    found.conf.set(CODEGEN, "false")
    found.sparkContext.setLogLevel("OFF")
    return found


def tables(log: EventLog, folder: Path) -> dict[str, DataFrame]:
    """Return the tables of a log on Spark; their rows, ids and all, go there by way of files."""
    found = {"events": log.events} | {
        name: side.table for name, side in (("items", log.items), ("users", log.users)) if side is not None
    }
    for name, table in found.items():
        log.collect(table).write_parquet(folder / f"{name}.parquet")
    return {name: session().read.parquet(str(folder / f"{name}.parquet")) for name in found}


def moved(log: EventLog, folder: Path) -> EventLog:
    """Return the same log on Spark."""
    return EventLog.on_spark(**tables(log, folder), since=log.span.start, until=log.span.until)
