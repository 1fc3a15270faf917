"""The application, and what its commands share: options, progress, and how results are shown."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from valuecast.errors import ConfigError
from valuecast.language import Language

if TYPE_CHECKING:
    from valuecast.report.blocks import Fact, Report

# Every import of weight is inside its command: `valuecast --help` must answer at once.

app = typer.Typer(
    help="From a shop's raw event log to honest predictions of what each user is worth.",
    epilog="Dates are UTC; a bare date is its midnight. Exit code 0: done; 2: bad input; 1: a fault of ours. "
    "VALUECAST_MEMORY=8GB and VALUECAST_THREADS=2 in the environment bound what a command takes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

LogPath = Annotated[Path, typer.Argument(metavar="LOG", help="A log folder that `ingest` wrote.")]
TASK = typer.Option("--task", metavar="TASK", help='The question, such as "churn(days=90, active=180)".')
Every = Annotated[int, typer.Option(min=1, metavar="DAYS", help="Days between training cutoffs.")]
Sample = Annotated[
    float, typer.Option(metavar="SHARE", help="Share of the users that is learned from; everyone can be scored.")
]
Lang = Annotated[Language, typer.Option("--lang", help="Language of the report.")]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """From a shop's raw event log to honest predictions of what each user is worth."""
    if version:
        typer.echo(product())
        raise typer.Exit
    check_shared(context, "pretrain", "finetune", "label")


def check_shared(context: typer.Context, *shared: str) -> None:
    """Refuse a command that several processes would each do whole.

    Args:
        context: of the group.
        shared: its commands that share their work.

    Raises:
        ConfigError: it was started by ``torchrun``, for several.
    """
    if context.invoked_subcommand not in shared and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "several processes share the work of pretrain, finetune and label fit alone",
            where=f"{context.command_path} {context.invoked_subcommand}",
            remedy="Start it without torchrun.",
        )


_START = time.monotonic()


def say(what: str) -> None:
    """Progress goes to standard error, with the seconds since the start; further lines are indented."""
    typer.echo(f"{time.monotonic() - _START:6.0f}s  {what.replace(chr(10), chr(10) + ' ' * 9)}", err=True)


def show(report: Report, lang: Language) -> None:
    """Print a report."""
    from valuecast.report.terminal import print_report

    print_report(report, language=lang)


def write_page(report: Report, path: Path, lang: Language) -> None:
    """Write a report as an HTML page."""
    from valuecast.report.html import write_html

    write_html(report, path, language=lang)
    typer.echo(f"wrote {path}")


def command() -> str:
    """Return the command line that was given."""
    return shlex.join(["valuecast", *sys.argv[1:]])


def product() -> str:
    """Name and version of this package."""
    from valuecast import __version__

    return f"valuecast {__version__}"


def made() -> tuple[Fact, ...]:
    """How a page came about, for its foot."""
    from valuecast.language import Text
    from valuecast.report.blocks import Fact

    return (Fact(Text("Command", "命令"), command()), Fact(Text("Version", "版本"), product()))


def beside(out: Path, suffix: str) -> Path:
    """Return the folder beside a result for what is kept while it is made."""
    return out.with_name(f"{out.name}.{suffix}")


def tell_files(files: Iterable[Path]) -> None:
    """Say which files were written."""
    for path in files:
        typer.echo(f"wrote {path}")
