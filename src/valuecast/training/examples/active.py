"""Whose labels would teach most: texts of which the model is unsure, and which are unlike each other.

Texts are picked one by one: the next is the one for which doubt times distance is highest, the distance being that to
the nearest text that has a label or was picked before. Doubt alone would ask the same question many times; distance
alone would ask what is known (Sener and Savarese 2018, Active learning for convolutional neural networks: a core-set
approach; Ash et al. 2020, Deep batch active learning by diverse, uncertain gradient lower bounds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.errors import SourceError
from valuecast.language import Language, Text
from valuecast.training.examples.cells import ROW
from valuecast.training.examples.predictor import States, TextPredictor
from valuecast.training.examples.scores import Said
from valuecast.training.examples.table import TEXT

DOUBT: Final = "doubt"
DISTANCE: Final = "distance"
WHY: Final = "why"
_LEAST = 1e-12
_CLOSE: Final = 0.3  # two classes this near to each other leave the model torn

_SURE = Text(
    "The model says '{first}' ({p:.0%}), not '{second}' ({q:.0%}),",
    "模型判断为“{first}”（{p:.0%}）而非“{second}”（{q:.0%}）",
)
_TORN = Text(
    "The model is torn between '{first}' ({p:.0%}) and '{second}' ({q:.0%})",
    "模型在“{first}”（{p:.0%}）与“{second}”（{q:.0%}）之间拿不准",
)
_WIDE = Text("The model says {score:.4g}, give or take {spread:.3g}", "模型给出 {score:.4g}，误差约 ±{spread:.3g}")
_FIRST = Text("and no text had a label before.", "，且此前没有任何带标签的文本。")
_FAR = Text(
    "and the text is further from every text with a label or above it than {share:.0%} of the others are.",
    "，且与所有已有标签或排在前面的文本相比，其内容差异大于其余文本中的 {share:.0%}。",
)


def next_labels(
    predictor: TextPredictor,
    rows: pl.DataFrame,
    count: int,
    *,
    known: Sequence[str] = (),
    language: Language = "en",
    where: str = "table",
) -> pl.DataFrame:
    """Return the rows that should be labelled next, the most telling first, one of each user.

    Args:
        predictor: what has been learned so far.
        rows: candidates: ``__row__``, ``user``, ``text``, and ``at`` where they have it.
        count: how many are wanted; fewer are returned where there are fewer users.
        known: texts that have a label.
        language: of the reasons.
        where: the rows come from, for messages.

    Returns:
        ``row`` (in the file, from 1), ``user``, ``at`` where rows have it, what the model says of it (``label`` and
        ``confidence``, or ``score``), ``doubt`` (from 0 to 1), ``distance`` (from 0 to 2), ``why`` and ``text``.

    Raises:
        SourceError: there are no candidates.
    """
    if rows.is_empty():
        remedy = "Leave the label of some rows empty."
        raise SourceError("every row has a label already", where=where, remedy=remedy)
    states = predictor.states(rows[TEXT].to_list())
    said = predictor.said(states)
    spread = predictor.spread(states) if predictor.kind == "number" else None
    doubt = doubt_of(said) if spread is None else spread / max(float(spread.max()), _LEAST)
    taught = predictor.states(list(known)) if known else None
    users = rows[c.USER].rank("dense").to_numpy().astype(np.int64)
    picked, distances, shares = pick(doubt, states, users, count, known=taught)
    answered = predictor.answered(rows, said)[picked]
    asked = rows[picked]
    reasons = [
        _reason(predictor, said[row], None if spread is None else float(spread[row]), share, language)
        for row, share in zip(picked, shares, strict=True)
    ]
    named = answered.select(pl.exclude("^p_.*$"))
    return pl.concat(
        [
            asked.select(pl.col(ROW).alias("row")),
            named,
            pl.DataFrame({DOUBT: doubt[picked], DISTANCE: distances, WHY: reasons}, schema_overrides={WHY: pl.String}),
            asked.select(TEXT),
        ],
        how="horizontal",
    )


def doubt_of(said: Said) -> NDArray[np.float64]:
    """Return how near the second class comes to the first: 0, it has no chance, to 1, it is as likely."""
    ordered = np.sort(said, axis=1)
    found: NDArray[np.float64] = 1 - (ordered[:, -1] - ordered[:, -2])
    return found


def pick(
    doubt: NDArray[np.float64], states: States, users: NDArray[np.int64], count: int, *, known: States | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[float | None]]:
    """Pick rows one by one.

    Args:
        doubt: of each row; shape (R,).
        states: of each row; shape (R, width).
        users: whose row it is; shape (R,). Of each user one row is picked.
        count: how many at most.
        known: states of texts that have a label.

    Returns:
        Numbers of rows; how far each was from the nearest known or picked one when its turn came (from 0 to 2; nan for
        the first, if nothing is known); and the share of the others that were nearer.
    """
    directions = _unit(states)
    nearest = np.full(len(states), np.inf)
    if known is not None and len(known):
        nearest = _nearest(directions, _unit(known))
    free = np.ones(len(states), dtype=np.bool_)
    picked, distances, shares = [], [], []
    for _ in range(min(count, len(np.unique(users)))):
        begun = bool(np.isfinite(nearest[free]).all())
        # A little is added to the distance, so that of texts that are all alike the most doubtful still comes first.
        worth = np.where(free, doubt * (nearest + 1e-3), -np.inf) if begun else np.where(free, doubt, -np.inf)
        row = int(worth.argmax())
        picked.append(row)
        distances.append(float(nearest[row]) if begun else np.nan)
        shares.append(float((nearest[free] < nearest[row]).mean()) if begun else None)
        free &= users != users[row]
        nearest = np.minimum(nearest, _nearest(directions, directions[row : row + 1]))
    return np.array(picked, dtype=np.int64), np.array(distances), shares


def _unit(states: States) -> States:
    found: States = states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), _LEAST).astype(np.float32)
    return found


def _nearest(ours: States, others: States) -> NDArray[np.float64]:
    """Return the distance of each direction to the nearest of others, a thousand at once."""
    closest = np.full(len(ours), -1.0)
    for first in range(0, len(others), 1000):
        closest = np.maximum(closest, (ours @ others[first : first + 1000].T).max(axis=1))
    found: NDArray[np.float64] = np.sqrt(np.clip(2 - 2 * closest, 0, 4))
    return found


def _reason(
    predictor: TextPredictor, said: NDArray[np.float64], spread: float | None, share: float | None, language: Language
) -> str:
    if spread is not None:
        start = _WIDE.format(score=float(said), spread=spread)
    else:
        second, first = (int(each) for each in np.argsort(said, kind="stable")[-2:])
        told = _TORN if said[first] - said[second] < _CLOSE else _SURE
        start = told.format(
            first=predictor.classes[first], p=said[first], second=predictor.classes[second], q=said[second]
        )
    end = _FIRST if share is None else _FAR.format(share=share)
    return Text(" ", "").to(language).join([start.to(language), end.to(language)])
