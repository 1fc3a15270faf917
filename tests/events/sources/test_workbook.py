"""Sheets: a cell means what it would mean in a CSV file, and a failed formula is told apart."""

from __future__ import annotations

import sys
import zipfile
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from tests.commands import done, refused
from tests.ingested import as_csv, rejected, run, write
from valuecast.errors import MissingExtraError, SourceError
from valuecast.events.log import EventLog

pytestmark = pytest.mark.skipif(find_spec("fastexcel") is None, reason='it needs: pip install "valuecast[excel]"')

HEADER = ("user", "time", "amount")


def workbook(path: Path, sheets: dict[str, list[tuple[Any, ...]]]) -> Path:
    """Write a workbook. A text that begins with = is a formula that fails with what follows."""
    with xlsxwriter.Workbook(path) as book:
        formats = {
            date: book.add_format({"num_format": "d mmm yy"}),
            datetime: book.add_format({"num_format": "dd/mm/yyyy hh:mm"}),
        }
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for row, cells in enumerate(rows):
                for column, cell in enumerate(cells):
                    if isinstance(cell, str) and cell.startswith("="):
                        sheet.write_formula(row, column, "=1/0", None, cell[1:])
                    elif isinstance(cell, str):
                        sheet.write_string(row, column, cell)
                    elif cell is not None:
                        sheet.write(row, column, cell, formats.get(type(cell)))
    return path


def sheet(folder: Path, *rows: tuple[Any, ...], name: str = "s.xlsx") -> Path:
    return workbook(folder / name, {"Sales": [HEADER, *rows]})


BARE = {"path": "s.xlsx"}
SOURCE = {"path": "s.xlsx", "amount": "amount"}


def test_cells_are_what_they_would_be_in_a_csv_file(tmp_path: Path) -> None:
    header = ("user", "time", "amount", "item", "flag", "note")
    rows: list[tuple[Any, ...]] = [
        (536365, datetime(2011, 1, 5, 10), 12.34, "00123", True, 'say "hi",\nbye'),
        (2.5, date(2011, 1, 6), -0.1, 85048, False, "  商品 "),
        ("u3", "2011-01-07 00:00:00.123456", None, "85123A", None, None),
    ]
    workbook(tmp_path / "s.xlsx", {"Sales": [header, *rows]})
    texts = [
        ("536365", "2011-01-05 10:00", "12.34", "00123", "true", 'say "hi",\nbye'),
        ("2.5", "2011-01-06", "-0.1", "85048", "false", "  商品 "),
        ("u3", "2011-01-07 00:00:00.123456", "", "85123A", "", ""),
    ]
    write(tmp_path, as_csv(header, texts))
    changes = {"amount": "amount", "item": "item", "fields": ["flag", "note"]}
    _, log, events = run(tmp_path, changes | {"path": "s.xlsx"})
    _, plain, _ = run(tmp_path, changes, out="csv")
    assert log.digest == plain.digest
    assert log.schema == {"flag": "boolean", "note": "string"}
    assert events["user"].to_list() == ["536365", "2.5", "u3"]
    assert events["item"].to_list() == ["00123", "85048", "85123A"]
    assert events["time"][2] == datetime(2011, 1, 7, microsecond=123456)


def test_a_failed_formula_rejects_its_row_if_it_is_needed(tmp_path: Path) -> None:
    day = date(2011, 1, 5)
    rows = [(*HEADER, "note"), ("u1", day, 1, "=#REF!"), ("u2", day, "=#DIV/0!", ""), ("=#N/A", day, 2, "")]
    workbook(tmp_path / "s.xlsx", {"Sales": rows})
    _, _, events = run(tmp_path, SOURCE, max_rejected=1)
    assert events["user"].to_list() == ["u1"]  # nobody needs its note
    reason = "an error in the workbook"
    assert rejected(tmp_path) == [(2, "amount", "#DIV/0!", reason), (3, "user", "#N/A", reason)]
    computed = {"path": "s.xlsx", "amount": {"sql": "coalesce(amount, 0) * 2"}}
    _, _, events = run(tmp_path, computed, out="computed", max_rejected=1)
    assert events["amount"].to_list() == [2.0]
    assert rejected(tmp_path, "computed") == [(2, "amount", "#DIV/0!", reason), (3, "user", "#N/A", reason)]
    # such a cell does not make a column of numbers one of texts
    _, log, _ = run(tmp_path, {"path": "s.xlsx", "fields": {"size": "amount"}}, out="field", max_rejected=1)
    assert log.schema == {"size": "number"}


