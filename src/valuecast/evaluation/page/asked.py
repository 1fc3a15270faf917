"""What a page answers, in words, and the data it answers from."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.evaluation.outcomes import TRUTH
from valuecast.evaluation.page.answers import Answer
from valuecast.events.describe import event_types
from valuecast.events.log import EventLog
from valuecast.events.sales import sales
from valuecast.language import Text
from valuecast.models.naming import unit
from valuecast.report.blocks import Column, Fact, Facts, Paragraph, Section, Table
from valuecast.report.cells import show
from valuecast.tasks import Task
from valuecast.tasks.query import Aggregate, Condition
from valuecast.tasks.splits import UserSplit

_EVERYONE = Text("every user with an event before the moment", "此前有过事件的所有用户")


def asked(answers: Sequence[Answer]) -> Section:
    """Say what was asked, of whom, and at when."""
    texts = {
        "question": [answer.label for answer in answers],
        "who": [who(answer.task) for answer in answers],
        "answer": [_answer(answer) for answer in answers],
        "rung": [answer.rung_label for answer in answers],
        "happened": [_happened(answer) for answer in answers],
    }
    words = {text.en: text for column in texts.values() for text in column}
    rows = pl.DataFrame(
        {
            **{name: [text.en for text in column] for name, column in texts.items()},
            "at": [", ".join(map(moments.text, answer.outcomes[c.AT].unique().sort())) for answer in answers],
            "users": [answer.outcomes[c.USER].n_unique() for answer in answers],
        }
    )
    columns = (
        Column("question", Text("Question", "问题"), words=words),
        Column("who", Text("Asked about", "针对哪些用户"), words=words),
        Column("at", Text("At", "时点")),
        Column("users", Text("Users", "用户数"), "integer"),
        Column("answer", Text("The answer is", "答案是"), words=words),
        Column("rung", Text("Best on validation", "验证集上最佳的方法"), words=words),
        Column("happened", Text("What happened", "实际结果"), words=words),
    )
    return Section(
        Text("What was asked", "问题是什么"),
        (Paragraph(_tested(answers[0])), Table(rows, columns, Text("The questions", "各个问题"))),
    )


def data(log: EventLog) -> Section:
    """Say what the log holds."""
    span = Fact(
        Text("Known for", "已知时段"),
        Text(f"{log.span.days:,.0f} days", f"{log.span.days:,.0f} 天"),
        Text(
            f"{log.span.start.date()} to {log.span.until.date()}", f"{log.span.start.date()} 至 {log.span.until.date()}"
        ),
    )
    users = Fact(Text("Users", "用户数"), f"{log.count_users():,}")
    return Section(Text("The data", "数据概况"), (Facts((span, users, *sales(log))), event_types(log)))


def who(task: Task) -> Text:
    """Say in words whom a task asks about."""
    parts = [condition_words(condition) for condition in task.question.when]
    if not parts:
        return _EVERYONE
    return Text(
        f"users with {' and '.join(part.en for part in parts)}", f"{'、'.join(part.zh for part in parts)}的用户"
    )


def condition_words(condition: Condition, *, met: bool = True) -> Text:
    """Say a condition of eligibility, or that it is not met, in words; a rare one in the language of tasks."""
    asked_of, days = condition.aggregate, condition.days
    simple = asked_of == Aggregate("count", events=asked_of.events) and str(condition.comparison) == "> 0"
    named = f" ({', '.join(asked_of.events)})" if asked_of.events else ""
    if simple:
        return Text(
            f"{'an' if met else 'no'} event{named} in the {days} days before",
            f"此前{days}天内{'有' if met else '没有'}事件{named}",
        )
    return Text(f"{'' if met else 'not '}{condition}", f"{'' if met else '不'}满足 {condition}")


def _tested(answer: Answer) -> Text:
    if isinstance(answer.ladder.split, UserSplit):
        return Text(
            "Each model answered for users whose history it had not learned from; beside the answer stands what "
            "these users did in the days after the moment.",
            "每个模型只对训练中未出现的用户作答，并与这些用户在该时点之后的实际行为对照。",
        )
    return Text(
        "Each model saw only what happened before the moment, and answered for every user asked about; beside the "
        "answer stands what these users did in the days after it.",
        "每个模型只看到该时点之前发生的事，并对所有符合条件的用户作答；随后与这些用户在该时点之后的实际行为对照。",
    )


def _answer(answer: Answer) -> Text:
    if answer.task.kind == "binary":
        return Text("a probability", "概率")
    noun = unit(answer.task).noun
    return Text(f"{'an' if noun.en[0] in 'aeiou' else 'a'} {noun.en}", noun.zh)


def _happened(answer: Answer) -> Text:
    mean = float(answer.outcomes[TRUTH].to_numpy().mean())
    if answer.task.kind == "binary":
        return Text(f"true for {mean:.1%}", f"{mean:.1%} 的用户如此")
    form = unit(answer.task).format
    return Text(f"{show(mean, form)} per user", f"人均 {show(mean, form)}")
