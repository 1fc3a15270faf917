"""The text view of a log: what a user has done before a moment, in words, the most recent first.

A text is a row of phrases: a head that sums up the past, then one phrase for each event. Lines of one user, time, type
and order are one event. Nothing loops over events in Python: the engine sorts lines, numpy finds what lies before a
moment, polars writes every different phrase once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.events.keys import read_keys
from valuecast.events.log import EventLog
from valuecast.language import Language, Text
from valuecast.sequences import histories, numerals, titles, wording
from valuecast.sequences.histories import Histories
from valuecast.sequences.titles import Roles

EVENTS: Final = 64
WORDS: Final = 8
_NO_PHRASES: Final = pl.DataFrame(schema={"row": pl.Int64, "place": pl.Int64, "text": pl.String})
_SPOKEN: Final = ("newest", "gap", "kind", "lines", "amount", "about", "said")


@dataclass(frozen=True, eq=False)
class Phrases:
    """Texts of R keys as phrases: a text is its head, then its events, the most recent first.

    Attributes:
        distinct: every different phrase once, sorted.
        starts: number of each text's first phrase; shape (R + 1,), int64.
        codes: which of ``distinct`` each phrase is, of all texts one after the other; shape (N,), int64.
        language: of the phrases.
    """

    distinct: pl.Series
    starts: NDArray[np.int64]
    codes: NDArray[np.int64]
    language: Language = "en"

    def __len__(self) -> int:
        return len(self.starts) - 1

    def text(self, row: int, *, phrases: int | None = None) -> str:
        """Return one text, or the first so many of its phrases."""
        codes = self.codes[self.starts[row] : self.starts[row + 1]][:phrases]
        return Text(" ", "").to(self.language).join(self.distinct.gather(codes))


def phrases(
    log: EventLog, keys: pl.DataFrame, *, language: Language, events: int = EVENTS, words: int = WORDS
) -> Phrases:
    """Write what each user did before each moment.

    Args:
        log: the log.
        keys: ``user, at``, in any order; a user without events has a head that says so.
        language: to write in.
        events: no more of the last events of a key are told.
        words: no more of the titles of an event's items.

    Returns:
        Phrases of the rows of ``keys``, in their order.

    Raises:
        LogError: the keys are not keys, or a moment is later than the log is known.
        ConfigError: there is no such language.
    """
    Text("", "").to(language)  # refuses another one, also where there are no keys
    asked = read_keys(log, keys).with_row_index("row").cast({"row": pl.Int64})
    when, place = np.unique(asked[c.AT].dt.epoch("us").to_numpy(), return_inverse=True)
    chosen = titles.roles(log, when) if len(when) else []
    different = list(dict.fromkeys(chosen))
    role = np.array([different.index(each) for each in chosen], np.int64)[place]
    asked = asked.with_columns(pl.Series("role", role, pl.Int64))
    facts, told = [histories.NO_FACTS], [_NO_PHRASES]
    for part, past in histories.parts(log, asked, language):
        facts.append(histories.facts(part, past, language))
        pairs = _pairs(part.join(facts[-1], on="row", maintain_order="left"), past, limit=events)
        told.append(_told(pairs, past, different, language=language, words=words))
    known = asked.join(pl.concat(facts), on="row", how="left", maintain_order="left")
    heads = wording.heads(known.with_columns(month=pl.col(c.AT).dt.month()), language)
    head = pl.DataFrame({"row": asked["row"], "place": 0, "text": heads}, schema=_NO_PHRASES.schema)
    written = pl.concat([head, *told])
    written = written.sort("row", "place")
    distinct = written["text"].unique().sort()
    codes = written["text"].cast(pl.Enum(distinct)).to_physical().cast(pl.Int64).to_numpy()
    lengths = np.bincount(written["row"].to_numpy(), minlength=len(asked))
    return Phrases(distinct, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), codes, language)


def _pairs(part: pl.DataFrame, past: Histories, *, limit: int) -> pl.DataFrame:
    """Return what is said of each key's last events, apart from their texts: one row for each phrase.

    Args:
        part: keys that have a past.
        past: of their users.
        limit: no more events of a key.
    """
    time = past.events["time"].to_numpy()
    owner, at = part["owner"].to_numpy(), part[c.AT].dt.epoch("us").to_numpy()
    after = histories.earlier(past.owner, time, owner, at)
    count = np.minimum(after - past.starts[owner], limit)
    key = np.repeat(np.arange(len(part)), count)
    place = np.arange(len(key)) - np.repeat(np.cumsum(count) - count, count)
    event = after[key] - 1 - place
    newest = place == 0
    later = np.append(time, 0)[event + 1]
    gap = numerals.spans(np.where(newest, at[key], later) - time[event])
    # a type that is the only one so far is in the head
    kind = pl.when(part["types"].gather(key) > 1).then(past.events["kind"].gather(event))
    return pl.DataFrame(
        {
            "row": part["row"].gather(key),
            "role": part["role"].gather(key),
            "place": place + 1,
            "event": event,
            "newest": newest,
            "gap": gap,
            "kind": pl.select(kind).to_series(),
            "lines": past.events["lines"].gather(event),
            "amount": past.events["amount"].gather(event),
        }
    )


def _told(pairs: pl.DataFrame, past: Histories, roles: list[Roles], *, language: Language, words: int) -> pl.DataFrame:
    """Return ``row, place, text``: every different phrase is written once."""
    said = pl.concat(
        _said(past, pairs.filter(pl.col("role") == i)["event"], each, language=language, words=words).with_columns(
            role=pl.lit(i, pl.Int64)
        )
        for i, each in enumerate(roles)
    )
    pairs = pairs.join(said, on=["role", "event"], how="left", maintain_order="left")
    # what an event is about is said where it differs from what was said before, that is of the event after it
    unlike = pl.col("newest") | pl.col("about").ne_missing(pl.col("about").shift())
    pairs = pairs.with_columns(about=pl.when(unlike).then("about"))
    different = pairs.select(_SPOKEN).unique(maintain_order=True)
    different = different.with_columns(text=wording.events(different, language))
    return pairs.join(different, on=_SPOKEN, how="left", nulls_equal=True).select(_NO_PHRASES.columns)


def _said(past: Histories, events: pl.Series, roles: Roles, *, language: Language, words: int) -> pl.DataFrame:
    """Return ``event, said, about`` of some events: what their items are, and the categories of those."""
    wanted = np.zeros(len(past.events), np.bool_)
    wanted[events] = True
    some = wanted[past.event]
    lines = past.lines.filter(pl.Series(some)).with_columns(event=pl.Series(past.event[some]))
    texts = [[name if name == c.ITEM else past.column(name) for name in names] for names in roles.said]
    found = titles.told(lines, texts, words=words, language=language).rename({"told": "said"})
    abouts = [
        titles.told(lines, [[past.column(name)]], words=titles.ABOUT_WORDS, language=language).rename({"told": name})
        for name in roles.abouts
    ]
    about = pl.DataFrame({"event": np.flatnonzero(wanted)})
    for each in abouts:
        about = about.join(each, on="event", how="left", maintain_order="left")
    separator = Text(", ", "，").to(language)
    joined = pl.concat_str(roles.abouts, separator=separator, ignore_nulls=True) if abouts else pl.lit(None, pl.String)
    about = about.select("event", about=pl.when(joined != "").then(joined))
    return about.join(found, on="event", how="left", maintain_order="left").select("event", "said", "about")
