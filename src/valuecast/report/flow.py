"""Break text into lines of a terminal, in English and in Chinese."""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells

_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_OPENING, _CLOSING = "（《“‘「『【〈", "，。、；：！？）》”’」』】〉,.;:!?)]%"
# What stays on one line: a word or one wide letter, with the brackets before it and the punctuation after it.
_UNIT = re.compile(
    rf"[{re.escape(_OPENING)}]*(?:[{_WIDE}]|[^\s{_WIDE}{re.escape(_OPENING)}]+)?[{re.escape(_CLOSING)}]*\s*"
)


def flow(text: str, width: int) -> str:
    """Return the text with line breaks so that no line is wider than ``width`` cells.

    Chinese may break between any two letters, but no line starts with a closing mark or ends with an opening one.
    """
    lines = [""]
    for unit in _UNIT.findall(text):
        if cell_len((lines[-1] + unit).rstrip()) > width and lines[-1]:
            lines.append("")
        *whole, rest = chop_cells(unit, width) if cell_len(unit.rstrip()) > width else [unit]
        lines[-1:] = [*whole, lines[-1] + rest] if whole else [lines[-1] + rest]
    return "\n".join(line.rstrip() for line in lines).rstrip()
