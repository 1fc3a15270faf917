"""Vectors of the texts inside events, by a language model that does not learn.

A model remembers which language model that is, not its weights: it is opened when texts are first read. Every different
text goes through it once, and its vector is kept on disk (see ``valuecast.models.text.frozen``). So an item that was
never seen before has a vector as soon as it has a title.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from valuecast.config.learning import EventTexts
from valuecast.errors import MissingExtraError, ModelError
from valuecast.sequences.batch import FloatArray, IntArray
from valuecast.sequences.encoding import TextReader
from valuecast.sequences.sequences import Sequences, Texts
from valuecast.sequences.windows import ranges

if TYPE_CHECKING:
    from valuecast.models.text.frozen import FrozenEncoder

MOVED: Final = "VALUECAST_TEXT_MODEL"
"""Where the language model is now, if not where it was."""
FEW: Final = 2_000
"""So many texts are remembered in the process, not only on disk."""
MOST: Final = 20_000
"""Texts that are remembered at a time."""


@dataclass(frozen=True, eq=False)
class TextVectors:
    """What a network reads of the texts of events.

    Attributes:
        texts: of all events.
        vectors: of each different text; shape (S, width), float32.
    """

    texts: Texts
    vectors: FloatArray

    @classmethod
    def of(cls, sequences: Sequences, *, progress: Callable[[str], None] | None = None) -> TextVectors | None:
        """Make a vector of every different text; None where no text is read.

        Args:
            sequences: of a log.
            progress: is told how it goes.

        Raises:
            MissingExtraError: the package that carries the language model is not installed.
            ModelError: the language model is not where it was, or is another one.
        """
        reader = sequences.encoding.reader
        if reader is None or sequences.texts is None:
            return None
        return cls(sequences.texts, _vectors(opened(reader), sequences.texts.distinct, progress))

    def at(self, event: IntArray) -> Tensor:
        """Return for each event the sum over its columns of the mean vector of its lines; zeros for -1, or no text.

        On the CPU, where batches are made: so the vectors of all texts need not fit on a GPU.

        Args:
            event: numbers of events in the sequences; shape (B, L).

        Returns:
            Shape (B, L, width).
        """
        shown = event >= 0
        first = self.texts.edges[event[shown]]
        size: NDArray[np.int64] = np.zeros(event.shape, np.int64)
        size[shown] = self.texts.edges[event[shown] + 1] - first
        chosen = ranges(first, size[shown])
        found = nn.functional.embedding_bag(
            torch.from_numpy(self.texts.places[chosen].astype(np.int64)),
            torch.from_numpy(self.vectors),
            torch.from_numpy(np.cumsum(size.ravel()) - size.ravel()),
            mode="sum",
            per_sample_weights=torch.from_numpy(self.texts.weights[chosen]),
        )
        return found.view(*event.shape, -1)


def reader_of(settings: EventTexts) -> TextReader:
    """Open the language model that ``settings`` names, and say what it is.

    Raises:
        ConfigError: texts of more tokens than it reads.
        MissingExtraError: the package that carries it is not installed.
        ModelError: there is no such model, or it cannot be used.
    """
    encoder = _open(settings.model, settings.tokens, _cache())
    return TextReader(settings.model, settings.tokens, encoder.width, encoder.digest)


def opened(reader: TextReader) -> FrozenEncoder:
    """Open the language model by which texts were read before.

    Raises:
        MissingExtraError: the package that carries it is not installed.
        ModelError: it is not where it was, or is another one: its vectors would mean nothing to the network.
    """
    name = os.environ.get(MOVED) or reader.model
    elsewhere = f"Put it back, or set {MOVED} to where it is now."
    try:
        encoder = _open(name, reader.tokens, _cache())
    except MissingExtraError:
        raise
    except ModelError as error:
        what = f"the language model that reads the texts of events cannot be opened: {error.what}"
        raise ModelError(what, where=error.where or name, remedy=elsewhere) from error
    if encoder.digest != reader.digest:
        what = "this is not the language model by which the network has learned to read the texts of events"
        raise ModelError(what, where=name, remedy=elsewhere)
    return encoder


def _vectors(encoder: FrozenEncoder, texts: pl.Series, progress: Callable[[str], None] | None) -> FloatArray:
    """Return the vector of each text; those of few texts, as of one user's answers, are remembered in the process."""
    if len(texts) > FEW:
        return encoder.vectors(texts, progress=progress)
    names, known = texts.to_list(), _known(encoder.digest)
    found = {name: vector for name in names if (vector := known.get(name)) is not None}
    if missing := [name for name in names if name not in found]:
        new = dict(zip(missing, encoder.vectors(missing, progress=progress), strict=True))
        if len(known) + len(new) > MOST:
            known.clear()
        known.update(new)
        found |= new
    return np.stack([found[name] for name in names]) if names else np.zeros((0, encoder.width), np.float32)


@lru_cache(maxsize=2)
def _known(digest: str) -> dict[str, FloatArray]:
    """Vectors of texts by the encoder of a digest that this process remembers."""
    return {}


@lru_cache(maxsize=2)
def _open(name: str, tokens: int, cache: Path) -> FrozenEncoder:
    """Open a language model once in a process: many answers are asked of it."""
    from valuecast.models.text.frozen import FrozenEncoder  # noqa: PLC0415 - it takes a second to import

    return FrozenEncoder.open(name, tokens=tokens, cache=cache)


def _cache() -> Path:
    from valuecast.models.text.source import cache_folder  # noqa: PLC0415 - likewise

    return cache_folder() / "vectors"
