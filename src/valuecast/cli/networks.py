"""Commands about sequence models: pretrain, finetune, survival."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from valuecast import moments
from valuecast.cli.app import TASK, LogPath, app, beside, say
from valuecast.cli.models import known_before, tell_fitted
from valuecast.config.learning import Adaptation, Finetuning, HeadKind, Pretraining, Size, Trunk
from valuecast.errors import ConfigError
from valuecast.training.processes import rank

Before = Annotated[str, typer.Option(metavar="TIME", help="Nothing at or after this moment is read.")]
BackbonePath = Annotated[Path, typer.Argument(metavar="BACKBONE", help="A folder that `pretrain` wrote.")]
SettingsPath = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE.toml", help="Further settings, as in a recipe; options override it."),
]
Seed = Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Of everything random.")]


@app.command()
def pretrain(
    log: LogPath,
    before: Before,
    out: Annotated[Path, typer.Option(metavar="BACKBONE", help="The folder; a backbone that it holds is replaced.")],
    size: Annotated[Size | None, typer.Option(help="How large the network is.", show_default="small")] = None,
    trunk: Annotated[Trunk | None, typer.Option(help="Architecture of the network.", show_default="llama")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Passes over the log, at most.")] = None,
    settings: SettingsPath = None,
    seed: Seed = 0,
) -> None:
    """Pre-train a backbone on unlabelled events.

    It is tested on the latest tenth of the time, beside a baseline that knows only frequencies. Checkpoints and what
    TensorBoard shows are kept in BACKBONE.training; a run that was killed is continued by the same command.
    """
    from dataclasses import replace

    from valuecast import artifact
    from valuecast.config.toml import build, read_toml
    from valuecast.models.neural import require

    require("pre-training")
    how = build(Pretraining, read_toml(settings), where=str(settings)) if settings else Pretraining()
    if how.before is not None:
        raise ConfigError("'before' in a file", where=str(settings), remedy="Give it as --before.")
    if epochs is not None:
        how = replace(how, optimisation=replace(how.optimisation, epochs=epochs))

    from valuecast.models import backbone
    from valuecast.training.pretrain import pretrain as pretrain_

    artifact.check_replaceable(out, kind=backbone.KIND)
    known = known_before(log, before)
    made = pretrain_(
        known, size=size, trunk=trunk, settings=how, seed=seed, folder=beside(out, "training"), progress=say
    )
    if rank():  # the first process writes
        return
    made.save(out)
    for asked, found in made.facts["validation"].items():
        better = (
            f"{found['improvement']:.3f} better" if found["improvement"] >= 0 else f"{-found['improvement']:.3f} worse"
        )
        typer.echo(
            f"{asked}: loss {found['loss']:.3f}, {better} than frequencies alone ({found['cases']:,} later cases)"
        )
    typer.echo(f"wrote {out}, pre-trained on what happened before {moments.text(made.before)}")


@app.command()
def finetune(
    base: BackbonePath,
    log: LogPath,
    task: Annotated[list[str], TASK],
    before: Before,
    out: Annotated[
        Path,
        typer.Option(metavar="MODEL", help="The model folder; with several tasks, a folder with one for each."),
    ],
    method: Annotated[Adaptation, typer.Option(help="What of the network is trained.")] = "full",
    head: Annotated[
        HeadKind | None,
        typer.Option(
            help="For yes-or-no tasks: hazard models when, bernoulli only whether; auto takes a hazard where it can."
        ),
    ] = None,
    settings: SettingsPath = None,
    every: Annotated[int, typer.Option(min=1, metavar="DAYS", help="Days between training cutoffs.")] = 15,
    seed: Seed = 0,
) -> None:
    """Fine-tune a backbone for one task, or one trunk for several.

    The backbone must not have seen the first validation cutoff. Checkpoints and what TensorBoard shows are kept in
    MODEL.training; a run that was killed is continued by the same command.
    """
    from dataclasses import replace

    from valuecast import artifact
    from valuecast.config.toml import build, read_toml
    from valuecast.models import predictor
    from valuecast.models.neural import require
    from valuecast.tasks import parse
    from valuecast.tasks.splits import TimeSplit

    require("fine-tuning")
    how = build(Finetuning, read_toml(settings), where=str(settings)) if settings else Finetuning()
    if head is not None:
        how = replace(how, head=head)
    tasks = [parse(text) for text in task]
    places = [out] if len(tasks) == 1 else [out / each.name for each in tasks]
    for place in places:
        artifact.check_replaceable(place, kind=predictor.KIND)

    from valuecast.models.backbone import Backbone
    from valuecast.training.finetune import finetune_together

    made = finetune_together(
        Backbone.load(base),
        tasks,
        known_before(log, before),
        method=method,
        settings=how,
        split=TimeSplit(every=every),
        seed=seed,
        folder=beside(out, "training"),
        progress=say,
    )
    if rank():  # the first process writes
        return
    for place, fitted in zip(places, made, strict=True):
        fitted.save(place)
        tell_fitted(fitted, place)


@app.command()
def survival(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model of whether something happens, fine-tuned.")],
    log: LogPath,
    at: Annotated[str, typer.Option(metavar="TIME", help="The moment; nothing at or after it is read.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A file that ends in .csv or .parquet.")],
    days: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="A horizon; may be repeated.", show_default="30, 60 and 90"),
    ] = None,
) -> None:
    """Say when each user will next do what the task asks about, such as order.

    Columns: user, at, none_by_30d and so on (the probability of nothing until then), median_date (by when half of such
    users have done it; empty if later than the longest wait that the model knows), expected_days (capped at that wait).
    """
    from valuecast.events.log import EventLog
    from valuecast.models.predictor import Predictor
    from valuecast.models.survival import survival as survival_
    from valuecast.pipeline import check_table, write_table

    check_table(out)
    found = survival_(
        Predictor.load(model), EventLog.read(log), at=moments.moment(at, where="--at"), days=days or (30, 60, 90)
    )
    write_table(found, out)
    typer.echo(f"wrote {len(found):,} users to {out}")
