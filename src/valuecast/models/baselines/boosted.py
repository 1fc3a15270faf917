"""Aggregates and boosted trees (LightGBM): the baseline that is hard to beat on a shop's log.

Binary tasks are classified. Amounts are either one Tweedie regression (a point mass at zero and a continuous
part in one loss) or two stages: whether anything is spent, times how much (gamma regression on those who spend).
Amounts that can be negative are regressed by least squares.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from scipy.special import logit

from valuecast import columns as c
from valuecast.errors import FitError
from valuecast.events.log import EventLog
from valuecast.features.compute import learn
from valuecast.language import Text
from valuecast.metrics.loss import loss_of
from valuecast.models.inputs import FeatureInputs, Inputs
from valuecast.models.model import Choice, Examples, FloatArray, Rounds, Scale, Settings
from valuecast.tasks import Task

if TYPE_CHECKING:
    import lightgbm
    import optuna

TRIALS = 8
MOST_TREES = 1_000
PATIENCE = 40
ROWS_PER_THREAD = 100_000
"""Trees over fewer rows grow faster on one thread: on two busy cores, 37,000 rows took 4 s on one and 17 s on two."""
ROWS_PER_PROCESS = 5_000
_SMALL = 1e-6

# What each shape of model is made of: part, LightGBM objective, the rows it learns from, and its label.
_PARTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "classify": (("probability", "binary"),),
    "tweedie": (("amount", "tweedie"),),
    "two_stage": (("probability", "binary"), ("amount", "gamma")),
    "least_squares": (("amount", "regression"),),
}


@dataclass(frozen=True)
class BoostedModel:
    """One or two boosters over features."""

    shape: str
    boosters: Mapping[str, lightgbm.Booster]
    columns: tuple[str, ...]

    @property
    def scale(self) -> Scale:
        """Log-odds for a binary task, else an amount."""
        return "log_odds" if self.shape == "classify" else "amount"

    def score(self, table: pl.DataFrame) -> FloatArray:
        """Predict each part and put them together."""
        return self.predict(_matrix(table, self.columns))

    def predict(self, matrix: FloatArray) -> FloatArray:
        """``score`` for rows whose columns are in the model's own order."""
        parts = {name: np.asarray(booster.predict(matrix), dtype=np.float64) for name, booster in self.boosters.items()}
        if self.shape == "classify":
            return np.asarray(logit(np.clip(parts["probability"], _SMALL, 1 - _SMALL)), dtype=np.float64)
        return parts["amount"] * parts.get("probability", 1.0)

    def save(self, folder: Path) -> None:
        """Write each booster as LightGBM's text."""
        for name, booster in self.boosters.items():
            booster.save_model(folder / f"{name}.txt")
        found = {"shape": self.shape, "boosters": list(self.boosters), "columns": self.columns}
        (folder / "boosted.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class Boosted:
    """The method: features, a search on validation cutoffs, early stopping there, a refit on everything."""

    name: str
    label: Text
    trials: int = TRIALS

    def objection(self, task: Task) -> str | None:
        """Trees answer any task."""
        return None

    def inputs(self, task: Task, log: EventLog) -> Inputs:
        """Every feature that the log supports."""
        return FeatureInputs(learn(log))

    def choose(self, task: Task, rounds: Rounds, *, seed: int) -> Choice:
        """Search the settings of every shape that fits the task; the mean loss over the rounds decides between them."""
        import joblib  # noqa: PLC0415 - slow to import
        import optuna  # noqa: PLC0415 - slow to import

        shapes = _shapes(task, np.concatenate([train.truth for train, _ in rounds]))
        trials: list[dict[str, Any]] = []
        parts = [(_rows(train), _rows(validation)) for train, validation in rounds]
        for shape, pair in product(shapes, parts):
            for (_, objective), part in product(_PARTS[shape], pair):
                _labels(part, objective)
        judged = joblib.delayed(_judged)

        def attempt(trial: optuna.Trial) -> float:
            settings = _suggested(trial, shapes)
            # Rounds know nothing of each other. They go to processes: twice, where two threads made data sets at once,
            # LightGBM 4.7 died of an integer division by zero.
            found = joblib.Parallel(n_jobs=_processes(parts))(
                judged(train, validation, settings, seed=seed) for train, validation in parts
            )
            losses, grown = zip(*found, strict=True)
            trees = {part: round(float(np.mean([each[part] for each in grown]))) for part in grown[0]}
            used = {name: value for name, value in settings.items() if name != _POWER or settings["shape"] == "tweedie"}
            trials.append({**used, "trees": trees, "loss": float(np.mean(losses))})
            return float(np.mean(losses))

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.trials // 2))
        for shape in shapes:  # a sensible setting of each shape is always tried
            study.enqueue_trial({"shape": shape, **_USUAL})
        study.optimize(attempt, n_trials=self.trials)
        best = min(trials, key=lambda tried: float(tried["loss"]))
        return Choice({key: value for key, value in best.items() if key != "loss"}, tuple(trials))

    def fit(self, task: Task, examples: Examples, settings: Settings, *, seed: int) -> BoostedModel:
        """Grow the chosen number of trees."""
        return _grown(_rows(examples), settings, seed=seed)[0]

    def load(self, folder: Path) -> BoostedModel:
        """Read the boosters."""
        import lightgbm  # noqa: PLC0415 - slow to import

        found = json.loads((folder / "boosted.json").read_text(encoding="utf-8"))
        boosters = {name: lightgbm.Booster(model_file=folder / f"{name}.txt") for name in found["boosters"]}
        return BoostedModel(found["shape"], boosters, tuple(found["columns"]))


LIGHTGBM = Boosted("lightgbm", Text("Aggregates + LightGBM", "统计特征 + LightGBM"))

_POWER = "tweedie_variance_power"
_USUAL = {
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.6,
    "lambda_l2": 1.0,
    "tweedie_variance_power": 1.5,
}


def _suggested(trial: optuna.Trial, shapes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "shape": trial.suggest_categorical("shape", shapes),
        "num_leaves": trial.suggest_int("num_leaves", 7, 31, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 50, 500, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 0.9),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 100.0, log=True),
        _POWER: trial.suggest_float(_POWER, 1.2, 1.8),
    }


