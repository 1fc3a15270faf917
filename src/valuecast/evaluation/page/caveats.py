"""What limits the findings of a page, each with what to do about it; only what applies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation.comparison import intervals
from valuecast.evaluation.ladder import Ladder
from valuecast.evaluation.outcomes import TRUTH
from valuecast.evaluation.page.answers import Answer
from valuecast.evaluation.page.priority import asks_who_stops, pair
from valuecast.events.describe import END_NOT_STATED
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.metrics.metric import LEVEL
from valuecast.models.level import REACH, YEAR
from valuecast.models.naming import rung_label, sums_money
from valuecast.moments import DAY, moment
from valuecast.report.blocks import Notice, Paragraph, Section
from valuecast.tasks.splits import UserSplit

FEW: Final = 100
"""With fewer test users of either outcome, an AUC is uncertain by several hundredths."""
OFF: Final = 0.03
"""Intervals that hold the truth more or less often by that share are told, if it is not noise."""
DRIFT: Final = 0.15
"""A mean that moved by that share between validation and test is told, if it is not noise."""

_NONE = Text("Nothing that this page checks for was found.", "未发现本页所检查的问题。")


def caveats(answers: Sequence[Answer], log: EventLog) -> Section:
    """List what limits the findings of a page."""
    ladders = list({id(answer.ladder): answer.ladder for answer in answers}.values())
    found = [
        *([] if log.span.stated else [END_NOT_STATED]),
        *_year(ladders, log),
        *_season(ladders),
        *_one_cutoff(ladders),
        *(notice for answer in answers for notice in _of_answer(answer)),
        *(notice for ladder in ladders for notice in _failed(ladder)),
        *_no_pair(answers),
    ]
    blocks = sorted(found, key=lambda notice: notice.level != "warning")
    return Section(Text("Limits and warnings", "局限与提醒"), tuple(blocks) or (Paragraph(_NONE),))


def _of_answer(answer: Answer) -> Iterator[Notice]:
    truth, about = answer.outcomes[TRUTH], answer.label
    if answer.task.kind == "binary":
        rare = int(min((truth > 0).sum(), (truth == 0).sum()))
        if rare < FEW:
            yield Notice(
                Text(
                    f"{about.en}: only {rare} of {len(truth):,} tested have the rarer outcome, so differences between "
                    "models are mostly chance. Test at more cutoffs, on more users, or over a longer horizon.",
                    f"{about.zh}：{len(truth):,} 个测试样本中较少的一类只有 {rare} 个，"
                    "模型之间的差异多属偶然。请增加测试时点或用户，或延长预测窗口。",
                ),
                "warning",
            )
    else:
        yield from _coverage(answer)
    yield from _drift(answer)


def _coverage(answer: Answer) -> Iterator[Notice]:
    for row in intervals({answer.rung: answer.outcomes}).iter_rows(named=True):
        noise = math.sqrt(LEVEL * (1 - LEVEL) / row["users"])
        if abs(row["coverage"] - LEVEL) > max(OFF, 2 * noise):
            at, share = moments.text(row[c.AT]), row["coverage"]
            narrow = share < LEVEL
            yield Notice(
                Text(
                    f"{answer.label.en}: at {at} the {LEVEL:.0%} intervals held the truth of {share:.1%} of users: "
                    f"they are too {'narrow' if narrow else 'wide'}. Do not read their ends as limits; more validation "
                    "cutoffs, of the same season, would mend them.",
                    f"{answer.label.zh}：{at} 的 {LEVEL:.0%} 区间只覆盖了 {share:.1%} 的用户"
                    f"（区间过{'窄' if narrow else '宽'}）。请勿将区间端点当作界限；"
                    "增加同一季节的验证时点可以改善。",
                ),
                "warning" if narrow else "info",
            )


def _drift(answer: Answer) -> Iterator[Notice]:
    earlier = answer.backtest()
    if not earlier or isinstance(answer.ladder.split, UserSplit):
        return
    users = sum(row["users"] for row in earlier)
    before = sum(row["observed"] * row["users"] for row in earlier) / users
    truth = answer.outcomes[TRUTH].to_numpy()
    now, noise = float(truth.mean()), float(truth.std() / math.sqrt(len(truth)))
    if before and abs(now / before - 1) > DRIFT and abs(now - before) > 2 * noise:
        a, b = (f"{x:.1%}" if answer.task.kind == "binary" else f"{x:,.2f}" for x in (before, now))
        yield Notice(
            Text(
                f"{answer.label.en}: the mean was {a} at the validation cutoffs and {b} in the test. What was chosen "
                "and calibrated there may not fit here; refit often, and see the section on time.",
                f"{answer.label.zh}：验证时点的均值为 {a}，测试时为 {b}。在验证时点选定和校准的结果未必适用；"
                "请经常重新拟合，并参看时间走势一节。",
            ),
            "warning",
        )


def _failed(ladder: Ladder) -> Iterator[Notice]:
    for result in ladder.results:
        if result.reason:
            name, at = rung_label(result.rung), moments.text(result.at)
            yield Notice(
                Text(
                    f"{name.en} did not answer '{ladder.task.name}' at {at}: {result.reason}. The others stand.",
                    f"{name.zh}未能回答 {ladder.task.name}（{at}）：{result.reason}。其余方法的结果不受影响。",
                )
            )


def _year(ladders: Sequence[Ladder], log: EventLog) -> Iterator[Notice]:
    timed = [ladder for ladder in ladders if not isinstance(ladder.split, UserSplit)]
    if any(_known(ladder, log) < YEAR + ladder.task.horizon / DAY for ladder in timed):
        yield Notice(
            Text(
                "The log holds no full earlier year before the test cutoff, so no model has seen this season before: "
                "intervals, of amounts and of probabilities, are indicative. A longer log mends it.",
                "测试时点之前的日志不足一整年，模型没有见过同一季节，金额和概率的区间均仅供参考。更长的日志可以解决。",
            )
        )


def _known(ladder: Ladder, log: EventLog) -> float:
    return (min(result.at for result in ladder.results) - log.span.start) / DAY


def _season(ladders: Sequence[Ladder]) -> Iterator[Notice]:
    """Models that learned from no cutoff near the test's time of the year."""
    away: dict[datetime, float] = {}
    for ladder in ladders:
        for result in ladder.results:
            learned = [moment(at) for at in result.facts.get("split", {}).get("refitted_on", ())]
            nearest = min((_apart(at, result.at) for at in learned), default=0.0)
            if nearest > REACH:
                away[result.at] = max(nearest, away.get(result.at, 0.0))
    for at, days in sorted(away.items()):
        yield Notice(
            Text(
                f"The models tested at {moments.text(at)} learned from no cutoff within {REACH:.0f} days of that time "
                f"of the year; the nearest is {days:.0f} days away. How much is bought in all may be off: fit later, "
                "with a shorter horizon, or on a log that holds the season of a year before.",
                f"{moments.text(at)} 所测试的模型，其训练时点与该季节相距至少 {days:.0f} 天（超过 {REACH:.0f} 天），"
                "总体水平可能有偏差。请在更晚的时点拟合、缩短预测窗口，或使用包含上一年同季的日志。",
            ),
            "warning",
        )


