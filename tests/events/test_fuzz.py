"""Fuzzed files: whatever they hold, an ingest ends with a log whose rows add up, or with one message."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.ingested import as_csv, mapped
from valuecast.errors import ValuecastError
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog

HEADER = ("user", "time", "kind", "amount", "count", "flag", "note")
GOOD: dict[str, list[str]] = {
    "user": [
        *(f"u{at}" for at in range(9)),
        *("0012", "王小明", "شيماء", "🛒🛒", "a b", "O'Neil", 'say "hi"', "a,b", "13085.0"),
    ],
    "time": [
        *("2011-01-05", "2011-02-28 10:30", "2011-03-01T23:59:59.999999Z"),
        *("2012-02-29", "2011-05-05T00:00:00+08:00"),
    ],
    "kind": ["0", "1", "2"],
    "amount": ["1", "2.50", "-3", " 4 ", "", "1e3", "+7", ".5"],
    "count": ["1", "2", "", "10"],
    "flag": ["true", "false", "", "TRUE"],
    "note": ["", "plain", "two\nlines", "商品", "x;y", "a|b", "tab\there"],
}
BAD: dict[str, list[str]] = {
    "user": ["", "  ", "\u3000", "\u202eabc", "\x01\x02", "x" * 5_000, "NULL", "\ufeffu1"],
    "time": [
        *("", "0000-00-00", "2011-02-29", "99999-01-01", "1899-12-31 23:59:59", "2011-01-01T25:00:00", "2011-13-01"),
        *("-1", "1e400", "NaN", "infinity", "epoch", "2011-01-01T00:00:00+99:00", "01/02/2011", "9" * 25),
        *("２０１１-01-01", "2011-01-01 00:00:00 America/New_York", "2011-W05", "1293840000", "-9223372036854775808"),
        *("2200-01-01", "290309-12-22", "0001-01-01 BC", "2011-01-01 00:00:00.123456789123", "now"),
    ],
    "kind": ["", "7", "purchase", "00", " 0"],
    "amount": [
        *("x", "NaN", "inf", "-Infinity", "1e309", "1e308", "-1e400"),
        *("1,5", "1_000", "0x10", "１２", "٣", "--1", "$5"),
    ],
    "count": ["x", "0", "-0", "9" * 400, "1e-400", "nan", "99999999999999999999"],
    "flag": ["maybe", "2", "null", "ja"],
    "note": [
        *('"', '""', '"open', "x" * 20_000, "\u202e", "\x7f\x1b[31m"),
        *("é" * 99, "'; drop table events; --", "\\", "{}"),
    ],
}
Rows = list[dict[str, str]]


def _rows(draw: random.Random, count: int) -> Rows:
    share = draw.choice([0.0, 0.02, 0.2])
    return [
        {name: draw.choice(BAD[name] if draw.random() < share else GOOD[name]) for name in HEADER} for _ in range(count)
    ]


# --- files -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A fuzzed file: its name, how a mapping must read it, and how many rows are in it where that is beyond doubt."""

    name: str
    reading: dict[str, Any]
    rows: int | None = None


def _damage(draw: random.Random, text: str) -> str:
    """Change a CSV text in one of the ways in which files are damaged."""
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    ways: list[Callable[[], str]] = [
        lambda: text.replace("\n", "\r\n"),
        lambda: "\n".join(line + ("\r" if draw.random() < 0.3 else "") for line in lines),
        lambda: text.replace("\n", "\r"),
        lambda: "\n".join([*lines[:at], lines[at] + '"', *lines[at + 1 :]]),
        lambda: "\n".join([*lines[:at], '"' + lines[at], *lines[at + 1 :]]),
        lambda: "\n".join([*lines[:at], lines[at] + ",more,cells", *lines[at + 1 :]]),
        lambda: "\n".join([*lines[:at], lines[at].partition(",")[0], *lines[at + 1 :]]),
        lambda: "\n".join([*lines[:at], "", "  ", "\r", *lines[at:]]),
        lambda: "\ufeff" + text,
        lambda: text[: draw.randrange(1, len(text))],
        lambda: text.replace(draw.choice(text), draw.choice(text)),
        lambda: "\n\n" + text,
        lambda: text + text,
        lambda: text.replace('"', "'"),
        lambda: text.replace(",", draw.choice(";\t|")),
    ]
    return draw.choice(ways)()


