"""Before any row is read: whether a privacy policy fits the mapping and the log, and the key that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from valuecast import columns as c
from valuecast.errors import SourceError
from valuecast.events import source
from valuecast.events.protection import keyfile, privacy
from valuecast.events.protection.privacy import Privacy, Protection
from valuecast.events.store import Contents


def protect(
    connection: Any,
    mapping: source.Mapping,
    log: Path,
    *,
    old: Contents | None,
    say: Callable[[str], None],
    note: list[str],
) -> Protection:
    """Check the policy of a mapping, and give the engine the key for pseudonyms; for a new log it can be made.

    Args:
        connection: the engine.
        mapping: with the policy.
        log: the folder of the log.
        old: what the log holds already.
        say: is told that a key was made.
        note: takes a line where others can read the key.

    Returns:
        How the log protects what it holds with this ingest.

    Raises:
        SourceError: the policy does not fit the mapping or the log, or the key does not.
    """
    policy, was = mapping.privacy, old.protection if old else Protection()
    taken = privacy.names(mapping.sources, {"items": mapping.items, "users": mapping.users})
    privacy.check(policy, taken, where=mapping.where)
    if old is not None:
        _agree(was.treatments, policy, [name for name in taken if name in old.names], where=mapping.where)
    known = was.key
    if policy.pseudonymise:
        path = policy.key_file
        key = keyfile.unlock(path, log, known=known, new=old is None, say=say)
        if not keyfile.is_private(path):
            note.append(f"others can read the key {path}; take that right from them: chmod 600 {path}")
        privacy.use(connection, key)
        known = keyfile.fingerprint(key)
    return Protection({**was.treatments, **policy.treatments}, known)


def _agree(old: Mapping[str, str], policy: Privacy, shared: Iterable[str], *, where: str) -> None:
    """Check that a log goes on to hold everything as it does.

    Args:
        old: the treatments in the log.
        policy: of the mapping.
        shared: the names that both the log and the mapping have.
        where: for messages.

    Raises:
        SourceError: the log would hold one name in two ways.
    """
    new = policy.treatments
    for name in shared:
        if old.get(name) == new.get(name):
            continue
        if new.get(name) is None:
            how = "--pseudonymise KEYFILE" if name == c.USER else "[privacy] in the mapping"
            raise SourceError(
                f"'{name}' is protected in this log ({old[name]}), and would be added as it is",
                where=where,
                remedy=f"Give the same policy again: {how}.",
            )
        was = old.get(name, "as it is in the files")
        remedy = "Give the policy that the log was made with, or ingest everything into a new log."
        raise SourceError(f"the log holds '{name}' {was}, the mapping says {new[name]}", where=where, remedy=remedy)
