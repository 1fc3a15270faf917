"""From a shop's files to labels and features: how long it takes, how much memory, and against hand-written SQL.

For each size a synthetic shop is made (``valuecast simulate``). Then its log, the labels of ``churn(days=90,
active=180)`` at 12 cutoffs and the features of everyone asked about are made twice, by valuecast and by the statements
in ``benchmarks/sql/``, each in a process of its own (on Linux, which says how much memory it took), with the same
threads and the same limit to the engine's memory. The statements check no row and serve this one shop; they are what
somebody would write who knows it. Both results are compared, value by value. Seconds are without the start of Python
and its imports.

Run it with ``python benchmarks/data.py [--events N ...] [--stage ingest|labels|features ...] [--keep FOLDER]``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import polars as pl

from valuecast.events import engine
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.source import Mapping
from valuecast.features.compute import learn, stream
from valuecast.moments import moment
from valuecast.tasks import parse
from valuecast.tasks.labels import labels

HERE = Path(__file__).parent
TASK = "churn(days=90, active=180)"
WINDOWS = {"7d": 7, "30d": 30, "90d": 90, "180d": 180, "365d": 365, "all": None}
STAGES = ("ingest", "labels", "features")
CLOSE = 1e-9


# the two sides: each stage reads what valuecast made in the stage before, and says for how long it worked


def by_valuecast(stage: str, folder: Path) -> float:
    warm_up()
    begun = time.perf_counter()
    if stage == "ingest":
        ingest(Mapping.read(folder / "shop" / "sources.toml"), folder / "log")
        return time.perf_counter() - begun
    log = EventLog.read(folder / "log")
    if stage == "labels":
        labels(parse(TASK), log, cutoffs(log)).write_parquet(folder / "labels.parquet")
        return time.perf_counter() - begun
    keys = pl.read_parquet(folder / "labels.parquet")
    out = folder / "features"
    out.mkdir()
    learned = learn(log.before(cutoffs(log)[0]))
    for number, part in enumerate(stream(learned, log, keys)):
        part.write_parquet(out / f"{number:05}.parquet")
    return time.perf_counter() - begun


def warm_up() -> None:
    """Import what is imported on first use: it takes a second, of a log of any size."""
    log = EventLog.from_frame({"user": ["u"], "time": [moment("2024-01-01")]}, until="2025-01-01")
    labels(parse(TASK), log, [moment("2024-02-01")])


def by_sql(stage: str, folder: Path) -> float:
    log = EventLog.read(folder / "log")
    at = cutoffs(log)
    events = next((folder / "log").glob("events-*.parquet"))
    known = {"log": events, "cutoffs": at, "files": folder / "shop" / "events-*.parquet"}
    known |= {"since": log.span.start, "until": log.span.until, "labels": folder / "labels.parquet"}
    known |= {name: folder / "shop" / f"{name}.parquet" for name in ("items", "users")}
    statements = []
    if stage == "features":
        learned = learn(log.before(at[0]))  # which values have columns; it took a few passes more on our side
        known["events"], known["windows"] = learned.events, WINDOWS
        named = {"categories": learned.categories, "codes": learned.user_codes}
        for name, vocabularies in named.items():
            known[name] = {each.column.partition(".")[2]: each.values for each in vocabularies}
        (folder / "features-sql").mkdir()
        for number, moment in enumerate(at):
            out = folder / "features-sql" / f"{number:05}.parquet"
            statements.append(statement(stage, known | {"at": moment, "out": out}))
    else:
        statements.append(statement(stage, known | {"out": folder / f"{stage}-sql.parquet"}))
    connection = duckdb.connect()
    engine.prepare(connection, spill=folder / "spill")
    begun = time.perf_counter()
    for each in statements:
        connection.execute(each)
    return time.perf_counter() - begun


def cutoffs(log: EventLog) -> list[datetime]:
    """Twelve, 15 days apart, the last with its whole horizon in the log."""
    return [log.span.until - timedelta(days=90 + 15 * back) for back in range(11, -1, -1)]


def statement(stage: str, known: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "sql"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(f"{stage}.sql").render(known)


# that both made the same


def differences(stage: str, folder: Path) -> str:
    """Say in how many values two results differ, beyond rounding, and in which columns."""
    if stage == "ingest":
        ours, theirs = f"{folder}/log/events-*.parquet", f"{folder}/ingest-sql.parquet"
        key = ["id"]
    else:
        end = "/*.parquet" if stage == "features" else ".parquet"
        ours, theirs = f"{folder}/{stage}{end}", f"{folder}/{stage}-sql{end}"
        key = ["user", "at"]
    connection = duckdb.connect()
    engine.prepare(connection)
    columns = connection.sql(f"describe from read_parquet('{ours}')").fetchall()
    theirs_columns = [name for name, *_ in connection.sql(f"describe from read_parquet('{theirs}')").fetchall()]
    if sorted(name for name, *_ in columns) != sorted(theirs_columns):
        return f"columns differ: {sorted({name for name, *_ in columns} ^ set(theirs_columns))}"
    tests = []
    for name, kind, *_ in columns:
        a, b = f'a."{name}"', f'b."{name}"'
        unlike = f"{a} is distinct from {b}"
        if kind == "DOUBLE":
            unlike = f"({a} is null) != ({b} is null) or abs({a} - {b}) > {CLOSE} * greatest(1, abs({a}), abs({b}))"
        tests.append(f"count(*) filter ({unlike})")
    using = ", ".join(f'"{name}"' for name in key)
    rows = [
        count
        for path in (ours, theirs)
        for (count,) in connection.sql(f"select count(*) from read_parquet('{path}')").fetchall()
    ]
    joined = f"read_parquet('{ours}') a join read_parquet('{theirs}') b using ({using})"
    ((both, *found),) = connection.sql(f"select count(*), {', '.join(tests)} from {joined}").fetchall()
    if rows != [both, both]:
        return f"rows differ: {rows[0]:,} and {rows[1]:,}, {both:,} in common"
    apart = {name: count for (name, *_), count in zip(columns, found, strict=True) if count}
    return f"{both:,} rows x {len(columns)} columns agree" if not apart else f"values differ: {apart}"


# measuring


def measured(side: str, stage: str, folder: Path, asked: argparse.Namespace) -> dict[str, float] | None:
    """Run one side of a stage in a process of its own: its seconds, and its peak memory in GB; None where it failed."""
    limits = {"VALUECAST_MEMORY": asked.memory, "VALUECAST_THREADS": str(asked.threads), "TMPDIR": str(folder)}
    limits["POLARS_MAX_THREADS"] = str(asked.threads)
    command = [sys.executable, __file__, "--child", side, stage, str(folder)]
    done = subprocess.run(command, env=os.environ | limits, check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"{side}, {stage}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(side: str, stage: str, folder: Path) -> None:
    seconds = {"valuecast": by_valuecast, "sql": by_sql}[side](stage, folder)
    print(json.dumps({"seconds": seconds, "memory": peak()}))


def peak() -> float:
    """Peak memory of this process in GB. ``getrusage`` would begin with that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


