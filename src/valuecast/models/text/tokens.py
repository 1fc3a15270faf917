"""Texts as numbers of tokens: what a language model reads, in batches of similar length.

A history is phrases, and few of them differ: each is tokenised once, and the rows are put together from their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from valuecast.errors import ConfigError, ModelError
from valuecast.language import Text
from valuecast.sequences.windows import by_length, ranges

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from valuecast.sequences.textify import Phrases

IntArray = NDArray[np.int64]
Draw = np.random.Generator | None

_CHARACTERS = 50  # of a text for each token that there is room for: what is beyond is not looked at
_AT_ONCE = 8192  # texts that are tokenised, rows that are put together
_POOL = 32  # batches
_JOINT = Text(" ", "")  # between phrases, as in ``Phrases.text``


@dataclass(frozen=True, eq=False)
class Tokens:
    """``B`` texts of at most ``L`` tokens, padded at their ends: what a network over text reads.

    Attributes:
        ids: numbers of the tokens; shape (B, L), int64.
        mask: whether there is a token; shape (B, L), bool.
        row: the number of each text in the table of keys it came from; shape (B,), int64.
        users: whose they are, for messages; or nothing.
        events: how many tokens there are, without padding.
    """

    ids: Tensor
    mask: Tensor
    row: Tensor
    users: tuple[str, ...]
    events: int

    def to(self, device: torch.device | str) -> Tokens:
        """Copy to a device, without waiting where the memory is pinned."""
        ids, mask, row = (each.to(device, non_blocking=True) for each in (self.ids, self.mask, self.row))
        return replace(self, ids=ids, mask=mask, row=row)


@dataclass(frozen=True, eq=False)
class Tokenised:
    """The tokens of ``R`` texts, one or more of each.

    Attributes:
        ids: of all of them, one after the other; shape (N,), int32.
        starts: where each begins, and the end; shape (R + 1,), int64.
        pad: what fills a batch.
    """

    ids: NDArray[np.int32]
    starts: IntArray
    pad: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> IntArray:
        """Of each text; shape (R,), int64."""
        return np.diff(self.starts)

    def plan(self, tokens: int, draw: Draw = None) -> list[IntArray]:
        """Put texts of similar length together, at most ``tokens`` in a batch with its padding.

        Args:
            tokens: a text that is longer is alone.
            draw: shuffles them before pools of 32 batches are sorted; None: all are sorted, the longest first.

        Returns:
            Numbers of rows, each in exactly one batch.
        """
        return by_length(self.lengths, tokens, draw)

    def batches_of(self, rows: int, draw: Draw = None) -> list[IntArray]:
        """Put texts of similar length together, ``rows`` in a batch; else as ``plan``."""
        if draw is None:
            return _cut(np.argsort(-self.lengths, kind="stable"), rows)
        pools = _cut(draw.permutation(len(self)), _POOL * rows)
        batches = [each for pool in pools for each in _cut(pool[np.argsort(-self.lengths[pool], kind="stable")], rows)]
        return [batches[i] for i in draw.permutation(len(batches))]

    def batch(self, chosen: IntArray, users: tuple[str, ...] = ()) -> Tokens:
        """Pad the ``chosen`` texts to the longest of them.

        Args:
            chosen: numbers of rows, one or more.
            users: whose they are.
        """
        lengths = self.lengths[chosen]
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, self.pad, np.int64)
        ids[mask] = self.ids[ranges(self.starts[:-1][chosen], lengths)]
        row = torch.from_numpy(np.array(chosen, np.int64))
        return Tokens(torch.from_numpy(ids), torch.from_numpy(mask), row, users, int(lengths.sum()))


def tokenise(tokenizer: PreTrainedTokenizerBase, phrases: Phrases, *, tokens: int) -> Tokenised:
    """Tokenise histories: of each as many phrases, from the first, as go whole into ``tokens``.

    A first phrase that is longer than that is cut. Every phrase that differs is tokenised once. For a tokenizer that
    starts anew behind punctuation and spaces, as all usual ones do, the tokens are those of the joined text.

    Args:
        tokenizer: any with a token for padding.
        phrases: of the rows.
        tokens: of a row at most, with the special ones that this tokenizer puts around a text.

    Raises:
        ConfigError: so few tokens that the special ones leave no room.
        ModelError: the tokenizer cannot be asked what it puts around a text.
    """
    distinct = phrases.distinct.to_list()
    codes, starts = phrases.codes, phrases.starts
    joint = _joint(tokenizer, _JOINT.to(phrases.language))
    if joint:  # a phrase is another one behind others: the same, with what joins them in front
        distinct = distinct + [joint + phrase for phrase in distinct]
        later = np.ones(len(codes), np.bool_)
        later[starts[:-1][starts[:-1] < starts[1:]]] = False
        codes = codes + later * len(phrases.distinct)
        used, codes = np.unique(codes, return_inverse=True)
        distinct = [distinct[code] for code in used]
    return _assemble(tokenizer, distinct, codes, starts, tokens=tokens)


def tokenise_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, tokens: int) -> Tokenised:
    """Tokenise texts, each cut to its first ``tokens``, special ones included.

    Of a text no more than 50 characters for each of the ``tokens`` are looked at, so that one of 10 MB takes no longer
    than others. What is a special token's name inside a text is taken for text.

    Args:
        tokenizer: any with a token for padding.
        texts: none is None.
        tokens: of a text at most.

    Raises:
        ConfigError: so few tokens that the special ones leave no room.
        ModelError: the tokenizer cannot be asked what it puts around a text.
    """
    number: dict[str, int] = {}
    codes = np.fromiter((number.setdefault(text, len(number)) for text in texts), np.int64, len(texts))
    return _assemble(tokenizer, list(number), codes, np.arange(len(texts) + 1), tokens=tokens)


def _assemble(
    tokenizer: PreTrainedTokenizerBase, distinct: Sequence[str], codes: IntArray, starts: IntArray, *, tokens: int
) -> Tokenised:
    """Put rows together from the tokens of their parts, with special ones around."""
    before, after = _around(tokenizer)
    room = tokens - len(before) - len(after)
    if room < 1:
        what = f"{tokens} leave no room beside the {len(before) + len(after)} special tokens of a text"
        raise ConfigError(what, where="tokens", remedy="Give more.")
    pad = tokenizer.pad_token_id
    assert isinstance(pad, int)  # source.open_model sees to it
    ids, bounds = _encode(tokenizer, distinct, room=room)
    taken, of_row = _taken(np.diff(bounds)[codes], starts, room=room)
    inner = np.bincount(of_row, weights=taken, minlength=len(starts) - 1).astype(np.int64)
    bare = inner + len(before) + len(after) == 0  # a text of no tokens at all: one that says that it is over
    ends = np.cumsum(inner + len(before) + len(after) + bare)
    begin = np.concatenate([np.zeros(1, np.int64), ends])
    found = np.empty(begin[-1], np.int32)
    for first in range(0, len(inner), _AT_ONCE):
        some = slice(first, min(first + _AT_ONCE, len(inner)))
        parts = slice(starts[some.start], starts[some.stop])
        source = ids[ranges(bounds[codes[parts]], taken[parts])]
        found[ranges(begin[some] + len(before), inner[some])] = source
    found[begin[:-1, None] + np.arange(len(before))] = before
    found[ends[:, None] - len(after) + np.arange(len(after))] = after
    found[begin[:-1][bare]] = pad if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    return Tokenised(found, begin, pad)


def _taken(length: IntArray, starts: IntArray, *, room: int) -> tuple[IntArray, IntArray]:
    """Return how many tokens of each part there is room for: all or none but of a row's first; and the parts' rows."""
    of_row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    total = np.cumsum(length)
    before_row = np.concatenate([np.zeros(1, np.int64), total])[starts[:-1]]
    taken = np.where(total - before_row[of_row] <= room, length, 0)
    heads = starts[:-1][starts[:-1] < starts[1:]]
    taken[heads] = np.minimum(length[heads], room)
    return taken, of_row


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, room: int
) -> tuple[NDArray[np.int32], IntArray]:
    """Return the tokens of all texts, one after the other, and where each begins and the last ends.

    A text that is longer than ``room`` has more tokens than that, but perhaps not all of its own.
    """
    pieces: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    for first in range(0, len(texts), _AT_ONCE):
        some = [text[: _CHARACTERS * (room + 1)] for text in texts[first : first + _AT_ONCE]]
        ids = _plain(tokenizer, some)
        lengths.extend(map(len, ids))
        pieces.append(np.fromiter(chain.from_iterable(ids), np.int32, sum(map(len, ids))))
    return np.concatenate([np.zeros(0, np.int32), *pieces]), np.cumsum([0, *lengths], dtype=np.int64)


def _plain(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Tokenise texts as text and nothing else: a user may write [SEP], and means no end."""
    found: list[list[int]] = tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # of texts beyond the model's length: they are cut
    )["input_ids"]
    return found


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens in front of a text and behind it.

    Raises:
        ModelError: its tokens are not among those of the text with special ones.
    """
    (inner,), outer = _plain(tokenizer, ["one"]), tokenizer("one", add_special_tokens=True)["input_ids"]
    for first in range(len(outer) - len(inner) + 1):
        if outer[first : first + len(inner)] == inner:
            return outer[:first], outer[first + len(inner) :]
    what = "the tokenizer gives a text other tokens when special ones are around it"
    raise ModelError(what, where=str(tokenizer.name_or_path), remedy="Use another model.")


def _joint(tokenizer: PreTrainedTokenizerBase, joint: str) -> str:
    """Return what goes in front of a phrase so that its tokens are those it has behind others.

    Nothing where the tokenizer passes over spaces or marks beginnings of words by itself; a space for byte-level ones.
    """
    first, second, spaced, whole = _plain(tokenizer, ["one.", "two", joint + "two", "one." + joint + "two"])
    return joint if first + second != whole and first + spaced == whole else ""


def _cut(order: IntArray, size: int) -> list[IntArray]:
    return [order[first : first + size] for first in range(0, len(order), size)]
