"""Errors that the user can mend: what is wrong, where, and what to do about it.

The command line prints such an error as one message and exits with code 2; anything else that is
raised is a fault of ours (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ValuecastError(Exception):
    """Bad input. ``str(error)`` is one message: ``where: what. remedy``."""

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        what = self.what if self.what.endswith((".", "?", "!")) or "\n" in self.what else f"{self.what}."
        return f"{place}{what}" + (f" {self.remedy}" if self.remedy else "")


class SourceError(ValuecastError):
    """A file, column, row or mapping that cannot be read as a log."""


class LogError(ValuecastError):
    """A log that cannot answer what it is asked."""


class TaskError(ValuecastError):
    """A task that does not parse, does not exist, or does not fit the log."""


class ModelError(ValuecastError):
    """A model folder, or a use of it, that cannot work."""


class FitError(ValuecastError):
    """A model that cannot be fitted to these data; the advice says what would help."""


class ConfigError(ValuecastError):
    """A recipe or option that is not understood."""


class MissingExtraError(ValuecastError):
    """A package that is an extra and is not installed."""

    def __init__(self, package: str, *, install: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            remedy=f"Install it with: {install}",
        )


def check_share(value: float, *, where: str) -> None:
    """Check that a number is a share of something, and not of nothing.

    Raises:
        ConfigError: it is not above 0 and at most 1.
    """
    if not 0 < value <= 1:
        raise ConfigError(f"{value}", where=where, remedy="Give a share above 0, and at most 1: 0.1 is a tenth.")


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown name: the nearest known one, or the list of them."""
    names = sorted({str(name) for name in known})
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    listed = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    hint = f"Did you mean '{folded[near[0]]}'? " if near else ""
    return f"{hint}Known: {listed or 'none'}."
