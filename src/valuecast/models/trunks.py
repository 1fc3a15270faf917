"""What reads a history: a Hugging Face decoder, encoder or recurrent network, fed one vector per event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3Model,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput

from valuecast.config.learning import Architecture, Size


@dataclass(frozen=True)
class Shape:
    """What a size stands for.

    Attributes:
        hidden: width of a state.
        layers: number of blocks.
        heads: of the attention.
        length: how many events it sees at most.
    """

    hidden: int
    layers: int
    heads: int
    length: int


SIZES: dict[Size, Shape] = {
    "tiny": Shape(64, 2, 4, 128),
    "small": Shape(128, 4, 4, 256),
    "base": Shape(384, 8, 6, 256),
    "large": Shape(1024, 12, 16, 512),  # over 100 million parameters, whichever the trunk
}


_PLACES = {"gpt2": ("h", "ln_f"), "bert": ("encoder.layer", None)}
"""Blocks and final norm, where their names are not ``layers`` and ``norm``."""
OTHER: Final = "other"
"""The family of language models whose inner names are not known here."""


def length_of(architecture: Architecture) -> int:
    """How many events a network of this architecture sees at most."""
    return architecture.length or SIZES[architecture.size].length


class WindowDropout(nn.Module):
    """Dropout of the same units at every event of a window (Gal and Ghahramani 2016, arXiv 1512.05287).

    On a CPU drawing a number for every unit of every event would take up to a fifth of the time of a tiny network.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, states: Tensor) -> Tensor:
        """Shape (B, L, width) in and out."""
        if not self.training or self.share == 0:
            return states
        kept = states.new_empty(len(states), 1, states.shape[-1]).bernoulli_(1 - self.share)
        return states * kept.div_(1 - self.share)


class Layered(nn.Module):
    """A Hugging Face model whose layers methods of fine-tuning can find.

    Attributes:
        model: the Hugging Face model.
        family: models of one family have the same names inside.
        causal: whether a state depends on nothing later.
        prompt: vectors that stand before all others, if prompt tuning has put them there; shape (vectors, hidden).
        room: how many such vectors the model can place before the longest history; None: as many as one likes.
    """

    room: int | None = None

    def __init__(self, model: PreTrainedModel, *, family: str, causal: bool) -> None:
        super().__init__()
        self.model, self.family, self.causal = model, family, causal
        self.prompt: nn.Parameter | None = None

    @property
    def blocks(self) -> list[nn.Module]:
        """The repeated layers, bottom up."""
        if self.family == OTHER:
            return list(max(self._lists(), key=len).children())
        return list(self.model.get_submodule(self._places[0]).children())

    @property
    def final(self) -> nn.Module | None:
        """The norm above the last block, where there is one."""
        place = self._places[1]
        return None if place is None else self.model.get_submodule(place)

    @property
    def _places(self) -> tuple[str, str | None]:
        return ("", None) if self.family == OTHER else _PLACES.get(self.family, ("layers", "norm"))

    def _lists(self) -> list[nn.ModuleList]:
        return [module for module in self.model.modules() if isinstance(module, nn.ModuleList)]


class Trunk(Layered):
    """A model that reads vectors of events instead of tokens, and has no vocabulary.

    Attributes:
        rotary: whether positions are days.
        recurrent: whether it reads events in turn, without positions or attention.
    """

    def __init__(self, architecture: Architecture) -> None:
        trunk = architecture.trunk
        super().__init__(_BUILDERS[trunk](architecture, SIZES[architecture.size]), family=trunk, causal=trunk != "bert")
        if architecture.checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        if architecture.trunk != "gru":
            self.model.set_input_embeddings(None)  # type: ignore[arg-type]  # events have no vocabulary of their own
        self.rotary = architecture.trunk in {"llama", "qwen3"}
        self.recurrent = architecture.trunk == "gru"

    def forward(self, vectors: Tensor, mask: Tensor, days: Tensor) -> Tensor:
        """Return a state for each event.

        Args:
            vectors: of the events; shape (B, L, hidden).
            mask: whether there is an event, padding being at the ends; shape (B, L), bool.
            days: when each event was; shape (B, L). Only differences count.
        """
        batch, length = mask.shape
        if self.rotary:
            positions = days - days[:, :1]
        else:
            positions = torch.arange(length, device=mask.device).expand(batch, length)
        extra = 0
        if self.prompt is not None:
            extra = len(self.prompt)
            vectors = torch.cat([self.prompt.to(vectors.dtype).expand(batch, -1, -1), vectors], dim=1)
            mask = nn.functional.pad(mask, (extra, 0), value=True)
            positions = nn.functional.pad(positions, (extra, 0))  # the prompt stands where the first event does
        given: dict[str, Any] = {"inputs_embeds": vectors}
        if not self.recurrent:
            # Without a 2-D mask transformers takes any step of the positions other than 1 for the start of another
            # sequence. Looking back only, an event never sees the padding after it: a mask of ones says so, and the
            # attention then needs no table of B x L x L, which halves the time of a small trunk.
            given["attention_mask"] = torch.ones_like(mask) if self.causal else mask
            given["position_ids"] = positions
            given["use_cache"] = False
        states: Tensor = self.model(**given).last_hidden_state
        return states[:, extra:]


