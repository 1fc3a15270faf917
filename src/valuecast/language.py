"""What a person reads, in English and in Chinese."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from valuecast.errors import ConfigError

Language = Literal["en", "zh"]
LANGUAGES: Final[tuple[str, ...]] = get_args(Language)


@dataclass(frozen=True)
class Text:
    """One text in both languages."""

    en: str
    zh: str

    def __str__(self) -> str:
        return self.en

    def format(self, **values: object) -> Text:
        """Fill the same values into both languages."""
        return Text(self.en.format(**values), self.zh.format(**values))

    def to(self, language: str) -> str:
        """Return the text in ``language``.

        Raises:
            ConfigError: there is no such language.
        """
        if language not in LANGUAGES:
            raise ConfigError(f"no language '{language}'", remedy=f"Use one of: {', '.join(LANGUAGES)}.")
        return self.zh if language == "zh" else self.en
