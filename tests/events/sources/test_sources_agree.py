"""The same rows from a file, a workbook or a database are the same log, byte for byte."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import xlsxwriter

from tests.events.conftest import Server
from tests.ingested import as_csv, write
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.source import Mapping

TYPES = {
    "text": "varchar",
    "time": "timestamp",
    "zoned": "timestamptz",
    "money": "decimal(12, 2)",
    "big": "bigint",
    "flag": "boolean",
    "count": "integer",
    "real": "double precision",
}
"""What the columns of the tables hold, and how a database declares it."""

COLUMNS = {
    "sales": {
        "customer id": "text",
        "time": "time",
        "kind": "text",
        "sku": "text",
        "amount": "money",
        "order": "big",
        "qty": "count",
        "flag": "flag",
        "note": "text",
        "score": "real",
    },
    "goods": {"sku": "text", "brand": "text", "price": "money"},
    "people": {"customer id": "text", "tier": "text", "since": "zoned"},
}
Rows = dict[str, list[tuple[Any, ...]]]


def shop() -> Rows:
    """A few hundred nasty rows, some of which cannot be taken."""
    draw = random.Random(7)
    users = ["00123", "123", "u 1", "O'Neil", "顾客😀", '"x"', "1e5", "12345678901234567890", None]
    notes = [
        *(
            'say "hi", and',
            "two\nlines",
            "and\r\nmore",
            "a\tb",
            "  wide ",
            "null",
            "#N/A",
            "=1+1",
            "商品；，",
            "é",
            "007",
            "1.0",
            "\\n",
        ),
        *("it's", "a;b|c", "", "", None),
    ]
    skus = ["00007", "7", "85123A", "9007199254740993", None]
    times = [datetime(2011, 3, 27), datetime(2011, 7, 1, 12), datetime(2010, 12, 31, 23, 59, 59, 999999)]
    times += [datetime(2011, 1, 1) + timedelta(microseconds=draw.randrange(10**13)) for _ in range(60)]
    times += [datetime(2011, 1, 1) + timedelta(milliseconds=draw.randrange(10**10)) for _ in range(60)]
    sales = [
        (
            draw.choice(users),
            draw.choice([*times, None]) if draw.random() < 0.1 else draw.choice(times),
            draw.choice(["buy", "buy", "buy", "back", "?"]),
            draw.choice(skus),
            draw.choice(
                [Decimal(draw.randrange(-(10**7), 10**7)).scaleb(-2), Decimal("-0.01"), Decimal("10.10"), None]
            ),
            draw.choice([2**63 - 1, -(2**63), 9007199254740993, 536365, None]),
            draw.choice([0, 1, 2, -3, None]),
            draw.choice([True, False, None]),
            draw.choice(notes),
            draw.choice([round(draw.gauss(0, 1e3), 6), 0.1, 1e14, -2.0, None]),
        )
        for _ in range(300)
    ]
    sales += draw.choices(sales, k=60)  # identical lines are real sales
    goods = [
        ("00007", "Ærø", Decimal("0.10")),
        ("7", None, Decimal("99999.99")),
        ("85123A", 'a "b"', None),
        (None, "x", None),
    ]
    zone = timezone(timedelta(hours=5, minutes=30))
    since = [datetime(2011, 1, day, 1, 2, 3, 456789, tzinfo=zone) for day in range(1, 9)]
    people = [(user, draw.choice(["gold", "银"]), at) for user in users for at in since if draw.random() < 0.5]
    return {"sales": sales, "goods": goods, "people": people}


def mapping(folder: Path, place: Callable[[str], dict[str, str]]) -> Mapping:
    """The one mapping of the shop, wherever its tables are."""
    sales = {
        "user": "customer id",
        "time": {"column": "time", "zone": "Europe/London"},
        "event": {"column": "kind", "map": {"buy": "purchase", "back": "return"}},
        "item": "sku",
        "amount": {"sql": "amount * 2"},
        "order": "order",
        "where": "qty > 0 or qty is null",
        "fields": {
            "flag": {},
            "note": {},
            "score": {},
            "qty": {},
            "price": "amount",
            "serial": {"column": "order", "type": "string"},
        },
    }
    data = {
        "source": [sales | place("sales")],
        "items": {"key": "sku", "static": ["brand", "price"]} | place("goods"),
        "users": {"key": "customer id", "dated": ["tier"], "valid_from": "since"} | place("people"),
        "span": {"until": "2012-01-01"},
        "max_rejected": 0.6,
    }
    return Mapping.parse(data, base=folder, where="shop")


def text(value: Any) -> str:
    """What a file of text holds."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def csv_files(folder: Path, rows: Rows) -> Mapping:
    for name, columns in COLUMNS.items():
        write(folder, as_csv(list(columns), [list(map(text, row)) for row in rows[name]]), f"{name}.csv")
    return mapping(folder, lambda name: {"path": f"{name}.csv"})


