"""Texts inside events: which columns a language model reads, beside the codes and numbers of an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from valuecast import columns as c
from valuecast.errors import ConfigError, suggest
from valuecast.events.attributes import ITEMS
from valuecast.events.log import EventLog
from valuecast.events.schema import Kind
from valuecast.sequences.common import readable
from valuecast.sequences.encoding import Encoding, TextReader
from valuecast.sequences.learning import surveyed


def reads(encoding: Encoding, log: EventLog, *, reader: TextReader, columns: Sequence[str] | None = None) -> Encoding:
    """Return a shop's own encoding with the texts of some columns as one more part of an event.

    Args:
        encoding: learned from the log.
        log: cut to what may be known.
        reader: makes vectors of texts.
        columns: of the log, by the names of ``EventLog.schema``; None: those that say what events were about.

    Raises:
        ConfigError: the log has no such column, or none that has words.
    """
    if columns is not None:
        check(log, columns)
    texts = tuple(columns) if columns is not None else readable(log, surveyed(log)[0])
    if not texts:
        what = "no column of the log has words that say what events were about"
        remedy = "Leave the language model out, or name columns: [text] and columns = [...]"
        raise ConfigError(what, where=f"text, {log.origin}", remedy=remedy)
    needed = dict.fromkeys((name for name in texts if name != c.ITEM), Kind.STRING.value)
    return replace(encoding, texts=texts, reader=reader, requires={**encoding.requires, **needed})


def check(log: EventLog, columns: Sequence[str]) -> None:
    """Refuse columns that hold no texts of events.

    Raises:
        ConfigError: there is one.
    """
    known = {name: kind for name, kind in log.schema.items() if name in log.fields or name.startswith(ITEMS)}
    texts = [c.ITEM, *(name for name, kind in known.items() if kind == Kind.STRING)]
    for name in columns:
        if name not in texts:
            what = f"'{name}' holds a {known[name]}, not texts" if name in known else f"the log has no column '{name}'"
            raise ConfigError(what, where="text: columns", remedy=suggest(name, texts))
