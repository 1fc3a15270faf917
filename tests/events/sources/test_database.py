"""Tables and queries: what a database knows stays, what it does not is checked, and no password is ever shown."""

from __future__ import annotations

import json
import sqlite3
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from tests.commands import done, refused, valuecast
from tests.events.conftest import PASSWORD, Server
from tests.ingested import mapped, rejected, run, write
from valuecast.errors import MissingExtraError, SourceError, ValuecastError
from valuecast.events.log import EventLog
from valuecast.events.sources import address

SALES = {"path": None, "table": "sales", "amount": "amount"}
COLUMNS = '"user" text, "time" text, amount numeric'
ROWS = "('u1', '2011-01-05', 1.5), ('u2', '2011-01-06 10:00:00', -2)"


def lite(folder: Path, *statements: str, name: str = "shop.sqlite") -> dict[str, Any]:
    """Write a SQLite database, and return a source."""
    connection = sqlite3.connect(folder / name)
    for statement in statements or (f"create table sales ({COLUMNS})", f"insert into sales values {ROWS}"):
        connection.execute(statement)
    connection.commit()
    connection.close()
    return SALES | {"database": name}


def duck(folder: Path, *statements: str, name: str = "shop.duckdb") -> dict[str, Any]:
    """Write a DuckDB database, and return a source."""
    with duckdb.connect(str(folder / name)) as connection:
        for statement in statements or (f"create table sales ({COLUMNS})", f"insert into sales values {ROWS}"):
            connection.execute(statement)
    return SALES | {"database": name}


# --- SQLite ------------------------------------------------------------------------------------------------------


def test_any_cell_of_sqlite_can_hold_anything(tmp_path: Path) -> None:
    source = lite(
        tmp_path,
        'create table sales ("user", time text, amount real, item integer, flag boolean)',
        "insert into sales values (13085.0, '2011-01-05', 1e15, 12345678901234567, 1)",
        "insert into sales values ('00123', '2011-01-05', 'x', 7, 0)",
        "insert into sales values (x'ff00', '2011-01-05', 2, 8, null), (2.5, '2011-01-05', x'01', 'A7', 2)",
        "insert into sales values (9, '2011-01-05', 3, cast(x'e4' as text), 1), ('u', 20110105, '4', 1.0, 0)",
    )
    _, log, events = run(tmp_path, source | {"item": "item", "fields": ["flag"]}, max_rejected=1)
    events = events.sort("amount")
    assert events.select("user", "amount", "item").rows() == [("13085", 1e15, "12345678901234567")]
    bad = "bytes that are no text"
    assert rejected(tmp_path) == [
        (2, "amount", "x", "not a number"),
        (3, "user", "x'ff00'", bad),
        (4, "amount", "x'01'", bad),
        (5, "item", "x'e4'", bad),
        (6, "time", "20110105", "not a time in the column's format, ISO 8601 (mixed time formats?)"),
    ]
    assert log.schema == {"flag": "string"}  # one of its cells is 2
    _, log, events = run(tmp_path, source | {"fields": ["flag"], "where": "flag != '2'"}, out="two", max_rejected=1)
    assert log.schema == {"flag": "string"}
    assert events["flag"].to_list() == ["true", "true"]


def test_what_sqlite_declares_a_boolean_is_one(tmp_path: Path) -> None:
    source = lite(
        tmp_path,
        'create table sales ("user" text, time text, amount real, flag BOOLEAN, n integer)',
        "insert into sales values ('u1', '2011-01-05', 1, 1, 1), ('u2', '2011-01-05', 1, 0, 0)",
        "create view v as select * from sales",
    )
    fields = {"fields": ["flag", "n"]}
    for at, change in enumerate(({}, {"table": "v"}, {"table": None, "query": "select * from sales"})):
        _, log, _ = run(tmp_path, source | fields | change, out=str(at))
        assert log.schema == {"flag": "boolean", "n": "number"}


# --- DuckDB ------------------------------------------------------------------------------------------------------


