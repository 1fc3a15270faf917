"""Items and users: one row for each key, or for each key and moment, merged with what the log has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from valuecast import columns as c
from valuecast.errors import SourceError
from valuecast.events import store
from valuecast.events.intake import planning, tally
from valuecast.events.intake.planning import Bound
from valuecast.events.intake.rows import Plan
from valuecast.events.intake.staging import Opened
from valuecast.events.intake.summary import Account
from valuecast.events.schema import Kind, quote
from valuecast.events.spec import Side
from valuecast.events.store import SideFile


@dataclass(frozen=True)
class Taken:
    """A checked and merged table of items or users.

    Attributes:
        table: of the engine.
        dated: whether it has ``valid_from``.
    """

    table: str
    dated: bool
    attributes: Mapping[str, Kind]
    plan: Plan
    account: Account


def unused(opened: Opened, wanted: Sequence[str]) -> list[str]:
    """Return the note on columns that are not used because nobody says since when they are known."""
    left = [name for name in opened.shards[0].columns if name not in wanted]
    if not left:
        return []
    return [f"{opened.name}: not used, since they may know the future: {', '.join(left)}; declare them static or dated"]


def take(
    connection: Any,
    name: str,
    side: Side,
    bound: Bound,
    *,
    old: SideFile | None,
    shown: Callable[[str], str],
    note: list[str],
) -> Taken:
    """Check the rows of a file of items or users and merge them with those of the log, in the view ``name``.

    A new row replaces the one of the same key (and moment). ``shown`` says what a message may show of a key.

    Raises:
        SourceError: two rows of the file disagree, or the log has other attributes.
    """
    attributes = planning.kinds(connection, [bound], settled=old.attributes if old else None, note=note)
    dated = side.valid_from is not None
    if old is not None:
        _check_same(old, attributes, dated=dated, where=f"{side.name} for {name}")
        attributes = {attribute: attributes[attribute] for attribute in old.attributes}
    plan = planning.side_plan(bound, side, key=store.KEYS[name], attributes=attributes)
    checked, taken = f"checked_{name}", f"taken_{name}"
    plan.carry_out(connection, checked)
    unique = [store.KEYS[name], *([c.VALID_FROM] if dated else [])]
    columns, key = (", ".join(map(quote, names)) for names in ([*unique, *attributes], unique))
    connection.execute(f"create table {taken} as select distinct {columns} from {checked} where step is null")
    doubles = f"select {key} from {taken} group by all having count(*) > 1 order by all limit 1"
    double = connection.execute(doubles).fetchone()
    if double is not None:
        remedy = "Keep one row for each." if dated else "Keep one row for each, or give dated = [...] and valid_from."
        who = " from ".join([shown(double[0]), *map(str, double[1:])])
        raise SourceError(f"two rows for {who} disagree", where=side.name, remedy=remedy)
    if old is None:
        (new,) = connection.execute(f"select count(*) from {taken}").fetchone()
    else:
        added = f"from {taken} except select {columns} from {name}"
        (new,) = connection.execute(f"select count(*) from ({added})").fetchone()
        connection.execute(
            f"insert into {taken} select {columns} from {name} anti join (select {key} from {taken}) using ({key})"
        )
    account = tally.account(connection, plan, checked, table=name, new=new)
    return Taken(taken, dated, attributes, plan, account)


def _check_same(old: SideFile, attributes: Mapping[str, Kind], *, dated: bool, where: str) -> None:
    if old.attributes.keys() != attributes.keys():
        listed = ", ".join(old.attributes)
        remedy = f"Declare the same ones ({listed}), or ingest everything into a new log."
        raise SourceError(f"the log has other attributes than {', '.join(attributes)}", where=where, remedy=remedy)
    if old.dated != dated:
        what = "dated" if old.dated else "static"
        raise SourceError(f"the log has {what} attributes", where=where, remedy="Declare them so, or make a new log.")
