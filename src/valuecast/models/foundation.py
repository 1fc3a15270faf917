"""What fine-tuning stands on: a backbone of events, or a language model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from valuecast import artifact
from valuecast.errors import ModelError
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.models.network import StateNetwork
from valuecast.models.reading import Body
from valuecast.models.text import backbone as text_backbone
from valuecast.models.text.backbone import TextBackbone
from valuecast.models.text.source import PACKAGE


class Foundation(Protocol):
    """What fine-tuning stands on: a backbone of events, or a language model."""

    @property
    def before(self) -> datetime | None:
        """Nothing of the shop at or after this moment was read; None: nothing of it at all."""

    @property
    def body(self) -> Body:
        """What the network is and reads."""

    @property
    def network(self) -> StateNetwork:
        """The network, with its weights."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest says of it."""

    def at_shop(self, log: EventLog) -> Foundation:
        """Return it as the shop of a log reads it."""

    def seen_before(self, log: EventLog) -> datetime | None:
        """Return the moment until which it has seen the shop of a log; None: it has seen nothing of it."""

    def save(self, folder: str | Path) -> None:
        """Write it as a folder with a manifest."""


def load(folder: str | Path) -> Foundation:
    """Read a backbone of either kind.

    Raises:
        ModelError: the folder is not one, or it is damaged.
    """
    if str(folder).startswith(PACKAGE):
        remedy = f"Make a backbone of it first: `valuecast adopt {folder} --out BACKBONE`."
        raise ModelError("a language model, not a backbone", where=str(folder), remedy=remedy)
    kind = artifact.kind_of(Path(folder))
    return TextBackbone.load(folder) if kind == text_backbone.KIND else Backbone.load(folder)