def test_duckdb_keeps_its_types(tmp_path: Path) -> None:
    source = duck(
        tmp_path,
        "create schema crm",
        """create table crm.sales as select 13085 as "user", timestamptz '2011-01-05 10:00:00+02' as time,
           1.1::decimal(10, 2) as amount, uuid '00000000-0000-0000-0000-000000000007' as "order",
           'a'::enum('a', 'b') as kind, true as flag, 170141183460469231731687303715884105727::hugeint as item,
           ['x'] as list, '{"a": 1}'::json as note""",
    )
    full = source | {"table": "crm.sales", "order": "order", "item": "item", "fields": ["kind", "flag", "note"]}
    _, log, events = run(tmp_path, full)
    assert log.schema == {"kind": "string", "flag": "boolean", "note": "string"}
    assert events.drop("id", "bucket", "event").rows() == [
        (
            "13085",
            datetime(2011, 1, 5, 8),
            "170141183460469231731687303715884105727",
            1.1,
            "00000000-0000-0000-0000-000000000007",
            "a",
            True,
            '{"a": 1}',
        )
    ]
    with pytest.raises(SourceError, match=r"column 'list' holds VARCHAR\[\]"):
        run(tmp_path, source | {"table": "crm.sales", "item": "list"}, out="other")


def test_a_query_reads_the_files_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "order,customer,day\n1,007,2011-01-05\n2,008,2011-01-06\n", "orders.csv")
    write(tmp_path, "order,sku,price\n1,a,1.5\n1,b,2\n2,a,3\n", "lines.csv")
    query = """
        select customer as "user", day as time, sku as item, price as amount
        from read_csv('orders.csv', all_varchar = true) join read_csv('lines.csv', all_varchar = true) using ("order");
    """
    source = {"path": None, "database": ".", "query": query, "item": "item", "amount": "amount"}
    summary, _, events = run(tmp_path, source)
    assert summary.accounts[0].source.endswith(": query")
    assert events.select("user", "item", "amount").sort("amount").rows() == [
        ("007", "a", 1.5),
        ("007", "b", 2.0),
        ("008", "a", 3.0),
    ]


def test_a_database_that_somebody_writes_to(tmp_path: Path) -> None:
    source = duck(tmp_path)
    with duckdb.connect(str(tmp_path / "shop.duckdb")), pytest.raises(SourceError, match="cannot be opened"):
        run(tmp_path, source)


# --- PostgreSQL --------------------------------------------------------------------------------------------------

TYPED = (
    "drop table if exists typed",
    "drop type if exists mood",
    "create type mood as enum ('ok', 'bad')",
    """create table typed ("user" bigint, at timestamptz, amount numeric, id uuid, mood mood, flag boolean,
       code char(5), paid money, tags text[], day date, exact numeric(30, 9), raw bytea, float real)""",
    """insert into typed values
       (9223372036854775807, '2011-01-05 10:00:00.123456+02', 19.99, '00000000-0000-0000-0000-000000000007', 'ok',
        true, 'ab', 12.3, '{a}', '2011-01-05', 12345678901234567890.123456789, 'x', 0.5),
       (2, '2011-01-06 00:00+00', 'NaN', null, null, null, null, null, null, null, null, null, null),
       (3, 'infinity', 1, null, null, null, null, null, null, null, null, null, null)""",
)


def test_postgresql_keeps_its_types(tmp_path: Path, server: Server) -> None:
    server.run(*TYPED)
    source = {"path": None, "database": server.url, "table": "typed", "time": "at", "amount": "amount", "order": "id"}
    fields = ["mood", "flag", "code", "paid", "day", "float"]
    _, log, events = run(tmp_path, source | {"item": "exact", "fields": fields}, max_rejected=0.7)
    assert log.schema == dict.fromkeys(fields, "string") | {"flag": "boolean", "float": "number"}
    assert events.drop("id", "bucket", "event").rows() == [
        (
            "9223372036854775807",
            datetime(2011, 1, 5, 8, microsecond=123456),
            "12345678901234567890.123456789",
            19.99,
            "00000000-0000-0000-0000-000000000007",
            *("ok", True, "ab", "$12.30", "2011-01-05", 0.5),
        )
    ]
    assert [(row, column, reason) for row, column, _, reason in rejected(tmp_path)] == [
        (2, "amount", "not a number"),
        (3, "at", "a time outside 1900 to 2200"),
    ]
    with pytest.raises(SourceError, match=r"column 'tags' holds VARCHAR\[\]"):
        run(tmp_path, source | {"item": "tags"}, out="tags")
    with pytest.raises(SourceError, match="column 'raw' holds BLOB"):
        run(tmp_path, source | {"item": "raw"}, out="raw")


