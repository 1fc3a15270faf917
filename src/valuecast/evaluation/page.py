"""Turns ladders into a Report: the page a person reads, in both languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation import figures
from valuecast.evaluation.comparison import METRIC, RUNG, compare, intervals, sliced
from valuecast.evaluation.ladder import Ladder
from valuecast.evaluation.outcomes import TRUTH
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.metrics.registry import Kind, measures
from valuecast.models.registry import METHODS
from valuecast.report.blocks import Block, Column, Fact, Notice, Paragraph, Report, Section, Table
from valuecast.tasks.splits import UserSplit

YEAR = 365

_BY_USERS = Text(
    "Split by users, not by time: one cutoff, and {share} of the users held out. This says how well a model reads "
    "other customers of the same season, not how well it foresees a later one. Do not compare it with splits by time.",
    "按用户而非按时间划分：单一时点，留出 {share} 的用户。它衡量的是对同一时期其他客户的判断，而非对未来时期的预测，"
    "不可与按时间划分的结果比较。",
)
_NO_YEAR = Text(
    "The log holds no full earlier year before the test cutoff, so no model has seen this season before: the intervals "
    "of amounts are indicative.",
    "测试时点之前的日志不足一整年，模型没有见过同一季节，金额区间仅供参考。",
)


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


def page(
    ladders: Sequence[Ladder],
    *,
    title: Text,
    log: EventLog,
    slices: Mapping[str, pl.DataFrame] | None = None,
    made: Iterable[Fact] = (),
    seed: int = 0,
) -> Report:
    """Make the report of some ladders on one log.

    Args:
        ladders: one for each task.
        title: of the page.
        log: what they were tested on.
        slices: values of fields to break results down by (see ``valuecast.evaluation.slices``).
        made: how the page came about.
        seed: of the bootstrap.
    """
    facts: list[Fact] = []
    sections: list[Section] = []
    for ladder in ladders:
        for target in ladder.task.targets:
            section, headline = _target(ladder, target, slices or {}, seed=seed)
            sections.append(section)
            facts += headline
    sections.append(_making(ladders))
    labels = [ladder.task.label(target) for ladder in ladders for target in ladder.task.targets]
    asked = Text("; ".join(label.en for label in labels), "；".join(label.zh for label in labels))
    return Report(
        title=title,
        subtitle=asked,
        facts=(*_data_facts(ladders), *facts),
        notices=tuple(_notices(ladders, log)),
        sections=tuple(sections),
        made=tuple(made),
    )


def rung_label(name: str) -> Text:
    """What a person calls a rung; a model in a folder of its own goes by the folder's name."""
    return METHODS[name].label if name in METHODS else Text(name, name)


def _data_facts(ladders: Sequence[Ladder]) -> list[Fact]:
    moments_of = sorted({result.at for ladder in ladders for result in ladder.results})
    tested = {user for ladder in ladders for frame in _any(ladder) for user in frame[c.USER]}
    text = ", ".join(map(moments.text, moments_of))
    return [
        Fact(Text("Test cutoff" if len(moments_of) == 1 else "Test cutoffs", "测试时点"), text),
        Fact(Text("Users tested", "测试用户数"), f"{len(tested):,}"),
    ]


def _any(ladder: Ladder) -> list[pl.DataFrame]:
    return [result.outcomes for result in ladder.results if result.outcomes is not None][:1]


