"""Every recipe and every mapping that comes with the project can be read, and names what exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from valuecast import pipeline
from valuecast.config.examples import Tuning, is_program, read_program
from valuecast.config.recipe import read_recipe
from valuecast.errors import MissingExtraError, SourceError
from valuecast.events import datasets
from valuecast.models.registry import ADAPTATIONS, METHODS
from valuecast.models.text.source import KNOWN
from valuecast.moments import moment
from valuecast.tasks import parse
from valuecast.tasks.splits import UserSplit

ROOT = Path(__file__).parents[1]
EVERY = [*sorted((ROOT / "recipes").glob("*.toml")), ROOT / "src/valuecast/demo.toml"]
PROGRAMS = [path for path in EVERY if is_program(path)]
RECIPES = [path for path in EVERY if path not in PROGRAMS]


def test_there_are_recipes() -> None:
    assert {path.stem for path in RECIPES} >= {"cdnow", "online_retail", "demo"}
    assert {path.stem for path in PROGRAMS} >= {"user_churn"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_what_exists(path: Path) -> None:
    recipe = read_recipe(path)
    tasks = [parse(text) for text in recipe.tasks]
    assert tasks
    for task in tasks:
        # at least one rung answers each task
        assert any(METHODS[rung].objection(task) is None for rung in recipe.rungs)
    split = pipeline.split_of(recipe.split)
    assert bool(recipe.origins) != isinstance(split, UserSplit)
    assert [moment(origin) for origin in recipe.origins] == sorted({moment(origin) for origin in recipe.origins})
    if recipe.predict:
        assert not isinstance(split, UserSplit)
        assert moment(recipe.predict.at) >= max(map(moment, recipe.origins))
    assert recipe.title.en
    assert any("一" <= letter <= "鿿" for letter in recipe.title.zh)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_recipe_of_labelled_texts_names_what_exists(path: Path) -> None:
    program = read_program(path)
    assert any("一" <= letter <= "鿿" for letter in program.title.zh)
    examples = program.examples
    if examples.task is None:
        return
    task = parse(examples.task)
    assert len(task.targets) == 1
    cutoffs = [moment(at) for at in examples.at]
    assert cutoffs == sorted(set(cutoffs))
    try:
        mapping = pipeline.mapping_of(program.data, base=path.parent)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert mapping.span_from is not None
    assert mapping.span_until is not None
    assert mapping.span_from + task.history <= cutoffs[0]
    assert cutoffs[-1] + task.horizon <= mapping.span_until


def test_the_recipe_of_the_classic_program_has_its_settings() -> None:
    program = read_program(ROOT / "recipes/user_churn.toml")
    tuning = program.tuning
    assert (tuning.method, tuning.epochs, tuning.batch, tuning.rate) == ("full", 5, 16, 2e-5)
    assert tuning == Tuning(learning_rate=2e-5)  # they are what is usual
    assert program.data.dataset in datasets.names()
    assert program.data.path is None  # its data, and its model, install from a registry
    assert program.text.model.removeprefix("package:") in KNOWN


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_data_of_a_recipe_are_mapped(path: Path) -> None:
    recipe = read_recipe(path)
    if recipe.data.log:
        assert (recipe.data.log, recipe.slices) == ("log", ())  # there is none yet
        return
    try:
        mapping = pipeline.mapping_of(recipe.data, base=path.parent)
    except MissingExtraError as error:
        pytest.skip(str(error))
    names = {field.name for source in mapping.sources for field in source.fields}
    names |= {f"users.{field.name}" for field in (mapping.users.attributes if mapping.users else ())}
    assert set(recipe.slices) <= names


def test_the_recipe_of_methods_fine_tunes_in_every_way() -> None:
    recipe = read_recipe(ROOT / "recipes/methods.toml")
    assert recipe.rungs == tuple(ADAPTATIONS)
    assert set(recipe.finetune) <= set(ADAPTATIONS)


def test_the_demo_is_the_packaged_recipe() -> None:
    assert pipeline.demo() == read_recipe(ROOT / "src/valuecast/demo.toml")


@pytest.mark.parametrize("name", datasets.names())
def test_a_packaged_data_set_is_a_mapping_with_a_span(name: str, tmp_path: Path) -> None:
    try:
        mapping = datasets.mapping(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    except SourceError as error:
        assert "Give their folder as path" in str(error)
        mapping = datasets.mapping(name, path=tmp_path)
    assert mapping.sources
    assert mapping.span_from is not None
    assert mapping.span_until is not None
    assert mapping.span_from < mapping.span_until
