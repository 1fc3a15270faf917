"""A synthetic shop, in memory or streamed to a folder that ``valuecast ingest`` reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from valuecast import artifact
from valuecast import columns as c
from valuecast.errors import ModelError
from valuecast.events.log import EventLog
from valuecast.events.simulate.catalogue import Catalogue
from valuecast.events.simulate.chunks import chunks
from valuecast.events.simulate.rows import FIELDS
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.truth import Truth
from valuecast.language import Text

KIND: Final = "synthetic shop"
SOURCES: Final = "sources.toml"
TRUTH: Final = "truth.parquet"
TREATMENTS: Final = "treatments.parquet"
ABOUT: Final = Text(
    "A synthetic shop, made by valuecast simulate: nobody shops there.",
    "这是 valuecast simulate 生成的模拟商店，并无真实顾客。",
)
_EVENTS: Final = "events-{:05}.parquet"
_PER_FILE: Final = 16
"""Chunks in one file of events."""


@dataclass(frozen=True)
class Shop:
    """What everybody can see of a shop, and what is true of it."""

    log: EventLog
    truth: Truth


@dataclass(frozen=True)
class Written:
    """A shop on disk: ``settings``, with the number of users there are, and how many events."""

    settings: Settings
    events: int


def simulate(settings: Settings) -> Shop:
    """Make a shop in memory."""
    drawn = list(chunks(settings))
    events, users, customers, treatments = (
        pl.concat([getattr(chunk, name) for chunk in drawn]) for name in ("events", "users", "customers", "treatments")
    )
    log = EventLog.from_frame(
        events,
        since=settings.start,
        until=settings.until,
        items=Catalogue.of(settings).table,
        users=users,
        about=ABOUT,
    )
    return Shop(log, Truth(settings, customers, treatments))


def write(
    settings: Settings, folder: Path, *, events: int | None = None, progress: Callable[[str], None] | None = None
) -> Written:
    """Stream a shop to a folder: files of events, items and users, a mapping for ``valuecast ingest``, and the truth.

    Memory does not grow with the number of events. The same settings give the same Parquet files, byte for byte.

    Args:
        settings: what the shop is like.
        folder: new, or one that holds a synthetic shop, which is replaced.
        events: make not ``settings.users`` customers but as many as it takes to have so many events.
        progress: is told what is being done.

    Raises:
        ModelError: the folder holds something else.
    """
    found: list[Written] = []
    facts: artifact.Facts = {}

    def stream(draft: Path) -> None:
        found.append(_stream(settings, draft, events, progress or (lambda _: None)))
        facts.update(settings=found[0].settings.to_dict(), events=found[0].events)

    artifact.save(folder, kind=KIND, facts=facts, write=stream)
    return found[0]


def read_truth(folder: Path) -> Truth:
    """Read what is true of a shop that ``write`` made.

    Raises:
        ModelError: the folder is not a synthetic shop, or it is damaged.
    """
    facts = artifact.load(folder, kind=KIND, error=ModelError)
    customers, treatments = (pl.read_parquet(folder / name) for name in (TRUTH, TREATMENTS))
    return Truth(Settings(**facts["settings"]), customers, treatments)


def _stream(settings: Settings, folder: Path, events: int | None, say: Callable[[str], None]) -> Written:
    total = count = 0
    Catalogue.of(settings).table.write_parquet(folder / "items.parquet")
    with (
        _table(folder / "users.parquet") as add_users,
        _table(folder / TRUTH) as add_truth,
        _table(folder / TREATMENTS) as add_treatments,
    ):
        numbered = enumerate(chunks(settings, events=events))
        for file, group in groupby(numbered, key=lambda each: each[0] // _PER_FILE):
            with _table(folder / _EVENTS.format(file)) as add_events:
                for _, chunk in group:
                    add_events(chunk.events)
                    add_users(chunk.users)
                    add_truth(chunk.customers)
                    add_treatments(chunk.treatments)
                    total, count = total + len(chunk.events), count + len(chunk.users)
            say(f"{count:,} users, {total:,} events")
    (folder / SOURCES).write_text(_sources(settings), encoding="utf-8")
    return Written(replace(settings, users=count), total)


@contextmanager
def _table(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Give a function that appends rows to a Parquet file; the first rows say what its columns are."""
    with ExitStack() as stack:
        writer: list[pq.ParquetWriter] = []

        def add(frame: pl.DataFrame) -> None:
            rows = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if not writer:
                writer.append(stack.enter_context(pq.ParquetWriter(path, rows.schema, compression="zstd")))
            writer[0].write_table(rows)

        yield add


def _sources(settings: Settings) -> str:
    fields = ", ".join(f'{name} = {{type = "{kind}"}}' for name, kind in FIELDS.items())
    return f"""\
# Written by valuecast simulate. Read it with: valuecast ingest {SOURCES} --out LOG
about = "{ABOUT.en}"
about_zh = "{ABOUT.zh}"

[span]
from = {settings.start.isoformat()}
until = {settings.until.isoformat()}

[[source]]
path = "events-*.parquet"
user = "{c.USER}"
time = {{column = "{c.TIME}", zone = "UTC"}}
event = {{column = "{c.EVENT}"}}
item = "{c.ITEM}"
amount = "{c.AMOUNT}"
order = "{c.ORDER}"
fields = {{{fields}}}

[items]
path = "items.parquet"
key = "{c.ITEM}"
static = ["category", "brand"]

[users]
path = "users.parquet"
key = "{c.USER}"
valid_from = {{column = "{c.VALID_FROM}", zone = "UTC"}}
dated = ["channel", "region", "age"]
"""
