"""Every way of fine-tuning a network: which of its weights train, and which are added.

A network is saved as its ``state_dict``; it is read back into ``Network(...)`` after the same ``apply``. Heads, which
are not part of the network, always train.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, inject_adapter_in_model
from peft.tuners.adalora import AdaLoraModel
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from valuecast.config.learning import Adaptation, Finetuning
from valuecast.errors import FitError
from valuecast.models.network import StateNetwork
from valuecast.models.trunks import OTHER

_SPREAD = 0.02  # of new vectors, as of the weights of most language models
_PREFIXED = "valuecast_prefixed"


@dataclass(frozen=True)
class _Places:
    """Where in a block of a trunk the methods attach.

    Attributes:
        feed_forward: the module whose output a bottleneck corrects.
        linear: what LoRA and AdaLoRA add to; of a GRU its feed-forward network, the recurrence having no such layer.
        scaled: what IA3 scales the output of: keys and values.
        fed: what IA3 scales the input of: the last layer of the feed-forward network.
        attention: the module that calls the attention, if there is one.
        transposed: whether weights are stored input first.
    """

    feed_forward: str
    linear: tuple[str, ...]
    scaled: tuple[str, ...]
    fed: tuple[str, ...]
    attention: str | None = None
    transposed: bool = False


_DECODER = _Places(
    feed_forward="mlp",
    linear=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    scaled=("k_proj", "v_proj"),
    fed=("down_proj",),
    attention="self_attn",
)
_PLACES: dict[str, _Places] = {
    "llama": _DECODER,
    "qwen3": _DECODER,
    "gpt2": _Places("mlp", ("c_attn", "c_proj", "c_fc"), ("c_attn",), ("mlp.c_proj",), "attn", transposed=True),
    "bert": _Places(
        "output.dense", ("query", "key", "value", "dense"), ("key", "value"), ("output.dense",), "attention.self"
    ),
    "gru": _Places("mlp", ("up_proj", "down_proj"), (), ("down_proj",)),
}
_NAMELESS = ("ia3", "prefix", "adapter")
"""Methods that must know the names of a model's parts."""


def objection(method: Adaptation, family: str) -> str | None:
    """Return why a method cannot change a trunk of this family, or None if it can."""
    if family == OTHER and method in _NAMELESS:
        return "the parts of this language model, to some of which it attaches, are not known by their names"
    if method == "prefix" and _PLACES[family].attention is None:
        return f"'{family}' has no attention, before whose keys and values a prefix would stand"
    return None


def apply(network: StateNetwork, method: Adaptation, settings: Finetuning, *, steps: int | None = None) -> None:
    """Change a network, in place, into one of which the method's weights train and no others.

    ``scratch`` trains what ``full`` trains; new weights are for the caller to draw, as are the seeds of those added.

    Args:
        network: that no method has changed yet.
        method: see ``objection`` for what does not go together.
        settings: rank, layers, vectors and bottleneck.
        steps: how many the optimiser will take, which AdaLoRA plans by; None: the network is for prediction only.

    Raises:
        FitError: the method objects to the trunk, or there are fewer layers than should train.
    """
    why = objection(method, network.trunk.family)
    if why is not None:
        raise FitError(why, where=method, remedy="Use the method 'prompt', which does the like for every trunk.")
    network.requires_grad_(method in {"full", "scratch"})
    match method:
        case "full" | "scratch" | "frozen":
            pass
        case "last-n":
            _last(network, settings.layers)
        case "lora":
            inject_adapter_in_model(_lora(network, settings), network.trunk.model)
        case "adalora":
            network.allocator = Allocator(network, settings, steps=steps)
        case "ia3":
            inject_adapter_in_model(_ia3(network), network.trunk.model)
        case "prefix":
            _prefix(network, settings.vectors)
        case "prompt":
            _check_room(network, settings.vectors)
            network.trunk.prompt = _drawn(settings.vectors, network.hidden)
        case "adapter":
            _bottlenecks(network, settings.bottleneck)


def trained(network: StateNetwork) -> dict[str, Tensor]:
    """Return the weights that the method trains, by their names in the ``state_dict``."""
    return {name: weight.detach() for name, weight in network.named_parameters() if weight.requires_grad}


def regulariser(network: StateNetwork) -> Tensor | None:
    """Return what AdaLoRA adds to the loss; None for the other methods."""
    return None if network.allocator is None else network.allocator.penalty()


