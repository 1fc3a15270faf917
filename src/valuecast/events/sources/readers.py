"""Opening what a mapping names. CSV, JSON lines and Parquet files are read by the engine itself.

CSV and JSON lines hold nothing but text, so that no cell is coerced before it is checked.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import duckdb

from valuecast.errors import SourceError, suggest
from valuecast.events.cells import TEXT
from valuecast.events.schema import literal, quote
from valuecast.events.sources import address
from valuecast.events.sources.database import open_database
from valuecast.events.sources.shard import RENAME, Format, Shard, check_names, reason
from valuecast.events.sources.survey import Survey, survey
from valuecast.events.sources.workbook import open_workbook
from valuecast.events.spec import File

_SNIFFED: Final = 10_000  # objects of a JSON file that are looked at for its keys
_DELIMITERS: Final = ",;\t|"
_SUFFIXES: Final = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), Format.CSV),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), Format.JSON),
    **dict.fromkeys((".parquet", ".pq"), Format.PARQUET),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), Format.WORKBOOK),
}
_KEYS: Final = {
    Format.CSV: {"delimiter", "header", "names", "skip", "quote", "encoding", "missing"},
    Format.JSON: {"encoding", "missing"},
    Format.PARQUET: {"missing"},
    Format.WORKBOOK: {"sheet", "header", "names", "skip", "missing"},
    Format.DATABASE: {"table", "query", "missing"},
}
"""Which of the keys of ``File`` have a meaning for which format."""


def open_shards(connection: Any, file: File, *, work: Path, number: int) -> Iterator[Shard]:
    """Open what a source names: its files in order of their names, or its table.

    Args:
        connection: the engine.
        file: where the rows are, and how they are written.
        work: a folder for copies in UTF-8, if they are needed.
        number: of the first shard; tells shards apart.

    Raises:
        SourceError: there is none, or one is not of the kind that its name says.
        MissingExtraError: a package that reads it is not installed.
    """
    if file.database is not None:
        _check_keys(file, Format.DATABASE)
        if not address.is_url(file.database):
            _single(file.database)
        yield open_database(connection, file, number=number)
        return
    for at, path in enumerate(_paths(file.path), start=number):
        yield _open(connection, path, file, work=work, number=at)


def _paths(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        remedy = f"Give a file, or a pattern such as {path.name}/*.csv."
        raise SourceError("this is a folder", where=text, remedy=remedy)
    if path.exists():
        return [path]
    root = Path(path.anchor)
    return sorted(root.glob(str(path.relative_to(root)))) or [_single(text)]


def _single(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        remedy = suggest(path.name, beside) if beside else "Check the folder."
        raise SourceError("no such file", where=text, remedy=remedy)
    return path


def _open(connection: Any, path: Path, file: File, *, work: Path, number: int) -> Shard:
    kind = _format(path)
    _check_keys(file, kind)
    if kind is Format.WORKBOOK:
        return open_workbook(path, file, number=number)
    if kind is Format.PARQUET:
        return _parquet(connection, path)
    seen = survey(path, encoding=file.encoding, copy_to=work / f"utf8-{number}")
    return _csv(path, file, seen, number) if kind is Format.CSV else _json(connection, path, seen)


def _check_keys(file: File, kind: Format) -> None:
    for key in fields(File):
        if key.name not in {"path", "database", *_KEYS[kind]} and getattr(file, key.name) != key.default:
            raise SourceError(f"'{key.name}' has no meaning for {kind}", where=file.place, remedy="Remove it.")


def all_keys(connection: Any, shard: Shard) -> Shard:
    """Return a JSON shard with every key that any of its lines has: a rare one may be late in the file."""
    return replace(shard, columns=_json_columns(connection, shard.scan)) if shard.format is Format.JSON else shard


def _format(path: Path) -> Format:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    if address.is_database(path.name):
        remedy = f'Write database = "{path.name}" in place of path, and table = "...".'
        raise SourceError("this is a database", where=str(path), remedy=remedy)
    remedy = f"Known: {', '.join(_SUFFIXES)}, and .csv.gz or .jsonl.gz."
    what = f"'{''.join(path.suffixes)}' does not say what kind of file this is"
    raise SourceError(what, where=str(path), remedy=remedy)


def _parquet(connection: Any, path: Path) -> Shard:
    scan = f"read_parquet({literal(str(path))})"
    try:
        found = connection.sql(f"describe select * from {scan}").fetchall()
    except duckdb.Error as error:
        remedy = "Copy the file again, or give it the name of what it is."
        raise SourceError(f"not a Parquet file: {reason(error)}", where=str(path), remedy=remedy) from None
    return Shard(str(path), Format.PARQUET, scan, {name: (quote(name), kind) for name, kind, *_ in found})


def _json(connection: Any, path: Path, seen: Survey) -> Shard:
    if seen.head.lstrip().startswith("["):
        remedy = "Write one object per line, for example with jq -c '.[]'."
        raise SourceError("this is one JSON array", where=str(path), remedy=remedy)
    compression = "gzip" if seen.compressed else "uncompressed"
    scan = f"read_ndjson_objects({literal(str(seen.path))}, ignore_errors=true, compression='{compression}')"
    columns = _json_columns(connection, f"(select json from {scan} limit {_SNIFFED})")
    if not columns:
        raise SourceError("no line is a JSON object", where=str(path), remedy='Write lines like {"user": "u1", ...}.')
    broken = "json is null or json_type(json) != 'OBJECT'"
    return Shard(str(path), Format.JSON, scan, columns, broken=broken, survey=seen)


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
    try:
        first = next((row for row in reader if row), [])
    except csv.Error as error:
        remedy = "Mend its first lines, or state skip, quote and delimiter in a mapping."
        raise SourceError(f"no header can be read: {error}", where=str(path), remedy=remedy) from None
    names = [name.strip() or f"column{at}" for at, name in enumerate(file.names or first, start=1)]
    if file.names and len(names) != len(first):
        remedy = f"The first row has {len(first)} cells, {len(names)} names are given (delimiter {delimiter!r})."
        raise SourceError("names do not fit", where=str(path), remedy=remedy)
    check_names(names, place=str(path), remedy=RENAME)
    preamble = file.skip + (reader.line_num if file.header else 0)
    typed = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(names)))
    mark = literal(file.quote)
    scan = f"""read_csv({literal(str(seen.path))}, auto_detect=false, header=false, skip={preamble},
        delim={literal(delimiter)}, quote={mark}, escape={mark}, columns={{{typed}}},
        compression='{"gzip" if seen.compressed else "none"}', store_rejects=true, rejects_limit=0,
        rejects_table='rejects_{number}', rejects_scan='scans_{number}')"""
    columns = {name: (f"c{at}", TEXT) for at, name in enumerate(names)}
    return Shard(str(path), Format.CSV, scan, columns, rejects=f"rejects_{number}", survey=seen, preamble=preamble)


def _delimiter(text: str) -> str:
    """Return the delimiter that the first line holds most of, outside quotes."""
    line = next((line for line in text.split("\n") if line.strip()), "")
    bare = "".join(line.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)
