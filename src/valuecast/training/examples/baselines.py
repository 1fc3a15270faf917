"""What a language model has to beat on labelled texts: the usual label, boosted trees, its own frozen states."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.config.examples import Split
from valuecast.training.examples.predictor import States, TextPredictor
from valuecast.training.examples.scores import Said
from valuecast.training.examples.table import TEXT, Labelled

if TYPE_CHECKING:
    import lightgbm

CHARACTERS: Final = 100_000
"""Of a text that words are counted in: what is beyond changes no count that matters, and may be 10 MB."""
_TREES, _PATIENCE = 500, 30
_FEW = 50
_STRENGTHS = (0.01, 0.1, 1.0, 10.0)


def usual(table: Labelled, rows: int) -> Said:
    """Say the same of every row: the shares of the training labels, or their mean."""
    labels = table.numbers("train")
    if table.kind == "number":
        return np.full(rows, labels.mean())
    counts = np.bincount(labels.astype(np.int64), minlength=len(table.classes))
    return np.tile(counts / counts.sum(), (rows, 1))


def boosted(table: Labelled, split: Split, *, seed: int = 0) -> Said:
    """Return what boosted trees say of a split: over words, and over the columns that texts were written of, if any.

    Words, and pairs of them, weigh by TF-IDF; of Chinese, which has no spaces, characters. Trees grow
    until the loss on the validation rows has not fallen for 30 of them.

    Args:
        table: labelled texts.
        split: of which rows.
        seed: of the trees.
    """
    parts: tuple[Split, ...] = ("train", "validation", split)
    return _grown(table, _columns(table, parts) if table.columns else _words(table, parts), seed=seed)


def boosted_features(table: Labelled, split: Split, features: pl.DataFrame, *, seed: int = 0) -> Said:
    """Return what boosted trees say of a split, given engineered features of the log that the texts were made of.

    Args:
        table: labelled texts, with moments.
        split: of which rows.
        features: ``user, at`` and a column for each, for every row of the table.
        seed: of the trees.
    """
    parts: tuple[Split, ...] = ("train", "validation", split)
    keys = (table.of(name).select(c.KEY) for name in parts)
    tables = [each.join(features, on=list(c.KEY), how="left", maintain_order="left").drop(c.KEY) for each in keys]
    inputs = [each.cast(pl.Float64).fill_null(np.nan).to_numpy() for each in tables]
    return _grown(table, inputs, seed=seed)


def _grown(table: Labelled, inputs: list[Any], *, seed: int) -> Said:
    """Grow trees on the training rows until those of validation are not told better, and ask them about the third."""
    import lightgbm  # noqa: PLC0415 - it takes a second to load

    first, judge, asked = inputs
    objective = {"binary": "binary", "classes": "multiclass", "number": "regression"}[table.kind]
    params: dict[str, Any] = {
        "objective": objective,
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 10,
        "num_threads": 1,  # so few rows grow slower on more
        "seed": seed,
        "deterministic": True,
        "verbosity": -1,
    }
    if table.kind == "classes":
        params["num_class"] = len(table.classes)
    learned = lightgbm.Dataset(first, table.numbers("train"), params=params)
    held = lightgbm.Dataset(judge, table.numbers("validation"), reference=learned, params=params)
    stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
    booster = lightgbm.train(params, learned, _TREES, valid_sets=[held], callbacks=[stop])
    return _of(booster, asked, table)


def linear(table: Labelled, split: Split, reader: TextPredictor, *, states: dict[Split, States]) -> Said:
    """Return what a linear model over the frozen states of a language model says of a split.

    Logistic regression, or ridge for numbers; its strength is chosen on the validation rows.

    Args:
        table: labelled texts.
        split: of which rows.
        reader: the language model before fine-tuning.
        states: of the splits that were read already; what is read here is added.
    """
    parts: tuple[Split, ...] = ("train", "validation", split)
    for name in parts:
        if name not in states:
            states[name] = reader.states(table.of(name)[TEXT].to_list())
    first, judge, asked = (states[name].astype(np.float64) for name in parts)
    centre, width = first.mean(axis=0), first.std(axis=0) + 1e-6
    first, judge, asked = ((each - centre) / width for each in (first, judge, asked))
    truth, held = table.numbers("train"), table.numbers("validation")
    tried = [_linear(table, first, truth, strength) for strength in _STRENGTHS]
    best = min(tried, key=lambda model: _loss(table, model, judge, held))
    return _say(table, best, asked)


def _linear(table: Labelled, inputs: NDArray[np.float64], truth: NDArray[np.float64], strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - it takes a second to load
    from sklearn.linear_model import LogisticRegression, Ridge  # noqa: PLC0415

    if table.kind == "number":
        return Ridge(alpha=1 / strength).fit(inputs, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weak penalty on separable rows goes on for ever
        return LogisticRegression(C=strength / 10, max_iter=300).fit(inputs, truth.astype(np.int64))


def _say(table: Labelled, model: Any, inputs: NDArray[np.float64]) -> Said:
    if table.kind == "number":
        return np.asarray(model.predict(inputs), dtype=np.float64)
    found = np.zeros((len(inputs), len(table.classes)))
    found[:, model.classes_] = model.predict_proba(inputs)
    return found


def _loss(table: Labelled, model: Any, inputs: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    said = _say(table, model, inputs)
    if table.kind == "number":
        return float(np.square(said - truth).mean())
    likelihood = said[np.arange(len(truth)), truth.astype(np.int64)]
    return float(-np.log(np.clip(likelihood, 1e-9, 1)).mean())


def _of(booster: lightgbm.Booster, inputs: Any, table: Labelled) -> Said:
    said = np.asarray(booster.predict(inputs), dtype=np.float64)
    return np.stack([1 - said, said], axis=1) if table.kind == "binary" else said


def _words(table: Labelled, parts: tuple[Split, ...]) -> list[Any]:
    """Counts of words as sparse matrices; the words are those of the training rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - it takes a second to load

    texts = [[text[:CHARACTERS] for text in table.of(name)[TEXT]] for name in parts]
    how: dict[str, Any] = {"ngram_range": (1, 2), "max_features": 20_000, "sublinear_tf": True, "dtype": np.float32}
    if _unspaced(texts[0]):
        how["analyzer"] = "char"
    else:
        how |= {"token_pattern": r"(?u)\b\w+\b"}  # figures of one digit are words too
    vectorizer = TfidfVectorizer(**how, min_df=2 if len(texts[0]) > 20 else 1)
    try:
        first = vectorizer.fit_transform(texts[0])
    except ValueError:  # no word is in two texts, or there is none at all
        return [np.zeros((len(each), 1), dtype=np.float32) for each in texts]
    return [first, *(vectorizer.transform(each) for each in texts[1:])]


