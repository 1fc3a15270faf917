from __future__ import annotations

import re
import subprocess
import sys
import warnings

import pytest

from valuecast.language import Text
from valuecast.report.blocks import (
    Axis,
    BarFigure,
    Bars,
    Estimate,
    Figure,
    IntervalFigure,
    LineFigure,
    Reference,
    Series,
    Span,
    SpanFigure,
)
from valuecast.report.charts import draw

TITLE = Text("a title", "标题")
AXIS = Axis(Text("an axis", "坐标轴"), "percent")
HOSTILE = '<b>$x$</b> & "#0000f1" id="q"'

LINES = LineFigure(
    TITLE,
    AXIS,
    AXIS,
    (Series(HOSTILE, (0.1, 0.5, 0.9), (0.2, None, 0.8), (0.1, None, 0.7), (0.3, None, 0.9)),),
    diagonal=Text("perfect", "完美"),
)
DATED = LineFigure(
    TITLE,
    Axis(Text("a day", "日期"), "date"),
    AXIS,
    (Series(HOSTILE, (17_500.0, 17_530.0, 17_590.0), (0.2, 0.4, 0.8)), Series("end", (17_590.0,), (0.7,))),
    mark=Reference(17_530.0, Text("the test begins", "测试起点")),
)
UPRIGHT = BarFigure(
    TITLE,
    Text("decile", "十分位"),
    AXIS,
    ("1", "2"),
    (Bars("p", (0.2, None)), Bars(HOSTILE, (0.1, 0.3), (0.05, 0.2), (0.2, 0.4))),
    Reference(0.15, Text("average", "平均")),
)
LYING = BarFigure(
    TITLE,
    Text("feature", "特征"),
    AXIS,
    (HOSTILE, Text("a long name" * 4, "很长的名称" * 4)),
    (Bars("gain", (0.2, -0.1)),),
)
INTERVALS = IntervalFigure(
    TITLE,
    AXIS,
    (
        Estimate("low", 0.2, 0.1, 0.3, baseline=True),
        Estimate(HOSTILE, None),
        Estimate("high", 0.7, 0.6, 0.8),
        Estimate("bare", 0.4),
    ),
    reference=Reference(0.5, Text("half", "一半")),
)
SPANS = SpanFigure(
    TITLE,
    Axis(Text("a day", "日期"), "date"),
    Axis(TITLE, "signed"),
    (Span(17_500.0, 17_530.0, 0.4), Span(17_530.0, 17_530.1, -0.2), Span(17_530.1, 17_590.0, 0.0)),
    higher=Text("raises", "推高"),
    lower=Text("lowers", "拉低"),
)
FIGURES = pytest.mark.parametrize(
    "figure",
    [LINES, DATED, UPRIGHT, LYING, INTERVALS, SPANS],
    ids=["lines", "dated", "upright", "lying", "intervals", "spans"],
)


@FIGURES
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_figure_draws_without_a_warning_and_twice_the_same(figure: Figure, language: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = draw(figure, language), draw(figure, language)
    assert first == second
    assert f">{TITLE.to(language)}</title>" in first.svg


@FIGURES
def test_a_figure_belongs_to_the_page(figure: Figure) -> None:
    svg = str(draw(figure, "en").svg)
    assert "http" not in svg
    assert "<style" not in svg
    assert "font-family" not in svg
    assert "<!--" not in svg
    assert not re.search(r"(?:fill|stroke): #", svg), "every colour is the page's"
    assert " width=" not in svg.partition(">")[0], "the page sets the size"
    ids = re.findall(r'<[^>]* id="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', svg)) <= {(i, "") for i in ids} | {("", i) for i in ids}


@pytest.mark.parametrize("figure", [LYING, INTERVALS], ids=["lying", "intervals"])
def test_text_of_the_data_stays_as_it_is(figure: Figure) -> None:
    svg = str(draw(figure, "en").svg)
    assert re.search(r'>&lt;b&gt;\$x\$&lt;/b&gt; &amp; "#0000f1" id="q"</text>', svg)
    assert "<b>" not in svg


def test_text_stays_text_in_chinese_too() -> None:
    assert "很长的名称很长的名称" in draw(LYING, "zh").svg


