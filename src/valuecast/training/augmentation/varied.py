"""What training reads in place of the histories as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from valuecast.config.augment import Augmentation
from valuecast.models.reading import Body, EventReading, Reading
from valuecast.training.augmentation import events

if TYPE_CHECKING:
    from valuecast.models.text.network import TextBody, TextReading


def varied(reading: Reading, settings: Augmentation, *, body: Body, frozen: bool, seed: int) -> Reading:
    """Vary what training reads.

    Args:
        reading: histories and rows that are learned from.
        settings: what is varied; if that is nothing, the reading is returned as it is.
        body: whose network reads it.
        frozen: whether no weight of the network is trained, so that it reads every history once.
        seed: of what is drawn once for all epochs, such as synonyms.

    Raises:
        ConfigError: an option can do nothing here.
        SourceError: the thesaurus cannot be read.
        ModelError: a translation model is missing, or does not translate.
    """
    if settings == Augmentation():
        return reading
    if isinstance(reading, EventReading):
        return events.varied(reading, settings, frozen=frozen)
    from valuecast.models.text.network import TextBody, TextReading  # noqa: PLC0415 - it takes a second to import

    assert isinstance(reading, TextReading)
    assert isinstance(body, TextBody)
    return _reworded(reading, body, settings, frozen=frozen, seed=seed)


def _reworded(reading: TextReading, body: TextBody, settings: Augmentation, *, frozen: bool, seed: int) -> TextReading:
    from valuecast.training.augmentation.variants import varied_phrases  # noqa: PLC0415 - likewise

    if frozen:
        settings.refuse("texts", why="the language model is frozen and reads every history once")
    assert reading.told is not None
    found = varied_phrases(body.tokenizer, reading.told, settings, tokens=body.text.tokens, seed=seed)
    return replace(reading, tokens=found)
