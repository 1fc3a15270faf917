"""Columns that know the future: what is said about a user before ``at`` and could only be known after it.

An undated attribute is the main culprit: it was written when the log was exported, and says how things ended. Three
signs give it away. It holds dates after ``at``. It tells the outcome nearly without error, alone. Or it goes on
telling of the outcome where all that was done before ``at`` is known. The latter two are measured on users whom the
model of the column has not seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import moments
from valuecast.evaluation.readiness import subjects
from valuecast.evaluation.readiness.finding import Finding, Remark, Verdict, together
from valuecast.evaluation.readiness.inquiry import Inquiry
from valuecast.evaluation.readiness.minimums import FEWEST
from valuecast.evaluation.readiness.subjects import Candidate, Subjects
from valuecast.language import Text
from valuecast.metrics.ranking import auc
from valuecast.report.blocks import Column, Table

TITLE: Final = Text("Columns that know the future", "预知未来的字段")
CERTAIN: Final = 0.95
"""AUC of one column alone: nobody foresees customers so well."""
BEYOND: Final = 0.03
"""What a column adds to the AUC of the past, and more than ``ERRORS`` standard errors. On Complete Journey, whose
attributes are honest, those of households add .004 at most and those of products .016."""
ERRORS: Final = 2.0
LATER: Final = 0.001
"""Share of dates after ``at``: one typing error in a thousand is not knowledge."""
FOLDS: Final = 5
BINS: Final = 10
RARE: Final = 20
"""A value that fewer have is put together with the other rare ones."""
MOST_VALUES: Final = 50
SHOWN: Final = 15
_DATES: Final = ("%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d")
_AS_DATE = 10  # characters of a date; what follows is a time of day

_KNOWS: Final = Text(
    "'{name}' alone tells the outcome with an AUC of {alone:.2f}; all that was done before {at} gives {past:.2f}. "
    "Nobody foresees so well: it was written afterwards.",
    "仅凭“{name}”判断结果的 AUC 就达 {alone:.2f}，而 {at} 之前的全部行为只有 {past:.2f}。"
    "没有人能预见得如此准确：它是事后写入的。",
)
_TELLS: Final = Text(
    "'{name}' adds {gain:.2f} to the AUC of all that was done before {at} ({past:.2f}).",
    "在 {at} 之前全部行为的 AUC（{past:.2f}）之上，“{name}”还能再增加 {gain:.2f}。",
)
_LATER: Final = Text(
    "{later:.1%} of the dates in '{name}' lie after {at}: they were written later, or are plans.",
    "“{name}”中 {later:.1%} 的日期晚于 {at}：它们是事后写入的，或是计划日期。",
)
_DATE_IT: Final = Text(
    "Declare it dated, with a column valid_from that says since when it is known, or leave it out.",
    "请用 valid_from 列注明何时起已知，或不使用该字段。",
)
_CHECK_TIMES: Final = Text(
    "Check that events carry the time at which this became known; else leave it out.",
    "请核实事件时间是否为获知该信息的时间，否则不使用该字段。",
)
_CLEAN: Final = Text(
    "None of {count} columns and types of event tells more than it may: they add {most:+.3f} to the AUC of "
    "the past at most.",
    "{count} 个字段与事件类型均无异常：在历史行为之上至多增加 {most:+.3f} 的 AUC。",
)
_FEW: Final = Text(
    "Fewer than {fewest} of one outcome at {at}: what columns know cannot be judged.",
    "{at} 某一类结果不足 {fewest} 位，无法判断字段是否预知未来。",
)
_NONE: Final = Text("The log has no columns of its own to look at.", "日志没有可供检查的自有字段。")
_TABLE: Final = {
    column.name: column
    for column in (
        Column("name", Text("Column", "字段")),
        Column("undated", Text("Undated", "未注明日期")),
        Column("alone", Text("AUC alone", "单独 AUC"), "number"),
        Column("past", Text("AUC of the past", "历史行为 AUC"), "number"),
        Column("both", Text("AUC of both", "两者合用 AUC"), "number"),
        Column("filled", Text("Filled, outcome true", "结果发生者的填充率"), "percent"),
        Column("filled_else", Text("Filled, the others", "其余的填充率"), "percent"),
        Column("later", Text("Dates after", "晚于该时点的日期"), "percent"),
    )
}


@dataclass(frozen=True)
class Suspicion:
    """What one column gives away.

    Attributes:
        name: of the column.
        undated: whether it is an attribute that nobody dated.
        alone: AUC of the column alone, out of fold.
        past: AUC of what was done before ``at``, out of fold.
        both: of the two together.
        error: about one standard error of an AUC of so many (the smaller class decides).
        filled: share with a value, among those for whom the outcome is true.
        filled_else: the same among the others.
        later: share of its values that are dates after ``at``; None where it holds no dates.
    """

    name: str
    undated: bool
    alone: float
    past: float
    both: float
    error: float
    filled: float | None
    filled_else: float | None
    later: float | None

    @property
    def gain(self) -> float:
        """What the column adds to the past."""
        return self.both - self.past

    @property
    def knows(self) -> bool:
        """Whether it is too good to be true."""
        return self.alone >= CERTAIN and self.alone > self.past

    @property
    def tells(self) -> bool:
        """Whether it tells what the past does not."""
        return self.gain > max(BEYOND, ERRORS * self.error)

    @property
    def later_dates(self) -> bool:
        """Whether it holds dates after ``at``."""
        return self.later is not None and self.later > LATER

    @property
    def verdict(self) -> Verdict:
        """An undated attribute that knows is certain; what is dated may be knowledge that somebody had."""
        if self.knows and self.undated:
            return "no"
        return "weak" if self.knows or self.tells or self.later_dates else "ok"


def foresight(inquiry: Inquiry) -> Finding:
    """Look at every attribute, field and type of event for what it cannot have known."""
    found: list[Suspicion] = []
    at, few = moments.text(inquiry.at), False
    for group in (subjects.users(inquiry), subjects.items(inquiry)):
        if group is not None and group.candidates:
            judged = suspicions(group, inquiry)
            few |= judged is None
            found += judged or []
    remarks = [_remark(each, at) for each in found if each.verdict != "ok"]
    if few:
        remarks.append(Remark("weak", _FEW.format(fewest=FEWEST, at=at)))
    if found and not remarks:
        remarks.append(Remark("ok", _CLEAN.format(count=len(found), most=max(each.gain for each in found))))
    return Finding("foresight", TITLE, tuple(remarks) or (Remark("ok", _NONE),), (_table(found, at),) if found else ())


def suspicions(group: Subjects, inquiry: Inquiry) -> list[Suspicion] | None:
    """Judge every column, the most telling first; None where too few had one of the outcomes."""
    outcome = group.outcome
    fewer = int(min(outcome.sum(), (~outcome).sum()))
    if fewer < FEWEST:
        return None
    past = np.hstack([_bins(column) for column in group.past])
    known = _foretold(past, outcome)
    error = math.sqrt(known * (1 - known) / fewer)
    found = []
    for candidate in group.candidates:
        values, later = _read(candidate, inquiry)
        bins, filled = _bins(values), values.is_not_null().to_numpy()
        whole = bool(filled.all())
        found.append(
            Suspicion(
                candidate.name,
                candidate.undated,
                alone=_foretold(bins, outcome),
                past=known,
                both=_foretold(np.hstack([past, bins]), outcome),
                error=error,
                filled=None if whole else float(filled[outcome].mean()),
                filled_else=None if whole else float(filled[~outcome].mean()),
                later=later,
            )
        )
    return sorted(found, key=lambda each: -max(each.gain, each.alone - each.past))


def _foretold(table: NDArray[np.float64], outcome: NDArray[np.bool_]) -> float:
    """Return the AUC of a logistic regression on ``table``, of rows that it has not seen."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415

    score = np.empty(len(outcome))
    for learned, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(table, outcome):
        model = LogisticRegression(solver="newton-cholesky").fit(table[learned], outcome[learned])
        score[judged] = model.decision_function(table[judged])
    return auc(outcome.astype(np.float64), score)


