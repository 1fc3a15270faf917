"""A language model as a backbone: it knows a language, and nothing of any shop."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

import polars as pl
from safetensors.torch import load_file, save_file
from torch import Tensor

from valuecast import artifact
from valuecast import columns as c
from valuecast.config.text import TextModel
from valuecast.errors import ModelError
from valuecast.events.log import EventLog
from valuecast.models.finetuned import embedded, keys_at
from valuecast.models.text.network import TextBody, TextNetwork, check_length
from valuecast.models.text.source import open_model
from valuecast.moments import Moment

KIND: Final = "text-backbone"
WEIGHTS: Final = "weights.safetensors"


@dataclass(frozen=True, eq=False)
class TextBackbone:
    """A language model that reads histories as texts. It has seen nothing of a shop, whatever the log.

    Attributes:
        body: which model, its tokenizer, and how histories are told to it.
        network: with its weights.
        facts: the model's kind and size.
    """

    before: ClassVar[datetime | None] = None

    body: TextBody
    network: TextNetwork
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, text: TextModel) -> TextBackbone:
        """Open a language model of a folder, a package or a hub.

        Raises:
            ConfigError: texts are to be longer than it can read.
            MissingExtraError: the package that carries it is not installed.
            ModelError: there is no such model, it is damaged, or its tokenizer does not fit it.
        """
        model, tokenizer = open_model(text.model)
        check_length(model, text)
        size = sum(parameter.numel() for parameter in model.parameters())
        facts = {"model": text.model, "kind": model.config.model_type, "parameters": size}
        return cls(TextBody(text, copy.deepcopy(model.config), tokenizer), TextNetwork(model, text).eval(), facts)

    def at_shop(self, log: EventLog) -> TextBackbone:
        """Return it as it is: words are the same in every shop."""
        return self

    def seen_before(self, log: EventLog) -> None:
        """It has seen nothing of any shop."""

    def embed(self, log: EventLog, *, at: Moment, users: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the state of each user's history before ``at``, told in words; see ``Backbone.embed``.

        Raises:
            LogError: the log is not known until ``at``, or one of ``users`` has no event before it.
        """
        when = log.asked(at)
        known = log.before(when)
        every = known.events.select(c.USER).distinct().order_by(c.USER)
        names = known.collect(every)[c.USER] if users is None else pl.Series(sorted(set(users)), dtype=pl.String)
        return embedded(self.network, self.body.histories(known), keys_at(names, when))

    def save(self, folder: str | Path) -> None:
        """Write model, tokenizer and manifest; the folder needs nothing else to be read again.

        Raises:
            ModelError: the folder holds something that is not a text backbone.
        """

        def write(draft: Path) -> None:
            self.body.save(draft)
            save_file(tensors(self.network), draft / WEIGHTS)

        facts = {**self.body.to_dict(), "facts": dict(self.facts)}
        artifact.save(Path(folder), kind=KIND, facts=facts, write=write)

    @classmethod
    def load(cls, folder: str | Path) -> TextBackbone:
        """Read a text backbone.

        Raises:
            ModelError: the folder is not one, or it is damaged.
        """
        folder = Path(folder)
        found = artifact.load(folder, kind=KIND)
        try:
            body = TextBody.load(found["text"], folder)
            network = body.network()
            network.load_state_dict(load_file(folder / WEIGHTS))
            return cls(body, network.eval(), found["facts"])
        except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            raise ModelError(
                f"this does not describe a language model ({error!r})", where=str(folder), remedy="Adopt it again."
            ) from error


def tensors(network: TextNetwork) -> dict[str, Tensor]:
    """The weights, none of which shares its memory with another."""
    return {name: value.contiguous().clone() for name, value in network.state_dict().items()}
