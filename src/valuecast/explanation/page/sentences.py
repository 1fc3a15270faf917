"""An explanation in three sentences, in English and in Chinese."""

from __future__ import annotations

from typing import Final

from valuecast.explanation.change import Change, Counterfactual, better
from valuecast.explanation.explain import Explanation
from valuecast.explanation.page.units import effect, shown
from valuecast.language import Text
from valuecast.tasks import Task

_TOLD: Final = 2  # drivers of either direction in a sentence
_MATTERS: Final = 0.1  # of the strongest effect: a weaker one is not told


def sentences(found: Explanation) -> tuple[Text, ...]:
    """Say it in three sentences."""
    return (_level(found), _moved(found), changed(found.counterfactual, found.task))


def _level(found: Explanation) -> Text:
    score, label = float(found.score["score"]), found.task.label(found.target)  # type: ignore[arg-type]
    apart = score - found.base
    near = abs(apart) < (0.005 if found.task.kind == "binary" else 0.005 * max(abs(found.base), 1.0))
    more = Text("above" if apart > 0 else "below", "高" if apart > 0 else "低")
    far = effect(found.task, abs(apart), signed=False)
    compared = (
        Text("as much as the average", "与平均水平相当")
        if near
        else Text(f"{far.en} {more.en} the average", f"比平均水平{more.zh}{far.zh}")
    )
    return Text(
        f"{label.en}: {shown(found.task, score)}, {compared.en} of {shown(found.task, found.base)}.",
        f"{label.zh}：{shown(found.task, score)}，{compared.zh}（平均 {shown(found.task, found.base)}）。",
    )


def _moved(found: Explanation) -> Text:
    rows = list(found.drivers.iter_rows(named=True))
    strongest = max((abs(row["effect"]) for row in rows), default=0.0)
    up, down = ([row for row in rows if sign * row["effect"] > _MATTERS * strongest][:_TOLD] for sign in (1, -1))
    parts = []
    for chosen, words in (
        (up, Text("It is higher because of: ", "推高的因素：")),
        (down, Text("It is lower because of: ", "拉低的因素：")),
    ):
        if chosen:
            en = "; ".join(f"{row['en']} ({effect(found.task, row['effect']).en})" for row in chosen)
            zh = "；".join(f"{row['zh']}（{effect(found.task, row['effect']).zh}）" for row in chosen)
            parts.append(Text(words.en + en, words.zh + zh))
    if not parts:
        return Text("Nothing moves it from the average.", "没有因素使其偏离平均水平。")
    if float(found.score["score"]) < found.base:  # type: ignore[arg-type]
        parts.reverse()
    joined_en = parts[0].en + "".join(f". {part.en}" for part in parts[1:])
    return Text(joined_en + ".", "。".join(part.zh for part in parts) + "。")


def changed(found: Counterfactual | None, task: Task) -> Text:
    """Say what would take a score across its threshold."""
    if found is None:
        if better(task) == "lower":
            return Text("The user is in the tier of least risk already.", "该用户已处于风险最低的等级。")
        return Text("The user is in the highest tier already.", "该用户已处于最高等级。")
    now, then, idle, limit = (shown(task, each) for each in (found.now, found.then, found.idle, found.threshold))
    within = Text(f"{found.days} days", f"{found.days}天")
    lower = found.direction == "lower"
    if (found.idle < found.threshold) if lower else (found.idle >= found.threshold):
        return Text(
            f"Without anything happening, the score moves from {now} to {idle} within {within.en}, "
            f"{'below' if lower else 'to or above'} {limit}.",
            f"即使什么都不发生，{within.zh}内分数也会从 {now} 变为 {idle}，{'低于' if lower else '达到'} {limit}。",
        )
    if found.change is None:
        if found.nearest is None:
            return Text(
                f"Nothing that was tried takes the score {'below' if lower else 'to'} {limit}, or nearer to it than "
                f"doing nothing does within {within.en} ({idle}).",
                f"所尝试的行为都不能使分数{'低于' if lower else '达到'} {limit}，"
                f"也不比{within.zh}内什么都不做（{idle}）更接近。",
            )
        what = doing(found.nearest)
        return Text(
            f"Nothing that was tried takes the score {'below' if lower else 'to'} {limit}, whenever in the next "
            f"{within.en} it happens; the closest is {what.en}: {then} in place of {idle}.",
            f"所尝试的行为，无论发生在今后{within.zh}中的哪一天，都不能使分数{'低于' if lower else '达到'} {limit}；"
            f"最接近的是{what.zh}：{then}（若什么都不做为 {idle}）。",
        )
    what, verb = doing(found.change), "takes" if found.change.count == 1 else "take"
    return Text(
        f"{what.en[0].upper()}{what.en[1:]}, whenever within {within.en}, {verb} the score from {now} to {then} or "
        f"{'less' if lower else 'more'} ({idle} without it), {'below' if lower else 'beyond'} the limit of {limit}.",
        f"若{within.zh}内任何时候{what.zh}，分数将从 {now} 变为 {then} 或更{'低' if lower else '高'}"
        f"（若什么都不做为 {idle}），{'低于' if lower else '达到'} {limit} 的界限。",
    )


_ACTS: Final = {
    "view": Text("a visit", "浏览一次"),
    "cart": Text("an addition to the cart", "加购一次"),
    "review": Text("a review", "评价一次"),
    "search": Text("a search", "搜索一次"),
}


def doing(change: Change) -> Text:
    """Say what a user would do."""
    if change.event != "purchase":
        return _ACTS.get(change.event, Text(f"an event '{change.event}'", f"发生一次“{change.event}”"))
    least = None if change.amount is None else f"{change.amount:,.4g}"
    worth = Text(f" of {least} or more", f"金额 {least} 以上") if least else None
    if change.count == 1:
        return Text(f"an order{worth.en}", f"下一单（{worth.zh}）") if worth else Text("an order", "下一单")
    many = Text(f"{change.count} orders", f"下{change.count}单")
    return Text(f"{many.en}{worth.en} each", f"{many.zh}（每单{worth.zh}）") if worth else many
