"""What one check found: remarks with a verdict each, and the tables and figures they rest on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from valuecast.language import Text
from valuecast.report.blocks import Block

Verdict = Literal["ok", "weak", "no"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
"""From good to bad: ``weak`` can be used with care, ``no`` cannot."""

WORDS: Final[dict[str, Text]] = {
    "ok": Text("ok", "通过"),
    "weak": Text("weak", "偏弱"),
    "no": Text("no", "不通过"),
}


@dataclass(frozen=True)
class Remark:
    """A sentence or two, and what they mean for the task."""

    verdict: Verdict
    text: Text


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: of the check, for programs.
        title: of the check, for people.
        remarks: at least one.
        blocks: tables and figures.
    """

    name: str
    title: Text
    remarks: tuple[Remark, ...]
    blocks: tuple[Block, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of the remarks."""
        return worst(remark.verdict for remark in self.remarks)

    @property
    def deciding(self) -> tuple[Remark, ...]:
        """The remarks that made the verdict."""
        return tuple(remark for remark in self.remarks if remark.verdict == self.verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts."""
    return max(verdicts, key=VERDICTS.index)


def together(*parts: Text) -> Text:
    """Put texts behind each other; Chinese needs no space between sentences."""
    return Text(" ".join(part.en for part in parts), "".join(part.zh for part in parts))
