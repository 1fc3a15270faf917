"""How the results of a page were made: splits, examples, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from valuecast.evaluation.comparison import RUNG
from valuecast.evaluation.ladder import Ladder
from valuecast.language import Text
from valuecast.models.naming import rung_label
from valuecast.report.blocks import Block, Column, Paragraph, Section, Table
from valuecast.tasks.splits import UserSplit

_CHOSEN_BY_TIME = Text(
    "Settings, calibration and the reference were chosen on validation cutoffs, the latest whose horizon ends before "
    "the moment that a rung was fitted for; then it was refitted on every cutoff whose horizon ends before that "
    "moment. Nothing was chosen on the test cutoff.",
    "设置、校准和参照方法均在验证时点（预测窗口在测试时点之前结束的最近时点）上选定；"
    "随后用测试时点之前窗口已结束的全部时点重新拟合。测试时点上没有做任何选择。",
)
_CHOSEN_BY_USERS = Text(
    "Settings, calibration and the reference were chosen on folds of the users in training; then each rung was "
    "refitted on all of them. Nothing was chosen on the users held out.",
    "设置、校准和参照方法均在训练用户的交叉折上选定；随后用全部训练用户重新拟合。留出的用户上没有做任何选择。",
)


def making(ladders: Sequence[Ladder]) -> Section:
    """Say how the results were made."""
    blocks: list[Block] = []
    for ladder in ladders:
        rows = []
        for result in ladder.results:
            for target, head in result.heads.items():
                how = result.facts["split"]
                rows.append(
                    {
                        RUNG: result.rung,
                        "target": target,
                        "at": result.facts["before"],
                        "examples": result.facts["examples"],
                        "cutoffs": len(how["refitted_on"]),
                        "calibration": head["calibration"],
                        "settings": ", ".join(f"{k}={_short(v)}" for k, v in head["settings"].items()) or None,
                    }
                )
        if rows:
            blocks.append(
                Table(
                    pl.DataFrame(rows),
                    (
                        Column(RUNG, Text("Rung", "方法"), words={name: rung_label(name) for name in ladder.rungs}),
                        Column("target", Text("Target", "目标")),
                        Column("at", Text("Fitted before", "拟合截止")),
                        Column("examples", Text("Examples", "样本数"), "integer"),
                        Column("cutoffs", Text("Cutoffs", "时点数"), "integer"),
                        Column("calibration", Text("Calibration", "校准")),
                        Column("settings", Text("Settings chosen on validation", "验证集上选定的设置")),
                    ),
                    Text(ladder.task.name, ladder.task.name),
                )
            )
    words = Paragraph(_CHOSEN_BY_USERS if isinstance(ladders[0].split, UserSplit) else _CHOSEN_BY_TIME)
    if (share := ladders[0].sample) < 1:
        words = Paragraph(
            Text(
                f"{words.text.en} Models learned from {share:.3g} of the users, drawn by a digest of their names; "
                "everyone was tested.",
                f"{words.text.zh}模型只用 {share:.3g} 的用户训练（按用户名的摘要抽取）；测试覆盖全部用户。",
            )
        )
    asked = (Paragraph(Text(str(ladder.task), str(ladder.task))) for ladder in ladders)
    return Section(Text("How it was made", "结果是如何得到的"), (words, *asked, *blocks))


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return " + ".join(f"{name} {_short(each)}" for name, each in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)
