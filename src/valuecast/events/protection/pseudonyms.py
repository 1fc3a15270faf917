"""The shop's own ids beside their pseudonyms, so that scores find their way back to customers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb

from valuecast.errors import SourceError, suggest
from valuecast.events import cells, engine
from valuecast.events.intake.staging import open_files, stage
from valuecast.events.protection import keyfile, privacy
from valuecast.events.schema import literal
from valuecast.events.spec import File

_WRITERS = {".csv": "format csv, header", ".parquet": "format parquet, compression zstd"}


def write_pseudonyms(key: Path, file: File, *, user: str, out: Path) -> int:
    """Write every id in a column of a file and its pseudonym, once each, in the order of the ids.

    Args:
        key: the file with the key.
        file: where the ids are.
        user: the column that holds them.
        out: the table ``id, user``, where ``user`` is the pseudonym, as logs and scores have it; CSV or Parquet by its
            name. Only its owner can read it.

    Returns:
        The number of ids.

    Raises:
        SourceError: the key or the file cannot be read, or ``out`` is another kind of file or lies in a log.
    """
    if out.suffix.lower() not in _WRITERS:
        raise SourceError("what kind of file?", where=str(out), remedy=suggest(out.suffix, _WRITERS))
    if not out.parent.is_dir():
        raise SourceError("no such folder", where=str(out.parent), remedy="Make it first.")
    keyfile.check_outside(out, what="a list of ids and their pseudonyms")
    secret = keyfile.read_key(key)
    with tempfile.TemporaryDirectory(prefix=".pseudonyms-", dir=out.parent) as name, duckdb.connect() as connection:
        work = Path(name)
        engine.prepare(connection, spill=work / "spill")
        privacy.use(connection, secret)
        opened = open_files(connection, file, name=file.name, work=work, number=0)
        opened.check(connection, user, where="--user")
        staged = stage(connection, opened, [user], shield=privacy.Shield(), progress=lambda _: None)
        column, kind = staged.columns[user]
        ids = f"select distinct {cells.as_text(column, kind)} as id from {staged.table}"
        draft = work / out.name
        written = connection.execute(
            f"""
            copy (select id, {privacy.pseudonym_sql("id")} as "user" from ({ids}) where id is not null order by id)
            to {literal(str(draft))} ({_WRITERS[out.suffix.lower()]})
            """
        ).fetchone()
        draft.chmod(0o600)
        draft.replace(out)
    assert written is not None
    return int(written[0])
