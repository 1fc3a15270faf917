"""What benchmarks have done is kept line by line, and not done again; and how their tables are printed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from valuecast.tasks.splits import TimeSplit


@dataclass(frozen=True)
class Sampled(TimeSplit):
    """A split by time in which only some users have labels."""

    users: frozenset[str] = field(default=frozenset(), repr=False)

    def holds(self, user: str) -> bool:
        return user not in self.users


def kept(path: Path, key: dict[str, Any], work: Callable[[], dict[str, Any]]) -> None:
    """Do a piece of work and keep what it gives, unless it is kept already."""
    if any(line["key"] == key for line in lines(path)):
        return
    begun = time.perf_counter()
    found = work()
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, "found": found}) + "\n")
    print(f"{time.perf_counter() - begun:5.0f} s  {key}", flush=True)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def frame(path: Path) -> pl.DataFrame:
    return pl.DataFrame([line["key"] | line["found"] for line in lines(path)], infer_schema_length=None)


def show(table: pl.DataFrame) -> None:
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=250,
        fmt_str_lengths=90,
        tbl_formatting="MARKDOWN",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        thousands_separator=True,
    ):
        print(table)
