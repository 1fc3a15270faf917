"""Commands about sequence models: pretrain, adopt, finetune, survival."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from valuecast import moments
from valuecast.cli.app import TASK, Every, LogPath, Sample, app, beside, say
from valuecast.cli.models import known_before, tell_fitted
from valuecast.config.learning import EventTexts, Finetuning, Fusion, HeadKind, Pretraining, Size, Trunk, Tuning, usual
from valuecast.config.text import Pooling, TextModel, Tongue
from valuecast.errors import ConfigError
from valuecast.training.processes import rank

Before = Annotated[str, typer.Option(metavar="TIME", help="Nothing at or after this moment is read.")]
Befores = Annotated[
    list[str],
    typer.Option(
        "--before",
        metavar="TIME",
        help="Nothing at or after this moment is read. For several logs give it once, or once for each in their order.",
    ),
]
BackbonePath = Annotated[Path, typer.Argument(metavar="BACKBONE", help="A folder that `pretrain` or `adopt` wrote.")]
SettingsPath = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE.toml", help="Further settings, as in a recipe; options override it."),
]
Seed = Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Of everything random.")]


@app.command()
def pretrain(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", help="Log folders that `ingest` wrote.")],
    before: Befores,
    out: Annotated[Path, typer.Option(metavar="BACKBONE", help="The folder; a backbone that it holds is replaced.")],
    size: Annotated[Size | None, typer.Option(help="How large the network is.", show_default="small")] = None,
    trunk: Annotated[Trunk | None, typer.Option(help="Architecture of the network.", show_default="llama")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Passes over the log, at most.")] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Read one log too so that other shops can use the backbone.")
    ] = False,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A language model that reads titles and other texts of events; it does not learn. A folder, "
            "package:NAME for an installed package that carries weights, or the id of a hub.",
        ),
    ] = None,
    settings: SettingsPath = None,
    sample: Sample = 1.0,
    seed: Seed = 0,
) -> None:
    """Pre-train a backbone on unlabelled events.

    It is tested on the latest tenth of the time, beside a baseline that knows only frequencies. Checkpoints and what
    TensorBoard shows are kept in BACKBONE.training; a run that was killed is continued by the same command.

    Several logs, one of each shop, give a backbone that can be fine-tuned on any shop's log: items are known by the
    words that describe them, amounts relative to what is usual in the shop, and columns of one shop alone are left out.

    With --text an item that was never seen before still says what it is, by its title. BACKBONE and what is fine-tuned
    from it remember the language model's name, not its weights: keep it where it is.
    """
    from dataclasses import replace

    from valuecast import artifact
    from valuecast.config.toml import build, read_toml
    from valuecast.models.neural import require

    require("pre-training")
    if len(before) not in (1, len(logs)):
        what, remedy = (
            f"{len(before)} moments for {len(logs)} logs",
            "Give one for all, or one for each in their order.",
        )
        raise ConfigError(what, where="--before", remedy=remedy)
    how = build(Pretraining, read_toml(settings), where=str(settings)) if settings else Pretraining()
    if how.before is not None:
        raise ConfigError("'before' in a file", where=str(settings), remedy="Give it as --before.")
    if epochs is not None:
        how = replace(how, optimisation=replace(how.optimisation, epochs=epochs))
    if text is not None:
        how = replace(how, text=replace(how.text, model=text) if how.text else EventTexts(text))

    from valuecast.models import backbone
    from valuecast.training.pretrain import pretrain as pretrain_

    artifact.check_replaceable(out, kind=backbone.KIND)
    ends = before * len(logs) if len(before) == 1 else before
    known = [known_before(log, until, sample=sample) for log, until in zip(logs, ends, strict=True)]
    made = pretrain_(
        known,
        common=common,
        size=size,
        trunk=trunk,
        settings=how,
        seed=seed,
        folder=beside(out, "training"),
        progress=say,
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
    until = ", ".join(dict.fromkeys(moments.text(each.span.until) for each in known))
    typer.echo(f"wrote {out}, pre-trained on what happened before {until}")


@app.command()
def adopt(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A Hugging Face encoder or decoder: a folder, package:NAME for an installed package that carries "
            "weights, or the id of a hub.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="BACKBONE", help="The folder; a language model that it holds is replaced.")
    ],
    language: Annotated[
        Tongue, typer.Option("--lang", help="In which language histories are told to it: one that it has learned.")
    ] = "en",
    tokens: Annotated[int, typer.Option(min=16, metavar="N", help="Tokens of a history, at most.")] = 128,
    pooling: Annotated[
        Pooling, typer.Option(help="What is made of its tokens' states; auto: the mean, or the last of a decoder.")
    ] = "auto",
) -> None:
    """Adopt a language model as a backbone: it reads what users did in words.

    It has seen nothing of any shop. Fine-tune it with `finetune BACKBONE LOG --method lora`, or another method but
    joint and fused; a fusion takes it in as one of its parts in a recipe with [text].
    """
    from valuecast import artifact
    from valuecast.models.neural import require

    require("a language model")
    from valuecast.models.text import backbone

    artifact.check_replaceable(out, kind=backbone.KIND)
    made = backbone.TextBackbone.open(TextModel(model, language, tokens, pooling))
    made.save(out)
    kind, size, network = made.facts["kind"], made.facts["parameters"], made.network
    typer.echo(f"wrote {out}: {kind} of {size:,} parameters, states of {network.hidden} numbers ({network.pooling})")


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
    method: Annotated[
        Tuning,
        typer.Option(
            help="fused: the best mix of trees, customer-base models and the network, chosen on validation; joint: the "
            "network, whose heads read features too; else what of the network alone is trained."
        ),
    ] = "fused",
    head: Annotated[
        HeadKind | None,
        typer.Option(
            help="For yes-or-no tasks: hazard models when, bernoulli only whether; auto takes a hazard where it can."
        ),
    ] = None,
    settings: SettingsPath = None,
    every: Every = 15,
    sample: Sample = 1.0,
    seed: Seed = 0,
) -> None:
    """Fine-tune a backbone for one task, or one trunk for several.

    FILE.toml holds what [fusion] of a recipe does (parts, trunk, members, hidden, dropout, joint) for fused and joint,
    else what [finetune.METHOD] does: `epochs = 1` under [optimisation] is one pass. Of a language model, which `adopt`
    wrote, --method must be given: it has no joint and no fused. The backbone must not have seen the first validation
    cutoff. Checkpoints and what TensorBoard shows are kept in MODEL.training; a run that was killed is continued by the
    same command.
    """
    from dataclasses import replace

    from valuecast import artifact
    from valuecast.models import predictor
    from valuecast.models.head_spec import needs_waits
    from valuecast.models.neural import require
    from valuecast.tasks import parse
    from valuecast.tasks.splits import TimeSplit

    require("fine-tuning")
    from valuecast.models.foundation import load

    foundation = load(base)
    how = _settings(settings, method, prefix=foundation.body.prefix)
    if head is not None:
        how = replace(how, joint=replace(how.joint, head=head)) if isinstance(how, Fusion) else replace(how, head=head)
    tasks = [parse(text) for text in task]
    for each in tasks:  # said here, because a fusion would go on without a part that cannot have such a head
        needs_waits(each, kind=how.joint.head if isinstance(how, Fusion) else how.head)
    places = [out] if len(tasks) == 1 else [out / each.name for each in tasks]
    for place in places:
        artifact.check_replaceable(place, kind=predictor.KIND)

    from valuecast.training.course import Options
    from valuecast.training.finetune import finetune_together

    options = Options(
        method=method, split=TimeSplit(every=every), seed=seed, folder=beside(out, "training"), progress=say
    )
    if isinstance(how, Fusion):
        options["fusion"] = how
    else:
        options["settings"] = how
    made = finetune_together(foundation, tasks, known_before(log, before, sample=sample), **options)
    if rank():  # the first process writes
        return
    for place, fitted in zip(places, made, strict=True):
        fitted.save(place)
        tell_fitted(fitted, place)


def _settings(path: Path | None, method: Tuning, *, prefix: str) -> Fusion | Finetuning:
    """Read the settings of a method; keys of the other kind of method are told apart from misspelt ones."""
    from valuecast.config.toml import build, read_toml
    from valuecast.models.registry import FUSED, FUSIONS

    found, fusing = read_toml(path) if path else {}, method in FUSIONS
    for key in found.keys() & {each.name for each in fields(Finetuning if fusing else Fusion)}:
        remedy = "Put it into the table [joint]." if fusing else f"Leave it out, or use --method {FUSED}."
        raise ConfigError(f"'{key}' is no setting of '{method}'", where=str(path), remedy=remedy)
    where = str(path)
    if fusing:
        return build(Fusion, found, where=where)
    return build(Finetuning, found, where=where, usual=usual(prefix + method))


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
