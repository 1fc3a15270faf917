"""What a language model has to beat: baselines that learn from the training rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.labelled import language_model, numbers, table, texts
from valuecast.config.examples import Reading
from valuecast.models.text.backbone import TextBackbone
from valuecast.training.examples.baselines import boosted, linear, usual
from valuecast.training.examples.fit import untrained
from valuecast.training.examples.scores import measured
from valuecast.training.examples.table import Labelled, labelled_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> TextBackbone:
    return language_model(tmp_path_factory.mktemp("bert"))


def figures(rows: Labelled, said: Any) -> dict[str, float]:
    return measured(rows.kind, rows.numbers("test"), said)


def test_the_usual_answer_is_the_share_of_each_class() -> None:
    rows = table(texts(classes=3))
    said = usual(rows, 5)
    assert said.shape == (5, 3)
    assert said[0] == pytest.approx(np.bincount(rows.numbers("train").astype(int)) / len(rows.of("train")))
    amounts = table(numbers())
    assert usual(amounts, 2).tolist() == pytest.approx([amounts.numbers("train").mean()] * 2)


@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
def test_trees_and_a_linear_model_learn(kind: str, bert: TextBackbone) -> None:
    frame = {
        "binary": texts(300).with_columns(pl.col("label").replace({"stay": "0", "leave": "1"})),
        "classes": texts(300, classes=3),
        "number": numbers(300),
    }[kind]
    rows = table(frame)
    assert rows.kind == kind
    before, states = untrained(bert, rows), {}
    for said in (boosted(rows, "test"), linear(rows, "test", before, states=states)):
        found, naive = figures(rows, said), figures(rows, usual(rows, len(rows.of("test"))))
        name = "mae" if kind == "number" else "log_loss"
        assert found[name] < 0.8 * naive[name]
        if kind != "number":
            assert said.sum(axis=1) == pytest.approx(np.ones(len(said)))
    assert set(states) == {"train", "validation", "test"}
    assert np.array_equal(boosted(rows, "test"), boosted(rows, "test"))


def test_the_test_rows_teach_nothing(bert: TextBackbone) -> None:
    rows = table(texts(200))
    flipped = rows.frame.with_columns(
        label=pl.when(pl.col("split") == "test").then(1 - pl.col("label")).otherwise("label")
    )
    other = Labelled(flipped, rows.kind, rows.classes, rows.columns, rows.facts, rows.where)
    assert np.array_equal(boosted(rows, "test"), boosted(other, "test"))
    before = untrained(bert, rows)
    assert np.array_equal(
        linear(rows, "test", before, states={}), linear(other, "test", untrained(bert, other), states={})
    )


def test_columns_are_read_as_they_are() -> None:
    draw = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user": [f"u{number}" for number in range(300)],
            "orders": [str(number) if number % 7 else None for number in draw.integers(0, 20, 300)],
            "city": draw.choice(["Rome", "Oslo", "Lima"], 300),
        }
    ).with_columns(label=(pl.col("orders").cast(pl.Int64).fill_null(0) > 9).cast(pl.Int8).cast(pl.String))
    rows = labelled_of(frame, Reading(columns=("orders", "city")))
    assert figures(rows, boosted(rows, "test"))["auc"] > 0.95


def test_columns_of_words_are_read_as_words() -> None:
    frame = texts(300, noise=0.02).with_columns(did=pl.col("text") + pl.col("user"), age=pl.lit("30"))
    rows = labelled_of(frame, Reading(columns=("did", "age")))
    assert figures(rows, boosted(rows, "test"))["auc"] > 0.9


def test_chinese_and_texts_without_words() -> None:
    chinese = texts(200).with_columns(text=pl.lit("红色茶杯，顾客退货"))
    chinese = chinese.with_columns(
        text=pl.when(pl.col("label") == "stay").then(pl.lit("白色烛台订单")).otherwise("text")
    )
    rows = table(chinese)
    assert figures(rows, boosted(rows, "test"))["auc"] > 0.9
    silent = table(texts(200).with_columns(text=pl.lit("😀 …")))
    assert figures(silent, boosted(silent, "test"))["auc"] == 0.5
