"""Recipes: a TOML file that says what is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from valuecast.config.learning import Finetuning, Fusion, Pretraining, usual
from valuecast.config.text import TextModel
from valuecast.config.toml import build, read_toml
from valuecast.errors import ConfigError, check_share


@dataclass(frozen=True)
class Words:
    """A title in both languages."""

    en: str
    zh: str


@dataclass(frozen=True)
class Data:
    """Where the log comes from: a named data set, a source mapping, or a log that is there already.

    ``path`` says where the files of a named data set are, if it is not an installable one.
    """

    dataset: str | None = None
    path: str | None = None
    sources: str | None = None
    log: str | None = None


@dataclass(frozen=True)
class SplitBy:
    """How models are chosen and tested: by time (``every``, ``validation``, ``rounds``) or by users (the others).

    ``sample`` is the share of the users that models learn from, where there are more than it takes; everyone is tested
    and scored.

    Raises:
        ConfigError: a sample that is not above 0 and at most 1.
    """

    by: Literal["time", "users"] = "time"
    every: int = 15
    validation: int = 2
    rounds: int = 3
    at: str | None = None
    holdout: float = 0.3
    folds: int = 4
    sample: float = 1.0

    def __post_init__(self) -> None:
        check_share(self.sample, where="split: sample")


@dataclass(frozen=True)
class Predict:
    """Whom to score when everything is done.

    Attributes:
        at: the moment.
        rung: else the best on validation.
        reasons: how many beside each score.
    """

    at: str
    rung: str | None = None
    reasons: int = 0


@dataclass(frozen=True)
class Campaign:
    """What is assumed about contacting users who may stop buying; none of it is learned from the log.

    Attributes:
        contact_cost: of contacting one user, in the shop's currency.
        save_rate: share of those who would have stopped buying whom a contact keeps.
        margin: share of spend that is earned.

    Raises:
        ConfigError: a negative cost, or a rate that is not above 0 and at most 1.
    """

    contact_cost: float
    save_rate: float
    margin: float

    def __post_init__(self) -> None:
        if not self.contact_cost >= 0:
            raise ConfigError(f"{self.contact_cost}", where="campaign: contact_cost", remedy="Give 0 or more.")
        for name in ("save_rate", "margin"):
            check_share(getattr(self, name), where=f"campaign: {name}")


@dataclass(frozen=True)
class Page:
    """What the page shows. Without ``show_users`` ids are masked."""

    show_users: bool = False


@dataclass(frozen=True)
class Recipe:
    """What ``valuecast run`` does.

    Attributes:
        title: of the page; in TOML one text, or a table of en and zh.
        data: where the log comes from.
        engine: where its queries run, and its users are scored: ``duckdb``, in this process, or ``spark``.
        tasks: in text form.
        rungs: names of methods, the simplest first.
        origins: test cutoffs; every rung is fitted anew for each, to what was known then.
        split: how settings are chosen and the rest is tested.
        slices: fields by which results are broken down.
        predict: whom to score at the end.
        campaign: what is assumed about contacting users; chooses whom to contact.
        report: what the page shows.
        backbone: how sequence models are pre-trained.
        finetune: how each method fine-tunes: a table for each rung, such as ``[finetune.lora]``.
        text: the language model that reads histories in words, for rungs whose names begin with ``text-``.
        fusion: what the rung ``fused`` may be made of, and how its joint network learns.
        seed: of everything random.
    """

    title: Words
    data: Data
    tasks: tuple[str, ...]
    rungs: tuple[str, ...]
    origins: tuple[str, ...] = ()
    split: SplitBy = SplitBy()
    slices: tuple[str, ...] = ()
    predict: Predict | None = None
    campaign: Campaign | None = None
    report: Page = Page()
    backbone: Pretraining = Pretraining()
    finetune: Mapping[str, Finetuning] = field(default_factory=dict, metadata={"usual": usual})
    text: TextModel | None = None
    fusion: Fusion = field(default_factory=Fusion)
    engine: Literal["duckdb", "spark"] = "duckdb"
    seed: int = 0


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ConfigError: no such file, TOML that does not parse, an unknown key, or a value of another type.
    """
    found = read_toml(path)
    if isinstance(found.get("title"), str):  # a title in one language stands on both pages
        found["title"] = {"en": found["title"], "zh": found["title"]}
    return build(Recipe, found, where=str(path))
