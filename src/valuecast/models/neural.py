"""The extra that neural networks need: asked for before any of its packages is imported."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from valuecast.errors import MissingExtraError

PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "safetensors")
INSTALL: Final = 'pip install "valuecast[neural]"'


def require(purpose: str) -> None:
    """Check that the packages are installed.

    Raises:
        MissingExtraError: one of them is not; the message holds the command that installs it.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package, install=INSTALL, purpose=purpose)