def texts(figure: Figure) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", str(draw(figure, "en").svg))


def test_estimates_are_ranked_and_the_missing_come_last() -> None:
    assert [e.label for e in INTERVALS.ranked()] == ["high", "bare", "low", HOSTILE]
    lower = IntervalFigure(TITLE, AXIS, INTERVALS.estimates, higher_is_better=False)
    assert [e.label for e in lower.ranked()] == ["low", "bare", "high", HOSTILE]
    names = [text for text in texts(INTERVALS) if text in ("high", "bare", "low (baseline)")]
    assert names == ["high", "bare", "low (baseline)"]


def test_the_interval_of_the_baseline_is_shaded_in_every_row() -> None:
    assert str(draw(INTERVALS, "en").svg).count("fill-opacity: 0.16") == len(INTERVALS.estimates)


def test_bars_lie_down_where_their_names_are_long() -> None:
    assert "20.0%" in texts(LYING), "lying bars carry their values"
    assert {"1", "2"} <= set(texts(UPRIGHT))


def test_ticks_follow_the_format_and_stay_within_the_limits() -> None:
    axis = Axis(TITLE, "percent", low=0, high=1)
    figure = LineFigure(TITLE, axis, axis, (Series("s", (0.4, 0.6), (0.4, 0.6)),))
    assert texts(figure) == ["0%", "20%", "40%", "60%", "80%", "100%"] * 2
    whole = BarFigure(TITLE, TITLE, Axis(TITLE, "integer"), ("a",), (Bars("n", (3,)),))
    assert texts(whole) == ["a", "0", "1", "2", "3"]


def test_a_legend_is_there_where_it_tells_things_apart() -> None:
    assert [key.label for key in draw(LINES, "zh").legend] == [HOSTILE, "完美"]
    assert [key.label for key in draw(UPRIGHT, "en").legend] == ["p", HOSTILE, "average"]
    assert draw(LYING, "en").legend == ()


def test_spans_above_and_below_zero_have_names_and_colours() -> None:
    assert [(key.label, key.mark) for key in draw(SPANS, "zh").legend] == [("推高", "bar"), ("拉低", "bar")]
    drawn = str(draw(SPANS, "en").svg)
    assert "2017-12-30: +0.400; 2017-12-30: -0.200" in drawn
    assert "series-1" in drawn
    assert "series-2" in drawn


def test_a_figure_is_described_for_those_who_cannot_see_it() -> None:
    assert "high 70.0% 60.0%–80.0%; bare 40.0%; low (baseline) 20.0% 10.0%–30.0%" in draw(INTERVALS, "en").svg
    assert "gain: &lt;b&gt;" in draw(LYING, "en").svg


@pytest.mark.parametrize(
    "make",
    [
        lambda: Series("s", (1, 2), (1,)),
        lambda: Series("s", (1,), (1,), low=(1, 2)),
        lambda: BarFigure(TITLE, TITLE, AXIS, ("a",), (Bars("b", (1, 2)),)),
        lambda: BarFigure(TITLE, TITLE, AXIS, (), ()),
        lambda: LineFigure(TITLE, AXIS, AXIS, ()),
        lambda: IntervalFigure(TITLE, AXIS, ()),
    ],
)
def test_a_figure_that_cannot_be_drawn_cannot_be_made(make: object) -> None:
    with pytest.raises(ValueError, match=r"values of length|nothing"):
        make()  # type: ignore[operator]


def test_a_figure_without_any_known_value_is_drawn_empty() -> None:
    figure = BarFigure(TITLE, TITLE, AXIS, ("a", "b"), (Bars("x", (None, float("nan"))),))
    assert "<svg" in draw(figure, "en").svg


def test_a_report_is_made_without_matplotlib_until_a_figure_is_drawn() -> None:
    code = "import sys; import valuecast.report.html, valuecast.report.terminal; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_date_axis_has_days_and_a_mark_is_in_the_legend() -> None:
    drawn = draw(DATED, "zh")
    assert "2018-01-01" in drawn.svg
    assert [key.label for key in drawn.legend] == [HOSTILE, "end", "测试起点"]
