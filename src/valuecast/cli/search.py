"""The command that searches how a backbone is best fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from valuecast import moments
from valuecast.cli.app import TASK, Every, LogPath, Sample, app, beside, say, tell_files
from valuecast.cli.models import known_before, tell_fitted
from valuecast.cli.networks import BackbonePath, Before, Seed, SettingsPath
from valuecast.config.learning import Adaptation, Finetuning
from valuecast.errors import ConfigError


@app.command()
def search(
    base: BackbonePath,
    log: LogPath,
    task: Annotated[list[str], TASK],
    before: Before,
    out: Annotated[Path, typer.Option(metavar="MODEL", help="The model folder; a model that it holds is replaced.")],
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="How many settings to try.")] = 20,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="A method to search, as of `finetune`; may be repeated.",
            show_default="full, lora, frozen, last-n, adapter, prefix",
        ),
    ] = None,
    settings: SettingsPath = None,
    every: Every = 15,
    sample: Sample = 1.0,
    seed: Seed = 0,
) -> None:
    """Search the best method and settings of fine-tuning, then fine-tune with them.

    Trials vary the given (or usual) settings, and are judged on the latest validation cutoffs. The study, checkpoints
    and trials.csv are kept in MODEL.search; a search that was killed is continued by the same command, as is one that
    is to have more trials.
    """
    from valuecast import artifact
    from valuecast.config.toml import build, read_toml
    from valuecast.models import predictor
    from valuecast.models.neural import require
    from valuecast.tasks import parse
    from valuecast.tasks.splits import TimeSplit

    require("searching how to fine-tune")
    how = build(Finetuning, read_toml(settings), where=str(settings)) if settings else Finetuning()
    if len(task) > 1:
        raise ConfigError("several tasks for one search", where="--task", remedy="Search for each of them.")
    asked = parse(task[0])
    moments.moment(before, where="--before")
    artifact.check_replaceable(out, kind=predictor.KIND)

    from valuecast.models.backbone import Backbone
    from valuecast.training.search import TABLE
    from valuecast.training.search import search as search_

    folder = beside(out, "search")
    found = search_(
        Backbone.load(base),
        asked,
        known_before(log, before, sample=sample),
        trials=trials,
        methods=cast(list[Adaptation] | None, method),  # which are checked there
        settings=how,
        folder=folder,
        split=TimeSplit(every=every),
        seed=seed,
        progress=say,
    )
    found.predictor.save(out)
    tell_files([folder / TABLE])
    tell_fitted(found.predictor, out)
