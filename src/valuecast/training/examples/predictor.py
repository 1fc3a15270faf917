"""What a language model has learned of labelled texts: a folder that answers for new ones, and needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from valuecast import artifact
from valuecast import columns as c
from valuecast.config.examples import Kind, Reading
from valuecast.config.toml import build
from valuecast.errors import ModelError
from valuecast.models.finetuned import Answers, place, read
from valuecast.models.head_spec import NARROWEST
from valuecast.models.text.network import TextBody, TextReading
from valuecast.models.text.tokens import Tokenised, tokenise_texts
from valuecast.training.examples.cells import as_cells
from valuecast.training.examples.scores import Said
from valuecast.training.examples.table import TEXT, told

KIND: Final = "text predictor"
LABEL: Final = "label"
CONFIDENCE: Final = "confidence"

States = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TextPredictor:
    """A language model with a head for one label.

    Attributes:
        answers: the network and the head.
        kind: of the label.
        classes: their names, in the order of their numbers; of a binary label the negative first.
        reading: what columns of a file mean.
        facts: of what it was made, and how well it did on validation.
    """

    answers: Answers
    kind: Kind
    classes: tuple[str, ...]
    reading: Reading
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> TextBody:
        """What it is and reads."""
        body = self.answers.design.body
        assert isinstance(body, TextBody)
        return body

    def tokenised(self, texts: Sequence[str]) -> Tokenised:
        """Tokenise texts as the model reads them."""
        return tokenise_texts(self.body.tokenizer, texts, tokens=self.body.text.tokens)

    def count_cut(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the model reads: of these it sees the beginnings."""
        room = self.body.text.tokens
        full = np.flatnonzero(self.tokenised(texts).lengths >= room)  # each of them may be as long, or longer
        longer = tokenise_texts(self.body.tokenizer, [texts[int(number)] for number in full], tokens=room + 1)
        return int((longer.lengths > room).sum())

    def unknown(self, texts: Sequence[str]) -> float:
        """Return which share of the tokens the model has no word for: of a language it never learned, many."""
        unknown = self.body.tokenizer.unk_token_id
        return 0.0 if unknown is None else float((self.tokenised(texts).ids == unknown).mean())

    def states(self, texts: Sequence[str]) -> States:
        """Return what the head reads of each text; shape (R, state_width)."""
        return states_of(self.answers, self.tokenised(texts))

    def said(self, states: States) -> Said:
        """Return what is said of texts, given what ``states`` returned."""
        raw = self.answers.answerer.head(LABEL).raw(self._params(states))
        return self.from_raw(raw.double().cpu().numpy())

    def from_raw(self, raw: NDArray[np.float64]) -> Said:
        """Return what is said of texts, given raw scores of the head; shape (R, targets)."""
        if self.kind == "number":
            return np.asarray(raw[:, 0])
        if self.kind == "classes":
            return np.asarray(np.exp(raw))
        positive = 1 / (1 + np.exp(-raw[:, 0]))
        return np.stack([1 - positive, positive], axis=1)

    def spread(self, states: States) -> NDArray[np.float64]:
        """Return the standard deviation that the model gives each number; shape (R,).

        Raises:
            ModelError: labels are classes.
        """
        if self.kind != "number":
            raise ModelError("its labels are classes", where="spread", remedy="Use the probabilities.")
        spec = self.answers.answerer.head(LABEL).spec
        width = functional.softplus(self._params(states)[:, 1]) + NARROWEST
        return np.asarray(width.double().cpu().numpy() * spec.scale[0])

    @torch.no_grad()
    def _params(self, states: States) -> Tensor:
        answerer = self.answers.answerer.to(place()).eval()
        params: Tensor = answerer.head(LABEL)(torch.from_numpy(states).to(place()))
        return params

    def predict(self, frame: pl.DataFrame, *, where: str = "table") -> pl.DataFrame:
        """Answer for every row of a table.

        Args:
            frame: with the columns of users and texts that the model learned from.
            where: it comes from, for messages.

        Returns:
            ``user``, ``at`` where the table has it, and ``label`` (the likeliest class), ``confidence`` (its
            probability) and ``p_CLASS`` for every class; of a number ``user``, ``at`` and ``score``. Rows are in the
            table's order.

        Raises:
            SourceError: a column is missing, or a user or a text is.
        """
        rows, _ = told(as_cells(frame, where=where), self.reading, where=where)
        return self.answered(rows, self.said(self.states(rows[TEXT].to_list())))

    def answered(self, rows: pl.DataFrame, said: Said) -> pl.DataFrame:
        """Return what ``predict`` does, given what was said of the rows."""
        keys = rows.select(c.USER, *([c.AT] if c.AT in rows.columns else ()))
        if self.kind == "number":
            return keys.with_columns(pl.Series(c.SCORE, said, dtype=pl.Float64))
        called = said.argmax(axis=1)
        return keys.with_columns(
            pl.Series(c.LABEL, [self.classes[number] for number in called], dtype=pl.String),
            pl.Series(CONFIDENCE, said.max(axis=1), dtype=pl.Float64),
            *(pl.Series(f"p_{name}", said[:, number], dtype=pl.Float64) for number, name in enumerate(self.classes)),
        )

    def save(self, folder: str | Path) -> None:
        """Write the weights, the tokenizer and a manifest.

        Raises:
            ModelError: the folder holds something that is not a text predictor.
        """
        facts = {
            "labels": self.kind,
            "classes": self.classes,
            "reading": _plain(self.reading),
            "answers": self.answers.to_dict(),
            "facts": dict(self.facts),
        }
        artifact.save(Path(folder), kind=KIND, facts=facts, write=self.answers.save)

    @classmethod
    def load(cls, folder: str | Path) -> TextPredictor:
        """Read a text predictor.

        Raises:
            ModelError: the folder is none, or it is damaged.
        """
        folder = Path(folder)
        found = artifact.load(folder, kind=KIND)
        try:
            return cls(
                Answers.load(found["answers"], folder),
                found["labels"],
                tuple(found["classes"]),
                build(Reading, found["reading"], where=str(folder)),
                found["facts"],
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"this does not describe a text predictor ({error!r})", where=str(folder), remedy="Fit it again."
            ) from error


def states_of(answers: Answers, texts: Tokenised) -> States:
    """Return what heads read of texts; shape (R, state_width)."""
    network = answers.answerer.network
    found = np.empty((len(texts), network.state_width), dtype=np.float32)
    nobody = pl.repeat("", len(texts), dtype=pl.String, eager=True)
    for rows, states in read(network, TextReading(texts, nobody)):
        found[rows] = states.float().cpu().numpy()
    return found


def _plain(reading: Reading) -> dict[str, Any]:
    """What of a reading matters to files without labels, as TOML would have it."""
    return {
        "user": reading.user,
        "text": reading.text,
        "columns": list(reading.columns),
        "at": reading.at,
        "empty": reading.empty,
        "encoding": reading.encoding,
    }
