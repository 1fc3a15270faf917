"""What may be varied in training, and what may not."""

from __future__ import annotations

from typing import Any

import pytest

from valuecast.config.augment import Augmentation
from valuecast.config.toml import build
from valuecast.errors import ConfigError


def test_nothing_is_varied_unless_asked() -> None:
    assert Augmentation().on("events") == Augmentation().on("texts") == ()
    some = Augmentation(mask=0.1, crop=1, synonyms=0.2, thesaurus="words.tsv")
    assert some.on("events") == ("crop", "mask")
    assert some.on("texts") == ("synonyms",)


def test_it_is_read_from_a_recipe() -> None:
    found = {"jitter": 0.1, "translator": "a", "back": "b", "translations": 2, "languages": ["eng_Latn", "zho_Hans"]}
    assert build(Augmentation, found, where="r.toml").languages == ("eng_Latn", "zho_Hans")
    with pytest.raises(ConfigError, match=r"r.toml: mask: 1.0. Give a share from 0 to below 1"):
        build(Augmentation, {"mask": 1}, where="r.toml")


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"crop": 1.1}, "crop"),
        ({"reorder": -0.1}, "reorder"),
        ({"jitter": float("nan")}, "jitter"),
        ({"mask": 1.0}, "mask"),
        ({"synonyms": 2.0, "thesaurus": "t"}, "synonyms"),
        ({"translations": -1}, "translations"),
        ({"translations": 1, "translator": "a", "back": "b", "languages": ("en",)}, "languages"),
        ({"synonyms": 0.1}, "synonyms"),
        ({"thesaurus": "t"}, "thesaurus"),
        ({"translations": 1, "translator": "a"}, "translations"),
        ({"translator": "a", "back": "b"}, "translator"),
        ({"back": "b"}, "back"),
        ({"languages": ("en", "zh")}, "languages"),
    ],
)
def test_what_has_no_meaning_is_an_error(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Augmentation(**wrong)
    assert caught.value.where == where


def test_a_level_is_refused_where_it_has_no_meaning() -> None:
    some = Augmentation(jitter=0.1)
    some.refuse("texts", why="there are no texts")
    with pytest.raises(
        ConfigError, match=r"jitter = 0.1, but a frozen trunk reads every history once. Leave jitter out"
    ):
        some.refuse("events", why="a frozen trunk reads every history once")
