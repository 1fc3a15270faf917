"""Where things go in a figure: margins, ticks, labels, and what the legend says. Lengths are units of the view box."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from markupsafe import Markup

from valuecast.report.blocks import Axis
from valuecast.report.cells import ticks
from valuecast.report.svg import FONT_SIZE, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

TOP: Final = 10
BOTTOM: Final = 24
SIDE: Final = 14
DASHES: Final[tuple[tuple[float, ...], ...]] = ((), (6, 3), (2, 2), (9, 3, 2, 3))
REFERENCE_DASH: Final = (4, 3)


@dataclass(frozen=True)
class Key:
    """An entry of the legend: its text and how its mark is drawn."""

    label: str
    mark: Literal["line", "bar"]
    colour: str
    dash: tuple[float, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A figure as inline SVG, with the texts that the page writes around it."""

    svg: Markup
    legend: tuple[Key, ...]
    above: str
    below: str


def width_of(text: str) -> float:
    """Return about how wide a text is; the font is the reader's, so nobody knows exactly."""
    return sum(FONT_SIZE * (1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.58) for letter in text)


def shorten(text: str, room: float) -> str:
    """Cut a text that is wider than ``room``."""
    if width_of(text) <= room:
        return text
    while text and width_of(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"


def side_by_side(names: list[str]) -> bool:
    """Return whether names fit beside each other under an axis."""
    slot = (WIDTH - 60) / max(1, len(names))
    return all(width_of(name) <= slot - 4 for name in names)


def line_style(dash: tuple[float, ...]) -> object:
    """Return matplotlib's name for a dash."""
    return (0, dash) if dash else "-"


def finish(canvas: Canvas, axes: Axes, *, x: Axis | None, y: Axis) -> None:
    """Set limits, ticks and margins; without ``x`` the horizontal axis holds categories, already labelled."""
    height = canvas.get_figheight() * 72
    if x is not None:
        axes.set_xlim(x.low, x.high)
        axes.set_xticks(*_ticks(axes, x, "x"))
    axes.set_ylim(y.low, y.high)
    places, labels = _ticks(axes, y, "y")
    axes.set_yticks(places, labels)
    axes.grid(axis="y")
    left = max(map(width_of, labels), default=0) + 8
    axes.set_position((left / WIDTH, BOTTOM / height, (WIDTH - left - SIDE) / WIDTH, (height - TOP - BOTTOM) / height))


def stacked(canvas: Canvas, *, right: float = SIDE) -> Axes:
    """Return axes whose vertical coordinate is units from the top, for rows under each other."""
    height = canvas.get_figheight() * 72
    inside = height - TOP - BOTTOM
    axes = canvas.add_axes((SIDE / WIDTH, BOTTOM / height, (WIDTH - SIDE - right) / WIDTH, inside / height))
    axes.set_ylim(inside, 0)
    axes.set_yticks([])
    axes.grid(axis="x")
    return axes


def finish_stacked(axes: Axes, axis: Axis) -> None:
    """Set limits and ticks of the horizontal axis under the rows."""
    axes.set_xlim(axis.low, axis.high)
    axes.set_xticks(*_ticks(axes, axis, "x"))


def write(
    axes: Axes, x: float, y: float, text: str, *, align: Literal["left", "right"] = "left", weight: str = "normal"
) -> None:
    """Write a text at ``x`` from the left edge of the figure and ``y`` of stacked rows."""
    box = axes.get_position()
    inside = (x / WIDTH - box.x0) / box.width
    axes.text(inside, y, text, ha=align, va="center_baseline", weight=weight, transform=axes.get_yaxis_transform())


def _ticks(axes: Axes, axis: Axis, side: Literal["x", "y"]) -> tuple[list[float], list[str]]:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow to import

    low, high = sorted(axes.get_xlim() if side == "x" else axes.get_ylim())
    locator = MaxNLocator(nbins=5, integer=axis.format == "integer", steps=[1, 2, 2.5, 5, 10])
    slack = (high - low) * 1e-9
    places = [float(place) for place in locator.tick_values(low, high) if low - slack <= place <= high + slack]
    return places, ticks(places, axis.format)
