"""Texts of which training reads now one variant and now another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from valuecast.config.augment import Augmentation
from valuecast.models.text.tokens import Draw, Tokenised, Tokens, tokenise, tokenise_texts
from valuecast.training.augmentation.phrases import retitled, titles_of
from valuecast.training.augmentation.synonyms import read_thesaurus, replaced
from valuecast.training.augmentation.translation import paraphrases

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from valuecast.sequences.textify import Phrases

SYNONYM_VARIANTS: Final = 8
"""With synonyms, no fewer variants are made: tokenised once, they cost nothing in an epoch."""


def variants(texts: Sequence[str], settings: Augmentation, *, seed: int) -> list[list[str]]:
    """Return other texts for each, none where nothing is varied.

    Without synonyms they are the paraphrases. With synonyms there are 8 or more: of the text and its paraphrases in
    turn, each with other words replaced.

    Raises:
        SourceError: the thesaurus cannot be read.
        ModelError: a translation model is missing, or does not translate.
    """
    translated = [list(each.texts) for each in paraphrases(texts, settings, seed=seed)]
    if not settings.synonyms or settings.thesaurus is None:
        return translated
    thesaurus = read_thesaurus(Path(settings.thesaurus))
    bases = [list(texts), *translated]
    rng = np.random.default_rng(seed)
    return [
        replaced(bases[number % len(bases)], thesaurus, share=settings.synonyms, rng=rng)
        for number in range(max(SYNONYM_VARIANTS, len(bases)))
    ]


@dataclass(frozen=True, eq=False)
class Variants:
    """The tokens of R texts and their variants: what training reads in place of ``Tokenised``.

    Attributes:
        tokens: of the R texts as they are, then of their first variants, and so on; shape (V * R,).
        rows: R.
    """

    tokens: Tokenised
    rows: int

    def __len__(self) -> int:
        return self.rows

    def plan(self, tokens: int, draw: Draw = None) -> list[NDArray[np.int64]]:
        """As ``Tokenised.plan``, but of each text one variant that is drawn; without ``draw`` the text as it is."""
        chosen, some = self._chosen(draw)
        return [chosen[item] for item in some.plan(tokens, draw)]

    def batches_of(self, rows: int, draw: Draw = None) -> list[NDArray[np.int64]]:
        """As ``Tokenised.batches_of``, with variants as in ``plan``."""
        chosen, some = self._chosen(draw)
        return [chosen[item] for item in some.batches_of(rows, draw)]

    def batch(self, chosen: NDArray[np.int64], users: tuple[str, ...] = ()) -> Tokens:
        """Pad variants; the rows of the batch are those of the texts."""
        found = self.tokens.batch(chosen, users)
        return replace(found, row=found.row % self.rows)

    def _chosen(self, draw: Draw) -> tuple[NDArray[np.int64], Tokenised]:
        """Return a variant of each text, and something as long as these."""
        number = 0 if draw is None else draw.integers(len(self.tokens) // max(self.rows, 1), size=self.rows)
        chosen = np.arange(self.rows) + self.rows * number
        starts = np.concatenate([[0], np.cumsum(self.tokens.lengths[chosen])])
        return chosen, replace(self.tokens, starts=starts)


def varied_phrases(
    tokenizer: PreTrainedTokenizerBase, phrases: Phrases, settings: Augmentation, *, tokens: int, seed: int
) -> Variants:
    """Tokenise histories, and variants in which the titles of items are others.

    Args:
        tokenizer: of the model.
        phrases: of the rows.
        settings: what is varied.
        tokens: of a row at most.
        seed: of what is drawn.

    Raises:
        ConfigError: an option varies events.
        SourceError: the thesaurus cannot be read.
        ModelError: a translation model is missing, or does not translate.
    """
    settings.refuse("events", why="histories are read as texts here")
    titles = titles_of(phrases)
    others = variants(titles, settings, seed=seed)
    told = [phrases, *(retitled(phrases, dict(zip(titles, each, strict=True))) for each in others)]
    return _together([tokenise(tokenizer, each, tokens=tokens) for each in told])


def varied_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], settings: Augmentation, *, tokens: int, seed: int
) -> Variants:
    """Tokenise texts that people wrote, and variants of them; see ``varied_phrases``."""
    settings.refuse("events", why="there are no events, but texts")
    told = [list(texts), *variants(texts, settings, seed=seed)]
    return _together([tokenise_texts(tokenizer, each, tokens=tokens) for each in told])


def _together(parts: Sequence[Tokenised]) -> Variants:
    ids = np.concatenate([part.ids for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Variants(Tokenised(ids, starts, parts[0].pad), len(parts[0]))
