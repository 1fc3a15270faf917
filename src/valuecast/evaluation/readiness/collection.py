"""Gaps in collection: days without events where some were due, types that start or stop half way, thin last days.

What is counted is the users of each day and type of event: their number varies far less than that of lines. A day is
due what the same weekdays of the four weeks before and after had. Counts vary more than Poisson's, by a factor that
these weeks show too (quasi-Poisson): a run of empty days for which ``due`` users were expected has the probability
``exp(-due / dispersion)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation.readiness.finding import Finding, Remark
from valuecast.evaluation.readiness.inquiry import Inquiry
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.moments import DAY
from valuecast.report.blocks import Column, Table

TITLE: Final = Text("Gaps in collection", "采集缺口")
NEAR: Final = 28
"""Days before and after a gap that say what was due in it."""
SURPRISE: Final = 0.001
"""A gap is told if anything like it would occur once in a thousand logs of this size."""
TYPES: Final = 12
"""The commonest types of event are looked at."""
SMALL: Final = 0.1
"""A gap of no more than this share of the horizon moves labels by little."""
YEARLY: Final = 7
"""Days within which the gap of another year counts as the same: the shop is closed then."""
LAST: Final = 7
"""Days at the end of the log that may be loaded in part."""

Nature = Literal["gap", "closed", "starts", "stops", "thin"]
_NATURES: Final[dict[str, Text]] = {
    "gap": Text("nothing, in the middle", "中途无事件"),
    "closed": Text("nothing, every year", "每年同期无事件"),
    "starts": Text("starts late", "开始较晚"),
    "stops": Text("stops early", "提前中断"),
    "thin": Text("thin at the end", "末尾偏少"),
}
_WEAK: Final[dict[str, Text]] = {
    "gap": Text(
        "'{event}' is missing from {first} to {last}, where about {due:,.0f} users were due. Was the shop closed? Then "
        "nothing is wrong. Was nothing collected? Then load these days, or labels and features read them as silence.",
        "“{event}”在 {first} 至 {last} 缺失，按常规应有约 {due:,.0f} 位用户。若当时歇业则无妨；"
        "若是漏采，请补录，否则标签与特征会把这些日子当作沉默。",
    ),
    "starts": Text(
        "'{event}' starts on {next}, {days:,} days after the log does: features of it mean something else before that. "
        "Cut the log there, or leave the type out.",
        "“{event}”从 {next} 才开始，比日志晚 {days:,} 天：此前相关特征的含义不同。请从该日截取日志，或不使用此类事件。",
    ),
    "stops": Text(
        "'{event}' stops: there is none from {first} on, {days:,} days before the log ends. If it is still going on in "
        "the shop, load it; else leave the type out.",
        "“{event}”从 {first} 起中断，距日志终点 {days:,} 天。若业务上仍在发生，请补录；否则不使用此类事件。",
    ),
    "thin": Text(
        "'{event}' is thin from {first} to {last}: {seen:,} users where about {due:,.0f} were due. If the last days "
        "were loaded in part, end the log before them (--until).",
        "“{event}”在 {first} 至 {last} 偏少：仅 {seen:,} 位用户，按常规应有约 {due:,.0f} 位。若末尾数据尚未载全，"
        "请把日志终点设在此前（--until）。",
    ),
}
_BLIND: Final = Text(
    "The task counts '{event}', and it stops within the horizon of {at}: the labels there are wrong.",
    "任务所计的“{event}”在 {at} 的预测窗口内中断：该时点的标签不可信。",
)
_CLOSED: Final = Text(
    "Gaps with their like at the same time of another year: {count}. They read as a closed shop.",
    "有 {count} 个缺口在其他年份的同期也出现，视为歇业。",
)
_SMALL: Final = Text(
    "Gaps that last less than a tenth of the horizon: {count}. They change labels little; see whether the shop "
    "was closed.",
    "有 {count} 个缺口不到预测窗口的十分之一，对标签影响很小；请核实当时是否歇业。",
)
_CLEAN: Final = Text(
    "No gap among {days:,} days and {types} types of event.", "{days:,} 天、{types} 类事件中未发现缺口。"
)
_NOT_STATED: Final = Text(
    "Nobody stated until when the log is known: quiet days at its end are not counted. Ingest with --until.",
    "未声明日志的已知终点：末尾没有事件的日子不计入。请在摄取时使用 --until。",
)


@dataclass(frozen=True)
class Gap:
    """Days on which users of one type of event were due and few or none came.

    Attributes:
        event: the type.
        nature: whether it lies in the middle, every year, at the start, at the end, or is merely thin.
        first: the first such day.
        last: the last one.
        seen: users on these days, summed over days.
        due: users expected.
    """

    event: str
    nature: Nature
    first: date
    last: date
    seen: int
    due: float

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1


def collection(inquiry: Inquiry) -> Finding:
    """Look for days that are missing."""
    log, horizon = inquiry.log, inquiry.task.horizon
    daily = users_by_day(log)
    found = [gap for event in daily.columns[1:] for gap in gaps_of(daily, event)]
    small = [gap for gap in found if gap.nature in {"gap", "thin"} and gap.days <= SMALL * horizon.days]
    closed = [gap for gap in found if gap.nature == "closed"]
    remarks = [Remark("weak", _told(gap)) for gap in found if gap not in small and gap not in closed]
    counted = inquiry.task.question.aggregate.events
    for gap in found:
        if gap.nature == "stops" and gap.event in counted and gap.first < (inquiry.at + horizon).date():
            remarks.insert(0, Remark("no", _BLIND.format(event=gap.event, at=moments.text(inquiry.at))))
    if not log.span.stated:
        remarks.append(Remark("weak", _NOT_STATED))
    remarks += [Remark("ok", _CLOSED.format(count=len(closed)))] if closed else []
    remarks += [Remark("ok", _SMALL.format(count=len(small)))] if small else []
    if not found:
        remarks.append(Remark("ok", _CLEAN.format(days=len(daily), types=len(daily.columns) - 1)))
    return Finding("collection", TITLE, tuple(remarks), (_table(found),) if found else ())


def users_by_day(log: EventLog) -> pl.DataFrame:
    """Return ``day`` and, for each of the commonest types of event, how many users had one on it; zeros included."""
    events = log.events
    counts = log.collect(events.group_by(c.EVENT, day=events[c.TIME].date()).aggregate(users=events[c.USER].nunique()))
    common = counts.group_by(c.EVENT).agg(pl.col("users").sum()).sort("users", c.EVENT, descending=[True, False])
    first, last = log.span.start.date(), (log.span.until - timedelta(microseconds=1)).date()
    days = pl.DataFrame({"day": pl.date_range(first, last, eager=True)})
    for event in common[c.EVENT].head(TYPES):
        own = counts.filter(pl.col(c.EVENT) == event).select("day", pl.col("users").alias(event))
        days = days.join(own, on="day", how="left", maintain_order="left")
    return days.with_columns(pl.exclude("day").fill_null(0))


def gaps_of(daily: pl.DataFrame, event: str) -> Iterator[Gap]:
    """Find the gaps of one type of event."""
    first = daily["day"][0]
    counts = daily[event].to_numpy().astype(np.float64)
    weekday = daily["day"].dt.weekday().to_numpy()
    runs = list(_runs(counts == 0))
    enough = math.log(len(daily) * (len(daily.columns) - 1) / SURPRISE)
    told = [(run, due) for run in runs for due, spread in [_due(counts, weekday, run)] if due / spread > enough]
    for (start, end), due in told:
        nature: Nature = "starts" if start == 0 else "stops" if end == len(counts) else "gap"
        if nature == "gap" and _yearly((start, end), runs):
            nature = "closed"
        yield Gap(event, nature, first + timedelta(start), first + timedelta(end - 1), 0, due)
    if counts[-1] > 0:
        yield from _thin(event, first, counts, weekday, enough)


def _thin(event: str, first: date, counts: Counts, weekday: Counts, enough: float) -> Iterator[Gap]:
    """The longest run at the end that is far below what was due: the probability of so few or fewer, as for none."""
    from scipy.stats import poisson  # noqa: PLC0415 - slow to import

    end = len(counts)
    for length in range(min(LAST, end), 0, -1):
        run = (end - length, end)
        due, spread = _due(counts, weekday, run)
        seen = float(counts[run[0] :].sum())
        # every day of the run is below half of what it was due, and all of them are far below by chance
        each = [counts[day] < _due(counts, weekday, run, day=day)[0] / 2 for day in range(*run)]
        if all(each) and -poisson.logcdf(seen / spread, due / spread) > enough:
            yield Gap(event, "thin", first + timedelta(run[0]), first + timedelta(end - 1), int(seen), due)
            return


Counts = NDArray[np.float64]


def _runs(empty: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Every longest ``[start, end)`` in which ``empty`` holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], empty.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _due(counts: Counts, weekday: Counts, run: tuple[int, int], *, day: int | None = None) -> tuple[float, float]:
    """How many users were due in a run (or on one day of it), and how many times more than Poisson's they vary."""
    start, end = run
    around = np.r_[max(0, start - NEAR) : start, end : min(len(counts), end + NEAR)]
    if not len(around):
        return 0.0, 1.0
    by_weekday = {number: counts[around][weekday[around] == number] for number in range(1, 8)}
    usual = {number: float(found.mean()) if len(found) else 0.0 for number, found in by_weekday.items()}
    expected = np.array([usual[number] for number in weekday[around]])
    squares = (counts[around] - expected) ** 2
    spread = float(squares.sum() / expected.sum()) if expected.sum() else 1.0
    days = range(start, end) if day is None else (day,)
    return sum(usual[weekday[number]] for number in days), max(1.0, spread)


