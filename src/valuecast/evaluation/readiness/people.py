"""Users and outcomes: how many the task asks about, how many of each outcome, and who pays how much of the sum."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation.readiness.finding import Finding, Remark, together
from valuecast.evaluation.readiness.inquiry import Inquiry
from valuecast.evaluation.readiness.minimums import EACH, FEWEST, PAYERS, PAYERS_OF_TREES
from valuecast.language import Text
from valuecast.report.blocks import Column, Table

TITLE: Final = Text("Users and outcomes", "用户与结果")
ONE_IS_MUCH: Final = 0.2
"""One user with more than this share of the sum decides every total and every mean error."""

_TOO_FEW: Final = Text(
    "With fewer than {fewest} {what} nothing can be told: wait, ask about more users, or take another horizon.",
    "{what_zh}不足 {fewest} 位，得不出可靠结论：请积累更多数据、放宽用户条件，或更换预测窗口。",
)
_FEW: Final = Text(
    "Models were seen to beat rules of thumb dependably from {enough} {what} on.",
    "实测中，{what_zh}达到 {enough} 位后，模型才能稳定优于经验规则。",
)
_TREES: Final = Text(
    "With fewer than {enough:,} payers compare boosted trees with BG/NBD: they did not always beat rules of thumb.",
    "付费用户不足 {enough:,} 位时，请将梯度提升树与 BG/NBD 对比：实测中前者未必优于经验规则。",
)
_ONE: Final = Text(
    "One user has {share:.0%} of the sum: totals and mean errors are that user's. Judge by order (Gini, Spearman).",
    "一位用户就占总额的 {share:.0%}：总额与平均误差由其一人决定，请以排序类指标（基尼系数、斯皮尔曼相关）为准。",
)
_USERS: Final = Column("users", Text("Users asked about", "符合条件的用户"), "integer")
_COLUMNS: Final = {
    "binary": (
        _USERS,
        Column("positives", Text("It comes true", "发生"), "integer"),
        Column("negatives", Text("It does not", "未发生"), "integer"),
        Column("mean", Text("Base rate", "基准比例"), "percent"),
    ),
    "amount": (
        _USERS,
        Column("positives", Text("Payers", "付费用户"), "integer"),
        Column("mean", Text("Mean amount", "人均金额"), "money"),
        Column("tenth", Text("Share of the top 10%", "前 10% 用户的金额占比"), "percent"),
        Column("hundredth", Text("Share of the top 1%", "前 1% 用户的金额占比"), "percent"),
        Column("first", Text("Share of the largest", "最大用户的金额占比"), "percent"),
    ),
}


def people(inquiry: Inquiry) -> Finding:
    """Count users and outcomes at ``at``, and over all cutoffs."""
    task = inquiry.task
    rows = [_row(target, inquiry.asked[target].to_numpy()) for target in task.targets]
    remarks = [remark for row in rows for remark in _remarks(row, inquiry)]
    users, cutoffs = inquiry.labelled[c.USER].n_unique(), inquiry.labelled[c.AT].n_unique()
    named = Column("target", Text("Target", "目标"), words={target: task.label(target) for target in task.targets})
    table = Table(
        pl.DataFrame(rows, infer_schema_length=None),
        (named, *_COLUMNS[task.kind]),
        Text("Users and outcomes at {at}", "{at} 的用户与结果").format(at=moments.text(inquiry.at)),
        Text(
            "Cutoffs with labels: {cutoffs}; different users over all of them: {users:,}; "
            "pairs of a user and a cutoff: {rows:,}.",
            "有标签的时点 {cutoffs} 个；合计 {users:,} 位不同用户，{rows:,} 个「用户×时点」样本。",
        ).format(cutoffs=cutoffs, users=users, rows=len(inquiry.labelled)),
    )
    return Finding("people", TITLE, tuple(remarks), (table,))


def _row(target: str, truth: NDArray[np.float64]) -> dict[str, Any]:
    positive = int((truth > 0).sum())
    ranked = np.sort(truth)[::-1]
    total = float(ranked[ranked > 0].sum())

    def held_by(share: float) -> float | None:
        return float(ranked[: max(1, round(len(ranked) * share))].sum()) / total if total > 0 else None

    return {
        "target": target,
        "users": len(truth),
        "positives": positive,
        "negatives": len(truth) - positive,
        "mean": float(truth.mean()) if len(truth) else None,
        "tenth": held_by(0.1),
        "hundredth": held_by(0.01),
        "first": held_by(0.0),
    }


def _remarks(row: dict[str, Any], inquiry: Inquiry) -> list[Remark]:
    label = inquiry.task.label(row["target"])
    asked = Text(
        "{label}: {users:,} users are asked about at {at};", "{label_zh}：{at} 有 {users:,} 位用户符合条件，"
    ).format(label=label.en, label_zh=label.zh, users=row["users"], at=moments.text(inquiry.at))
    if inquiry.task.kind == "binary":
        outcome = Text(
            "for {positives:,} of them it comes true, for {negatives:,} it does not.",
            "其中 {positives:,} 位发生，{negatives:,} 位未发生。",
        ).format(**row)
        return [
            _judged(
                together(asked, outcome), min(row["positives"], row["negatives"]), EACH, Text("of each", "两类各自")
            )
        ]
    outcome = Text("{positives:,} of them pay.", "其中 {positives:,} 位付费。").format(**row)
    remarks = [_judged(together(asked, outcome), row["positives"], PAYERS, Text("payers", "付费用户"))]
    if PAYERS <= row["positives"] < PAYERS_OF_TREES:
        remarks.append(Remark("ok", _TREES.format(enough=PAYERS_OF_TREES)))
    if row["first"] and row["first"] > ONE_IS_MUCH:
        remarks.append(Remark("weak", _ONE.format(share=row["first"])))
    return remarks


def _judged(found: Text, count: int, enough: int, what: Text) -> Remark:
    values = {"enough": f"{enough:,}", "fewest": FEWEST, "what": what.en, "what_zh": what.zh}
    if count < FEWEST:
        return Remark("no", together(found, _TOO_FEW.format(**values)))
    if count < enough:
        return Remark("weak", together(found, _FEW.format(**values)))
    return Remark("ok", found)
