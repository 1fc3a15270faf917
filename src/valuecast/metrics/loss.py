"""The losses that settings are chosen by: common to all models of a kind, whatever each of them was trained with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.special import expit

from valuecast.metrics.metric import FloatArray
from valuecast.metrics.probability import log_loss
from valuecast.metrics.registry import Kind

Loss = Callable[[FloatArray, FloatArray], float]

SMALLEST_AMOUNT: Final = 1e-6
"""What an amount that cannot be negative is taken to be at least: a deviance from zero is infinite."""


def loss_of(kind: Kind, *, falls: bool = False) -> Loss:
    """Return a loss of truth and raw scores, each of shape (rows,), that is proper for the probability or the mean.

    Args:
        kind: binary: raw scores are log-odds, and the loss is the log-loss of their probabilities.
        falls: whether amounts may be negative, or fall with the horizon: then it is the mean squared error, else the
            mean Tweedie deviance of power 1.5, which goes with many zeros and a long tail.
    """
    if kind == "binary":
        return lambda truth, raw: log_loss(truth, expit(raw))
    return _squared if falls else _deviance


def _squared(truth: FloatArray, raw: FloatArray) -> float:
    return float(np.mean((raw - truth) ** 2))


def _deviance(truth: FloatArray, raw: FloatArray) -> float:
    """The general formula (Jørgensen, 1987), which at the power of 1.5 is a square."""
    mean = np.maximum(raw, SMALLEST_AMOUNT)
    return float(np.mean(4 * (np.sqrt(truth) - np.sqrt(mean)) ** 2 / np.sqrt(mean)))