def _csv_file(draw: random.Random, folder: Path, count: int) -> Made:
    rows = [tuple(row.values()) for row in _rows(draw, count)]
    if draw.random() < 0.3:  # nothing to quote, so that every line is a row, however damaged
        rows = [tuple(cell.translate(dict.fromkeys(map(ord, '",\n;|\t'))) for cell in row) for row in rows]
    text = as_csv(HEADER, rows)
    damaged = draw.random() < 0.7
    for _ in range(draw.choice([1, 1, 3]) if damaged else 0):
        text = _damage(draw, text)
    encoding = draw.choice(["utf-8"] * 6 + ["gb18030", "utf-16", "latin-1", "utf-8-sig"])
    content = text.encode(encoding, errors="replace")
    if draw.random() < 0.1:
        at = draw.randrange(len(content))
        content = content[:at] + bytes([draw.choice([0, draw.randrange(256)])]) + content[at:]
    (folder / "s.csv").write_bytes(content)
    stated = encoding if draw.random() < 0.9 else "utf-8"
    reading: dict[str, Any] = {"path": "s.csv", "encoding": stated}
    if draw.random() < 0.1:
        reading["quote"] = ""
    if '"' not in text and damaged:
        count = sum(bool(line.rstrip("\r")) for line in text.removeprefix("\ufeff").split("\n")) - 1
    certain = '"' not in text or not (damaged or "quote" in reading)
    as_stated = stated == encoding and content == text.encode(encoding, errors="replace")
    return Made("s.csv", reading, count if certain and as_stated else None)


def _json_file(draw: random.Random, folder: Path, count: int) -> Made:
    odd = ["{oops", "[1, 2]", "null", '"text"', "7", "{}", '{"user": {"id": 1}}', '{"user": [1]}', '{"user": NaN}']
    odd += [
        '{"user": "\\ud800", "time": "2011-01-01"}',
        '{"user": "a\\u0000b", "time": "2011-01-01"}',
        '{"user": "a", "user": "b"}',
        '{"a": ' * 50 + "1" + "}" * 50,
    ]
    odd += ['{"user": "u1", "time": "2011-01-01", "amount": 1e999}', '{"user": 1.0, "time": 20110101, "amount": true}']
    share, lines = draw.choice([0.0, 0.05]), []
    for row in _rows(draw, count):
        given = {name: cell for name, cell in row.items() if cell or draw.random() < 0.5}
        lines.append(draw.choice(odd) if draw.random() < share else json.dumps(given, ensure_ascii=draw.random() < 0.5))
    text = "\n".join(["", *lines, "\r"]) if draw.random() < 0.2 else "\n".join(lines)
    (folder / "s.jsonl").write_text(text, encoding="utf-8", newline="")
    return Made("s.jsonl", {"path": "s.jsonl"}, count)


def _parquet_file(draw: random.Random, folder: Path, count: int) -> Made:
    rows = _rows(draw, count)
    frame = pl.DataFrame(rows, schema=dict.fromkeys(HEADER, pl.String))
    naive = [datetime(2011, 1, 1) + timedelta(hours=7 * at) for at in range(count)]
    floats = [draw.choice([1.0, -2.5, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, None]) for _ in rows]
    typed: dict[str, list[pl.Series]] = {
        "user": [
            pl.Series(floats, dtype=pl.Float64),
            pl.Series([draw.choice([0, -1, 2**63 - 1, None]) for _ in rows], dtype=pl.Int64),
            frame["user"].cast(pl.Categorical),
            pl.Series([None] * count, dtype=pl.Null),
            draw.choice([frame["user"].cast(pl.Binary), pl.Series([[1]] * count), pl.Series([True] * count)]),
        ],
        "time": [
            pl.Series(naive, dtype=pl.Datetime(draw.choice(["ms", "us", "ns"]))),
            pl.Series(naive, dtype=pl.Datetime("us")).dt.replace_time_zone("Asia/Shanghai"),
            pl.Series([draw.choice([date(1, 1, 1), date(9999, 12, 31), date(2011, 1, 1), None]) for _ in rows]),
            pl.Series([draw.choice([-(2**63) + 1, 2**63 - 1, 0]) for _ in rows]).cast(pl.Datetime("us")),
            pl.Series([clock(1)] * count) if draw.random() < 0.2 else pl.Series(range(count)),
        ],
        "amount": [
            pl.Series(floats, dtype=pl.Float64),
            pl.Series([Decimal("1.23")] * count),
            pl.Series([draw.choice([0, 255]) for _ in rows], dtype=pl.UInt8),
            pl.Series([True, *[None] * (count - 1)]),
            pl.Series([{"a": 1}] * count) if draw.random() < 0.2 else pl.Series([Decimal("-7")] * count),
        ],
        "flag": [pl.Series([draw.choice([True, False, None]) for _ in rows], dtype=pl.Boolean)],
        "count": [pl.Series([draw.choice([1, None, 2**40]) for _ in rows], dtype=pl.Int64)],
    }
    for name, choices in typed.items():
        if draw.random() < 0.4:
            frame = frame.with_columns(draw.choice(choices).alias(name))
    frame.write_parquet(folder / "s.parquet")
    return Made("s.parquet", {"path": "s.parquet"}, count)


# --- mappings ----------------------------------------------------------------------------------------------------

