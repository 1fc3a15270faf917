"""A versioned folder on disk: data files and one ``manifest.json`` that says what they are.

The manifest is written last and replaced in one step, so a folder without a valid manifest is not an
artifact, and a file the manifest does not list does not belong to it. The manifest lists digests of the
files and carries a seal over itself, so damage is found when it is opened. No file is a pickle.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from valuecast.errors import ModelError, ValuecastError

MANIFEST = "manifest.json"
FORMAT = 2
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
_HASHED_UP_TO = 256 * 2**20  # larger files are checked by their size alone: hashing a log at each opening is not free

Facts = dict[str, Any]
PACKAGES = ("valuecast", "duckdb", "ibis-framework", "lightgbm", "numpy", "polars", "scikit-learn", "scipy")
EXTRAS = ("accelerate", "peft", "torch", "transformers")


@cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that decide what an artifact contains; those of extras where installed."""
    found = {name: version(name) for name in PACKAGES}
    for name in EXTRAS:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def code_digest() -> str:
    """Return a digest of this package's own code: a result that is kept is good only for the code that made it."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")) + sorted(root.rglob("*.lark")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def commit(folder: Path, *, kind: str, facts: Facts, files: Iterable[str]) -> None:
    """Write the manifest of ``folder``, which makes its ``files`` one artifact of ``kind``.

    Files reach the disk before the manifest that lists them does, so that it holds after a power cut too.
    """
    listed = {name: _identity(folder / name) for name in sorted(files)}
    for name in listed:
        _reach_disk(folder / name)
    manifest = _plain({"format": FORMAT, "kind": kind, "versions": versions(), **facts, "files": listed})
    manifest["seal"] = _seal(manifest)
    draft = folder / f".{MANIFEST}.{uuid.uuid4().hex[:8]}"
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(manifest, stream, indent=1, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
    _reach_disk(draft)
    draft.replace(folder / MANIFEST)
    _reach_disk(folder)


def save(folder: Path, *, kind: str, facts: Facts, write: Callable[[Path], None]) -> None:
    """Write an artifact beside ``folder`` and move it there whole.

    Raises:
        ModelError: ``folder`` holds something else than an artifact of this kind; it is left as it is. Or another
            process is writing there.
    """
    check_replaceable(folder, kind=kind)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    draft.mkdir()
    try:
        write(draft)
        files = [str(path.relative_to(draft)) for path in draft.rglob("*") if path.is_file()]
        commit(draft, kind=kind, facts=facts, files=files)
        try:
            if folder.exists():
                shutil.rmtree(folder)
            draft.rename(folder)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            what = "another process has written to this folder at the same time"
            raise ModelError(what, where=str(folder), remedy="Give each run a folder of its own.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def locked(folder: Path, *, used: ValuecastError) -> Iterator[None]:
    """Hold a lock on a folder, which the system frees however this process ends.

    Args:
        folder: is made where it does not exist; what was made for it and stays empty is removed in the end.
        used: what is raised where another process holds it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise used from None
        try:
            yield
        finally:
            for path in made:
                if not any(path.iterdir()):
                    path.rmdir()
    finally:
        os.close(held)


def check_replaceable(folder: Path, *, kind: str) -> None:
    """Check that an artifact of ``kind`` may be written to ``folder``: over nothing, or over one, damaged or not.

    Raises:
        ModelError: there is something else.
    """
    remedy = f"Give a new folder, or one that holds {_a(kind)}."
    if folder.exists() and not folder.is_dir():
        raise ModelError("this is a file", where=str(folder), remedy=remedy)
    if not folder.exists() or not any(folder.iterdir()):
        _check_named(folder, remedy)
        return
    found = kind_of(folder)
    if found is None:
        raise ModelError(f"the folder holds something else than {_a(kind)}", where=str(folder), remedy=remedy)
    if found != kind:
        raise ModelError(f"this folder holds {_a(found)}", where=str(folder), remedy=remedy)
    _check_named(folder, remedy)


def kind_of(folder: Path) -> str | None:
    """Return what kind of artifact a folder says that it holds, unchecked; None: it says nothing of the kind."""
    try:
        kind: str = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind


def _check_named(folder: Path, remedy: str) -> None:
    """An artifact is moved into place whole, and so needs a name to move to."""
    if folder.name in ("", ".."):
        raise ModelError("this folder cannot be replaced from within", where=str(folder), remedy=remedy)


def load(folder: Path, *, kind: str, error: type[ValuecastError] = ModelError) -> Facts:
    """Read and check the manifest of ``folder``.

    Raises:
        ValuecastError: of the type ``error``; the folder is absent, of another kind or version, or damaged.
    """
    where = str(folder)
    again = f"Make the {kind} again, or copy the folder again from where it was made."
    if not folder.is_dir():
        what = f"this is a file, not the folder of {_a(kind)}" if folder.exists() else f"no such {kind} folder"
        raise error(what, where=where, remedy="Check the path.")
    try:
        manifest: Facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found, number, files = manifest["kind"], manifest["format"], manifest["files"]
    except FileNotFoundError:
        raise error(f"not {_a(kind)}: it has no {MANIFEST}", where=where, remedy=again) from None
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise error(f"{MANIFEST} is damaged", where=where, remedy=again) from None
    if found != kind:
        raise error(f"this folder holds {_a(found)}", where=where, remedy=f"Give the path of {_a(kind)}.")
    if number != FORMAT:
        remedy = f"This valuecast reads format {FORMAT}: use the version that wrote it, or make it again."
        raise error(f"format {number} is not understood", where=where, remedy=remedy)
    if manifest.pop("seal", None) != _seal(manifest):
        raise error(f"{MANIFEST} was changed", where=where, remedy=again)
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise error(f"the file {name} is missing", where=where, remedy=again)
        if _identity(path) != expected:
            raise error(f"the file {name} is damaged or was changed", where=where, remedy=again)
    return manifest


def _reach_disk(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _a(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


def _plain(facts: Facts) -> Facts:
    """Return facts as JSON gives them back: tuples as lists, keys as texts."""
    found: Facts = json.loads(json.dumps(facts, allow_nan=False))
    return found


def _seal(manifest: Facts) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _identity(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > _HASHED_UP_TO:
        return {"bytes": size}
    with path.open("rb") as stream:
        return {"bytes": size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