def test_events_items_and_users_of_one_server(tmp_path: Path, server: Server) -> None:
    server.run(
        "drop schema if exists crm cascade",
        "drop table if exists sales",
        "create schema crm",
        f"create table sales ({COLUMNS}, item int)",
        "insert into sales values ('u1', '2011-01-05', 1.5, 7), ('u2', '2011-01-06 10:00:00', -2, 8)",
        'create table crm."Goods" (item int, brand text)',
        """insert into crm."Goods" values (7, 'A'), (8, 'B')""",
    )
    there = {"path": None, "database": server.url}
    items = {"database": server.url, "table": "crm.Goods", "key": "item", "static": ["brand"]}
    query = """select "user" as id, max(amount) as largest, min("time")::date as since from sales group by 1 -- all"""
    users = {"database": server.url, "query": query, "key": "id", "dated": ["largest"], "valid_from": "since"}
    source = there | {"table": "public.sales", "amount": "amount", "item": "item"}
    summary, log, _ = run(tmp_path, source, items=items, users=users)
    assert log.items is not None
    assert sorted(log.collect(log.items.table).rows()) == [("7", "A"), ("8", "B")]
    assert log.users is not None
    assert sorted(log.collect(log.users.table).rows()) == [
        ("u1", datetime(2011, 1, 5), 1.5),
        ("u2", datetime(2011, 1, 6), -2.0),
    ]
    assert [each.source for each in summary.accounts] == [
        "postgres: public.sales",
        "postgres: crm.Goods",
        "postgres: query",
    ]


def test_a_query_cannot_write(tmp_path: Path, server: Server) -> None:
    server.run("drop table if exists kept", "create table kept (a int)", "insert into kept values (1)")
    writing = (
        "with gone as (delete from kept returning a) select * from gone",
        "delete from kept",
        "select 1); drop table kept; select (1",
    )
    for query in writing:
        with pytest.raises(SourceError):
            run(tmp_path, {"path": None, "database": server.url, "query": query})
    assert run_one(server, tmp_path, "select a::text as \"user\", '2011-01-05' as time from kept").height == 1
    source = lite(tmp_path)
    before = (tmp_path / "shop.sqlite").read_bytes()
    with pytest.raises(SourceError):
        run(tmp_path, source | {"table": None, "query": "delete from sales returning *"})
    assert (tmp_path / "shop.sqlite").read_bytes() == before


def run_one(server: Server, folder: Path, query: str) -> pl.DataFrame:
    return run(folder, {"path": None, "database": server.url, "query": query})[2]


def test_a_query_that_fails_on_the_way(tmp_path: Path, server: Server) -> None:
    failing = "select n::text as \"user\", '2011-01-05' as time, 1 / (3000 - n) as a from generate_series(1, 5000) s(n)"
    source = {"path": None, "database": server.url, "query": failing, "amount": "a"}
    with pytest.raises(SourceError, match="division by zero"):
        run(tmp_path, source)
    assert not (tmp_path / "log").exists()


# --- passwords ---------------------------------------------------------------------------------------------------