MAP = {"column": "kind", "map": {"0": "purchase", "1": "return", "2": "view"}}
SOURCES: list[dict[str, Any]] = [
    {},
    {"amount": "amount", "fields": ["count", "flag", "note"]},
    {"users": "drop", "event": MAP, "amount": "amount", "item": "note", "order": "count"},
    {"where": "amount > 0 and time < '2011-06-01'", "users": "drop"},
    {"where": "note like '%a%' or count != 2", "amount": {"sql": "amount * coalesce(count, 1)"}},
    {"event": {"sql": "case when amount < 0 then 'return' else 'purchase' end"}, "amount": {"sql": "amount / count"}},
    {"item": {"sql": "upper(left(note, 3)) || kind"}, "order": {"sql": "sqrt(amount)::VARCHAR"}},
    {"amount": {"sql": "note::DOUBLE"}, "item": {"sql": "split_part(note, ' ', 1)::DATE"}},
    {"time": {"column": "time", "zone": "Europe/London"}, "missing": ["NULL", "x"], "users": "drop"},
    {"time": {"column": "time", "format": "%Y-%m-%d"}, "fields": {"n": {"column": "count", "type": "number"}}},
    {"time": {"column": "amount", "unit": "s"}, "fields": {"yes": {"column": "flag", "type": "boolean"}}},
    {"user": {"sql": "trim(user)"}, "fields": {"k": MAP, "t": {"sql": "time"}, "one": {"constant": "1"}}},
    {"where": "flag", "fields": {"half": {"sql": "amount / 2", "type": "number"}}},
]
ITEMS = {"key": "note", "static": ["kind"]}
DATED = {"key": "user", "dated": ["kind", "flag"], "valid_from": "time"}


def _mapping(draw: random.Random, made: Made, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    top: dict[str, Any] = {"max_rejected": 1.0 if draw.random() < 0.9 else 0.05}
    if draw.random() < 0.3:
        top["span"] = {"from": "2011-01-10", "until": "2012-01-01"}
    for table, side in (("items", ITEMS), ("users", DATED)):
        if draw.random() < 0.2:
            rows = {row[side["key"]].strip(): row for row in _rows(draw, 50)}  # of one key there is one row
            (folder / f"{table}.csv").write_text(as_csv(HEADER, [tuple(row.values()) for row in rows.values()]))
            top[table] = {"path": f"{table}.csv"} | side
    if draw.random() < 0.05:
        top["items"] = made.reading | ITEMS
    if draw.random() < 0.2:
        top["privacy"] = {"key": "key", "drop": ["secret"]}
    return made.reading | draw.choice(SOURCES), top


# --- the promise -------------------------------------------------------------------------------------------------

MAKERS = [_csv_file, _csv_file, _csv_file, _json_file, _parquet_file]


def _fuzz(folder: Path, *, seed: int, count: int) -> str:
    """Make a file, ingest it, and check what is promised; return what came of it."""
    draw = random.Random(seed)
    made = draw.choice(MAKERS)(draw, folder, count)
    source, top = _mapping(draw, made, folder)
    try:
        mapping = mapped(folder, source, **top)
        summary = ingest(mapping, folder / "log")
    except ValuecastError as error:
        assert str(error)
        assert not (folder / "log/manifest.json").exists()
        return "refused"
    for account in summary.accounts:
        assert account.read == account.accepted + account.rejected + account.filtered + account.dropped, account
        assert 0 <= account.new <= account.accepted
        assert made.rows is None or account.table != "events" or account.read == made.rows, account
    rejected = pl.read_parquet(folder / "log/rejected.parquet")
    counted = sum(account.rejected for account in summary.accounts)
    assert rejected.height == counted == sum(reason.rows for reason in summary.reasons)
    assert rejected["reason"].null_count() == 0
    log = EventLog.read(folder / "log")
    events = log.collect(log.events)
    taken = sum(account.new for account in summary.accounts if account.table == "events")
    assert events.height == events["id"].n_unique() == taken == summary.events
    assert events.select("user", "time", "event").null_count().sum_horizontal().item() == 0
    assert events["amount"].is_finite().all()
    again = ingest(mapping, folder / "log")
    assert [account.new for account in again.accounts if account.table == "events"] == [0]
    assert EventLog.read(folder / "log").digest == log.digest
    return "taken"


@pytest.mark.parametrize("seed", range(15))
def test_a_fuzzed_file(tmp_path: Path, seed: int) -> None:
    _fuzz(tmp_path, seed=seed, count=100)


@pytest.mark.slow
def test_a_hundred_thousand_fuzzed_rows(tmp_path: Path) -> None:
    found = {"taken": 0, "refused": 0}
    for seed in range(1_000, 1_300):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            found[_fuzz(folder, seed=seed, count=700)] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert 700 * found["taken"] >= 100_000, found
