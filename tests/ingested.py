"""Files for tests of ingest."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from valuecast.events.ingest import ingest
from valuecast.events.intake.summary import Summary
from valuecast.events.log import EventLog
from valuecast.events.source import Mapping

BASIC: dict[str, Any] = {"path": "s.csv", "user": "user", "time": "time"}


def write(folder: Path, text: str | bytes, name: str = "s.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def as_csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def mapped(folder: Path, *sources: dict[str, Any], **top: Any) -> Mapping:
    """A mapping whose sources are ``BASIC`` with changes; no row may be rejected unless ``top`` says so.

    A change to None leaves a key out.
    """
    changed = [BASIC | source for source in sources or ({},)]
    given = [{key: value for key, value in source.items() if value is not None} for source in changed]
    data = {"source": given, "max_rejected": 0.0} | top
    return Mapping.parse(data, base=folder, where="m.toml")


def run(folder: Path, *sources: dict[str, Any], out: str = "log", **top: Any) -> tuple[Summary, EventLog, pl.DataFrame]:
    """Ingest, and return the summary, the log, and its events in order of time and user."""
    summary = ingest(mapped(folder, *sources, **top), folder / out)
    log = EventLog.read(folder / out)
    return summary, log, log.collect(log.events).sort("time", "user", "id")


def rejected(folder: Path, out: str = "log") -> list[tuple[int | None, str | None, str | None, str]]:
    frame = pl.read_parquet(folder / out / "rejected.parquet").sort("row", nulls_last=True)
    return frame.select("row", "column", "value", "reason").rows()
