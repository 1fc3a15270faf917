"""The results of one target: every rung on the same users, the best one in detail."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation.comparison import METRIC, RUNG, calibrations, compare, intervals, sliced
from valuecast.evaluation.ladder import Ladder
from valuecast.evaluation.outcomes import TRUTH
from valuecast.evaluation.page import figures
from valuecast.evaluation.page.answers import Answer
from valuecast.language import Text
from valuecast.metrics.registry import measures
from valuecast.models.naming import format_of, rung_label, unit
from valuecast.report.blocks import Block, Column, Fact, Section, Table
from valuecast.tasks import Task


def results(answer: Answer, slices: Mapping[str, pl.DataFrame], *, seed: int) -> tuple[Section, Fact]:
    """Show how every rung did on one target.

    Args:
        answer: the target, and the rung that did best on validation.
        slices: values of fields to break results down by (see ``valuecast.evaluation.slices``).
        seed: of the bootstrap.

    Returns:
        A section, and the headline.
    """
    ladder, target, task, best = answer.ladder, answer.target, answer.task, answer.rung
    kind, rungs = task.kind, ladder.fitted(target)
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
    headline = Fact(
        Text(f"{answer.label.en}: {primary.label.en}", f"{answer.label.zh}：{primary.label.zh}"),
        f"{own['value']:.3f}",
        Text(
            "{low:.3f} to {high:.3f} (90%); {rung}, chosen on validation; " + rate.en,
            "90% 区间 {low:.3f}–{high:.3f}；{rung_zh}（按验证集选出）；" + rate.zh,
        ).format(
            low=own["value_low"],
            high=own["value_high"],
            rung=answer.rung_label.en,
            rung_zh=answer.rung_label.zh,
            value=average,
        ),
    )
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
            _calibration_table(rungs),
        ]
    else:
        blocks += [
            figures.deciles(chosen, rung_label(best), unit(task)),
            figures.gains(shown, labels),
            figures.decile_table(chosen, rung_label(best), unit(task)),
        ]
        blocks.append(_coverage_table(rungs, task))
    if chosen[c.AT].n_unique() > 1:
        blocks.append(_origins_table(rungs, task, best, seed=seed))
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
        columns.append(Column(each.name, each.label, format_of(each, ladder.task), interval=each.name == first.name))
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


def _coverage_table(rungs: Mapping[str, pl.DataFrame], task: Task) -> Table:
    return Table(
        intervals(rungs).with_columns(pl.col(c.AT).map_elements(moments.text, return_dtype=pl.String)),
        (
            Column(RUNG, Text("Rung", "方法"), words={name: rung_label(name) for name in rungs}),
            Column(c.AT, Text("Test cutoff", "测试时点")),
            Column("users", Text("Users", "用户数"), "integer"),
            Column("coverage", Text("Held the truth (aim: 90%)", "覆盖真实值（目标 90%）"), "percent"),
            Column("width", Text("Mean width", "平均宽度"), unit(task).format),
            Column("total_bias", Text("Bias of the total", "总额偏差"), "percent"),
        ),
        Text("Do the 90% intervals hold the truth? The worst first", "90% 区间是否覆盖真实值？最差的在前"),
    )


def _calibration_table(rungs: Mapping[str, pl.DataFrame]) -> Table:
    return Table(
        calibrations(rungs).with_columns(pl.col(c.AT).map_elements(moments.text, return_dtype=pl.String)),
        (
            Column(RUNG, Text("Rung", "方法"), words={name: rung_label(name) for name in rungs}),
            Column(c.AT, Text("Test cutoff", "测试时点")),
            Column("users", Text("Users", "用户数"), "integer"),
            Column("calibration_error", Text("Calibration error", "校准误差"), "percent"),
            Column("bias", Text("Mean probability less observed rate", "平均概率减实际比例"), "percent"),
        ),
        Text("Are probabilities true? The worst first", "概率是否准确？最差的在前"),
        Text(
            "Calibration error: mean distance between predicted and observed rates in tenths of the users. Chance "
            "alone makes it positive, the more so the fewer users there are.",
            "校准误差：按预测概率把用户分为十组，各组预测比例与实际比例之差的平均值。"
            "仅偶然因素也会使其大于零，用户越少越明显。",
        ),
    )


def _origins_table(rungs: Mapping[str, pl.DataFrame], task: Task, best: str, *, seed: int) -> Table:
    rows = []
    for at in rungs[best][c.AT].unique().sort():
        part = {name: frame.filter(pl.col(c.AT) == at) for name, frame in rungs.items()}
        compared = compare(part, kind=task.kind, reference=best, seed=seed)
        wide = compared.pivot(on=METRIC, index=RUNG, values="value")
        rows.append(wide.with_columns(pl.lit(moments.text(at)).alias(c.AT)))
    return Table(
        pl.concat(rows),
        (
            Column(RUNG, Text("Rung", "方法"), words={name: rung_label(name) for name in rungs}),
            Column(c.AT, Text("Test cutoff", "测试时点")),
            *(Column(each.name, each.label, format_of(each, task)) for each in measures(task.kind)),
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
                    *(Column(each.name, each.label, format_of(each, ladder.task)) for each in measures(kind)),
                ),
                Text("By {field}: {rung}", "按 {field} 分组：{rung_zh}").format(
                    field=name, rung=rung_label(best).en, rung_zh=rung_label(best).zh
                ),
            )
        )
    return list(found)
