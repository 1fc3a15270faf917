"""Moments: naive datetimes in UTC with microsecond precision. A bare date is its midnight."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from valuecast.errors import ConfigError

Moment = str | date | datetime
DAY = timedelta(days=1)


def moment(value: Moment, *, where: str | None = None) -> datetime:
    """Read ``value`` as a moment.

    Text is ISO 8601; a zone or offset is converted to UTC, its absence means UTC.

    Raises:
        ConfigError: the text is not a date or a time.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ConfigError(
                f"'{value}' is not a date or time", where=where, remedy="Write it like 2011-09-10 or 2011-09-10T18:30."
            ) from None
    if not isinstance(value, datetime):
        return datetime.combine(value, time.min)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def text(value: datetime) -> str:
    """Write a moment as short as it can be read back: the date alone at midnight."""
    return value.date().isoformat() if value.time() == time.min else value.isoformat(timespec="auto")
