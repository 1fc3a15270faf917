"""Which of several processes this is: ``torchrun`` starts one for each device."""

from __future__ import annotations

import os
from pathlib import Path


def rank() -> int:
    """Return the number of this process, 0 for the one that writes, and where there is but one."""
    return int(os.environ.get("RANK", "0"))


def apart(folder: Path) -> Path:
    """Return a folder that no other process writes to."""
    return folder.with_name(f"{folder.name}-{rank()}") if rank() else folder
