"""Command that asks whether a log can support a task: check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from valuecast import moments
from valuecast.cli.app import TASK, Lang, LogPath, app, made, show, write_page


@app.command()
def check(
    log: LogPath,
    task: Annotated[str, TASK],
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The moment whose users are looked at.",
            show_default="the latest whose horizon ends by the end of the log",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="An HTML page to write.")] = None,
    lang: Lang = "en",
) -> None:
    """Say whether a log can support a task.

    Users and outcomes, history, the rhythm of purchases, season, the base rate over time, gaps in collection, columns
    that know the future; and the nearest task that would do. A verdict of "no" is an answer: the exit code is 0.
    """
    from valuecast.evaluation.readiness.check import check as check_
    from valuecast.events.log import EventLog
    from valuecast.tasks import parse

    when = None if at is None else moments.moment(at, where="--at")
    report = check_(parse(task), EventLog.read(log), at=when).report(made=made())
    if out:  # first: whoever reads what is printed may close the pipe, which ends us
        write_page(report, out, lang)
    show(report, lang)
