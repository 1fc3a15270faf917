"""The command line: ``valuecast COMMAND``. Exit code 0: done; 2: bad input, one message; 1: a fault of ours."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from valuecast.errors import ConfigError, ValuecastError

if TYPE_CHECKING:
    from valuecast.models.predictor import Predictor
    from valuecast.report.blocks import Fact, Report

# Every import of weight is inside its command: `valuecast --help` must answer at once.

app = typer.Typer(
    help="From a shop's raw event log to honest predictions of what each user is worth.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

LogPath = Annotated[Path, typer.Argument(metavar="LOG", help="A log folder that `ingest` wrote.")]
TaskText = Annotated[str, typer.Option("--task", help='Such as "churn(days=90, active=180)".')]
Language = Annotated[str, typer.Option("--lang", help="en or zh.")]


@app.command()
def ingest(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCES.toml|FILE", help="A source mapping, or one file to map by flags.")
    ],
    out: Annotated[Path, typer.Option(help="The log folder; what it holds already is kept.")],
    user: Annotated[str | None, typer.Option(help="Column of the user.")] = None,
    time_: Annotated[str | None, typer.Option("--time", help="Column of the time.")] = None,
    item: Annotated[str | None, typer.Option(help="Column of the item.")] = None,
    amount: Annotated[str | None, typer.Option(help="Column of the amount.")] = None,
    order: Annotated[str | None, typer.Option(help="Column of the order.")] = None,
    event: Annotated[str, typer.Option(help="What each row is.")] = "purchase",
    field: Annotated[list[str] | None, typer.Option(help="A further column to keep; may be repeated.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="How times are written, such as %d/%m/%Y.")] = None,
    zone: Annotated[str | None, typer.Option(help="Zone of local times, such as Asia/Shanghai; UTC without.")] = None,
    since: Annotated[str | None, typer.Option(help="The log is known from this moment.")] = None,
    until: Annotated[
        str | None, typer.Option(help="The log is known until this moment: quiet days at the end count.")
    ] = None,
) -> None:
    """Read a shop's files into a log; every row is accounted for."""
    from valuecast.events.ingest import ingest as ingest_  # noqa: PLC0415
    from valuecast.events.source import Mapping  # noqa: PLC0415

    flags = {"user": user, "time": time_, "item": item, "amount": amount, "order": order, "format": format_}
    flags |= {"zone": zone, "since": since, "until": until}
    if source.suffix == ".toml":
        given = [name for name, value in flags.items() if value] + (["field"] if field else [])
        if given:
            raise ConfigError(f"--{given[0]} beside a mapping", where=str(source), remedy="Write it into the mapping.")
        mapping = Mapping.read(source)
    else:
        if not user or not time_:
            raise ConfigError("no columns given", where=str(source), remedy="Add --user COLUMN and --time COLUMN.")
        mapping = Mapping.from_flags(source, event=event, fields=tuple(field or ()), **flags)  # type: ignore[arg-type]
    typer.echo(str(ingest_(mapping, out, progress=_say)))


@app.command()
def describe(log: LogPath, lang: Language = "en") -> None:
    """Say what a log holds."""
    from valuecast.events.describe import describe as describe_  # noqa: PLC0415
    from valuecast.events.log import EventLog  # noqa: PLC0415

    _print(describe_(EventLog.read(log)), lang)


