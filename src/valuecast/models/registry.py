"""Every method by name: baselines that ``valuecast fit`` takes, and ways to fine-tune that ``finetune`` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from valuecast.config.learning import TEXT
from valuecast.errors import ConfigError, suggest
from valuecast.language import Text
from valuecast.models.baselines.boosted import LIGHTGBM
from valuecast.models.baselines.customer_base import BGNBD, PARETONBD
from valuecast.models.baselines.heuristics import LAST_PERIOD, MEAN_RATE, RECENCY
from valuecast.models.blend import Blended
from valuecast.models.column import Adapted
from valuecast.models.model import Method, Model

BASELINES: dict[str, Method] = {
    method.name: method for method in (RECENCY, LAST_PERIOD, MEAN_RATE, BGNBD, PARETONBD, LIGHTGBM)
}

_WAYS = {
    "scratch": Text("from scratch", "从零训练"),
    "frozen": Text("only heads trained", "只训练预测头"),
    "last-n": Text("last layers trained", "微调末几层"),
    "full": Text("fully fine-tuned", "全量微调"),
    "lora": Text("LoRA", "LoRA 微调"),
    "adalora": Text("AdaLoRA", "AdaLoRA 微调"),
    "ia3": Text("IA3", "IA3 微调"),
    "prefix": Text("prefix tuning", "前缀微调"),
    "prompt": Text("prompt tuning", "提示微调"),
    "adapter": Text("adapters", "适配器微调"),
}


def _adapted(prefix: str, way: str, network: Text) -> Adapted:
    told = _WAYS[way]
    return Adapted(prefix + way, Text(f"{network.en}, {told.en}", f"{network.zh}（{told.zh}）"))


_NEW, _KNOWING = Text("Sequence model", "序列模型"), Text("Pre-trained", "预训练模型")
ADAPTATIONS: dict[str, Adapted] = {way: _adapted("", way, _NEW if way == "scratch" else _KNOWING) for way in _WAYS}

TEXTS: dict[str, Adapted] = {TEXT + way: _adapted(TEXT, way, Text("Language model", "语言模型")) for way in _WAYS}
"""A language model that reads histories in words, by the way in which it is fine-tuned."""

JOINT: Final = "joint"
FUSED: Final = "fused"

FUSIONS: dict[str, Adapted | Blended] = {
    method.name: method
    for method in (
        Adapted(JOINT, Text("Joint network (sequence + features)", "联合网络（序列 + 统计特征）")),
        Blended(FUSED, Text("Fused model", "融合模型")),
    )
}

METHODS: dict[str, Method | Adapted | Blended] = {**BASELINES, **ADAPTATIONS, **TEXTS, **FUSIONS}
NEURAL: Final = frozenset({*ADAPTATIONS, *TEXTS, *FUSIONS})
"""Methods that learn from a backbone, or from a language model."""


def check(name: str) -> None:
    """Check that a rung exists.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"no model '{name}'", remedy=suggest(name, METHODS))


def baseline(name: str) -> Method:
    """Return a baseline by its name.

    Raises:
        ConfigError: there is no such method, or it wants a backbone.
    """
    check(name)
    if name not in BASELINES:
        remedy = f"Use `valuecast finetune BACKBONE LOG --method {name}`, or a recipe with [backbone]."
        raise ConfigError(f"'{name}' fine-tunes a backbone", remedy=remedy)
    return BASELINES[name]


def load(name: str, folder: Path) -> Model:
    """Read one model of a predictor that the method ``name`` made."""
    return METHODS[name].load(folder)