def _target(
    ladder: Ladder, target: str, slices: Mapping[str, pl.DataFrame], *, seed: int
) -> tuple[Section, list[Fact]]:
    kind, task = ladder.task.kind, ladder.task
    rungs, best = ladder.fitted(target), ladder.best(target)
    primary = ladder.primary(target)
    compared = compare(rungs, kind=kind, reference=best, seed=seed)
    chosen = rungs[best]
    truth = chosen[TRUTH]
    average = float(truth.to_numpy().mean())
    own = compared.filter(pl.col(RUNG) == best, pl.col(METRIC) == primary.name).row(0, named=True)
    rate = (
        Text("came true for {value:.1%} of users", "实际比例：{value:.1%}")
        if kind == "binary"
        else Text("true mean per user: {value:,.2f}", "实际人均：{value:,.2f}")
    )
    headline = [
        Fact(
            Text(f"{task.label(target).en}: {primary.label.en}", f"{task.label(target).zh}：{primary.label.zh}"),
            f"{own['value']:.3f}",
            Text(
                "{low:.3f} to {high:.3f} (90%); {rung}, chosen on validation; " + rate.en,
                "90% 区间 {low:.3f}–{high:.3f}；{rung_zh}（按验证集选出）；" + rate.zh,
            ).format(
                low=own["value_low"],
                high=own["value_high"],
                rung=rung_label(best).en,
                rung_zh=rung_label(best).zh,
                value=average,
            ),
        )
    ]
    blocks: list[Block] = [
        _metrics_table(compared, ladder, target, best),
        figures.ranking(compared, primary, best, {name: rung_label(name) for name in rungs}),
    ]
    shown = {name: rungs[name] for name in dict.fromkeys((best, figures.runner_up(compared, primary, best)))}
    labels = {name: rung_label(name) for name in shown}
    if kind == "binary":
        blocks += [
            figures.calibration(shown, labels),
            figures.gains(shown, labels),
            figures.lift_table(chosen, rung_label(best)),
        ]
    else:
        blocks += [
            figures.deciles(chosen, rung_label(best)),
            figures.gains(shown, labels),
            figures.decile_table(chosen, rung_label(best)),
        ]
        blocks.append(_coverage_table(rungs))
    if chosen[c.AT].n_unique() > 1:
        blocks.append(_origins_table(rungs, kind, best, seed=seed))
    blocks += _slice_tables(rungs, slices, ladder, best)
    return Section(task.label(target), tuple(blocks)), headline


def _metrics_table(compared: pl.DataFrame, ladder: Ladder, target: str, best: str) -> Table:
    kind, first = ladder.task.kind, ladder.primary(target)
    rows = []
    for rung in ladder.rungs:
        row: dict[str, object] = {RUNG: rung, "reason": None}
        for entry in compared.filter(pl.col(RUNG) == rung).iter_rows(named=True):
            name = entry[METRIC]
            row |= {name: entry["value"], f"{name}_low": entry["value_low"], f"{name}_high": entry["value_high"]}
            if name == first.name and rung != best:
                ends = {"apart": "difference", "apart_low": "difference_low", "apart_high": "difference_high"}
                row |= {key: entry[value] for key, value in ends.items()}
        row["seconds"] = sum(result.seconds for result in ladder.results if result.rung == rung) or None
        row["reason"] = next(
            (result.reason for result in ladder.results if result.rung == rung and result.reason), None
        )
        rows.append(row)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    columns = [Column(RUNG, Text("Rung", "方法"), words={name: rung_label(name) for name in ladder.rungs})]
    for each in measures(kind):
        columns.append(Column(each.name, each.label, each.format, interval=each.name == first.name))
        if each.name == first.name and "apart" in frame.columns:
            columns.append(Column("apart", Text("Difference to best", "与最佳之差"), "signed", interval=True))
    if frame["seconds"].null_count() < len(frame):
        columns.append(Column("seconds", Text("Seconds", "用时（秒）"), "number"))
    if frame["reason"].null_count() < len(frame):
        columns.append(Column("reason", Text("Why it did not fit", "未能拟合的原因")))
    wanted = [column.name + end for column in columns for end in (("", "_low", "_high") if column.interval else ("",))]
    absent = [pl.lit(None, pl.Float64).alias(name) for name in wanted if name not in frame.columns]
    return Table(
        frame.with_columns(absent),
        tuple(columns),
        Text("The ladder: every rung on the same users", "阶梯对比：所有方法在同一批用户上"),
        Text(
            "Bold: the rung that did best on validation; differences are to it, paired by user. Small figures: 90% "
            "intervals from a bootstrap over users. Ranking metrics use raw scores, the others calibrated ones.",
            "粗体为验证集上最佳的方法，差值均相对于它并按用户配对。小字为对用户重抽样得到的 90% 区间。"
            "排序类指标使用原始分，其余使用校准后的分数。",
        ),
        emphasise=pl.col(RUNG) == best,
    )


