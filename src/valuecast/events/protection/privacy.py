"""Privacy at the door: what a column becomes before anything of it is written.

A value is replaced as the file is read, so no table, message or file of a log ever holds it:

- a *pseudonym* stands for an id: HMAC-SHA256 (RFC 2104) of its UTF-8 text with the shop's key, cut to 128 bits, in
  hexadecimal digits. The same id has the same pseudonym in every file that is read with the key, so tables still join;
  without the key nobody can turn one into the other, nor try out ids.
- a *mask* keeps the first characters of a text and puts ``***`` for the rest, whatever its length; of a text that is
  no longer than what is kept, nothing is shown.
- a *dropped* column is not read, even if a mapping names it.

Whatever an expression computes could carry the value that it reads, so no expression may read such a column.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from valuecast import columns as c
from valuecast.config.toml import build
from valuecast.errors import SourceError, suggest
from valuecast.events.schema import Kind, literal
from valuecast.events.spec import Column, Field, Side, Source

DIGITS: Final = 32
"""Hexadecimal digits of a pseudonym: 128 bits."""
PSEUDONYM: Final = "pseudonym"
HIDDEN: Final = "***"

_BLOCK: Final = 64  # bytes of a block of SHA-256
_IDS: Final = (c.USER, c.ITEM, c.ORDER)
_INNER, _OUTER = "valuecast_inner", "valuecast_outer"


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """The policy of a mapping.

    Attributes:
        pseudonymise: what is replaced by pseudonyms: ``user``, ``item``, ``order``, a field, or an attribute such as
            ``users.email``.
        mask: fields and attributes that are kept in part, and how many first characters.
        drop: columns of the files that are not read.
        key: the file with the key, outside the log.
    """

    pseudonymise: tuple[str, ...] = ()
    mask: Mapping[str, int] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    key: str | None = None

    @property
    def treatments(self) -> dict[str, str]:
        """What becomes of each name of the log that is not kept as it is: ``pseudonym``, or ``mask 3``."""
        masks = {name: f"mask {keep}" for name, keep in self.mask.items()}
        return masks | dict.fromkeys(self.pseudonymise, PSEUDONYM)

    @property
    def key_file(self) -> Path:
        """The file with the key.

        Raises:
            SourceError: none is named.
        """
        if self.key is None:
            remedy = 'Add key = "FILE" to [privacy], or --pseudonymise FILE; for a new log the file is made.'
            raise SourceError("no key for the pseudonyms", where="[privacy]", remedy=remedy)
        return Path(self.key)

    def keyed(self, key: Path) -> Privacy:
        """Return the policy with a key; users are pseudonymised unless it says what else.

        Raises:
            SourceError: it has a key.
        """
        if self.key is not None:
            raise SourceError("the mapping names a key already", where="--pseudonymise", remedy="Remove one of them.")
        return replace(self, key=str(key), pseudonymise=self.pseudonymise or (c.USER,))


@dataclass(frozen=True)
class Protection:
    """How the names of a log were treated when it was made, and which key its pseudonyms are from (a fingerprint)."""

    treatments: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None


@dataclass(frozen=True)
class Shield:
    """What becomes of the columns of one source as they are read.

    Attributes:
        treated: the columns that are replaced, each with SQL of what a text becomes.
        dropped: the columns that are not read, in small letters.
    """

    treated: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()

    @property
    def active(self) -> bool:
        """Whether there is anything to protect: then no line of the file may be shown as it is."""
        return bool(self.treated or self.dropped)

    def check(self, names: Iterable[str], *, computed: bool, where: str) -> None:
        """Check that a mapped column may read ``names``; ``computed`` says that it does so by an expression.

        Raises:
            SourceError: one is dropped, or an expression reads one that is replaced.
        """
        for name in names:
            if name.casefold() in self.dropped:
                what = f"column '{name}' must not be read: the privacy policy drops it"
                raise SourceError(what, where=where, remedy="Map another column, or take it from drop in [privacy].")
            if computed and name in self.treated:
                what = f"an expression cannot read column '{name}', which is pseudonymised or masked"
                remedy = 'Compute it before ingest; to leave out rows without a user, write users = "drop".'
                raise SourceError(what, where=where, remedy=remedy)


def parse(data: Any, *, base: Path, where: str) -> Privacy:
    """Read a policy from plain data; a relative ``key`` starts from ``base``.

    Raises:
        ValuecastError: it is not understood.
    """
    if not isinstance(data, dict):
        remedy = "Its keys are: pseudonymise, mask, drop, key."
        raise SourceError(f"{data!r} is not a table", where=where, remedy=remedy)
    found = dict(data)
    mask = found.pop("mask", {})
    if not isinstance(mask, dict) or not all(type(keep) is int and keep > 0 for keep in mask.values()):
        remedy = "Write how many first characters are kept: mask = {postcode = 3}."
        raise SourceError(f"{mask!r} is no mask", where=f"{where}: mask", remedy=remedy)
    key = found.pop("key", None)
    if not isinstance(key, str | None):
        raise SourceError(f"{key!r} is no path", where=f"{where}: key", remedy="Name a file outside the log.")
    policy = replace(build(Privacy, found, where=where), mask=mask)
    if key is not None:
        policy = policy.keyed(base / Path(key).expanduser())
    both = sorted(mask.keys() & set(policy.pseudonymise))
    if both:
        raise SourceError(f"'{both[0]}' is pseudonymised and masked", where=where, remedy="Keep one of them.")
    return policy


def names(sources: Iterable[Source], sides: Mapping[str, Side | None]) -> list[str]:
    """Return what a mapping takes into the log and a policy can be about: ids, fields and attributes."""
    mapped = [("events", each) for each in sources] + [(table, side) for table, side in sides.items() if side]
    return list(dict.fromkeys(name for table, each in mapped for name in _named(each, table)))


def check(policy: Privacy, mapped: Iterable[str], *, where: str) -> None:
    """Check that a policy is about what a mapping takes into the log.

    Args:
        policy: of the mapping.
        mapped: the names of the mapping.
        where: for messages.

    Raises:
        SourceError: a name is not among them, or cannot be treated so.
    """
    known = list(mapped)
    for key, given, fit in (
        ("pseudonymise", policy.pseudonymise, known),
        ("mask", policy.mask, [name for name in known if name not in _IDS]),
    ):
        for name in given:
            if name not in fit:
                what = f"nothing called '{name}' is taken from the files that could be treated so"
                raise SourceError(what, where=f"{where}: [privacy] {key}", remedy=suggest(name, fit))


def shield(policy: Privacy, mapped: Source | Side, table: str, *, where: str) -> Shield:
    """Return what becomes of the columns of one source; ``table`` is events, items or users.

    Raises:
        SourceError: what is to be replaced is no plain column.
    """
    named = {name: column for name, column in _named(mapped, table).items() if name in policy.treatments}
    treated: dict[str, tuple[str, Callable[[str], str]]] = {}
    for name, column in named.items():
        how, read = policy.treatments[name], _treatment(policy, name)
        other, _ = treated.setdefault(_plain(name, column, where=where), (how, read))
        if other != how:
            what = f"column '{column.column}' is taken twice, as {other} and as {how}"
            raise SourceError(what, where=where, remedy="Treat it in one way.")
    return Shield({name: read for name, (_, read) in treated.items()}, frozenset(map(str.casefold, policy.drop)))


def as_texts(policy: Privacy, mapped: Source | Side, table: str) -> Source | Side:
    """Return a source whose treated fields are texts, which is what pseudonyms and masked values are."""

    def typed(fields: tuple[Field, ...], prefix: str) -> tuple[Field, ...]:
        return tuple(
            replace(each, source=replace(each.source, type=Kind.STRING.value))
            if prefix + each.name in policy.treatments
            else each
            for each in fields
        )

    if isinstance(mapped, Source):
        return replace(mapped, fields=typed(mapped.fields, ""))
    return replace(mapped, static=typed(mapped.static, f"{table}."), dated=typed(mapped.dated, f"{table}."))


def use(connection: Any, key: bytes) -> None:
    """Give the engine the two pads of a key. They are variables of the connection, and on no disk."""
    for name, byte in ((_INNER, 0x36), (_OUTER, 0x5C)):
        connection.execute(f"set variable {name} = $1", [bytes(b ^ byte for b in key.ljust(_BLOCK, b"\0"))])


def pseudonym_sql(text: str) -> str:
    """Return SQL of the pseudonym of a text; the connection must have been given the key."""
    inner = f"unhex(sha256(getvariable('{_INNER}') || encode({text})))"
    return f"left(sha256(getvariable('{_OUTER}') || {inner}), {DIGITS})"


def pseudonym(text: str, key: bytes) -> str:
    """Return the pseudonym of a text."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:DIGITS]