def test_an_error_can_be_declared_missing(tmp_path: Path) -> None:
    sheet(tmp_path, ("u1", date(2011, 1, 5), "=#N/A"), ("u2", date(2011, 1, 5), "=#NAME?"))
    summary, _, events = run(tmp_path, SOURCE | {"missing": ["#N/A"]}, max_rejected=0.5)
    assert events.select("user", "amount").rows() == [("u1", None)]
    assert [(each.read, each.accepted, each.rejected) for each in summary.accounts] == [(2, 1, 1)]


def test_where_can_leave_errors_out(tmp_path: Path) -> None:
    sheet(tmp_path, ("u1", date(2011, 1, 5), 1), ("u2", date(2011, 1, 5), "=#N/A"))
    summary, _, _ = run(tmp_path, SOURCE | {"where": "user != 'u2'"})
    assert (summary.accounts[0].accepted, summary.accounts[0].filtered) == (1, 1)


def test_rows_above_and_between_and_columns_beside(tmp_path: Path) -> None:
    day = date(2011, 1, 5)
    rows: list[tuple[Any, ...]] = [
        (None, "Sales of our shop"),
        (),
        (None, "user", "time", None, " amount "),
        (None, "u1", day, "x", 1),
        (),
        (None, "u2", "soon", "x", 2),
        (None, "", "", "", ""),
        (None, "u3", day, "x", 3, None, "a remark"),
        (None, "u4", day, "x", "=#VALUE!"),
    ]
    workbook(tmp_path / "s.xlsx", {"Sales": rows})
    summary, _, events = run(tmp_path, SOURCE | {"skip": 2, "fields": ["column3"]}, max_rejected=0.5)
    assert events.select("user", "amount", "column3").rows() == [("u1", 1.0, "x"), ("u3", 3.0, "x")]
    assert (summary.accounts[0].read, summary.accounts[0].rejected) == (4, 2)
    # rows are counted below the header, without the empty ones
    assert [each[:3] for each in rejected(tmp_path)] == [(2, "time", "soon"), (4, "amount", "#VALUE!")]
    workbook(tmp_path / "s.xlsx", {"Sales": [("u1", day, 1), ("u2", day, 2)]})
    bare = {"path": "s.xlsx", "header": False, "names": ["user", "time", "amount"]}
    assert run(tmp_path, bare, out="bare")[2]["user"].to_list() == ["u1", "u2"]


def test_a_sheet_is_named_where_there_are_several(tmp_path: Path) -> None:
    day = date(2011, 1, 5)
    path = workbook(tmp_path / "s.xlsx", {"Sales": [HEADER, ("u1", day, 1)], "Old": [HEADER, ("u2", day, 2)]})
    with pytest.raises(SourceError, match=r"2 sheets. Say which one: .*Sales, Old"):
        run(tmp_path, SOURCE)
    with pytest.raises(SourceError, match=r"no sheet 'sales'. Did you mean 'Sales'"):
        run(tmp_path, SOURCE | {"sheet": "sales"})
    summary, _, events = run(tmp_path, SOURCE | {"sheet": "Old"}, SOURCE | {"sheet": "Sales"})
    assert sorted(events["user"]) == ["u1", "u2"]
    assert [each.source for each in summary.accounts] == ["s.xlsx: Old", "s.xlsx: Sales"]
    flags = ("ingest", path, "--user", "user", "--time", "time", "--out", tmp_path / "flags")
    assert "--sheet" in refused(*flags)
    done(*flags, "--sheet", "Old")
    assert EventLog.read(tmp_path / "flags").digest == run(tmp_path, BARE | {"sheet": "Old"}, out="old")[1].digest


