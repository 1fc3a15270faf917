"""Every method by name: baselines that ``valuecast fit`` takes, and ways to fine-tune that ``finetune`` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

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

ADAPTATIONS: dict[str, Adapted] = {
    method.name: method
    for method in (
        Adapted("scratch", Text("Sequence model, from scratch", "序列模型（从零训练）")),
        Adapted("frozen", Text("Pre-trained, only heads trained", "预训练模型（只训练预测头）")),
        Adapted("last-n", Text("Pre-trained, last layers trained", "预训练模型（微调末几层）")),
        Adapted("full", Text("Pre-trained, fully fine-tuned", "预训练模型（全量微调）")),
        Adapted("lora", Text("Pre-trained, LoRA", "预训练模型（LoRA 微调）")),
        Adapted("adalora", Text("Pre-trained, AdaLoRA", "预训练模型（AdaLoRA 微调）")),
        Adapted("ia3", Text("Pre-trained, IA3", "预训练模型（IA3 微调）")),
        Adapted("prefix", Text("Pre-trained, prefix tuning", "预训练模型（前缀微调）")),
        Adapted("prompt", Text("Pre-trained, prompt tuning", "预训练模型（提示微调）")),
        Adapted("adapter", Text("Pre-trained, adapters", "预训练模型（适配器微调）")),
    )
}

TEXTS: dict[str, Adapted] = {
    method.name: method
    for method in (
        Adapted("text-scratch", Text("Language model, from scratch", "语言模型（从零训练）")),
        Adapted("text-frozen", Text("Language model, only heads trained", "语言模型（只训练预测头）")),
        Adapted("text-last-n", Text("Language model, last layers trained", "语言模型（微调末几层）")),
        Adapted("text-full", Text("Language model, fully fine-tuned", "语言模型（全量微调）")),
        Adapted("text-lora", Text("Language model, LoRA", "语言模型（LoRA 微调）")),
        Adapted("text-adalora", Text("Language model, AdaLoRA", "语言模型（AdaLoRA 微调）")),
        Adapted("text-ia3", Text("Language model, IA3", "语言模型（IA3 微调）")),
        Adapted("text-prefix", Text("Language model, prefix tuning", "语言模型（前缀微调）")),
        Adapted("text-prompt", Text("Language model, prompt tuning", "语言模型（提示微调）")),
        Adapted("text-adapter", Text("Language model, adapters", "语言模型（适配器微调）")),
    )
}
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