def mask_sql(text: str, *, keep: int) -> str:
    """Return SQL of a masked text."""
    hidden = literal(HIDDEN)
    long = f"when length({text}) > {keep} then left({text}, {keep}) || {hidden}"
    return f"(case {long} when {text} is not null then {hidden} end)"


def _treatment(policy: Privacy, name: str) -> Callable[[str], str]:
    if name in policy.pseudonymise:
        return pseudonym_sql
    keep = policy.mask[name]
    return lambda text: mask_sql(text, keep=keep)


def _named(mapped: Source | Side, table: str) -> dict[str, Column]:
    """Return the mapped columns by the name that the log has for them."""
    if isinstance(mapped, Source):
        ids = {name: getattr(mapped, name) for name in _IDS if getattr(mapped, name) is not None}
        return ids | {each.name: each.source for each in mapped.fields}
    key = {"items": c.ITEM, "users": c.USER}[table]
    return {key: mapped.key} | {f"{table}.{each.name}": each.source for each in mapped.attributes}


def _plain(name: str, column: Column, *, where: str) -> str:
    """Return the column of the file that is taken as ``name``, or refuse what is no plain column."""
    remedy = "Map a plain column, computed before ingest if need be."
    if column.column is None:
        what = f"'{name}' is not a column of the file, so it cannot be protected"
        raise SourceError(what, where=where, remedy=remedy)
    if column.map or column.type not in (None, Kind.STRING):
        key = "map" if column.map else "type"
        what = f"'{name}' is pseudonymised or masked, so {key} has no meaning"
        raise SourceError(what, where=where, remedy=f"Remove {key}.")
    return column.column
