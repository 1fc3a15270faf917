"""Draw the figures of a report. Titles, legends and axis labels are left to the page, which can wrap them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from valuecast.language import Text
from valuecast.report.blocks import BarFigure, Figure, IntervalFigure, LineFigure, Numbers, Reference, SpanFigure
from valuecast.report.cells import show_alike, show_interval, words
from valuecast.report.layout import (
    DASHES,
    REFERENCE_DASH,
    Drawing,
    Key,
    Rows,
    finish,
    height_of_rows,
    line_style,
    side_by_side,
    width_of,
)
from valuecast.report.svg import INK, MUTED, PAPER, SERIES, canvas, colour, render

_MARKERS_UP_TO = 30  # points of a line; more markers would hide it
_THINNEST = 0.008  # of the width of a figure: a thinner bar would not be seen
_BASELINE = Text("{name} (baseline)", "{name}（基准）")
_REFERENCE: dict[str, Any] = {"color": MUTED, "lw": 1.2, "ls": line_style(REFERENCE_DASH)}
_IN_LANES: dict[str, Any] = {"color": MUTED, "lw": 1.6, "zorder": 1}  # a lane is too short for dashes


def draw(figure: Figure, language: str) -> Drawing:
    """Draw a figure."""
    match figure:
        case LineFigure():
            return _lines(figure, language)
        case BarFigure():
            upright = side_by_side([words(name, language) for name in figure.categories])
            return _upright_bars(figure, language) if upright else _lying_bars(figure, language)
        case IntervalFigure():
            return _intervals(figure, language)
        case SpanFigure():
            return _spans(figure, language)


def _lines(figure: LineFigure, language: str) -> Drawing:
    legend = []
    with canvas(height=260) as drawn:
        axes = drawn.add_axes((0, 0, 1, 1))
        for n, series in enumerate(figure.series):
            style, dash = _series(n), DASHES[n % len(DASHES)]
            if series.low is not None and series.high is not None:
                axes.fill_between(series.x, _floats(series.low), _floats(series.high), color=style, alpha=0.16, lw=0)
            marker = "o" if len(series.x) <= _MARKERS_UP_TO else ""
            line = axes.plot(series.x, _floats(series.y), color=style, ls=line_style(dash), zorder=3)[0]
            line.set(marker=marker, markersize=6, markeredgecolor=PAPER)
            legend.append(Key(words(series.label, language), "line", colour(style), dash))
        if figure.diagonal is not None:
            limits = [*axes.get_xlim(), *axes.get_ylim()]
            axes.set(xlim=(min(limits), max(limits)), ylim=(min(limits), max(limits)))
            axes.axline((0, 0), slope=1, **_REFERENCE)
            legend.append(Key(words(figure.diagonal, language), "line", colour(MUTED), REFERENCE_DASH))
        if figure.mark is not None:
            axes.axvline(figure.mark.value, **_REFERENCE)
            legend.append(Key(words(figure.mark.label, language), "line", colour(MUTED), REFERENCE_DASH))
        finish(drawn, axes, x=figure.x, y=figure.y)
        above, below = words(figure.y.label, language), words(figure.x.label, language)
        names = "; ".join(key.label for key in legend)
        svg = render(drawn, title=words(figure.title, language), description=f"{names}. x: {below}. y: {above}.")
    return Drawing(svg, tuple(legend) if len(legend) > 1 else (), above, below)


def _upright_bars(figure: BarFigure, language: str) -> Drawing:
    names = [words(name, language) for name in figure.categories]
    with canvas(height=240) as drawn:
        axes = drawn.add_axes((0, 0, 1, 1))
        places, width = np.arange(len(names)), 0.8 / len(figure.groups)
        for n, group in enumerate(figure.groups):
            x = places + (n - (len(figure.groups) - 1) / 2) * width
            axes.bar(x, _floats(group.values), width * 0.92, color=_series(n))
            if group.low is not None and group.high is not None:
                axes.vlines(x, _floats(group.low), _floats(group.high), color=INK, lw=1.2)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_xticks(places, names)
        axes.tick_params(axis="x", length=0)
        if figure.reference is not None:
            axes.axhline(figure.reference.value, **_REFERENCE)
        finish(drawn, axes, x=None, y=figure.y)
        svg = render(drawn, title=words(figure.title, language), description=_bars_told(figure, language))
    legend = _bars_legend(figure, language, dash=REFERENCE_DASH)
    return Drawing(svg, legend, words(figure.y.label, language), words(figure.x, language))


def _lying_bars(figure: BarFigure, language: str) -> Drawing:
    bar = 14
    lane = bar * len(figure.groups)
    texts = [show_alike(group.values, figure.y.format) for group in figure.groups]
    room = max((width_of(text) for column in texts for text in column), default=0)
    with canvas(height_of_rows(len(figure.categories), lane)) as drawn:
        rows = Rows.on(drawn, lane=lane, right=room)
        for n, name in enumerate(figure.categories):
            rows.name(n, words(name, language))
        for n, group in enumerate(figure.groups):
            y = rows.tops + bar * (n + 0.5)
            rows.axes.barh(y, _floats(group.values), bar * 0.86, color=_series(n))
            if group.low is not None and group.high is not None:
                rows.axes.hlines(y, _floats(group.low), _floats(group.high), color=INK, lw=1.2)
            for place, text in zip(y, texts[n], strict=True):
                rows.value(place, text)
        if figure.reference is not None:
            rows.across(figure.reference.value, **_IN_LANES)
        rows.finish(figure.y)
        svg = render(drawn, title=words(figure.title, language), description=_bars_told(figure, language))
    legend = _bars_legend(figure, language, dash=())
    return Drawing(svg, legend, words(figure.x, language), words(figure.y.label, language))


def _intervals(figure: IntervalFigure, language: str) -> Drawing:
    lane = 16
    ranked = figure.ranked()
    values = show_alike([estimate.value for estimate in ranked], figure.x.format)
    told = []
    with canvas(height_of_rows(len(ranked), lane)) as drawn:
        rows = Rows.on(drawn, lane=lane, right=max(map(width_of, values), default=0))
        for n, (estimate, y) in enumerate(zip(ranked, rows.tops + lane / 2, strict=True)):
            name, style = words(estimate.label, language), INK if estimate.baseline else SERIES[0]
            name = _BASELINE.to(language).format(name=name) if estimate.baseline else name
            rows.name(n, name, weight="bold" if estimate.baseline else "normal")
            rows.value(y, values[n])
            cell = show_interval(estimate.value, estimate.low, estimate.high, figure.x.format, language=language)
            told.append(" ".join(filter(None, (name, cell.text, cell.interval))))
            if estimate.value is None:
                continue
            rows.axes.plot([estimate.value], [y], "o", color=style, ms=8, mec=PAPER, mew=1, zorder=4)
            if estimate.low is not None and estimate.high is not None:
                rows.axes.hlines(y, estimate.low, estimate.high, color=style, lw=2, zorder=3)
                if estimate.baseline:
                    rows.shade(estimate.low, estimate.high, color=MUTED, alpha=0.16)
        if figure.reference is not None:
            rows.across(figure.reference.value, **_IN_LANES)
        rows.finish(figure.x)
        svg = render(drawn, title=words(figure.title, language), description="; ".join(told))
    return Drawing(svg, _reference_legend(figure.reference, language, dash=()), "", words(figure.x.label, language))


def _spans(figure: SpanFigure, language: str) -> Drawing:
    found = [span.value for span in figure.spans]
    keys = [Key(words(figure.higher, language), "bar", colour(_series(0)))] if max(found) > 0 else []
    keys += [Key(words(figure.lower, language), "bar", colour(_series(1)))] if min(found) < 0 else []
    told = []
    with canvas(height=240) as drawn:
        axes = drawn.add_axes((0, 0, 1, 1))
        reach = max(span.end for span in figure.spans) - min(span.start for span in figure.spans)
        least = _THINNEST * reach
        for span in figure.spans:
            width = max(span.end - span.start, least)
            style = _series(0) if span.value >= 0 else _series(1)
            axes.bar(span.end, span.value, -width, align="edge", color=style, edgecolor=PAPER, linewidth=0.8)
            told.append(f"{show_alike([span.end], figure.x.format)[0]}: {show_alike([span.value], figure.y.format)[0]}")
        axes.axhline(0, color=MUTED, lw=1)
        finish(drawn, axes, x=figure.x, y=figure.y)
        svg = render(drawn, title=words(figure.title, language), description="; ".join(told))
    return Drawing(svg, tuple(keys), words(figure.y.label, language), words(figure.x.label, language))


def _bars_legend(figure: BarFigure, language: str, *, dash: tuple[float, ...]) -> tuple[Key, ...]:
    groups = [Key(words(g.label, language), "bar", colour(_series(n))) for n, g in enumerate(figure.groups)]
    reference = _reference_legend(figure.reference, language, dash=dash)
    return (*groups, *reference) if len(groups) > 1 or reference else ()


def _reference_legend(reference: Reference | None, language: str, *, dash: tuple[float, ...]) -> tuple[Key, ...]:
    if reference is None:
        return ()
    return (Key(words(reference.label, language), "line", colour(MUTED), dash),)


def _bars_told(figure: BarFigure, language: str) -> str:
    """Say the figure in words, for those who cannot see it."""
    names = [words(name, language) for name in figure.categories]
    told = []
    for group in figure.groups:
        pairs = zip(names, show_alike(group.values, figure.y.format), strict=True)
        told.append(f"{words(group.label, language)}: " + "; ".join(f"{name} {text}" for name, text in pairs))
    return ". ".join(told)


def _series(n: int) -> str:
    return SERIES[n % len(SERIES)]


def _floats(values: Numbers) -> npt.NDArray[np.float64]:
    return np.array(values, dtype=np.float64)  # None becomes NaN, which matplotlib leaves out
