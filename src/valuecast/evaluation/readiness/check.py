"""Can this log support this task? A verdict for each check, and the nearest task that would do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from valuecast import moments
from valuecast.evaluation.readiness.collection import collection
from valuecast.evaluation.readiness.drift import drift
from valuecast.evaluation.readiness.finding import VERDICTS, WORDS, Finding, Remark, Verdict, worst
from valuecast.evaluation.readiness.foresight import foresight
from valuecast.evaluation.readiness.history import history, season
from valuecast.evaluation.readiness.inquiry import inquire
from valuecast.evaluation.readiness.nearest import nearest, written
from valuecast.evaluation.readiness.people import TITLE as PEOPLE
from valuecast.evaluation.readiness.people import people
from valuecast.evaluation.readiness.rhythm import rhythm
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.moments import Moment
from valuecast.report.blocks import Block, Column, Fact, Notice, Paragraph, Report, Section, Table
from valuecast.tasks import Task

CHECKS: Final = (people, history, rhythm, season, drift, collection, foresight)
MENDABLE: Final = frozenset({"people", "history", "rhythm"})
"""Checks that another task may pass on the same log."""

_OVERALL: Final[dict[str, Text]] = {
    "ok": Text("usable", "可用"),
    "weak": Text("usable with care", "可谨慎使用"),
    "no": Text("not usable", "不可用"),
}
_NOBODY: Final = Text("Nobody is ever eligible: {who}.", "没有任何用户符合条件：{who}。")
_TOO_LONG: Final = Text(
    "The horizon of {horizon} days is as long as the log ({days:,.0f} days) or longer: no outcome is known.",
    "预测窗口 {horizon} 天不短于日志（{days:,.0f} 天）：没有任何已知结果。",
)
_NEAREST: Final = Text(
    'The nearest task that passes the checks of users, history and rhythm: "{task}"',
    "最接近且能通过用户、历史与节奏检查的任务：“{task}”",
)
_NO_OTHER: Final = Text(
    "None of the nearby tasks passes: collect more before a model is worth its while.",
    "附近没有能通过检查的任务：请先积累更多数据。",
)


@dataclass(frozen=True)
class Readiness:
    """What was found of a task and a log.

    Attributes:
        task: what was asked.
        about: what the data set says of itself.
        at: the moment that was looked at; None where no horizon fits into the log, or nobody is eligible.
        findings: one for each check that could be made.
        nearest: the nearest task that would do, as text; None where none was looked for or found.
    """

    task: Task
    about: Text | None
    at: datetime | None
    findings: tuple[Finding, ...]
    nearest: str | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return worst(finding.verdict for finding in self.findings)

    def __getitem__(self, name: str) -> Finding:
        """Return what one check found."""
        return next(finding for finding in self.findings if finding.name == name)

    def report(self, *, made: Iterable[Fact] = ()) -> Report:
        """Return all of it as a report."""
        labels = [self.task.label(target) for target in self.task.targets]
        return Report(
            title=Text(f"Can this log answer {written(self.task)}?", f"这份日志能回答 {written(self.task)} 吗？"),
            subtitle=Text("; ".join(label.en for label in labels), "；".join(label.zh for label in labels)),
            facts=tuple(self._facts()),
            notices=() if self.about is None else (Notice(self.about),),
            sections=(self._verdicts(), *(_section(finding) for finding in self.findings)),
            made=tuple(made),
        )

    def _facts(self) -> Iterable[Fact]:
        yield Fact(Text("Verdict", "结论"), _OVERALL[self.verdict])
        if self.at is not None:
            yield Fact(Text("Looked at", "检查时点"), moments.text(self.at))
        if self.nearest:
            yield Fact(Text("Nearest task that would do", "最接近的可行任务"), self.nearest)

    def _verdicts(self) -> Section:
        frame = pl.DataFrame(
            {"check": [finding.title.en for finding in self.findings], "verdict": [f.verdict for f in self.findings]}
        )
        columns = (
            Column("check", Text("Check", "检查项"), words={f.title.en: f.title for f in self.findings}),
            Column("verdict", Text("Verdict", "结论"), words=WORDS),
        )
        blocks: list[Block] = [
            Table(frame, columns, Text("Check by check", "逐项结论"), emphasise=pl.col("verdict") != VERDICTS[0])
        ]
        if self.nearest:
            blocks.append(Notice(_NEAREST.format(task=self.nearest)))
        elif _wanting(self.findings):
            blocks.append(Notice(_NO_OTHER))
        return Section(Text("Verdict", "结论"), tuple(blocks))


def check(task: Task, log: EventLog, *, at: Moment | None = None) -> Readiness:
    """Check whether a log can support a task.

    Args:
        task: what is asked.
        log: everything that is known.
        at: the moment whose users are looked at; without it, the latest whose horizon ends by the end of the log.

    Returns:
        A finding for each check; ``report()`` shows them. A verdict of ``no`` is an answer, not an error.

    Raises:
        TaskError: the log holds nothing that the task counts, a column does not exist, or the horizon does not fit
            behind the ``at`` that was given.
    """
    inquiry = inquire(task, log, at=at)
    findings = (_nothing(task, log),) if inquiry is None else tuple(look(inquiry) for look in CHECKS)
    other = nearest(task, log) if _wanting(findings) else None
    return Readiness(task, log.about, inquiry.at if inquiry else None, findings, other)


def _wanting(findings: Iterable[Finding]) -> bool:
    return any(finding.name in MENDABLE and finding.verdict != VERDICTS[0] for finding in findings)


def _nothing(task: Task, log: EventLog) -> Finding:
    if log.span.until - task.horizon <= log.span.start:
        told = _TOO_LONG.format(horizon=task.horizon.days, days=log.span.days)
    else:
        who = " and ".join(map(str, task.question.when)) or "an event before the moment"
        told = _NOBODY.format(who=who)
    return Finding("people", PEOPLE, (Remark("no", told),))


def _section(finding: Finding) -> Section:
    said: list[Block] = [
        Paragraph(remark.text) if remark.verdict == VERDICTS[0] else Notice(remark.text, "warning")
        for remark in finding.remarks
    ]
    title = Text("{title}: {word}", "{title_zh}：{word_zh}").format(
        title=finding.title.en,
        title_zh=finding.title.zh,
        word=WORDS[finding.verdict].en,
        word_zh=WORDS[finding.verdict].zh,
    )
    return Section(title, (*said, *finding.blocks))
