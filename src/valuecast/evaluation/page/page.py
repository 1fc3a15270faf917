"""Turns ladders into a Report: the page a person reads, in both languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.config.recipe import Campaign
from valuecast.evaluation.ladder import Ladder
from valuecast.evaluation.page.answers import Answer, answers
from valuecast.evaluation.page.asked import asked, data
from valuecast.evaluation.page.campaign import reckoned
from valuecast.evaluation.page.caveats import caveats
from valuecast.evaluation.page.cohorts import cohorts
from valuecast.evaluation.page.concentration import concentration
from valuecast.evaluation.page.fusion import fusion
from valuecast.evaluation.page.making import making
from valuecast.evaluation.page.newcomers import newcomers
from valuecast.evaluation.page.priority import priority
from valuecast.evaluation.page.results import results
from valuecast.evaluation.page.tracking import tracking
from valuecast.events.log import EventLog
from valuecast.language import Text
from valuecast.report.blocks import Fact, Notice, Report, Section
from valuecast.tasks.splits import UserSplit

_BY_USERS = Text(
    "Split by users, not by time: one cutoff, and {share} of the users held out. This says how well a model reads "
    "other customers of the same season, not how well it foresees a later one. Do not compare it with splits by time.",
    "按用户而非按时间划分：单一时点，留出 {share} 的用户。它衡量的是对同一时期其他客户的判断，而非对未来时期的预测，"
    "不可与按时间划分的结果比较。",
)


def page(
    ladders: Sequence[Ladder],
    *,
    title: Text,
    log: EventLog,
    slices: Mapping[str, pl.DataFrame] | None = None,
    campaign: Campaign | None = None,
    why: Sequence[Section] = (),
    show_users: bool = False,
    made: Iterable[Fact] = (),
    seed: int = 0,
) -> Report:
    """Make the report of some ladders on one log.

    Args:
        ladders: one for each task.
        title: of the page.
        log: what they were tested on.
        slices: values of fields to break results down by (see ``valuecast.evaluation.slices``).
        campaign: what is assumed about contacting users, to say whom.
        why: sections that explain the models.
        show_users: whether ids of users are shown as they are.
        made: how the page came about.
        seed: of the bootstrap.

    Raises:
        FitError: no rung of a ladder fitted.
    """
    found = answers(ladders)
    shown = [results(answer, slices or {}, seed=seed) for answer in found]
    maybe = (priority(found, log, show_users=show_users), reckoned(found, campaign) if campaign else None)
    acted = [part for part in maybe if part]
    sections: list[Section | None] = [
        asked(found),
        *(section for section, _ in shown),
        fusion(ladders),
        tracking(found, log),
        *(concentration(answer) for answer in found if _is_longest_amount(answer)),
        *(section for section, _ in acted),
        *why,
        newcomers(found, log),
        data(log),
        cohorts(log),
        making(ladders),
        caveats(found, log),
    ]
    labels = [answer.label for answer in found]
    return Report(
        title=title,
        subtitle=Text("; ".join(label.en for label in labels), "；".join(label.zh for label in labels)),
        facts=(*_tested(found), *(headline for _, headline in (*shown, *acted))),
        notices=tuple(_notices(ladders, log)),
        sections=tuple(section for section in sections if section),
        made=tuple(made),
    )


def _is_longest_amount(answer: Answer) -> bool:
    return answer.task.kind == "amount" and answer.days == answer.task.horizon.days


def _tested(found: Sequence[Answer]) -> list[Fact]:
    at = sorted({at for answer in found for at in answer.outcomes[c.AT]})
    users = {user for answer in found for user in answer.outcomes[c.USER]}
    return [
        Fact(Text("Test cutoff" if len(at) == 1 else "Test cutoffs", "测试时点"), ", ".join(map(moments.text, at))),
        Fact(Text("Users tested", "测试用户数"), f"{len(users):,}"),
    ]


def _notices(ladders: Sequence[Ladder], log: EventLog) -> list[Notice]:
    shares = dict.fromkeys(ladder.split.holdout for ladder in ladders if isinstance(ladder.split, UserSplit))
    return [
        *([Notice(log.about)] if log.about else []),
        *(Notice(_BY_USERS.format(share=f"{share:.0%}"), "warning") for share in shares),
    ]