def test_a_password_comes_from_outside_and_is_shown_nowhere(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.run("drop table if exists sales", f"create table sales ({COLUMNS})", f"insert into sales values {ROWS}")
    server.run("insert into sales values (null, '2011-01-05', 1)")
    monkeypatch.delenv("PGPASSWORD")
    sales = {"path": None, "table": "sales", "amount": "amount", "database": server.url}
    with pytest.raises(SourceError, match=r"cannot connect: .*no password supplied"):
        run(tmp_path, sales)
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    inside = server.url.replace("shop@", "shop:${SHOP_PASSWORD}@")
    encoded = server.url.replace("shop@", "shop:s3cret%2Fword%40home@")
    monkeypatch.setenv("DATABASE_URL", encoded)
    for url in (inside, "${DATABASE_URL}"):
        summary, log, _ = run(tmp_path, sales | {"database": url}, out="log", max_rejected=0.5)
        assert (summary.accounts[0].read, summary.accounts[0].rejected) == (3, 1)
    passfile = write(tmp_path, f"127.0.0.1:{server.port}:*:shop:{PASSWORD.replace(':', chr(92) + ':')}\n", ".pgpass")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    _, again, _ = run(tmp_path, sales, max_rejected=0.5)
    assert again.digest == log.digest
    kept = "".join(path.read_bytes().decode("latin-1") for path in (tmp_path / "log").iterdir())
    kept += str(pl.read_parquet(tmp_path / "log/rejected.parquet").to_dicts())
    assert "127.0.0.1" in kept
    for secret in (PASSWORD, "s3cret"):
        assert secret not in kept
    told = valuecast(
        *("ingest", inside, "--table", "sales", "--user", "user", "--time", "time", "--out", tmp_path / "other"),
        *("--max-rejected", "0.5"),
    )
    assert told.code == 0
    assert "s3cret" not in told.out + told.err


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:s3cret@127.0.0.1:1/postgres",
        "postgres://shop:s3c@ret/s3cret@127.0.0.1/postgres",
        "postgresql://shop@127.0.0.1/postgres?sslmode=require&password=s3cret",
        "postgresql://:s3cret@/",
    ],
)
def test_a_password_in_a_mapping_or_on_the_command_line_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValuecastError, match="a password in the URL") as caught:
        mapped(tmp_path, {"path": None, "database": url, "table": "sales"})
    assert "PGPASSWORD" in str(caught.value)
    flags = ("--user", "user", "--time", "time", "--table", "sales")
    said = [str(caught.value), refused("ingest", url, "--out", tmp_path / "log", *flags)]
    said.append(refused("ingest", url, "--out", tmp_path / "log"))
    assert not any("s3c" in each for each in said)


