"""Commands about labelled texts: label make, fit, predict, next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from valuecast.cli.app import TASK, Lang, LogPath, app, beside, check_shared, made, say, show, write_page
from valuecast.config.learning import Adaptation
from valuecast.errors import ConfigError, suggest

group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="label")


@group.callback()
def root(context: typer.Context) -> None:
    """Learn from texts that have a label, such as what a customer did and whether they stayed."""
    check_shared(context, "fit")


FilePath = Annotated[
    Path, typer.Argument(metavar="FILE", help="A .csv, .csv.gz or .parquet file: a row for each text.")
]
TextPredictorPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `label fit` wrote.")]
TableOut = Annotated[Path, typer.Option("--out", metavar="FILE", help="A file that ends in .csv or .parquet.")]
Seed = Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Of everything random.")]
_TABLES = ("reading", "text", "tuning", "augmentation", "pseudo")
Kinds = Literal["auto", "binary", "classes", "number"]


@group.command("make")
def make(
    log: LogPath,
    task: Annotated[str, TASK],
    at: Annotated[
        list[str],
        typer.Option(
            metavar="TIME",
            help="A cutoff, the earliest first; may be repeated. The last is the test, the one before for validation.",
        ),
    ],
    out: TableOut,
    users: Annotated[int | None, typer.Option(min=1, metavar="N", help="Users of each cutoff at most.")] = None,
    events: Annotated[int, typer.Option(min=1, metavar="N", help="Events that a text tells of at most.")] = 32,
    lang: Annotated[Literal["en", "zh"], typer.Option("--lang", help="Language of the texts.")] = "en",
    seed: Seed = 0,
) -> None:
    """Write a log as labelled texts: what users did before a cutoff in words, and what they did after it.

    Columns: user, at, text, label and, with several cutoffs, split. With one cutoff `label fit` splits by users.
    """
    import polars as pl

    from valuecast.events.log import EventLog
    from valuecast.pipeline import check_table, write_table
    from valuecast.tasks import parse
    from valuecast.training.examples.make import make as make_
    from valuecast.training.examples.make import written

    check_table(out)
    found = make_(EventLog.read(log), parse(task), at, language=lang, users=users, events=events, seed=seed)
    write_table(written(found), out)
    typer.echo(f"wrote {len(found):,} texts of {found['user'].n_unique():,} users to {out}")
    parts = found if "split" in found.columns else found.with_columns(split=pl.lit("in all"))
    for split, rows, mean in (
        parts.group_by("split", maintain_order=True).agg(pl.len(), pl.col("label").cast(pl.Float64).mean()).iter_rows()
    ):
        typer.echo(f"{split}: {rows:,} texts, mean label {mean:.3g}")


@group.command("fit")
def fit(
    file: FilePath,
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAME", help="A language model: a folder, package:NAME, or the id of a model of a hub."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="The folder; a text predictor it holds is replaced.")],
    kind: Annotated[Kinds, typer.Option(help="Of the labels; auto looks at them.")] = "auto",
    positive: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The label that is asked about, where two are not yes and no.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column to be read in place of `text`; may be repeated."),
    ] = None,
    method: Annotated[
        Adaptation | None, typer.Option(help="What of the model is trained.", show_default="full")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most.", show_default="5")] = None,
    batch: Annotated[int | None, typer.Option(min=1, metavar="ROWS", show_default="16")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="The highest.", show_default="2e-5; from scratch 1e-4; where few weights are 1e-3"
        ),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=16, metavar="N", help="Of a text at most.", show_default="128")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", metavar="FILE.toml", help="Further settings, as in a recipe; options override it."),
    ] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE.html", help="An HTML page to write.")] = None,
    lang: Lang = "en",
    seed: Seed = 0,
) -> None:
    """Fine-tune a language model on labelled texts, and say how well it does on rows that it has not seen.

    FILE has the columns user, text, label (empty: not labelled yet) and, if you like, split (train, validation, test);
    without it users are split by a digest. FILE.toml has the tables [reading], [text], [tuning], [augmentation] and
    [pseudo] of a recipe. The model learns until the loss on the validation rows stops falling. Checkpoints are kept in
    MODEL.training; a run that was killed is continued by the same command.
    """
    from valuecast import artifact
    from valuecast.models.neural import require

    require("a language model")
    program = _program(
        file,
        settings,
        {"text": {"model": model, "tokens": tokens}}
        | {"reading": {"kind": None if kind == "auto" else kind, "positive": positive, "columns": column or None}}
        | {"tuning": {"method": method, "epochs": epochs, "batch": batch, "learning_rate": learning_rate}},
        seed=seed,
    )

    from valuecast.models.text.backbone import TextBackbone
    from valuecast.training.examples import page as pages
    from valuecast.training.examples.predictor import KIND
    from valuecast.training.examples.program import learn, placed
    from valuecast.training.examples.table import read_labelled
    from valuecast.training.processes import rank

    artifact.check_replaceable(out, kind=KIND)
    program = placed(program, settings.parent if settings else Path())
    table = read_labelled(file, program.examples.reading, seed=seed)
    outcome, kept = learn(program, TextBackbone.open(program.text), table, folder=beside(out, "training"), say=say)
    if rank():  # the first process writes
        return
    kept.predictor.save(out)
    report = pages.page(outcome, made=made())
    if page:
        write_page(report, page, lang)
    show(report, lang)
    typer.echo(f"wrote {out}")


@group.command("predict")
def predict(model: TextPredictorPath, file: FilePath, out: TableOut) -> None:
    """Answer for the texts of a file.

    Columns: user, label (the likeliest), confidence and p_CLASS for each class; of a number user and score. Rows are in
    the order of FILE, which needs no labels.
    """
    from valuecast.pipeline import check_table, write_table
    from valuecast.training.examples.cells import read
    from valuecast.training.examples.table import told

    check_table(out)
    predictor = _load(model)
    cells = read(file, encoding=predictor.reading.encoding)
    rows, dropped = told(cells, predictor.reading, where=str(file))
    found = predictor.answered(rows, predictor.said(predictor.states(rows["text"].to_list())))
    write_table(found, out)
    typer.echo(f"wrote {len(found):,} rows to {out}")
    _tell_dropped(dropped)
    if cut := predictor.count_cut(rows["text"].to_list()):
        typer.echo(f"{cut:,} texts are longer than {predictor.body.text.tokens} tokens: their beginnings were read")


@group.command("next")
def next_(
    model: TextPredictorPath,
    file: FilePath,
    out: TableOut,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many users.")] = 20,
    lang: Lang = "en",
) -> None:
    """Say whose labels would teach the model most.

    Rows of FILE with a label are what is known already, rows without one are asked about. Columns: row, user, what the
    model says of it, doubt, distance to what is known, why in one sentence, text. The most telling comes first.
    """
    import polars as pl

    from valuecast.pipeline import check_table, write_table
    from valuecast.training.examples.active import next_labels
    from valuecast.training.examples.cells import read
    from valuecast.training.examples.table import told

    check_table(out)
    predictor = _load(model)
    cells = read(file, encoding=predictor.reading.encoding)
    rows, dropped = told(cells, predictor.reading, where=str(file))
    label = predictor.reading.label
    labelled = rows[label].is_not_null() if label in rows.columns else pl.repeat(False, len(rows), eager=True)
    known = rows.filter(labelled)["text"].to_list()
    found = next_labels(predictor, rows.filter(~labelled), count, known=known, language=lang, where=str(file))
    write_table(found, out)
    typer.echo(f"wrote {len(found):,} of {int((~labelled).sum()):,} users without a label to {out}")
    _tell_dropped(dropped)


def _tell_dropped(rows: list[int]) -> None:
    if rows:
        more = " and more" if len(rows) > 5 else ""
        typer.echo(f"{len(rows):,} rows without a text were left out: row {', '.join(map(str, rows[:5]))}{more}")


def _load(model: Path) -> Any:
    from valuecast.models.neural import require

    require("a text predictor")
    from valuecast.training.examples.predictor import TextPredictor

    return TextPredictor.load(model)


def _program(file: Path, settings: Path | None, options: dict[str, dict[str, Any]], *, seed: int) -> Any:
    """Return the program that options and a file of settings ask for."""
    from valuecast.config.examples import Program
    from valuecast.config.toml import build, read_toml

    found = read_toml(settings) if settings else {}
    unknown = set(found) - set(_TABLES)
    if unknown:
        remedy = suggest(min(unknown), _TABLES)
        raise ConfigError(f"unknown key '{min(unknown)}'", where=str(settings), remedy=remedy)
    for table, values in options.items():
        given = {name: value for name, value in values.items() if value is not None}
        own = found.get(table, {})
        found[table] = {**own, **given} if isinstance(own, dict) else own
    reading = found.pop("reading")
    title = {"en": f"Labelled texts of {file.name}", "zh": f"{file.name} 中带标签的文本"}
    everything = {"title": title, "examples": {"path": str(file), "reading": reading}, "seed": seed, **found}
    return build(Program, everything, where=str(settings) if settings else "options")
