"""Where a database is: a file, or a URL, which never holds a password.

A password comes from the environment, as ``${NAME}`` in the URL or as the database's own client takes it
(``PGPASSWORD``, ``~/.pgpass``). What is kept and shown is the text as it was written, before that.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from typing import Final
from urllib.parse import quote, unquote

from valuecast.errors import SourceError

POSTGRES: Final = ("postgresql://", "postgres://")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
_ARGUMENT: Final = re.compile(r"[?&](?:ssl)?password=([^&]*)", re.IGNORECASE)
_SUFFIXES: Final = (".duckdb", ".ddb", ".sqlite", ".sqlite3", ".db")


def is_url(text: str) -> bool:
    """Whether a text is a URL, or a variable of the environment that holds one."""
    return _URL.match(text) is not None or _VARIABLE.fullmatch(text) is not None


def is_database(text: str) -> bool:
    """Whether a text names a database rather than a file of rows."""
    return is_url(text) or PurePath(text).suffix.lower() in _SUFFIXES


def name(text: str) -> str:
    """Return the short name of a database."""
    return PurePath(text.partition("?")[0]).name if is_url(text) else PurePath(text).name


def check(text: str, *, where: str) -> None:
    """Refuse a URL with a password in it: it would end in files and messages.

    Raises:
        SourceError: it has one; the message does not show it.
    """
    if any(_VARIABLE.fullmatch(password) is None for password in _passwords(text)):
        remedy = "Write ${NAME} in its place, a variable of the environment, or use PGPASSWORD or ~/.pgpass."
        raise SourceError("a password in the URL of a database", where=where, remedy=remedy)


def expanded(text: str) -> tuple[str, list[str]]:
    """Return a URL with the variables of the environment in it, and what of it must never be shown.

    Raises:
        SourceError: the environment has no such variable.
    """
    if not is_url(text):
        return text, []

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            remedy = f"Set it, such as with: export {found[1]}=..."
            raise SourceError(f"the environment has no variable {found[1]}", where=text, remedy=remedy)
        return os.environ[found[1]]

    if _VARIABLE.fullmatch(text):
        url = _VARIABLE.sub(value, text)
        return url, [url, *_shown(url)]
    url = _VARIABLE.sub(lambda found: quote(value(found), safe=""), text)
    return url, _shown(url)


def _shown(url: str) -> list[str]:
    passwords = _passwords(url)
    return [*passwords, *map(unquote, passwords)]


def _passwords(text: str) -> list[str]:
    """Return what a URL holds of passwords: after the first colon before the last @, and as arguments."""
    if not is_url(text):
        return []
    found = [argument for argument in _ARGUMENT.findall(text) if argument]
    authority, at, _ = text.partition("://")[2].rpartition("@")
    _, colon, password = authority.partition(":")
    return [*found, password] if at and colon and password else found
