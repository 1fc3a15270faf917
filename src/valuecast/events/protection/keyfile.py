"""The secret key of a shop's pseudonyms: a file of 64 hexadecimal digits, outside the log, for its owner alone."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from valuecast.artifact import MANIFEST
from valuecast.errors import SourceError

_BYTES: Final = 32
_FINGERPRINT_OF: Final = b"valuecast: which key is this?"


def unlock(path: Path, log: Path, *, known: str | None, new: bool, say: Callable[[str], None]) -> bytes:
    """Return the key of a log's pseudonyms; for a new log it is made if it is not there.

    Args:
        path: of the key.
        log: the folder of the log.
        known: the fingerprint of the key that the log was made with, if there is one.
        new: whether there is no log yet.
        say: is told that a key was made.

    Raises:
        SourceError: the key lies in a log, is none, is absent, or is not that of the log.
    """
    check_outside(path, log, what="the key")
    if new and not path.exists():
        key = make_key(path)
        say(f"made the key {path}: keep it safe, and out of the log; without it nothing can be added")
        return key
    key = read_key(path)
    if known is not None and fingerprint(key) != known:
        remedy = "Give the key that the log was made with, or ingest everything into a new log."
        raise SourceError(f"the pseudonyms of {log} are from another key", where=str(path), remedy=remedy)
    return key


def check_outside(path: Path, log: Path | None = None, *, what: str) -> None:
    """Check that a file which names people, or could, does not lie in a log.

    Raises:
        SourceError: it does.
    """
    folder = path.resolve().parent
    if (log is not None and folder.is_relative_to(log.resolve())) or (folder / MANIFEST).exists():
        remedy = "Give a path that does not go where the log goes."
        raise SourceError(f"{what} would lie in a log", where=str(path), remedy=remedy)


def read_key(path: Path) -> bytes:
    """Read a key.

    Raises:
        SourceError: there is no such file, or it holds something else.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        remedy = "Put the key there that the log was made with; if it is lost, ingest everything into a new log."
        raise SourceError("no such key file", where=str(path), remedy=remedy) from None
    except (OSError, UnicodeDecodeError):
        text = ""
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * _BYTES}}}", text):
        remedy = f"Give a file of {2 * _BYTES} hexadecimal digits, or a new path, where ingest makes one."
        raise SourceError("this is not a key", where=str(path), remedy=remedy)
    return bytes.fromhex(text)


def make_key(path: Path) -> bytes:
    """Make a new random key, in a file that only its owner can read; so is its folder, where that is new.

    Raises:
        SourceError: the file cannot be written.
    """
    key = secrets.token_bytes(_BYTES)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(key.hex() + "\n")
            stream.flush()
            os.fsync(handle)
        os.link(draft, path)  # unlike a rename, it never replaces a key that is there
    except OSError as error:
        what = f"the key cannot be written: {error.strerror}"
        raise SourceError(what, where=str(path), remedy="Give a path in a folder that you can write to.") from None
    finally:
        with suppress(OSError):  # it may never have been written
            draft.unlink()
    return key


def is_private(path: Path) -> bool:
    """Whether nobody but its owner can read a file."""
    return not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def fingerprint(key: bytes) -> str:
    """Return what tells a key from another and says nothing about it."""
    return hmac.new(key, _FINGERPRINT_OF, hashlib.sha256).hexdigest()[:32]
