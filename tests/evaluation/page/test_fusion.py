"""What a fused model is made of: a mix, one part alone and why, parts that could not be fitted, several cutoffs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.logs import START
from valuecast.evaluation.ladder import Ladder, Result
from valuecast.evaluation.page.fusion import SEEN, fusion
from valuecast.models.registry import FUSED, METHODS
from valuecast.report.blocks import Paragraph, Section, Table
from valuecast.report.cells import rows
from valuecast.tasks import churn
from valuecast.tasks.splits import TimeSplit

TASK = churn(30)
ALONE = {"lightgbm": 0.5, "joint": 0.6, "bgnbd": 0.8}


def result(
    losses: Mapping[str, float],
    shares: Mapping[str, float],
    *,
    at: datetime = START,
    rung: str = FUSED,
    absent: Mapping[str, str] | None = None,
) -> Result:
    trials = [{"blend": name, "parts": {}, "loss": loss} for name, loss in losses.items()]
    head: dict[str, Any] = {
        "settings": {"blend": min(losses, key=losses.__getitem__), "parts": shares},
        "trials": trials,
        "backtest": [{"users": 900}, {"users": 600}],
    }
    return Result(rung, at, None, heads={"churn_30d": head}, facts={"absent": absent or {}})


def section(*results: Result) -> Section:
    found = fusion([Ladder(TASK, TimeSplit(), results)])
    assert found is not None
    return found


def words(found: Section, language: str = "en") -> list[str]:
    return [block.text.to(language) for block in found.blocks if isinstance(block, Paragraph)]


def shown(table: Table, language: str = "en") -> list[tuple[str, ...]]:
    return [tuple(cell.text for cell in row.cells) for row in rows(table, language)]


def tables(found: Section) -> list[Table]:
    return [block for block in found.blocks if isinstance(block, Table)]


def test_a_mix_is_told_with_shares_and_gain() -> None:
    found = section(result({**ALONE, "weighed": 0.48}, {"joint": 0.25, "lightgbm": 0.75}))
    verdict = words(found)[1]
    assert f"a mix of {METHODS['lightgbm'].label.en} 75%, {METHODS['joint'].label.en} 25%" in verdict
    assert "1,500 held-out rows" in verdict
    assert "takes 4.0% off" in verdict
    (table,) = tables(found)
    mix, trees, joint, bgnbd = shown(table)
    assert mix[:4] == ("The mix of these parts", "–", "0.480", "-4.0%")
    assert trees[1:4] == ("75%", "0.500", "0.0%")
    assert joint[1] == "25%"
    assert bgnbd[1:4] == ("–", "0.800", "60.0%")
    assert bgnbd[-1].startswith("left out")
    assert [row.emphasised for row in rows(table, "en")] == [True, False, False, False]


def test_one_part_alone_says_why() -> None:
    found = section(result({**ALONE, "weighed": 0.51}, {"lightgbm": 1.0}))
    assert f"{METHODS['lightgbm'].label.en} alone was chosen, because" in words(found)[1]
    assert "0.51, and 0.5 without mixing" in words(found)[1]
    assert "日志较小" in words(found, "zh")[1]
    (table,) = tables(found)
    trees, mix, *_ = shown(table)
    assert trees[1] == "100%"
    assert mix[-1].startswith("not chosen")
    assert [row.emphasised for row in rows(table, "en")] == [True, False, False, False]


def test_what_could_not_be_fitted_is_listed_with_its_reason() -> None:
    found = section(result({"lightgbm": 0.5}, {"lightgbm": 1.0}, absent={"bgnbd": "too few purchases"}))
    assert words(found)[1].endswith("alone, the only part that could be fitted.")
    _, absent = shown(tables(found)[0])
    assert absent[0] == METHODS["bgnbd"].label.en
    assert absent[-1] == "too few purchases"
    named = section(result({"lightgbm": 0.5}, {"lightgbm": 1.0}))
    assert words(named)[1].endswith("alone, the only part that the settings name.")


def test_of_several_cutoffs_the_latest_is_shown_and_the_others_named() -> None:
    later = result({**ALONE, "weighed": 0.48}, {"joint": 0.25, "lightgbm": 0.75}, at=START + timedelta(days=30))
    earlier = result({**ALONE, "weighed": 0.51}, {"lightgbm": 1.0})
    found = section(later, earlier)
    assert "a mix of" in words(found)[1]
    detail, cutoffs = tables(found)
    assert len(detail.frame) == 4
    (first, second) = shown(cutoffs)
    assert first[1:] == (f"{METHODS['lightgbm'].label.en} 100%", "–")
    assert second[2] == "-4.0%"


def test_a_model_in_a_folder_of_its_own_goes_by_that_name() -> None:
    found = section(result({**ALONE, "weighed": 0.48}, {"lightgbm": 1.0}, rung="best"))
    assert "(best)" in words(found)[1]
    assert "（best）" in words(found, "zh")[1]


@pytest.mark.parametrize("heads", [{}, {"churn_30d": {"settings": {"trees": 3}}}])
def test_without_a_fused_model_there_is_no_section(heads: Mapping[str, Any]) -> None:
    assert fusion([Ladder(TASK, TimeSplit(), (Result("lightgbm", START, None, heads=heads),))]) is None


def test_every_part_that_there_may_be_says_what_it_sees() -> None:
    assert set(SEEN) == set(METHODS) - {FUSED}
