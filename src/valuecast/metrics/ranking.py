"""How well a prediction puts users in order. Only the order of the predictions matters."""

from __future__ import annotations

import math

import numpy as np

from valuecast.metrics.metric import FloatArray, Metric, Weighted, require
from valuecast.metrics.order import TieGroups, doubled_midpoints


@Metric
def auc(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Area under the ROC curve: how often a positive is scored above a negative, ties counting half.

    ``truth`` is 0 or 1. Undefined where there is only one class. (Hanley and McNeil, 1982.)
    """
    require(np.isin(truth, (0, 1)), "truth must be 0 or 1")
    groups = TieGroups.descending(prediction)

    def area(weight: FloatArray) -> float:
        positive = groups.total(weight * truth)
        negative = groups.total(weight * (1 - truth))
        negatives_up_to = np.cumsum(negative)
        pairs = positive.sum() * negatives_up_to[-1]
        wins = positive @ (negatives_up_to[-1] - negatives_up_to + negative / 2)
        return float(wins / pairs) if pairs > 0 else math.nan

    return area


@Metric
def pr_auc(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Average precision: the precision at each threshold, weighted by the recall gained there.

    ``truth`` is 0 or 1. The sum of steps, not the trapezoid, which is too kind (Davis and Goadrich,
    2006). A prediction without any order scores the share of positives. Undefined without a positive or without
    a negative: with one class there is nothing to find.
    """
    require(np.isin(truth, (0, 1)), "truth must be 0 or 1")
    groups = TieGroups.descending(prediction)

    def average_precision(weight: FloatArray) -> float:
        positive = groups.total(weight * truth)
        found = np.cumsum(positive)
        seen = np.cumsum(groups.total(weight))
        if not 0 < found[-1] < seen[-1]:
            return math.nan
        precision = np.divide(found, seen, out=np.zeros(groups.count), where=seen > 0)
        return float(positive @ precision / found[-1])

    return average_precision


@Metric
def gini(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Normalised Gini: how much of the truth the highest predictions hold, against the perfect order.

    The area between the diagonal and the curve of cumulative truth over cumulative users, users
    ordered by prediction, divided by the same area with users ordered by truth. 1 is the perfect
    order, 0 none and -1 the reverse; for a truth of 0 and 1 it is ``2 * auc - 1``. Users with equal
    predictions share their truth evenly. Undefined where a truth is negative or all are equal.
    (The ordered Lorenz curve of Frees, Meyers and Cummings, 2011, with equal premiums.)
    """
    by_prediction, by_truth = TieGroups.descending(prediction), TieGroups.descending(truth)
    negative = truth < 0
    any_negative = bool(negative.any())

    def ratio(weight: FloatArray) -> float:
        if any_negative and weight[negative].any():
            return math.nan
        amount = weight * truth
        perfect = _concentration(by_truth.total(weight), by_truth.total(amount))
        found = _concentration(by_prediction.total(weight), by_prediction.total(amount))
        return found / perfect if perfect > 0 else math.nan

    return ratio


def _concentration(mass: FloatArray, amount: FloatArray) -> float:
    """Return twice the area between the curve of cumulative amount and the diagonal, in units of mass x amount."""
    # sum over groups of amount x (mass below - mass above): exactly 0 where one group holds everything
    return float(amount @ (mass.sum() - doubled_midpoints(mass)))


@Metric
def spearman(truth: FloatArray, prediction: FloatArray) -> Weighted:
    """Spearman's rank correlation, with average ranks for ties. Undefined where either side is constant."""
    by_truth, by_prediction = TieGroups.descending(truth), TieGroups.descending(prediction)

    def correlation(weight: FloatArray) -> float:
        of_truth, truth_variance = _ranks(by_truth, weight)
        of_prediction, prediction_variance = _ranks(by_prediction, weight)
        scale = math.sqrt(truth_variance) * math.sqrt(prediction_variance)
        return float((weight * of_truth) @ of_prediction) / scale if scale > 0 else math.nan

    return correlation


def _ranks(groups: TieGroups, weight: FloatArray) -> tuple[FloatArray, float]:
    """Return each row's average rank, centred and doubled, and the weighted sum of its squares."""
    mass = groups.total(weight)
    rank = doubled_midpoints(mass) - mass.sum()
    return rank[groups.of_row], float(mass @ rank**2)
