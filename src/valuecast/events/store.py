"""A log on disk: Parquet parts and one manifest that lists them.

A part is written under a name of its own and the manifest is replaced last, so an ingest that is
killed leaves the log as it was; what it leaves behind is removed by the next one.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from valuecast import artifact, moments
from valuecast import columns as c
from valuecast.errors import LogError, SourceError
from valuecast.events.log import EventLog, SideTable, connect, content_digest
from valuecast.events.schema import CANONICAL_TYPES, Kind, Span, literal, quote, sorted_for_disk
from valuecast.language import Text
from valuecast.moments import moment

KIND: Final = "event log"
REJECTED: Final = "rejected.parquet"
KEYS: Final = {"items": c.ITEM, "users": c.USER}
_WORK: Final = ".ingest-"
_PART: Final = re.compile(r"(events|items|users)-[0-9a-f]{16}\.parquet")


@dataclass(frozen=True)
class SideFile:
    """The table of items or users of a log on disk."""

    file: str
    dated: bool
    attributes: Mapping[str, Kind]


@dataclass(frozen=True)
class Contents:
    """What the manifest of a log says."""

    span: Span
    fields: Mapping[str, Kind]
    parts: tuple[str, ...]
    sides: Mapping[str, SideFile]
    about: Text | None
    events: int
    users: int
    accounts: tuple[dict[str, Any], ...]
    digest: str = ""

    @property
    def files(self) -> list[str]:
        """Every data file of the log."""
        return [*self.parts, *(side.file for side in self.sides.values())]


def open_log(folder: Path) -> EventLog:
    """Open a log.

    Raises:
        LogError: the folder is not a log, or it is damaged.
    """
    found = _contents(artifact.load(folder, kind=KIND, error=LogError))
    connection = connect()
    view(connection.con, folder, found)
    sides = {name: SideTable(connection.table(name), KEYS[name], side.attributes) for name, side in found.sides.items()}
    return EventLog(
        events=connection.table("events"),
        span=found.span,
        fields=found.fields,
        items=sides.get("items"),
        users=sides.get("users"),
        digest=found.digest,
        about=found.about,
        origin=str(folder),
    )


def current(folder: Path) -> Contents | None:
    """Return what the log in ``folder`` holds, or None where there is none yet.

    Raises:
        LogError: there is something that is not a log, or a damaged one.
        SourceError: the folder is in use for something else.
    """
    if set("*?") & set(str(folder)):
        raise SourceError("* and ? make a pattern of a path", where=str(folder), remedy="Name the folder without them.")
    if folder.is_file():
        raise SourceError("this is a file", where=str(folder), remedy="Give a folder for the log.")
    if (folder / artifact.MANIFEST).exists():
        return _contents(artifact.load(folder, kind=KIND, error=LogError))
    foreign = [path.name for path in folder.iterdir() if not _ours(path.name)] if folder.is_dir() else []
    if foreign:
        remedy = "Give a new or an empty folder for the log."
        raise SourceError(f"the folder holds other files, such as {foreign[0]}", where=str(folder), remedy=remedy)
    return None


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """Give a folder for what an ingest writes on the way; it is removed in the end, and so is an empty log folder."""
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / f"{_WORK}{uuid.uuid4().hex[:8]}"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def view(connection: Any, folder: Path, contents: Contents) -> None:
    """Make the views ``events``, ``items`` and ``users`` of a log on disk."""
    if contents.parts:
        names = ", ".join(quote(name) for name in [*CANONICAL_TYPES, *contents.fields])
        parts = ", ".join(literal(str(folder / name)) for name in contents.parts)
        connection.execute(f"create or replace view events as select {names} from read_parquet([{parts}])")
    for name, side in contents.sides.items():
        path = literal(str(folder / side.file))
        connection.execute(f"create or replace view {name} as select * from read_parquet({path})")


def write(connection: Any, relation: str, *, name: str, folder: Path, work: Path, listed: Contents | None) -> str:
    """Write a table of events, items or users as one file named after its content, and return that name."""
    content = c.ID if name == "events" else "t::VARCHAR"
    (digest,) = connection.execute(
        f"select left(md5(concat_ws('/', count(*), bit_xor(md5_number_lower({content})))), 16) from {relation} t"
    ).fetchone()
    file = f"{name}-{digest}.parquet"
    if listed is not None and file in listed.files:
        return file  # the same rows: the file that is there must not be touched
    rows = f"select * from {relation}"
    ordered = sorted_for_disk(rows) if name == "events" else f"{rows} order by all"
    copy_to(connection, ordered, folder / file, work=work)
    return file


def copy_to(connection: Any, query: str, path: Path, *, work: Path) -> None:
    """Write the rows of a query as Parquet, and move the file to ``path`` when it is whole.

    Raises:
        SourceError: another ingest finished meanwhile and removed ``work``.
    """
    if not work.is_dir():
        raise _overtaken(path.parent)
    draft = work / path.name
    connection.execute(f"copy ({query}) to {literal(str(draft))} (format parquet, compression zstd)")
    draft.replace(path)


def commit(folder: Path, contents: Contents, *, work: Path, replaces: Contents | None) -> None:
    """Write the manifest, which makes the files the log, and remove what killed ingests left in the folder.

    Raises:
        SourceError: somebody else changed the log meanwhile.
    """
    if current(folder) != replaces:
        raise _overtaken(folder)
    connection = connect()
    view(connection.con, folder, contents)
    digest = content_digest(connection, ["events", *contents.sides])
    connection.disconnect()
    artifact.commit(folder, kind=KIND, facts=_facts(contents, digest), files=contents.files)
    for path in folder.iterdir():
        if path.name in (*contents.files, REJECTED, work.name) or not _ours(path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _overtaken(folder: Path) -> SourceError:
    return SourceError("the log was changed by another ingest meanwhile", where=str(folder), remedy="Ingest again.")


def _ours(name: str) -> bool:
    draft = name.startswith((_WORK, f".{artifact.MANIFEST}."))
    return draft or name == REJECTED or _PART.fullmatch(name) is not None


def _facts(contents: Contents, digest: str) -> artifact.Facts:
    span, about = contents.span, contents.about
    return {
        "span": {"from": moments.text(span.start), "until": moments.text(span.until), "stated": span.stated},
        "events": contents.events,
        "users": contents.users,
        "fields": _values(contents.fields),
        "parts": list(contents.parts),
        "sides": {
            name: {"file": side.file, "dated": side.dated, "attributes": _values(side.attributes)}
            for name, side in contents.sides.items()
        },
        "about": {"en": about.en, "zh": about.zh} if about else None,
        "digest": digest,
        "accounts": list(contents.accounts),
    }


def _values(kinds: Mapping[str, Kind]) -> dict[str, str]:
    return {name: kind.value for name, kind in kinds.items()}


def _contents(facts: artifact.Facts) -> Contents:
    span, about = facts["span"], facts["about"]
    return Contents(
        span=Span(moment(span["from"]), moment(span["until"]), span["stated"]),
        fields={name: Kind(kind) for name, kind in facts["fields"].items()},
        parts=tuple(facts["parts"]),
        sides={
            name: SideFile(side["file"], side["dated"], {key: Kind(kind) for key, kind in side["attributes"].items()})
            for name, side in facts["sides"].items()
        },
        about=Text(about["en"], about["zh"]) if about else None,
        events=facts["events"],
        users=facts["users"],
        accounts=tuple(facts["accounts"]),
        digest=facts["digest"],
    )
