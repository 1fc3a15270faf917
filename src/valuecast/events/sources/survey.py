"""One pass over the bytes of a text file, before the engine reads it.

It counts lines independently of the engine's parser, so that a quote that is never closed cannot
swallow rows unseen; it finds the first byte that is not in the stated encoding; and it rewrites files
that the engine cannot read as they are (other encodings, JSON with a byte order mark).
"""

from __future__ import annotations

import codecs
import gzip
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from valuecast.errors import SourceError

GZIP: Final = b"\x1f\x8b"
_CHUNK: Final = 2**20
_MAGIC: Final = {
    b"PAR1": ("Parquet", "Rename it to .parquet."),
    b"PK\x03\x04": ("an Excel workbook or a ZIP archive", "Rename it to .xlsx, or unpack it."),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "Rename it to .xls."),
    b"SQLite format 3\0": ("a SQLite database", 'Give it as database = "...", with table = "...".'),
    b"%PDF": ("PDF", "Give the table as CSV."),
    b"\x89PNG": ("a PNG image", "Give the table as CSV."),
}
_BLANK_LINE: Final = re.compile(rb"\n(?=\r?\n)")
_OPEN_END: Final = re.compile(rb"\n\r?\Z")
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Survey:
    """What a text file is made of.

    Attributes:
        path: the file that the engine reads: the file itself, or a copy in UTF-8.
        head: its first characters.
        lines: lines, the last one counting even if it is not ended.
        blank: lines with nothing in them.
        compressed: whether ``path`` is gzip.
    """

    path: Path
    head: str
    lines: int
    blank: int
    compressed: bool


def survey(path: Path, *, encoding: str, copy_to: Path) -> Survey:
    """Go through a text file once.

    Args:
        path: plain or gzip; the content tells, not the name.
        encoding: Python's name of an encoding.
        copy_to: where a copy in UTF-8 is written if one is needed.

    Raises:
        SourceError: the file is not text, or not in this encoding.
    """
    try:
        codec = codecs.lookup(encoding).name
    except LookupError:
        remedy = 'Use "utf-8", "gb18030", "utf-16" or "latin-1".'
        raise SourceError(f"no encoding '{encoding}'", where=str(path), remedy=remedy) from None
    with path.open("rb") as raw:
        compressed = raw.read(2) == GZIP
        raw.seek(0)
        with gzip.open(raw) if compressed else raw as stream:
            try:
                return _pass(cast(BinaryIO, stream), path, codec, copy_to, compressed=compressed)
            except (EOFError, gzip.BadGzipFile) as error:
                raise SourceError(f"damaged gzip: {error}", where=str(path), remedy="Copy the file again.") from None


def _pass(stream: BinaryIO, path: Path, codec: str, copy_to: Path, *, compressed: bool) -> Survey:
    chunk = stream.read(_CHUNK)
    _refuse_binary(chunk, path, codec)
    marked = chunk.startswith(codecs.BOM_UTF8) and codec == "utf-8"
    copied = marked or codec not in ("utf-8", "ascii")
    decoder = codecs.getincrementaldecoder("utf-8-sig" if marked else codec)()
    head, position, lines, blank = "", 0, 0, 0
    open_end, last = b"\n", b"\n"  # the first line can be blank too
    with copy_to.open("wb") if copied else nullcontext() as copy:
        while True:
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # the decoder may have held back bytes of the chunk before
                at = position + len(chunk) - len(error.object) + error.start + 1
                raise _undecodable(path, codec, at) from None
            body = text.encode() if copied else chunk
            if copy:
                copy.write(body)
            head += text[: _CHUNK - len(head)]
            lines += body.count(b"\n")
            blank += len(_BLANK_LINE.findall(open_end + body))
            found = _OPEN_END.search(open_end + body)
            open_end = found.group() if found else b""
            last = body[-1:] or last
            position += len(chunk)
            if not chunk:
                break
            chunk = stream.read(_CHUNK)
    if not head.strip():
        raise SourceError("the file is empty", where=str(path), remedy="Give a file with at least one row.")
    if not lines and "\r" in head:
        raise SourceError("lines end in a bare carriage return", where=str(path), remedy="Save it with line feeds.")
    return Survey(copy_to if copied else path, head, lines + (last != b"\n"), blank, compressed and not copied)


def _refuse_binary(head: bytes, path: Path, codec: str) -> None:
    for magic, (name, remedy) in _MAGIC.items():
        if head.startswith(magic):
            raise SourceError(f"this is {name}, not text", where=str(path), remedy=remedy)
    if head.startswith(_UTF16) and not codec.startswith("utf-16"):
        raise SourceError("this is UTF-16", where=str(path), remedy='Add encoding = "utf-16" (--encoding utf-16).')
    if not codec.startswith(("utf-16", "utf-32")) and b"\0" in head:
        at = head.index(b"\0") + 1
        remedy = "Give the table as CSV, JSON lines or Parquet."
        raise SourceError(f"this is a binary file (byte {at} is zero)", where=str(path), remedy=remedy)


def _undecodable(path: Path, codec: str, at: int) -> SourceError:
    remedy = "Save it in the stated encoding, or state another one."
    if codec == "utf-8":
        remedy = 'Add encoding = "gb18030" (Chinese; --encoding gb18030), or "latin-1" (Western European).'
    return SourceError(f"byte {at:,} is not {codec}", where=str(path), remedy=remedy)
