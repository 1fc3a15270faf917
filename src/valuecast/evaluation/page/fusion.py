"""What a fused model is made of, and why: what each part is worth alone, and what mixing them gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from valuecast import moments
from valuecast.evaluation.ladder import Ladder, Result
from valuecast.language import Text
from valuecast.models.blend import WEIGHED
from valuecast.models.naming import rung_label
from valuecast.models.registry import ADAPTATIONS, FUSED, TEXTS
from valuecast.report.blocks import Block, Column, Paragraph, Section, Table

_HOW: Final = Text(
    "A fused model may mix the answers of several models, its parts. How much each counts was chosen so that the error "
    "is smallest on held-out rows: customers at earlier moments, whose later behaviour the parts had not learned from. "
    "The error of a yes-or-no question is the log-loss: the surer a wrong probability was, the larger it is. That of "
    "an amount is the Tweedie deviance, in which a miss weighs less where much was expected (the mean squared error "
    "where amounts may be negative). Less is better. A part whose share would be below 1% is left out. What happened "
    "after the test cutoff had no say in it.",
    "融合模型可以把几个模型（称为组成部分）的答案组合起来。各部分的占比按留出样本上误差最小来选定："
    "留出样本是较早时点的客户，各部分训练时没有见过他们后来的行为。是非问题的误差是对数损失：判断错了，当初越肯定，误差越大；"
    "金额的误差是 Tweedie 偏差：预期金额越大，同样的差额算得越轻（金额可能为负时用均方误差）。误差越小越好。"
    "占比不足 1% 的部分不采用。测试时点之后的结果没有参与选择。",
)

_EVENTS: Final = Text("events one by one, in their order", "逐个事件及其先后顺序")
_HABIT: Final = Text(
    "how often, how recently and since when somebody bought, and what an order is worth",
    "购买次数、最近一次购买、首次购买的时间，以及每单金额",
)
SEEN: Final[Mapping[str, Text]] = {
    "recency": Text("days since the last purchase", "距上次购买的天数"),
    "last_period": Text("the period just past", "刚过去的一个周期"),
    "mean_rate": Text("the average so far", "到目前为止的平均水平"),
    "bgnbd": _HABIT,
    "paretonbd": _HABIT,
    "lightgbm": Text(
        "features: counts, sums, gaps and trends over spans of time, categories, the season",
        "统计特征：各时间段内的次数、金额、间隔与趋势，以及品类、季节",
    ),
    "joint": Text(
        "events one by one, in their order, and the same features as the trees",
        "逐个事件及其先后顺序，加上与提升树相同的统计特征",
    ),
    **dict.fromkeys(ADAPTATIONS, _EVENTS),
    **dict.fromkeys(TEXTS, Text("the history, told in words", "用文字讲述的历史")),
}
"""What each part reads of a customer."""

_MIX: Final = Text("The mix of these parts", "以上各部分的组合")
_WHY_NOT: Final = {
    "part": Text("left out: the error is no smaller with it", "未采用：加入后误差并未减小"),
    "mix": Text("not chosen: no better than the best part alone", "未采用：不优于最好的单个模型"),
}
_MADE_OF: Final = Text("Made of", "组成")


@dataclass(frozen=True)
class Choice:
    """How one target of a fused model was chosen.

    Attributes:
        label: what a person calls the target.
        shares: of each part that was taken; they add up to one.
        losses: of each part alone, by name, and of ``WEIGHED``, the mix of all, where there were several.
        absent: parts that could not be fitted, and why.
        rows: how many held-out rows decided.
    """

    label: Text
    shares: Mapping[str, float]
    losses: Mapping[str, float]
    absent: Mapping[str, str]
    rows: int

    @classmethod
    def of(cls, label: Text, head: Mapping[str, Any], facts: Mapping[str, Any]) -> Choice:
        """Read what the head of a target, and its predictor, tell."""
        return cls(
            label,
            head["settings"]["parts"],
            {trial["blend"]: trial["loss"] for trial in head["trials"]},
            facts["absent"],
            sum(row["users"] for row in head["backtest"]),
        )

    @property
    def best(self) -> str:
        """The part that did best alone."""
        return min((name for name in self.losses if name != WEIGHED), key=lambda name: self.losses[name])

    @property
    def mixed(self) -> bool:
        """Whether several parts were taken, or shares of all led to one."""
        return self.losses.get(WEIGHED, float("inf")) < self.losses[self.best]

    def made_of(self) -> Text:
        """The parts and their shares, the largest first."""
        parts = sorted(self.shares.items(), key=lambda part: -part[1])
        told = [(rung_label(name), share) for name, share in parts]
        return Text(
            ", ".join(f"{label.en} {share:.0%}" for label, share in told),
            "、".join(f"{label.zh} {share:.0%}" for label, share in told),
        )


def fusion(ladders: Sequence[Ladder]) -> Section | None:
    """Say what the fused models are made of, at the latest cutoff in full; None where there is none."""
    blocks: list[Block] = []
    for ladder in ladders:
        for rung in ladder.rungs:
            results = sorted(
                (each for each in ladder.results if each.rung == rung and _fused(each)), key=lambda r: r.at
            )
            for target in ladder.task.targets if results else ():
                choices = [Choice.of(ladder.task.label(target), r.heads[target], r.facts) for r in results]
                name = _name(choices[-1].label, rung)
                blocks += [Paragraph(_verdict(name, choices[-1])), _table(name, choices[-1])]
                if len(results) > 1:
                    blocks.append(_cutoffs(name, [moments.text(result.at) for result in results], choices))
    if not blocks:
        return None
    title = Text("What the fused model is made of, and why", "融合模型由什么组成，为什么")
    return Section(title, (Paragraph(_HOW), *blocks))


def _fused(result: Result) -> bool:
    return any("blend" in head["settings"] for head in result.heads.values())


def _name(label: Text, rung: str) -> Text:
    """A model from a folder of its own is told apart from others by the folder's name."""
    return label if rung == FUSED else Text(f"{label.en} ({rung})", f"{label.zh}（{rung}）")


