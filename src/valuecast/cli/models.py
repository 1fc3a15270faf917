"""Commands about models: fit, predict, explain, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from valuecast import moments
from valuecast.cli.app import TASK, Every, Lang, LogPath, Sample, app, made, say, show, write_page
from valuecast.errors import ConfigError

if TYPE_CHECKING:
    from valuecast.config.recipe import Campaign
    from valuecast.events.log import EventLog
    from valuecast.models.predictor import Predictor


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
    every: Every = 15,
    sample: Sample = 1.0,
    seed: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Of everything random.")] = 0,
) -> None:
    """Fit a model to what happened before a moment.

    Settings are chosen on the latest cutoffs whose horizons end by --before; then the model is refitted on all of them.
    """
    from valuecast import artifact
    from valuecast.models import predictor, registry
    from valuecast.tasks import parse
    from valuecast.tasks.splits import TimeSplit
    from valuecast.training.fit import fit as fit_

    registry.baseline(name)
    if len(task) > 1:
        raise ConfigError("several tasks for one model", where="--task", remedy="Fit a model for each.")
    asked = parse(task[0])
    moments.moment(before, where="--before")
    artifact.check_replaceable(out, kind=predictor.KIND)
    known = known_before(log, before, sample=sample)
    fitted = fit_(name, asked, known, split=TimeSplit(every=every), seed=seed, progress=say)
    fitted.save(out)
    tell_fitted(fitted, out)


def known_before(log: Path, before: str, *, sample: float) -> EventLog:
    """Read what a share of the users did up to a moment that the log is known until."""
    from valuecast.events.log import EventLog

    end, whole = moments.moment(before, where="--before"), EventLog.read(log)
    if end > whole.span.until:
        until = moments.text(whole.span.until)
        raise ConfigError(f"the log is known only until {until}", where="--before", remedy=f"Use {until} or earlier.")
    return whole.before(end).sample(sample)


def tell_fitted(fitted: Predictor, out: Path) -> None:
    """Say how well a model did on validation, what it is made of if it is fused, and where it is."""
    for target, head in fitted.heads.items():
        if parts := head.facts["settings"].get("parts"):
            told = sorted(parts.items(), key=lambda part: -part[1])
            typer.echo(f"{target} is made of " + ", ".join(f"{name} {share:.0%}" for name, share in told))
        numbers = ((key, value) for key, value in head.facts["validation"].items() if value is not None)
        typer.echo(f"{target} on validation: " + ", ".join(f"{key} {value:.3f}" for key, value in numbers))
    for name, why in fitted.facts.get("absent", {}).items():
        typer.echo(f"without {name}: {why}")
    typer.echo(f"wrote {out}, fitted on what happened before {moments.text(fitted.before)}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")],
    log: LogPath,
    at: Annotated[str, typer.Option(metavar="TIME", help="The moment; nothing at or after it is read.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A file that ends in .csv or .parquet.")],
    reasons: Annotated[
        int, typer.Option(min=0, metavar="NUMBER", help="Reasons for each score, in English and Chinese.")
    ] = 0,
    states: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keeps what networks make of histories; then only users with new events are read anew.",
        ),
    ] = None,
) -> None:
    """Score every eligible user at a moment.

    Columns: user, at, target, score, low, high, tier. A score is a probability, or an amount in the shop's currency.
    With --reasons also reason_1 (a code, with + or - for the direction), reason_1_effect, reason_1_en, reason_1_zh.
    """
    from valuecast.events.log import EventLog
    from valuecast.models.predictor import Predictor
    from valuecast.pipeline import check_table, write_table

    check_table(out)
    if reasons and states:
        raise ConfigError("reasons are not made of states", where="--states", remedy="Leave it or --reasons out.")
    predictor, known, when = Predictor.load(model), EventLog.read(log), moments.moment(at, where="--at")
    if reasons:
        from valuecast.explanation.reasons import predict as predict_

        scores = predict_(predictor, known, at=when, reasons=reasons)
    else:
        scores = predictor.predict(known, at=when, states=states)
    write_table(scores, out)
    typer.echo(f"wrote {len(scores):,} rows for {scores['user'].n_unique():,} users to {out}")
    others = known.before(when).count_users() - scores["user"].n_unique()
    if others:
        conditions = " and ".join(map(str, predictor.task.question.when))
        typer.echo(f"{others:,} more users with events are not asked about, only those with {conditions}")


@app.command()
def explain(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder.")],
    log: LogPath,
    user: Annotated[str, typer.Option(metavar="ID", help="Who is asked about.")],
    at: Annotated[str, typer.Option(metavar="TIME", help="The moment; nothing at or after it is read.")],
    target: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a task with several horizons; by default the longest.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE", help="That a change is to take the score across; by default the next better tier."
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="Within which something would have to happen.")] = 14,
    change: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EVENT", help="A type of event that may happen; may be repeated. By default what users do."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="An HTML page to write.")] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Of everything random.")] = 0,
    lang: Lang = "en",
) -> None:
    """Explain a user's score: what moved it from the average, when, and what would change it."""
    from valuecast.events.log import EventLog
    from valuecast.explanation.explain import explain as explain_
    from valuecast.models.predictor import Predictor

    when = moments.moment(at, where="--at")
    found = explain_(
        Predictor.load(model),
        EventLog.read(log),
        user=user,
        at=when,
        target=target,
        threshold=threshold,
        days=days,
        changes=change,
        seed=seed,
    )
    report = found.report(made=made())
    if out:
        write_page(report, out, lang)
    show(report, lang)


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
    contact_cost: Annotated[
        float | None, typer.Option(min=0, metavar="AMOUNT", help="What contacting one user costs; with the next two.")
    ] = None,
    save_rate: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="SHARE", help="Share of those who would stop that a contact keeps."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="SHARE", help="Share of spend that is earned.")
    ] = None,
    show_users: Annotated[
        bool, typer.Option("--show-users", help="Show ids of users instead of masking them.")
    ] = False,
    lang: Lang = "en",
) -> None:
    """Test models on what happened from --at on.

    With models of churn and of value over the same days, the page says whom to look at first; with --contact-cost,
    --save-rate and --margin also whom to contact, and what it pays.
    """
    from valuecast.evaluation.evaluate import evaluate as evaluate_
    from valuecast.events.log import EventLog
    from valuecast.models.predictor import Predictor

    when = moments.moment(at, where="--at")
    named: dict[str, Predictor] = {}
    for path in models:
        short = path.resolve().name
        named[short if short not in named else str(path)] = Predictor.load(path)
    report = evaluate_(
        named,
        EventLog.read(log),
        at=when,
        slices=slice_ or (),
        campaign=_campaign(contact_cost=contact_cost, save_rate=save_rate, margin=margin),
        show_users=show_users,
        made=made(),
    )
    if out:  # first: whoever reads what is printed may close the pipe, which ends us
        write_page(report, out, lang)
    show(report, lang)


def _campaign(**given: float | None) -> Campaign | None:
    from valuecast.config.recipe import Campaign

    known = {name: value for name, value in given.items() if value is not None}
    if not known:
        return None
    if missing := [f"--{name.replace('_', '-')}" for name in given if name not in known]:
        raise ConfigError(
            "a campaign is assumed in part", where="evaluate", remedy=f"Add {' and '.join(missing)}, or give none."
        )
    return Campaign(**known)
