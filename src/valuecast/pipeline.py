"""Runs a recipe: log, ladder, page, models, scores. What is done already is not done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import resources
from pathlib import Path

import polars as pl

from valuecast import __version__, artifact, moments
from valuecast import columns as c
from valuecast.config.recipe import Data, Recipe, SplitBy, read_recipe
from valuecast.errors import ConfigError
from valuecast.evaluation.comparison import compare
from valuecast.evaluation.ladder import Ladder, climb
from valuecast.evaluation.page import campaign, priority
from valuecast.evaluation.page.page import page
from valuecast.evaluation.slices import check_fields, slice_of, slices_of
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.source import Mapping
from valuecast.explanation import reasons
from valuecast.explanation.page.model import explained
from valuecast.language import LANGUAGES, Text
from valuecast.models.drivers import DRIVERS
from valuecast.models.registry import check as check_rung
from valuecast.moments import moment
from valuecast.report.blocks import Fact, Report, Section
from valuecast.report.html import write_html
from valuecast.tasks import Task, parse
from valuecast.tasks.splits import Split, TimeSplit, UserSplit
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

Say = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """What a run left: the report, and the files it wrote."""

    report: Report
    files: tuple[Path, ...]


def demo() -> Recipe:
    """The recipe of ``valuecast demo``: the packaged one."""
    with resources.as_file(resources.files("valuecast").joinpath("demo.toml")) as path:
        return read_recipe(path)


def run(recipe: Recipe, *, out: Path, base: Path, command: str, say: Say, predict: bool = True) -> Made:
    """Run a recipe into the folder ``out``.

    Args:
        recipe: what to do.
        out: gets ``log/``, ``ladder/`` (kept results), ``report.html``, ``report.zh.html``, ``metrics.csv`` and,
            where the recipe predicts, ``models/``, ``scores.csv`` and, where it asks for churn and value,
            ``first.csv``: the users with the most value at risk first.
        base: folder that the recipe's paths are relative to.
        command: how it was started, for the page.
        say: is told what is being done.
        predict: whether to score users at the end, as the recipe says.

    Raises:
        ValuecastError: something in the recipe or in the data is wrong, or another run is at work in ``out``; nothing
            half-done is kept as done.
    """
    used = ConfigError("another run is at work in this folder", where=str(out), remedy="Wait, or give another one.")
    with artifact.locked(out, used=used):
        return _run(recipe, out=out, base=base, command=command, say=say, predict=predict)


def _run(recipe: Recipe, *, out: Path, base: Path, command: str, say: Say, predict: bool) -> Made:
    tasks = [parse(text) for text in recipe.tasks]
    workshop = Workshop(
        tuple(tasks), recipe.backbone, recipe.finetune, recipe.fusion, recipe.text, folder=out / "training"
    )
    workshop.check(recipe.rungs)
    split = split_of(recipe.split)
    if predict:
        _check_predict(recipe, split)
    priority.check(tasks, wanted={"campaign": recipe.campaign, "report: show_users": recipe.report.show_users})
    log = _log(recipe, out=out, base=base, say=say)
    check_fields(log, recipe.slices)
    if predict and recipe.predict and moment(recipe.predict.at) > log.span.until:
        until = moments.text(log.span.until)
        raise ConfigError(
            f"the log is known only until {until}", where="predict: at", remedy=f"Predict at {until} or earlier."
        )
    tables = Tables()
    ladders = [
        climb(
            task,
            log,
            rungs=recipe.rungs,
            origins=recipe.origins,
            split=split,
            sample=recipe.split.sample,
            seed=recipe.seed,
            cache=out / "ladder",
            tables=tables,
            workshop=workshop,
            progress=say,
        )
        for task in tasks
    ]
    scored = _scores(recipe, ladders, log, split, workshop, out=out, say=say) if predict and recipe.predict else None
    say("report")
    title = Text(recipe.title.en, recipe.title.zh)
    made = (Fact(Text("Command", "命令"), command), Fact(Text("Version", "版本"), f"valuecast {__version__}"))
    cut = slices_of(log, ladders, recipe.slices)
    report = page(
        ladders,
        title=title,
        log=log,
        slices=cut,
        campaign=recipe.campaign,
        why=scored.why if scored else (),
        show_users=recipe.report.show_users,
        made=made,
        seed=recipe.seed,
    )
    files = [_page(report, out, language) for language in LANGUAGES]
    files.append(_metrics(ladders, out, seed=recipe.seed))
    if scored:
        files += scored.files
    return Made(report, tuple(files))


def split_of(how: SplitBy) -> Split:
    """Read a split from a recipe.

    Raises:
        ConfigError: a split by users without its cutoff.
    """
    if how.by == "time":
        return TimeSplit(every=how.every, validation=how.validation, rounds=how.rounds)
    if how.at is None:
        raise ConfigError("a split by users wants its cutoff", where="split", remedy='Add at = "1997-09-30".')
    at = moments.text(moment(how.at, where="split: at"))
    return UserSplit(at=at, holdout=how.holdout, folds=how.folds)


def mapping_of(data: Data, *, base: Path) -> Mapping:
    """The source mapping of a recipe's data.

    Raises:
        ConfigError: none, or more than one, of ``dataset``, ``sources`` and ``log`` is given.
    """
    given = [name for name in ("dataset", "sources", "log") if getattr(data, name)]
    if len(given) != 1:
        raise ConfigError(
            f"{' and '.join(given) or 'nothing'} given", where="data", remedy="Give one of dataset, sources and log."
        )
    if data.sources:
        return Mapping.read(base / data.sources)
    return datasets.mapping(data.dataset or "", path=base / data.path if data.path else None)


def _check_predict(recipe: Recipe, split: Split) -> None:
    """Check before the long part what would only be read after it."""
    if recipe.predict is None:
        return
    if not 0 <= recipe.predict.reasons <= len(DRIVERS):
        raise ConfigError(
            f"{recipe.predict.reasons} reasons", where="predict: reasons", remedy=f"Give 0 to {len(DRIVERS)}."
        )
    if isinstance(split, UserSplit):
        raise ConfigError(
            "a split by users tests on held-out users; its models are not for later moments",
            where="predict",
            remedy="Leave [predict] out, or split by time.",
        )
    moment(recipe.predict.at, where="predict: at")
    if recipe.predict.rung:
        check_rung(recipe.predict.rung)


def _log(recipe: Recipe, *, out: Path, base: Path, say: Say) -> EventLog:
    if recipe.data.log:
        return EventLog.read(base / recipe.data.log, engine=recipe.engine)
    mapping = mapping_of(recipe.data, base=base)
    say("ingest")
    summary = ingest(mapping, out / "log", progress=say)
    say(str(summary))
    return EventLog.read(out / "log", engine=recipe.engine)


def _page(report: Report, out: Path, language: str) -> Path:
    path = out / ("report.html" if language == LANGUAGES[0] else f"report.{language}.html")
    write_html(report, path, language=language)
    return path


def _metrics(ladders: Sequence[Ladder], out: Path, *, seed: int) -> Path:
    parts = [
        compare(rungs, kind=ladder.task.kind, reference=ladder.best(target), seed=seed).select(
            pl.lit(target).alias(c.TARGET), pl.all(), pl.lit(ladder.best(target)).alias("reference")
        )
        for ladder in ladders
        for target in ladder.task.targets
        for rungs in [ladder.fitted(target)]
    ]
    path = out / "metrics.csv"
    pl.concat(parts).write_csv(path)
    return path


@dataclass(frozen=True)
class _Scored:
    """What scoring left: files, and why the models score as they do."""

    files: tuple[Path, ...]
    why: tuple[Section, ...]


def _scores(
    recipe: Recipe, ladders: Sequence[Ladder], log: EventLog, split: Split, workshop: Workshop, *, out: Path, say: Say
) -> _Scored:
    """Refit the best rung of each task on everything known before the moment, score everyone there, and say why."""
    wanted = recipe.predict
    assert wanted is not None
    at = moment(wanted.at)
    scores: dict[Task, pl.DataFrame] = {}
    why = []
    tables = Tables()
    for ladder in ladders:
        rung = wanted.rung or ladder.best(next(iter(ladder.task.targets)))
        say(f"{ladder.task.name}: {rung}, refitted on everything before {moments.text(at)}")
        fit = partial(workshop.fit, split=split, seed=recipe.seed, tables=tables, progress=say)
        predictor = fit(rung, ladder.task, log.before(at).sample(recipe.split.sample))
        predictor.save(out / "models" / ladder.task.name)
        say(f"{ladder.task.name}: scores, and why")
        if wanted.reasons:
            scores[ladder.task] = reasons.predict(predictor, log, at=at, reasons=wanted.reasons, seed=recipe.seed)
        else:
            scores[ladder.task] = predictor.predict(log, at=at)
        asked = scores[ladder.task].select(c.KEY).unique().sort(c.AT, c.USER)
        segments = {field: slice_of(log, asked, field) for field in recipe.slices}
        shown = recipe.report.show_users
        why += [
            explained(predictor, log, at=at, target=target, segments=segments, show_users=shown)
            for target in predictor.heads
        ]
    path = out / "scores.csv"
    write_table(pl.concat(scores.values()), path)
    return _Scored((out / "models", path, *_first(recipe, scores, log, at=at, out=out)), tuple(why))


def _first(recipe: Recipe, scores: dict[Task, pl.DataFrame], log: EventLog, *, at: datetime, out: Path) -> list[Path]:
    """Write whom to look at first, the most value at risk first, with all ids."""
    pair = priority.pair(list(scores))
    if pair is None:
        return []
    asked = ((pair.churn, pair.churn_target), (pair.value, pair.value_target))
    users = priority.at_risk(*(scores[task].filter(pl.col(c.TARGET) == target) for task, target in asked))
    users = users.join(priority.last_purchases(log, at), on=c.USER, how="left", maintain_order="left")
    path = out / "first.csv"
    write_table(campaign.chosen(users, recipe.campaign) if recipe.campaign else users, path)
    return [path]


_WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    ".csv": partial(pl.DataFrame.write_csv, float_precision=6, datetime_format="%Y-%m-%dT%H:%M:%S%.f"),
    ".parquet": pl.DataFrame.write_parquet,
}


def check_table(path: Path) -> None:
    """Check that a table can be written as the name says, before anything is computed.

    Raises:
        ConfigError: the name ends in neither ``.csv`` nor ``.parquet``.
    """
    if path.suffix not in _WRITERS:
        raise ConfigError(f"'{path.name}' ends in neither .csv nor .parquet", where="--out", remedy="Rename it.")


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as its name says: ``.csv`` or ``.parquet``; the file appears whole or not at all.

    Raises:
        ConfigError: another ending.
    """
    check_table(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    _WRITERS[path.suffix](frame, draft)
    draft.replace(path)