def _verdict(name: Text, choice: Choice) -> Text:
    best, alone = rung_label(choice.best), choice.losses[choice.best]
    if WEIGHED not in choice.losses:
        why = (
            Text("the only part that could be fitted", "只有它能够拟合")
            if choice.absent
            else Text("the only part that the settings name", "设置中只写了它")
        )
        return Text(f"{name.en}: {best.en} alone, {why.en}.", f"{name.zh}：只用{best.zh}，{why.zh}。")
    mix, rows = choice.losses[WEIGHED], f"{choice.rows:,}"
    if choice.mixed:
        gain, made = 1 - mix / alone, choice.made_of()
        return Text(
            f"{name.en}: a mix of {made.en}. On {rows} held-out rows its error is {mix:.4g}; the best part alone, "
            f"{best.en}, has {alone:.4g}: mixing takes {gain:.1%} off the error.",
            f"{name.zh}：由 {made.zh} 组合而成。在 {rows} 条留出样本上误差为 {mix:.4g}；"
            f"最好的单个模型（{best.zh}）为 {alone:.4g}，组合使误差降低 {gain:.1%}。",
        )
    return Text(
        f"{name.en}: {best.en} alone was chosen, because the mix of all parts was no better on {rows} held-out rows: "
        f"its error is {mix:.4g}, and {alone:.4g} without mixing. That is usual where the log is small: what a mix may "
        "gain is lost again by learning the shares from few rows.",
        f"{name.zh}：只选用{best.zh}，因为在 {rows} 条留出样本上，各部分的组合并不更好：组合的误差为 {mix:.4g}，"
        f"它单独为 {alone:.4g}。日志较小时这很常见：组合可能带来的好处，抵不过从少量样本学习占比的损失。",
    )


def _table(name: Text, choice: Choice) -> Table:
    alone = choice.losses[choice.best]
    rows = []
    for part, loss in sorted(choice.losses.items(), key=lambda each: each[1]):
        mix = part == WEIGHED
        taken = choice.mixed if mix else part in choice.shares
        rows.append(
            {
                "part": part,
                "share": None if mix else choice.shares.get(part),
                "loss": loss,
                "beside": round(loss / alone - 1, 3) if alone else None,
                "sees": None if mix else part,
                "why": None if taken else "mix" if mix else "part",
                "chosen": mix if choice.mixed else part == choice.best,
            }
        )
    unknown = {"share": None, "loss": None, "beside": None, "chosen": False}
    rows += [{"part": part, **unknown, "sees": part, "why": why} for part, why in choice.absent.items()]
    names = {name: rung_label(name) for name in (*choice.losses, *choice.absent)} | {WEIGHED: _MIX}
    frame = pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"share": pl.Float64, "why": pl.String})
    columns = [
        Column("part", Text("Part", "组成部分"), words=names),
        Column("share", Text("Share", "占比"), "share"),
        Column("loss", Text("Error on held-out rows", "留出样本上的误差"), "number"),
        Column("beside", Text("More (or less) than the best part", "比最好的单个模型高（低）"), "percent"),
        Column("sees", Text("What it sees of a customer", "它看到客户的什么"), words=SEEN),
    ]
    if frame["why"].null_count() < len(frame):
        columns.append(Column("why", Text("Why it is not in it", "为何没有采用"), words=_WHY_NOT))
    return Table(
        frame,
        tuple(columns),
        Text(f"{name.en}: the parts, each alone and mixed", f"{name.zh}：各部分单独与组合的误差"),
        Text("Bold: what was chosen.", "粗体为选用的方案。"),
        emphasise=pl.col("chosen"),
    )


def _cutoffs(name: Text, at: Sequence[str], choices: Sequence[Choice]) -> Table:
    """What was chosen for each test cutoff: fitted anew, it may be another mix."""
    rows = [
        {
            "at": when,
            "made": when,
            "gain": choice.losses[WEIGHED] / choice.losses[choice.best] - 1 if choice.mixed else None,
        }
        for when, choice in zip(at, choices, strict=True)
    ]
    return Table(
        pl.DataFrame(rows, schema_overrides={"gain": pl.Float64}),
        (
            Column("at", Text("Test cutoff", "测试时点")),
            Column("made", _MADE_OF, words={when: each.made_of() for when, each in zip(at, choices, strict=True)}),
            Column("gain", Text("Error beside the best part", "误差与最好的单个模型相比"), "percent"),
        ),
        Text(f"{name.en}: made of what, cutoff by cutoff", f"{name.zh}：各时点的组成"),
        Text("The rest of this section is of the latest.", "本节其余内容均为最近一个时点的情况。"),
    )
