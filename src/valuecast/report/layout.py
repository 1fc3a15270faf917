"""Where things go in a figure: margins, ticks, labels, and what the legend says. Lengths are units of the view box."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from valuecast.report.blocks import Axis
from valuecast.report.cells import ticks
from valuecast.report.svg import FONT_SIZE, GRID, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

TOP: Final = 10
BOTTOM: Final = 26
SIDE: Final = 14
NAME: Final = 20
GAP: Final = 8
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
    return sum(FONT_SIZE * (1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.6) for letter in text)


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


@dataclass(frozen=True)
class Rows:
    """Rows under each other: a name over the whole width, and below it a lane for marks with a value at its right.

    The vertical coordinate of ``axes`` is units from the top. Vertical lines are drawn in the lanes
    only, so that no name is crossed out.
    """

    axes: Axes
    count: int
    lane: float

    @classmethod
    def on(cls, canvas: Canvas, *, lane: float, right: float) -> Rows:
        """Prepare a figure of ``height_of_rows``, with room for values of width ``right``."""
        height = canvas.get_figheight() * 72
        inside = height - TOP - BOTTOM
        width = WIDTH - right - GAP
        axes = canvas.add_axes((0, BOTTOM / height, width / WIDTH, inside / height))
        axes.set_ylim(inside, 0)
        axes.set_yticks([])
        return cls(axes, round(inside / (NAME + lane + GAP)), lane)

    @property
    def tops(self) -> npt.NDArray[np.float64]:
        """Where the lanes start."""
        return NAME + np.arange(self.count, dtype=np.float64) * (NAME + self.lane + GAP)

    def name(self, row: int, text: str, *, weight: str = "normal") -> None:
        """Write the name of a row."""
        self._write(0, self.tops[row] - NAME / 2, shorten(text, WIDTH), ha="left", weight=weight)

    def value(self, y: float, text: str) -> None:
        """Write a value to the right of the lanes."""
        self._write(WIDTH, y, text, ha="right", weight="normal")

    def across(self, x: float, **style: Any) -> None:
        """Draw a vertical line in all lanes."""
        self.axes.vlines(np.full(self.count, x), self.tops, self.tops + self.lane, **style)

    def shade(self, low: float, high: float, **style: Any) -> None:
        """Shade ``[low, high]`` in all lanes."""
        for top in self.tops:
            self.axes.broken_barh([(low, high - low)], (top, self.lane), lw=0, zorder=0, **style)

    def finish(self, axis: Axis) -> None:
        """Set limits and ticks of the horizontal axis."""
        self.axes.set_xlim(axis.low, axis.high)
        places, labels = _ticks(self.axes, axis, "x")
        self.axes.set_xticks(places, labels)
        for place in places:
            self.across(place, color=GRID, lw=0.8, zorder=0)

    def _write(self, x: float, y: float, text: str, **style: Any) -> None:
        box = self.axes.get_position()
        inside = (x / WIDTH - box.x0) / box.width
        self.axes.text(inside, y, text, va="center_baseline", transform=self.axes.get_yaxis_transform(), **style)


def height_of_rows(count: int, lane: float) -> float:
    """Return the height of a figure of ``count`` rows."""
    return TOP + BOTTOM + count * (NAME + lane + GAP)


def _ticks(axes: Axes, axis: Axis, side: Literal["x", "y"]) -> tuple[list[float], list[str]]:
    from matplotlib import dates  # noqa: PLC0415 - slow to import
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    low, high = sorted(axes.get_xlim() if side == "x" else axes.get_ylim())
    if axis.format == "date":
        locator: Any = dates.AutoDateLocator(minticks=2, maxticks=5)  # type: ignore[no-untyped-call]
        found = locator.tick_values(*map(dates.num2date, (low, high)))
    else:
        found = MaxNLocator(nbins=5, integer=axis.format == "integer", steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = (high - low) * 1e-9
    places = [float(place) for place in found if low - slack <= place <= high + slack]
    return places, ticks(places, axis.format)
