from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from valuecast.errors import ConfigError
from valuecast.language import Text
from valuecast.report.blocks import (
    Axis,
    BarFigure,
    Bars,
    Column,
    Estimate,
    Fact,
    Facts,
    IntervalFigure,
    LineFigure,
    Notice,
    Paragraph,
    Report,
    Section,
    Series,
    Table,
)
from valuecast.report.html import to_html, write_html
from valuecast.report.terminal import print_report, to_text

SCRIPT = "<script>alert('x')</script>"
METRICS = ("auc", "ap", "logloss", "gini", "mae", "gain")
VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}


def ladder(names: tuple[str, ...] = ("last_spend", "bgnbd", "lightgbm", "fused", "broken", SCRIPT)) -> Table:
    values = {}
    for n, metric in enumerate(METRICS):
        size = 612.0 if metric == "mae" else -0.0123 if metric == "gain" else 0.777
        estimates = [None if name == "broken" else size * (1 + row / 50 + n / 100) for row, name in enumerate(names)]
        values[metric] = estimates
        values[f"{metric}_low"] = [None if v is None else v - abs(v) * 0.03 for v in estimates]
        values[f"{metric}_high"] = [None if v is None else v + abs(v) * 0.04 for v in estimates]
    formats = {"mae": "money", "gain": "signed"}
    return Table(
        pl.DataFrame({"rung": names, **values}, schema_overrides=dict.fromkeys(values, pl.Float64)),
        (
            Column(
                "rung",
                Text("Rung", "模型"),
                words={
                    "fused": Text(
                        "Fused: sequence model, aggregates and all", "融合：序列模型、聚合特征与客户群模型（全部）"
                    )
                },
            ),
            *(
                Column(m, Text(f"Metric {m.upper()}", f"指标 {m.upper()}"), formats.get(m, "number"), interval=True)  # type: ignore[arg-type]
                for m in METRICS
            ),
        ),
        Text("All rungs", "全部模型"),
        Text("90% intervals", "90% 区间"),
        emphasise=pl.col("rung") == "fused",
    )


