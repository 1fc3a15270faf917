"""Recipes are read strictly: a key or a value that is not understood is an error that says where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from valuecast.config.learning import Finetuning, Fusion
from valuecast.config.recipe import Data, Predict, Recipe, Words, read_recipe
from valuecast.config.toml import build, read_toml
from valuecast.errors import ConfigError, suggest

TITLE = '[title]\nen = "x"\nzh = "某"\n'
RECIPE = f'tasks = ["churn(days=30)"]\nrungs = ["recency"]\n[data]\ndataset = "cdnow"\n{TITLE}'


@dataclass(frozen=True)
class Inner:
    size: int


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    share: float = 0.5
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    words: tuple[str, ...] = ()
    maybe: int | None = None
    many: tuple[Inner, ...] = ()


GIVEN: dict[str, Any] = {"name": "x", "inner": {"size": 3}}


def test_values_are_read_by_their_types() -> None:
    found = build(Outer, GIVEN | {"share": 1, "words": ["p", "q"], "maybe": 4, "many": [{"size": 1}]}, where="f")
    assert found == Outer("x", Inner(3), share=1.0, words=("p", "q"), maybe=4, many=(Inner(1),))
    assert isinstance(found.share, float)
    assert build(Outer, GIVEN, where="f") == Outer("x", Inner(3))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"nmae": "y"}, "f: unknown key 'nmae'. Did you mean 'name'?"),
        ({"inner": {"size": 3, "sise": 4}}, "f: inner: unknown key 'sise'. Did you mean 'size'?"),
        ({"inner": {}}, "f: inner: no 'size'. Add size = ..."),
        ({"inner": 3}, "f: inner: 3 is not a table"),
        ({"name": 3}, "f: name: 3 is not a text"),
        ({"inner": {"size": "3"}}, "f: inner: size: '3' is not a whole number"),
        ({"inner": {"size": 3.0}}, "f: inner: size: 3.0 is not a whole number"),
        ({"inner": {"size": True}}, "f: inner: size: True is not a whole number"),
        ({"share": True}, "f: share: True is not a number"),
        ({"share": "half"}, "f: share: 'half' is not a number"),
        ({"flag": 1}, "f: flag: 1 is not true or false"),
        ({"kind": "c"}, "f: kind: 'c'. Use one of: a, b."),
        ({"words": "p"}, "f: words: 'p' is not a list. Write it in square brackets."),
        ({"words": ["p", 3]}, "f: words: 3 is not a text"),
        ({"maybe": "4"}, "f: maybe: '4' is not a whole number"),
        ({"many": [{"size": "s"}]}, "f: many: size: 's' is not a whole number"),
    ],
)
def test_what_is_not_understood_says_where(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Outer, GIVEN | changed, where="f")
    assert said in str(caught.value)


def test_a_missing_key() -> None:
    with pytest.raises(ConfigError, match=r"f: no 'name'. Add name = "):
        build(Outer, {"inner": {"size": 3}}, where="f")


def test_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f"{RECIPE}[predict]\nat = 2024-01-02\n", encoding="utf-8")
    # a date of TOML is as good as a text
    assert read_recipe(path) == Recipe(
        title=Words("x", "某"),
        data=Data(dataset="cdnow"),
        tasks=("churn(days=30)",),
        rungs=("recency",),
        predict=Predict(at="2024-01-02"),
    )
    path.write_text('title = "x"\n' + RECIPE.removesuffix(TITLE), encoding="utf-8")
    assert read_recipe(path).title == Words("x", "x")
    path.write_text(RECIPE.replace("rungs", "rung"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"r.toml: unknown key 'rung'. Did you mean 'rungs'\?"):
        read_recipe(path)


def test_files_that_are_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: no such file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="this is a folder"):
        read_toml(tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("a = 1\nb = = 2\n")
    with pytest.raises(ConfigError, match=r"broken.toml: not valid TOML: .*line 2, column 5"):
        read_toml(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(broken)


def test_a_suggestion_is_the_nearest_name_or_the_list() -> None:
    assert suggest("Lightgbm", ["lightgbm", "bgnbd"]) == "Did you mean 'lightgbm'? Known: bgnbd, lightgbm."
    assert suggest("zzz", ["b", "a"]) == "Known: a, b."
    assert suggest("x", []) == "Known: none."
    assert suggest("nothing", [f"c{at:02}" for at in range(40)]).endswith("c29 and 10 more.")


def test_a_table_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    text = 'title = "x"\ntasks = ["churn(days=30)"]\nrungs = ["lora"]\n[data]\nlog = "log"\n'
    path.write_text(text + "[finetune.lora]\nrank = 4\n[finetune.lora.optimisation]\nlearning_rate = 0.5\n")
    found = read_recipe(path).finetune["lora"]
    usual = Finetuning()
    assert found == replace(usual, rank=4, optimisation=replace(usual.optimisation, learning_rate=0.5))
    path.write_text(text + "[finetune.lora]\nranks = 4\n")
    with pytest.raises(ConfigError, match="unknown key 'ranks'"):
        read_recipe(path)
    path.write_text(text + "[backbone.optimisation]\nepochs = 0\n")
    with pytest.raises(ConfigError, match="Give 1 or more"):
        read_recipe(path)


def fusion_of(text: str, tmp_path: Path) -> Fusion:
    path = tmp_path / "recipe.toml"
    path.write_text(f"{RECIPE}{text}", encoding="utf-8")
    return read_recipe(path).fusion


def test_a_fusion_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    usual = Fusion()
    assert fusion_of("", tmp_path) == usual
    assert fusion_of("[fusion]\nmembers = 2\n", tmp_path) == replace(usual, members=2)
    found = fusion_of('[fusion]\nparts = ["joint", "bgnbd"]\n[fusion.joint.optimisation]\nepochs = 3\n', tmp_path)
    how = replace(usual.joint.optimisation, epochs=3)
    assert how != replace(Finetuning().optimisation, epochs=3)
    assert found == replace(usual, parts=("joint", "bgnbd"), joint=replace(usual.joint, optimisation=how))
    assert fusion_of('[fusion]\njoint = { head = "bernoulli" }\n', tmp_path).joint == replace(
        usual.joint, head="bernoulli"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fusion]\nmember = 2\n", "recipe.toml: fusion: unknown key 'member'. Did you mean 'members'?"),
        ("[fusion.joint.optimiser]\n", "recipe.toml: fusion: joint: unknown key 'optimiser'"),
        ("[fusion.joint.optimisation]\nepoch = 3\n", "fusion: joint: optimisation: unknown key 'epoch'"),
        ("[fusion.joint.optimisation]\nepochs = 0\n", "fusion: joint: optimisation: epochs: 0. Give 1 or more."),
        ('[fusion]\nparts = "joint"\n', "fusion: parts: 'joint' is not a list"),
        ("[fusion]\nparts = []\n", "fusion: parts: []. Name at least one part, and each once."),
        ('[fusion]\nparts = ["joint", "joint"]\n', "fusion: parts: ['joint', 'joint']. Name at least one part"),
        ("[fusion]\nmembers = 0\n", "fusion: members: 0. Give 1 or more."),
        ("[fusion]\ndropout = 1.0\n", "fusion: dropout: 1.0. Give a share from 0 to below 1."),
        ('[fusion]\ntrunk = "joint"\n', "fusion: trunk: 'joint'. Use one of: scratch, frozen"),
        ("[fusion]\njoint = 3\n", "fusion: joint: 3 is not a table"),
    ],
)
def test_what_is_wrong_with_a_fusion_says_where(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fusion_of(text, tmp_path)
    assert said in str(caught.value)
