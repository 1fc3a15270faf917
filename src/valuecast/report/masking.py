"""Ids as pages and messages show them: enough to recognise one's own, too little to look a person up."""

from __future__ import annotations

from typing import Final

_SHORTEST: Final = 8
_SHOWN: Final = 2
_HIDDEN: Final = "…"


def masked(id: str) -> str:  # noqa: A002
    """Return what may be shown of an id: its first and last two characters, or of a short one nothing.

    A mask cannot be turned back into the id, says nothing of its length, and several ids may share one:
    it must never serve as a key.
    """
    if len(id) < _SHORTEST:
        return _HIDDEN
    return f"{id[:_SHOWN]}{_HIDDEN}{id[-_SHOWN:]}"
