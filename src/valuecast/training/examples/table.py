"""A file of labelled texts becomes rows to learn from, to choose by and to test on; every bad cell is named."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.config.examples import SPLITS, Kind, Reading, Split
from valuecast.errors import SourceError, ValuecastError, suggest
from valuecast.moments import moment
from valuecast.training.examples.cells import NAMED, ROW, as_cells, bad, read, wanted

TEXT: Final = "text"
SPLIT: Final = "split"
TRUE: Final = frozenset({"1", "1.0", "true", "yes", "y", "t", "是"})
FALSE: Final = frozenset({"0", "0.0", "false", "no", "n", "f", "否"})
FEW: Final = 10
"""Numbers with more different values than this are taken for numbers, not for classes."""
MANY: Final = 20
"""Labelled rows; among so many a label of its own is taken for a slip, where nobody says that there are classes."""
MOST: Final = 100
"""Classes; more of them are taken for a mistake."""
_SPLITS = 10_000


@dataclass(frozen=True, eq=False)
class Labelled:
    """Texts of users with labels, and which of them are for what.

    Attributes:
        frame: ``ROW``, ``user``, ``text``, ``label`` (Float64 of a number, else the number of the class; null where
            there is none) and ``split``, in the order of the file; ``at`` where rows have moments, and the columns that
            a text was written of.
        kind: of the labels.
        classes: names, in the order of their numbers; of a binary label the negative first. None of a number.
        columns: that texts were written of, if they were.
        facts: what was found and how the rows were split, in plain data.
        where: the file, for messages.
    """

    frame: pl.DataFrame
    kind: Kind
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    facts: dict[str, Any]
    where: str

    def of(self, split: Split) -> pl.DataFrame:
        """Return the labelled rows of a split."""
        return self.frame.filter(pl.col(SPLIT) == split, pl.col(c.LABEL).is_not_null())

    @property
    def pool(self) -> pl.DataFrame:
        """The rows without a label that belong to no test and to no choice."""
        return self.frame.filter(pl.col(c.LABEL).is_null(), pl.col(SPLIT) == "train")

    def with_labels(self, rows: pl.DataFrame) -> Labelled:
        """Return the same with labels for some rows of the pool; ``rows`` has ``ROW`` and ``label``."""
        given = self.frame.join(rows.select(ROW, given=c.LABEL), on=ROW, how="left", maintain_order="left")
        return replace(self, frame=given.with_columns(pl.coalesce(c.LABEL, "given").alias(c.LABEL)).drop("given"))

    def numbers(self, split: Split) -> NDArray[np.float64]:
        """Labels of a split: numbers, or numbers of classes; shape (R,)."""
        return self.of(split)[c.LABEL].to_numpy().astype(np.float64)

    def drawn(self, users: int, *, seed: int = 0) -> Labelled:
        """Return the rows of so many users, drawn by a digest; the others stay in the file."""
        every = self.frame[c.USER].unique()
        chance = pl.Series([drawn(user, seed, purpose="who") for user in every], dtype=pl.Float64)
        some = every.filter(chance.rank("ordinal") <= users)
        kept = replace(self, frame=self.frame.filter(pl.col(c.USER).is_in(some.implode())), facts=dict(self.facts))
        kept.facts.update(users=len(some), drawn=len(every), pool=len(kept.pool))
        _check_taught(kept, where=self.where)
        return kept

    @property
    def digest(self) -> str:
        """What tells these rows from others, in a few letters."""
        kept = self.frame.select(c.USER, TEXT, c.LABEL, SPLIT)
        told = f"{self.kind} {self.classes}\n{kept.write_csv()}"
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def read_labelled(path: Path, how: Reading, *, seed: int = 0) -> Labelled:
    """Read a file of labelled texts.

    Args:
        path: CSV, gzipped or not, or Parquet.
        how: what its columns mean.
        seed: of the split, where the file has none.

    Raises:
        SourceError: something in it cannot be meant; the message names column and rows.
    """
    return labelled(read(path, encoding=how.encoding), how, seed=seed, where=str(path))


def labelled_of(frame: pl.DataFrame, how: Reading, *, seed: int = 0, where: str = "table") -> Labelled:
    """Return ``read_labelled`` of a frame.

    Raises:
        SourceError: see ``read_labelled``.
    """
    return labelled(as_cells(frame, where=where), how, seed=seed, where=where)


def labelled(cells: pl.DataFrame, how: Reading, *, seed: int, where: str) -> Labelled:
    """Check cells, and give every row its split."""
    found, dropped = told(cells, how, where=where)
    wanted(found, how.label, where=where, what="the label")
    kind, classes, label = _labels(found.select(ROW, how.label), how, where=where)
    found = found.with_columns(label.alias(c.LABEL))
    found, split = _split(found, cells, how, seed=seed, where=where)
    _check_leak(found, where=where)
    made = Labelled(
        found.select(ROW, c.USER, *([c.AT] if c.AT in found.columns else ()), TEXT, c.LABEL, SPLIT, *_own(how)),
        kind,
        classes,
        tuple(how.columns),
        {
            "rows": len(cells),
            "users": found[c.USER].n_unique(),
            "dropped": dropped,
            "split": split,
            "pool": 0,
            "unlabelled": int(found[c.LABEL].null_count()),
        },
        where,
    )
    made.facts["pool"] = len(made.pool)
    _check_taught(made, where=where)
    return made


def told(cells: pl.DataFrame, how: Reading, *, where: str) -> tuple[pl.DataFrame, list[int]]:
    """Return the cells with ``user``, ``text`` and, if they have one, ``at``; and which rows were dropped.

    Nothing is asked of labels and splits: this is also what is read of a file that is to be labelled.

    Raises:
        SourceError: a column is missing, or a user, a text or a moment is.
    """
    wanted(cells, how.user, where=where, what="the user")
    for name in how.columns:
        wanted(cells, name, where=where, what="the text")
    if not how.columns:
        wanted(cells, how.text, where=where, what="the text")
    if cells.is_empty():
        raise SourceError("there are no rows", where=where, remedy="Give a file with one row for each user.")
    nobody = cells.filter(pl.col(how.user).is_null())
    if len(nobody):
        raise bad(nobody, how.user, "is empty", where=where, remedy="Say whose text it is.", shown=False)
    found = cells.with_columns(pl.col(how.user).alias(c.USER), _written(how).alias(TEXT))
    silent = found.filter(pl.col(TEXT).is_null())
    if len(silent) and how.empty == "refuse":
        remedy = 'Give these rows a text or take them out; or say empty = "drop" under [reading] of the settings.'
        name = how.columns[0] if how.columns else how.text
        raise bad(
            silent.with_columns(pl.col(TEXT).alias(name)), name, "is empty", where=where, remedy=remedy, shown=False
        )
    found = found.filter(pl.col(TEXT).is_not_null())
    if found.is_empty():
        raise SourceError("no row has a text", where=where, remedy="Say which column it is in.")
    if how.at in cells.columns:
        found = found.with_columns(_moments(found, how.at, where=where).alias(c.AT))
    return found, silent[ROW].to_list()


def _own(how: Reading) -> list[str]:
    """The columns that a text is written of, as they are, if their names are free."""
    return [name for name in how.columns if name not in {c.USER, c.AT, TEXT, c.LABEL, SPLIT}]


def _written(how: Reading) -> pl.Expr:
    """The text of a row; of columns: "name: value; name: value", those that are empty left out."""
    if not how.columns:
        return pl.col(how.text)
    parts = [
        pl.when(pl.col(name).is_not_null()).then(pl.format("{}: {}", pl.lit(name), pl.col(name)))
        for name in how.columns
    ]
    some = pl.any_horizontal(pl.col(name).is_not_null() for name in how.columns)
    return pl.when(some).then(pl.concat_str(parts, separator="; ", ignore_nulls=True))


def _moments(found: pl.DataFrame, name: str, *, where: str) -> pl.Series:
    read_at = {}
    for cell in found[name].unique().to_list():
        try:
            read_at[cell] = moment(cell)
        except (ValuecastError, TypeError):
            rows = found.filter(pl.col(name).eq_missing(pl.lit(cell)))
            remedy = "Write it like 2017-09-01 or 2017-09-01T18:30."
            raise bad(rows, name, "is no date or time", where=where, remedy=remedy) from None
    return found[name].replace_strict(read_at, return_dtype=pl.Datetime("us"))


def _labels(found: pl.DataFrame, how: Reading, *, where: str) -> tuple[Kind, tuple[str, ...], pl.Series]:
    """Say what the labels are, and return them as numbers."""
    name = how.label
    known = found.filter(pl.col(name).is_not_null()).with_columns(pl.col(name).str.strip_chars())
    if known.is_empty():
        raise SourceError(f"column '{name}': no row has a label", where=where, remedy="Label some hundred rows.")
    values = known[name].unique().sort().to_list()
    folded = {value.casefold() for value in values}
    numbers = known.with_columns(pl.col(name).cast(pl.Float64, strict=False).alias("number"))
    kind: str = how.kind
    if kind == "auto":
        plain = numbers["number"].is_finite().fill_null(value=False).all()
        if how.positive is not None or folded <= TRUE | FALSE:
            kind = "binary"
        elif plain and len(values) > FEW:
            kind = "number"
        else:
            kind = "classes"
    label = found[name].str.strip_chars()
    if kind == "number":
        wrong = numbers.filter(~pl.col("number").is_finite().fill_null(value=False))
        if len(wrong):
            raise bad(wrong, name, "is no number", where=where, remedy='Mend it, or say kind = "classes".')
        return "number", (), label.cast(pl.Float64)
    if kind == "binary":
        classes = _two(known, values, how, where=where)
        codes = {value: float(_is_positive(value, how)) for value in values}
    else:
        if len(values) > MOST:
            remedy = 'Say kind = "number" if they are numbers; else join rare ones.'
            raise SourceError(f"column '{name}' has {len(values):,} different labels", where=where, remedy=remedy)
        if how.kind == "auto":
            _check_alone(known, name, where=where)
        classes = tuple(sorted(values, key=_order))
        codes = {value: float(number) for number, value in enumerate(classes)}
    if len(classes) < 2:
        remedy = "There is nothing to tell apart: add rows with another label."
        raise SourceError(f"column '{name}' holds one label only, '{values[0]}'", where=where, remedy=remedy)
    return kind, classes, label.replace_strict(codes, default=None, return_dtype=pl.Float64)  # type: ignore[return-value]


def _check_alone(known: pl.DataFrame, name: str, *, where: str) -> None:
    """Refuse a label that a single row has among many: nothing is learned from it, and it is likely a slip."""
    alone = known.filter(pl.col(name).count().over(name) == 1)
    if len(alone) and len(known) >= MANY:
        remedy = 'Mend it, or leave it empty; if it is meant, say kind = "classes".'
        raise bad(alone, name, "has a label that no other row has", where=where, remedy=remedy)


def _is_positive(value: str, how: Reading) -> bool:
    return value == how.positive if how.positive is not None else value.casefold() in TRUE


def _two(known: pl.DataFrame, values: Sequence[str], how: Reading, *, where: str) -> tuple[str, ...]:
    """Names of the two labels of a yes-or-no question, the negative first."""
    if how.positive is None:
        wrong = known.filter(~pl.col(how.label).str.to_lowercase().is_in(list(TRUE | FALSE)))
        if len(wrong):
            remedy = 'Write 1 and 0, or yes and no; or name the label that is asked about: positive = "...".'
            raise bad(wrong, how.label, "is neither yes nor no", where=where, remedy=remedy)
    elif how.positive not in values:
        remedy = suggest(how.positive, values)
        raise SourceError(f"no row has the label '{how.positive}'", where=f"{where}: '{how.label}'", remedy=remedy)
    sides = [sorted(value for value in values if _is_positive(value, how) is side) for side in (False, True)]
    if how.positive is not None and len(sides[0]) > 1:
        remedy = f"Leave positive out to tell all classes apart, or keep one label beside '{how.positive}'."
        what = f"column '{how.label}' has {len(values)} labels ({', '.join(values[:5])}), a yes-or-no question two"
        raise SourceError(what, where=where, remedy=remedy)
    return tuple(side[0] for side in sides if side)


def _order(value: str) -> tuple[float, str]:
    """Classes that are numbers are put in their order, before words."""
    try:
        return float(value), value
    except ValueError:
        return math.inf, value


def _split(
    found: pl.DataFrame, cells: pl.DataFrame, how: Reading, *, seed: int, where: str
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Give every row its split, and say how that was done."""
    if how.split in cells.columns:
        cell = pl.col(how.split).str.strip_chars()
        unknown = found.filter(cell.is_not_null() & ~cell.is_in(SPLITS))
        if len(unknown):
            remedy = suggest(unknown[how.split][0], SPLITS)
            raise bad(unknown, how.split, "is no split", where=where, remedy=remedy)
        missing = found.filter(cell.is_null() & pl.col(c.LABEL).is_not_null())
        if len(missing):
            remedy = "Say train, validation or test in every row that has a label."
            raise bad(missing, how.split, "is empty", where=where, remedy=remedy, shown=False)
        return found.with_columns(cell.fill_null("train").alias(SPLIT)), {"by": "column"}
    users = found[c.USER].unique()
    chance = pl.Series([drawn(user, seed) for user in users], dtype=pl.Float64)
    late = 1 - how.shares.test
    named = pl.select(
        pl.when(chance >= late)
        .then(pl.lit("test"))
        .when(chance >= late - how.shares.validation)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    ).to_series()
    facts = {"by": "users", "seed": seed, "validation": how.shares.validation, "test": how.shares.test}
    return found.with_columns(pl.col(c.USER).replace_strict(users, named).alias(SPLIT)), facts