def workbook(folder: Path, rows: Rows) -> Mapping:
    """Excel keeps 15 digits of a number and milliseconds of a time: what has more is in cells of text."""
    with xlsxwriter.Workbook(folder / "shop.xlsx") as book:
        times = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
        for name, columns in COLUMNS.items():
            sheet = book.add_worksheet(name)
            for row, cells in enumerate([tuple(columns), *rows[name]]):
                for column, cell in enumerate(cells):
                    if isinstance(cell, datetime) and cell.tzinfo is None and cell.microsecond % 1000 == 0:
                        sheet.write_datetime(row, column, cell, times)
                    elif isinstance(cell, str | datetime) or (isinstance(cell, int) and abs(cell) >= 10**15):
                        sheet.write_string(row, column, str(cell))
                    elif cell is not None:
                        sheet.write(row, column, cell)
    return mapping(folder, lambda name: {"path": "shop.xlsx", "sheet": name})


def sqlite(folder: Path, rows: Rows) -> Mapping:
    """SQLite has neither times nor decimals: texts and floating-point numbers stand for them."""

    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, datetime) else float(value) if isinstance(value, Decimal) else value

    connection = sqlite3.connect(folder / "shop.sqlite")
    for name, columns in COLUMNS.items():
        connection.execute(create(name))
        marks = ", ".join("?" for _ in columns)
        connection.executemany(f"insert into {name} values ({marks})", [tuple(map(plain, row)) for row in rows[name]])
    connection.commit()
    connection.close()
    return mapping(folder, lambda name: {"database": "shop.sqlite", "table": name})


def create(name: str) -> str:
    declared = ", ".join(f'"{column}" {TYPES[kind]}' for column, kind in COLUMNS[name].items())
    return f"create table {name} ({declared})"


def insert(name: str, rows: Sequence[tuple[Any, ...]]) -> str:
    def literal(value: Any) -> str:
        if value is None or isinstance(value, bool | int | float | Decimal):
            return "null" if value is None else str(value)
        return "'" + str(value).replace("'", "''") + "'"

    return f"insert into {name} values " + ", ".join(f"({', '.join(map(literal, row))})" for row in rows)


def duck(folder: Path, rows: Rows) -> Mapping:
    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        for name in COLUMNS:
            connection.execute(create(name))
            connection.execute(insert(name, rows[name]))
    return mapping(folder, lambda name: {"database": "shop.duckdb", "table": name})


def parquet(folder: Path, rows: Rows) -> Mapping:
    duck(folder, rows)
    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        for name in COLUMNS:
            connection.execute(f"copy {name} to '{folder / name}.parquet'")
    return mapping(folder, lambda name: {"path": f"{name}.parquet"})


def postgres(folder: Path, rows: Rows, server: Server) -> Mapping:
    for name in COLUMNS:
        server.run(f"drop table if exists {name}", create(name), insert(name, rows[name]))
    return mapping(folder, lambda name: {"database": server.url, "table": name})


WRITERS: dict[str, Callable[..., Mapping]] = {
    "workbook": workbook,
    "sqlite": sqlite,
    "duckdb": duck,
    "parquet": parquet,
    "postgresql": postgres,
}


def outcome(mapping: Mapping, out: Path) -> dict[str, Any]:
    """Everything that must not depend on where the rows were."""
    summary = ingest(mapping, out)
    accounts = [asdict(account) | {"source": ""} for account in summary.accounts]
    for account in accounts:
        assert account["read"] == sum(account[name] for name in ("accepted", "rejected", "filtered", "dropped"))
    parts = {path.name: path.read_bytes() for path in out.glob("*-*.parquet")}
    assert sorted(name.partition("-")[0] for name in parts) == ["events", "items", "users"]
    rejected = pl.read_parquet(out / "rejected.parquet").drop("source", "file")
    return {
        "accounts": accounts,
        "rejected": rejected.sort(pl.all(), nulls_last=True).rows(),
        "digest": EventLog.read(out).digest,
    } | parts


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_rows_are_the_same_log(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name == "workbook" and find_spec("fastexcel") is None:
        pytest.skip('it needs: pip install "valuecast[excel]"')
    more = [request.getfixturevalue("server")] if name == "postgresql" else []
    rows = shop()
    expected = outcome(csv_files(tmp_path, rows), tmp_path / "csv")
    assert expected["accounts"][0]["read"] == 360
    assert min(expected["accounts"][0][key] for key in ("accepted", "rejected", "filtered")) > 30
    found = outcome(WRITERS[name](tmp_path, rows, *more), tmp_path / "found")
    for key, value in expected.items():
        assert found[key] == value, key


def test_a_log_built_in_pieces_from_several_sources_is_the_log_built_at_once(tmp_path: Path) -> None:
    rows = shop()
    whole = outcome(csv_files(tmp_path, rows), tmp_path / "whole")
    for at, writer in enumerate((sqlite, duck, csv_files)):
        piece = tmp_path / str(at)
        piece.mkdir()
        some = {
            "sales": rows["sales"][: 120 * (at + 1)],
            "goods": rows["goods"],
            "people": rows["people"][: 10 * (at + 1)],
        }
        ingest(writer(piece, rows if at == 2 else some), tmp_path / "pieces")
    assert EventLog.read(tmp_path / "pieces").digest == whole["digest"]
