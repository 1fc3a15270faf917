"""A backbone: a network that has learned a shop's behaviour from unlabelled events, and up to when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from valuecast import artifact, moments
from valuecast import columns as c
from valuecast.config.learning import Architecture
from valuecast.errors import LogError, ModelError
from valuecast.events.log import EventLog
from valuecast.models import network as networks
from valuecast.models.finetuned import read, windows_of
from valuecast.models.network import Network
from valuecast.moments import Moment, moment
from valuecast.sequences import windows as cut
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.sequences import encode

KIND: Final = "backbone"
ENCODING: Final = "encoding.json"


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pre-trained network.

    Attributes:
        before: nothing at or after this moment was read.
        architecture: of the network.
        encoding: what an event is made of, learned from the same log.
        network: with its weights.
        facts: log fingerprint, objectives, and how well it foresees later events beside the frequency baseline.
    """

    before: datetime
    architecture: Architecture
    encoding: Encoding
    network: Network
    facts: Mapping[str, Any] = field(default_factory=dict)

    def embed(self, log: EventLog, *, at: Moment, users: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the state that a user's events before ``at`` leave.

        Args:
            log: a log with the columns that were there at pre-training.
            at: the moment; nothing at or after it is read. Unlike a predictor's it may be earlier than ``before``:
                then the network has seen the future of these users, and the states are no fair input to a test.
            users: only these; else everyone with an event before ``at``.

        Returns:
            ``user, at, e0, e1, ...`` sorted by user; Float32, one column for each of the network's hidden units.

        Raises:
            LogError: the log is not known until ``at``, or one of ``users`` has no event before it.
            ModelError: the log lacks a column that was there at pre-training.
        """
        when = moment(at)
        if when > log.span.until:
            raise LogError(
                f"asked about {moments.text(when)}, but the log is known only until {moments.text(log.span.until)}",
                where=log.origin,
                remedy="Ask about an earlier moment, or ingest newer events.",
            )
        sequences = encode(self.encoding, log.before(when))
        names = sequences.users if users is None else pl.Series(sorted(set(users)), dtype=pl.String)
        keys = pl.DataFrame({c.USER: names}).with_columns(pl.lit(when, dtype=pl.Datetime("us")).alias(c.AT))
        rows = cut.rows_of(sequences, keys)
        found = np.empty((len(keys), self.network.hidden), dtype=np.float32)
        for numbers, states in read(self.network, sequences, windows_of(self.network, sequences, rows, share=False)):
            found[numbers] = states[:, : self.network.hidden].float().cpu().numpy()
        return keys.with_columns(pl.Series(f"e{i}", found[:, i]) for i in range(self.network.hidden))

    def save(self, folder: str | Path) -> None:
        """Write the backbone: a manifest, the encoding, and the network as safetensors.

        Raises:
            ModelError: the folder holds something that is not a backbone.
        """

        def write(draft: Path) -> None:
            networks.save(self.network, draft)
            (draft / ENCODING).write_text(json.dumps(self.encoding.to_dict(), ensure_ascii=False), encoding="utf-8")

        facts = {
            "before": moments.text(self.before),
            "architecture": asdict(self.architecture),
            "facts": dict(self.facts),
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
            return cls(moment(found["before"]), architecture, encoding, network, found["facts"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"this does not describe a backbone ({error!r})", where=str(folder), remedy="Pre-train it again."
            ) from error
