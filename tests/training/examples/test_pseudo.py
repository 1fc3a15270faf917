"""Pseudo-labels: what is sure is taken, in the shares of the labels, and kept only if validation says so."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.labelled import language_model, numbers, table, texts, tuning
from valuecast.config.examples import Pseudo
from valuecast.errors import ConfigError, FitError
from valuecast.models.text.backbone import TextBackbone
from valuecast.training.examples.fit import Fitted, fit
from valuecast.training.examples.pseudo import chosen, lowest, teach
from valuecast.training.examples.table import Labelled

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> TextBackbone:
    return language_model(tmp_path_factory.mktemp("bert"))


def taught_by(bert: TextBackbone) -> partial[Fitted]:
    return partial(fit, bert, tuning=tuning(epochs=6, batch=8))


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(2, 4), st.floats(0.5, 0.95), st.booleans())
def test_only_what_is_sure_is_taken_and_the_shares_are_kept(
    seed: int, classes: int, floor: float, balance: bool
) -> None:
    draw = np.random.default_rng(seed)
    said, shares = draw.dirichlet(np.full(classes, 0.3), 60), draw.dirichlet(np.ones(classes))
    rows, labels = chosen(said, shares, Pseudo(floor=floor, balance=balance))
    assert len(set(rows.tolist())) == len(rows)
    assert (said.max(axis=1)[rows] >= floor).all()
    assert (said.argmax(axis=1)[rows] == labels).all()
    if not balance:
        assert len(rows) == (said.max(axis=1) >= floor).sum()
    elif len(rows):
        counts = np.bincount(labels, minlength=classes)
        ends = len(rows) + classes  # numbers of rows are whole
        assert (counts <= np.ceil(shares * ends) + 1e-9).all()


def test_the_surest_of_a_class_are_taken() -> None:
    said = np.array([[0.95, 0.05], [0.99, 0.01], [0.92, 0.08], [0.03, 0.97]])
    rows, labels = chosen(said, np.array([0.5, 0.5]), Pseudo(floor=0.9))
    assert rows.tolist() == [1, 3]
    assert labels.tolist() == [0, 1]
    assert len(chosen(said[:3], np.array([0.5, 0.5]), Pseudo(floor=0.9))[0]) == 0  # of one class alone: nothing
    assert len(chosen(said[:3], np.array([0.5, 0.5]), Pseudo(floor=0.9, balance=False))[0]) == 3


def test_unlabelled_texts_teach_and_are_counted(bert: TextBackbone) -> None:
    whole = texts(260, noise=0.02)
    hidden = whole.with_columns(label=pl.when(pl.int_range(pl.len()) < 100).then("label"))
    rows = table(hidden)
    truth = table(whole).frame.filter(pl.col("__row__") > 100).select("__row__", "label")
    said: list[str] = []
    first = taught_by(bert)(rows)
    names: list[str] = []

    def again(more: Labelled, name: str) -> Fitted:
        names.append(name)
        return taught_by(bert)(more, name=name)

    how = Pseudo(floor=0.6, rounds=2)  # a floor that so small a model reaches
    found = teach(first, rows, again, how=how, truth=truth, progress=said.append)
    assert names == [f"pseudo-{number}" for number in range(1, len(found.rounds) + 1)]
    one = found.rounds[0]
    assert one.pool == len(rows.pool)
    assert 0 < sum(one.taken.values()) <= one.sure <= one.pool
    assert set(one.taken) == {"stay", "leave"}
    assert one.right is not None
    assert one.right > 0.8
    assert f"{sum(one.taken.values())} taken, {one.right:.1%} of them right" in said[0]
    best = min([lowest(first), *(each.loss for each in found.rounds if each.loss is not None)])
    assert lowest(found.fitted) == best
    assert (found.used == 0) == (found.fitted is first)


def test_nothing_sure_teaches_nothing(bert: TextBackbone) -> None:
    rows = table(texts(120, noise=0.5, unlabelled=40))
    first = taught_by(bert)(rows)
    found = teach(first, rows, lambda more, name: taught_by(bert)(more), how=Pseudo(floor=0.999, rounds=3))
    assert found.fitted is first
    assert (found.last, found.used) == (None, 0)
    (only,) = found.rounds
    assert (sum(only.taken.values()), only.right, only.loss) == (0, None, None)


def test_what_cannot_be_is_said(bert: TextBackbone) -> None:
    rows = table(texts(60))
    first = fit(bert, rows, tuning=tuning(epochs=1))
    with pytest.raises(FitError, match="no row is without a label"):
        teach(first, rows, lambda more, name: first)
    with pytest.raises(ConfigError, match="labels are numbers"):
        teach(first, table(numbers(60)), lambda more, name: first)
    with pytest.raises(ConfigError, match="floor"):
        Pseudo(floor=0.3)
    with pytest.raises(ConfigError, match="rounds"):
        Pseudo(rounds=0)


def test_the_folder_of_a_round_is_its_own(bert: TextBackbone, tmp_path: Path) -> None:
    rows = table(texts(200, noise=0.02, unlabelled=100))
    learned = partial(fit, bert, tuning=tuning(epochs=3), folder=tmp_path)
    found = teach(learned(rows), rows, lambda more, name: learned(more, name=name), how=Pseudo(floor=0.6))
    if found.last is not None:
        assert (tmp_path / "pseudo-1.checkpoint").exists()
    assert (tmp_path / "text.checkpoint").exists()