class GRUTrunkConfig(PreTrainedConfig):
    """Of a ``GRUTrunk``."""

    model_type = "valuecast-gru"

    hidden_size: int = 64
    num_hidden_layers: int = 2
    intermediate_size: int = 256
    dropout: float = 0.0
    initializer_range: float = 0.02


class GRUBlock(GradientCheckpointingLayer):
    """``x + gru(norm(x))``, then ``x + mlp(norm(x))``: the block of a decoder with recurrence for attention."""

    def __init__(self, config: GRUTrunkConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.gru_norm = nn.LayerNorm(hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.mlp_norm = nn.LayerNorm(hidden)
        self.mlp = nn.Sequential()
        self.mlp.add_module("up_proj", nn.Linear(hidden, config.intermediate_size))
        self.mlp.add_module("act_fn", nn.GELU())
        self.mlp.add_module("dropout", WindowDropout(config.dropout))
        self.mlp.add_module("down_proj", nn.Linear(config.intermediate_size, hidden))

    def forward(self, states: Tensor) -> Tensor:
        """Shape (B, L, hidden) in and out."""
        states = states + self.gru(self.gru_norm(states))[0]
        correction: Tensor = self.mlp(self.mlp_norm(states))
        return states + correction


class GRUTrunk(PreTrainedModel):
    """Gated recurrent units (Cho et al. 2014) in residual blocks; time reaches it as a feature of the events."""

    config_class = GRUTrunkConfig
    base_model_prefix = "model"
    main_input_name = "inputs_embeds"
    supports_gradient_checkpointing = True

    def __init__(self, config: GRUTrunkConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(GRUBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, inputs_embeds: Tensor) -> BaseModelOutput:
        """Shape (B, L, hidden) in and out; padding at the ends is never looked back on."""
        states = inputs_embeds
        for layer in self.layers:
            states = layer(states)
        return BaseModelOutput(last_hidden_state=self.norm(states))


def _common(shape: Shape) -> dict[str, Any]:
    """What every config says alike. Spread of new weights: Nguyen and Salazar (2019), Transformers without tears."""
    return {
        "vocab_size": 1,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "initializer_range": (2 / (5 * shape.hidden)) ** 0.5,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _rotary(shape: Shape) -> dict[str, Any]:
    """Of a decoder whose positions are days: with base 10,000 its waves last from about a week to decades."""
    return {
        **_common(shape),
        "intermediate_size": shape.hidden * 8 // 3 // 8 * 8,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.hidden // shape.heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    }


def _dropping(model: LlamaModel | Qwen3Model, dropout: float) -> PreTrainedModel:
    """Let a decoder drop inside its feed-forward networks: it has no dropout but that of the attention weights.

    That one would cost ten times the time of the whole trunk on a CPU, whose fast attention has no dropout.
    """
    for layer in model.layers.children():
        feed_forward = layer.get_submodule("mlp")
        feed_forward.add_module("act_fn", nn.Sequential(feed_forward.get_submodule("act_fn"), WindowDropout(dropout)))
    return model


def _llama(architecture: Architecture, shape: Shape) -> PreTrainedModel:
    return _dropping(LlamaModel(LlamaConfig(**_rotary(shape))), architecture.dropout)


def _qwen3(architecture: Architecture, shape: Shape) -> PreTrainedModel:
    return _dropping(Qwen3Model(Qwen3Config(**_rotary(shape))), architecture.dropout)


def _gpt2(architecture: Architecture, shape: Shape) -> PreTrainedModel:
    dropout: dict[str, Any] = {"resid_pdrop": architecture.dropout, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2Model(GPT2Config(**_common(shape), **dropout, n_positions=length_of(architecture)))


def _bert(architecture: Architecture, shape: Shape) -> PreTrainedModel:
    dropout: dict[str, Any] = {"hidden_dropout_prob": architecture.dropout, "attention_probs_dropout_prob": 0.0}
    sizes: dict[str, Any] = {"intermediate_size": 4 * shape.hidden, "max_position_embeddings": length_of(architecture)}
    return BertModel(BertConfig(**_common(shape), **dropout, **sizes, type_vocab_size=1), add_pooling_layer=False)


def _gru(architecture: Architecture, shape: Shape) -> PreTrainedModel:
    config = GRUTrunkConfig(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        intermediate_size=4 * shape.hidden,
        dropout=architecture.dropout,
        initializer_range=(2 / (5 * shape.hidden)) ** 0.5,
    )
    return GRUTrunk(config)


_BUILDERS = {"llama": _llama, "qwen3": _qwen3, "gpt2": _gpt2, "bert": _bert, "gru": _gru}