def report(sections: int = 2) -> Report:
    percent = Axis(Text("predicted", "预测"), "percent", 0, 1)
    line = LineFigure(Text("Calibration", "校准"), percent, percent, (Series("s", (0.1, 0.9), (0.2, 0.8)),))
    interval = IntervalFigure(Text("Ranking", "排序"), Axis(Text("Gini", "基尼")), (Estimate(SCRIPT, 0.7, 0.6, 0.8),))
    bars = BarFigure(
        Text("Lift", "提升度"),
        Text("decile", "十分位"),
        Axis(Text("times", "倍数")),
        ("1", "2"),
        (Bars(SCRIPT, (2.0, 0.5)),),
    )
    shown = Section(
        Text("The ladder", "模型阶梯"), (Paragraph(Text("Same users.", "相同用户。")), ladder(), interval, line)
    )
    lift = Section(Text("Lift", "提升"), (bars, Notice(Text("One is missing.", "缺少一个。"))))
    return Report(
        Text("Churn in 90 days", "未来 90 天的流失"),
        Text("of one shop", "某店"),
        facts=(Fact(Text("Users", "用户"), "2,818", Text("active", "活跃")), Fact(Text("Log", "日志"), SCRIPT)),
        notices=(Notice(Text("No full year.", "不足一年。"), "warning"),),
        sections=(shown, lift) * (sections // 2),
        made=(Fact(Text("Command", "命令"), "valuecast evaluate a b --log log/ --at 2011-09-10"),),
    )


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in order, every id is unique."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        self.ids = set(ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])


@LANGUAGES
def test_the_page_is_well_formed_and_says_everything_in_its_language(language: str) -> None:
    html = to_html(report(), language=language)
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert ("html", {"lang": {"en": "en", "zh": "zh-CN"}[language]}) in page.tags
    other = {"en": "zh", "zh": "en"}[language]
    for text in (report().title, report().notices[0].text, ladder().title, ladder().columns[1].label):
        assert text.to(language) in page.text
        assert text.to(other) not in page.text


@LANGUAGES
def test_the_page_asks_nobody_for_anything(language: str) -> None:
    html = to_html(report(), language=language)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        links = [value for name, value in attributes.items() if name in ("href", "src", "xlink:href")]
        assert all(link is not None and (link.startswith("#") or (tag, link) == ("link", "data:,")) for link in links)
        assert all((link or "")[1:] in page.ids for link in links if link != "data:,")


def test_text_of_the_data_is_escaped_wherever_it_stands() -> None:
    html = to_html(report())
    assert "<script" not in html
    assert Page(html).text.count(SCRIPT) >= 4, "a fact, a cell, a figure and its description"


@settings(deadline=None, max_examples=40)
@given(st.text(alphabet=st.sampled_from("<>&\"'{}%#$/!-中 a="), min_size=1, max_size=25))
def test_any_text_is_read_back_from_the_page(name: str) -> None:
    table = Table(pl.DataFrame({"name": [f"[{name}]"]}), (Column("name", Text("name", "名称")),), Text("t", "表"))
    made = Report(
        Text("t", "题"), facts=(Fact(Text("f", "事"), f"({name})"),), sections=(Section(Text("s", "节"), (table,)),)
    )
    page = Page(to_html(made))
    assert f"[{name}]" in page.text
    assert f"({name})" in page.text


def test_every_colour_that_is_used_is_defined() -> None:
    html = to_html(report())
    assert set(re.findall(r"var\(--([\w-]+)\)", html)) <= set(re.findall(r"--([\w-]+):", html))


def test_the_same_report_renders_to_the_same_bytes(tmp_path: Path) -> None:
    write_html(report(), tmp_path / "a" / "one.html", language="zh")
    write_html(report(), tmp_path / "two.html", language="zh")
    one = (tmp_path / "a" / "one.html").read_bytes()
    assert one == (tmp_path / "two.html").read_bytes()
    assert one.decode("utf-8") == to_html(report(), language="zh")


def test_contents_are_listed_where_there_is_much_to_scroll() -> None:
    assert "<nav" not in to_html(report(sections=4))
    # figures of a repeated section repeat their ids, so this page is read without the strict reader
    html = to_html(report(sections=6))
    assert re.findall(r'<a href="#(section-\d)">', html) == [f"section-{n}" for n in range(1, 7)]
    assert re.findall(r'<section id="(section-\d)">', html) == [f"section-{n}" for n in range(1, 7)]


def test_a_missing_value_is_a_dash_and_an_interval_is_small() -> None:
    html = to_html(report())
    row = next(row for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL) if "broken" in row)
    assert re.findall(r"<td[^>]*>(.*?)</td>", row) == ["–"] * len(METRICS)
    assert "0.824 <small>0.799–0.857</small>" in html
    emphasised = re.findall(r'<tr class="emphasised">.*?</tr>', html, re.DOTALL)
    assert len(emphasised) == 1
    assert "Fused" in emphasised[0]


def test_a_notebook_shows_a_scoped_fragment() -> None:
    html = report()._repr_html_()
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"html", "head", "body", "main", "meta"}
    style = html[html.index("<style>") + 7 : html.index("</style>")]
    rules = re.sub(r"@media[^{]*", "", re.sub(r"{[^{}]*}", ";", style))
    selectors = [part.strip() for rule in re.split(r"[;{}]", rules) for part in rule.split(",") if part.strip()]
    assert selectors
    assert all(selector.startswith(".valuecast") for selector in selectors), "no rule touches the notebook"


def test_an_unknown_language_and_an_unwritable_place_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no language 'fr'"):
        to_html(report(), language="fr")
    with pytest.raises(ConfigError, match="no language 'fr'"):
        to_text(report(), language="fr")
    with pytest.raises(ConfigError, match="cannot write the report"):
        write_html(report(), tmp_path)


def numbers(text: str) -> list[str]:
    return re.findall(r"[+-]?\d[\d,]*\.?\d*", text)


