"""The extra that neural networks need: asked for before any of its packages is imported."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from valuecast.errors import MissingExtraError

PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "safetensors")
INSTALL: Final = 'pip install "valuecast[neural]"'
INSTALL_GGUF: Final = 'pip install "valuecast[gguf]"'


def require(purpose: str) -> None:
    """Check that the packages are installed.

    Raises:
        MissingExtraError: one of them is not; the message holds the command that installs it.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package, install=INSTALL, purpose=purpose)


def require_gguf(purpose: str) -> None:
    """Check that GGUF files can be read, which takes one package more.

    Raises:
        MissingExtraError: it is not installed; the message holds the command that installs it.
    """
    require(purpose)
    if find_spec("gguf") is None:
        raise MissingExtraError("gguf", install=INSTALL_GGUF, purpose=purpose)
