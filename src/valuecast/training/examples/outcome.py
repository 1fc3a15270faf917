"""What a run of the classic program found: every contender's answers to the test rows, and how one was fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from valuecast.config.examples import Program
from valuecast.language import Text
from valuecast.training.examples.fit import Fitted
from valuecast.training.examples.pseudo import Taught
from valuecast.training.examples.scores import Said, by_class, measured
from valuecast.training.examples.table import Labelled

CONTENDERS: Mapping[str, Text] = {
    "usual": Text("The same for everybody", "对所有人给出同样的回答"),
    "boosted": Text("LightGBM on words", "LightGBM（词频特征）"),
    "boosted_columns": Text("LightGBM on the columns and their words", "LightGBM（原始列与词频）"),
    "features": Text("LightGBM on engineered features of the log", "LightGBM（日志特征工程）"),
    "untrained": Text("Language model before fine-tuning: its head is untrained", "微调前的语言模型：输出头未经训练"),
    "linear": Text("Linear model on the frozen language model", "冻结的语言模型 + 线性模型"),
    "tuned": Text("Language model, fine-tuned", "微调后的语言模型"),
    "pseudo": Text("Language model, fine-tuned with pseudo-labels too", "微调时加入伪标签的语言模型"),
}
"""In the order of the page."""


@dataclass(frozen=True)
class Outcome:
    """All that a page is made of.

    Attributes:
        program: that was run.
        table: the labelled texts.
        said: what each contender says of the test rows.
        fitted: the model that learned from the labels alone.
        taught: what pseudo-labels made of it, if they were asked for.
        cut: how many texts were longer than the model reads.
        unknown: share of their tokens that the model has no word for.
    """

    program: Program
    table: Labelled
    said: Mapping[str, Said]
    fitted: Fitted
    taught: Taught | None
    cut: int
    unknown: float


def comparison(outcome: Outcome) -> pl.DataFrame:
    """Return ``contender`` and every figure on the test rows, in the order of the page."""
    table = outcome.table
    truth = table.numbers("test")
    rows = [
        {"contender": name, **measured(table.kind, truth, outcome.said[name])}
        for name in CONTENDERS
        if name in outcome.said
    ]
    return pl.DataFrame(rows)


def reports(outcome: Outcome) -> pl.DataFrame:
    """Return the classification report of every contender on the test rows: ``contender, class, precision, ...``."""
    table = outcome.table
    truth = table.numbers("test")
    return pl.concat(
        by_class(truth, outcome.said[name], table.classes).select(pl.lit(name).alias("contender"), pl.all())
        for name in CONTENDERS
        if name in outcome.said
    )


def epochs(fitted: Fitted) -> pl.DataFrame:
    """Return ``epoch, training, validation`` (losses) and every figure on the validation rows."""
    return pl.DataFrame(
        [
            {
                "epoch": number,
                "training": epoch.training["label"],
                "validation": epoch.validation["label"],
                **figures_of,
                "best": number == fitted.history.best_epoch,
            }
            for number, (epoch, figures_of) in enumerate(
                zip(fitted.history.epochs, fitted.measured, strict=True), start=1
            )
        ]
    )
