"""Commands about logs: ingest, describe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from valuecast.cli.app import Lang, LogPath, app, say, show
from valuecast.errors import ConfigError


def _column(help: str, name: str | None = None) -> typer.models.OptionInfo:  # noqa: A002
    names = [name] if name else []
    found: typer.models.OptionInfo = typer.Option(*names, metavar="COLUMN", help=help)
    return found


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
    summary = ingest_(mapping, out, progress=say)
    typer.echo(str(summary))
    if any(account.rejected for account in summary.accounts):
        typer.echo(f"every rejected row, with its reason: {out / 'rejected.parquet'}")


@app.command()
def describe(log: LogPath, lang: Lang = "en") -> None:
    """Say what a log holds."""
    from valuecast.events.describe import describe as describe_
    from valuecast.events.log import EventLog

    show(describe_(EventLog.read(log)), lang)
