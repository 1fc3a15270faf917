"""Whose labels would teach most: doubt, spread over unlike texts, and a reason for each."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.labelled import language_model, numbers, table, texts, tuning
from valuecast.errors import SourceError
from valuecast.training.examples.active import doubt_of, next_labels, pick
from valuecast.training.examples.cells import ROW, as_cells
from valuecast.training.examples.fit import fit
from valuecast.training.examples.predictor import TextPredictor

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> TextPredictor:
    return fit(language_model(tmp_path_factory.mktemp("bert")), table(), tuning=tuning(epochs=3)).predictor


def rows(frame: pl.DataFrame) -> pl.DataFrame:
    return as_cells(frame, where="file")


def test_doubt_is_how_near_the_second_class_comes() -> None:
    said = np.array([[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]])
    assert doubt_of(said).tolist() == pytest.approx([1, 0, 0.4])
    assert doubt_of(np.array([[0.4, 0.4, 0.2]])).tolist() == pytest.approx([1])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 12), st.booleans())
def test_each_user_is_picked_once_and_the_next_is_the_worthiest(seed: int, count: int, begun: bool) -> None:
    draw = np.random.default_rng(seed)
    doubt, states = draw.uniform(size=30), draw.normal(size=(30, 4)).astype(np.float32)
    users = draw.integers(0, 10, 30)
    known = draw.normal(size=(3, 4)).astype(np.float32) if begun else None
    picked, distances, shares = pick(doubt, states, users, count, known=known)
    assert len(picked) == min(count, len(set(users.tolist())))
    assert len(set(users[picked].tolist())) == len(picked)
    assert np.isnan(distances).tolist() == [not begun, *[False] * (len(picked) - 1)]
    assert [share is None for share in shares] == np.isnan(distances).tolist()
    fewer, *_ = pick(doubt, states, users, 1, known=known)
    assert fewer[0] == picked[0]
    if not begun:
        assert picked[0] == doubt.argmax()
    assert np.array_equal(pick(doubt, states, users, count, known=known)[0], picked)


def test_texts_that_are_alike_are_not_asked_about_twice() -> None:
    doubt = np.array([0.9, 0.89, 0.5, 0.1])
    states = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    picked, *_ = pick(doubt, states, np.arange(4), 2)
    assert picked.tolist() == [0, 2]
    known = np.array([[0, 2]], dtype=np.float32)  # the third is known already, as its direction is
    picked, *_ = pick(doubt, states, np.arange(4), 4, known=known)
    assert picked[-1] != 0
    assert picked[0] == 0
    assert 2 not in picked[:2]


def test_rows_come_with_reasons_in_both_languages(predictor: TextPredictor) -> None:
    asked = texts(40, noise=0.5, seed=3)
    cells = rows(asked)
    known = asked["text"][:10].to_list()
    found = next_labels(predictor, cells[10:], 5, known=known)
    assert found.columns == ["row", "user", "label", "confidence", "doubt", "distance", "why", "text"]
    assert len(found) == 5
    assert (found["row"] > 10).all()
    joined = found.join(cells.rename({ROW: "row"}).select("row", "user", "text"), on=["row", "user", "text"])
    assert len(joined) == 5
    first = found.row(0, named=True)
    close = first["confidence"] < 0.65  # of two classes
    start = "The model is torn between" if close else "The model says"
    assert first["why"].startswith(f"{start} '{first['label']}' ({first['confidence']:.0%})")
    assert "further from every text with a label" in first["why"]
    chinese = next_labels(predictor, cells[10:], 5, known=known, language="zh")
    assert chinese.drop("why").equals(found.drop("why"))
    assert all(why.startswith("模型") and why.endswith("。") for why in chinese["why"])
    assert "no text had a label before" in next_labels(predictor, cells, 1)["why"][0]
    assert len(next_labels(predictor, cells[:3], 50)) == 3


def test_numbers_have_doubt_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = language_model(tmp_path_factory.mktemp("bert"))
    predictor = fit(model, table(numbers()), tuning=tuning(epochs=2)).predictor
    found = next_labels(predictor, rows(numbers(20)), 3)
    assert found.columns == ["row", "user", "score", "doubt", "distance", "why", "text"]
    assert found["doubt"].is_between(0, 1).all()
    assert found["why"][0].startswith("The model says ")


def test_nobody_is_left_to_ask_about(predictor: TextPredictor) -> None:
    with pytest.raises(SourceError, match="every row has a label already"):
        next_labels(predictor, rows(texts(3)).clear(), 5)