def _shapes(task: Task, truth: FloatArray) -> tuple[str, ...]:
    if task.kind == "binary":
        return ("classify",)
    return ("tweedie", "two_stage") if truth.min() >= 0 else ("least_squares",)


@dataclass(frozen=True)
class _Rows:
    """Examples as an array."""

    columns: tuple[str, ...]
    matrix: FloatArray
    truth: FloatArray


def _rows(examples: Examples) -> _Rows:
    columns = tuple(name for name in examples.table.columns if name not in c.KEY)
    return _Rows(columns, _matrix(examples.table, columns), examples.truth)


def _judged(train: _Rows, validation: _Rows, settings: Settings, *, seed: int) -> tuple[float, dict[str, int]]:
    """The loss on the validation rows, and the number of trees of each part."""
    model, trees = _grown(train, settings, seed=seed, watched=validation)
    loss = loss_of("binary" if model.scale == "log_odds" else "amount", falls=model.shape == "least_squares")
    return loss(validation.truth, model.predict(validation.matrix)), trees


def _grown(
    rows: _Rows, settings: Settings, *, seed: int, watched: _Rows | None = None
) -> tuple[BoostedModel, dict[str, int]]:
    """Grow every part: until the loss on the watched rows stops falling, or to ``settings["trees"]``."""
    import lightgbm  # noqa: PLC0415 - slow to import

    shape = settings["shape"]
    boosters, trees = {}, {}
    for part, objective in _PARTS[shape]:
        parameters = {
            **{name: settings[name] for name in _USUAL if name != _POWER or objective == "tweedie"},
            "objective": objective,
            "learning_rate": 0.05,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "seed": seed,
            "num_threads": _threads(rows),
            **_EXACT,
        }
        learned = _dataset(rows, objective)
        if watched is None:
            trees[part] = settings["trees"][part]
            boosters[part] = lightgbm.train(parameters, learned, num_boost_round=trees[part])
        else:
            late = _dataset(watched, objective, reference=learned)
            stop = lightgbm.early_stopping(PATIENCE, verbose=False)
            boosters[part] = lightgbm.train(parameters, learned, MOST_TREES, valid_sets=[late], callbacks=[stop])
            trees[part] = boosters[part].best_iteration
    return BoostedModel(shape, boosters, rows.columns), trees


def _threads(rows: _Rows) -> int:
    return max(1, min(os.cpu_count() or 1, len(rows.truth) // ROWS_PER_THREAD))


def _processes(parts: Sequence[tuple[_Rows, _Rows]]) -> int:
    """How many rounds to judge at once: one where starting processes would take longer than growing the trees."""
    rows = max(len(train.truth) for train, _ in parts)
    return 1 if rows < ROWS_PER_PROCESS else max(1, (os.cpu_count() or 1) // _threads(parts[0][0]))


_EXACT = {"deterministic": True, "force_row_wise": True, "feature_pre_filter": False, "verbosity": -1}


def _labels(rows: _Rows, objective: str) -> tuple[FloatArray, FloatArray]:
    """The rows that an objective learns from, and their labels: who spends, how much, whether anything, or all.

    Raises:
        FitError: there is nothing to tell apart.
    """
    kept = rows.truth > 0 if objective == "gamma" else np.ones(len(rows.truth), dtype=bool)
    label = (rows.truth > 0).astype(np.float64) if objective == "binary" else rows.truth
    if not kept.any() or (objective == "binary" and len(np.unique(label)) < 2):
        raise FitError(
            f"all {len(rows.truth)} labels are alike",
            where="lightgbm",
            remedy="Take another horizon or an earlier moment, so that some users do and some do not.",
        )
    return rows.matrix[kept], label[kept]


def _dataset(rows: _Rows, objective: str, *, reference: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
    import lightgbm  # noqa: PLC0415 - slow to import

    matrix, label = _labels(rows, objective)
    # Without a number of threads the bins are made with all of them, whatever the trees are grown with.
    return lightgbm.Dataset(matrix, label, reference=reference, params={**_EXACT, "num_threads": _threads(rows)})


def _matrix(table: pl.DataFrame, columns: tuple[str, ...]) -> FloatArray:
    return table.select(columns).fill_null(np.nan).to_numpy().astype(np.float64, copy=False)
