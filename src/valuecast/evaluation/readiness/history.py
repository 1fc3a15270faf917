"""History against the horizon: whether it can be split by time, how far cutoffs reach back, and whom is long known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from valuecast import moments
from valuecast.evaluation.readiness.finding import Finding, Remark
from valuecast.evaluation.readiness.inquiry import Inquiry, cutoffs_of
from valuecast.evaluation.readiness.minimums import DAYS
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.moments import DAY
from valuecast.report.blocks import Column, Table

TITLE: Final = Text("History against the horizon", "历史长度与预测窗口")
YEAR: Final = timedelta(days=365)

_REFUSED: Final = Text(
    "Fitting refuses this: {days:,.0f} days of log do not hold histories, training, choosing and refitting for a "
    "horizon of {horizon} days. A shorter horizon would do, or a split by users.",
    "拟合会拒绝此任务：{days:,.0f} 天的日志容不下 {horizon} 天窗口所需的历史、训练、选择与再拟合。"
    "请缩短预测窗口，或按用户划分。",
)
_FITTED: Final = Text(
    "Fitting on the whole log has {cutoffs} cutoffs from {first} to {last}; it chooses on {validation} of them after "
    "training on {train}.",
    "用全部日志拟合时有 {cutoffs} 个时点（{first} 至 {last}），在其中 {validation} 个上做选择，此前用 {train} 个训练。",
)
_UNTESTED: Final = Text(
    "What is fitted before {at} cannot be tested there: too little is known by then.",
    "无法在 {at} 检验：此前的日志不足以拟合模型。",
)
_TESTED: Final = Text(
    "For a test at {at}, {cutoffs} cutoffs are known before it.", "在 {at} 做检验时，此前有 {cutoffs} 个时点可用。"
)
_FEW_ROUNDS: Final = Text(
    "Only {rounds} of {wanted} rounds of held-out cutoffs fit in: calibration and intervals rest on little.",
    "留出时点只够 {rounds} 轮（应为 {wanted} 轮）：校准与区间的依据偏少。",
)
_SHORT: Final = Text(
    "The log holds {days:,.0f} days. From {enough} on, models were seen to beat rules of thumb dependably.",
    "日志长度为 {days:,.0f} 天；实测中达到 {enough} 天后，模型才能稳定优于经验规则。",
)
_NEW: Final = Text(
    "Half of the users asked about have been known for {tenure:,.0f} days or less, which is shorter than the horizon "
    "of {horizon} days: of them a model knows little more than that they are new.",
    "半数用户的已知时长不超过 {tenure:,.0f} 天，短于 {horizon} 天的预测窗口：对这些用户，模型几乎只知道他们是新客。",
)
_YEAR: Final = Text("A full earlier year is known before {at}.", "{at} 之前的日志足一整年。")
_NO_YEAR: Final = Text(
    "No full earlier year is known before {at} ({known:,.0f} days, and a horizon of {horizon}): no model has seen this "
    "season before, so levels and totals are indicative; the order of users suffers less.",
    "{at} 之前的日志不足一整年加一个预测窗口（已知 {known:,.0f} 天，窗口 {horizon} 天）：模型没有见过同一季节，"
    "总量与水平仅供参考，用户排序所受影响较小。",
)


def history(inquiry: Inquiry) -> Finding:
    """Ask the split that fitting uses what it would get, and look at how long users are known."""
    task, log, at = inquiry.task, inquiry.log, inquiry.at
    horizon = task.horizon.days
    before = _before(inquiry)
    remarks = []
    if not inquiry.cutoffs:
        remarks.append(Remark("no", _REFUSED.format(days=log.span.days, horizon=horizon)))
    else:
        rounds = inquiry.split.choices(task, log)
        ends = {"first": moments.text(inquiry.cutoffs[0]), "last": moments.text(inquiry.cutoffs[-1])}
        numbers = {
            "cutoffs": len(inquiry.cutoffs),
            "validation": len(rounds[0].validation),
            "train": len(rounds[0].train),
        }
        remarks.append(Remark("ok", _FITTED.format(**ends, **numbers)))
        if before:
            remarks.append(Remark("ok", _TESTED.format(at=moments.text(at), cutoffs=len(before))))
        else:
            remarks.append(Remark("weak", _UNTESTED.format(at=moments.text(at))))
        if len(rounds) < inquiry.split.rounds:
            remarks.append(Remark("weak", _FEW_ROUNDS.format(rounds=len(rounds), wanted=inquiry.split.rounds)))
        if log.span.days < DAYS[task.kind]:
            remarks.append(Remark("weak", _SHORT.format(days=log.span.days, enough=DAYS[task.kind])))
    tenure = _median(inquiry.past["tenure"])
    if tenure is not None and tenure < horizon:
        remarks.append(Remark("weak", _NEW.format(tenure=tenure, horizon=horizon)))
    return Finding("history", TITLE, tuple(remarks), (_table(inquiry, before, tenure),))


def season(inquiry: Inquiry) -> Finding:
    """Look for a full earlier year, and the horizon after it, before ``at``."""
    known, at = inquiry.at - inquiry.log.span.start, moments.text(inquiry.at)
    horizon = inquiry.task.horizon
    if known >= YEAR + horizon:
        remark = Remark("ok", _YEAR.format(at=at))
    else:
        remark = Remark("weak", _NO_YEAR.format(at=at, known=known / DAY, horizon=horizon.days))
    return Finding("season", Text("Season", "季节"), (remark,))


def _before(inquiry: Inquiry) -> tuple[datetime, ...]:
    """The cutoffs of a fit that is to be tested at ``at``."""
    known: EventLog = inquiry.log.before(inquiry.at)
    return cutoffs_of(inquiry.split, inquiry.task, known)


def _median(values: pl.Series) -> float | None:
    found = values.median()
    return float(found) if isinstance(found, (int, float)) else None


def _table(inquiry: Inquiry, before: tuple[datetime, ...], tenure: float | None) -> Table:
    task, log = inquiry.task, inquiry.log
    rows = [
        (Text("Days of log", "日志天数"), log.span.days),
        (Text("Horizon, days", "预测窗口（天）"), task.horizon.days),
        (Text("Window that makes a user eligible, days", "活跃条件的窗口（天）"), _active(inquiry)),
        (Text("Days of log before the first cutoff", "首个时点之前的日志天数"), _first(inquiry)),
        (Text("Cutoffs for fitting on the whole log", "用全部日志拟合的时点数"), len(inquiry.cutoffs)),
        (Text("Cutoffs for a test at the moment", "在该时点检验时可用的时点数"), len(before)),
        (Text("Days that the median user has been known", "用户已知时长的中位数（天）"), tenure),
    ]
    frame = pl.DataFrame({"what": [text.en for text, _ in rows], "days": [value for _, value in rows]}, strict=False)
    columns = (
        Column("what", Text("What", "项目"), words={text.en: text for text, _ in rows}),
        Column("days", Text("Number", "数值"), "integer"),
    )
    return Table(frame, columns, Text("History and horizon", "历史与窗口"))


def _active(inquiry: Inquiry) -> int | None:
    return max((condition.days for condition in inquiry.task.question.when), default=None)


def _first(inquiry: Inquiry) -> float | None:
    return (inquiry.cutoffs[0] - inquiry.log.span.start) / DAY if inquiry.cutoffs else None
