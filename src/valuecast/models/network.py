"""The network: an event encoder, a trunk, and the state it leaves at a moment, beside a clock.

A head reads ``network.at(network(batch), batch)``. A causal trunk knows nothing of the moment a row asks about: its
state at the last event before that moment is the user's, whatever the moment, and the clock adds the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from valuecast.config.learning import Architecture
from valuecast.models.trunks import SIZES, Layered, Trunk, WindowDropout, length_of
from valuecast.sequences import clock
from valuecast.sequences.batch import Batch
from valuecast.sequences.encoding import Encoding

if TYPE_CHECKING:
    from valuecast.models.adapters import Allocator

TRUNK = "trunk"
WEIGHTS = "model.safetensors"
ENCODER = "encoder.safetensors"

_EMBEDDING = 64
_DAYS = (0, 1, 2, 4, 7, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365, 730, 1460)
_EVENTS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 377, 987)


@dataclass(frozen=True)
class Tensors:
    """A ``Batch`` as tensors; names and shapes are its own."""

    codes: Tensor
    weights: Tensor
    offsets: Tensor
    numbers: Tensor
    calendar: Tensor
    days: Tensor
    mask: Tensor
    row_window: Tensor
    row_position: Tensor
    clock: Tensor
    row: Tensor
    event: Tensor
    texts: Tensor
    users: tuple[str, ...]
    events: int
    vectors: Tensor | None = None
    """Of the texts of each event; shape (B, L, width)."""

    @classmethod
    def of(cls, batch: Batch, vectors: Tensor | None = None) -> Tensors:
        """Share the memory of a batch."""
        tensors: dict[str, Any] = {name: torch.from_numpy(value) for name, value in batch.arrays().items()}
        return cls(**tensors, users=batch.users, events=batch.events, vectors=vectors)

    def to(self, device: torch.device | str) -> Tensors:
        """Copy to a device, without waiting where the memory is pinned."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }
        return Tensors(**moved)


