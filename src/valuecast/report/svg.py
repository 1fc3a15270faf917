"""Turn a matplotlib figure into SVG that belongs to the page around it.

Colours and fonts are the page's: figures are drawn in stand-in colours that become CSS variables, so
that the style sheet alone decides them, for light and dark, and text stays text.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

INK: Final = "#0000f1"
MUTED: Final = "#0000f2"
GRID: Final = "#0000f3"
PAPER: Final = "#0000f4"
SERIES: Final = tuple(f"#0000e{n}" for n in range(1, 7))
_NAMES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper"}
_VARIABLES = _NAMES | {colour: f"series-{n}" for n, colour in enumerate(SERIES, start=1)}

WIDTH: Final = 400
"""Width of every figure in units of its view box; on a phone a unit is a little less than a pixel."""
FONT_SIZE: Final = 13
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": ["DejaVu Sans"],  # it only measures: the page's font draws
    "font.size": FONT_SIZE,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
    "lines.scale_dashes": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "valuecast",
    "text.color": INK,
    "text.parse_math": False,  # '$' is money
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
}


@contextmanager
def canvas(height: float) -> Iterator[Canvas]:
    """Give an empty figure of ``WIDTH`` x ``height``, to be drawn and rendered inside the context."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        mpl.rcdefaults()  # a reader's own matplotlibrc changes nothing
        mpl.rcParams.update(_STYLE)
        yield Figure(figsize=(WIDTH / 72, height / 72), facecolor="none")


def render(figure: Canvas, *, title: str, description: str) -> Markup:
    """Return the figure as an inline ``<svg>`` element; the same figure gives the same bytes."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    drawn = stream.getvalue()
    body = drawn[drawn.index("</defs>") + len("</defs>") :]  # what comes before is a style for the whole page
    # Ids must be unique in a page: those of a figure carry its digest.
    key = "f" + hashlib.md5(f"{title}\n{description}\n{body}".encode(), usedforsecurity=False).hexdigest()[:8]
    body = re.sub(r"<[^>]*>", lambda tag: _adapt(tag[0], key), body)
    return Markup(  # noqa: S704 - matplotlib escapes the texts in its output
        f'<svg viewBox="0 0 {WIDTH} {figure.get_figheight() * 72:.0f}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(description)}</desc>{body}'
    )


def _adapt(tag: str, key: str) -> str:
    """Rewrite a tag for its place in a page: ids that are its own, the page's colours and the page's font."""
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    tag = tag.replace(' id="', f' id="{key}-').replace(' xlink:href="#', f' href="#{key}-').replace("(#", f"(#{key}-")
    tag = re.sub(r"font-family: [^;\"]*; ?", "", tag)
    tag = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", tag)
    return re.sub("|".join(_VARIABLES), lambda found: colour(found[0]), tag)


def colour(stand_in: str) -> str:
    """Return the CSS for a stand-in colour."""
    return f"var(--{_VARIABLES[stand_in]})"
