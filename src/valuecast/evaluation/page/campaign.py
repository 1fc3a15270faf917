"""Whom a campaign should contact: those of whom it earns more than a contact costs, and what that comes to.

The profit of contacting a user is expected to be::

    save_rate x P(churn) x value_if_stays x margin - contact_cost  =  save_rate x margin x value_at_risk - contact_cost

A contact keeps a share ``save_rate`` of those who would have stopped, and changes nothing about the others. So it pays
from a value at risk of ``contact_cost / (save_rate x margin)`` on: contacting exactly these maximises the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from valuecast import moments
from valuecast.config.recipe import Campaign
from valuecast.evaluation.page.answers import Answer
from valuecast.evaluation.page.priority import AT_RISK, CHURN, IF_STAYS, ranked
from valuecast.language import Text
from valuecast.metrics.metric import FloatArray
from valuecast.report.blocks import Axis, Column, Fact, Facts, LineFigure, Paragraph, Reference, Section, Series, Table
from valuecast.report.cells import show

EXPECTED: Final = "expected_profit"
CONTACT: Final = "contact"
_Z = 1.645  # 90% of a normal distribution lies within
_POINTS = 200

_HOW = {
    "nobody": Text("nobody", "不触达任何人"),
    "chosen": Text("from the threshold on", "达到阈值者"),
    "likely": Text("as many, most likely to stop first", "同样人数，按流失概率从高到低"),
    "all": Text("everybody", "触达所有人"),
}


def threshold(campaign: Campaign) -> float:
    """Return the value at risk from which a contact is expected to pay."""
    return campaign.contact_cost / (campaign.save_rate * campaign.margin)


def chosen(users: pl.DataFrame, campaign: Campaign) -> pl.DataFrame:
    """Add ``expected_profit`` of contacting each user, and ``contact``: whether that is above zero.

    Args:
        users: with ``value_at_risk`` (see ``valuecast.evaluation.page.priority.at_risk``).
        campaign: the assumptions.
    """
    gain = campaign.save_rate * campaign.margin * pl.col(AT_RISK) - campaign.contact_cost
    return users.with_columns(gain.alias(EXPECTED)).with_columns((pl.col(EXPECTED) > 0).alias(CONTACT))


def turned_out(users: pl.DataFrame, campaign: Campaign) -> FloatArray:
    """Return what contacting each user would have paid, given who truly stopped buying.

    A user who stopped would have been kept with the assumed rate, to spend what was predicted of one who stays: that
    is not observed, of anyone who stopped. A user who did not stop costs the contact and brings nothing.
    """
    kept = campaign.save_rate * campaign.margin * users["stopped"].to_numpy() * users[IF_STAYS].to_numpy()
    found: FloatArray = kept - campaign.contact_cost
    return found


def reckoned(answers: Sequence[Answer], campaign: Campaign) -> tuple[Section, Fact] | None:
    """Show whom to contact at the last test cutoff, the expected profit, and how it would have turned out.

    Returns:
        A section, and the headline; None without a pair of tasks.
    """
    found = ranked(answers)
    if found is None:
        return None
    churn, _, users = found
    users = chosen(users, campaign)
    paid = turned_out(users, campaign)
    at = moments.text(churn.at)
    cost, least = show(campaign.contact_cost, "money"), show(threshold(campaign), "money")
    saved, earned = f"{100 * campaign.save_rate:g}%", f"{100 * campaign.margin:g}%"
    assumed = Text(
        f"Assumed, not learned: a contact costs {cost}, keeps {saved} of those who would have stopped, and {earned} of "
        "spend is earned. Expected profit of a contact = save rate × probability of churn × spend if not lost × margin "
        f"− cost. It pays from a value at risk of cost ÷ (save rate × margin) = {least} on. The threshold comes from "
        f"predictions; what happened after {at} only tests it. Measure the save rate: leave a part of those chosen "
        "alone, at random, and compare.",
        f"以下为假设，并非从数据中学得：每次触达成本 {cost}，可挽回 {saved} 的流失用户，毛利率 {earned}。"
        "触达的期望利润 = 挽回率 × 流失概率 × 若留下的消费 × 毛利率 − 成本。"
        f"风险价值达到 成本 ÷（挽回率 × 毛利率）= {least} 时触达才划算。"
        f"阈值只由预测决定，{at} 之后的实际结果仅用于检验。"
        "挽回率应通过实验测量：在选中的用户中随机留出一部分不触达，再作比较。",
    )
    blocks = (Paragraph(assumed), _facts(users, campaign), _curve(users, paid), _strategies(users, paid), _check(users))
    picked = users.filter(CONTACT)
    profit, everybody = (show(float(each[EXPECTED].sum()), "money") for each in (picked, users))
    headline = Fact(
        Text("Worth contacting", "值得触达"),
        f"{len(picked):,}",
        Text(
            f"of {len(users):,} users: expected profit {profit}; {everybody} if everybody is contacted",
            f"共 {len(users):,} 位用户；期望利润 {profit}，若触达所有人则为 {everybody}",
        ),
    )
    return Section(Text("Whom to contact, and what it pays", "触达谁，收益多少"), blocks), headline


def _facts(users: pl.DataFrame, campaign: Campaign) -> Facts:
    picked = users.filter(CONTACT)
    return Facts(
        (
            Fact(Text("Contact from a value at risk of", "触达阈值（风险价值）"), show(threshold(campaign), "money")),
            Fact(
                Text("Users to contact", "触达用户数"),
                f"{len(picked):,}",
                Text(f"of {len(users):,}", f"共 {len(users):,} 位"),
            ),
            Fact(Text("Expected profit", "期望利润"), show(float(picked[EXPECTED].sum()), "money")),
        )
    )


def _curve(users: pl.DataFrame, paid: FloatArray) -> LineFigure:
    count = int(users[CONTACT].sum())
    # The marked count is drawn too, whatever the spacing of the other points.
    places = np.unique([*np.linspace(0, len(users), _POINTS).round().astype(int), count])
    lines = (
        (Text("expected", "期望"), users[EXPECTED].to_numpy()),
        (Text("as it would have turned out", "按实际结果"), paid),
    )
    return LineFigure(
        Text("Profit by number of users contacted", "利润与触达人数"),
        Axis(Text("Users contacted, most value at risk first", "触达用户数（风险价值从高到低）"), "integer", low=0.0),
        Axis(Text("Profit", "利润"), "money"),
        tuple(
            Series(label, tuple(map(float, places)), tuple(map(float, np.cumsum([0.0, *each])[places])))
            for label, each in lines
        ),
        mark=Reference(float(count), Text("threshold", "阈值")),
    )


def _strategies(users: pl.DataFrame, paid: FloatArray) -> Table:
    picked = users[CONTACT].to_numpy()
    likely = np.zeros(len(users), dtype=bool)
    likely[np.argsort(-users[CHURN].to_numpy(), kind="stable")[: int(picked.sum())]] = True
    sets = {"nobody": np.zeros_like(picked), "chosen": picked, "likely": likely, "all": np.ones_like(picked)}
    rows = []
    for name, inside in sets.items():
        own = np.where(inside, paid, 0.0)
        wide = _Z * float(np.sqrt(len(own) * own.var()))
        rows.append(
            {
                "who": name,
                "users": int(inside.sum()),
                "stopped": int((inside & (users["stopped"].to_numpy() > 0)).sum()),
                "expected": float(users[EXPECTED].to_numpy()[inside].sum()),
                "paid": float(own.sum()),
                "paid_low": float(own.sum()) - wide,
                "paid_high": float(own.sum()) + wide,
            }
        )
    return Table(
        pl.DataFrame(rows),
        (
            Column("who", Text("Contact", "触达对象"), words=_HOW),
            Column("users", Text("Users", "用户数"), "integer"),
            Column("stopped", Text("Of them truly stopped", "其中实际流失"), "integer"),
            Column("expected", Text("Expected profit", "期望利润"), "money"),
            Column("paid", Text("As it would have turned out", "按实际结果的利润"), "money", interval=True),
        ),
        Text("The threshold beside simpler ways", "阈值方案与更简单的做法"),
        Text(
            "As it would have turned out: who stopped is observed, whom a contact would have kept and what they would "
            "have spent is assumed. Small figures: 90% interval of a sum over users (normal approximation).",
            "按实际结果：谁流失了是观察到的，触达能挽回谁、挽回后消费多少仍是假设。"
            "小字为对用户求和的 90% 区间（正态近似）。",
        ),
        emphasise=pl.col("who") == "chosen",
    )


def _check(users: pl.DataFrame) -> Paragraph:
    stayed = users.filter(pl.col("stopped") == 0)
    said, did = (show(stayed[name].mean(), "money") for name in (IF_STAYS, "spent"))
    return Paragraph(
        Text(
            f"A check of the assumption about spend: the {len(stayed):,} users who did not stop spent {did} on "
            f"average; {said} was predicted of them if not lost.",
            f"对消费假设的检验：{len(stayed):,} 位未流失的用户实际人均消费 {did}，预测的“若留下的消费”人均为 {said}。",
        )
    )
