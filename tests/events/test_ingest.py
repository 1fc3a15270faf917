"""Ingest: every row is accounted for, nothing is coerced, and each bad input is one message."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingested import as_csv, mapped, rejected, run, write
from valuecast.errors import ConfigError, SourceError
from valuecast.events import engine
from valuecast.events.ingest import ingest
from valuecast.events.intake.summary import Account
from valuecast.events.log import EventLog

# --- properties over dirty files ---------------------------------------------------------------------------------

HEADER = ("user", "time", "type", "amount", "qty", "note")
GOOD = ("u0", "2011-01-01", "0", "1", "1", "")
DIRTY = {
    "source": {
        "path": "s.csv",
        "user": "user",
        "time": {"column": "time", "format": "%Y-%m-%d", "zone": "UTC"},
        "event": {"column": "type", "map": {"0": "purchase", "1": "return"}},
        "amount": {"sql": "amount * 2"},
        "item": "note",
        "where": "qty > 0",
    },
    "span": {"until": "2012-01-01"},
}
dirty_rows = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "00123", "", "  "]),
        st.sampled_from(["2011-01-05", "2011-01-06", "2011-02-30", "junk", "", "2012-01-01"]),
        st.sampled_from(["0", "1", "1", "7", ""]),
        st.sampled_from(["1", "2.5", " 3 ", "", "x", "inf", "nan", "1,5"]),
        st.sampled_from(["1", "2", "2", "0", "", "x"]),
        st.sampled_from(["", "a,b", 'say "hi"', "two\nlines", "商品"]),
        st.sampled_from(["", "", "", "short", "long"]),
    ),
    max_size=12,
)


def _outcome(row: tuple[str, ...], *, users: str) -> tuple[str, str]:
    """What is promised for a row: an outcome, and for a rejected one the column at fault. The first rule decides."""
    user, time, kind, amount, qty, _, torn = row
    rules = [
        (torn != "", ("rejected", "")),
        (qty == "x", ("rejected", "qty")),
        (qty in ("", "0"), ("filtered", "")),
        (not user.strip(), ("dropped", "") if users == "drop" else ("rejected", "user")),
        (time in ("", "junk", "2011-02-30"), ("rejected", "time")),
        (time == "2012-01-01", ("filtered", "")),
        (kind in ("7", ""), ("rejected", "type")),
        (amount in ("x", "inf", "nan", "1,5"), ("rejected", "amount")),
    ]
    return next((outcome for applies, outcome in rules if applies), ("accepted", ""))


def _torn(row: tuple[str, ...]) -> tuple[str, ...]:
    *cells, torn = row
    if torn == "short":
        return tuple(cells[:4])
    return (*cells, "more") if torn == "long" else tuple(cells)


@settings(deadline=None, max_examples=15)
@given(dirty_rows, st.sampled_from(["drop", "require"]))
def test_every_row_is_accounted_for_and_a_second_time_adds_nothing(rows: list[tuple[str, ...]], users: str) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, as_csv(HEADER, [GOOD, *map(_torn, rows)]))
        mapping = mapped(folder, DIRTY["source"] | {"users": users}, span=DIRTY["span"], max_rejected=1.0)
        summary = ingest(mapping, folder / "log")
        (account,) = summary.accounts

        outcomes = [_outcome(row, users=users) for row in rows]
        counts = Counter(outcome for outcome, _ in outcomes)
        assert account.read == len(rows) + 1
        assert account.read == account.accepted + account.rejected + account.filtered + account.dropped
        assert account.accepted == account.new == counts["accepted"] + 1
        assert account.rejected == counts["rejected"] == sum(reason.rows for reason in summary.reasons)
        assert (account.filtered, account.dropped) == (counts["filtered"], counts["dropped"])

        found = [(row, column) for row, column, *_ in rejected(folder)]
        expected = [
            (at, column or None) for at, (outcome, column) in enumerate(outcomes, start=2) if outcome == "rejected"
        ]
        assert found == expected

        log = EventLog.read(folder / "log")
        events = log.collect(log.events)
        kept = [row for row, (outcome, _) in zip(rows, outcomes, strict=True) if outcome == "accepted"]
        assert Counter(events.select("user", "item", "amount").rows()) == Counter(
            (user, note or None, float(amount) * 2 if amount else None)
            for user, _, _, amount, _, note, _ in [(*GOOD, ""), *kept]
        )

        again = ingest(mapping, folder / "log")
        assert again.accounts == (Account(**{**account.__dict__, "new": 0}),)
        assert EventLog.read(folder / "log").fingerprint == log.fingerprint


clean_rows = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2"]),
        st.sampled_from(["2011-01-05", "2011-01-06 10:30:00"]),
        st.sampled_from(["1", ""]),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=6)
@given(clean_rows, clean_rows)
def test_a_file_that_grew_adds_only_its_new_rows(first: list[tuple[str, ...]], more: list[tuple[str, ...]]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = {"amount": "amount", "time": {"column": "time", "zone": "UTC"}}
        for text, out in ((first, "log"), (first + more, "log"), (more + first, "other")):
            write(folder, as_csv(("user", "time", "amount"), text))
            _, log, events = run(folder, source, out=out, span={"until": "2012-01-01"})
            assert events.height == len(text)  # identical lines are real sales: they stay
        assert log.digest == EventLog.read(folder / "log").digest


# --- formats -----------------------------------------------------------------------------------------------------


def test_csv_gzip_json_lines_and_parquet_of_the_same_rows_are_the_same_log(tmp_path: Path) -> None:
    header = ("user", "time", "amount", "code", "big", "flag", "note")
    rows = [
        ("00123", "2011-01-05T10:00:00+02:00", "1.50", "007", "1.25", "true", 'say "hi", and\nbye'),
        ("u2", "2011-01-05T08:00:00Z", "", "010", "3", "false", ""),
        ("u2", "2011-01-06 00:00:00.123456Z", "-2", "", "", "", "商品"),
    ]
    text = as_csv(header, rows)
    write(tmp_path, text)
    write(tmp_path, gzip.compress(text.encode()), "s.csv.gz")
    write(tmp_path, text.replace("\n", "\r\n").replace("and\r\n", "and\n").encode("utf-8-sig"), "bom.csv")
    write(tmp_path, text.encode("gb18030"), "gb.csv")
    write(tmp_path, text.encode("utf-16"), "utf16.csv")
    objects = [{name: cell for name, cell in zip(header, row, strict=True) if cell} for row in rows]
    for each in objects:
        each["amount"] = float(each["amount"]) if "amount" in each else None  # type: ignore[assignment]
        each["flag"] = json.loads(each.get("flag", "null"))
    write(tmp_path, "\n\n".join(json.dumps(each) for each in objects), "s.jsonl")
    typed = pl.DataFrame(rows, schema=header, orient="row").with_columns(
        pl.col("amount", "big").replace("", None).cast(pl.Float64),
        pl.col("flag").replace_strict({"true": True, "false": False, "": None}, return_dtype=pl.Boolean),
        pl.col("time").str.to_datetime(time_zone="UTC"),
    )
    typed.write_parquet(tmp_path / "s.parquet")
    pl.DataFrame(rows, schema=header, orient="row").write_parquet(tmp_path / "text.parquet")
    changes = {"amount": "amount", "item": "code", "fields": ["big", "flag", "note"]}
    encodings = {"gb.csv": "gb18030", "utf16.csv": "utf-16"}
    digests = {}
    for name in ("s.csv", "s.csv.gz", "bom.csv", "gb.csv", "utf16.csv", "s.jsonl", "s.parquet", "text.parquet"):
        encoding = {"encoding": encodings[name]} if name in encodings else {}
        _, log, events = run(tmp_path, changes | {"path": name} | encoding, out=name + ".log")
        digests[name] = log.digest
    assert set(digests.values()) == {digests["s.csv"]}
    assert log.schema == {"big": "number", "flag": "boolean", "note": "string"}
    assert events["time"].to_list() == [
        datetime(2011, 1, 5, 8),
        datetime(2011, 1, 5, 8),
        datetime(2011, 1, 6, microsecond=123456),
    ]
    assert events["item"].to_list() == ["007", "010", None]
    assert events["user"].to_list() == ["00123", "u2", "u2"]


def test_numbers_as_names_lose_their_point_and_texts_keep_their_zeros(tmp_path: Path) -> None:
    day = datetime(2011, 1, 1)
    frame = pl.DataFrame({"user": [13085.0, float("nan"), 12.5], "time": [day] * 3, "item": [1, 2, 3]})
    frame.write_parquet(tmp_path / "s.parquet")
    summary, _, events = run(tmp_path, {"path": "s.parquet", "item": "item", "users": "drop"})
    assert events["user"].to_list() == ["12.5", "13085"]
    assert events["item"].to_list() == ["3", "1"]
    assert summary.accounts[0].dropped == 1


def test_several_files_of_one_pattern_and_several_sources(tmp_path: Path) -> None:
    write(tmp_path, "user,time,amount\nu1,2011-01-01,1\nu1,2011-01-01,1\n", "2011-01.csv")
    write(tmp_path, "time,user,amount,extra\n2011-02-01,u2,x,9\n2011-02-01,u3,3,9\n", "2011-02.csv")
    write(tmp_path, "who;when;page\nu1;03/01/2011;home\nu1;13/01/2011;cart\n", "clicks.csv")
    clicks = {"path": "clicks.csv", "user": "who", "time": "when", "event": "view", "fields": ["page"]}
    sales = {"path": "2011-*.csv", "amount": "amount", "fields": {"price": "amount"}}
    summary, log, events = run(tmp_path, sales, clicks, max_rejected=0.5)
    assert [(each.source, each.read, each.rejected) for each in summary.accounts] == [
        ("2011-*.csv", 4, 1),
        ("clicks.csv", 2, 0),
    ]
    assert log.schema == {"price": "string", "page": "string"}
    assert events["event"].to_list() == ["purchase", "purchase", "view", "view", "purchase"]
    frame = pl.read_parquet(tmp_path / "log/rejected.parquet")
    assert Path(frame["file"].item()).name == "2011-02.csv"
    assert frame["row"].item() == 1


def test_a_row_of_two_overlapping_sources_is_taken_once(tmp_path: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-01-01\nu1,2011-01-02\nu1,2011-01-02\n", "a.csv")
    write(tmp_path, "user,time\nu1,2011-01-02\nu1,2011-01-02\nu1,2011-01-03\n", "b.csv")
    summary, _, events = run(tmp_path, {"path": "a.csv"}, {"path": "b.csv"})
    assert events.height == 4
    assert [(each.new, each.known) for each in summary.accounts] == [(3, 0), (1, 2)]


# --- what a cell means -------------------------------------------------------------------------------------------


def test_expressions_see_types_and_mapped_columns_the_text(tmp_path: Path) -> None:
    rows = [
        ("01", "13/01/2011 10:00", "2", "1.5", "x"),
        ("02", "14/01/2011 10:00", "3", "2", "y"),
        ("03", "01/02/2011 10:00", "1", "1", "z"),
    ]
    write(tmp_path, as_csv(("user", "time", "qty", "price", "code"), rows))
    source = {
        "where": "time < '2011-02-01' and Price >= 1.5 and user != '03'",
        "amount": {"sql": "qty * price"},
        "item": {"sql": "upper(code) || '-' || user"},
        "order": {"sql": "strftime(time, '%j')"},
    }
    summary, _, events = run(tmp_path, source)
    assert events.select("user", "amount", "item", "order").rows() == [
        ("01", 3.0, "X-01", "013"),
        ("02", 6.0, "Y-02", "014"),
    ]
    assert summary.accounts[0].filtered == 1


def test_an_expression_that_fails_on_a_row_rejects_that_row(tmp_path: Path) -> None:
    write(tmp_path, "user,time,a,b\nu1,2011-01-01,5|6,2\nu2,2011-01-01,x|y,2\nu3,2011-01-01,7|8,\n")
    second = "split_part(a, '|', 2)::DOUBLE"  # shared: the engine must not compute it once, outside both
    source = {"amount": {"sql": f"{second} * b"}, "item": {"sql": f"({second} + 1)::INTEGER"}}
    summary, _, events = run(tmp_path, source, max_rejected=0.5)
    assert events.select("user", "amount", "item").rows() == [("u1", 12.0, "7"), ("u3", None, "9")]
    assert rejected(tmp_path) == [(2, "a, b", "a=x|y, b=2", "cannot be computed")]
    assert summary.reasons[0].rows == 1


def test_where_keeps_a_row_whose_unreadable_cell_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path, "user,time,price,kind\nu1,2011-01-01,3,a\nu2,2011-01-01,oops,b\nu3,2011-01-01,oops,a\n")
    summary, _, events = run(tmp_path, {"where": "price > 1 or kind = 'b'"}, max_rejected=0.5)
    assert events["user"].to_list() == ["u1", "u2"]
    assert rejected(tmp_path) == [(3, "price", "oops", "not a number")]
    assert summary.accounts[0].filtered == 0


def test_placeholders_can_be_declared_missing(tmp_path: Path) -> None:
    write(tmp_path, "user,time,amount\nu1,2011-01-01,NA\nNULL,2011-01-01,1\n")
    summary, _, events = run(tmp_path, {"amount": "amount", "missing": ["NA", "NULL"], "users": "drop"})
    assert events["amount"].to_list() == [None]
    assert summary.accounts[0].dropped == 1


def test_a_field_with_some_texts_is_text_and_the_summary_says_so(tmp_path: Path) -> None:
    lines = [f"u,2011-01-01,{at},{at:05},{at}" for at in range(30)]
    write(tmp_path, "\n".join(["user,time,size,zip,n", *lines, "u,2011-01-01,XL,00099,31"]))
    summary, log, _ = run(tmp_path, {"fields": ["size", "zip", "n"]})
    assert log.schema == {"size": "string", "zip": "string", "n": "number"}
    assert any("'size' is text" in note and "'XL'" in note for note in summary.notes)
    stated = {"fields": {"size": {"type": "number"}, "zip": {"type": "number"}}}
    summary, log, _ = run(tmp_path, stated, out="stated", max_rejected=0.1)
    assert log.schema == {"size": "number", "zip": "number"}
    assert rejected(tmp_path, "stated") == [(31, "size", "XL", "not a number")]


# --- times -------------------------------------------------------------------------------------------------------

LONDON = {"column": "time", "zone": "Europe/London"}


@pytest.mark.parametrize(
    ("cell", "time", "expected"),
    [
        ("2011-07-01 12:00", LONDON, datetime(2011, 7, 1, 11)),
        ("2011-07-01T12:00:00+08:00", LONDON, datetime(2011, 7, 1, 4)),
        ("13/07/2011 12:00", LONDON, datetime(2011, 7, 13, 11)),
        ("2011年9月10日", {"column": "time", "zone": "Asia/Shanghai"}, datetime(2011, 9, 9, 16)),
        ("20110910", {"column": "time", "format": "%Y%m%d", "zone": "UTC"}, datetime(2011, 9, 10)),
        ("1315612800", {"column": "time", "unit": "s"}, datetime(2011, 9, 10)),
        ("1315612800123", {"column": "time", "unit": "ms"}, datetime(2011, 9, 10, 0, 0, 0, 123000)),
        (
            "10/Sep/2011:00:30:00 +0200",
            {"column": "time", "format": "%d/%b/%Y:%H:%M:%S %z"},
            datetime(2011, 9, 9, 22, 30),
        ),
    ],
)
def test_every_time_becomes_utc(tmp_path: Path, cell: str, time: dict[str, str], expected: datetime) -> None:
    write(tmp_path, f"user,time\nu1,{cell}\n")
    summary, _, events = run(tmp_path, {"time": time})
    assert events["time"].to_list() == [expected]
    assert not any("taken as UTC" in note for note in summary.notes)


def test_an_assumed_zone_and_an_unstated_span_are_told(tmp_path: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-07-01 12:00\n")
    summary, log, _ = run(tmp_path)
    assert any("'time' carry no zone and are taken as UTC" in note for note in summary.notes)
    assert any("nobody stated until when" in note for note in summary.notes)
    assert log.span.until == datetime(2011, 7, 1, 12) + timedelta(microseconds=1)
    assert not log.span.stated


def test_a_time_with_a_zone_in_parquet(tmp_path: Path) -> None:
    moment = datetime(2011, 7, 1, 12, tzinfo=timezone(timedelta(hours=8))).astimezone(UTC)
    pl.DataFrame({"user": ["u"], "time": [moment]}).write_parquet(tmp_path / "s.parquet")
    _, _, events = run(tmp_path, {"path": "s.parquet"})
    assert events["time"].to_list() == [datetime(2011, 7, 1, 4)]
    with pytest.raises(SourceError, match="a zone already"):
        run(tmp_path, {"path": "s.parquet", "time": LONDON}, out="other")


def test_a_day_above_twelve_far_down_the_file_settles_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valuecast.events.cells.SAMPLE", 10)  # so that the sample misses the line that decides
    lines = ["u,01/02/2011"] * 53 + ["u,13/02/2011"] + ["u,01/02/2011"] * 50
    write(tmp_path, "\n".join(["user,time", *lines]))
    _, _, events = run(tmp_path)
    assert events["time"].max() == datetime(2011, 2, 13)


# --- items and users ---------------------------------------------------------------------------------------------


def test_items_and_users_keep_what_is_declared(tmp_path: Path) -> None:
    write(tmp_path, "user,time,item\nu1,2011-01-01,7\n")
    write(tmp_path, "item_code;brand;rating\n7;A;5\n7;A;4\n8;B;x\n;C;1\n", "items.csv")
    write(tmp_path, "id,tier,since\nu1,gold,20110201\nu1,silver,20110101\nu2,gold,later\n", "users.csv")
    sides = {
        "items": {"path": "items.csv", "key": "item_code", "static": ["brand"]},
        "users": {
            "path": "users.csv",
            "key": "id",
            "dated": ["tier"],
            "valid_from": {"column": "since", "format": "%Y%m%d"},
        },
    }
    summary, log, _ = run(tmp_path, {"item": "item"}, max_rejected=0.5, **sides)
    assert log.schema == {"items.brand": "string", "users.tier": "string"}
    assert log.items is not None
    assert sorted(log.collect(log.items.table).rows()) == [("7", "A"), ("8", "B")]
    assert log.users is not None
    before = log.before("2011-01-15").users
    assert before is not None
    assert log.collect(before.table).rows() == [("u1", datetime(2011, 1, 1), "silver")]
    assert [(each.table, each.read, each.accepted, each.rejected) for each in summary.accounts] == [
        ("events", 1, 1, 0),
        ("items", 4, 3, 1),
        ("users", 3, 2, 1),
    ]
    assert any("may know the future: rating" in note for note in summary.notes)


def test_two_rows_of_an_item_that_disagree(tmp_path: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-01-01\n")
    write(tmp_path, "item,brand\n7,A\n7,B\n", "items.csv")
    with pytest.raises(SourceError, match=r"items.csv: two rows for 7 disagree"):
        run(tmp_path, items={"path": "items.csv", "key": "item", "static": ["brand"]})


# --- bad input: one message each ---------------------------------------------------------------------------------

LINES = "user,time,amount\n" + "".join(f"u{at},2011-01-{at % 28 + 1:02},{at}\n" for at in range(100))
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
BAD: dict[str, tuple[str | bytes, str, dict[str, Any], list[str]]] = {
    "no such file": ("", "t.csv", {}, ["s.csv", "no such file", "Did you mean 't.csv'?"]),
    "no such column": (LINES, "s.csv", {"amount": "amuont"}, ["no column 'amuont'", "s.csv", "Did you mean 'amount'?"]),
    "no such column in where": (LINES, "s.csv", {"where": "x > 1"}, ["where, character 1", "no column 'x'", "amount"]),
    "a folder": (LINES, "s.csv", {"path": "."}, ["this is a folder", "/*.csv"]),
    "an image": (PNG, "s.csv", {}, ["s.csv", "this is a PNG image"]),
    "a binary file": (b"abc\x00\x01\x02", "s.csv", {}, ["s.csv", "binary file (byte 4 is zero)"]),
    "a workbook": (b"PK\x03\x04", "s.xlsx", {"path": "s.xlsx"}, ["s.xlsx", "not readable as a workbook"]),
    "not parquet": (b"user,time\n" * 9, "s.parquet", {"path": "s.parquet"}, ["s.parquet", "not a Parquet file"]),
    "gzip cut short": (gzip.compress(LINES.encode())[:-9], "s.csv.gz", {"path": "s.csv.gz"}, ["damaged gzip"]),
    "an empty file": ("", "s.csv", {}, ["s.csv", "the file is empty"]),
    "only a header": ("user,time\n", "s.csv", {}, ["s.csv", "no rows"]),
    "no rows left": (
        LINES,
        "s.csv",
        {"where": "amount::INT > 1000"},
        ["no events: 100 rows read, 0 rows rejected, 100 rows filtered"],
    ),
    "not UTF-8": ("user,time\n商,2011-01-01\n".encode("gb18030"), "s.csv", {}, ["byte 11 is not utf-8", "gb18030"]),
    "no such encoding": (LINES, "s.csv", {"encoding": "gb"}, ["no encoding 'gb'"]),
    "UTF-16": (LINES.encode("utf-16"), "s.csv", {}, ['encoding = "utf-16"']),
    "two columns of a name": ("user,time,user\na,b,c\n", "s.csv", {}, ["two columns are called 'user'"]),
    "a JSON array": ('[{"user": 1}]', "s.json", {"path": "s.json"}, ["one JSON array", "one object per line"]),
    "a CSV option for Parquet": (
        LINES,
        "s.jsonl",
        {"path": "s.jsonl", "skip": 1},
        ["'skip' has no meaning for JSON lines"],
    ),
    "a where that is no condition": (LINES, "s.csv", {"where": "amount + 1"}, ["is not true or false"]),
    "an unknown function": (LINES, "s.csv", {"amount": {"sql": "doubled(amount)"}}, ["amount", "doubled"]),
    "a text used as a number": (LINES, "s.csv", {"amount": {"sql": "user * 2"}}, ["column 'user' is used as a number"]),
    "times without a unit": ("user,time\nu,1315612800\n", "s.csv", {}, ["column 'time'", "'1315612800'", 'unit = "s"']),
    "an ambiguous day": ("user,time\nu,01/02/2011\n", "s.csv", {}, ["2011-02-01 (%d/%m/%Y) or 2011-01-02", "format"]),
    "no times at all": ("user,time\nu,soon\n", "s.csv", {}, ["column 'time'", "'soon'", "no known format"]),
    "no such format": (LINES, "s.csv", {"time": {"column": "time", "format": "%Q"}}, ["format '%Q'", "strptime"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message(tmp_path: Path, case: str) -> None:
    content, name, source, said = BAD[case]
    write(tmp_path, content, name)
    with pytest.raises(SourceError) as caught:
        run(tmp_path, source)
    for part in said:
        assert part in str(caught.value)
    assert not list(tmp_path.glob("log/*.json"))  # no log was made


def test_one_user_is_fine(tmp_path: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-01-01\n")
    assert run(tmp_path)[0].users == 1


def test_thirty_percent_unreadable(tmp_path: Path) -> None:
    lines = [f"u{at},2011-01-01,{'n/a' if at % 10 < 3 else at}" for at in range(100)]
    write(tmp_path, "\n".join(["user,time,price", *lines]))
    with pytest.raises(SourceError) as caught:
        run(tmp_path, {"amount": {"sql": "price * 2"}}, max_rejected=0.05)
    for part in (
        "s.csv, column 'price'",
        "30.0% of 100 rows",
        "not a number",
        "'n/a'",
        "missing = [...]",
        "rejected.parquet",
    ):
        assert part in str(caught.value)
    assert len(rejected(tmp_path)) == 30
    assert not (tmp_path / "log/manifest.json").exists()


def test_mixed_time_formats(tmp_path: Path) -> None:
    lines = [f"u{at},{'13/01/2011' if at % 5 == 0 else '2011-01-13'}" for at in range(100)]
    write(tmp_path, "\n".join(["user,time", *lines]))
    with pytest.raises(SourceError) as caught:
        run(tmp_path, max_rejected=0.05)
    for part in ("column 'time'", "ISO 8601", "mixed time formats", "'13/01/2011'", "20.0%"):
        assert part in str(caught.value)


def test_users_missing_without_a_policy(tmp_path: Path) -> None:
    write(tmp_path, LINES + ",2011-01-01,1\n" * 25)
    with pytest.raises(SourceError) as caught:
        run(tmp_path, max_rejected=0.05)
    for part in ("column 'user'", "no user", 'users = "drop"'):
        assert part in str(caught.value)


def test_a_quote_that_is_never_closed_swallows_nothing_unseen(tmp_path: Path) -> None:
    lines = [f"u{at},2011-01-01,{at}" for at in range(1000)]
    lines[500] = 'u500,2011-01-01,"500'
    write(tmp_path, "\n".join(["user,time,amount", *lines]) + "\n")
    with pytest.raises(SourceError, match="quote"):
        run(tmp_path, {"amount": "amount"}, max_rejected=0.05)
    frame = pl.read_parquet(tmp_path / "log/rejected.parquet")
    assert frame.height == 500
    assert frame["row"].min() == 501
    _, _, events = run(tmp_path, {"amount": "amount", "quote": ""}, out="bare", max_rejected=0.05)
    assert events.height == 999


def test_a_line_of_json_that_is_none(tmp_path: Path) -> None:
    lines = [
        '{"user": "u1", "time": "2011-01-01"}',
        "{oops",
        "",
        '["u2", 1]',
        '{"user": "u3", "time": "2011-01-01", "rare": 1}',
    ]
    write(tmp_path, "\n".join(lines), "s.jsonl")
    _, _, events = run(tmp_path, {"path": "s.jsonl", "fields": ["rare"]}, max_rejected=0.5)
    assert events["user"].to_list() == ["u1", "u3"]
    assert [(row, reason) for row, _, _, reason in rejected(tmp_path)] == [
        (2, "not a JSON object"),
        (3, "not a JSON object"),
    ]


@pytest.mark.slow
def test_a_file_larger_than_the_memory_of_the_engine_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb.sql(
        f"""
        copy (
            select 'u' || (i * 7919 % 100000) as "user",
                timestamp '2011-01-01' + to_seconds(i * 104729 % 30000000) as time,
                repeat('long text ', 10) || i as note from range(4000000) r(i)
        ) to '{tmp_path / "s.csv"}'
        """
    )
    monkeypatch.setenv("VALUECAST_THREADS", "2")
    monkeypatch.setenv("VALUECAST_MEMORY", "5MB")
    with pytest.raises(ConfigError, match=r"VALUECAST_MEMORY: the engine ran out of memory"):
        ingest(mapped(tmp_path, {"fields": ["note"]}), tmp_path / "log")
    assert not (tmp_path / "log").exists()
    monkeypatch.setenv("VALUECAST_MEMORY", "800MB")
    summary = ingest(mapped(tmp_path, {"fields": ["note"]}), tmp_path / "log")
    assert summary.events == 4_000_000
    assert (tmp_path / "s.csv").stat().st_size > engine.ENGINE_SHARE * 800_000_000
