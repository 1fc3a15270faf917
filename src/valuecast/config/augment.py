"""How training data is varied, so that a model does not learn by heart what does not matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from valuecast.errors import ConfigError

Level = Literal["events", "texts"]

_OPTIONS: Final[dict[Level, tuple[str, ...]]] = {
    "events": ("crop", "mask", "jitter", "reorder"),
    "texts": ("synonyms", "translations"),
}


@dataclass(frozen=True)
class Augmentation:
    """An ``[augmentation]`` of a recipe: what is varied in training, anew in each epoch; zero varies nothing.

    Rows that are judged are never varied, and labels are never touched.

    Attributes:
        crop: chance that a window loses its earliest events: any number of them is as likely as any other, but the last
            event before its first row always stays.
        mask: share of events that only say when they were: each of their codes becomes the one for unknown values of
            its column, and their numbers, but for the gap before them, go missing.
        jitter: relative spread of amounts and of gaps, whose means stay; times stay in order, and every row keeps its
            moment and how long ago its last event was.
        reorder: chance that events of one user at one moment, such as the lines of an order, change places.
        synonyms: share of the words known to the thesaurus that are replaced by a synonym.
        thesaurus: a file of words and their synonyms, or a folder with WordNet's database; see
            ``valuecast.training.augmentation.synonyms``.
        translator: a translation model into another language: a folder, or the id of a hub.
        back: one that translates back.
        languages: what a model of many languages calls the one of the texts, and the one in between; models of one pair
            need none.
        translations: how many paraphrases of each text are made by translating it there and back.
    """

    PARTIAL: ClassVar[bool] = True

    crop: float = 0.0
    mask: float = 0.0
    jitter: float = 0.0
    reorder: float = 0.0
    synonyms: float = 0.0
    thesaurus: str | None = None
    translator: str | None = None
    back: str | None = None
    languages: tuple[str, ...] = ()
    translations: int = 0

    def __post_init__(self) -> None:
        for name in ("crop", "reorder", "synonyms"):
            self._within(name, "Give 0 to 1.", allowed=0 <= getattr(self, name) <= 1)
        for name in ("mask", "jitter"):
            self._within(name, "Give a share from 0 to below 1.", allowed=0 <= getattr(self, name) < 1)
        self._within("translations", "Give 0 or more.", allowed=self.translations >= 0)
        self._within("languages", "Give two, or none.", allowed=len(self.languages) in (0, 2))
        self._together("synonyms", "thesaurus")
        self._together("translations", "translator")
        self._together("translations", "back")
        if self.languages:
            self._together("languages", "translations")

    def on(self, level: Level) -> tuple[str, ...]:
        """Return the names of the options of a level that are in use."""
        return tuple(name for name in _OPTIONS[level] if getattr(self, name))

    def refuse(self, level: Level, *, why: str) -> None:
        """Refuse the options of a level where they have no meaning.

        Raises:
            ConfigError: one of them is in use.
        """
        for name in self.on(level):
            raise ConfigError(f"{name} = {getattr(self, name)}, but {why}", where=name, remedy=f"Leave {name} out.")

    def _within(self, name: str, remedy: str, *, allowed: bool) -> None:
        if not allowed:
            raise ConfigError(f"{getattr(self, name)}", where=name, remedy=remedy)

    def _together(self, one: str, other: str) -> None:
        for name, missing in ((one, other), (other, one)):
            if getattr(self, name) and not getattr(self, missing):
                remedy = f"Give {missing}, or leave {name} out."
                raise ConfigError(f"{name} without {missing} does nothing", where=name, remedy=remedy)
