"""CSV, JSON lines and Parquet files as the engine reads them.

CSV and JSON lines hold nothing but text, so that no cell is coerced before it is checked. A shard is
one file: SQL that scans it, and SQL of each of its columns over that scan.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import duckdb

from valuecast.errors import SourceError, suggest
from valuecast.events.cells import TEXT
from valuecast.events.schema import literal, quote
from valuecast.events.spec import File
from valuecast.events.survey import Survey, survey

_SNIFFED: Final = 10_000  # objects of a JSON file that are looked at for its keys
_DELIMITERS: Final = ",;\t|"


class Format(StrEnum):
    """Kinds of files."""

    CSV = "CSV"
    JSON = "JSON lines"
    PARQUET = "Parquet"


_SUFFIXES: Final = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), Format.CSV),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), Format.JSON),
    **dict.fromkeys((".parquet", ".pq"), Format.PARQUET),
}
_KEYS: Final = {
    Format.CSV: {"delimiter", "header", "names", "skip", "quote", "encoding", "missing"},
    Format.JSON: {"encoding", "missing"},
    Format.PARQUET: {"missing"},
}
"""Which of the keys of ``File`` have a meaning for which format."""


@dataclass(frozen=True)
class Shard:
    """One file, open for reading.

    Attributes:
        path: of the file, as the user knows it.
        scan: SQL relation of its rows.
        columns: SQL of each column over ``scan``, and its engine type.
        broken: SQL that says over ``scan`` that a row has no columns at all.
        rejects: table where the engine puts lines that it cannot take apart, for CSV.
        survey: what the bytes said, for text files.
        preamble: lines before the first row.
    """

    path: Path
    format: Format
    scan: str
    columns: Mapping[str, tuple[str, str]]
    broken: str = "false"
    rejects: str = ""
    survey: Survey | None = None
    preamble: int = 0


def paths(file: File) -> list[Path]:
    """Return the files that a path or a pattern names, in order of their names.

    Raises:
        SourceError: there is none.
    """
    path = Path(file.path)
    if path.is_dir():
        remedy = f"Give a file, or a pattern such as {path.name}/*.csv."
        raise SourceError("this is a folder", where=file.path, remedy=remedy)
    if path.exists():
        return [path]
    root = Path(path.anchor)
    found = sorted(root.glob(str(path.relative_to(root))))
    if not found:
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        remedy = suggest(path.name, beside) if beside else "Check the folder."
        raise SourceError("no such file", where=file.path, remedy=remedy)
    return found


def open_shard(connection: Any, path: Path, *, file: File, work: Path, number: int) -> Shard:
    """Open one file.

    Args:
        connection: the engine.
        path: of the file.
        file: how it is written.
        work: a folder for a copy in UTF-8, if one is needed.
        number: tells shards apart.

    Raises:
        SourceError: it is not a file of the kind that its name says.
    """
    kind = _format(path)
    for field in fields(File):
        if field.name not in {"path", *_KEYS[kind]} and getattr(file, field.name) != field.default:
            raise SourceError(f"'{field.name}' has no meaning for {kind}", where=str(path), remedy="Remove it.")
    if kind is Format.PARQUET:
        return _parquet(connection, path)
    seen = survey(path, encoding=file.encoding, copy_to=work / f"utf8-{number}")
    return _csv(path, file, seen, number) if kind is Format.CSV else _json(connection, path, seen)


def all_keys(connection: Any, shard: Shard) -> Shard:
    """Return a JSON shard with every key that any of its lines has: a rare one may be late in the file."""
    return replace(shard, columns=_json_columns(connection, shard.scan)) if shard.format is Format.JSON else shard


def _format(path: Path) -> Format:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    if suffixes and suffixes[-1] in (".xlsx", ".xls", ".xlsm", ".ods"):
        raise SourceError("this is a workbook", where=str(path), remedy="Export the sheet as CSV, and give that file.")
    remedy = f"Known: {', '.join(_SUFFIXES)}, and .csv.gz or .jsonl.gz."
    what = f"'{''.join(path.suffixes)}' does not say what kind of file this is"
    raise SourceError(what, where=str(path), remedy=remedy)


def _parquet(connection: Any, path: Path) -> Shard:
    scan = f"read_parquet({literal(str(path))})"
    try:
        found = connection.sql(f"describe select * from {scan}").fetchall()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rpartition("Error: ")[2]
        remedy = "Copy the file again, or give it the name of what it is."
        raise SourceError(f"not a Parquet file: {reason}", where=str(path), remedy=remedy) from None
    return Shard(path, Format.PARQUET, scan, {name: (quote(name), kind) for name, kind, *_ in found})


def _json(connection: Any, path: Path, seen: Survey) -> Shard:
    if seen.head.lstrip().startswith("["):
        remedy = "Write one object per line, for example with jq -c '.[]'."
        raise SourceError("this is one JSON array", where=str(path), remedy=remedy)
    compression = "gzip" if seen.compressed else "uncompressed"
    scan = f"read_ndjson_objects({literal(str(seen.path))}, ignore_errors=true, compression='{compression}')"
    columns = _json_columns(connection, f"(select json from {scan} limit {_SNIFFED})")
    if not columns:
        raise SourceError("no line is a JSON object", where=str(path), remedy='Write lines like {"user": "u1", ...}.')
    return Shard(path, Format.JSON, scan, columns, broken="json is null or json_type(json) != 'OBJECT'", survey=seen)


def _json_columns(connection: Any, scan: str) -> dict[str, tuple[str, str]]:
    names = connection.sql(
        f"select distinct unnest(json_keys(json)) as name from {scan} where json_type(json) = 'OBJECT' order by name"
    ).fetchall()
    pointers = {name: "/" + name.replace("~", "~0").replace("/", "~1") for (name,) in names}
    return {name: (f"json->>{literal(pointer)}", TEXT) for name, pointer in pointers.items()}


def _csv(path: Path, file: File, seen: Survey, number: int) -> Shard:
    rest = seen.head.split("\n", file.skip)
    if len(rest) <= file.skip:
        raise SourceError(f"skip = {file.skip} leaves nothing", where=str(path), remedy="Skip fewer lines.")
    lines = (line + "\n" for line in rest[file.skip].split("\n"))
    delimiter = file.delimiter or _delimiter(rest[file.skip])
    reader = csv.reader(lines, delimiter=delimiter, quotechar=file.quote or None)
    first = next((row for row in reader if row), [])
    names = [name.strip() or f"column{at}" for at, name in enumerate(file.names or first, start=1)]
    if file.names and len(names) != len(first):
        remedy = f"The first row has {len(first)} cells, {len(names)} names are given (delimiter {delimiter!r})."
        raise SourceError("names do not fit", where=str(path), remedy=remedy)
    for name in names:
        if names.count(name) > 1:
            remedy = "Rename one, or give header = false, skip = 1 and names = [...] in a mapping."
            raise SourceError(f"two columns are called '{name}'", where=str(path), remedy=remedy)
    preamble = file.skip + (reader.line_num if file.header else 0)
    typed = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(names)))
    mark = literal(file.quote)
    scan = f"""read_csv({literal(str(seen.path))}, auto_detect=false, header=false, skip={preamble},
        delim={literal(delimiter)}, quote={mark}, escape={mark}, columns={{{typed}}},
        compression='{"gzip" if seen.compressed else "none"}', store_rejects=true, rejects_limit=0,
        rejects_table='rejects_{number}', rejects_scan='scans_{number}')"""
    columns = {name: (f"c{at}", TEXT) for at, name in enumerate(names)}
    return Shard(path, Format.CSV, scan, columns, rejects=f"rejects_{number}", survey=seen, preamble=preamble)


def _delimiter(text: str) -> str:
    """Return the delimiter that the first line holds most of, outside quotes."""
    line = next((line for line in text.split("\n") if line.strip()), "")
    bare = "".join(line.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)
