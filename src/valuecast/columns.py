"""Names of the columns that pass between stages.

Every table that passes between stages is keyed by ``(user, at)``. ``user``, ``at`` and ``order``
are reserved words in SQL: quote them wherever SQL is written by hand.
"""

from __future__ import annotations

from typing import Final

# the canonical event table
ID: Final = "id"
USER: Final = "user"
TIME: Final = "time"
EVENT: Final = "event"
ITEM: Final = "item"
AMOUNT: Final = "amount"
ORDER: Final = "order"
BUCKET: Final = "bucket"

# the types of event that features and tasks know by name
PURCHASE: Final = "purchase"
RETURN: Final = "return"

# the dated side tables
VALID_FROM: Final = "valid_from"

# tables keyed by (user, at)
AT: Final = "at"
TARGET: Final = "target"
LABEL: Final = "label"
SCORE: Final = "score"
LOW: Final = "low"
HIGH: Final = "high"
TIER: Final = "tier"

KEY: Final = (USER, AT)
EVENT_COLUMNS: Final = (ID, USER, TIME, EVENT, ITEM, AMOUNT, ORDER)
"""Columns that every log has; further ones are the shop's own fields."""

RESERVED: Final = frozenset({*EVENT_COLUMNS, BUCKET, AT, VALID_FROM})
"""Names that a shop's own field cannot take."""