def test_a_password_that_is_wrong_or_breaks_the_url_is_not_shown(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    source = {"path": None, "table": "sales", "database": "${DATABASE_URL}"}
    for bad in (
        server.url.replace("shop@", "shop:s3c@"),
        server.url.replace("shop@", "shop:s3c ret@"),
        server.url.replace("shop@", "shop:s3c%zz@"),
        "mysql://shop:s3c@127.0.0.1/x",
        "/nowhere/s3c",
    ):
        monkeypatch.setenv("DATABASE_URL", bad)
        with pytest.raises(SourceError) as caught:
            run(tmp_path, source)
        assert "${DATABASE_URL}" in str(caught.value)
        assert "s3c" not in str(caught.value)
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(SourceError, match="the environment has no variable DATABASE_URL"):
        run(tmp_path, source)


def test_what_a_variable_becomes_in_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P", "a/b@c")
    assert address.expanded("postgresql://u:${P}@h/d") == ("postgresql://u:a%2Fb%40c@h/d", ["a%2Fb%40c", "a/b@c"])
    assert address.expanded("shop.duckdb") == ("shop.duckdb", [])
    assert address.name("postgresql://u@h:5432/shop?sslmode=require") == "shop"
    assert not address.is_database("sales.csv")


# --- bad input: one message each ---------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no such file": ({"database": "shop.sqlit"}, ["no such file", "Did you mean 'shop.sqlite'"]),
    "no such table": ({"table": "sale"}, ["no table 'sale'", "Did you mean 'sales'"]),
    "neither": ({"table": None}, ["no table and no query", "--table", "Tables: sales"]),
    "both": ({"query": "select 1"}, ["table and query given"]),
    "path too": ({"path": "s.csv"}, ["path and database given"]),
    "nowhere": ({"database": None}, ["no 'path'", "database"]),
    "no such column": ({"user": "usr"}, ["no column 'usr' in", "shop.sqlite: sales", "Did you mean 'user'"]),
    "a bad query": ({"table": None, "query": "selec 1"}, ["shop.sqlite", 'near "1": syntax error']),
    "an unknown column": ({"table": None, "query": "select x from sales"}, ["no such column: x"]),
    "a key of files": ({"encoding": "latin-1"}, ["'encoding' has no meaning for a database"]),
    "a table of a file": ({"database": None, "path": "s.csv"}, ["'table' has no meaning for CSV"]),
    "a file of rows": ({"database": "s.csv"}, ["s.csv", "no database that can be read"]),
    "a path": (
        {"database": None, "table": None, "path": "shop.sqlite"},
        ["this is a database", 'database = "shop.sqlite"'],
    ),
    "another server": ({"database": "mysql://me@host/x"}, ["no database that can be read", "postgresql://"]),
    "no server": ({"database": "postgresql://me@127.0.0.1:1/x"}, ["cannot connect", "127.0.0.1"]),
    "a folder has no tables": ({"database": "."}, ["no table 'sales'", "none"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message(tmp_path: Path, case: str) -> None:
    change, said = BAD[case]
    if (change.get("database") or "").startswith("postgresql"):
        pytest.importorskip("adbc_driver_postgresql")
    write(tmp_path, "user,time\nu1,2011-01-05\n")
    with pytest.raises(ValuecastError) as caught:
        run(tmp_path, lite(tmp_path) | change)
    for part in said:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_tables_and_queries_of_duckdb_and_postgresql(tmp_path: Path, server: Server) -> None:
    server.run("drop table if exists sales", f"create table sales ({COLUMNS})")
    for source in (duck(tmp_path), SALES | {"database": server.url}):
        with pytest.raises(SourceError, match=r"no table 'salse'.*Did you mean 'sales'"):
            run(tmp_path, source | {"table": "salse"})
        with pytest.raises(SourceError, match='syntax error at or near "1"') as caught:
            run(tmp_path, source | {"table": None, "query": "selec 1"})
        assert "\n" not in str(caught.value)
    double = {"table": None, "database": server.url, "query": 'select a."user", b."user" from sales a, sales b'}
    with pytest.raises(SourceError, match="two columns are called 'user'"):
        run(tmp_path, SALES | double)


def test_the_package_that_connects_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(MissingExtraError, match=r'pip install "valuecast\[postgres\]"'):
        run(tmp_path, SALES | {"database": "postgresql://me@host/x"})


# --- append, and the command line --------------------------------------------------------------------------------


def test_a_table_that_grew_adds_only_its_new_rows(tmp_path: Path, server: Server) -> None:
    twice, more = "('u1', '2011-01-05', 1.5), ('u1', '2011-01-05', 1.5)", "('u2', '2011-01-06', 2)"
    create = f"create table sales ({COLUMNS})"
    server.run("drop table if exists sales", create)
    places: dict[str, Any] = {
        "sqlite": (lite(tmp_path, create), lambda row: lite(tmp_path, row)),
        "duckdb": (duck(tmp_path, create), lambda row: duck(tmp_path, row)),
        "postgres": (SALES | {"database": server.url}, server.run),
    }
    span = {"until": "2012-01-01"}
    digests = set()
    for name, (source, execute) in places.items():
        for rows, new in ((twice, 2), (more, 1)):
            execute(f"insert into sales values {rows}")
            summary, log, _ = run(tmp_path, source, out=name, span=span)
            assert summary.accounts[0].new == new
        assert run(tmp_path, source, out=name, span=span)[0].accounts[0].new == 0
        _, whole, _ = run(tmp_path, source, out=f"{name} whole", span=span)
        digests |= {log.digest, whole.digest}
    assert len(digests) == 1


def test_a_query_may_ask_for_the_newest_rows_only(tmp_path: Path) -> None:
    source = lite(tmp_path)
    for day, new in (("<= '2011-01-05'", 1), ("> '2011-01-05'", 1), ("> '2011'", 0)):
        summary, _, _ = run(tmp_path, source | {"table": None, "query": f"select * from sales where time {day}"})
        assert summary.accounts[0].new == new


def test_flags(tmp_path: Path, server: Server) -> None:
    server.run("drop table if exists sales", f"create table sales ({COLUMNS})", f"insert into sales values {ROWS}")
    lite(tmp_path)
    duck(tmp_path)
    flags = ("--user", "user", "--time", "time", "--amount", "amount", "--until", "2012-01-01", "--out")
    digests = set()
    for at, place in enumerate((tmp_path / "shop.sqlite", tmp_path / "shop.duckdb", server.url)):
        for how in (("--table", "sales"), ("--query", "select * from sales")):
            out = tmp_path / f"{at}{how[0]}"
            done("ingest", place, *how, *flags, out)
            digests.add(EventLog.read(out).digest)
        assert "sales" in refused("ingest", place, *flags, tmp_path / "none").partition("Tables: ")[2]
    assert len(digests) == 1
    manifest = json.loads((tmp_path / "0--table/manifest.json").read_text())
    assert "shop.sqlite: sales" in str(manifest)
