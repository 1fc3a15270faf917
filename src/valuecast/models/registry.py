"""Every method by name. ``valuecast fit NAME`` and the rungs of a ladder take these names."""

from __future__ import annotations

from valuecast.errors import ConfigError, suggest
from valuecast.models.baselines.boosted import LIGHTGBM
from valuecast.models.baselines.customer_base import BGNBD, PARETONBD
from valuecast.models.baselines.heuristics import LAST_PERIOD, MEAN_RATE, RECENCY
from valuecast.models.model import Method

METHODS: dict[str, Method] = {
    method.name: method for method in (RECENCY, LAST_PERIOD, MEAN_RATE, BGNBD, PARETONBD, LIGHTGBM)
}


def method(name: str) -> Method:
    """Return a method by its name.

    Raises:
        ConfigError: there is no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"no model '{name}'", remedy=suggest(name, METHODS))
    return METHODS[name]
