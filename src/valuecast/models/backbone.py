"""A backbone: a network that has learned behaviour from the unlabelled events of shops, and up to when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from valuecast import artifact, moments
from valuecast.config.learning import Architecture
from valuecast.errors import ModelError
from valuecast.events.log import EventLog
from valuecast.models import network as networks
from valuecast.models.finetuned import embedded, keys_at
from valuecast.models.network import Network
from valuecast.models.reading import EventBody
from valuecast.models.seen import Seen
from valuecast.moments import Moment, moment
from valuecast.sequences.common import placed, shop_of
from valuecast.sequences.encoding import Encoding

KIND: Final = "backbone"
ENCODING: Final = "encoding.json"


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pre-trained network.

    Attributes:
        before: nothing at or after this moment was read; None: nothing at all of the shop that it reads.
        architecture: of the network.
        encoding: what an event is made of, learned from the same log; or common to many shops.
        network: with its weights.
        facts: log fingerprint, objectives, and how well it foresees later events beside the frequency baseline.
        seen: what it has seen of each shop, if its encoding is common.
    """

    before: datetime | None
    architecture: Architecture
    encoding: Encoding
    network: Network
    facts: Mapping[str, Any] = field(default_factory=dict)
    seen: tuple[Seen, ...] = ()

    @property
    def body(self) -> EventBody:
        """What the network is and reads."""
        return EventBody(self.architecture, self.encoding)

    def at_shop(self, log: EventLog) -> Backbone:
        """Return the backbone as the shop of a log reads it: the weights are the same, amounts are the shop's.

        One whose encoding is a shop's own is returned as it is.

        Args:
            log: of any shop, cut to what may be known: all of it is read.

        Raises:
            LogError: the log has no events.
            ModelError: the encoding is another shop's own.
        """
        if not self.encoding.common:
            self.encoding.check(log)
            return self
        shop = shop_of(log, told=self.encoding.reader is not None)
        return replace(self, before=self.seen_before(log), encoding=placed(self.encoding, shop))

    def seen_before(self, log: EventLog) -> datetime | None:
        """Return the moment until which it has seen the shop of a log; None: it has seen nothing of it.

        Raises:
            ModelError: the encoding is another shop's own.
        """
        if not self.encoding.common:
            self.encoding.check(log)
            return self.before
        return max((each.before for each in self.seen if each.within(log)), default=None)

    def embed(self, log: EventLog, *, at: Moment, users: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the state that a user's events before ``at`` leave.

        A backbone of many shops that has not been told which it reads (``at_shop``) learns so from the events before
        ``at``.

        Args:
            log: a log with the columns that were there at pre-training; of any shop, if the encoding is common.
            at: the moment; nothing at or after it is read. Unlike a predictor's it may be earlier than ``before``:
                then the network has seen the future of these users, and the states are no fair input to a test.
            users: only these; else everyone with an event before ``at``.

        Returns:
            ``user, at, e0, e1, ...`` sorted by user; Float32, one column for each of the network's hidden units.

        Raises:
            LogError: the log is not known until ``at``, or one of ``users`` has no event before it.
            ModelError: the log lacks a column that was there at pre-training, or what read its texts is not here.
        """
        when = log.asked(at)
        known = log.before(when)
        untold = self.encoding.common and self.encoding.shop is None
        histories = (self.at_shop(known) if untold else self).body.histories(known)
        names = histories.sequences.users if users is None else pl.Series(sorted(set(users)), dtype=pl.String)
        return embedded(self.network, histories, keys_at(names, when))

    def save(self, folder: str | Path) -> None:
        """Write the backbone: a manifest, the encoding, and the network as safetensors.

        Raises:
            ModelError: the folder holds something that is not a backbone.
        """

        def write(draft: Path) -> None:
            networks.save(self.network, draft)
            (draft / ENCODING).write_text(json.dumps(self.encoding.to_dict(), ensure_ascii=False), encoding="utf-8")

        facts = {
            "before": self.before and moments.text(self.before),
            "architecture": asdict(self.architecture),
            "facts": dict(self.facts),
            **({"seen": [each.to_dict() for each in self.seen]} if self.seen else {}),
        }
        artifact.save(Path(folder), kind=KIND, facts=facts, write=write)

    @classmethod
    def load(cls, folder: str | Path) -> Backbone:
        """Read a backbone.

        Raises:
            ModelError: the folder is not a backbone, or it is damaged.
        """
        folder = Path(folder)
        found = artifact.load(folder, kind=KIND)
        try:
            architecture = Architecture(**found["architecture"])
            encoding = Encoding.from_dict(json.loads((folder / ENCODING).read_text(encoding="utf-8")))
            network = networks.load(folder, architecture, encoding)
            before = found["before"] and moment(found["before"])
            seen = tuple(map(Seen.from_dict, found.get("seen", ())))
            return cls(before, architecture, encoding, network, found["facts"], seen)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"this does not describe a backbone ({error!r})", where=str(folder), remedy="Pre-train it again."
            ) from error