@LANGUAGES
@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_plain_text_fits_its_width_and_cuts_no_digit(width: int, language: str) -> None:
    text = to_text(report(), language=language, width=width)
    assert max(map(cell_len, text.split("\n"))) <= width
    assert "\x1b" not in text
    shown = numbers(text)
    html = to_html(report(), language=language)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html)
    assert len(cells) == 6 * len(METRICS)
    for cell in cells:
        for number in numbers(re.sub(r"<[^>]*>", " ", cell).replace("–", " ")):
            assert number in shown


def test_a_wide_terminal_has_intervals_beside_their_values() -> None:
    wide, narrow = to_text(report(), width=200), to_text(report(), width=80)
    assert "0.824 0.799–0.857" in wide
    assert "0.824 0.799–0.857" not in narrow
    assert narrow.count("last_spend") > wide.count("last_spend") == 1


def test_printing_a_report_writes_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = str(report())
    assert text == to_text(report(), width=80)
    assert "\x1b" not in text
    assert text.index("Warning: No full year.") < text.index("2,818") < text.index("The ladder")
    assert "> Fused" in text
    assert "█" in text
    assert SCRIPT in text


def test_the_terminal_takes_nothing_for_markup() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor")
    made = Report(Text("[bold]t[/bold] :smile:", "题"), facts=(Fact(Text("f", "事"), "[red]\x1b[31m[/red]"),))
    print_report(made, console=console)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]t[/bold] :smile:" in written
    assert "[red]\ufffd[31m[/red]" in written
    assert "\x1b[31m" not in written


def test_a_section_of_figures_for_the_page_alone_leaves_no_empty_title_in_text() -> None:
    figure = IntervalFigure(Text("Ranking", "排序"), Axis(Text("Gini", "基尼")), (Estimate("a", 0.7),))
    made = Report(Text("t", "题"), sections=(Section(Text("Only a figure", "只有图"), (figure,)),))
    assert "Only a figure" not in to_text(made)
    assert "Only a figure" in to_html(made)


def test_bars_with_negative_or_unknown_values_are_told_in_numbers() -> None:
    values = (-0.5, None, float("nan"), 1.25)
    figure = BarFigure(
        Text("Bias", "偏差"), Text("group", "组"), Axis(Text("b", "偏")), ("a", "b", "c", "d"), (Bars("x", values),)
    )
    text = to_text(Report(Text("t", "题"), sections=(Section(Text("s", "节"), (figure,)),)))
    assert "█" not in text
    assert re.findall(r"^([a-d]) +(\S+)$", text, re.MULTILINE) == [
        ("a", "-0.50"),
        ("b", "–"),
        ("c", "–"),
        ("d", "1.25"),
    ]


def test_facts_in_a_section_are_shown_and_dates_do_not_break() -> None:
    facts = Facts((Fact(Text("Known", "已知"), "365", Text("2017-01-01 to 2018-01-01", "2017-01-01 至 2018-01-01")),))
    made = Report(Text("t", "题"), sections=(Section(Text("The data", "数据"), (facts,)),))
    for language in ("en", "zh"):
        html = to_html(made, language=language)
        assert html.count('<span class="date">') == 2
        assert "365" in Page(html).text
    assert "Known  365  2017-01-01 to 2018-01-01" in to_text(made, width=80)


def test_a_map_is_shaded_in_proportion() -> None:
    shaded = (Column("name", Text("n", "名")), Column("x", Text("x", "x"), "share", shaded=True))
    table = Table(pl.DataFrame({"name": ["a", "b", "c"], "x": [0.25, 0.5, None]}), shaded, Text("t", "表"))
    html = to_html(Report(Text("t", "题"), sections=(Section(Text("s", "节"), (table,)),)))
    assert re.findall(r'style="--shade: ([\d.]+)"', html) == ["0.50", "1.00"]
    assert '<table class="map">' in html
    assert '<table class="map">' not in to_html(report())
    Page(html)