def test_a_longer_export_adds_only_its_new_rows(tmp_path: Path) -> None:
    rows = [("u1", datetime(2011, 1, 5, 10), 1.5), ("u1", datetime(2011, 1, 5, 10), 1.5), ("u2", date(2011, 1, 6), 2)]
    span = {"until": "2012-01-01"}
    for more, new in ((rows[:1], 1), (rows[:2], 1), (rows, 1), (rows, 0)):
        sheet(tmp_path, *more)
        summary, log, _ = run(tmp_path, SOURCE, span=span)
        assert summary.accounts[0].new == new
    _, whole, _ = run(tmp_path, SOURCE, out="whole", span=span)
    assert log.digest == whole.digest


def test_an_opendocument_sheet(tmp_path: Path) -> None:
    names = ("office", "table", "text")
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in names)
    named = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    cells = [
        "".join(map(named.format, HEADER)),
        '<table:table-cell office:value-type="float" office:value="13085"/>'
        '<table:table-cell office:value-type="date" office:date-value="2011-01-05T10:00:00"/>'
        '<table:table-cell office:value-type="float" office:value="2.5"/>',
    ]
    rows = "".join(f"<table:table-row>{row}</table:table-row>" for row in cells)
    table = f'<table:table table:name="Sales">{rows}</table:table>'
    body = f"<office:body><office:spreadsheet>{table}</office:spreadsheet></office:body>"
    with zipfile.ZipFile(tmp_path / "s.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr("content.xml", f"<office:document-content {spaces}>{body}</office:document-content>")
    _, _, events = run(tmp_path, SOURCE | {"path": "s.ods"})
    assert events.select("user", "time", "amount").rows() == [("13085", datetime(2011, 1, 5, 10), 2.5)]


@pytest.mark.parametrize(
    ("rows", "source", "said"),
    [
        ([], {}, ["s.xlsx: Sales", "the sheet is empty"]),
        ([HEADER], {}, ["no rows"]),
        ([HEADER], {"skip": 5}, ["the sheet is empty", "skip fewer rows"]),
        ([("user", "user")], {}, ["two columns are called 'user'"]),
        ([("u1", "2011-01-01")], {"header": False, "names": ["user"]}, ["names do not fit", "2 columns, 1 names"]),
        ([HEADER, ("u1", date(2011, 1, 1), 1)], {"user": "usr"}, ["no column 'usr'", "Did you mean 'user'"]),
        ([HEADER], {"delimiter": ";"}, ["'delimiter' has no meaning for a workbook"]),
    ],
)
def test_bad_input_is_one_message(tmp_path: Path, rows: list[Any], source: dict[str, Any], said: list[str]) -> None:
    workbook(tmp_path / "s.xlsx", {"Sales": rows})
    with pytest.raises(SourceError) as caught:
        run(tmp_path, {"path": "s.xlsx"} | source)
    for part in said:
        assert part in str(caught.value)


def test_a_file_that_is_no_workbook_or_has_the_wrong_name(tmp_path: Path) -> None:
    for name in ("s.xlsx", "s.xls", "s.ods"):
        write(tmp_path, "user,time\n", name)
        with pytest.raises(SourceError, match=f"{name}: not readable as a workbook: "):
            run(tmp_path, {"path": name})
    sheet(tmp_path, ("u1", date(2011, 1, 5), 1), name="book.xlsx").rename(tmp_path / "s.csv")
    with pytest.raises(SourceError, match=r"Rename it to \.xlsx"):
        run(tmp_path)
    with pytest.raises(SourceError, match="'sheet' has no meaning for CSV"):
        run(tmp_path, {"sheet": "Sales"})


def test_the_package_that_reads_it_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet(tmp_path, ("u1", date(2011, 1, 5), 1))
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(MissingExtraError, match=r'pip install "valuecast\[excel\]"'):
        run(tmp_path, SOURCE)
