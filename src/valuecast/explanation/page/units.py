"""How scores and effects are written: probabilities as percentages and points, amounts as amounts."""

from __future__ import annotations

from valuecast.language import Text
from valuecast.models.naming import unit
from valuecast.report.blocks import Format
from valuecast.report.cells import show
from valuecast.tasks import Task


def form(task: Task) -> Format:
    """How a score of a task is written."""
    return "percent" if task.kind == "binary" else unit(task).format


def shown(task: Task, value: object) -> str:
    """Write a score."""
    return show(value, form(task))


def scale(task: Task) -> float:
    """Points of a probability are hundredths."""
    return 100.0 if task.kind == "binary" else 1.0


def suffix(task: Task) -> Text:
    """What is put behind the name of an effect to say its unit."""
    return Text(", points", "（百分点）") if task.kind == "binary" else Text("", "")


def noun(task: Task) -> Text:
    """The unit of an effect."""
    if task.kind == "binary":
        return Text("points of the probability", "概率的百分点")
    return Text("the score's unit", "分数的单位")


def effect(task: Task, value: float, *, signed: bool = True) -> Text:
    """Write an effect."""
    if task.kind == "binary":
        text = f"{value * 100:{'+' if signed else ''}.1f}"
        return Text(f"{text} points", f"{text}个百分点")
    text = show(value, "signed" if signed else unit(task).format)
    return Text(text, text)


_HOW = Text(
    "Effects are in {unit}. Each says by how much the score moves when this part of the user takes the place of that "
    "of typical users, one after the other in many orders (Shapley values); all effects and the average add up to the "
    "score. Causes work together: having bought often can raise the risk of somebody who has fallen silent. They say "
    "what the model made of the user, not what causes what.",
    "影响以{unit_zh}计，表示把典型用户的这一部分换成该用户自己的之后，分数变化多少；"
    "按多种先后顺序逐一替换后取平均（Shapley 值）。"
    "所有影响与平均水平之和等于该用户的分数。各因素相互作用：对久未出现的用户，过去买得勤也可能推高流失风险。"
    "它说明模型如何看待该用户，并不代表因果关系。",
)


def how(task: Task) -> Text:
    """Say what an effect is."""
    return Text(_HOW.en.format(unit=noun(task).en), _HOW.zh.format(unit_zh=noun(task).zh))
