"""The results of one target: money is written as money, and a number as a number."""

from __future__ import annotations

import polars as pl
import pytest

from tests.evaluation.page.made import answer, outcomes
from valuecast.evaluation.page.results import results
from valuecast.metrics.registry import measures
from valuecast.models.naming import format_of, unit
from valuecast.report.blocks import BarFigure, Table
from valuecast.tasks import Task, churn, value

COUNT = Task("count(*) of purchase over next 30 days", name="orders")


@pytest.mark.parametrize(
    ("task", "form"),
    [
        (value(30), "money"),
        (value(30, net=True), "money"),
        (COUNT, "number"),
        (Task("sum(items.weight) of purchase over next 30 days"), "number"),
        (Task("sum(weight) of purchase over next 30 days"), "number"),
        (churn(30), "number"),
    ],
)
def test_only_sums_of_amounts_are_money(task: Task, form: str) -> None:
    assert unit(task).format == form
    assert ("money" in {format_of(measure, task) for measure in measures(task.kind)}) == (form == "money")


@pytest.mark.parametrize(("task", "form", "noun"), [(value(30), "money", "amount"), (COUNT, "number", "number")])
def test_the_section_of_an_amount_has_one_unit(task: Task, form: str, noun: str) -> None:
    (target,) = task.targets
    frame = outcomes(target, [float(n) for n in range(40)], [float(n) + 0.5 for n in range(40)])
    section, headline = results(answer(task, frame), {}, seed=0)
    formats = {column.format for block in section.blocks if isinstance(block, Table) for column in block.columns}
    assert form in formats
    assert formats.isdisjoint({"money"} - {form})
    (bars,) = (block for block in section.blocks if isinstance(block, BarFigure))
    assert bars.y.format == form
    assert f"Predicted and true {noun} per user" in bars.title.en
    assert "true mean per user: 19.50" in str(headline.note)
    assert "1.000" in str(headline.value)


def test_a_slice_is_a_table_of_its_own() -> None:
    frame = outcomes("value_30d", [float(n) for n in range(40)], [float(n) for n in range(40)])
    values = frame.select(
        "user", "at", value=pl.when(pl.col("truth") < 20).then(pl.lit("few")).otherwise(pl.lit("many"))
    )
    section, _ = results(answer(value(30), frame), {"basket": values}, seed=0)
    table = section.blocks[-1]
    assert isinstance(table, Table)
    assert "basket" in table.title.en
    assert sorted(table.frame["value"]) == ["few", "many"]
