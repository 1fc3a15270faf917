"""The classic program: labelled texts in, a fine-tuned language model and an honest page out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from valuecast import columns as c
from valuecast.config.examples import Program, Reading, Split
from valuecast.errors import ConfigError
from valuecast.events.log import EventLog
from valuecast.features.compute import learn as learn_features
from valuecast.language import LANGUAGES
from valuecast.models.inputs import FeatureInputs
from valuecast.models.text.backbone import TextBackbone
from valuecast.report.blocks import Fact, Report
from valuecast.report.html import write_html
from valuecast.tasks import parse
from valuecast.training.examples import baselines
from valuecast.training.examples.fit import Fitted, fit, untrained
from valuecast.training.examples.make import make, taught_by, written
from valuecast.training.examples.outcome import Outcome, comparison, epochs, reports
from valuecast.training.examples.page import page
from valuecast.training.examples.predictor import States
from valuecast.training.examples.pseudo import teach
from valuecast.training.examples.scores import Said, measured, told
from valuecast.training.examples.table import TEXT, Labelled, read_labelled
from valuecast.training.processes import apart, rank

Say = Callable[[str], None]
MODEL, CSV = "model", "examples.csv"


@dataclass(frozen=True)
class Ran:
    """What a run left.

    Attributes:
        outcome: what was found.
        report: the page.
        files: that were written.
    """

    outcome: Outcome
    report: Report
    files: tuple[Path, ...]


def run(
    program: Program,
    *,
    out: Path,
    base: Path,
    log: Callable[[], EventLog],
    say: Say,
    made: tuple[Fact, ...] = (),
) -> Ran:
    """Run a recipe of labelled texts into the folder ``out``.

    Args:
        program: what to do.
        out: gets ``examples.csv`` if texts are made of a log, ``model/``, ``report.html``, ``report.zh.html``,
            ``metrics.csv``, ``epochs.csv``, ``predictions.csv`` of every row and, of classes, ``classification.csv``.
        base: folder that the recipe's paths are relative to.
        log: opens the log, if texts are made of one.
        say: is told what is being done.
        made: how the page came about.

    Raises:
        ValuecastError: something in the recipe or in the data is wrong.
    """
    reading = program.examples.reading
    program = placed(program, base)
    model = TextBackbone.open(program.text)
    path, features = _file(program, out=out, base=base, log=log, say=say)
    table = read_labelled(path, reading, seed=program.seed)
    if program.examples.path is not None and program.examples.users is not None:
        table = table.drawn(program.examples.users, seed=program.seed)
    outcome, kept = learn(program, model, table, features=features, folder=out / "training", say=say)
    report = page(outcome, made=made)
    files = [path] if program.examples.task else []
    if rank():  # the first process writes
        return Ran(outcome, report, tuple(files))
    kept.predictor.save(out / MODEL)
    files += [out / MODEL, *_pages(report, out)]
    tables = {"metrics": comparison(outcome), "epochs": epochs(outcome.fitted)}
    if table.kind != "number":
        tables["classification"] = reports(outcome)
    say(f"predictions of all {len(table.frame):,} rows")
    tables["predictions"] = _predictions(kept, table)
    for name, frame in tables.items():
        files.append(out / f"{name}.csv")
        frame.write_csv(files[-1], float_precision=6, datetime_format="%Y-%m-%dT%H:%M:%S%.f")
    return Ran(outcome, report, tuple(files))


def learn(
    program: Program,
    model: TextBackbone,
    table: Labelled,
    *,
    features: pl.DataFrame | None = None,
    folder: Path | None,
    say: Say,
) -> tuple[Outcome, Fitted]:
    """Answer the test rows by baselines, before and after fine-tuning; return the model that validation prefers too.

    Args:
        program: how; its examples are read already.
        model: the language model.
        table: the labelled texts.
        features: of the log that they were made of, if they were: ``user, at`` and a column for each.
        folder: for checkpoints.
        say: is told what is being done.
    """
    seed, reading = program.seed, program.examples.reading
    before = untrained(model, table, reading=reading, seed=seed)
    texts = table.frame[TEXT].to_list()
    cut, unknown = before.count_cut(texts), before.unknown(texts)
    if cut:
        all_, tokens = len(table.frame), model.body.text.tokens
        say(f"{cut:,} of {all_:,} texts are longer than {tokens} tokens: the model reads their beginnings")
    rows = table.of("test")
    truth = table.numbers("test")
    said: dict[str, Said] = {"usual": baselines.usual(table, len(rows))}
    say("baselines")
    said["boosted"] = baselines.boosted(table, "test", seed=seed)
    states: dict[Split, States] = {}
    if features is not None:
        said["features"] = baselines.boosted_features(table, "test", features, seed=seed)
    said["linear"] = baselines.linear(table, "test", before, states=states)
    said["untrained"] = before.said(states["test"])
    for name, own in said.items():
        say(f"{name}: {told(measured(table.kind, truth, own))}")
    learned = partial(
        fit,
        model,
        reading=reading,
        tuning=program.tuning,
        augmentation=program.augmentation,
        seed=seed,
        folder=folder,
        progress=say,
    )
    fitted = learned(table)
    said["tuned"] = _answered(fitted, rows)
    say(f"fine-tuned: {told(measured(table.kind, truth, said['tuned']))}")
    if program.pseudo is None:
        return Outcome(program, table, said, fitted, None, cut, unknown), fitted
    taught = teach(fitted, table, lambda more, name: learned(more, name=name), how=program.pseudo, progress=say)
    if taught.last is not None:
        said["pseudo"] = _answered(taught.fitted if taught.used else taught.last, rows)
        say(f"with pseudo-labels: {told(measured(table.kind, truth, said['pseudo']))}")
    return Outcome(program, table, said, fitted, taught, cut, unknown), taught.fitted


def placed(program: Program, base: Path) -> Program:
    """Return it with the paths of models and of a thesaurus, which are relative to the recipe, made whole."""
    varied = {name: getattr(program.augmentation, name) for name in ("thesaurus", "translator", "back")}
    found: dict[str, Any] = {name: _whole(value, base) for name, value in varied.items() if value is not None}
    return replace(
        program,
        text=replace(program.text, model=_whole(program.text.model, base)),
        augmentation=replace(program.augmentation, **found),
    )


def _whole(name: str, base: Path) -> str:
    """A name that is no path there may be the id of a hub."""
    return str(base / name) if (base / name).exists() else name


def _file(
    program: Program, *, out: Path, base: Path, log: Callable[[], EventLog], say: Say
) -> tuple[Path, pl.DataFrame | None]:
    """Return the file of labelled texts; and, if it is made of a log here, engineered features of the same rows."""
    asked = program.examples
    if asked.path is not None:
        return base / asked.path, None
    if asked.reading != Reading(kind=asked.reading.kind, shares=asked.reading.shares):
        remedy = "Its columns are known; leave them out of [examples.reading]."
        raise ConfigError("the file is made here", where="examples: reading", remedy=remedy)
    assert asked.task is not None
    task = parse(asked.task)
    opened = log()
    say(f"texts of {task.name}")
    frame = make(
        opened,
        task,
        asked.at,
        language=program.text.language,
        users=asked.users,
        events=asked.events,
        seed=program.seed,
    )
    path = out / CSV
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = apart(path.with_name(f".{path.name}"))
    written(frame).write_csv(draft)
    draft.replace(path)  # every process has written the same
    say(f"{len(frame):,} labelled texts of {frame[c.USER].n_unique():,} users")
    known = opened.before(taught_by(asked.at))
    return path, FeatureInputs(learn_features(known)).table(opened, frame.select(c.KEY))


def _answered(fitted: Fitted, rows: pl.DataFrame) -> Said:
    return fitted.predictor.said(fitted.predictor.states(rows[TEXT].to_list()))


def _predictions(kept: Fitted, table: Labelled) -> pl.DataFrame:
    """Every row, labelled or not, with its split and what the model says of it."""
    frame = table.frame
    answered = kept.predictor.answered(frame, _answered(kept, frame))
    truth: Mapping[float, str] = dict(enumerate(table.classes))
    label = frame[c.LABEL]
    known = label.replace_strict(truth, default=None, return_dtype=pl.String) if table.classes else label
    return answered.with_columns(frame["split"], known.alias("truth"))


def _pages(report: Report, out: Path) -> list[Path]:
    found = []
    for language in LANGUAGES:
        path = out / ("report.html" if language == LANGUAGES[0] else f"report.{language}.html")
        write_html(report, path, language=language)
        found.append(path)
    return found