def stepped(network: StateNetwork, step: int) -> None:
    """Let AdaLoRA move its ranks; nothing for the other methods.

    To be called after each step of the optimiser and before gradients are cleared.

    Args:
        network: that ``apply`` has changed.
        step: how many steps the optimiser has taken; the first call has 1.
    """
    if network.allocator is not None:
        network.allocator.stepped(step)


class Allocator(nn.Module):
    """AdaLoRA: which directions of its matrices deserve to stay (Zhang et al. 2023, arXiv 2303.10512).

    It starts with half as much again as the rank asked for and ends with that rank on average. How much each weight
    has mattered so far is in buffers, hence in the ``state_dict``: a run that is cut off goes on as it would have.

    Attributes:
        sensitivity: moving average of ``|weight * gradient|``; shape (number of weights,).
        uncertainty: moving average of its deviation; shape (number of weights,).
        kept: whether each direction is still in use; shape (number of directions,).
    """

    sensitivity: Tensor
    uncertainty: Tensor
    kept: Tensor

    def __init__(self, network: StateNetwork, settings: Finetuning, *, steps: int | None) -> None:
        super().__init__()
        self._steps = steps
        self._config = AdaLoraConfig(
            init_r=settings.rank + (settings.rank + 1) // 2,
            target_r=settings.rank,
            lora_alpha=2 * settings.rank,
            lora_dropout=network.dropout,
            target_modules=_linear(network),
            fan_in_fan_out=_transposed(network),
            total_step=steps or 1,
            tinit=(steps or 1) // 10,
            tfinal=3 * (steps or 1) // 10,
            deltaT=max(1, (steps or 1) // 100),
        )
        # In a tuple, or it would be a part of this module, and with it the whole trunk, which is the network's.
        self._tuner = (AdaLoraModel(network.trunk.model, self._config, "default"),)
        weights = self._weights()
        size = sum(weight.numel() for weight in weights.values())
        ranks = sum(len(weight) for name, weight in weights.items() if "lora_E" in name)
        self.register_buffer("sensitivity", torch.zeros(size))
        self.register_buffer("uncertainty", torch.zeros(size))
        self.register_buffer("kept", torch.ones(ranks, dtype=torch.bool))

    def penalty(self) -> Tensor:
        """Return the weighted mean distance of the singular vectors from orthogonality; equation 4 of the paper."""
        distances = []
        for name, weight in self._weights().items():
            if "lora_E" not in name:
                product = weight @ weight.T if "lora_A" in name else weight.T @ weight
                distances.append(torch.linalg.norm(product - torch.eye(len(product), device=product.device)))
        return float(self._config.orth_reg_weight) * torch.stack(distances).mean()

    def stepped(self, step: int) -> None:
        """See ``stepped`` of the module."""
        if self._steps is None:
            raise RuntimeError("AdaLoRA was applied for prediction: it has no number of steps to plan by")
        (tuner,) = self._tuner
        weights = self._weights()
        sizes = [weight.numel() for weight in weights.values()]
        directions = {name: len(weight) for name, weight in weights.items() if "lora_E" in name}
        memory = tuner.rankallocator
        memory.ipt = dict.fromkeys(weights)  # what is there already is not begun anew
        for name in ("sensitivity", "uncertainty"):
            parts = zip(weights.items(), getattr(self, name).split(sizes), strict=True)
            setattr(memory, _NAMES[name], {key: part.view_as(weight) for (key, weight), part in parts})
        kept = self.kept.split(list(directions.values()))
        self._config.rank_pattern = {key: part.tolist() for key, part in zip(directions, kept, strict=True)}
        tuner.update_and_allocate(step)
        for name in ("sensitivity", "uncertainty"):
            found = getattr(memory, _NAMES[name])  # empty once the ranks are final
            if found:
                getattr(self, name).copy_(torch.cat([found[key].flatten() for key in weights]))
        self.kept.copy_(torch.tensor([each for key in directions for each in self._config.rank_pattern[key]]))

    def _weights(self) -> dict[str, nn.Parameter]:
        """What AdaLoRA has added, by the names its allocator uses."""
        (tuner,) = self._tuner
        return {name: weight for name, weight in tuner.model.named_parameters() if "lora_" in name}


_NAMES = {"sensitivity": "exp_avg_ipt", "uncertainty": "exp_avg_unc"}


class Prefix(nn.Module):
    """Keys and values that every event attends to, before all others (Li and Liang 2021, arXiv 2101.00190)."""

    def __init__(self, heads: int, vectors: int, width: int) -> None:
        super().__init__()
        self.keys = _drawn(heads, vectors, width)
        self.values = _drawn(heads, vectors, width)


class Bottleneck(nn.Module):
    """A module whose output a narrow network corrects (Houlsby et al. 2019, arXiv 1902.00751); at first by nothing."""

    def __init__(self, inner: nn.Module, hidden: int, width: int) -> None:
        super().__init__()
        self.inner = inner
        self.down = nn.Linear(hidden, width)
        self.up = nn.Linear(width, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Shape (..., hidden) out."""
        found: Tensor = self.inner(states)
        correction: Tensor = self.up(nn.functional.gelu(self.down(found)))
        return found + correction


def _drawn(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * _SPREAD)


def _check_room(network: StateNetwork, vectors: int) -> None:
    room = network.trunk.room
    if room is not None and vectors > room:
        what = f"{vectors} vectors before the text, for which this model has {max(room, 0)} places left"
        raise FitError(what, where="vectors", remedy="Give fewer tokens to the text, or fewer vectors.")


def _last(network: StateNetwork, layers: int) -> None:
    blocks = network.trunk.blocks
    if layers > len(blocks):
        what = f"{layers} layers should train, but the trunk has {len(blocks)}"
        raise FitError(what, where="layers", remedy=f"Give {len(blocks)} or fewer, or use the method 'full'.")
    for module in (*blocks[-layers:], network.trunk.final):
        if module is not None:
            module.requires_grad_(True)


def _linear(network: StateNetwork) -> list[str]:
    """What LoRA and AdaLoRA add to: names, or ends of names, of layers in the blocks of the trunk."""
    trunk = network.trunk
    if trunk.family != OTHER:
        return list(_PLACES[trunk.family].linear)
    inside = {module for block in trunk.blocks for module in block.modules() if isinstance(module, nn.Linear)}
    return [name for name, module in trunk.model.named_modules() if module in inside]


def _transposed(network: StateNetwork) -> bool:
    family = network.trunk.family
    return family != OTHER and _PLACES[family].transposed


def _lora(network: StateNetwork, settings: Finetuning) -> LoraConfig:
    return LoraConfig(
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        lora_dropout=network.dropout,
        target_modules=_linear(network),
        fan_in_fan_out=_transposed(network),
    )


def _ia3(network: StateNetwork) -> IA3Config:
    places = _PLACES[network.trunk.family]
    return IA3Config(
        target_modules=[*places.scaled, *places.fed],
        feedforward_modules=list(places.fed),
        fan_in_fan_out=places.transposed,
    )


def _prefix(network: StateNetwork, vectors: int) -> None:
    attention = _PLACES[network.trunk.family].attention
    assert attention is not None
    config = network.trunk.model.config
    width = getattr(config, "head_dim", None) or network.hidden // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    for block in network.trunk.blocks:
        block.get_submodule(attention).add_module("prefix", Prefix(heads, vectors, width))
    network.trunk.model.set_attn_implementation(_PREFIXED)


def _bottlenecks(network: StateNetwork, width: int) -> None:
    place = _PLACES[network.trunk.family].feed_forward
    for block in network.trunk.blocks:
        block.set_submodule(place, Bottleneck(block.get_submodule(place), network.hidden, width))


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention with a prefix. Not the cache of keys and values, which would hinder checkpointing and encoders.

    Keys of the prefix have no position: with a rotary trunk they stand where the first event of the window does.
    """
    prefix = module.prefix
    assert isinstance(prefix, Prefix)
    batch, length = len(query), query.shape[2]
    if attention_mask is None and module.is_causal:  # transformers leaves the plain causal mask to the attention
        attention_mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()[None, None]
    if attention_mask is not None:
        attention_mask = nn.functional.pad(attention_mask, (prefix.keys.shape[1], 0), value=True)
    keys = torch.cat([prefix.keys.to(key.dtype).expand(batch, -1, -1, -1), key], dim=2)
    values = torch.cat([prefix.values.to(value.dtype).expand(batch, -1, -1, -1), value], dim=2)
    found, _ = sdpa_attention_forward(module, query, keys, values, attention_mask, is_causal=False, **options)
    return found, None


ALL_ATTENTION_FUNCTIONS.register(_PREFIXED, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(_PREFIXED, sdpa_mask)
