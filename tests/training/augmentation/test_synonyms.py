"""Synonyms: what is replaced, what stays, and how a thesaurus is read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.errors import SourceError
from valuecast.training.augmentation.synonyms import Thesaurus, read_thesaurus, replaced

WORDS = Thesaurus.of(
    [
        ("mug", ["cup"]),
        ("red", ["scarlet", "crimson"]),
        ("light bulb", ["lamp"]),
        ("light", ["bright"]),
        ("cups", ["mugs"]),
        ("茶杯", ["杯子"]),
        ("茶", ["茗"]),
    ]
)


def every(text: str, thesaurus: Thesaurus = WORDS, *, seed: int = 0) -> str:
    (found,) = replaced([text], thesaurus, share=1.0, rng=np.random.default_rng(seed))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a mug, for tea", "a cup, for tea"),
        ("MUG Mug mug", "CUP Cup cup"),
        ("a light bulb and a light", "a lamp and a bright"),
        ("t-light mug's mugs", "t-light mug's mugs"),
        ("3mug mug3 mug_3 3-mug", "3mug mug3 mug_3 3-mug"),
        ("3 mug 4.50", "3 cup 4.50"),
        ("两只茶杯，好茶", "两只杯子，好茗"),
        ("", ""),
    ],
)
def test_whole_words_are_replaced_the_longest_first(text: str, expected: str) -> None:
    assert every(text) == expected


def test_all_synonyms_are_used_and_the_share_is_the_one_asked_for() -> None:
    texts = ["red mug"] * 4000
    found = replaced(texts, WORDS, share=0.3, rng=np.random.default_rng(0))
    assert sum(text.endswith("cup") for text in found) / 4000 == pytest.approx(0.3, abs=0.03)
    assert sum(text.startswith("crimson") for text in found) / 4000 == pytest.approx(0.15, abs=0.03)
    assert found == replaced(texts, WORDS, share=0.3, rng=np.random.default_rng(0))
    assert replaced(texts, WORDS, share=0.0, rng=np.random.default_rng(0)) == texts


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.sampled_from(["red", "mug", "light bulb", "茶杯", "3", "4.50", "t-light", "😀", "x", ",", "(", "mug2"])
    ),
    st.sampled_from([", ", " "]),
    st.integers(0, 3),
)
def test_numbers_and_unknown_words_survive(parts: list[str], between: str, seed: int) -> None:
    text = between.join(parts)
    found = every(text, seed=seed)
    assert re.findall(r"\d+", found) == re.findall(r"\d+", text)
    known = re.compile("scarlet|crimson|red|mugs?|cups?|light bulb|lamp|light|bright|茶杯|杯子|茶|茗")
    assert known.sub("", found) == known.sub("", text)


def test_numbers_are_never_a_synonym_and_never_have_one() -> None:
    found = Thesaurus.of(
        [
            ("three", ["trio"]),
            ("dozen", ["many"]),
            ("trio", ["three", "3", "threesome"]),
            ("十二", ["一打"]),
            ("a4", ["x"]),
        ]
    )
    assert found.synonyms == {"trio": ("threesome",)}


def test_a_file_of_the_shop_is_read(tmp_path: Path) -> None:
    commas, tabs = tmp_path / "words.csv", tmp_path / "words.tsv"
    commas.write_text('mug,cup,"tea, cup"\n\nSofa,couch\nmug,beaker\n', encoding="utf-8")
    tabs.write_text("mug\tcup\ttea, cup\n\nSofa\tcouch\nmug\tbeaker\n", encoding="utf-8-sig")
    for path in (commas, tabs):
        found = read_thesaurus(path)
        assert found.synonyms == {"mug": ("cup", "tea, cup", "beaker"), "sofa": ("couch",)}
        assert found.longest == 1


def test_a_word_forest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "forest.txt"
    path.write_text(
        "Bp07B03= 杯子 茶杯 杯\nBp07B04= 一打 打儿\nBp07B05# 椅子 凳子\nCa01A01= 茶杯 红色\n", encoding="utf-8"
    )
    found = read_thesaurus(path).synonyms  # 茶杯 has two meanings, 杯 is one character, 一打 is a number
    assert found == {"杯子": ("茶杯", "杯"), "红色": ("茶杯",)}


@pytest.mark.parametrize(
    ("text", "what"),
    [("mug\n", "'mug' has no synonym"), ("mug\t3 cups\n", "'3 cups' has a number"), ("\n", "has no synonyms")],
)
def test_a_file_that_is_no_thesaurus_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "words.tsv"
    path.write_text(f"sofa\tsofa\n{text}", encoding="utf-8")
    with pytest.raises(SourceError, match=what):
        read_thesaurus(path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such thesaurus"):
        read_thesaurus(tmp_path / "words.tsv")
    with pytest.raises(SourceError, match=r"no 'index\.noun', so this is not WordNet"):
        read_thesaurus(tmp_path)
    (tmp_path / "words.tsv").write_bytes("mug\tcüp".encode("latin-1"))
    with pytest.raises(SourceError, match="not UTF-8"):
        read_thesaurus(tmp_path / "words.tsv")


INDEX = {  # word, part, senses, pointers, ..., senses, senses met, places
    "noun": "couch n 1 1 @ 1 0 00000010\nlight n 2 0 2 2 00000020 00000030\nsofa n 1 1 @ 1 1 00000010\n"
    "he n 1 0 1 0 00000070\nit n 1 0 1 0 00000080\n",
    "adj": "comfy a 1 0 1 0 00000040\nlight a 1 0 1 1 00000050\n",
    "verb": "set v 1 0 1 1 00000060\n",
    "adv": "",
}
DATA = {
    "noun": "00000010 06 n 03 sofa 0 couch 0 easy_seat 0 000 | a seat\n00000020 19 n 01 light 0 000 | rays\n"
    "00000030 06 n 02 light 1 lamp 0 000 | a source\n"
    "00000070 27 n 02 He 0 helium 0 000 | a gas\n00000080 09 n 02 it 0 computing 0 000 | a trade\n",
    "adj": "00000040 00 s 02 comfy 0 comfortable(p) 0 000 | at ease\n"
    "00000050 00 a 02 light 0 lightweight 0 000 | no weight\n",
    "verb": "00000060 35 v 02 set 0 put 0 000 | place\n",
    "adv": "",
}
SENSES = [("comfy%5:00:00::", 1, 0), ("light%1:19:00::", 1, 5), ("light%1:06:00::", 2, 2), ("light%3:00:00::", 1, 9)]
SENSES += [("set%2:35:00::", 1, 7), ("sofa%1:06:00::", 1, 1)]


@pytest.mark.parametrize("counts", ["index.sense", "cntlist.rev"])
def test_wordnet_is_read(tmp_path: Path, counts: str) -> None:
    for part, text in INDEX.items():
        (tmp_path / f"index.{part}").write_text(f"  1 the licence\n{text}", encoding="utf-8")
        (tmp_path / f"data.{part}").write_text(f"  1 the licence\n{DATA[part]}", encoding="utf-8")
    place = " 00000001" if counts == "index.sense" else ""
    lines = [f"{key}{place} {number} {count}\n" for key, number, count in SENSES]
    (tmp_path / counts).write_text("".join(lines), encoding="utf-8")
    found = read_thesaurus(tmp_path).synonyms  # verbs, names and words of grammar stay
    assert found == {
        "couch": ("sofa", "easy seat"),
        "sofa": ("couch", "easy seat"),
        "light": ("lightweight",),
        "comfy": ("comfortable",),
    }
    (tmp_path / counts).write_text("".join(lines).replace(" 5\n", " 8\n"), encoding="utf-8")
    assert "light" not in read_thesaurus(tmp_path).synonyms  # no meaning is most of it
    (tmp_path / "data.noun").write_text("00000010\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"data.noun, line 1: the line is not one of WordNet's"):
        read_thesaurus(tmp_path)
