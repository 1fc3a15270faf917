"""Vectors of short texts, such as titles and queries, by a language model that does not learn.

Each text that differs goes through the model once, on this machine and for this model: its vector is kept on disk.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from valuecast.errors import ConfigError, ModelError
from valuecast.models.text.source import cache_folder, most_tokens, open_model
from valuecast.models.text.tokens import Tokenised, tokenise_texts

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

TOKENS: Final = 64

_FORMAT = "1"  # of the vectors: a change of what they are makes others of all
_BATCH = 256  # tokens
_SHARD = 4096  # vectors of a file
_STEPS = 20  # messages about one call
_KEY, _VECTOR = "key", "vector"
_PASSING = ("architectures", "dtype", "torch_dtype", "transformers_version", "pad_token_id")


@dataclass(frozen=True, eq=False)
class FrozenEncoder:
    """A language model that makes one vector of each text: the mean over its tokens, of length one.

    Attributes:
        name: it was opened by.
        digest: of its weights, its tokenizer, and how many tokens it reads: what decides the vectors.
        width: of a vector.
        tokens: of a text at most, special ones included.
        folder: where vectors are kept.
    """

    name: str
    digest: str
    width: int
    tokens: int
    folder: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def open(cls, name: str, *, tokens: int = TOKENS, cache: Path | None = None) -> FrozenEncoder:
        """Open the model ``name`` (see ``open_model``).

        Args:
            name: of a model.
            tokens: of a text at most.
            cache: a folder for vectors of any models; None: ``vectors`` in ``cache_folder()``.

        Raises:
            ConfigError: more tokens than the model reads.
            MissingExtraError: the package of the model is not installed.
            ModelError: there is no such model, or it cannot be used.
        """
        model, tokenizer = open_model(name)
        most = most_tokens(model)
        if most is not None and tokens > most:
            raise ConfigError(f"{tokens}: this model reads at most {most}", where="tokens", remedy="Give fewer.")
        digest = _digest(model, tokenizer, tokens)
        folder = (cache or cache_folder() / "vectors") / digest[:32]
        if torch.accelerator.is_available():
            torch.nn.Module.to(model, torch.accelerator.current_accelerator())
        return cls(name, digest, model.config.hidden_size, tokens, folder, model, tokenizer)

    def vectors(
        self, strings: pl.Series | Sequence[str | None], *, progress: Callable[[str], None] | None = None
    ) -> FloatArray:
        """Return the vector of each text, the same bits whatever other texts are asked for.

        Args:
            strings: texts, many of them the same; a missing one has a vector of zeros.
            progress: is told how it goes.

        Returns:
            Shape (S, width).

        Raises:
            ModelError: a vector is not finite, or the vectors cannot be kept.
        """
        given = pl.DataFrame({"text": pl.Series(strings, dtype=pl.String)})
        distinct = given.drop_nulls().unique(maintain_order=True)["text"]
        found = np.zeros((len(distinct) + 1, self.width), np.float32)
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in distinct]
        missing = np.flatnonzero(~self._recall(keys, found))
        texts = distinct.gather(missing).to_list()
        for some, made in self._encode(texts, progress):
            numbers = missing[some]
            found[numbers] = made
            self._keep([keys[number] for number in numbers], made)
        places = pl.DataFrame({"text": distinct}).with_row_index("place")
        place = given.join(places, on="text", how="left", maintain_order="left")["place"].fill_null(len(distinct))
        vectors: FloatArray = found[place.to_numpy()]
        return vectors

    def _recall(self, keys: list[bytes], found: FloatArray) -> NDArray[np.bool_]:
        """Fill in what is kept, and return for which keys that is so."""
        wanted = pl.DataFrame({_KEY: pl.Series(keys, dtype=pl.Binary), "number": np.arange(len(keys))})
        known = np.zeros(len(keys), np.bool_)
        for file in sorted(self.folder.glob("*.parquet")):
            if known.all():
                break
            kept = _read(file)
            if kept is not None:
                kept = kept.join(wanted, on=_KEY, how="inner")
                numbers = kept["number"].to_numpy()
                found[numbers] = kept[_VECTOR].to_numpy()
                known[numbers] = True
        return known

    def _encode(
        self, texts: list[str], progress: Callable[[str], None] | None
    ) -> Iterator[tuple[IntArray, FloatArray]]:
        """Make vectors of texts, the longest first, in parts that are to be kept."""
        if not texts:
            return
        tokenised = tokenise_texts(self.tokenizer, texts, tokens=self.tokens)
        told, done = 0, 0
        numbers: list[IntArray] = []
        vectors: list[FloatArray] = []
        for batch in _alike(tokenised.lengths):
            numbers.append(batch)
            vectors.append(self._vectors(tokenised, batch))
            done += len(batch)
            if sum(map(len, numbers)) >= _SHARD or done == len(texts):
                yield np.concatenate(numbers), np.concatenate(vectors)
                numbers, vectors = [], []
            if progress is not None and done * _STEPS // len(texts) > told:
                told = done * _STEPS // len(texts)
                progress(f"{done:,} of {len(texts):,} texts read by {self.name}")

    @torch.inference_mode()
    def _vectors(self, tokenised: Tokenised, batch: IntArray) -> FloatArray:
        """Make vectors of texts of one length.

        How a product of matrices is summed up depends on their shapes. So a text is always among as many others of its
        own length, if need be copies of these: its vector does not depend on what else there is, not in a bit.
        """
        length = int(tokenised.lengths[batch[0]])
        given = tokenised.batch(np.resize(batch, _rows(length))).to(self.model.device)
        states = self.model(input_ids=given.ids, attention_mask=given.mask.long()).last_hidden_state
        vectors = torch.nn.functional.normalize(states.mean(1), dim=-1)[: len(batch)]
        found: FloatArray = vectors.float().cpu().numpy()
        if not np.isfinite(found).all():
            what = "the model makes a vector that is not finite"
            raise ModelError(what, where=self.name, remedy="Its weights are damaged, or not for float32: use another.")
        return found

    def _keep(self, keys: list[bytes], vectors: FloatArray) -> None:
        """Add a file of vectors. Its name is the digest of what is in it, and it appears whole."""
        kept = pl.DataFrame(
            {
                _KEY: pl.Series(keys, dtype=pl.Binary),
                _VECTOR: pl.Series(vectors, dtype=pl.Array(pl.Float32, self.width)),
            }
        )
        buffer = io.BytesIO()
        kept.write_parquet(buffer, compression="uncompressed")
        draft = self.folder / f".{uuid.uuid4().hex}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as stream:
                stream.write(buffer.getvalue())
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self.folder / f"{_name(buffer.getvalue())}.parquet")
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            what = f"vectors of texts cannot be kept here: {error.strerror}"
            remedy = "Free some space, or name a folder that can be written in VALUECAST_CACHE."
            raise ModelError(what, where=str(self.folder), remedy=remedy) from error


def _alike(lengths: IntArray) -> Iterator[IntArray]:
    """Yield numbers of texts that are of one length, the longest first, as many as go together."""
    order = np.argsort(-lengths, kind="stable")
    for alike in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        size = _rows(int(lengths[alike[0]]))
        yield from (alike[first : first + size] for first in range(0, len(alike), size))


def _rows(length: int) -> int:
    """How many texts of a length go through the model at a time."""
    return max(_BATCH // length, 1)


def _read(file: Path) -> pl.DataFrame | None:
    """Return a file of vectors, or None where it is damaged: what it held is then made again."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    if _name(content) != file.stem:
        file.unlink(missing_ok=True)
        return None
    return pl.read_parquet(io.BytesIO(content))


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _digest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int) -> str:
    """Return a digest of what decides a vector; a copy of the model elsewhere has the same."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    words = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    if backend is not None:  # the last call's, not the tokenizer's own
        words |= {"truncation": None, "padding": None}
    settings = {name: value for name, value in model.config.to_diff_dict().items() if not name.startswith("_")}
    facts = [_FORMAT, tokens, type(model).__name__, {k: v for k, v in settings.items() if k not in _PASSING}, words]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
