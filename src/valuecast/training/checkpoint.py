"""The last checkpoint of a run: one file, replaced in one step, that only the same run may continue from.

It holds tensors and plain data and is read with ``weights_only=True``: reading one cannot run code.
"""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from valuecast.config.learning import Optimisation
from valuecast.errors import ConfigError, FitError

Content = dict[str, Any]
_FREE = ("tracker", "checkpoint_steps")  # settings that change nothing that is learned
_NAMED = 3  # differences that a message lists


@dataclass(frozen=True)
class Checkpoint:
    """The file of a run's last checkpoint, and what tells the run from others."""

    path: Path
    run: Content

    def write(self, content: Content) -> None:
        """Replace the checkpoint; whenever the process is killed, the one before or the new one is there, whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.draft")
        with draft.open("wb") as stream:
            torch.save({"run": self.run, **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.path)

    def read(self) -> Content | None:
        """Return what was written last, on the CPU; None where nothing was.

        Raises:
            ConfigError: it was written by another run.
            FitError: it is damaged.
        """
        if not self.path.exists():
            return None
        try:
            content: Content = torch.load(self.path, map_location="cpu", weights_only=True)
            before: Content = content.pop("run")
        except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, AttributeError):
            raise FitError("the checkpoint is damaged", where=str(self.path), remedy="Delete it.") from None
        names = [name for name in {**self.run, **before} if before.get(name) != self.run.get(name)]
        if names:
            listed = "; ".join(
                f"{name}: {before.get(name)} there, {self.run.get(name)} here" for name in names[:_NAMED]
            )
            more = f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            raise ConfigError(
                f"the checkpoint is of another run ({listed}{more})",
                where=str(self.path),
                remedy="Delete it to start anew, or give another folder or the settings that it was made with.",
            )
        return content


def identity(learner: nn.Module, settings: Optimisation, *, data: str, seed: int, batches: tuple[int, int]) -> Content:
    """Return what must be the same for a run to continue: all that decides what it learns.

    Args:
        learner: as it starts.
        settings: of the run; those that change nothing that is learned are left out.
        data: tells what is learned from other data.
        seed: of the run.
        batches: in the first epoch, and in validation.
    """
    trained = {name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    shapes = {
        f"shape of {name}": f"{list(value.shape)}{' trained' if name in trained else ''}"
        for name, value in learner.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    chosen = {name: value for name, value in asdict(settings).items() if name not in _FREE}
    work = {"data": data, "seed": seed, "batches": batches[0], "validation batches": batches[1]}
    return {**chosen, **work, **shapes, "weights at the start": digest(learner)}


def digest(module: nn.Module) -> str:
    """Return what tells a module's weights from others."""
    found = hashlib.sha256()
    for value in module.state_dict().values():
        if isinstance(value, torch.Tensor):
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:12]


def random_state() -> Content:
    """Return the state of every source of chance, as tensors and plain data."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state


def set_random_state(state: Content) -> None:
    """Set every source of chance to a state that ``random_state`` returned."""
    kind, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def copied(weights: Content) -> Content:
    """Return a copy of a ``state_dict`` on the CPU, which further training leaves alone."""
    return {
        name: value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else copy.deepcopy(value)
        for name, value in weights.items()
    }
