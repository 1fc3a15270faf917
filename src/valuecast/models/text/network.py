"""A language model as a network: tokens in, and the state of a text out."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from valuecast import columns as c
from valuecast.config.learning import TEXT
from valuecast.config.text import TextModel
from valuecast.errors import ConfigError
from valuecast.events.log import EventLog
from valuecast.models.network import StateNetwork
from valuecast.models.text.source import most_tokens
from valuecast.models.text.tokens import Tokens, tokenise
from valuecast.models.trunks import OTHER, Layered
from valuecast.sequences.textify import Phrases, phrases

FOLDER: Final = "text"
DROPOUT: Final = 0.1
"""Of heads and of what is added; a language model's own is as its configuration says."""

_FAMILIES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), "bert"),
    "gpt2": "gpt2",
    **dict.fromkeys(("llama", "qwen2", "qwen3", "mistral"), "llama"),
}
"""Models whose inner names are those of a family of ``valuecast.models.adapters``."""
_LOOKS_BACK = ("ForCausalLM", "LMHeadModel")


class TextTrunk(Layered):
    """A language model that reads tokens."""

    def __init__(self, model: PreTrainedModel, text: TextModel) -> None:
        kind = model.config.model_type
        super().__init__(model, family=_FAMILIES.get(kind, OTHER), causal=is_causal(model))
        longest = most_tokens(model)
        self.room = None if longest is None else longest - text.tokens

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the state of each token; shape (B, L, hidden). Padding is at the ends."""
        extra = 0
        given: dict[str, Any] = {"input_ids": ids}
        if self.prompt is not None:
            extra = len(self.prompt)
            vectors = self.model.get_input_embeddings()(ids)
            given = {"inputs_embeds": torch.cat([self.prompt.to(vectors.dtype).expand(len(ids), -1, -1), vectors], 1)}
            mask = nn.functional.pad(mask, (extra, 0), value=True)
        if self.causal:
            given["use_cache"] = False
        states: Tensor = self.model(**given, attention_mask=mask.long()).last_hidden_state
        return states[:, extra:]


class TextNetwork(StateNetwork):
    """A language model, and one state for each text.

    Attributes:
        pooling: what is made of the states of the tokens: ``mean``, ``first`` or ``last``.
    """

    trunk: TextTrunk

    def __init__(self, model: PreTrainedModel, text: TextModel) -> None:
        super().__init__(hidden=model.config.hidden_size, dropout=DROPOUT)
        self.trunk = TextTrunk(model, text)
        usual = "last" if self.trunk.causal else "mean"
        self.pooling = usual if text.pooling == "auto" else text.pooling

    def forward(self, batch: Tokens) -> Tensor:
        """Return the state of each token; shape (B, L, hidden)."""
        states: Tensor = self.trunk(batch.ids, batch.mask)
        return states

    def at(self, states: Tensor, batch: Tokens) -> Tensor:
        """Return the state of each text; shape (B, hidden)."""
        match self.pooling:
            case "mean":
                share = batch.mask / batch.mask.sum(dim=1, keepdim=True)
                return torch.einsum("bl,blh->bh", share.to(states.dtype), states)
            case "first":
                return states[:, 0]
            case _:
                return states[torch.arange(len(states), device=states.device), batch.mask.sum(dim=1) - 1]


def is_causal(model: PreTrainedModel) -> bool:
    """Whether the state of a token depends on no later one."""
    config = model.config
    family = _FAMILIES.get(config.model_type)
    if family is not None:  # an encoder may have been saved with a head for writing, and reads both ways all the same
        return family != "bert" or bool(getattr(config, "is_decoder", False))
    return bool(getattr(config, "is_decoder", False)) or any(
        name.endswith(_LOOKS_BACK) for name in config.architectures or ()
    )


class Texts(Protocol):
    """Tokens of rows: as ``Tokenised`` has them, or varied."""

    def plan(self, tokens: int, draw: np.random.Generator | None = None) -> list[NDArray[np.int64]]:
        """Put texts of similar length together."""

    def batch(self, chosen: NDArray[np.int64]) -> Tokens:
        """Make one batch of a plan."""


@dataclass(frozen=True)
class TextReading:
    """Tokens of keys, row for row.

    Attributes:
        tokens: of each row.
        users: of each row.
        told: the histories in words, where that is what the tokens are of.
    """

    tokens: Texts
    users: pl.Series
    told: Phrases | None = None

    def plan(self, size: int, draw: np.random.Generator | None = None) -> list[NDArray[np.int64]]:
        """Return numbers of rows, of which each batch has ``size`` tokens at most."""
        return self.tokens.plan(size, draw)

    def load(self, item: NDArray[np.int64]) -> Tokens:
        """Collect the tokens."""
        found = self.tokens.batch(item)
        return replace(found, users=tuple(self.users.gather(found.row.numpy()).to_list()))


@dataclass(frozen=True)
class TextHistories:
    """A log whose histories are told in words.

    Attributes:
        log: that is told.
        body: says in which language, and at what length.
    """

    log: EventLog
    body: TextBody

    def reading(self, keys: pl.DataFrame, *, share: bool) -> TextReading:
        """Tell the history before each key; none is shared, as each tells how long ago its events were.

        Raises:
            LogError: a key has no event before it.
        """
        text = self.body.text
        told = phrases(self.log, keys, language=text.language)
        return TextReading(tokenise(self.body.tokenizer, told, tokens=text.tokens), keys[c.USER], told)


@dataclass(frozen=True, eq=False)
class TextBody:
    """A language model but for its weights, and how histories are told to it.

    Attributes:
        text: which model, and how much it reads.
        config: of the model, as Hugging Face keeps it.
        tokenizer: of the model.
    """

    text: TextModel
    config: Any
    tokenizer: PreTrainedTokenizerBase

    prefix = TEXT
    dropout = DROPOUT

    def network(self) -> TextNetwork:
        """Draw the weights."""
        return TextNetwork(_bare(self.config), self.text)

    def histories(
        self, log: EventLog, *, encode: Callable[..., Any] | None = None, folder: Path | None = None
    ) -> TextHistories:
        """Tell the histories of a log when they are asked for; there is nothing to be kept of all of it."""
        return TextHistories(log, self)

    def to_dict(self) -> dict[str, Any]:
        """What is told to which model; a tokenizer is known by its digest."""
        return {"text": {**asdict(self.text), "tokenizer": self._tokenizer}}

    def save(self, folder: Path) -> None:
        """Write configuration and tokenizer as Hugging Face does."""
        self.config.save_pretrained(folder / FOLDER)
        self.tokenizer.save_pretrained(folder / FOLDER)

    @classmethod
    def load(cls, found: Mapping[str, Any], folder: Path) -> TextBody:
        """Read back what ``to_dict`` and ``save`` wrote."""
        place = folder / FOLDER
        text = TextModel(**{name: value for name, value in found.items() if name != "tokenizer"})
        return cls(
            text,
            AutoConfig.from_pretrained(place, local_files_only=True),
            AutoTokenizer.from_pretrained(place, local_files_only=True),
        )

    @cached_property
    def _tokenizer(self) -> str:
        """A digest of all that decides which tokens a text has."""
        told = json.dumps(sorted(self.tokenizer.get_vocab().items()), ensure_ascii=False)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def _bare(config: Any) -> PreTrainedModel:
    """Return a model with drawn weights, as ``source.open_model`` would return it with learned ones."""
    config = copy.deepcopy(config)  # a model writes into it, such as how it attends
    try:
        model: PreTrainedModel = AutoModel.from_config(config, add_pooling_layer=False, attn_implementation="sdpa")
    except TypeError:  # most decoders have no such layer
        model = AutoModel.from_config(config, attn_implementation="sdpa")
    return model


def check_length(model: PreTrainedModel, text: TextModel) -> None:
    """Refuse texts that are longer than a model can place.

    Raises:
        ConfigError: they are.
    """
    longest = most_tokens(model)
    if longest is not None and text.tokens > longest:
        what = f"{text.tokens} tokens, but this model reads {longest} at most"
        raise ConfigError(what, where="tokens", remedy=f"Give {longest} or fewer.")
