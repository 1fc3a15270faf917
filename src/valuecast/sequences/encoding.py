"""What an event is made of: which columns become codes, which become numbers. Learned once, saved with a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.errors import ModelError
from valuecast.events.attributes import check_columns
from valuecast.events.log import EventLog

KINDS: Final = 8
"""So many types of event, the commonest, have a clock of their own."""


@dataclass(frozen=True)
class Vocabulary:
    """The values of one column that have a code of their own, the commonest first."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """One numeric part of an event, and strictly rising quantiles of it between which a network is linear."""

    name: str
    edges: tuple[float, ...]


@dataclass(frozen=True)
class TextReader:
    """A language model that makes vectors of texts, and does not learn; its weights are kept elsewhere.

    Attributes:
        model: the name it is opened by: a folder, a package, or the id of a hub.
        tokens: of a text that it reads at most.
        width: of a vector.
        digest: of the model, its tokenizer and ``tokens``, which decide every vector.
    """

    model: str
    tokens: int
    width: int
    digest: str

    @property
    def characters(self) -> int:
        """Of a text that are kept for it at most: more than its tokens hold, in any language."""
        return 8 * self.tokens


@dataclass(frozen=True)
class Shop:
    """What a common encoding knows of one shop, and all in which it differs from shop to shop.

    Attributes:
        texts: columns whose words say what an item is.
        amount: median size of the amounts that are not zero; an amount is read as a multiple of it.
        clock: whether times are finer than days; where they are not, no hour is shown.
        seasons: whether the log is long enough to have seen every season; where it is not, none is shown.
        left_out: columns that are not read, because other shops have none of their kind.
        told: columns whose texts the encoding's ``reader`` reads, if it has one.
    """

    texts: tuple[str, ...]
    amount: float
    clock: bool
    seasons: bool
    left_out: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoding:
    """The definition of an event. Columns have the names of ``EventLog.schema``.

    Every vocabulary has a slice of the codes: its first code is that of a value it does not know, the next ones are
    those of its values in their order. A missing value has no code.

    It is one shop's own, or common to many: then it has the same codes and numbers in all of them, because an item is
    the words that describe it and an amount is a multiple of what is usual in the shop (see
    ``valuecast.sequences.common``).

    Attributes:
        grouped: whether lines of one user, time, type and order are one event ("order-level events").
        vocabularies: ``event``, then ``item`` if there is one, then text and boolean fields and item attributes. If it
            is common: ``event``, then ``item``, whose values are words.
        numbers: ``amount``, ``lines`` (of an order-level event), ``gap_days`` (since the user's previous event), then
            numeric fields and item attributes, if it is not common; each only where it varies.
        clock: whether events have an hour: their times are finer than days.
        seasons: whether there is a season: the log is long enough to have seen every one.
        requires: the entries of ``EventLog.schema`` that a log must have, and their types.
        common: whether it is common to many shops.
        shop: if it is, the shop that it reads; None: that is still to be said.
        texts: columns whose texts ``reader`` reads. Empty if it is common: shops have different ones.
        reader: makes a vector of each text, also of one that was never seen before; None: nothing is made of texts.
    """

    grouped: bool
    vocabularies: tuple[Vocabulary, ...]
    numbers: tuple[Number, ...]
    clock: bool
    seasons: bool
    requires: Mapping[str, str]
    common: bool = False
    shop: Shop | None = None
    texts: tuple[str, ...] = ()
    reader: TextReader | None = None

    @property
    def told(self) -> tuple[str, ...]:
        """Columns whose texts are read in this shop."""
        if self.reader is None:
            return ()
        return self.texts if self.shop is None else self.shop.told

    @property
    def codes(self) -> int:
        """Number of codes."""
        return sum(1 + len(vocabulary.values) for vocabulary in self.vocabularies)

    def columns_of_codes(self) -> NDArray[np.int64]:
        """Return the number of the vocabulary that each code belongs to; shape (codes,)."""
        sizes = [1 + len(vocabulary.values) for vocabulary in self.vocabularies]
        return np.repeat(np.arange(len(sizes)), sizes)

    def span(self, column: str) -> tuple[int, int] | None:
        """Return the slice ``[start, stop)`` of a column's codes, the first for unknown values; None: it has none."""
        start = 0
        for vocabulary in self.vocabularies:
            stop = start + 1 + len(vocabulary.values)
            if vocabulary.column == column:
                return start, stop
            start = stop
        return None

    @property
    def kinds(self) -> tuple[int, ...]:
        """Codes of the commonest types of event, each of which has a clock; none where there is one type."""
        types = self.span(c.EVENT)
        return () if types is None else tuple(range(types[0] + 1, types[1])[:KINDS])

    def check(self, log: EventLog) -> None:
        """Refuse a log whose schema is not the one the encoding was learned on.

        Raises:
            ModelError: a column is missing or has another type, or a common encoding has not been told whose log it is.
        """
        if self.common and self.shop is None:
            what = "sequence models of many shops must know which shop they read"
            raise ModelError(what, where=log.origin, remedy="Take the backbone's at_shop(log).")
        try:
            check_columns(log, self.requires, reader="sequence models")
        except ModelError as error:
            if self.common:
                raise
            elsewhere = "To read the logs of other shops, pre-train on several logs at once, or with --common."
            raise ModelError(error.what, where=error.where, remedy=f"{error.remedy} {elsewhere}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the definition as JSON can hold it."""
        saved = asdict(self)
        # what it has no use for is not there, as before there were common ones, and before texts were read
        left_out = (() if self.common else ("common", "shop")) + (() if self.reader else ("texts", "reader"))
        if self.shop and not self.reader:
            del saved["shop"]["told"]
        return {name: value for name, value in saved.items() if name not in left_out}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Encoding:
        """Read what ``to_dict`` returned, before or after a passage through JSON.

        Raises:
            ModelError: it is not such a definition.
        """
        try:
            parts = {
                "vocabularies": tuple(Vocabulary(one["column"], tuple(one["values"])) for one in saved["vocabularies"]),
                "numbers": tuple(Number(one["name"], tuple(map(float, one["edges"]))) for one in saved["numbers"]),
                "requires": dict(saved["requires"]),
                "shop": _shop(saved.get("shop")),
                "texts": tuple(saved.get("texts", ())),
                "reader": TextReader(**saved["reader"]) if saved.get("reader") else None,
            }
            return cls(**{**saved, **parts})
        except (KeyError, TypeError, ValueError) as error:
            what = f"the saved encoding of events is not understood ({error})"
            remedy = "Use the version of valuecast that wrote it, or train the model again."
            raise ModelError(what, remedy=remedy) from None


def _shop(saved: Mapping[str, Any] | None) -> Shop | None:
    if saved is None:
        return None
    lists = {name: tuple(saved.get(name, ())) for name in ("texts", "left_out", "told")}
    return Shop(**{**saved, **lists})
