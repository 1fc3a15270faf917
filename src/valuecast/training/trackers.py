"""Which tracker a run logs to: TensorBoard, or another that accelerate knows."""

from __future__ import annotations

from pathlib import Path

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import LoggerType

from valuecast.errors import ConfigError, MissingExtraError, suggest

NONE = "none"


def tracker(name: str, folder: Path | None) -> str | None:
    """Return the name by which accelerate knows a tracker; None where nothing is to be logged.

    TensorBoard, the default, writes into the run's folder: without one it logs nothing.

    Raises:
        ConfigError: there is no such tracker, or it needs a folder and there is none.
        MissingExtraError: its package is not installed.
    """
    if name == NONE:
        return None
    if name not in LOGGER_TYPE_TO_CLASS:
        raise ConfigError(
            f"unknown tracker '{name}'", where="tracker", remedy=suggest(name, [NONE, *LOGGER_TYPE_TO_CLASS])
        )
    ours = {str(each) for each in LoggerType} & set(LOGGER_TYPE_TO_CLASS)  # the rest were registered by the user
    if name in ours - {str(each) for each in get_available_trackers()}:
        raise MissingExtraError(name, install=f"pip install {name}", purpose=f"tracker '{name}'")
    if folder is None and LOGGER_TYPE_TO_CLASS[name].requires_logging_directory:
        if name == str(LoggerType.TENSORBOARD):
            return None
        raise ConfigError(f"'{name}' writes to a folder", where="tracker", remedy="Give the run a folder.")
    return name