def _coverage_table(rungs: Mapping[str, pl.DataFrame]) -> Table:
    return Table(
        intervals(rungs).with_columns(pl.col(c.AT).map_elements(moments.text, return_dtype=pl.String)),
        (
            Column(RUNG, Text("Rung", "方法"), words={name: rung_label(name) for name in rungs}),
            Column(c.AT, Text("Test cutoff", "测试时点")),
            Column("users", Text("Users", "用户数"), "integer"),
            Column("coverage", Text("Held the truth (aim: 90%)", "覆盖真实值（目标 90%）"), "percent"),
            Column("width", Text("Mean width", "平均宽度"), "money"),
        ),
        Text("Do the 90% intervals hold the truth? The worst first", "90% 区间是否覆盖真实值？最差的在前"),
    )


def _origins_table(rungs: Mapping[str, pl.DataFrame], kind: Kind, best: str, *, seed: int) -> Table:
    rows = []
    for at in rungs[best][c.AT].unique().sort():
        part = {name: frame.filter(pl.col(c.AT) == at) for name, frame in rungs.items()}
        compared = compare(part, kind=kind, reference=best, seed=seed)
        wide = compared.pivot(on=METRIC, index=RUNG, values="value")
        rows.append(wide.with_columns(pl.lit(moments.text(at)).alias(c.AT)))
    return Table(
        pl.concat(rows),
        (
            Column(RUNG, Text("Rung", "方法"), words={name: rung_label(name) for name in rungs}),
            Column(c.AT, Text("Test cutoff", "测试时点")),
            *(Column(each.name, each.label, each.format) for each in measures(kind)),
        ),
        Text("Cutoff by cutoff", "逐时点结果"),
        emphasise=pl.col(RUNG) == best,
    )


def _slice_tables(
    rungs: Mapping[str, pl.DataFrame], slices: Mapping[str, pl.DataFrame], ladder: Ladder, best: str
) -> list[Block]:
    kind = ladder.task.kind
    found = []
    for name, values in slices.items():
        frame = sliced({best: rungs[best]}, {name: values}, kind=kind)
        found.append(
            Table(
                frame,
                (
                    Column("value", Text(name, name)),
                    Column("users", Text("Users", "用户数"), "integer"),
                    *(Column(each.name, each.label, each.format) for each in measures(kind)),
                ),
                Text("By {field}: {rung}", "按 {field} 分组：{rung_zh}").format(
                    field=name, rung=rung_label(best).en, rung_zh=rung_label(best).zh
                ),
            )
        )
    return list(found)


def _notices(ladders: Sequence[Ladder], log: EventLog) -> list[Notice]:
    found = [Notice(log.about)] if log.about else []
    by_users = [ladder for ladder in ladders if isinstance(ladder.split, UserSplit)]
    if by_users and isinstance(split := by_users[0].split, UserSplit):
        found.append(Notice(_BY_USERS.format(share=f"{split.holdout:.0%}"), "warning"))
    amounts = [ladder for ladder in ladders if ladder.task.kind == "amount" and ladder not in by_users]
    if any(_days_known(ladder, log) < YEAR + ladder.task.horizon.days for ladder in amounts):
        found.append(Notice(_NO_YEAR))
    return found


def _days_known(ladder: Ladder, log: EventLog) -> int:
    return (min(result.at for result in ladder.results) - log.span.start).days


def _making(ladders: Sequence[Ladder]) -> Section:
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
    asked = (Paragraph(Text(str(ladder.task), str(ladder.task))) for ladder in ladders)
    return Section(Text("How it was made", "结果是如何得到的"), (words, *asked, *blocks))


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return "/".join(_short(each) for each in value.values())
    return f"{value:.3g}" if isinstance(value, float) else str(value)
