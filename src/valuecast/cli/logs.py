"""Commands about logs: ingest, describe, simulate."""

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
        str,
        typer.Argument(
            metavar="SOURCES.toml|FILE",
            help="A source mapping, or one file or database to map by flags; PostgreSQL: postgresql://user@host/db.",
        ),
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
    sheet: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a workbook.", show_default="its only one")
    ] = None,
    table: Annotated[str | None, typer.Option(metavar="NAME", help="Of a database.")] = None,
    query: Annotated[str | None, typer.Option(metavar="SQL", help="Of a database, in place of a table.")] = None,
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
    pseudonymise: Annotated[
        Path | None,
        typer.Option(
            metavar="KEYFILE",
            help="Replace the ids of users, which are then nowhere in the log; for a new log the key can be made.",
        ),
    ] = None,
) -> None:
    """Read a shop's files into a log.

    Every row is taken, rejected with a reason, filtered or dropped, and counted. A mapping says more than flags can.
    """
    from valuecast.events.ingest import ingest as ingest_
    from valuecast.events.source import Mapping
    from valuecast.events.sources.address import check as check_address

    columns = {"user": user, "time": time_, "item": item, "amount": amount, "order": order}
    columns |= {"event": event, "negative": negative}
    rows = {"where": where, "users": users, "format": format_, "unit": unit, "zone": zone}
    rows |= {"sheet": sheet, "table": table, "query": query}
    rest = {"since": since, "until": until, "delimiter": delimiter, "encoding": encoding, "max_rejected": max_rejected}
    fields = {"fields": field or None}
    flags: dict[str, Any] = {
        name: value for name, value in (columns | rows | rest | fields).items() if value is not None
    }
    check_address(source, where="command line")
    if source.endswith(".toml"):
        if flags:
            what = f"--{next(iter(flags)).replace('_', '-')} beside a mapping"
            raise ConfigError(what, where=source, remedy="Write it into the mapping.")
        mapping = Mapping.read(Path(source))
    else:
        if not {"user", "time"} <= flags.keys():
            remedy = "Add --user COLUMN and --time COLUMN, or give a mapping, a file that ends in .toml."
            raise ConfigError("no columns given", where=source, remedy=remedy)
        mapping = Mapping.from_flags(source, **flags)
    if pseudonymise is not None:
        mapping = mapping.pseudonymised(pseudonymise)
    summary = ingest_(mapping, out, progress=say)
    typer.echo(str(summary))
    if any(account.rejected for account in summary.accounts):
        typer.echo(f"every rejected row, with its reason: {out / 'rejected.parquet'}")


@app.command()
def pseudonyms(
    key: Annotated[Path, typer.Argument(metavar="KEYFILE", help="The key that the log was made with.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file with the shop's own ids.")],
    user: Annotated[str, _column("Column of the user.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="CSV or Parquet: id, user; keep it out of the log.")],
    delimiter: Annotated[
        str | None, typer.Option(metavar="CHARACTER", help="Between the cells of a CSV file.", show_default="found")
    ] = None,
    encoding: Annotated[str, typer.Option(metavar="NAME", help="Of a text file, such as gb18030.")] = "utf-8",
) -> None:
    """Write the shop's own ids beside their pseudonyms, so that scores can be joined back."""
    from valuecast.events.protection.pseudonyms import write_pseudonyms
    from valuecast.events.spec import File

    source = File(path=str(file), delimiter=delimiter, encoding=encoding)
    count = write_pseudonyms(key, source, user=user, out=out)
    typer.echo(f"wrote {out}: {count:,} ids and their pseudonyms")


@app.command()
def describe(log: LogPath, lang: Lang = "en") -> None:
    """Say what a log holds."""
    from valuecast.events.describe import describe as describe_
    from valuecast.events.log import EventLog

    show(describe_(EventLog.read(log)), lang)


@app.command()
def simulate(
    shop: Annotated[Path, typer.Argument(metavar="SHOP", help="A new folder, or that of another shop.")],
    users: Annotated[int | None, typer.Option(metavar="N", help="How many customers.")] = None,
    events: Annotated[int | None, typer.Option(metavar="N", help="How many events, to within a customer's.")] = None,
    since: Annotated[str | None, typer.Option(metavar="DATE", help="The first day.", show_default="2023-01-01")] = None,
    days: Annotated[int | None, typer.Option(metavar="N", help="Length of the log.", show_default="730")] = None,
    seasonality: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="How far purchases swing over the year.", show_default="0.3"),
    ] = None,
    campaigns: Annotated[
        int | None, typer.Option(metavar="N", help="Number of randomised campaigns.", show_default="3")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Another one, another shop.", show_default="0")] = None,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Further settings of the shop, such as alpha = 30; options go first."),
    ] = None,
) -> None:
    """Make a synthetic shop of any size, whose truth is known.

    The folder holds files for `ingest`, their mapping sources.toml, and beside them what no log says: who left when.
    """
    from valuecast.config.toml import build, read_toml
    from valuecast.events.simulate.settings import Settings
    from valuecast.events.simulate.shop import SOURCES, write

    options: dict[str, Any] = {"users": users, "since": since, "days": days, "seed": seed}
    options |= {"seasonality": seasonality, "campaigns": campaigns}
    given = read_toml(settings) if settings else {}
    given |= {name: value for name, value in options.items() if value is not None}
    if ("users" in given) == (events is not None):
        raise ConfigError("how large?", where="--users, --events", remedy="Give one of --users N and --events N.")
    if events is not None and events < 1:
        raise ConfigError(f"{events} events", where="--events", remedy="Give at least 1.")
    written = write(build(Settings, given, where=str(settings or "options")), shop, events=events, progress=say)
    typer.echo(f"wrote {written.events:,} events of {written.settings.users:,} users to {shop}")
    typer.echo(f"read it with: valuecast ingest {shop / SOURCES} --out LOG")
