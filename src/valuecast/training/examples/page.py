"""The page of the classic program: what was asked, how well it is answered before and after fine-tuning, and how."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import polars as pl

from valuecast.config.examples import SPLITS
from valuecast.language import Text
from valuecast.report.blocks import (
    Axis,
    Block,
    Column,
    Fact,
    Facts,
    LineFigure,
    Notice,
    Paragraph,
    Reference,
    Report,
    Section,
    Series,
    Table,
)
from valuecast.training.examples.fit import Fitted
from valuecast.training.examples.outcome import CONTENDERS, Outcome, comparison, epochs
from valuecast.training.examples.pseudo import Round, Taught
from valuecast.training.examples.scores import MACRO, WEIGHTED, by_class, figures, measured
from valuecast.training.examples.table import Labelled

_SPLIT_WORDS = {
    "train": Text("training", "训练"),
    "validation": Text("validation", "验证"),
    "test": Text("test", "测试"),
}
_KINDS = {
    "binary": Text("yes or no", "是／否"),
    "classes": Text("one of {n} classes", "{n} 类之一"),
    "number": Text("a number", "数值"),
}

_UNKNOWN = 0.05  # of the tokens: names and typing errors stay below it

_MEANS = {MACRO: Text("Mean of the classes", "各类平均"), WEIGHTED: Text("Mean of the rows", "按行加权平均")}


def page(outcome: Outcome, *, made: tuple[Fact, ...] = ()) -> Report:
    """Make the page."""
    words = outcome.program.title
    return Report(
        title=Text(words.en, words.zh),
        subtitle=Text(
            "Labelled texts and a language model: what it knew before, and what it has learned",
            "带标签的文本与语言模型：微调前知道什么，微调后学会了什么",
        ),
        facts=tuple(_facts(outcome)),
        notices=tuple(_notices(outcome)),
        sections=tuple(_sections(outcome)),
        made=made,
    )


def _facts(outcome: Outcome) -> Iterator[Fact]:
    table = outcome.table
    sizes = {name: len(table.of(name)) for name in SPLITS}  # type: ignore[arg-type]
    told = Text(
        ", ".join(f"{count:,} {_SPLIT_WORDS[name].en}" for name, count in sizes.items()),
        "，".join(f"{_SPLIT_WORDS[name].zh} {count:,}" for name, count in sizes.items()),
    )
    yield Fact(Text("Labelled texts", "带标签的文本"), told, _split_note(table))
    every = table.facts.get("drawn")
    note = Text("drawn from {n:,}", "从 {n:,} 位中抽取").format(n=every) if every else None
    yield Fact(Text("Users", "用户数"), f"{table.facts['users']:,}", note)
    kind = _KINDS[table.kind].format(n=len(table.classes))
    if table.kind == "number":
        yield Fact(Text("Label", "标签"), kind)
    else:
        yield Fact(Text("Label", "标签"), kind, Text(*[" / ".join(table.classes)] * 2))
    yield Fact(Text("Unlabelled texts", "无标签文本"), f"{table.facts['pool']:,}")
    facts = outcome.fitted.predictor.facts
    yield Fact(
        Text("Language model", "语言模型"),
        outcome.program.text.model,
        Text("{n:,} parameters, {trained:,} trained", "共 {n:,} 个参数，训练其中 {trained:,} 个").format(
            n=facts["parameters"]["network"], trained=facts["parameters"]["trained"]
        ),
    )
    tuning = outcome.program.tuning
    yield Fact(
        Text("Fine-tuning", "微调"),
        tuning.method,
        Text(
            "at most {epochs} epoch(s), batches of {batch}, learning rate {rate:g}; {seconds:.0f} seconds",
            "最多 {epochs} 轮，批大小 {batch}，学习率 {rate:g}；用时 {seconds:.0f} 秒",
        ).format(epochs=tuning.epochs, batch=tuning.batch, rate=tuning.rate, seconds=outcome.fitted.history.seconds),
    )


def _split_note(table: Labelled) -> Text:
    how = table.facts["split"]
    if how["by"] == "column":
        return Text("as the file says", "按文件中的划分")
    return Text(
        "no split in the file: by a digest of the user, {validation:.0%} and {test:.0%}, seed {seed}",
        "文件中没有划分：按用户摘要划分，验证 {validation:.0%}，测试 {test:.0%}，种子 {seed}",
    ).format(**{name: how[name] for name in ("validation", "test", "seed")})


def _notices(outcome: Outcome) -> Iterator[Notice]:
    table = outcome.table
    if dropped := table.facts["dropped"]:
        told = ", ".join(map(str, dropped[:5]))
        yield Notice(
            Text(
                "{n:,} rows without a text were left out, as asked: row {rows}{more}.",
                "按要求略去 {n:,} 行没有文本的记录：第 {rows} 行{more}。",
            ).format(n=len(dropped), rows=told, more=" …" if len(dropped) > 5 else ""),
            "warning",
        )
    if outcome.unknown > _UNKNOWN:
        yield Notice(
            Text(
                "The language model has no word for {share:.0%} of what it reads. Choose one that has learned this "
                "language.",
                "这个语言模型不认识文本中 {share:.0%} 的词元。请换用学过这种语言的模型。",
            ).format(share=outcome.unknown),
            "warning",
        )
    if outcome.cut:
        yield Notice(
            Text(
                "{n:,} of {all:,} texts are longer than the model reads ({tokens} tokens): it saw their beginnings.",
                "{all:,} 条文本中有 {n:,} 条超过模型可读长度（{tokens} 个词元）：模型只看到开头部分。",
            ).format(n=outcome.cut, all=len(table.frame), tokens=outcome.program.text.tokens)
        )
    name = "mae" if table.kind == "number" else "log_loss"  # of both, less is better
    values = dict(comparison(outcome).select("contender", name).iter_rows())
    ours = [values.pop(each) for each in ("tuned", "pseudo") if each in values]
    best = min(values, key=lambda each: values[each])
    if values[best] <= min(ours):
        other, figure = _name(best, table), _figure(name)
        yield Notice(
            Text(
                f"On these test rows the fine-tuned model does not beat “{other.en}” ({figure.en}).",
                f"在这些测试行上，微调后的模型没有胜过“{other.zh}”（{figure.zh}）。",
            ),
            "warning",
        )


def _figure(name: str) -> Text:
    return next(each.label for each in figures("number") + figures("binary") if each.name == name)


def _name(contender: str, table: Labelled) -> Text:
    return CONTENDERS["boosted_columns" if contender == "boosted" and table.columns else contender]


def _sections(outcome: Outcome) -> Iterator[Section]:
    yield Section(Text("On the test rows", "测试结果"), tuple(_tested(outcome)))
    if outcome.table.kind != "number":
        yield Section(Text("Classification reports", "分类报告"), tuple(_classified(outcome)))
    yield Section(Text("Epoch by epoch", "逐轮训练过程"), tuple(_learned(outcome)))
    if outcome.taught is not None:
        yield Section(Text("Pseudo-labels", "伪标签"), tuple(_pseudo(outcome.taught, outcome)))
    yield Section(Text("What to keep in mind", "使用须知"), tuple(_limits(outcome)))


def _tested(outcome: Outcome) -> Iterator[Block]:
    table = outcome.table
    shown = figures(table.kind)
    frame = comparison(outcome)
    last = frame["contender"][-1] if outcome.taught is None or outcome.taught.used else "tuned"
    named = {name: _name(name, table) for name in CONTENDERS}
    yield Table(
        frame,
        (
            Column("contender", Text("Model", "模型"), words=named),
            *(Column(each.name, each.label, each.format) for each in shown),
        ),
        Text("Every model on the same {n:,} rows", "所有模型，同样的 {n:,} 行").format(n=len(table.of("test"))),
        caption=Text(
            "The row that stands out is the model that was kept; it was chosen on the validation rows, not on these.",
            "突出显示的一行是被保留的模型；它是在验证集上选出的，而不是在这些行上。",
        ),
        emphasise=pl.col("contender") == last,
    )


def _classified(outcome: Outcome) -> Iterator[Block]:
    table = outcome.table
    truth = table.numbers("test")
    columns = (
        Column("class", Text("Class", "类别"), words=_MEANS),
        Column("precision", Text("Precision", "精确率"), "number"),
        Column("recall", Text("Recall", "召回率"), "number"),
        Column("f1", Text("F1", "F1"), "number"),
        Column("support", Text("Rows of the class", "该类行数"), "integer"),
        Column("called", Text("Called so", "被判为该类"), "integer"),
    )
    for name in ("untrained", "linear", "tuned", "pseudo"):
        if name in outcome.said:
            said = outcome.said[name]
            accuracy = measured(table.kind, truth, said)["accuracy"]
            yield Table(
                by_class(truth, said, table.classes),
                columns,
                _name(name, table),
                caption=Text("Accuracy {value:.1%}.", "准确率 {value:.1%}。").format(value=accuracy),
            )
    yield Paragraph(
        Text(
            "A row is called by its most probable class. A class that no row was called has no precision; where few "
            "rows are of a class, that is what an honest probability leads to, and AUC says whether they are in order.",
            "每行按概率最高的类别判定。没有任何行被判为某类时，该类没有精确率；某类样本很少时，如实的概率就会如此，"
            "排序是否正确请看 AUC。",
        )
    )


def _learned(outcome: Outcome) -> Iterator[Block]:
    fitted = outcome.fitted
    frame = epochs(fitted)
    losses = {"training": Text("training rows", "训练集"), "validation": Text("validation rows", "验证集")}
    if len(frame) > 1:
        x = tuple(float(number) for number in frame["epoch"])
        yield LineFigure(
            Text("Loss by epoch", "各轮损失"),
            Axis(Text("Epoch", "轮次"), "integer"),
            Axis(Text("Loss", "损失")),
            tuple(Series(label, x, tuple(frame[name].to_list())) for name, label in losses.items()),
            mark=Reference(float(fitted.history.best_epoch), Text("kept", "保留")),
        )
    yield Table(
        frame,
        (
            Column("epoch", Text("Epoch", "轮次"), "integer"),
            Column("training", Text("Loss, training", "训练损失"), "number"),
            Column("validation", Text("Loss, validation", "验证损失"), "number"),
            *(Column(each.name, each.label, each.format) for each in figures(outcome.table.kind)),
        ),
        Text("After each epoch, on the validation rows", "每轮结束后，在验证集上"),
        caption=_stop(fitted),
        emphasise=pl.col("best"),
    )


def _stop(fitted: Fitted) -> Text:
    if fitted.history.stopped_early:
        return Text(
            "It stopped early: the loss on validation had not fallen any more. Epoch {best} was kept.",
            "提前停止：验证损失不再下降。保留第 {best} 轮的权重。",
        ).format(best=fitted.history.best_epoch)
    return Text("Epoch {best} was kept.", "保留第 {best} 轮的权重。").format(best=fitted.history.best_epoch)


def _pseudo(taught: Taught, outcome: Outcome) -> Iterator[Block]:
    how = outcome.program.pseudo
    assert how is not None
    rows = [_round(number, each) for number, each in enumerate(taught.rounds, 1)]
    yield Table(
        pl.DataFrame(rows, infer_schema_length=None),
        (
            Column("round", Text("Round", "轮"), "integer"),
            Column("pool", Text("Texts without a label", "无标签文本"), "integer"),
            Column("sure", Text("Sure enough", "置信度达标"), "integer"),
            Column("taken", Text("Taken", "采用"), "integer"),
            Column("classes", Text("By class", "按类别")),
            Column("right", Text("Right, where known", "其中正确（若已知）"), "percent"),
            Column("loss", Text("Loss on validation", "验证损失"), "number"),
        ),
        Text(
            "Labels that the model gave, with a floor of {floor:.0%}", "模型给出的标签，置信度下限 {floor:.0%}"
        ).format(floor=how.floor),
    )
    if taught.used:
        yield Paragraph(
            Text(
                "They lowered the loss on validation: round {n} was kept.", "验证损失下降：保留第 {n} 轮的模型。"
            ).format(n=taught.used)
        )
    elif taught.last is None:
        yield Paragraph(
            Text(
                "Nothing was taken: of some class no text was sure enough, and labels of the others alone would teach "
                "that it does not occur.",
                "没有采用任何伪标签：某个类别没有达到置信度的文本，若只采用其他类别，模型会以为该类不存在。",
            )
        )
    else:
        yield Paragraph(
            Text(
                "They did not lower the loss on validation: the model without them was kept.",
                "验证损失没有下降：保留不含伪标签的模型。",
            )
        )


def _round(number: int, found: Round) -> dict[str, Any]:
    return {
        "round": number,
        "pool": found.pool,
        "sure": found.sure,
        "taken": sum(found.taken.values()),
        "classes": ", ".join(f"{name}: {count:,}" for name, count in found.taken.items()),
        "right": math.nan if found.right is None else found.right,
        "loss": math.nan if found.loss is None else found.loss,
    }


def _limits(outcome: Outcome) -> Iterator[Block]:
    table = outcome.table
    if table.kind != "number":
        counts = [int((table.numbers("test") == number).sum()) for number in range(len(table.classes))]
        rarest = min(counts)
        if rarest < 50:
            yield Notice(
                Text(
                    "The test holds only {n} rows of its rarest class: figures of that class are uncertain.",
                    "测试集中最少的一类只有 {n} 行：该类指标不确定性较大。",
                ).format(n=rarest),
                "warning",
            )
    yield Paragraph(
        Text(
            "Before fine-tuning there are two answers. The untrained head is what such a program prints before it has "
            "learned: it knows how often each label occurs, and nothing of a text. The linear model on the frozen "
            "states is what the language model knows already, and the fairer thing to beat.",
            "微调前有两种回答。未经训练的输出头是此类程序在训练前会打印的结果：它只知道各标签的占比，对文本一无所知。"
            "冻结向量上的线性模型体现了语言模型已有的知识，是更公平的对照。",
        )
    )
    yield Paragraph(
        Text(
            "One fine-tuning is one draw: with another seed figures move by a few hundredths on few test rows. "
            "Probabilities are as the network gives them, not calibrated.",
            "一次微调只是一次抽样：换一个随机种子，在几百行测试集上指标会有百分之几的波动。概率为网络原始输出，未经校准。",
        )
    )
    yield Facts((Fact(Text("Seed", "随机种子"), str(outcome.program.seed)),))
