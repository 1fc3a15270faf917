"""The words of a text: what items of shops that share no item may have in common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import polars as pl

UNSPACED: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no spaces between words."""
CHARACTERS: Final = 400
"""No more of a text is looked at, where nothing else is said."""
EDGES: Final = " .,;:+&-/(，。；：、（"
_WORD: Final = rf"[{UNSPACED}]+|\b[\p{{L}}\p{{M}}--[{UNSPACED}]]{{2,}}\b"
_RUN: Final = rf"^[{UNSPACED}]{{2,}}$"


def joined(table: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Return the texts of several columns as one, row by row; empty where there is none."""
    texts = [table[name].rename(str(number)) for number, name in enumerate(columns)]
    if not texts:
        return pl.repeat("", len(table), eager=True)
    return pl.DataFrame(texts).select(pl.concat_str(pl.all(), separator="\n", ignore_nulls=True)).to_series()


def words(texts: pl.Series) -> pl.DataFrame:
    """Return ``row, word``: the words of each text, lower case, of two letters or more, each once.

    What has a digit in it is a code or a measure, not a word. A run of a script without spaces, such as Chinese, counts
    as its pairs of neighbouring characters, which tell words well enough without a dictionary; a character that stands
    alone counts as it is.
    """
    found = texts.str.normalize("NFKC").str.to_lowercase().str.extract_all(_WORD)
    each = found.rename("word").to_frame().with_row_index("row").explode("word").drop_nulls()
    runs = each.filter(pl.col("word").str.contains(_RUN))["word"].unique()
    pairs = pl.DataFrame(
        {"word": runs, "pair": [list(map("".join, pairwise(run))) for run in runs]},
        schema={"word": pl.String, "pair": pl.List(pl.String)},
    )
    split = each.join(pairs, on="word", how="left", maintain_order="left").explode("pair")
    return split.select("row", pl.coalesce("pair", "word").alias("word")).unique(maintain_order=True)


def cleaned(values: pl.Series, *, characters: int = CHARACTERS) -> pl.Series:
    """Return texts in lower case on one line, without control characters; null where nothing is left."""
    bare = values.str.slice(0, characters).str.normalize("NFKC").str.replace_all(r"[\p{C}\s]+", " ")
    bare = bare.str.to_lowercase().str.strip_chars(EDGES)
    return pl.select(pl.when(bare != "").then(bare)).to_series()
