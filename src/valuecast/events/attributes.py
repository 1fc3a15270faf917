"""Attributes of items and users beside events or keys, as they were known at the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import ibis
import ibis.expr.types as ir

from valuecast import columns as c
from valuecast.errors import ModelError, suggest
from valuecast.events.log import EventLog, SideTable

ITEMS: Final = "items."
"""Before the name of an item's attribute in ``EventLog.schema``."""


def check_columns(log: EventLog, requires: Mapping[str, str], *, reader: str) -> None:
    """Refuse a log whose schema is not the one that something was learned on.

    Args:
        log: the log.
        requires: the entries of ``EventLog.schema`` that it must have, and their types.
        reader: what was learned, in the plural.

    Raises:
        ModelError: a column is missing or has another type.
    """
    found = log.schema
    for name, kind in requires.items():
        if name not in found:
            what = f"the log has no column '{name}', which {reader} need"
            raise ModelError(what, where=log.origin, remedy=suggest(name, found))
        if found[name] != kind:
            what = f"the column '{name}' holds a {found[name]}; {reader} learned it as a {kind}"
            raise ModelError(what, where=log.origin, remedy="Map it as it was mapped for training.")


def described(items: SideTable | None, events: ir.Table, columns: Iterable[str]) -> ir.Table:
    """Return ``events`` with the item attributes among ``columns`` (``items.x``), as they were known at the time."""
    wanted = [name.removeprefix(ITEMS) for name in columns if name not in events.columns]
    if items is None or not wanted:
        return events
    return attributed(events, items, wanted, by=c.TIME, prefix=ITEMS)


def attributed(
    table: ir.Table, side: SideTable, names: Sequence[str], *, by: str, prefix: str = "", row: Sequence[str] = (c.ID,)
) -> ir.Table:
    """Join the attributes ``names`` of a side table to ``table`` on the side's key.

    A dated side gives the row with the latest ``valid_from`` that is not later than the column ``by`` of ``table``.

    Args:
        table: events (``by="time"``) or keys (``by="at"``).
        side: the items or the users of a log.
        names: attributes wanted; they arrive as ``prefix + name``.
        by: the column of ``table`` that says when.
        prefix: put before each name.
        row: columns that tell the rows of ``table`` apart.
    """
    wanted = side.table.select(
        side.table[side.key].name("_key"),
        *([side.table[c.VALID_FROM].name("_from")] if side.dated else []),
        *(side.table[name].name(prefix + name) for name in names),
    )
    if not side.dated:
        return table.left_join(wanted, table[side.key] == wanted["_key"]).drop("_key")
    joined = table.left_join(wanted, [table[side.key] == wanted["_key"], wanted["_from"] <= table[by]])
    latest = ibis.window(group_by=list(row), order_by=ibis.desc("_from"))
    ranked = joined.mutate(_rank=ibis.row_number().over(latest))
    return ranked.filter(ranked["_rank"] == 0).drop("_rank", "_key", "_from")
