"""A log without its rows: what is carried to another process, where tables of some users make it a log again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ibis.expr.types as ir
import pyarrow as pa

from valuecast.events.log import EventLog, SideTable, connect
from valuecast.events.schema import Kind, Span
from valuecast.language import Text


@dataclass(frozen=True)
class Carried:
    """All of a log but its tables.

    Attributes:
        span: of the log.
        fields: of the events.
        sides: ``items`` and ``users``, those that there are: the key and the attributes of each.
        digest: of the uncut log.
        about: what the data set says of itself.
        origin: for messages.
    """

    span: Span
    fields: Mapping[str, Kind]
    sides: Mapping[str, tuple[str, Mapping[str, Kind]]]
    digest: str
    about: Text | None
    origin: str

    @classmethod
    def of(cls, log: EventLog) -> Carried:
        """Take it from a log."""
        sides = {"items": log.items, "users": log.users}
        told = {name: (side.key, dict(side.attributes)) for name, side in sides.items() if side is not None}
        return cls(log.span, dict(log.fields), told, log.digest, log.about, log.origin)

    def log(self, tables: Mapping[str, pa.Table]) -> EventLog:
        """Make a log in this process.

        Args:
            tables: ``events``, and those of the sides; all in the types of the log's own tables.
        """
        connection = connect()
        found: dict[str, ir.Table] = {}
        for name, rows in tables.items():
            connection.con.register(f"given_{name}", rows)
            connection.raw_sql(f"create table {name} as select * from given_{name}")
            connection.con.unregister(f"given_{name}")
            found[name] = connection.table(name)
        sides = {name: SideTable(found[name], key, attributes) for name, (key, attributes) in self.sides.items()}
        return EventLog(
            events=found["events"],
            span=self.span,
            fields=self.fields,
            digest=self.digest,
            about=self.about,
            origin=self.origin,
            items=sides.get("items"),
            users=sides.get("users"),
        )
