"""Small tables of labelled texts, a tiny language model that reads them, and settings that take it a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.language_models import Kind, tiny
from valuecast.config.examples import Reading, Tuning
from valuecast.config.text import TextModel
from valuecast.models.text.backbone import TextBackbone
from valuecast.training.examples.table import Labelled, labelled_of

WORDS = {"stay": "red cake tins, pantry design.", "leave": "return of paper chain kit.", "new": "jumbo bag, retrospot."}
QUICK: dict[str, Any] = {"epochs": 2, "batch": 16, "learning_rate": 3e-3, "tracker": "none"}


def texts(
    users: int = 120, *, classes: int = 2, noise: float = 0.1, unlabelled: int = 0, seed: int = 0
) -> pl.DataFrame:
    """Users whose words tell their class, but for some noise; the last of them have no label."""
    draw = np.random.default_rng(seed)
    names = list(WORDS)[:classes]
    rows = []
    for user in range(users):
        own = names[user % classes]
        told = draw.choice(names) if draw.uniform() < noise else own
        text = " ".join([f"in june, the last {draw.integers(1, 30)} days ago.", *[WORDS[told]] * draw.integers(1, 4)])
        rows.append((f"u{user}", text, own if user < users - unlabelled else None))
    return pl.DataFrame(rows, schema={"user": pl.String, "text": pl.String, "label": pl.String}, orient="row")


def numbers(users: int = 120, *, seed: int = 0) -> pl.DataFrame:
    """Users whose words tell a number."""
    draw = np.random.default_rng(seed)
    frame = texts(users, seed=seed)
    value = pl.when(pl.col("label") == "stay").then(50.0).otherwise(5.0) + pl.Series(draw.normal(size=users))
    return frame.with_columns(label=value.cast(pl.String))


def table(frame: pl.DataFrame | None = None, **how: Any) -> Labelled:
    """A table, with the usual split."""
    return labelled_of(texts() if frame is None else frame, Reading(**how))


def language_model(folder: Path, kind: Kind = "bert", *, tokens: int = 24) -> TextBackbone:
    """A tiny one, saved to a folder and opened."""
    return TextBackbone.open(TextModel(str(tiny(kind, folder)), tokens=tokens))


def tuning(**how: Any) -> Tuning:
    """Settings of two epochs."""
    return Tuning(**{**QUICK, **how})
