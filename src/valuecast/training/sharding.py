"""A network spread over processes: each holds a share of the weights, of their gradients and of the optimiser's state.

That is fully sharded data parallelism, ZeRO stage 3 of Rajbhandari et al. (2020) as PyTorch does it (Zhao et al. 2023):
each block is put together while it is at work, and no longer.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from torch import Tensor, nn
from torch.distributed import broadcast
from torch.distributed.checkpoint import state_dict as whole
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from valuecast.training.optimiser import Groups

_WHOLE: Final = whole.StateDictOptions(full_state_dict=True)


def sharded(learner: nn.Module, processes: int) -> nn.Module:
    """Return a copy of a learner that is spread over the processes, block by block; all of them must ask for it.

    Theirs get the weights of the first.
    """
    for value in (*learner.parameters(), *learner.buffers()):
        broadcast(value.data, 0)
    spread = copy.deepcopy(learner)
    mesh = init_device_mesh(next(spread.parameters()).device.type, (processes,))
    lists = [module for module in spread.modules() if isinstance(module, nn.ModuleList)]
    for blocks in reversed(lists):  # what is inside others comes first
        for block in blocks:
            fully_shard(block, mesh=mesh)
    fully_shard(spread, mesh=mesh)
    return spread


def moved(groups: Groups | None, learner: nn.Module, other: nn.Module) -> Groups | None:
    """Return groups of the parameters of a learner as those of a copy of it."""
    if groups is None:
        return None
    names, own = {id(each): name for name, each in learner.named_parameters()}, dict(other.named_parameters())
    return [([own[names[id(each)]] for each in some], above) for some, above in groups]


def weights(learner: nn.Module) -> dict[str, Any]:
    """Return ``state_dict``, put together where it is spread; then all processes must ask for it."""
    if not isinstance(learner, FSDPModule):
        return learner.state_dict()
    return whole.get_model_state_dict(learner, options=_WHOLE)


def set_weights(learner: nn.Module, found: dict[str, Any]) -> None:
    """Undo ``weights``."""
    if not isinstance(learner, FSDPModule):
        learner.load_state_dict(found)
        return
    whole.set_model_state_dict(learner, found, options=_WHOLE)


def optimiser_state(learner: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return the state of an optimiser, likewise."""
    if not isinstance(learner, FSDPModule):
        return optimizer.state_dict()
    return whole.get_optimizer_state_dict(learner, optimizer, options=_WHOLE)


def set_optimiser_state(learner: nn.Module, optimizer: Optimizer, found: dict[str, Any]) -> None:
    """Undo ``optimiser_state``."""
    if not isinstance(learner, FSDPModule):
        optimizer.load_state_dict(found)
        return
    whole.set_optimizer_state_dict(learner, optimizer, found, options=_WHOLE)


def plain(value: Tensor) -> Tensor:
    """Return a number that is spread as one that is not."""
    return value.full_tensor() if isinstance(value, DTensor) else value