def _unspaced(texts: list[str]) -> bool:
    """Whether texts are mostly Chinese or Japanese, whose words nothing separates."""
    seen = "".join(text[:200] for text in texts[:200])
    letters = [letter for letter in seen if letter.isalpha()]
    return 2 * sum("\u3040" <= letter <= "\u9fff" for letter in letters) > len(letters)


def _columns(table: Labelled, parts: tuple[Split, ...]) -> list[Any]:
    """Columns as they are: numbers; how often training rows have a value where there are few; and words of the rest."""
    from scipy import sparse  # noqa: PLC0415 - it takes a moment to load

    frames = [table.of(name) for name in parts]
    found: list[list[NDArray[np.float32]]] = [[] for _ in frames]
    spoken = False
    for name in (each for each in table.columns if each in table.frame.columns):
        cells = frames[0][name]
        if cells.cast(pl.Float64, strict=False).null_count() == cells.null_count():
            values = [frame[name].cast(pl.Float64, strict=False) for frame in frames]
        elif cells.n_unique() <= _FEW:
            counts = dict(cells.drop_nulls().value_counts().iter_rows())
            values = [frame[name].replace_strict(counts, default=0, return_dtype=pl.Float64) for frame in frames]
        else:
            spoken = True
            continue
        for own, column in zip(found, values, strict=True):
            own.append(column.fill_null(np.nan).to_numpy().astype(np.float32))
    told = [
        np.stack(own, axis=1) if own else np.zeros((len(frame), 1), np.float32)
        for own, frame in zip(found, frames, strict=True)
    ]
    if not spoken:
        return told
    return [sparse.hstack([own, words]).tocsr() for own, words in zip(told, _words(table, parts), strict=True)]
