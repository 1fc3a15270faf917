"""Which of several processes this is: ``torchrun`` starts one for each device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState


def rank() -> int:
    """Return the number of this process, 0 for the one that writes, and where there is but one."""
    return int(os.environ.get("RANK", "0"))


def processes() -> PartialState:
    """Return who shares the work; not told so, accelerate takes no notice of ``torchrun`` on CPUs."""
    import torch  # noqa: PLC0415 - the command line asks this file which process it is, and starts without torch
    from accelerate import PartialState  # noqa: PLC0415

    return PartialState(cpu=not torch.accelerator.is_available())


def apart(folder: Path) -> Path:
    """Return a folder that no other process writes to."""
    return folder.with_name(f"{folder.name}-{rank()}") if rank() else folder