@app.command()
def fit(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A model: recency, last_period, mean_rate, bgnbd, paretonbd, lightgbm."),
    ],
    log: LogPath,
    task: TaskText,
    before: Annotated[str, typer.Option(help="Nothing at or after this moment is read.")],
    out: Annotated[Path, typer.Option(help="The model folder.")],
    every: Annotated[int, typer.Option(help="Days between training cutoffs.")] = 15,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Fit a model: choose on validation cutoffs, then refit on everything before --before."""
    from valuecast.events.log import EventLog  # noqa: PLC0415
    from valuecast.tasks import parse  # noqa: PLC0415
    from valuecast.tasks.splits import TimeSplit  # noqa: PLC0415
    from valuecast.training.fit import fit as fit_  # noqa: PLC0415

    known = EventLog.read(log).before(before)
    predictor = fit_(name, parse(task), known, split=TimeSplit(every=every), seed=seed, progress=_say)
    predictor.save(out)
    for target, head in predictor.heads.items():
        numbers = ", ".join(f"{key} {value:.3f}" for key, value in head.facts["validation"].items())
        typer.echo(f"{target} on validation: {numbers}")
    typer.echo(f"wrote {out}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")],
    log: LogPath,
    at: Annotated[str, typer.Option(help="The moment; nothing at or after it is read.")],
    out: Annotated[Path, typer.Option(help="scores.csv or scores.parquet.")],
) -> None:
    """Score every eligible user: user, at, target, score, low, high, tier."""
    from valuecast.events.log import EventLog  # noqa: PLC0415
    from valuecast.models.predictor import Predictor  # noqa: PLC0415
    from valuecast.pipeline import write_table  # noqa: PLC0415

    scores = Predictor.load(model).predict(EventLog.read(log), at=at)
    write_table(scores, out)
    typer.echo(f"wrote {len(scores):,} rows for {scores['user'].n_unique():,} users to {out}")


@app.command()
def evaluate(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Model folders.")],
    log: Annotated[Path, typer.Option(help="A log that holds the horizon after --at.")],
    at: Annotated[str, typer.Option(help="The test cutoff; not earlier than any model's own --before.")],
    out: Annotated[Path | None, typer.Option(help="An HTML page.")] = None,
    slice_: Annotated[
        list[str] | None, typer.Option("--slice", help="A field to break results down by; may be repeated.")
    ] = None,
    lang: Language = "en",
) -> None:
    """Test models on what happened from --at on."""
    from valuecast.evaluation.evaluate import evaluate as evaluate_  # noqa: PLC0415
    from valuecast.events.log import EventLog  # noqa: PLC0415
    from valuecast.models.predictor import Predictor  # noqa: PLC0415

    named: dict[str, Predictor] = {}
    for path in models:
        name = path.name if path.name not in named else str(path)
        named[name] = Predictor.load(path)
    report = evaluate_(named, EventLog.read(log), at=at, slices=tuple(slice_ or ()), made=_made())
    _print(report, lang)
    if out:
        _write_page(report, out, lang)


@app.command()
def ladder(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml")],
    out: Annotated[Path | None, typer.Option(help="Folder for everything that is made; runs/NAME without.")] = None,
    lang: Language = "en",
) -> None:
    """Fit every rung of a recipe at each origin, and compare them on the same users."""
    _run_recipe(recipe, out, lang, predict=False)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml")],
    out: Annotated[Path | None, typer.Option(help="Folder for everything that is made; runs/NAME without.")] = None,
    lang: Language = "en",
) -> None:
    """Run a recipe: log, ladder, page, models and scores."""
    _run_recipe(recipe, out, lang, predict=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("runs/demo"),
    lang: Language = "en",
) -> None:
    """Run everything on a retailer's data set that installs as a package."""
    from valuecast import pipeline  # noqa: PLC0415

    made = pipeline.run(pipeline.demo(), out=out, base=Path.cwd(), command=_command(), say=_say)
    _print(made.report, lang)
    _told(made.files)


def main() -> None:
    """Run the command line; print an error that the user can mend as one message."""
    try:
        app(standalone_mode=True)
    except ValuecastError as error:
        typer.echo(f"valuecast: {error}", err=True)
        sys.exit(2)


def _run_recipe(recipe: Path, out: Path | None, lang: str, *, predict: bool) -> None:
    from valuecast import pipeline  # noqa: PLC0415
    from valuecast.config import read_recipe  # noqa: PLC0415

    folder = out or Path("runs") / recipe.stem
    found = read_recipe(recipe)
    made = pipeline.run(found, out=folder, base=recipe.parent, command=_command(), say=_say, predict=predict)
    _print(made.report, lang)
    _told(made.files)


_START = time.monotonic()


def _say(what: str) -> None:
    """Progress goes to standard error, with the seconds since the start."""
    for line in what.splitlines():
        typer.echo(f"{time.monotonic() - _START:6.0f}s  {line}", err=True)


def _print(report: Report, lang: str) -> None:
    from valuecast.report.terminal import print_report  # noqa: PLC0415

    print_report(report, language=lang)  # type: ignore[arg-type]


def _write_page(report: Report, path: Path, lang: str) -> None:
    from valuecast.report.html import write_html  # noqa: PLC0415

    write_html(report, path, language=lang)  # type: ignore[arg-type]
    typer.echo(f"wrote {path}")


def _command() -> str:
    return " ".join(["valuecast", *sys.argv[1:]])


def _made() -> tuple[Fact, ...]:
    from valuecast import __version__  # noqa: PLC0415
    from valuecast.language import Text  # noqa: PLC0415
    from valuecast.report.blocks import Fact  # noqa: PLC0415

    return (Fact(Text("Command", "命令"), _command()), Fact(Text("Version", "版本"), f"valuecast {__version__}"))


def _told(files: Any) -> None:
    for path in files:
        typer.echo(f"wrote {path}")