def _yearly(run: tuple[int, int], runs: list[tuple[int, int]]) -> bool:
    middle = (run[0] + run[1]) / 2
    return any(
        abs(abs((start + end) / 2 - middle) - years * 365.25) <= YEARLY
        for start, end in runs
        for years in (1, 2, 3)
        if 2 * (end - start) >= run[1] - run[0]
    )


def _told(gap: Gap) -> Text:
    values = {"event": gap.event, "first": gap.first, "last": gap.last, "next": gap.last + DAY}
    return _WEAK[gap.nature].format(**values, days=gap.days, seen=gap.seen, due=gap.due)


def _table(gaps: list[Gap]) -> Table:
    frame = pl.DataFrame(
        {
            "event": [gap.event for gap in gaps],
            "nature": [gap.nature for gap in gaps],
            "first": [gap.first for gap in gaps],
            "last": [gap.last for gap in gaps],
            "days": [gap.days for gap in gaps],
            "seen": [gap.seen for gap in gaps],
            "due": [gap.due for gap in gaps],
        }
    )
    columns = (
        Column("event", Text("Event type", "事件类型")),
        Column("nature", Text("What", "情形"), words=_NATURES),
        Column("first", Text("From", "起")),
        Column("last", Text("To", "止")),
        Column("days", Text("Days", "天数"), "integer"),
        Column("seen", Text("Users seen", "实有用户"), "integer"),
        Column("due", Text("Users due", "应有用户"), "integer"),
    )
    caption = Text(
        "Due: what the same weekdays of the four weeks before and after had, summed over days.",
        "应有：前后各四周相同星期几的平均值，按天累加。",
    )
    return Table(frame, columns, Text("Days that are missing", "缺失的日子"), caption)