class Piecewise(nn.Module):
    """Piecewise-linear encoding of numbers: how far each has come through each of its bins.

    Gorishniy, Rubachev and Babenko (2022), On embeddings for numerical features in tabular deep learning, but bounded
    at both ends, so that no outlier is larger than what was seen. A missing number has come nowhere.
    """

    low: Tensor
    rise: Tensor

    def __init__(self, edges: list[tuple[float, ...]]) -> None:
        super().__init__()
        bins = max((len(ends) - 1 for ends in edges), default=0)
        low, rise = torch.zeros(2, len(edges), bins, dtype=torch.float64)  # a bin that a number lacks never rises
        for number, ends in enumerate(edges):
            places = torch.tensor(ends, dtype=torch.float64)
            low[number, : len(ends) - 1] = places[:-1]
            rise[number, : len(ends) - 1] = 1 / places.diff()
        self.width = low.numel()
        self.register_buffer("low", low.float(), persistent=False)
        self.register_buffer("rise", rise.float(), persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Shape (..., K) in, (..., K * the most bins that a number has) out."""
        # In place, as nothing else holds them: beside a small trunk this counts.
        come = (numbers[..., None] - self.low).mul_(self.rise)
        return come.clamp_(0, 1).nan_to_num_(0.0).flatten(-2)


class EventEncoder(nn.Module):
    """One vector per event, from whatever fields the log has."""

    def __init__(self, architecture: Architecture, encoding: Encoding) -> None:
        super().__init__()
        hidden = SIZES[architecture.size].hidden
        embedding = min(hidden, _EMBEDDING)
        self.codes = nn.EmbeddingBag(encoding.codes, embedding, mode="sum")
        nn.init.normal_(self.codes.weight, std=embedding**-0.5)
        self.widen = nn.Identity() if embedding == hidden else nn.Linear(embedding, hidden, bias=False)
        self.piecewise = Piecewise([number.edges for number in encoding.numbers])
        rest = self.piecewise.width + len(encoding.numbers) + clock.calendar_width(encoding)
        self.project = nn.Linear(rest, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = WindowDropout(architecture.dropout)
        self.text: nn.Linear | None = None
        if encoding.reader is not None:
            # A text is to say about as much as a code does; and without a bias none says nothing.
            self.text = nn.Linear(encoding.reader.width, hidden, bias=False)
            nn.init.normal_(self.text.weight, std=hidden**-0.5)

    def forward(self, batch: Tensors) -> Tensor:
        """Return vectors of shape (B, L, hidden); those of padding are without meaning."""
        bags: Tensor = self.codes(batch.codes, batch.offsets, per_sample_weights=batch.weights)
        numbers = batch.numbers
        rest = torch.cat([self.piecewise(numbers), numbers.isnan().to(numbers.dtype), batch.calendar], dim=-1)
        parts = self.widen(bags).view(*batch.mask.shape, -1) + self.project(rest)
        if self.text is not None:
            # A shop may have no texts; yet several processes must agree on which weights have a gradient.
            parts = parts + (self.text.weight.sum() * 0 if batch.vectors is None else self.text(batch.vectors))
        dropped: Tensor = self.dropout(self.norm(parts))
        return dropped


class Clock(nn.Module):
    """What a row's moment adds to a state: silence, tenure and numbers of events, piecewise linear, and the season.

    Attributes:
        width: number of columns that come out.
        names: what each of them is of (see ``clock.names``).
    """

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        kinds = len(encoding.kinds)
        every = (_DAYS, _DAYS, _EVENTS, *[_DAYS] * kinds, *[_EVENTS] * kinds)
        edges = [tuple(math.log1p(each) for each in ends) for ends in every]
        self.numbers = len(edges)
        self.piecewise = Piecewise(edges)
        self.width = self.piecewise.width + clock.width(encoding)
        said, bins = clock.names(encoding), self.piecewise.width // len(edges)
        self.names = (*(name for name in said[: self.numbers] for _ in range(bins)), *said)

    def forward(self, times: Tensor) -> Tensor:
        """Shape (R, K') in, (R, width) out."""
        return torch.cat([self.piecewise(times[:, : self.numbers]), times], dim=-1)


class StateNetwork(nn.Module):
    """What heads stand on: a trunk that reads histories, and the state that it leaves of each.

    ``network(batch)`` gives the states of what is read, ``network.at(states, batch)`` what a head reads of each row.

    Attributes:
        trunk: of events or of tokens.
        hidden: width of the state of an event or token.
        state_width: width of what a head reads.
        dropout: share of the activations that are dropped in training.
        allocator: of ranks, once AdaLoRA has been applied.
    """

    trunk: Layered

    def __init__(self, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.hidden = self.state_width = hidden
        self.dropout = dropout
        self.allocator: Allocator | None = None

    def at(self, states: Tensor, batch: Any) -> Tensor:
        """Return what a head reads for each row; shape (R, state_width)."""
        raise NotImplementedError


class Network(StateNetwork):
    """Event encoder and trunk.

    Attributes:
        architecture: what it was built from.
        length: how many events it sees at most.
        causal: whether one pass serves many moments: the state of an event depends on no later one.
    """

    trunk: Trunk

    def __init__(self, architecture: Architecture, encoding: Encoding) -> None:
        super().__init__(hidden=SIZES[architecture.size].hidden, dropout=architecture.dropout)
        self.architecture = architecture
        self.encoder = EventEncoder(architecture, encoding)
        self.trunk = Trunk(architecture)
        self.clock = Clock(encoding)
        self.length = length_of(architecture)
        self.state_width = self.hidden + self.clock.width
        self.causal = self.trunk.causal

    def forward(self, batch: Tensors) -> Tensor:
        """Return the state of each event; shape (B, L, hidden)."""
        states: Tensor = self.trunk(self.encoder(batch), batch.mask, batch.days)
        return states

    def at(self, states: Tensor, batch: Tensors) -> Tensor:
        """Return what a head reads for each row: the state at its last event, and its clock; shape (R, state_width)."""
        latest = states[batch.row_window, batch.row_position]
        return torch.cat([latest, self.clock(batch.clock).to(latest.dtype)], dim=-1)


def layers(network: StateNetwork) -> list[list[nn.Parameter]]:
    """Every parameter once, in groups bottom up: what is below the blocks, each block, a final norm if there is one."""
    above = [*network.trunk.blocks, *([network.trunk.final] if network.trunk.final is not None else [])]
    groups = [list(module.parameters()) for module in above]
    seen = {id(parameter) for group in groups for parameter in group}
    return [[parameter for parameter in network.parameters() if id(parameter) not in seen], *groups]


def save(network: Network, folder: Path) -> None:
    """Write a network that no method of adaptation has changed: ``trunk`` as Hugging Face does, the rest beside it."""
    network.trunk.model.config.save_pretrained(folder / TRUNK)
    save_file(network.trunk.model.state_dict(), folder / TRUNK / WEIGHTS, metadata={"format": "pt"})
    save_file(network.encoder.state_dict(), folder / ENCODER)


def load(folder: Path, architecture: Architecture, encoding: Encoding) -> Network:
    """Read back what ``save`` wrote, ready to predict."""
    network = Network(architecture, encoding)
    network.trunk.model.load_state_dict(load_file(folder / TRUNK / WEIGHTS))
    network.encoder.load_state_dict(load_file(folder / ENCODER))
    return network.eval()
