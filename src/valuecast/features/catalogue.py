"""What is computed: windows, vocabularies and which parts of a log carry anything. Learned once, saved with a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from valuecast import columns as c
from valuecast.errors import ModelError
from valuecast.events.attributes import check_columns
from valuecast.events.log import EventLog
from valuecast.features import families
from valuecast.features.feature import ACTIVITY, Feature, Window, windows

__all__ = ["Feature", "FeatureSet", "Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """The values of one text or boolean column that have a feature or a code of their own."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class FeatureSet:
    """The definition of a feature table. Columns of the log have the names of ``EventLog.schema``.

    Attributes:
        windows: lengths in days, ascending; all history always comes on top.
        events: types of event with features of their own, the commonest first.
        items: whether events name items.
        orders: whether events name orders; without them a purchase is whatever a user buys at one moment.
        spend: whether purchases carry positive amounts.
        refunds: whether any event carries a negative amount.
        clock: whether times are finer than days.
        seasons: whether the log is long enough to have seen every season.
        categories: event fields and item attributes whose commonest values get shares.
        numbers: numeric event fields, which discounts usually are.
        user_codes: user attributes that become codes; other values, and absence, have none (null).
        user_numbers: user attributes that are taken as they are.
        requires: the entries of ``EventLog.schema`` that a log must have, and their types.
    """

    windows: tuple[int, ...]
    events: tuple[str, ...]
    items: bool
    orders: bool
    spend: bool
    refunds: bool
    clock: bool
    seasons: bool
    categories: tuple[Vocabulary, ...]
    numbers: tuple[str, ...]
    user_codes: tuple[Vocabulary, ...]
    user_numbers: tuple[str, ...]
    requires: Mapping[str, str] = field(hash=False)

    @property
    def features(self) -> tuple[Feature, ...]:
        """Every feature, in the order of the table's columns."""
        return tuple(column.feature for column in families.columns(self))

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams with active days and gaps of their own: purchases, and all events where there are others."""
        if c.PURCHASE not in self.events:
            return (ACTIVITY,)
        return (c.PURCHASE,) if len(self.events) == 1 else (c.PURCHASE, ACTIVITY)

    @property
    def carries(self) -> frozenset[str]:
        """What a feature may need: streams, returns, several types of event, and the parts that are there."""
        parts = {name for name in ("items", "orders", "spend", "refunds", "clock") if getattr(self, name)}
        known = {event for event in (c.PURCHASE, c.RETURN) if event in self.events}
        return frozenset({*parts, *known, *self.streams, *(("types",) if len(self.events) > 1 else ())})

    @property
    def nested(self) -> tuple[Window, ...]:
        """The windows, the shortest first and all history last."""
        return windows(self.windows)

    def check(self, log: EventLog) -> None:
        """Refuse a log whose schema is not the one the features were learned on.

        Raises:
            ModelError: a column is missing or has another type.
        """
        check_columns(log, self.requires, reader="the features")

    def to_dict(self) -> dict[str, Any]:
        """Return the definition as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> FeatureSet:
        """Read what ``to_dict`` returned, before or after a passage through JSON.

        Raises:
            ModelError: it is not such a definition.
        """
        try:
            vocabularies = {
                name: tuple(Vocabulary(entry["column"], tuple(entry["values"])) for entry in saved[name])
                for name in ("categories", "user_codes")
            }
            sequences = {name: tuple(saved[name]) for name in ("windows", "events", "numbers", "user_numbers")}
            return cls(**{**saved, **sequences, **vocabularies, "requires": dict(saved["requires"])})
        except (KeyError, TypeError, ValueError) as error:
            what = f"the saved features are not understood ({error})"
            remedy = "Use the version of valuecast that wrote them, or fit the model again."
            raise ModelError(what, remedy=remedy) from None
