"""Reasons as data: for every scored user the drivers that moved the score most, coded and in words."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.errors import ConfigError
from valuecast.events.keys import passes
from valuecast.events.log import EventLog
from valuecast.explanation import facts
from valuecast.explanation.effects import Effects, effects
from valuecast.explanation.typical import typical
from valuecast.models.predictor import Predictor
from valuecast.moments import Moment
from valuecast.tasks.labels import eligible

REFERENCES: Final = 4
"""Typical users whom everybody is compared with. An explanation of one compares with more: effects differ a little."""
USERS_AT_ONCE: Final = 20_000


def predict(predictor: Predictor, log: EventLog, *, at: Moment, reasons: int, seed: int = 0) -> pl.DataFrame:
    """Score everyone whom the task asks about, and say why.

    Args:
        predictor: is asked.
        log: known until ``at``.
        at: the moment.
        reasons: how many for each score.
        seed: of the typical users and of the orders in which drivers take effect.

    Returns:
        What ``Predictor.predict`` does, and for each reason, the strongest first: ``reason_1``, the code of the driver
        (``valuecast.models.drivers``) with ``+`` where it raises the score and ``-`` where it lowers it;
        ``reason_1_effect``, by how much, in the score's own unit; and ``reason_1_en`` and ``reason_1_zh``, the facts.

    Raises:
        ConfigError: fewer than one reason, or more than the predictor has drivers.
    """
    when = log.asked(at)
    most = len(set(predictor.inputs.drivers().values()))
    if not 1 <= reasons <= most:
        raise ConfigError(
            f"{reasons} reasons", where="--reasons", remedy=f"This model has {most} kinds of causes: give 1 to {most}."
        )
    known = log.before(when)
    keys = predictor.allowed(eligible(predictor.task, known, [when]), when)
    compared = typical(predictor, log, when, references=REFERENCES, seed=seed)
    found = []
    for theirs, part in passes(known, keys, at_once=USERS_AT_ONCE):
        material = predictor.inputs.material(theirs, part)
        scores = predictor.answered(predictor.inputs.made(material))
        said = facts.facts(material, known, when)  # what they are made of is learned from the whole log
        why = effects(predictor, material, compared, seed=seed)
        users = material[c.USER].to_list()
        for target in predictor.heads:
            own = scores.filter(pl.col(c.TARGET) == target).drop("raw")
            assert own[c.USER].to_list() == users
            found.append(pl.concat([own, _reasons(why, target, said, reasons)], how="horizontal"))
    return pl.concat(found).sort(c.TARGET, c.AT, c.USER, maintain_order=True)


def _reasons(why: Effects, target: str, said: pl.DataFrame, count: int) -> pl.DataFrame:
    values = why.values[target]
    order = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :count]
    columns: dict[str, list[object]] = {}
    rows = list(said.drop(c.KEY).iter_rows(named=True))
    at = said[c.AT][0]
    for rank in range(count):
        place = order[:, rank]
        effect = np.take_along_axis(values, place[:, None], axis=1)[:, 0]
        codes = [why.drivers[number] for number in place]
        texts = [facts.told(code, row, at) for code, row in zip(codes, rows, strict=True)]
        name = f"reason_{rank + 1}"
        columns[name] = [f"{code}{'+' if own >= 0 else '-'}" for code, own in zip(codes, effect, strict=True)]
        columns[f"{name}_effect"] = effect.tolist()
        columns[f"{name}_en"] = [text.en for text in texts]
        columns[f"{name}_zh"] = [text.zh for text in texts]
    return pl.DataFrame(columns)
