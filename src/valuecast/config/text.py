"""Which language model reads what users did, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from valuecast.errors import ConfigError

Tongue = Literal["en", "zh"]
Pooling = Literal["auto", "mean", "first", "last"]


@dataclass(frozen=True)
class TextModel:
    """A ``[text]`` of a recipe: a language model, and how a history is told to it.

    Attributes:
        model: a Hugging Face encoder or decoder: a folder, ``package:`` and the name of a package that carries weights,
            or the id of a hub.
        language: that histories are told in: one that the model has learned.
        tokens: of a history at most, the most recent events first; special tokens count.
        pooling: what is made of the states of the tokens: their ``mean``, the ``first`` or the ``last`` one; ``auto``:
            the mean of an encoder, the last of a decoder, whose other states have not read the whole.
    """

    model: str
    language: Tongue = "en"
    tokens: int = 128
    pooling: Pooling = "auto"

    def __post_init__(self) -> None:
        if self.tokens < 16:
            raise ConfigError(f"{self.tokens}", where="tokens", remedy="Give 16 or more.")