def _apart(one: datetime, other: datetime) -> float:
    days = abs((one - other) / DAY) % YEAR
    return min(days, YEAR - days)


def _one_cutoff(ladders: Sequence[Ladder]) -> Iterator[Notice]:
    timed = [ladder for ladder in ladders if not isinstance(ladder.split, UserSplit)]
    if timed and all(len({result.at for result in ladder.results}) == 1 for ladder in timed):
        yield Notice(
            Text(
                "One test cutoff: the intervals say how much chance there is in these users, not in the season. Add "
                "test cutoffs (origins in a recipe) to see whether the order of the models holds.",
                "只有一个测试时点：区间只反映用户抽样的偶然性，不反映季节的偶然性。"
                "可增加测试时点（配方中的 origins），检验各方法的次序是否稳定。",
            )
        )


def _no_pair(answers: Sequence[Answer]) -> Iterator[Notice]:
    tasks = [answer.task for answer in answers]
    if any(map(asks_who_stops, tasks)) and any(map(sums_money, tasks)) and pair(tasks) is None:
        yield Notice(
            Text(
                "Who stops buying and what is spent are asked of other users or over other days, so there is no list "
                "of whom to look at first. Ask both over the same days and of the same users.",
                "流失任务与消费任务的窗口或用户范围不同，因此没有“优先关注”名单。请对相同用户、相同天数同时提问。",
            )
        )
