"""Attributes of items and users beside events or keys, as they were known at the time."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from valuecast import columns as c
from valuecast.events.log import SideTable


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