def drawn(user: str, seed: int, *, purpose: str = "split") -> float:
    """Return a number from 0 to below 1 that a user has for ever: rows that are added move nobody."""
    digest = hashlib.blake2b(f"{purpose}:{seed}:{user}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") * _SPLITS // 2**64 / _SPLITS


def _check_leak(found: pl.DataFrame, *, where: str) -> None:
    """Refuse users in two splits, unless all that the one knows of is before all that the other is about.

    Raises:
        SourceError: what is tested on has been learned from.
    """
    dated = c.AT in found.columns
    for early, late in combinations(SPLITS, 2):
        first, second = (found.filter(pl.col(SPLIT) == name) for name in (early, late))
        both = second.join(first.select(c.USER).unique(), on=c.USER, how="semi", maintain_order="left")
        if both.is_empty() or (dated and first[c.AT].max() < second[c.AT].min()):  # type: ignore[operator]
            continue
        users = both[c.USER].unique(maintain_order=True)
        named = ", ".join(f"'{user}'" for user in users[:NAMED])
        more = f" and {len(users) - NAMED:,} more" if len(users) > NAMED else ""
        rows = ", ".join(map(str, both[ROW][:NAMED]))
        raise SourceError(
            f"users are in {early} and in {late}, which tells the model what it is tested on: {named}{more} "
            f"(in {late} row {rows})",
            where=where,
            remedy="Keep all rows of a user in one split, or leave the column out; where splits are of different "
            f"times, give each row its moment in a column 'at', all of {early} before all of {late}.",
        )


def _check_taught(made: Labelled, *, where: str) -> None:
    """Refuse a split without rows, and a class that is tested but not learned."""
    for split in SPLITS:
        if made.of(split).is_empty():  # type: ignore[arg-type]
            remedy = "Label more rows, or change the splits."
            raise SourceError(f"no row of {split} has a label", where=where, remedy=remedy)
    if made.kind == "number":
        if made.of("train")[c.LABEL].n_unique() < 2:
            raise SourceError("every label of train is the same number", where=where, remedy="Label more rows.")
        return
    taught = set(made.of("train")[c.LABEL].to_list())
    for number, name in enumerate(made.classes):
        if number not in taught:
            remedy = "Label some such rows of train, or take the class out."
            raise SourceError(f"no row of train has the label '{name}'", where=where, remedy=remedy)