def run(events: int, folder: Path, asked: argparse.Namespace) -> None:
    subprocess.run(
        [sys.executable, "-m", "valuecast", "simulate", folder / "shop", "--events", str(events)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    last = max(STAGES.index(stage) for stage in asked.stage)
    for stage in STAGES[: last + 1]:
        if stage not in asked.stage:
            by_valuecast(stage, folder)
            continue
        sides = [measured(side, stage, folder, asked) for side in ("valuecast", "sql")]
        cells = [f"{side['seconds']:,.1f} | {side['memory']:.2f}" if side else "failed | " for side in sides]
        ours, theirs = sides
        ratio = f"{ours['seconds'] / theirs['seconds']:.2f}" if ours and theirs else ""
        same = differences(stage, folder) if ours and theirs else ""
        print(f"| {events:,} | {stage} | {' | '.join(cells)} | {ratio} | {same} |", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--stage", choices=STAGES, nargs="+", default=STAGES)
    parser.add_argument("--memory", default="8GB", help="budget of both sides, of which engines get three fifths")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="an empty folder for what is made; else it is thrown away")
    asked = parser.parse_args()
    print("| events | stage | seconds | GB at the peak | SQL, seconds | SQL, GB | ratio | results |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for events in asked.events:
        with tempfile.TemporaryDirectory() as made:
            folder = (asked.keep or Path(made)) / str(events)
            folder.mkdir(parents=True)
            run(events, folder, asked)


if __name__ == "__main__":
    main()
