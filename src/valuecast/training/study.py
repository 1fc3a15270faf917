"""The study of a search, on disk or in memory: one line of a journal after the other, which a kill cannot spoil."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import optuna
import polars as pl
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from valuecast.errors import ConfigError

_STUDY: Final = "study.journal"
_IDENTITY: Final = "of"
_SPARED: Final = 5  # trials that must be complete before one is pruned
_FIRST: Final = 2  # the epoch from which one is

_STATES: Final = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
_KILLED: Final = "the search was stopped meanwhile; the trial was repeated"
_SCHEMA: Final = {
    "number": pl.Int64,
    "state": pl.String,
    "loss": pl.Float64,
    "epochs": pl.Int64,
    "method": pl.String,
    "head": pl.String,
    "learning_rate": pl.Float64,
    "weight_decay": pl.Float64,
    "batch_events": pl.Int64,
    "layer_decay": pl.Float64,
    "layers": pl.Int64,
    "rank": pl.Int64,
    "vectors": pl.Int64,
    "bottleneck": pl.Int64,
    "seconds": pl.Float64,
    "reason": pl.String,
}


def opened(folder: Path | None, identity: Mapping[str, Any]) -> optuna.Study:
    """Open the study of a folder that nobody else uses, or make one; what was running in it was killed, and has failed.

    Args:
        folder: where it is kept; None: in memory.
        identity: what is searched, as plain data.

    Raises:
        ConfigError: it is the study of another search, or damaged.
    """
    study = _study(folder)
    plain = json.loads(json.dumps(identity))
    before = study.user_attrs.get(_IDENTITY)
    if before is None:
        study.set_user_attr(_IDENTITY, plain)
    elif names := [name for name in plain if before.get(name) != plain[name]]:
        raise ConfigError(
            f"the folder holds another search: the two differ in {' and '.join(names)}",
            where=str(folder),
            remedy="Give another folder, or delete this one to search anew.",
        )
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def settled(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that came to an end of their own."""
    return [trial for trial in study.get_trials() if trial.state in _STATES and not _killed(trial)]


def table(study: optuna.Study) -> pl.DataFrame:
    """The trials that are over, those that were killed among them."""
    return pl.DataFrame([_row(trial) for trial in study.get_trials() if trial.state in _STATES], schema=_SCHEMA)


def _study(folder: Path | None) -> optuna.Study:
    """Open the study of a folder that nobody else uses, or make one.

    Raises:
        ConfigError: the file is damaged.
    """
    storage: InMemoryStorage | JournalStorage = InMemoryStorage()
    if folder:
        path = folder / _STUDY
        _mend(path)
        try:
            storage = JournalStorage(JournalFileBackend(str(path)))
        except (ValueError, KeyError) as error:
            remedy = "Delete it to search anew."
            raise ConfigError(f"the study is damaged ({error})", where=str(path), remedy=remedy) from None
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_SPARED, n_warmup_steps=_FIRST)
    return optuna.create_study(storage=storage, study_name="search", pruner=pruner, load_if_exists=True)


def _mend(path: Path) -> None:
    """Take from a journal what a kill left: half a line at its end, and Optuna's lock."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        with path.open("r+b") as stream:
            content = stream.read()
            stream.truncate(content.rfind(b"\n") + 1)


def _killed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def _row(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number + 1,
        "state": _STATES[trial.state],
        "loss": trial.value,
        "epochs": trial.last_step,
        **trial.params,
        "seconds": trial.user_attrs.get("seconds"),
        "reason": _KILLED if _killed(trial) else trial.user_attrs.get("reason"),
    }