def _read(candidate: Candidate, inquiry: Inquiry) -> tuple[pl.Series, float | None]:
    """The values as numbers where they are dates, and the share of them after ``at``."""
    values = candidate.values
    if values.dtype != pl.String or not values.count():
        return values, None
    head = values.str.slice(0, _AS_DATE)
    for form in _DATES:
        dates = head.str.to_date(form, strict=False)
        if dates.count() >= 0.9 * values.count():
            return dates.cast(pl.Int32).alias(values.name), float((dates > inquiry.at.date()).sum()) / values.count()
    return values, None


def _bins(values: pl.Series) -> NDArray[np.float64]:
    """Code a column as indicators: tenths of a number, common values of a text, and one for what is missing."""
    if values.dtype.is_numeric():
        numbers = values.cast(pl.Float64).fill_nan(None)
        edges = sorted({edge for part in range(1, BINS) if (edge := numbers.quantile(part / BINS)) is not None})
        # the values on an edge are the bin below it: a count of zero is a bin of its own
        code = np.searchsorted(np.array(edges, dtype=np.float64), numbers.fill_null(0.0).to_numpy(), side="left")
        named = pl.select(pl.when(numbers.is_not_null()).then(pl.Series(code).cast(pl.String))).to_series()
    else:
        text = values.cast(pl.String)
        counts = text.drop_nulls().value_counts(sort=True)
        common = counts.filter(pl.col("count") >= RARE).head(MOST_VALUES)[text.name]
        named = pl.select(
            pl.when(text.is_null()).then(None).when(text.is_in(common.implode())).then(text).otherwise(pl.lit(""))
        ).to_series()
    return named.to_dummies().to_numpy().astype(np.float64)


def _remark(found: Suspicion, at: str) -> Remark:
    values = {"name": found.name, "alone": found.alone, "past": found.past, "gain": found.gain, "at": at}
    parts = [_KNOWS] if found.knows else [_TELLS] if found.tells else []
    parts += [_LATER] if found.later_dates else []
    told = [part.format(**values, later=found.later) for part in parts]
    return Remark(found.verdict, together(*told, _DATE_IT if found.undated else _CHECK_TIMES))


def _table(found: list[Suspicion], at: str) -> Table:
    frame = pl.DataFrame({name: [getattr(each, name) for each in found] for name in _TABLE}, strict=False)
    frame = frame.with_columns(pl.Series("verdict", [each.verdict for each in found]))
    # a column of dashes says nothing
    columns = tuple(column for name, column in _TABLE.items() if frame[name].count())
    caption = Text(
        "What the columns say of users and items at {at}, against the outcome after it: alone, all that was done "
        "before, and both together. Out of fold. Bold: suspicious.",
        "以 {at} 所见的用户与商品字段判断其后的结果：字段单独、历史行为、两者合用的 AUC，均为折外结果。粗体：可疑。",
    ).format(at=at)
    title = Text("The most telling columns", "最能说明结果的字段")
    return Table(frame.head(SHOWN), columns, title, caption, emphasise=pl.col("verdict") != "ok")
